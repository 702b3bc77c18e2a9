"""Agents and compilers that are replaced while work goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from support import SLOW, compilers, local_object, until

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need, need_root
from manycc.wire import launcher as wire


def connect(cluster: Cluster) -> socket.socket:
    folder = os.open(os.path.join(cluster.client, "run"), os.O_PATH)
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(f"/proc/self/fd/{folder}/agent.sock")
    finally:
        os.close(folder)
    return sock


def request(cluster: Cluster, work: Path, version: str) -> bytes:
    argv = ["gcc", "-c", "a.c"]
    return wire.build_request(wire.Request(version, "/usr/bin/gcc", str(work), argv, cluster.env, 0o22, 0, 0))


def compiled(cluster: Cluster, work: Path, *argv: str) -> str:
    """Compile once in good order; the reason it is recorded with."""
    count = len(cluster.records())
    done = cluster.compile(argv or ("gcc", "-c", "a.c", "-o", "a.o"), str(work))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return str(cluster.wait_records(count + 1)[-1]["reason"])


def test_agent_of_another_version_is_replaced_while_a_job_is_under_way(cluster: Cluster, work: Path) -> None:
    (work / "b.cc").write_text(SLOW)
    argv = ["g++", "-ftemplate-depth=1000", "-c", "b.cc", "-o", "a.o"]
    wanted = local_object(work, argv)
    compiled(cluster, work)
    old = cluster.agent_pid()
    slow = subprocess.Popen([cluster.launcher, *argv], cwd=work, env=cluster.env, stderr=subprocess.PIPE)
    until(lambda: compilers("b.cc"))
    with connect(cluster) as newer:
        newer.sendall(request(cluster, work, "999.0"))
        assert newer.recv(100) == wire.OTHER_VERSION
        assert newer.recv(100) == b""
    assert compiled(cluster, work, "gcc", "-DX", "-c", "a.c", "-o", "x.o") == "remote"  # by the successor
    assert cluster.agent_pid() not in (0, old)
    assert slow.poll() is None
    _, stderr = slow.communicate(timeout=60)
    assert (slow.returncode, stderr) == (0, b"")
    assert (work / "a.o").read_bytes() == wanted
    assert [record["reason"] for record in cluster.wait_records(3)] == ["remote"] * 3
    until(lambda: not os.path.exists(f"/proc/{old}"))


def test_launchers_that_come_while_the_agent_ends(cluster: Cluster, work: Path) -> None:
    compiled(cluster, work)
    pid = cluster.agent_pid()
    os.kill(pid, signal.SIGSTOP)
    early = [connect(cluster) for _ in range(3)]  # in line, not yet noticed
    for sock in early[:2]:
        sock.sendall(request(cluster, work, "999.0"))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    for sock in early[:2]:
        assert sock.recv(100) == wire.OTHER_VERSION
    early[2].sendall(request(cluster, work, "999.0"))
    assert early[2].recv(100) == wire.OTHER_VERSION
    for sock in early:
        sock.close()
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert {record["by"] for record in cluster.records()} == {"agent"}


def test_no_job_is_lost_while_agents_end_and_begin(cluster: Cluster, work: Path) -> None:
    compiled(cluster, work)
    count = 40
    jobs = []
    for number in range(count):
        argv = [cluster.launcher, "gcc", f"-DN={number}", "-c", "a.c", "-o", f"{number}.o"]
        jobs.append(subprocess.Popen(argv, cwd=work, env=cluster.env))
        if number % 10 == 5:
            cluster.cli("agent", "stop", check=False)
    assert [job.wait(60) for job in jobs] == [0] * count
    records = cluster.wait_records(count + 1)
    assert len(records) == count + 1
    assert {record["reason"] for record in records} <= {"remote", "cached", "agent-missing"}


def test_host_list_of_whoever_started_the_agent_is_not_everyones(cluster: Cluster, work: Path) -> None:
    assert compiled(cluster, work) == "remote"
    del cluster.env["MANYCC_HOSTS"]
    assert compiled(cluster, work, "gcc", "-DX", "-c", "a.c") == "no-hosts"


def make_compiler(place: Path) -> Path:
    """A gcc of its own in ``place``, which finds its parts where they are."""
    (place / "bin").mkdir(parents=True)
    driver = place / "bin" / "gcc"
    shutil.copy(os.path.realpath(shutil.which("gcc") or ""), driver)
    for name in ("as", "objcopy"):
        shutil.copy(os.path.realpath(shutil.which(name) or ""), place / "bin")
    cc1 = subprocess.check_output(["gcc", "-print-prog-name=cc1"], text=True).strip()
    parts = place / "lib" / "gcc" / os.path.relpath(os.path.dirname(cc1), "/usr/lib/gcc")
    parts.mkdir(parents=True)
    shutil.copy(cc1, parts)
    return driver


def upgrade(driver: Path) -> None:
    """As a package manager does: a new file takes the old one's place."""
    new = driver.with_name("new")
    shutil.copy(driver, new)
    with open(new, "ab") as file:
        file.write(b"\0")
    os.rename(new, driver)


def test_compiler_upgraded_on_both_sides(tmp_path: Path, work: Path) -> None:
    need("unshare")
    need_root("have a node with a compiler of its own")
    mine = make_compiler(tmp_path / "T")
    theirs = tmp_path / "theirs"
    shutil.copytree(tmp_path / "T", theirs)
    argv = (str(mine), "-c", "a.c", "-o", "a.o")
    with Cluster(str(tmp_path / "c"), nodes=0) as cluster:
        cluster.env["PATH"] = f"{mine.parent}:{cluster.env['PATH']}"
        cli = os.path.join(os.path.dirname(cluster.launcher), "manycc-cli")
        read, write = os.pipe()
        node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f'mount --bind {theirs} {tmp_path / "T"} && exec "$0" "$@"', cli,
             "node", "--port", "0", "--ready-fd", str(write), "--log-file", str(tmp_path / "node.log"),
             "--sandbox", "off"],  # takes no other compiler than the very same
            pass_fds=(write,), env={**cluster.env, "MANYCC_DIR": str(tmp_path / "n")},
        )  # fmt: skip
        os.close(write)
        try:
            with os.fdopen(read) as pipe:
                cluster.env["MANYCC_HOSTS"] = f"127.0.0.1:{pipe.readline().strip()}/2"
            assert compiled(cluster, work, *argv) == "remote"
            agent = cluster.agent_pid()

            upgrade(mine)  # here only
            assert compiled(cluster, work, *argv) == "no-toolchain"
            assert "driver" in cluster.records()[-1]["detail"]
            upgrade(theirs / "bin" / "gcc")  # there too; the node is asked again soon
            until(lambda: compiled(cluster, work, *argv) in ("remote", "cached"), limit_s=60)

            upgrade(theirs / "bin" / "gcc")  # there only
            assert compiled(cluster, work, *argv, "-DX") == "no-toolchain"
            assert "changed" in cluster.records()[-1]["detail"]
            assert cluster.agent_pid() == agent and node.poll() is None
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait(20)


def test_launcher_that_asks_for_nothing_does_not_keep_the_agent(tmp_path: Path, work: Path) -> None:
    with Cluster(str(tmp_path / "c"), nodes=0, env={"MANYCC_IDLE": "1"}) as cluster:
        compiled(cluster, work)
        pid = int(Path(cluster.client, "run", "agent.run").read_text())
        began = time.monotonic()
        with connect(cluster) as mute:
            assert mute.recv(100) == wire.PING
            until(lambda: not os.path.exists(f"/proc/{pid}"), limit_s=40)
        assert time.monotonic() - began > 5
