"""Clocks that jump, and files from other times.

The wall clock of an agent and a node is shifted by a library that a test can tell how far, also in the
middle of a job; the kernel's own, by which files get their times, stays: as with a file server whose clock is wrong.

==================================== ==================================================================
what happens                         what comes of it
==================================== ==================================================================
the wall clock jumps while a job     the job goes on (no time limit is counted by it); the durations in
runs, a day ahead or back            its record are right; its time is what the clock says
a file changes after such a jump     it is seen
a header changes, and gets a time    it is seen
of 1970, of 2100, or its old one
node and agent have been up for      nothing
years, or for a moment
==================================== ==================================================================
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from phases import PHASES, Work, agent_pid, held, node_pid, nothing_left
from support import until

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import lacking, need

BUSY_S = 30.0
DAY_S = 86400
SHIM = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    char text[32] = "";
    const char *path = getenv("SHIFT_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && read(fd, text, sizeof text - 1) < 0) text[0] = '\0';
    if (fd >= 0) close(fd);
    return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int result = (int)syscall(SYS_gettimeofday, now, zone);
    if (result == 0) now->tv_sec += shift();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) *out = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The wall clock of the shared agent and node."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "shift"
        source, library = folder / "shim.c", folder / "shim.so"
        source.write_text(SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.set(0)
        self.env = {"LD_PRELOAD": str(library), "SHIFT_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be so much ahead of the true one."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._file)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    need("gcc", "g++", "bwrap")
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Cluster]:
    with Cluster(str(tmp_path_factory.mktemp("clocks") / "c"), nodes=1, jobs=2) as cluster:
        (node,) = cluster.nodes
        node.stop()
        node.start({**os.environ, **clock.env})
        start_agent(cluster, **clock.env)
        yield cluster


def start_agent(cluster: Cluster, *front: str, **env: str) -> None:
    """Start it by hand: a job's environment must not have what its agent's has."""
    command = [*front, os.path.join(os.path.dirname(cluster.launcher), "manycc-cli"), "agent", "start"]
    subprocess.run(command, env={**cluster.env, **env}, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def right_time(clock: Clock) -> Iterator[None]:
    yield
    clock.set(0)


@pytest.mark.parametrize("shift", [DAY_S, -DAY_S, 30 * 365 * DAY_S], ids=["ahead", "back", "decades"])
def test_the_clock_jumps_while_a_job_runs(shared: Cluster, clock: Clock, tmp_path: Path, shift: int) -> None:
    work = Work(shared, tmp_path / "work", "slow", time.monotonic_ns())
    agent, node = agent_pid(shared), node_pid(shared)
    begun = time.monotonic()
    with held(shared, work, PHASES["compiling"], tmp_path / "strace"):
        clock.set(shift)
    assert work.ended(BUSY_S) == 0 and work.whole()
    until(work.reasons)
    assert work.reasons() == ["remote"]
    record = shared.records()[-1]
    assert abs(record["t"] - (time.time() + shift)) < BUSY_S
    assert 0 <= record["phases"]["total"] <= time.monotonic() - begun
    assert all(seconds >= 0 for seconds in (*record["phases"].values(), record["node"]["wall"], record["node"]["cpu"]))
    nothing_left(shared)
    after = Work(shared, tmp_path / "after", "small", time.monotonic_ns())
    after.start()
    assert after.ended(BUSY_S) == 0 and after.whole()
    assert (agent_pid(shared), node_pid(shared)) == (agent, node)
    assert "remote" in shared.cli("stats").stdout  # records of the future and the past do not confuse it


def compiled(cluster: Cluster, folder: Path) -> None:
    """Compile ``a.c``, which a node must do, and compare."""
    argv = ["gcc", "-c", "a.c", "-o"]
    subprocess.run([*argv, "wanted.o"], cwd=folder, check=True)
    before = len(cluster.records())
    assert cluster.compile([*argv, "a.o"], str(folder)).returncode == 0
    assert (folder / "a.o").read_bytes() == (folder / "wanted.o").read_bytes()
    assert cluster.wait_records(before + 1)[-1]["reason"] in ("remote", "cached")


@pytest.mark.parametrize("shift", [DAY_S, -DAY_S], ids=["ahead", "back"])
def test_changes_are_seen_after_a_jump(shared: Cluster, clock: Clock, tmp_path: Path, shift: int) -> None:
    (tmp_path / "a.c").write_text('#include "h.h"\nint x = X;\n')
    header = tmp_path / "h.h"
    for number in range(10, 22):  # all of one size, one right after the other
        clock.set(shift if number % 2 else 0)
        header.write_text(f"#define X {number}\n")
        compiled(shared, tmp_path)


@pytest.mark.parametrize("stamp", [0, None, 4_102_444_800], ids=["1970", "unchanged", "2100"])
def test_changes_are_seen_whatever_time_a_file_has(shared: Cluster, tmp_path: Path, stamp: int | None) -> None:
    (tmp_path / "a.c").write_text('#include "h.h"\nint x = X;\n')
    header = tmp_path / "h.h"
    header.write_text("#define X 10\n")
    if stamp is not None:
        os.utime(header, (stamp, stamp))
    times = header.stat()
    compiled(shared, tmp_path)
    for number in range(11, 17):
        header.write_text(f"#define X {number}\n")
        os.utime(header, ns=(times.st_atime_ns, times.st_mtime_ns))
        compiled(shared, tmp_path)


def test_times_since_boot_that_differ(tmp_path: Path) -> None:
    need("unshare")
    front = ["unshare", "--time", "--monotonic", str(3650 * DAY_S), "--boottime", str(3650 * DAY_S), "--fork"]
    if subprocess.run([*front, "true"], check=False, capture_output=True).returncode:
        lacking("needs time namespaces")
    with Cluster(str(tmp_path / "c"), nodes=1, jobs=2) as cluster:
        start_agent(cluster, *front)
        work = Work(cluster, tmp_path / "work", "small")
        work.start()
        assert work.ended(BUSY_S) == 0 and work.whole()
        until(work.reasons)
        assert work.reasons() == ["remote"]
        assert os.readlink(f"/proc/{agent_pid(cluster)}/ns/time") != os.readlink("/proc/self/ns/time")
