"""A job whose host is stuck is done a second time, elsewhere or here: one object, one record, and no loser left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.testing.cluster import Cluster

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None or shutil.which("g++") is None, reason="NOT TESTED: needs bwrap, g++"
)

SOURCE = """constexpr unsigned long f(unsigned long n) {{
    unsigned long x = n; for (unsigned long i = 0; i < 200000ul; ++i) x = x * 31 + i; return x; }}
constexpr unsigned long v = f({number});
unsigned long g() {{ return v; }}
"""
OPTIONS = ["-std=c++17", "-fconstexpr-ops-limit=4000000000", "-fconstexpr-loop-limit=2000000000"]
LIMIT_S = 90.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(str(tmp_path_factory.mktemp("cluster")), nodes=2, jobs=1, env={"MANYCC_RACE": "on"}) as made:
        yield made


def compilers_of(name: str) -> list[int]:
    """The processes of cc1plus that compile a source of that name, wherever they run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"cc1plus") and name.encode() in words:
            found.append(int(pid))
    return found


def wait_for(name: str, count: int) -> list[int]:
    """The compilers of a source, once there are so many."""
    end = time.monotonic() + LIMIT_S
    while len(found := compilers_of(name)) != count:
        assert time.monotonic() < end, f"{len(found)} compilers of {name}"
        os.sched_yield()
    return found


def race(cluster: Cluster, work: Path, name: str, hosts: str) -> dict[str, Any]:
    """Compile a source twice, the second time with its host's compiler stopped. The second's record."""
    argv = ["g++", *OPTIONS, "-c", name, "-o", "raced.o"]
    (work / name).write_text(SOURCE.format(number=1))
    before = len(cluster.records())
    env = {**cluster.env, "MANYCC_HOSTS": hosts}
    subprocess.run([cluster.launcher, *argv], cwd=work, env=env, check=True, timeout=LIMIT_S)
    (work / name).write_text(SOURCE.format(number=2))
    with subprocess.Popen([cluster.launcher, *argv], cwd=work, env=env) as build:
        (stuck,) = wait_for(name, 1)
        os.kill(stuck, signal.SIGSTOP)
        try:
            assert build.wait(LIMIT_S) == 0
            wait_for(name, 0)
        finally:
            if stuck in compilers_of(name):
                os.kill(stuck, signal.SIGKILL)
    raced = (work / "raced.o").read_bytes()
    subprocess.run(argv, cwd=work, check=True)
    assert raced == (work / "raced.o").read_bytes()
    assert sorted(os.listdir(work)) == sorted([name, "raced.o"])
    records = cluster.wait_records(before + 2)
    assert len(records) == before + 2
    return records[-1]


def test_another_node_is_sooner(cluster: Cluster, tmp_path: Path) -> None:
    record = race(cluster, tmp_path, "elsewhere.cc", cluster.env["MANYCC_HOSTS"])
    names = {f"127.0.0.1:{node.port}" for node in cluster.nodes}
    assert record["reason"] == "remote"
    assert {record["host"], record["raced"]} == names


def test_this_machine_is_sooner(cluster: Cluster, tmp_path: Path) -> None:
    record = race(cluster, tmp_path, "here.cc", cluster.nodes[0].host)
    assert (record["reason"], record["raced"]) == ("local-slot", f"127.0.0.1:{cluster.nodes[0].port}")
    assert "done here sooner" in record["detail"]
