"""Whatever breaks, the build gets the right object, and the record says what broke."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from proxy import CuttingProxy
from support import ARGV, SLOW, SLOW_NAME, SMALL, any_process, check, compilers, local_object, until

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need, need_root
from manycc.wire import native


def test_no_node(cluster: Cluster, work: Path) -> None:
    cluster.nodes[0].stop()
    record = check(cluster, work)
    assert record["reason"] == "hosts-down"
    assert "refused" in record["detail"].lower()


def test_no_hosts_configured(cluster: Cluster, work: Path) -> None:
    del cluster.env["MANYCC_HOSTS"]
    assert check(cluster, work)["reason"] == "no-hosts"


def test_node_comes_back(cluster: Cluster, work: Path) -> None:
    cluster.nodes[0].stop()
    assert check(cluster, work)["reason"] == "hosts-down"
    cluster.nodes[0].start()
    until(lambda: check(cluster, work)["reason"] in ("remote", "cached"))


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, native.pack([native.WELCOME]), b""]
)
def test_garbage_from_a_port_that_is_no_node(cluster: Cluster, work: Path, greeting: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(greeting)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    cluster.env["MANYCC_HOSTS"] = f"127.0.0.1:{listener.getsockname()[1]}/2"
    try:
        record = check(cluster, work)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
    assert record["reason"] == "hosts-down"
    if greeting:
        assert "protocol" in record["detail"]


def test_node_killed_in_the_middle(cluster: Cluster, work: Path) -> None:
    (work / SLOW_NAME).write_text(SLOW)
    argv = ["g++", "-ftemplate-depth=1000", "-c", SLOW_NAME, "-o", "a.o"]
    wanted = local_object(work, argv)
    process = subprocess.Popen([cluster.launcher, *argv], cwd=work, env=cluster.env)
    until(lambda: compilers(SLOW_NAME))
    cluster.nodes[0].kill()
    assert process.wait(60) == 0
    assert (work / "a.o").read_bytes() == wanted
    record = cluster.wait_records(1)[-1]
    assert record["reason"] == "node-lost"
    until(lambda: not any_process(SLOW_NAME))


def test_remote_compiler_killed(cluster: Cluster, work: Path) -> None:
    (work / SLOW_NAME).write_text(SLOW)
    argv = ["g++", "-ftemplate-depth=1000", "-c", SLOW_NAME, "-o", "a.o"]
    wanted = local_object(work, argv)
    process = subprocess.Popen([cluster.launcher, *argv], cwd=work, env=cluster.env, stderr=subprocess.PIPE)
    for pid in until(lambda: compilers(SLOW_NAME)):
        os.kill(pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, b"")
    assert (work / "a.o").read_bytes() == wanted
    assert cluster.wait_records(1)[-1]["reason"] == "compiler-killed"


def test_caller_killed_cancels_on_the_node(cluster: Cluster, work: Path) -> None:
    (work / SLOW_NAME).write_text(SLOW)
    process = subprocess.Popen(
        [cluster.launcher, "g++", "-ftemplate-depth=1000", "-c", SLOW_NAME, "-o", "a.o"], cwd=work, env=cluster.env
    )
    until(lambda: compilers(SLOW_NAME))
    process.send_signal(signal.SIGINT)
    process.wait(10)
    until(lambda: not any_process(SLOW_NAME), limit_s=1.0)
    assert sorted(os.listdir(work)) == ["a.c", SLOW_NAME]
    assert cluster.wait_records(1)[-1]["reason"] == "cancelled"
    (work / "a.c").write_text(SMALL)
    assert check(cluster, work)["reason"] == "remote"  # its slot is free again


@pytest.mark.parametrize("cut", [0, 8, 60, 400, 5_000, 50_000, 150_000])
@pytest.mark.parametrize("way", ["up", "down"])
def test_connection_cut(cluster: Cluster, work: Path, cut: int, way: str) -> None:
    # Contents that no zstd shrinks, so that the cut falls inside an upload or a download.
    noise = ",".join(str(byte) for byte in os.urandom(60_000))
    (work / "a.c").write_text(f"unsigned char noise[] = {{ {noise} }};\n")
    proxy = CuttingProxy(cluster.nodes[0].port, **{way: cut})
    cluster.env["MANYCC_HOSTS"] = f"{proxy.host}/2"
    try:
        record = check(cluster, work)
    finally:
        proxy.close()
    if proxy.cuts:
        assert record["reason"] in ("node-lost", "hosts-down")
    else:
        assert record["reason"] == "remote"


def test_agent_killed_in_the_middle(cluster: Cluster, work: Path) -> None:
    (work / SLOW_NAME).write_text(SLOW)
    argv = ["g++", "-ftemplate-depth=1000", "-c", SLOW_NAME, "-o", "a.o"]
    wanted = local_object(work, argv)
    check(cluster, work)
    pid = cluster.agent_pid()
    process = subprocess.Popen([cluster.launcher, *argv], cwd=work, env=cluster.env)
    until(lambda: compilers(SLOW_NAME))
    os.kill(pid, signal.SIGKILL)
    assert process.wait(60) == 0
    assert (work / "a.o").read_bytes() == wanted
    assert cluster.wait_records(2)[-1]["reason"] == "agent-lost"
    assert check(cluster, work)["reason"] in ("remote", "cached")  # a new agent
    assert cluster.agent_pid() != pid


def test_agent_killed_while_a_compiler_runs_here(cluster: Cluster, work: Path) -> None:
    """Nothing is lost: the compiler is the caller's own process by then, and the next agent records the job."""
    (work / SLOW_NAME).write_text(SLOW)
    argv = ["g++", "-ftemplate-depth=1000", SLOW_NAME, "-shared", "-o", "a.so"]  # compiles and links at once
    running = subprocess.Popen([cluster.launcher, *argv], cwd=work, env=cluster.env)
    until(lambda: compilers(SLOW_NAME))
    os.kill(cluster.agent_pid(), signal.SIGKILL)
    assert running.wait(60) == 0 and (work / "a.so").exists()
    assert cluster.records() == []
    assert check(cluster, work)["reason"] == "remote"
    first, _ = cluster.wait_records(2)
    assert (first["reason"], first["pid"]) == ("not-compile", running.pid)
    assert first["detail"].endswith("the agent was killed before the job ended")


def test_agent_stopped_in_the_middle(cluster: Cluster, work: Path) -> None:
    check(cluster, work)
    pid = cluster.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    cluster.env["MANYCC_AGENT_TIMEOUT"] = "0.5"
    try:
        assert check(cluster, work)["reason"] == "agent-silent"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_store_damaged_on_disk(cluster: Cluster, work: Path) -> None:
    (work / "a.c").write_text("#include <stdio.h>\nint x;\n")
    assert check(cluster, work)["reason"] == "remote"
    damaged = 0
    for root, _, names in os.walk(cluster.nodes[0].state):
        for name in names:
            path = os.path.join(root, name)
            if "blobs" in root and os.path.getsize(path) < 100_000:
                os.chmod(path, 0o644)
                with open(path, "r+b") as file:
                    file.write(b"#error damaged\n")
                damaged += 1
    assert damaged > 10
    (work / "a.c").write_text("#include <stdio.h>\nint y;\n")
    assert check(cluster, work)["reason"] == "remote"


def test_wrong_toolchain_is_refused_with_the_difference(tmp_path: Path, work: Path) -> None:
    need("unshare")
    need_root("have a node with another compiler")
    driver = os.path.realpath("/usr/bin/gcc")
    other = tmp_path / "gcc"
    shutil.copy(driver, other)
    with open(other, "ab") as file:
        file.write(b"patched")
    with Cluster(str(tmp_path / "c"), nodes=0) as cluster:
        read, write = os.pipe()
        command = f'mount --bind {other} {driver} && exec "$0" "$@"'
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", command, os.path.join(os.path.dirname(cluster.launcher), "manycc-cli"),
             "node", "--port", "0", "--ready-fd", str(write), "--log-file", str(tmp_path / "node.log"),
             "--sandbox", "off"],  # takes no other compiler than the very same
            pass_fds=(write,), env={**cluster.env, "MANYCC_DIR": str(tmp_path / "n")},
        )  # fmt: skip
        os.close(write)
        try:
            with os.fdopen(read) as pipe:
                port = pipe.readline().strip()
            cluster.env["MANYCC_HOSTS"] = f"127.0.0.1:{port}/2"
            record = check(cluster, work)
            assert record["reason"] == "no-toolchain"
            assert "driver" in record["detail"]
            explained = cluster.cli("explain", "--", *ARGV, cwd=str(work), check=False).stdout
            assert "driver" in explained
        finally:
            node.terminate()
            node.wait(20)


@pytest.mark.parametrize("megabytes", [8, 400])
def test_full_disk_on_the_node(tmp_path: Path, work: Path, megabytes: int) -> None:
    need_root("mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(disk)], check=True)
    try:
        with Cluster(str(tmp_path / "c"), nodes=1) as cluster:
            cluster.nodes[0].stop()
            cluster.nodes[0].state = str(disk / "node")
            cluster.nodes[0].arguments = ["--store-size", "1G"]
            cluster.nodes[0].start()
            cluster.env["MANYCC_HOSTS"] = cluster.nodes[0].host
            if megabytes > 100:  # room for the compiler, then none for a job
                assert check(cluster, work)["reason"] == "remote"
                with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(65536))
                noise = ",".join(str(byte) for byte in os.urandom(100_000))
                (work / "a.c").write_text(f"unsigned char noise[] = {{ {noise} }};\n")
            record = check(cluster, work)
            assert record["reason"] in ("node-disk", "no-toolchain"), record
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
