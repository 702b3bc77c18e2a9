"""A node behind proxies, and two agents: one with the default time limits, one that is in a hurry."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phases import MARK, agent_pid, node_pid, nothing_left
from proxy import Proxy
from support import until

from manycc.testing.cluster import Cluster

SILENCE_S = 1.0
"""MANYCC_SILENCE of the agent that is in a hurry."""
CONNECT_S = 0.5
"""MANYCC_CONNECT_TIMEOUT of the same."""
JOB_S = 3.0
"""MANYCC_JOB_TIMEOUT of the same."""
GENEROUS_S = 10.0
"""Added to every bound, for a machine that is busy. By the defaults, any of these times alone would be longer."""


class Net:
    """What ``behind`` makes. ``wanted`` and ``said`` are of the compile done last: the right object and words."""

    def __init__(self, folder: Path, patient: Cluster, hasty: Cluster) -> None:
        self.patient = patient
        self.hasty = hasty
        self.port = patient.nodes[0].port
        self.folder = folder
        self.source = folder / f"{MARK}net.c"
        self.object = folder / "a.o"
        self.wanted = b""
        self.said = b""
        self._noise = folder / f"{MARK}net.bin"
        self._number = itertools.count()

    @property
    def argv(self) -> list[str]:
        """The command."""
        return ["gcc", "-g", "-Wall", "-c", self.source.name, "-o", "a.o"]

    def renew(self, large: bool = False) -> float:
        """Write a source that no node has seen, and compile it here. How long that took, in seconds."""
        text = f"int f(int x) {{ int idle; return x; }} // {next(self._number)}\n"
        if large:  # too large for one frame, there and back
            self._noise.write_bytes(os.urandom(5 * 1024 * 1024))
            text += f'__asm__(".pushsection .data\\n.incbin \\"{self._noise.name}\\"\\n.popsection\\n");\n'
        self.source.write_text(text)
        began = time.monotonic()
        self.said = subprocess.run(self.argv, cwd=self.folder, capture_output=True, check=True).stderr
        took = time.monotonic() - began
        assert b"unused variable" in self.said
        self.wanted = self.object.read_bytes()
        self.object.unlink()
        return took

    def attempt(self, cluster: Cluster, proxy: Proxy) -> tuple[subprocess.CompletedProcess[bytes], dict[str, Any]]:
        """Compile through a proxy, whatever comes of it: how the launcher ended, and the job's one record."""
        count = len(cluster.records())
        done = cluster.compile(self.argv, str(self.folder), {"MANYCC_HOSTS": f"{proxy.host}/2"})
        (record,) = cluster.wait_records(count + 1)[count:]
        return done, record

    def compile(self, cluster: Cluster, proxy: Proxy, lost_s: float = 0, large: bool = False) -> dict[str, Any]:
        """Compile a new source through a proxy: all must be right, and in time. The record."""
        local_s = self.renew(large)
        before = sorted(os.listdir(self.folder))
        began = time.monotonic()
        done, record = self.attempt(cluster, proxy)
        took = time.monotonic() - began
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", self.said)
        assert self.object.read_bytes() == self.wanted
        assert self.object.stat().st_mode & 0o7777 == 0o644
        assert sorted(os.listdir(self.folder)) == sorted({*before, "a.o"})
        assert took < local_s + lost_s + GENEROUS_S
        self.object.unlink()
        return record

    def nothing_left(self) -> None:
        """On the node, and with both agents."""
        nothing_left(self.patient)
        nothing_left(self.hasty)


@contextmanager
def behind(folder: Path) -> Iterator[Net]:
    """Start all of it below a folder. At the end, nobody may have more descriptors open than at the beginning."""
    work = folder / "work"
    work.mkdir()
    lasting = {"MANYCC_IDLE": "86400"}
    hurry = {
        **lasting,
        "MANYCC_SILENCE": str(SILENCE_S),
        "MANYCC_CONNECT_TIMEOUT": str(CONNECT_S),
        "MANYCC_JOB_TIMEOUT": str(JOB_S),
    }
    with (
        Cluster(str(folder / "c"), nodes=1, jobs=2, env=lasting) as patient,
        Cluster(str(folder / "h"), nodes=0, env=hurry) as hasty,
    ):
        net = Net(work, patient, hasty)
        proxy = Proxy(net.port)
        for cluster in (patient, hasty):  # the patient one first: the node then has the toolchain
            assert net.compile(cluster, proxy)["reason"] == "remote"
        proxy.close()
        pids = (agent_pid(patient), agent_pid(hasty), node_pid(patient))
        before = {pid: len(descriptors(pid)) for pid in pids}
        yield net
        with contextlib.suppress(TimeoutError):  # one that is being opened as this is looked at is none too many
            until(lambda: all(len(descriptors(pid)) <= before[pid] for pid in pids))
        leaked = {pid: descriptors(pid) for pid in pids if len(descriptors(pid)) > before[pid]}
        assert not leaked, leaked


def descriptors(pid: int) -> list[str]:
    """What a process has open: sockets and the like, and files that it has open once already."""
    found: list[str] = []
    files: set[str] = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/{pid}/fd/{entry}")
            if not name.startswith("/") or name in files or name.endswith(" (deleted)"):
                found.append(name)
            files.add(name)
    return sorted(found)
