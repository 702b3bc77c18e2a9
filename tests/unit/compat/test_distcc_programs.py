"""distcc's programs by name: the folders they are put into, and what they answer by themselves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.cli.launcher import find_launcher
from manycc.cli.main import PROGRAMS
from manycc.compat import distcc, distccmon, lsdistcc, pump
from manycc.compat.programs import hidden_from_others, link_compilers, link_programs
from manycc.errors import ConfigError, ManyccError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MANYCC_DIR for this process and its children, and nothing of distcc's in the environment."""
    for name in list(os.environ):
        if name.startswith(("DISTCC_", "LSDISTCC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MANYCC_DIR", str(tmp_path / "m"))
    return tmp_path


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        check=False,
    )  # fmt: skip


def test_a_folder_of_all_programs(home: Path) -> None:
    done = run(find_launcher(), "compat", "--path")
    folder = home / "m" / "cache" / "compat"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{folder}\n", "")
    assert set(os.listdir(folder)) == set(PROGRAMS)
    assert os.readlink(folder / "distcc") == find_launcher()
    for name in PROGRAMS:
        asked = run(str(folder / name), "--help")
        assert asked.returncode == (1 if name == "lsdistcc" else 0)
        assert "sage:" in asked.stdout and asked.stderr == ""
    # Through PATH alone, and under a locale without UTF-8.
    asked = run("sh", "-c", "distcc --version && distccd --version", PATH=f"{folder}:/usr/bin:/bin", LC_ALL="POSIX",
                PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")  # fmt: skip
    assert asked.stdout.count("(default port 3632)") == 2 and asked.returncode == 0


def test_installing(home: Path) -> None:
    folder = home / "bin"
    for _ in range(2):
        done = run(find_launcher(), "compat", "--install", str(folder))
        assert (done.returncode, done.stdout.count("\n")) == (0, len(PROGRAMS))
    (folder / "distccd").unlink()
    (folder / "distccd").write_text("somebody else's")
    done = run(find_launcher(), "compat", "--install", str(folder))
    assert done.returncode == 1 and f"{folder}/distccd is in the way" in done.stderr and "hint:" in done.stderr
    assert (folder / "distccd").read_text() == "somebody else's"
    done = run(find_launcher(), "compat", "--install", "/proc/self")
    assert done.returncode == 1 and "cannot be filled" in done.stderr
    assert run(find_launcher(), "compat", "--install", "").returncode == 2
    assert run(find_launcher(), "compat").returncode == 2


def test_compilers_that_lead_to_distcc(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools, folder = home / "tools", home / "lib" / "distcc" / "bin"
    tools.mkdir()
    for name in ("gcc", "g++", "x86_64-pc-linux-gnu-gcc", "clang-14", "as", "c99"):
        shutil.copy("/bin/true", tools / name)
    (folder).mkdir(parents=True)
    (folder / "gcc").symlink_to("../../bin/distcc")  # as another package left it
    link_compilers(str(folder), {"PATH": f"{folder}:{tools}"})
    found = {name: os.readlink(folder / name) for name in os.listdir(folder)}
    assert found.pop("distcc") == find_launcher()
    assert found == dict.fromkeys(("gcc", "g++", "x86_64-pc-linux-gnu-gcc", "clang-14"), "distcc")
    (folder / "g++").unlink()
    (folder / "g++").write_text("a real one")
    with pytest.raises(ManyccError, match="in the way"):
        link_compilers(str(folder), {"PATH": str(tools)})
    with pytest.raises(ManyccError, match="no compiler in PATH"):
        link_compilers(str(folder), {"PATH": str(home)})


def test_links_that_others_cannot_follow(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "x").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "closed" / "x")
    assert hidden_from_others(str(tmp_path / "link")) == str(tmp_path / "closed")
    assert hidden_from_others("/bin/sh") == ""


# -- distcc's questions


def test_hosts_are_shown_and_counted(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DISTCC_HOSTS", "h/3:99 127.0.0.1:99/2,lzo localhost/2 me@x/3:/p [::1]/2 z/9,down --randomize")
    assert distcc.main(["--show-hosts"]) == 0
    assert capfd.readouterr().out.split() == [
        "h:99/3",
        "127.0.0.1:99/2,lzo",
        "localhost/2",
        "me@x/3:/p",
        "[::1]/2",
        "z/9,down",
    ]
    assert distcc.main(["-j"]) == 0
    assert capfd.readouterr().out == "12\n"


@pytest.mark.parametrize("question", ["--show-hosts", "-j"])
def test_no_hosts_are_an_error(
    question: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("DISTCC_HOSTS", "--localslots=3")
    assert distcc.main([question]) == 116
    said = capfd.readouterr()
    assert said.out == "" and "can't distribute work" in said.err
    monkeypatch.setenv("DISTCC_LOG", str(tmp_path / "log"))
    assert distcc.main([question]) == 116
    assert capfd.readouterr().err == "" and "can't distribute work" in (tmp_path / "log").read_text()


def test_other_questions(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert distcc.main([]) == 101
    assert "distcc --help" in capfd.readouterr().err
    assert distcc.main(["--show-principal"]) == 100
    monkeypatch.setenv("DISTCC_HOSTS", "127.0.0.1,lzo")
    assert distcc.main(["--scan-includes", "gcc", "-c", "a.c"]) == 100
    assert "hosts list includes ',cpp'" in capfd.readouterr().err
    monkeypatch.setenv("DISTCC_HOSTS", "127.0.0.1,lzo,cpp")
    assert distcc.main(["--scan-includes", "nosuchcc", "-c", "a.c"]) == 110
    assert "failed to exec" in capfd.readouterr().err


# -- distccmon-text


def test_the_monitors_columns() -> None:
    jobs = [
        {"pid": 12, "phase": "remote", "source": "lib/a.c", "host": "pi:3632"},
        {"pid": 1234567, "phase": "prepare", "source": "", "compiler": "gcc", "host": ""},
        {"pid": 13, "phase": "remote", "source": "b" * 40 + "\x1b[1m", "host": "pi:3632"},
        {"phase": "new one"},
        "nonsense",
    ]
    assert distccmon.lines(jobs) == [
        "    12  Compile     lib/a.c                                         pi:3632[0]",
        "1234567  Preprocess  gcc                                                    [0]",
        "    13  Compile     " + "b" * 30 + "                  pi:3632[1]",
        "     0  Startup                                                            [1]",
    ]


@pytest.mark.parametrize("words", [["x"], ["nan"], ["-1"], ["1", "2"], ["inf"]])
def test_the_monitor_refuses_what_is_no_time(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert distccmon.main(words) == 101
    assert "no number of seconds" in capfd.readouterr().err


def test_the_monitor_without_an_agent(capfd: pytest.CaptureFixture[str]) -> None:
    assert distccmon.main([]) == 0
    assert capfd.readouterr().out == "\n"


# -- lsdistcc


@pytest.fixture
def port() -> Iterator[int]:
    """Of something that listens on 127.0.0.1, and hangs up after it has read a little."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(5)
                    peer.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_hosts_that_listen_are_listed(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert lsdistcc.main([f"-r{port}", "127.0.0.1", "no.such.host.invalid", "127.0.0.2", "localhost"]) == 0
    said = capfd.readouterr()
    assert said.out.split() == [f"127.0.0.1:{port}", f"localhost:{port}"] and said.err == ""
    assert lsdistcc.main(["-r", str(port), "-x", "-v", "-P3", "-n", "localhost", "127.0.0.2"]) == 0
    said = capfd.readouterr()
    assert said.out.split() == [f"127.0.0.1:{port},lzo,cpp", f"127.0.0.2:{port},lzo,cpp,down"]
    assert "127.0.0.2: " in said.err
    assert lsdistcc.main([f"-r{port}", "127.0.0.2"]) == 1


def test_a_pattern_counts_until_a_name_is_not_known(capfd: pytest.CaptureFixture[str]) -> None:
    assert lsdistcc.main(["-c0", "127.0.0.%d"]) == 0
    out = capfd.readouterr().out.split()
    assert out == [f"127.0.0.{number}" for number in range(1, 256)]
    assert lsdistcc.main(["-c0", "-m24", "-l", "127.0.%d.1"]) == 0
    assert capfd.readouterr().out == "127.0.1.1 0\n"


def test_a_host_that_does_not_compile_is_left_out(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert lsdistcc.main([f"-r{port}", "-v", "-pgcc", "127.0.0.1"]) == 1
    said = capfd.readouterr()
    assert said.out == "" and "127.0.0.1: " in said.err


@pytest.mark.parametrize("words", [["-r70000"], ["-P0"], ["-P4"], ["-tx"], ["--what"], ["-q"], ["-m"]])
def test_wrong_options_are_told(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert lsdistcc.main([*words, "127.0.0.1"]) == 1
    said = capfd.readouterr()
    assert "Usage:" in said.err and said.out == ""


# -- pump


def test_what_startup_prints_can_be_evaluated(home: Path) -> None:
    """Whatever the folders are called."""
    strange = home / 'it\'s $(touch x) "quoted"\nand more'
    strange.mkdir()
    folder = link_programs(str(home / "p"))[0].rpartition("/")[0]
    script = 'set -eu; eval "$(pump --startup)"; command -v distcc; pump --shutdown'
    done = run("sh", "-c", script, PATH=f"{folder}:{strange}:/usr/bin:/bin", MANYCC_DIR=str(strange))
    assert (done.stdout, done.stderr) == (f"{strange}/cache/compat/distcc\n", "")
    assert not (home / "x").exists()


def test_a_command_runs_with_distcc_in_front_of_its_path(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = next(path for path in link_programs(str(home / "p")) if path.endswith("/pump"))
    done = run(program, "sh", "-c", 'command -v distcc; echo "$1"; exit 7', "x", "a b")
    assert (done.returncode, done.stdout) == (7, f"{home}/m/cache/compat/distcc\na b\n")
    done = run(program, "nosuchprogram")
    assert done.returncode == 127 and "nosuchprogram: not found" in done.stderr
    assert run(program, "--bogus").returncode == run(program).returncode == 1


def test_pump_looks_for_hosts_where_that_is_left_to_it(port: int) -> None:
    env = {**os.environ, "DISTCC_POTENTIAL_HOSTS": "127.0.0.1 127.0.0.2", "LSDISTCC_ARGS": f"-r{port} -P3"}
    assert pump.changes(env)["DISTCC_HOSTS"] == f"127.0.0.1:{port},lzo,cpp"
    assert "DISTCC_HOSTS" not in pump.changes({**env, "DISTCC_HOSTS": "pi"})


def test_what_goes_wrong_when_pump_looks_for_hosts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    env = {**os.environ, "DISTCC_POTENTIAL_HOSTS": "127.0.0.1"}
    with pytest.raises(ConfigError, match="LSDISTCC_ARGS=-p'gcc"):
        pump.changes({**env, "LSDISTCC_ARGS": "-p'gcc"})
    assert pump.changes({**env, "LSDISTCC_ARGS": "-r1"})["DISTCC_HOSTS"] == ""
    assert "no machine of DISTCC_POTENTIAL_HOSTS serves compiles" in capfd.readouterr().err
    monkeypatch.setattr(pump, "LOOK_S", 0.001)
    assert pump.changes(env)["DISTCC_HOSTS"] == ""


def test_python_runs_them_by_the_name_it_is_told() -> None:
    done = run(sys.executable, "-m", "manycc.cli", "--show-hosts", MANYCC_CALLED="distcc", DISTCC_HOSTS="pi/3")
    assert done.stdout == "pi/3\n"
    done = run(sys.executable, "-m", "manycc.cli", "-j", MANYCC_CALLED="distcc", DISTCC_HOSTS="a:x")
    assert done.returncode == 100 and done.stderr.startswith("distcc: DISTCC_HOSTS (environment): host list, column 1")
