"""SIGKILL, SIGSTOP and SIGINT of each party to a job, in each phase of it.

``CASES`` is the table of what must come of it. In every case: the build gets the right object (or, where the
launcher itself was killed, nothing half-written), no file, process, namespace, folder or slot is left, the
record says what happened, and the next job is done by a node at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from phases import PHASES, Work, agent_pid, held, node_pid, nothing_left, status, stop, workplaces
from support import any_process, compilers, until
from traced import descriptors

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

PATIENCE_S = 0.5
"""MANYCC_AGENT_TIMEOUT where the agent is stopped from the first moment: how long its launcher waits."""
LONGER_S = 3.5
"""The same where it lived on for a while: more than the 3 s between two signs of life."""
GENEROUS_S = 20.0
"""Added to what is configured: for a local compile of half a second, on a machine that is busy."""


@dataclass(frozen=True)
class Case:
    """``reasons``: what the job's record may say. ``lost``: the time that the fault costs, beyond a local compile.

    An agent writes the record just before it answers; struck in that moment, the launcher writes a second one.
    """

    phase: str
    victim: str
    signal: str
    reasons: tuple[str, ...]
    lost: str = "none"

    def __str__(self) -> str:
        return f"{self.phase}-{self.victim}-{self.signal}"


def _cases() -> Iterator[Case]:
    for phase in PHASES:
        over = phase in ("placing", "recording")  # the node is not needed any more
        early = phase in ("unread", "preparing", "waiting")
        for name in ("KILL", "INT"):
            yield Case(phase, "launcher", name, ("remote",) if over else ("cancelled",))
        yield Case(phase, "launcher", "STOP", ("remote",), "the stop")
        yield Case(phase, "agent", "KILL", ("remote agent-lost" if phase == "recording" else "agent-lost",))
        twice = {"placing": "agent-silent remote", "recording": "remote agent-silent"}
        yield Case(phase, "agent", "STOP", (twice.get(phase, "agent-silent"),), "MANYCC_AGENT_TIMEOUT")
        yield Case(phase, "node", "KILL", ("remote",) if over else ("node-lost", "hosts-down")[: 2 if early else 1])
        yield Case(phase, "node", "STOP", ("remote",), "the stop")
    for victim in ("compiler", "driver", "sandbox"):
        yield Case("compiling", victim, "KILL", ("compiler-killed",))
    yield Case("compiling", "compiler", "STOP", ("remote",), "the stop")


CASES = list(_cases())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("strace", "g++", "bwrap")
    folder = tmp_path_factory.mktemp("killed")
    with Cluster(str(folder / "c"), nodes=1, jobs=1) as cluster:
        next_job(cluster, folder)
        yield cluster


@pytest.fixture
def ready(shared: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The shared cluster, its node and agent running, both proven by a job done by the node."""
    if shared.nodes[0].process is None or shared.nodes[0].process.poll() is not None:
        revive(shared)
        next_job(shared, tmp_path)
    yield shared
    for pid in (agent_pid(shared), node_pid(shared)):  # should a case have failed in the middle
        os.kill(pid, signal.SIGCONT)


def revive(cluster: Cluster) -> None:
    """Start the node again, at a new address: the agent does not wait until it would ask the old one."""
    (node,) = cluster.nodes
    node.port = 0
    node.start()
    cluster.env["MANYCC_HOSTS"] = node.host


def next_job(cluster: Cluster, folder: Path) -> None:
    """One more job is done by the node, and needs all its slots."""
    work = Work(cluster, folder / "next", "small", time.monotonic_ns())
    work.start()
    assert work.ended(GENEROUS_S) == 0 and work.whole()
    until(work.reasons)
    assert work.reasons() == ["remote"]


def victim_pid(case: Case, cluster: Cluster, work: Work) -> int:
    if case.victim == "launcher":
        return work.process.pid
    if case.victim == "agent":
        return agent_pid(cluster)
    if case.victim == "node":
        return node_pid(cluster)
    if case.victim == "compiler":
        return compilers(work.mark)[0]
    wanted = {"driver": "g++", "sandbox": "bwrap"}[case.victim]
    for pid in any_process(work.mark):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if os.path.basename(words[0]).decode() == wanted:
            return pid
    raise AssertionError(f"no {wanted} is running")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_struck(ready: Cluster, tmp_path: Path, case: Case) -> None:
    cluster = ready
    phase = PHASES[case.phase]
    work = Work(cluster, tmp_path / "work", phase.kind, time.monotonic_ns())
    agent, files = agent_pid(cluster), descriptors(agent_pid(cluster))
    silent = case.victim == "agent" and case.signal == "STOP"
    patience = PATIENCE_S if phase.holder == "agent" else LONGER_S
    env = {"MANYCC_AGENT_TIMEOUT": str(patience)} if silent else {}
    with held(cluster, work, phase, tmp_path / "strace", **env) as holder:
        pid = victim_pid(case, cluster, work)
        begun = time.monotonic()
        if case.signal == "STOP" and pid != holder:
            stop(pid)
        elif case.signal == "KILL":
            os.kill(pid, signal.SIGKILL)
        elif case.signal == "INT":
            os.killpg(pid, signal.SIGINT)
        if case.victim == "launcher" and case.signal != "STOP":
            assert work.process.wait(GENEROUS_S) == -(signal.SIGINT if case.signal == "INT" else signal.SIGKILL)
        if silent:
            code = work.ended(patience + GENEROUS_S)
        if case.signal == "STOP" and (silent or not phase.holder):
            os.kill(pid, signal.SIGCONT)
    if case.victim == "launcher" and case.signal == "STOP":
        until(work.reasons)
    if case.signal == "STOP":
        os.kill(pid, signal.SIGCONT)

    if case.victim == "launcher" and case.signal != "STOP":
        until(work.reasons)
        work.whole()
    elif silent:
        assert code == 0 and work.whole()
    else:
        assert work.ended(GENEROUS_S) == 0
        assert work.whole()
        assert time.monotonic() - begun < GENEROUS_S
    nothing_left(cluster)
    until(work.reasons)
    assert " ".join(work.reasons()) in case.reasons

    if case.victim == "node" and case.signal == "KILL":
        cluster.nodes[0].kill()
        revive(cluster)
    next_job(cluster, tmp_path)
    until(lambda: not workplaces(cluster))
    if case.victim != "agent":
        assert agent_pid(cluster) == agent
        assert descriptors(agent) <= files + 2
    assert status(cluster)["agent"]["pid"] == agent_pid(cluster)
