"""A job brought to one phase of its life and held there, and a look at what is left after a fault.

Each phase of ``PHASES`` names who is held (stopped) while the fault is made, and by what:

=========== ======== ================================================================================
unread      agent    right after it accepted the launcher's connection
preparing   agent    opening the source to look for its inputs
waiting     nobody   all slots are taken: by a compiler that is stopped
uploading   agent    in the middle of sending a source's contents
compiling   compiler as soon as it is seen
receiving   node     in the middle of sending an object back
placing     agent    between the removal of the old object and the name of the new one
recording   agent    right after the record was written, before the launcher is answered
=========== ======== ================================================================================
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import any_process, compilers, slow_source, until
from traced import Trap, state, waits_in

from manycc.cli import client
from manycc.config import load
from manycc.testing.cluster import Cluster

MARK = f"held{os.getpid()}"
"""In the names of all sources here, and of nobody else's."""
NOISE = 6 * 1024 * 1024
SETTLE_S = 15.0
_RECVFROM = 45  # x86-64's number
_slow_object: list[bytes] = []


@dataclass(frozen=True)
class Phase:
    """``call`` and ``when`` as for ``Trap``; ``path``: of these only calls that name it, below the work folder."""

    name: str
    kind: str
    holder: str
    call: str = ""
    when: int = 1
    path: str = ""


PHASES = {
    phase.name: phase
    for phase in (
        Phase("unread", "small", "agent", "accept4"),
        Phase("preparing", "small", "agent", "openat", path="source"),
        Phase("waiting", "small", ""),
        Phase("uploading", "big", "agent", "sendto", when=4),
        Phase("compiling", "slow", "compiler"),
        Phase("receiving", "big", "node", "sendto", when=6),
        Phase("placing", "small", "agent", "unlink", path="object"),
        Phase("recording", "small", "agent", "write", path="records"),
    )
}


class Work:
    """One compile in a folder of its own: its source, its right object, its launcher."""

    def __init__(self, cluster: Cluster, folder: Path, kind: str, number: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.cluster = cluster
        self.folder = folder
        self.source = folder / f"{MARK}.{'cc' if kind == 'slow' else 'c'}"
        self.object = folder / "a.o"
        self.mark = f"{MARK}n{number}"
        compiler = ["g++", "-ftemplate-depth=1000"] if kind == "slow" else ["gcc", "-g"]
        self.argv = [*compiler, f"-D{self.mark}", "-c", self.source.name, "-o", "a.o"]
        if kind == "slow":
            self.source.write_text(slow_source(200))
        elif kind == "big":  # contents that no compression shrinks, on the way there and on the way back
            noise = folder / f"{MARK}.bin"
            noise.write_bytes(os.urandom(NOISE))
            self.source.write_text(f'__asm__(".data\\n.incbin \\"{noise.name}\\"\\n");\n')
        else:
            self.source.write_text(f"int f{number}(int x) {{ return x + {number}; }}\n")
        if kind != "slow" or not _slow_object:
            subprocess.run(self.argv, cwd=folder, check=True)
            self.wanted = self.object.read_bytes()
        if kind == "slow":  # without -g it is the same everywhere
            _slow_object[:] = _slow_object or [self.wanted]
            self.wanted = _slow_object[0]
        self.object.write_bytes(b"\x7fELF of yesterday")
        self.before = sorted(os.listdir(folder))
        self.said = folder.with_suffix(".said")
        self.process: subprocess.Popen[bytes]

    def start(self, **env: str) -> None:
        """Start the launcher, in a process group of its own, as a shell does."""
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                [self.cluster.launcher, *self.argv], cwd=self.folder, env={**self.cluster.env, **env},
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def asked(self) -> None:
        """Wait until the launcher has asked, and waits for the answer (or does so no more)."""
        until(lambda: waits_in(self.process.pid, _RECVFROM) or self.process.poll() is not None)

    def ended(self, limit_s: float) -> int:
        """The launcher's exit code; it has said nothing."""
        code = self.process.wait(limit_s)
        assert self.said.read_bytes() == b""
        return code

    def whole(self) -> bool:
        """Whether the object is the right one. Nothing else may be there that was not, and no part of it."""
        assert sorted({*os.listdir(self.folder), "a.o"}) == self.before
        if not self.object.exists():
            return False
        data = self.object.read_bytes()
        assert data == self.wanted or data == b"\x7fELF of yesterday"
        return data == self.wanted

    def reasons(self) -> list[str]:
        """Of the records about this launcher."""
        return [record["reason"] for record in self.cluster.records() if record["pid"] == self.process.pid]


def agent_pid(cluster: Cluster) -> int:
    """The agent's process number, as it noted it itself."""
    return int(Path(cluster.client, "run", "agent.run").read_text())


def node_pid(cluster: Cluster) -> int:
    """The first node's process number."""
    process = cluster.nodes[0].process
    assert process is not None
    return process.pid


def status(cluster: Cluster) -> dict[str, Any]:
    """What the agent says of itself; empty if there is none."""
    return client.ask(load(cluster.env), {"op": "status"}) or {}


def stop(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state(pid) in ("T", "t", ""))


@contextlib.contextmanager
def held(cluster: Cluster, work: Work, phase: Phase, log: Path, **env: str) -> Iterator[int]:
    """Start ``work`` and hold it in a phase; gives the pid of who is held (0: nobody). It goes on afterwards."""
    if phase.call:
        pid = agent_pid(cluster) if phase.holder == "agent" else node_pid(cluster)
        places = {
            "": (),
            "source": (str(work.source),),
            "object": (str(work.object),),
            "records": (os.path.join(cluster.client, "state", "jobs.jsonl"),),
        }
        with Trap(pid, log, phase.call, when=phase.when, paths=places[phase.path]) as trap:
            work.start(**env)
            trap.sprung()
            if phase.holder == "agent":
                work.asked()
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    elif phase.holder == "compiler":
        work.start(**env)
        (pid,) = until(lambda: compilers(work.mark))
        stop(pid)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    else:
        with taken_slots(cluster, work.folder.parent):
            work.start(**env)
            until(lambda: status(cluster)["jobs"]["waiting"] == 1)
            yield 0


@contextlib.contextmanager
def taken_slots(cluster: Cluster, folder: Path) -> Iterator[list[Work]]:
    """Meanwhile every slot of the first node is taken by a compiler that is stopped."""
    works = [Work(cluster, folder / f"taken{number}", "slow", number) for number in range(cluster.nodes[0].jobs)]
    stopped: list[int] = []
    try:
        for work in works:
            work.start()
            (pid,) = until(lambda mark=work.mark: compilers(mark))  # type: ignore[misc]
            stop(pid)
            stopped.append(pid)
        yield works
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for work in works:
            assert work.ended(60) == 0 and work.whole()


def namespaces(cluster: Cluster) -> set[str]:
    """The mount namespaces of jobs of this cluster's nodes, and all others their processes are in."""
    mine = os.readlink("/proc/self/ns/mnt")
    found: set[str] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                inside = os.readlink(f"/proc/{entry}/ns/mnt")
                if inside != mine and cluster.folder in Path(f"/proc/{entry}/mountinfo").read_text():
                    found |= {inside, *(os.readlink(f"/proc/{entry}/ns/{kind}") for kind in ("net", "user", "pid"))}
    return found


def workplaces(cluster: Cluster) -> list[Path]:
    """The folders of jobs on the nodes' disks."""
    return [place for node in cluster.nodes for place in Path(node.state, "cache", "store", "tmp").glob("*/*/w0")]


def nothing_left(cluster: Cluster) -> None:
    """No process, no namespace, no folder, no slot is held for a job that is over."""
    until(lambda: not any_process(MARK), SETTLE_S)
    until(lambda: not namespaces(cluster), SETTLE_S)
    idle = {"running": 0, "remote": 0, "waiting": 0, "local": 0}
    until(lambda: status(cluster).get("jobs", idle) == idle, SETTLE_S)
    assert cluster.folder not in Path("/proc/self/mountinfo").read_text()
