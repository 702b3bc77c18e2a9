"""A node as a service: settings from files, reload, what a service manager does, and distccd's name for it."""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from native_client import NODE, SOURCE, WAIT_S, NativeClient, NodeProcess, Spec, toolchain_of

from manycc.testing.requirements import need
from manycc.wire import native

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: needs bwrap")

PACKAGING = Path(SOURCE).parent / "packaging"
DISTCCD = [sys.executable, "-c", NODE[2].replace("manycc.cli.node", "manycc.compat.distccd")]
AS_FD_3 = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[2], sys.argv[2:])
"""


def wait_for(condition: Callable[[], Any]) -> None:
    """Until something outside comes true."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def content(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(line: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A process that is expected to end by itself."""
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, **options)


class Configured(NodeProcess):
    """A node whose settings lie in a file."""

    def __init__(self, folder: Path, text: str, *arguments: str) -> None:
        self.file = folder / "manycc"
        self.file.write_text(text)
        super().__init__(str(folder), *arguments, config=str(self.file))

    def reload(self, text: str) -> str:
        """Write the file anew and have it read; what the node logs then."""
        before = len(self.log())
        self.file.write_text(text)
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: re.search(r"settings (read again|stay)", self.log()[before:]))
        return self.log()[before:]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    folder = tmp_path_factory.mktemp("service")
    with Configured(folder, 'ALLOWEDNETS="127.0.0.1"\nJOBS=1\n', "--stats-port", str(free_port())) as made:
        yield made
        assert made.stop() == 0
        assert "Traceback" not in made.log()


def test_a_reload_changes_who_may_connect_the_slots_and_the_priority(node: Configured) -> None:
    niceness = os.getpriority(os.PRIO_PROCESS, node.process.pid)
    with NativeClient(node.port) as client:
        assert client.welcome["slots"] == 1
        with NativeClient(node.port, greet=False, source="127.0.0.2") as stranger:
            assert stranger.hung_up()
        told = node.reload('ALLOWEDNETS="127.0.0.2 10.0.0.0/8"\nJOBS=3\nNICE=2\nLISTENER=127.0.0.9\n')
        assert f"jobs: 1 -> 3 ({node.file}, line 2)" in told
        assert "listen: default -> 127.0.0.9" in told and "started again" in told
        assert "not allowed" in client.expect(native.BYE)[1]
        assert client.hung_up()
    with NativeClient(node.port, greet=False) as stranger:
        assert stranger.hung_up()
    with NativeClient(node.port, source="127.0.0.2") as client:
        assert client.welcome["slots"] == 3
        assert client.expect(native.STATE)[1]["slots"] == 3
    assert os.getpriority(os.PRIO_PROCESS, node.process.pid) == min(19, niceness + 2)
    node.reload('ALLOWEDNETS="127.0.0.1"\nJOBS=2\n')
    with NativeClient(node.port) as client:
        assert client.welcome["slots"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ALLOWEDNETS=192.168.0.0/33\nJOBS=7\n", "line 1: '192.168.0.0/33' is not a network"),
        ("JOBS=7\nALLOWEDNETS=$NETS\n", "line 2"),
        ("JOBS=0\n", "must be between 1 and"),
    ],
)
def test_a_broken_file_changes_nothing(node: Configured, text: str, words: str) -> None:
    node.reload("ALLOWEDNETS=127.0.0.1\nJOBS=2\n")
    told = node.reload(text)
    assert "the settings stay as they were" in told and words in told
    with NativeClient(node.port) as client:
        assert client.welcome["slots"] == 2
    with NativeClient(node.port, greet=False, source="127.0.0.2") as stranger:
        assert stranger.hung_up()


def test_the_log_is_followed_after_a_rename(node: Configured) -> None:
    node.reload("JOBS=2\n")
    old = node.log_path + ".1"
    os.rename(node.log_path, old)
    node.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "settings read again" in content(Path(node.log_path)))
    size = os.path.getsize(old)
    with NativeClient(node.port):
        wait_for(lambda: "connected" in node.log())
    assert os.path.getsize(old) == size


def test_counters_over_http(node: Configured, tmp_path: Path) -> None:
    port = re.search(r"--stats-port\0(\d+)", Path(f"/proc/{node.process.pid}/cmdline").read_text())
    assert port is not None
    node.reload("ALLOWEDNETS=127.0.0.1\nJOBS=2\n")
    before = counters(fetch(int(port[1]), "127.0.0.1"))
    with NativeClient(node.port) as client:
        source = {f"{tmp_path}/counted.c": b"int counted;\n"}
        inputs = [path for path in ("/usr/include/stdc-predef.h",) if os.path.exists(path)]
        spec = Spec(["gcc", "-c", "counted.c", "-o", "counted.o"], str(tmp_path), files=source, inputs=inputs)
        assert client.run(toolchain_of("gcc"), spec).exit_code == 0
    text = fetch(int(port[1]), "127.0.0.1")
    head, _, body = text.partition("\n\n")
    assert head.startswith("HTTP/1.0 200 OK\n") and "Content-Type: text/plain" in head
    lines = body.splitlines()
    assert lines[:2] == ["argv /distccd", "<distccstats>"] and lines[-1] == "</distccstats>"
    values = counters(text)
    for name in ("dcc_tcp_accept", "dcc_compile_ok", "dcc_num_compiles1"):
        assert int(values[name]) == int(before[name]) + 1, name
    assert values["dcc_max_kids"] == "2" and values["dcc_compile_error"] == before["dcc_compile_error"]
    assert values["dcc_longest_job"] == f"{tmp_path}/counted.c" or int(before["dcc_compile_ok"])
    assert {"dcc_compile_ok", "dcc_longest_job", "dcc_num_compiles3", "dcc_free_space", "dcc_load1"} <= set(values)
    assert fetch(int(port[1]), "127.0.0.2") == ""  # not to those who may not connect


def test_doctor_looks_at_the_node(node: Configured, tmp_path: Path) -> None:
    node.reload("ALLOWEDNETS=127.0.0.1\nJOBS=2\n")
    program = [NODE[0], "-c", NODE[2].replace("manycc.cli.node", "manycc.cli.doctor")]

    def doctor(settings: str) -> str:
        (tmp_path / "node.toml").write_text(settings)
        return run(program, env={**os.environ, "MANYCC_DIR": str(tmp_path), "MANYCC_IDLE": "1"}).stdout

    said = doctor(f'port = {node.port}\nallow = ["127.0.0.1", "10.0.0.0/8"]\n')
    who = rf"port {node.port} of 127.0.0.1: .*\(process {node.process.pid}\), a node with 2 slots"
    assert re.search(rf"^ok +node-port: {who}", said, re.MULTILINE)
    words = r"^warn +node-access: .*10\.0\.0\.0/8 may send work .* but the node listens on 127\.0\.0\.1 only\n +do: "
    assert re.search(words, said, re.MULTILINE)
    assert re.search(r"^ok +node-compiler: gcc: gcc ", said, re.MULTILINE)
    said = doctor(f'port = {node.port}\nlisten = "*"\nallow = "10.0.0.0/8"\n')
    words = rf"^warn +node-access: what runs on port {node.port} listens on 127\.0\.0\.1, not as set here"
    assert re.search(words, said, re.MULTILINE)
    said = doctor("allow = '10.0.0.0/33'\n")
    assert re.search(r"^fail +node-settings: .*node.toml: '10.0.0.0/33' is not a network", said, re.MULTILINE)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        said = doctor(f"port = {other.getsockname()[1]}\nallow = '0.0.0.0/0'\n")
    who = rf"is held by .*\(process {os.getpid()}\), which does not answer as a node"
    assert re.search(rf"^warn +node-port: .* {who}", said, re.MULTILINE)
    assert re.search(r"^warn +node-access: everyone may send work", said, re.MULTILINE)


def counters(text: str) -> dict[str, str]:
    """The counters of an answer, by name."""
    return dict(line.split(" ", 1) for line in text.splitlines() if line.startswith("dcc_"))


def fetch(port: int, source: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0)) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(65536):
                data += piece
    return data.decode()


def test_a_service_manager_passes_the_socket_and_hears_of_the_state(tmp_path: Path) -> None:
    with socket.socket() as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S)
        fd = listening.fileno()
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", AS_FD_3, str(fd), *NODE, "--no-config", "--store", str(tmp_path / "store"),
             "--port", "1", "--listen", "192.0.2.1", "--log-file", str(tmp_path / "log")],
            pass_fds=[fd], env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        listening.close()
        try:
            said = manager.recv(4096).decode().splitlines()
            assert said[0] == "READY=1" and str(port) in said[1]
            with NativeClient(port) as client:
                assert client.welcome["sandbox"] == "bubblewrap"
            process.send_signal(signal.SIGHUP)
            first, second = manager.recv(4096).decode().splitlines()
            assert first == "RELOADING=1" and re.fullmatch(r"MONOTONIC_USEC=\d+", second)
            assert manager.recv(4096).startswith(b"READY=1\n")
            process.terminate()
            assert manager.recv(4096).startswith(b"STOPPING=1\n")
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()


def test_a_descriptor_that_is_no_listening_socket_is_an_error(tmp_path: Path) -> None:
    with open(os.devnull) as null:
        done = run(
            [sys.executable, "-c", AS_FD_3, str(null.fileno()), *NODE, "--store", str(tmp_path / "s")],
            pass_fds=[null.fileno()],
        )
    assert done.returncode == 1
    assert "descriptor 3 is no socket" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ALLOWEDNETS=192.168.0.0/33\n", "manycc, line 1: '192.168.0.0/33' is not a network"),
        ("ALLOWEDNETS='192.168.0.7/24'\n", "has host bits set"),
        ("PORT=$(id)\n", "would be computed by a shell"),
        ('JOBS="4\n', "is not closed"),
        ("JOBS 4\n", "no KEY=VALUE"),
    ],
)
def test_a_node_does_not_start_with_a_broken_file(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "manycc"
    file.write_text(text)
    done = run([*NODE, "--config", str(file), "--store", str(tmp_path / "s")])
    assert done.returncode == 2
    assert words in done.stderr and str(file) in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_distccs_own_settings_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "distcc"
    file.write_text(
        '# defaults\nSTARTDISTCC="false"\nALLOWEDNETS="192.168.1.7/24 10.0.0.1"\nNICE="7"\nZEROCONF="true"\n'
    )
    line = [*NODE, "--no-config", f"--from-distcc-default={file}", "--show-settings"]
    idle = run(line)
    assert idle.returncode == 0 and "not started" in idle.stderr and f"{file}, line 2" in idle.stderr
    file.write_text(file.read_text().replace("false", "true"))
    shown = run([*line, "--nice", "3"])
    assert shown.returncode == 0, shown.stderr
    assert f"allow = 192.168.1.0/24 10.0.0.1/32 ({file}, line 3)" in shown.stdout
    assert "nice = 3 (a flag)" in shown.stdout
    assert "listen = * (distccd's default" in shown.stdout
    assert "does not announce itself by zeroconf" in shown.stdout
    file.write_text(file.read_text().replace("10.0.0.1", "10.0.0.1/33"))
    wrong = run(line)
    assert wrong.returncode == 2 and "line 3: '10.0.0.1/33' is not a network" in wrong.stderr


# -- under distccd's name


def test_distccd_in_the_background(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    options = ["--daemon", "--allow", "127.0.0.1", "--enable-tcp-insecure", "--log-file", "log", "--port", str(port)]
    done = run([*DISTCCD, *options, "--verbose", "--pid-file", "pid"], cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pid = int((tmp_path / "pid").read_text())
    try:
        with NativeClient(port) as client:
            assert client.welcome["slots"] == len(os.sched_getaffinity(0)) + 2
        again = run([*DISTCCD, *options, "--pid-file", "other"], cwd=tmp_path, env=environment)
        assert again.returncode == 102 and f"(process {pid}) listens there" in again.stderr
        assert not (tmp_path / "other").exists()
        log = (tmp_path / "log").read_text()
        assert re.search(rf"^distccd\[{pid}\] \(\w+\) listening on", log, re.MULTILINE)
        assert "--enable-tcp-insecure has no effect" in log
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: ended(pid) and not (tmp_path / "pid").exists())


def test_distccd_ends_after_its_lifetime(tmp_path: Path) -> None:
    line = [*DISTCCD, "--daemon", "--no-detach", "--lifetime=1", "--port", "0", "--log-stderr", "--allow", "127.0.0.1"]
    done = run(line, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0 and "Traceback" not in done.stderr


@contextlib.contextmanager
def on_stdin(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A distccd that was greeted on stdin, and has greeted back on stdout."""
    greeting = native.pack([native.HELLO, {"version": native.VERSION, "release": "test", "name": "by ssh"}])
    with subprocess.Popen(
        [*DISTCCD, "--inetd", "--enable-tcp-insecure", "--log-file", str(folder / "log"), "--verbose", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)},
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(native.PREAMBLE + greeting)
        process.stdin.flush()
        framer = native.Framer()
        messages: list[Any] = []
        while not messages:
            data = os.read(process.stdout.fileno(), 65536)
            assert data, content(folder / "log")
            messages += framer.feed(data)
        assert messages[0][0] == native.WELCOME
        yield process
        process.stdin.close()
        assert process.wait(WAIT_S) == 0


def test_distccd_for_one_client_on_stdin(tmp_path: Path) -> None:
    with on_stdin(tmp_path, "--port", str(free_port())):
        assert "serving one client" in content(tmp_path / "log")


def test_a_client_on_stdin_is_passed_on_to_a_node_that_runs(node: Configured, tmp_path: Path) -> None:
    node.reload("ALLOWEDNETS=127.0.0.1\nJOBS=2\n")
    before = node.log().count("connected: by ssh")
    with on_stdin(tmp_path, "--port", str(node.port)):
        wait_for(lambda: node.log().count("connected: by ssh") == before + 1)
        assert not (tmp_path / "log").exists()
    node.reload("ALLOWEDNETS=10.0.0.0/8\n")  # what does not let this machine in is of no use
    with on_stdin(tmp_path, "--port", str(node.port)):
        assert "serving one client" in content(tmp_path / "log")


def test_a_super_server_on_the_nodes_own_port_is_not_taken_for_a_node(tmp_path: Path) -> None:
    """It would start another distccd for the question, and that one another."""
    greeting = native.pack([native.HELLO, {"version": native.VERSION, "release": "test", "name": "by inetd"}])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client:
            connection, _ = server.accept()
            line = [*DISTCCD, "--inetd", "--port", str(port), "--log-file", str(tmp_path / "log"), "--verbose"]
            process = subprocess.Popen(
                line, stdin=connection, stdout=connection, env={**os.environ, "TMPDIR": str(tmp_path)}
            )
            connection.close()
            client.sendall(native.PREAMBLE + greeting)
            (welcome, *_) = native.Framer().feed(client.recv(65536))
            assert welcome[0] == native.WELCOME
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.accept()
        assert process.wait(WAIT_S) == 0


# -- what is shipped for systems


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(PACKAGING / "systemd" / name)
    return parser


def test_the_units_are_sound(tmp_path: Path) -> None:
    service, sock = unit("manycc-node.service"), unit("manycc-node.socket")
    assert service["Service"]["Type"] == "notify" and service["Service"]["User"] == "manycc"
    assert "HUP" in service["Service"]["ExecReload"] and service["Service"]["KillMode"] == "mixed"
    assert sock["Socket"]["ListenStream"] == "3632" and "Accept" not in sock["Socket"]
    # Each of these would keep bubblewrap from sealing compiles.
    words = "RestrictNamespaces PrivateUsers ProtectHostname SystemCallFilter ProtectProc ProtectKernelTunables"
    assert not {*words.split(), "ProtectKernelLogs", "MemoryDenyWriteExecute"} & set(service["Service"])
    assert "AF_NETLINK" in service["Service"]["RestrictAddressFamilies"]
    _, verb, *options = service["Service"]["ExecStart"].split()
    assert verb == "node" and run([*NODE, *options, "--show-settings"]).returncode == 0


def test_systemd_likes_the_units(tmp_path: Path) -> None:
    need("systemd-analyze")
    program = tmp_path / "manycc-cli"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("manycc-node.service", "manycc-node.socket"):
        text = (PACKAGING / "systemd" / name).read_text().replace("/opt/manycc/bin/manycc-cli", str(program))
        (tmp_path / name).write_text(text)
    done = run(
        ["systemd-analyze", "verify", str(tmp_path / "manycc-node.service"), str(tmp_path / "manycc-node.socket")]
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_of_settings_can_be_read() -> None:
    done = run([*NODE, "--config", str(PACKAGING / "default" / "manycc"), "--show-settings"])
    assert done.returncode == 0, done.stderr
    assert f"nice = 10 ({PACKAGING}/default/manycc, line" in done.stdout and "note:" not in done.stdout
    commented = re.findall(r"^#([A-Z_]+)=", (PACKAGING / "default" / "manycc").read_text(), re.MULTILINE)
    assert len(commented) > 5


def test_files_are_placed_for_a_package(tmp_path: Path) -> None:
    install = [str(PACKAGING / "install.sh")]
    env = {**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/usr/lib/manycc"}
    assert run(install, env=env, umask=0o077).returncode == 0
    assert (tmp_path / "etc/systemd/system").stat().st_mode & 0o777 == 0o755  # for the node's own user
    service = tmp_path / "etc/systemd/system/manycc-node.service"
    assert "ExecStart=/usr/lib/manycc/bin/manycc-cli node" in service.read_text()
    assert (tmp_path / "etc/systemd/system/manycc-node.socket").exists()
    assert "copytruncate" in (tmp_path / "etc/logrotate.d/manycc-node").read_text()
    settings = tmp_path / "etc/default/manycc"
    settings.write_text("JOBS=3\n")
    assert run(install, env={**os.environ, "DESTDIR": str(tmp_path)}).returncode == 0
    assert settings.read_text() == "JOBS=3\n"  # what is there is somebody's
