"""How much of everything a number of busy cores needs through a BuildGrid engine, reckoned from measured costs.

    python bench/scale.py [--cores 100,1000,10000] [--set NAME=VALUE]… [--markdown]

Nothing is run but this arithmetic. What a job costs was measured by ``engines.py`` and ``buildgrid.py`` and stands in
``MEASURED``: on two shared cores with a load of 4 to 9, so it is to be replaced when they run on a quiet machine. What
compiles take and write was measured by ``costs.py`` (``costs.json``); what nobody can measure beforehand stands in
``CHOSEN``. ``--set`` replaces any of them. ``--markdown`` writes the tables into docs/scale-out.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

HERE: Final = os.path.dirname(os.path.abspath(__file__))
COSTS: Final = os.path.join(HERE, "costs.json")
GUIDE: Final = os.path.join(os.path.dirname(HERE), "docs", "scale-out.md")
BEGIN: Final = "<!-- scale: made by bench/scale.py -->"
END: Final = "<!-- end of scale -->"
TREES: Final = {"re2": "C++", "redis": "C"}
CORES: Final = (100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it is, and where it is from."""

    value: float
    what: str
    source: str


ENGINES: Final = "`bench/engines.py`, heavy C++ (428 inputs)"
BUILDGRID: Final = "`bench/buildgrid.py`"
MEASURED: Final = {
    "agent_ms": Figure(11.1, "ms of the agent's CPU for a new unit", ENGINES),
    "beside_bytes": Figure(1948, "bytes that go to the engine for it, besides the source", ENGINES),
    "added_ms": Figure(105, "ms that a job takes longer than on a LAN node: 189 for 84", "the same, trivial C"),
    "server_ms": Figure(71, "ms of BuildGrid's CPU, the middle of 54 to 88", BUILDGRID),
    "database_ms": Figure(13.5, "ms of PostgreSQL's CPU, the middle of 11 to 16", BUILDGRID),
    "worker_ms": Figure(11, "ms of a worker's CPU beyond the compiler, the middle of 8 to 14", BUILDGRID),
}
CHOSEN: Final = {
    "full": Figure(0.6, "how full a core or a line may be kept", "chosen"),
    "node_cores": Figure(16, "cores of a node", "chosen"),
    "source_kib": Figure(20, "KiB of a source itself", "assumed"),
    "database_cores": Figure(8, "cores that one PostgreSQL is given", "chosen"),
    "line_gbit": Figure(1, "Gbit/s of the engine's line", "chosen"),
    "clients": Figure(20, "`--clients` of `manycc engine init`", "its default"),
}


@dataclass(frozen=True, slots=True)
class Work:
    """What compiles of one tree are like, on average."""

    name: str
    seconds: float
    object_kib: float


def work_of(tree: str) -> Work:
    """Read what ``costs.py`` measured."""
    with open(COSTS, encoding="utf-8") as file:
        costs = json.load(file)
    rows = costs["trees"][tree]

    def mean(field: str) -> float:
        place = costs["fields"].index(field)
        return statistics.fmean(row[place] for row in rows)

    return Work(f"{TREES[tree]} ({tree})", mean("cpu_ms") / 1000, mean("object_kib"))


class Scale:
    """What jobs of one kind need."""

    def __init__(self, work: Work, figures: Mapping[str, float]) -> None:
        self.work = work
        self._figures = figures
        self._sent = figures["source_kib"] * 1024 + figures["beside_bytes"]
        self._bytes = self._sent + work.object_kib * 1024

    def cores_full(self, jobs_s: float, name: str) -> float:
        """Cores that jobs need at one party, none of them fuller than planned with."""
        return jobs_s * self._figures[name] / 1000 / self._figures["full"]

    def row(self, cores: int) -> list[str]:
        """What so many busy cores need."""
        figures, seconds = self._figures, self.work.seconds
        jobs_s = cores / seconds
        slots = math.ceil(cores * (1 + figures["added_ms"] / 1000 / seconds))
        nodes = math.ceil(cores * (1 + figures["worker_ms"] / 1000 / seconds) / figures["node_cores"])
        servers = math.ceil(self.cores_full(jobs_s, "server_ms"))
        database = self.cores_full(jobs_s, "database_ms")
        return [
            self.work.name,
            _number(cores),
            _number(jobs_s),
            _number(slots),
            _number(math.ceil(self.cores_full(jobs_s, "agent_ms"))),
            _number(nodes),
            _number(servers),
            _number(math.ceil(max(slots, nodes) / servers)),
            _number(math.ceil(database)),
            _number(math.ceil(database / figures["database_cores"])),
            _number(jobs_s * self._sent * 8 / 1e6),
            _number(jobs_s * self._bytes * 8 / 1e6),
            _number(jobs_s * self._bytes * 3600 / 1e9),
        ]

    def limits(self) -> list[tuple[float, str]]:
        """At how many busy cores each part is as full as it may be, the first to be so first."""
        figures, seconds = self._figures, self.work.seconds
        line = figures["line_gbit"] * 1e9 / 8 * figures["full"] / self._bytes
        return sorted(
            [
                (seconds / self.cores_full(1, "server_ms"), "a core of one BuildGrid process"),
                (seconds / self.cores_full(1, "agent_ms"), "the one core of one agent"),
                (
                    seconds * figures["database_cores"] / self.cores_full(1, "database_ms"),
                    f"{figures['database_cores']:g} cores of one PostgreSQL",
                ),
                (line * seconds, f"the engine's line of {figures['line_gbit']:g} Gbit/s, each way"),
                (
                    figures["clients"] / (1 + figures["added_ms"] / 1000 / seconds),
                    f"the threads of one server that was set up with `--clients {figures['clients']:g}`",
                ),
            ]
        )


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def text_of(figures: Mapping[str, float], cores: Sequence[int]) -> str:
    """All the tables."""
    every = {**MEASURED, **CHOSEN}
    works = [work_of(tree) for tree in TREES]
    scales = [Scale(work, figures) for work in works]
    reckoned = [
        [f"`{name}`", f"{figures[name]:,g}", figure.what, figure.source if figures[name] == figure.value else "--set"]
        for name, figure in every.items()
    ]
    reckoned += [
        ["", f"{work.seconds:.2f}; {work.object_kib:.0f}", f"s of a compile and KiB of an object, {work.name}",
         "`bench/costs.py`"]
        for work in works
    ]  # fmt: skip
    head = ["", "busy cores", "jobs/s", "slots in all", "agents, at least", "nodes", "BuildGrid processes",
            "`--clients` of each", "PostgreSQL's cores", "engines", "agents' uplinks, Mbit/s",
            "engine's line, Mbit/s each way", "storage, GB an hour"]  # fmt: skip
    limits = [[f"{where:,.0f}", scale.work.name, what] for scale in scales for where, what in scale.limits()]
    return "\n".join(
        [
            _table(["name", "figure", "what", "from"], reckoned),
            _table(head, [scale.row(count) for scale in scales for count in cores]),
            _table(["full at so many busy cores", "of", "is"], limits),
        ]
    )


def _insert(path: str, text: str) -> None:
    with open(path, encoding="utf-8") as file:
        old = file.read()
    head, begin, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no place for the tables")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{head}{BEGIN}\n{text}{END}{tail}")


def main() -> int:
    """Reckon, and print or write."""
    parser = argparse.ArgumentParser(description="what many busy cores need through an engine")
    parser.add_argument("--cores", default=",".join(map(str, CORES)), help="how many are to be busy")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="another figure")
    parser.add_argument("--markdown", action="store_true", help="write the tables into docs/scale-out.md")
    options = parser.parse_args()
    figures = {name: figure.value for name, figure in {**MEASURED, **CHOSEN}.items()}
    try:
        cores = [int(count) for count in options.cores.split(",")]
        given = {name: float(value) for name, _, value in (word.partition("=") for word in options.set)}
    except ValueError as error:
        parser.error(str(error))
    if given.keys() - figures.keys() or min([*cores, *given.values()]) <= 0:
        parser.error(f"a figure is one of {', '.join(figures)}; all are greater than 0")
    text = text_of({**figures, **given}, cores)
    if options.markdown:
        _insert(GUIDE, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
