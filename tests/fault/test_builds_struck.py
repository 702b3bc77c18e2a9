"""Whole builds that are struck in the middle: by Ctrl-C, by signals, by frozen nodes, by a killed agent.

====================================== ================================ ==================================
what happens                           what the records say             bound of the time lost
====================================== ================================ ==================================
agent killed, 20 launchers wait        agent-lost                       none
all nodes frozen for a moment, -j20    remote                           the moment
all nodes frozen for good, -j20        node-lost, hosts-down            MANYCC_SILENCE
Ctrl-C of ``manycc run make -j8``      cancelled                        the build ends within 5 s
make killed by SIGKILL, -j8            remote                           what was begun ends by itself
SIGTERM to the agent, 8 jobs           remote                           none
SIGTERM to a launcher                  cancelled                        it ends at once
nobody reads stderr any more           remote                           none
====================================== ================================ ==================================
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from phases import MARK, Work, agent_pid, nothing_left, status, stop, taken_slots
from support import compilers, slow_source, until
from traced import alive

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

SILENCE_S = 4.0
BUSY_S = 30.0
"""For the work itself, on a machine that does much else."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("make", "g++", "bwrap")
    with Cluster(str(tmp_path_factory.mktemp("builds") / "c"), nodes=2, jobs=2) as cluster:
        first = Work(cluster, tmp_path_factory.mktemp("first"), "small")
        first.start()
        assert first.ended(BUSY_S) == 0
        yield cluster


class Build:
    """A source tree of ``count`` files that take a moment each, and its Makefile."""

    def __init__(self, cluster: Cluster, folder: Path, count: int) -> None:
        folder.mkdir()
        self.cluster = cluster
        self.folder = folder
        self.objects = [f"{MARK}b{number:02}.o" for number in range(count)]
        for name in self.objects:
            (folder / name).with_suffix(".cc").write_text(slow_source(120))
        rule = "%.o: %.cc\n\t$(CC) -D$* -c $< -o $@\n"
        (folder / "Makefile").write_text(f"CC = {cluster.launcher} g++\nall: {' '.join(self.objects)}\n{rule}")
        self.before = sorted(os.listdir(folder))
        self.wanted = self._wanted()

    def _wanted(self) -> bytes:
        """The object of the first source; the others differ in their names only."""
        name = self.objects[0].removesuffix(".o")
        out = self.folder.parent / "wanted.o"
        subprocess.run(["g++", f"-D{name}", "-c", f"{name}.cc", "-o", str(out)], cwd=self.folder, check=True)
        return out.read_bytes()

    def start(self, jobs: int, *front: str) -> subprocess.Popen[bytes]:
        """Start make, in a process group of its own."""
        with open(self.folder.parent / "said", "wb") as said:
            return subprocess.Popen(
                [*front, "make", f"-j{jobs}"], cwd=self.folder, env=self.cluster.env,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def begun(self) -> None:
        """Wait until some compiles are done and others run."""
        until(lambda: self.done() and compilers(f"{MARK}b"), BUSY_S)

    def done(self) -> list[str]:
        """The objects that are there; each is whole, and nothing but objects has come."""
        found = sorted(os.listdir(self.folder))
        assert set(found) <= {*self.before, *self.objects}
        objects = [name for name in found if name.endswith(".o")]
        for name in objects:
            with contextlib.suppress(FileNotFoundError):  # make removes what it was making
                assert len((self.folder / name).read_bytes()) >= len(self.wanted) - len(self.objects)
        return objects

    def finished(self) -> None:
        """Everything is there, and as it must be."""
        assert self.done() == sorted(self.objects)
        assert (self.folder / self.objects[0]).read_bytes() == self.wanted
        texts = [((self.folder / name).read_bytes(), name.removesuffix(".o").encode()) for name in self.objects]
        assert len({text.replace(name, b"") for text, name in texts}) == 1

    def reasons(self) -> set[str]:
        """What the records say of the jobs in this folder."""
        return {record["reason"] for record in self.cluster.records() if record["cwd"] == str(self.folder)}

    def count(self) -> int:
        """How many jobs in this folder are recorded."""
        return sum(record["cwd"] == str(self.folder) for record in self.cluster.records())


def usable(cluster: Cluster, folder: Path, agent: int) -> None:
    """Nothing is left, and the same agent has the next jobs done by nodes, in all slots at once."""
    nothing_left(cluster)
    works = [Work(cluster, folder / f"next{number}", "small", 1000 + number) for number in range(4)]
    for work in works:
        work.start()
    for work in works:
        assert work.ended(BUSY_S) == 0 and work.whole()
        until(work.reasons)
        assert work.reasons() == ["remote"]
    assert agent_pid(cluster) == agent


def test_agent_killed_while_launchers_wait(shared: Cluster, tmp_path: Path) -> None:
    works = [Work(shared, tmp_path / f"w{number}", "small", number) for number in range(20)]
    shared.env["MANYCC_HOSTS"], both = shared.nodes[0].host, shared.env["MANYCC_HOSTS"]
    try:
        with taken_slots(shared, tmp_path):
            for work in works:
                work.start()
            until(lambda: status(shared)["jobs"]["waiting"] == len(works))
            begun = time.monotonic()
            os.kill(agent_pid(shared), signal.SIGKILL)
            for work in works:
                assert work.ended(BUSY_S) == 0 and work.whole()
                assert work.reasons() == ["agent-lost"]
            assert time.monotonic() - begun < BUSY_S
    finally:
        shared.env["MANYCC_HOSTS"] = both
    again = Work(shared, tmp_path / "again", "small")
    again.start()
    assert again.ended(BUSY_S) == 0
    usable(shared, tmp_path, agent_pid(shared))


def test_nodes_frozen_for_a_moment(shared: Cluster, tmp_path: Path) -> None:
    build = Build(shared, tmp_path / "build", 20)
    make = build.start(20)
    build.begun()
    agent = agent_pid(shared)
    pids = [node.process.pid for node in shared.nodes if node.process is not None]
    for pid in pids:
        stop(pid)
    running = status(shared)["jobs"]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert running["running"] > 0
    assert make.wait(BUSY_S) == 0
    build.finished()
    assert build.reasons() == {"remote"}
    usable(shared, tmp_path, agent)


def test_nodes_frozen_for_good(tmp_path: Path) -> None:
    with Cluster(str(tmp_path / "c"), nodes=2, jobs=2, env={"MANYCC_SILENCE": str(SILENCE_S)}) as cluster:
        build = Build(cluster, tmp_path / "build", 20)
        make = build.start(20)
        build.begun()
        pids = [node.process.pid for node in cluster.nodes if node.process is not None]
        try:
            for pid in pids:
                stop(pid)
            begun = time.monotonic()
            assert make.wait(SILENCE_S + BUSY_S) == 0
            assert time.monotonic() - begun < SILENCE_S + BUSY_S
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        build.finished()
        until(lambda: build.count() == 20)
        assert build.reasons() <= {"remote", "node-lost", "hosts-down"}
        assert "node-lost" in build.reasons()
        nothing_left(cluster)


def test_control_c(shared: Cluster, tmp_path: Path) -> None:
    build = Build(shared, tmp_path / "build", 30)
    agent = agent_pid(shared)
    master, slave = os.openpty()
    try:
        with open(tmp_path / "said", "wb") as said:
            run = subprocess.Popen(  # with a terminal of its own, on which the key is pressed
                ["setsid", "--ctty", "--wait", shared.launcher, "run", "-j8", "--", "make"],
                cwd=build.folder, env=shared.env, stdin=slave, stdout=said, stderr=said,
            )  # fmt: skip
        build.begun()
        os.write(master, b"\x03")
        begun = time.monotonic()
        assert run.wait(BUSY_S) not in (0, None)
        nothing_left(shared)
        assert time.monotonic() - begun < BUSY_S
    finally:
        os.close(master)
        os.close(slave)
    assert len(build.done()) < len(build.objects)
    assert {"cancelled"} <= build.reasons() <= {"cancelled", "remote"}
    usable(shared, tmp_path, agent)
    assert build.start(8).wait(BUSY_S) == 0  # and what is missing is made by the next build
    build.finished()


def test_make_killed(shared: Cluster, tmp_path: Path) -> None:
    build = Build(shared, tmp_path / "build", 30)
    agent = agent_pid(shared)
    make = build.start(8)
    build.begun()
    make.kill()
    make.wait()
    nothing_left(shared)  # the launchers end with their jobs, as compilers do
    assert len(build.done()) < len(build.objects)
    assert build.reasons() == {"remote"}
    usable(shared, tmp_path, agent)


def test_agent_told_to_end(shared: Cluster, tmp_path: Path) -> None:
    build = Build(shared, tmp_path / "build", 16)
    make = build.start(8)
    build.begun()
    agent = agent_pid(shared)
    os.kill(agent, signal.SIGTERM)
    assert make.wait(BUSY_S) == 0
    build.finished()
    until(lambda: not alive(agent))
    until(lambda: build.count() == 16)
    assert build.reasons() == {"remote"}
    shared.cli("agent", "start")  # if the last job had come before the signal, there is no new one yet
    usable(shared, tmp_path, agent_pid(shared))


def test_launcher_told_to_end(shared: Cluster, tmp_path: Path) -> None:
    work = Work(shared, tmp_path / "work", "slow", 77)
    agent = agent_pid(shared)
    work.start()
    until(lambda: compilers(work.mark))
    work.process.terminate()
    assert work.process.wait(5) == -signal.SIGTERM
    assert not work.whole()
    until(work.reasons)
    assert work.reasons() == ["cancelled"]
    usable(shared, tmp_path, agent)


@pytest.mark.parametrize("ignored", [False, True], ids=["default", "ignored"])
def test_nobody_reads_the_warnings(shared: Cluster, tmp_path: Path, ignored: bool) -> None:
    # Whoever leaves SIGPIPE alone kills a compiler that has something to say; whoever ignores it does not.
    (tmp_path / "a.c").write_text("int f(void) { int unused; return 1; }\n")
    argv = ["gcc", "-Wall", "-c", "a.c", "-o", "a.o"]
    codes = []
    for front in ([], [shared.launcher]):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [*front, *argv], cwd=tmp_path, env=shared.env, stderr=write, check=False, restore_signals=not ignored
        )
        os.close(write)
        codes.append(done.returncode)
    assert (codes[0] == 0) == (codes[1] == 0) == ignored
    usable(shared, tmp_path, agent_pid(shared))
