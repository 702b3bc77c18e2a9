"""Sessions: a lab is made, a system started, and a tree built each of the system's ways."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import sources

from . import workloads
from .figures import Build
from .hosts import CLIENT, BuildFailed, Lab, Power, Setup, TimeUp
from .names import LabError
from .network import Line
from .systems import System
from .workloads import FOLDER, Workload


class Reference:
    """Prepared trees below a folder, and the digests of the objects that the whole machine's local builds give."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._objects: dict[str, dict[str, str]] = {}

    def tree(self, workload: Workload) -> str:
        """A prepared tree, to be copied. Raises LabError."""
        self._make(workload)
        return os.path.join(self._folder, workload.name)

    def objects(self, workload: Workload) -> dict[str, str]:
        """What a local build of it gives. Raises LabError."""
        self._make(workload)
        return self._objects[workload.name]

    def _make(self, workload: Workload) -> None:
        if workload.name in self._objects:
            return
        if lacking := workloads.lacking(workload):
            raise LabError(f"{workload.name} needs {', '.join(lacking)}; scripts/setup.sh bench installs them")
        _say(f"{workload.name}: unpacked, configured, and built once by the whole machine")
        kept = os.path.join(self._folder, workload.name)
        with _lab(os.path.join(self._folder, "lab"), Setup(Power(), ()), Line()) as lab:
            there = lab.path(CLIENT, FOLDER)
            try:
                workloads.prepare(workload, there, lambda words: lab.run(words))
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(there, kept, symlinks=True)
                workload.place(kept, there, "")
                lab.run(workload.command(os.cpu_count() or 1, ""), limit=3600)
            except (sources.SourceError, BuildFailed, TimeUp) as error:
                raise LabError(f"{workload.name} cannot be built here: {error}") from error
            self._objects[workload.name] = workloads.objects(there)


@contextlib.contextmanager
def _lab(folder: str, setup: Setup, line: Line) -> Iterator[Lab]:
    os.mkdir(folder)
    try:
        with Lab(folder, setup, line) as lab:
            yield lab
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def session(
    reference: Reference,
    folder: str,
    setup: Setup,
    network: tuple[str, Line],
    workload: Workload,
    system: System,
    ways: Sequence[str],
    number: int,
    limit: float,
    put: Callable[[Build], None],
) -> None:
    """Build a tree these ways, in a lab of its own; ``put`` gets each build as it ends, failed ones too.

    Every build has ``limit`` seconds. After one that failed, the session goes no further.
    """
    done = 0
    try:
        if lacking := [tool for tool in system.needs if not shutil.which(tool)]:
            raise LabError(f"{system.name} needs {', '.join(lacking)}; scripts/setup.sh bench installs them")
        wanted = reference.objects(workload)
        with _lab(os.path.join(folder, "lab"), setup, network[1]) as lab:
            system.start(lab)
            for way in ways:
                system.ready(lab, way)
                build = _build(lab, reference.tree(workload), workload, system, limit, wanted)
                build.network, build.way, build.round = network[0], way, number
                put(build)
                done += 1
    except (LabError, BuildFailed, TimeUp) as error:
        for way in ways[done:]:
            put(Build(network[0], workload.name, way, number, failed=str(error)))
    finally:
        system.end()


def _build(lab: Lab, tree: str, workload: Workload, system: System, limit: float, wanted: dict[str, str]) -> Build:
    """One build, and its objects compared."""
    setup = lab.setup
    there = lab.path(CLIENT, FOLDER)
    workload.place(tree, there, system.launcher)
    jobs = setup.jobs if system.helped else setup.local_jobs
    used = lab.run(workload.command(jobs, system.launcher), system.env(lab), limit=limit)
    got = workloads.objects(there)
    return Build(
        network="",
        workload=workload.name,
        way="",
        round=0,
        wall=round(used.wall, 3),
        user=round(used.client.user, 3),
        system=round(used.client.system, 3),
        helpers=round(used.helpers.total, 3),
        sent=used.sent,
        received=used.received,
        peak_memory=used.peak_memory,
        oom_kills=used.killed,
        objects=len(wanted),
        same=sum(got.get(path) == digest for path, digest in wanted.items()),
        told=system.told(lab),
    )


def _say(text: str) -> None:
    print(f"lab: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
