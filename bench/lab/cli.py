"""The command: builds what is not in the results' file yet, then shows what there is."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from . import leftovers, plots, report
from .figures import Book, Build, Cell
from .hosts import REPOSITORY
from .measure import Reference, session
from .names import LabError
from .network import Line
from .presets import ALONE, NETWORKS, PRESETS, Preset
from .systems import System, all_systems
from .workloads import WORKLOADS

_OUT: Final = os.path.join(REPOSITORY, "bench", "out")
_DOCUMENT: Final = os.path.join(REPOSITORY, "bench", "RESULTS.md")
_PICTURES: Final = os.path.join(REPOSITORY, "docs", "img")
_TOOLS: Final = ("ip", "tc", "unshare", "nsenter", "nice", "hostname", "make", "gcc", "g++")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 0 if every build that was asked for is there."""
    options = parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("lab: terminated"))  # so that everything is taken down
    try:
        if options.action == "clean":
            leftovers.sweep()
            return 0
        preset = PRESETS[options.experiment]
        book = Book(options.json or os.path.join(_OUT, f"lab-{preset.name}.json"), preset.about())
        failed = 0
        if options.action == "run":
            _check()
            failed = _run(options, preset, book)
        report.show(preset, book)
        if options.write:
            report.write(preset, book, _DOCUMENT, plots.write(preset, book, _PICTURES))
    except LabError as error:
        sys.exit(f"lab: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    return 1 if failed else 0


def _run(options: argparse.Namespace, preset: Preset, book: Book) -> int:
    """Do what is not done yet; how many builds failed."""
    failed = 0

    def put(build: Build) -> None:
        nonlocal failed
        failed += bool(build.failed)
        book.put(build)
        what = f"FAILED: {build.failed}" if build.failed else report.in_words(build)
        print(f"lab: {time.strftime('%H:%M:%S')} round {build.round}, {', '.join(build.cell)}: {what}", flush=True)

    with leftovers.scratch() as folder:
        reference = Reference(folder)
        for number, network, workload, system in sessions(options, preset):
            ways = list(system.ways) if options.again else missing(book, network, workload, system.ways, number)
            if ways:
                line = NETWORKS.get(network, Line())
                session(reference, folder, preset.setup, (network, line), WORKLOADS[workload], system, ways, number,
                        options.limit, put)  # fmt: skip
    return failed


def missing(book: Book, network: str, workload: str, ways: Sequence[str], number: int) -> list[str]:
    """The ways of a session that are to be built: a way needs those before it, but none of those after it."""
    found = list(ways)
    while found and book.has(Cell(network, workload, found[-1]), number):
        found.pop()
    return found


def sessions(options: argparse.Namespace, preset: Preset) -> Iterator[tuple[int, str, str, System]]:
    """What is asked for. Systems follow each other closely, so that a noisy machine disturbs them alike."""
    systems = all_systems()
    for number in range(1, options.rounds + 1):
        for workload in options.workload or preset.workloads:
            names = options.system or preset.systems
            for name in names:
                if not systems[name].helped:
                    yield number, ALONE, workload, systems[name]
            for network in options.network or preset.networks:
                for name in names:
                    if systems[name].helped:
                        yield number, network, workload, systems[name]


def _check() -> None:
    missing = [tool for tool in _TOOLS if not shutil.which(tool)]
    if os.geteuid():
        raise LabError("must run as root: it makes namespaces and control groups")
    if missing:
        raise LabError(f"needs {', '.join(missing)}; scripts/setup.sh bench installs them")


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    words = argparse.ArgumentParser(
        prog="python -m bench.lab",
        description="Builds real trees over a small network made on this machine, with several systems, and compares. "
        "Builds that are in the results' file already are not done again.",
    )
    what = "run: what is missing, then show; show: only that; clean: end what killed runs left"
    words.add_argument("action", choices=("run", "show", "clean"), nargs="?", default="run", help=what)
    words.add_argument("--experiment", choices=PRESETS, default="compare", help="what the hosts are like")
    words.add_argument("--system", action="append", choices=all_systems(), help="only these (may be repeated)")
    words.add_argument("--workload", action="append", choices=WORKLOADS, help="only these (may be repeated)")
    words.add_argument("--network", action="append", choices=NETWORKS, help="only these (may be repeated)")
    words.add_argument("--rounds", type=int, default=1, help="how often each; figures are medians")
    words.add_argument("--limit", type=float, default=1800, metavar="S", help="seconds that one build may take")
    words.add_argument("--again", action="store_true", help="also what is done already")
    words.add_argument("--json", metavar="FILE", help="the results' file (bench/out/lab-EXPERIMENT.json)")
    words.add_argument("--write", action="store_true", help="put table and plots into bench/RESULTS.md and docs/img")
    return words
