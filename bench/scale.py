"""How much of everything a number of busy cores needs through a BuildGrid engine, reckoned from measured costs.

    python bench/scale.py [--cores 100,1000,10000] [--from FOLDER] [--set NAME=VALUE]… [--markdown]

Nothing is run but this arithmetic. What a job costs was measured by ``engines.py`` and ``buildgrid.py`` and is kept
in ``enginecosts.json``; ``--from bench/out`` takes what they have written there last and keeps it. What compiles take
and write was measured by ``costs.py`` (``costs.json``); what nobody can measure beforehand stands in ``CHOSEN``.
``--set`` replaces any of them. ``--markdown`` writes the tables into docs/scale-out.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from tables import markdown, write_between

HERE: Final = os.path.dirname(os.path.abspath(__file__))
COSTS: Final = os.path.join(HERE, "costs.json")
MEASURES: Final = os.path.join(HERE, "enginecosts.json")
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


def measured() -> dict[str, Figure]:
    """What ``--from`` has kept."""
    with open(MEASURES, encoding="utf-8") as file:
        return {name: Figure(**fields) for name, fields in json.load(file).items()}


def measured_in(folder: str) -> dict[str, Figure]:
    """The figures in what ``engines.py`` and ``buildgrid.py`` have written there. Raises OSError, KeyError."""

    def read(name: str) -> dict[str, Any]:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
            return found

    places, runs = read("engines.json"), read("buildgrid.json")["runs"]
    heavy, trivial = places["heavy C++"]["buildgrid"], places["trivial C"]
    there, here = (trivial[place]["new unit: latency ms"] for place in ("buildgrid", "lan"))
    by_engines = f"`bench/engines.py`, heavy C++ ({heavy['inputs']:.0f} inputs)"

    def of_runs(name: str, what: str) -> Figure:
        values = [run[name] for run in runs]
        low, high = min(values), max(values)
        return Figure(
            round((low + high) / 2, 1), f"{what}, the middle of {low:.0f} to {high:.0f}", "`bench/buildgrid.py`"
        )

    return {
        "agent_ms": Figure(round(heavy["new unit: agent ms"], 1), "ms of the agent's CPU for a new unit", by_engines),
        "beside_bytes": Figure(
            round(heavy["new unit: bytes besides the source"]),
            "bytes that go to the engine for it, besides the source",
            by_engines,
        ),
        "added_ms": Figure(
            round(max(there - here, 1)),
            f"ms that a job takes longer than on a LAN node: {there:.0f} for {here:.0f}",
            "the same, trivial C",
        ),
        "server_ms": of_runs("server_cpu_ms", "ms of BuildGrid's CPU"),
        "database_ms": of_runs("database_cpu_ms", "ms of PostgreSQL's CPU"),
        "worker_ms": of_runs("workers_cpu_ms", "ms of a worker's CPU beyond the compiler"),
    }


MEASURED: Final = measured()
CHOSEN: Final = {
    "full": Figure(0.6, "how full a core or a line may be kept", "chosen"),
    "node_cores": Figure(16, "cores of a node", "chosen"),
    "source_kib": Figure(20, "KiB of a source itself", "assumed"),
    "database_cores": Figure(8, "cores that one PostgreSQL is given", "chosen"),
    "line_gbit": Figure(1, "Gbit/s of the engine's line", "chosen"),
    "slots": Figure(400, "`--slots` of `manycc engine init`", "its default"),
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


@dataclass(frozen=True, slots=True)
class Need:
    """How many of each. ``servers``: BuildGrid processes of all engines together."""

    jobs_s: float
    slots: int
    agents: int
    nodes: int
    servers: int
    database_cores: int
    engines: int


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

    def need(self, cores: int) -> Need:
        """What so many busy cores need."""
        figures, seconds = self._figures, self.work.seconds
        jobs_s = cores / seconds
        database = self.cores_full(jobs_s, "database_ms")
        return Need(
            jobs_s,
            slots=math.ceil(cores * (1 + figures["added_ms"] / 1000 / seconds)),
            agents=math.ceil(self.cores_full(jobs_s, "agent_ms")),
            nodes=math.ceil(cores * (1 + figures["worker_ms"] / 1000 / seconds) / figures["node_cores"]),
            servers=math.ceil(self.cores_full(jobs_s, "server_ms")),
            database_cores=math.ceil(database),
            engines=math.ceil(database / figures["database_cores"]),
        )

    def row(self, cores: int) -> list[str]:
        """That as words of a table."""
        need = self.need(cores)
        return [
            self.work.name,
            number_text(cores),
            number_text(need.jobs_s),
            number_text(need.slots),
            number_text(need.agents),
            number_text(need.nodes),
            number_text(need.servers),
            number_text(math.ceil(max(need.slots, need.nodes) / need.servers)),
            number_text(need.database_cores),
            number_text(need.engines),
            number_text(need.jobs_s * self._sent * 8 / 1e6),
            number_text(need.jobs_s * self._bytes * 8 / 1e6),
            number_text(need.jobs_s * self._bytes * 3600 / 1e9),
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
                    figures["slots"] / (1 + figures["added_ms"] / 1000 / seconds),
                    f"the threads of one server that was set up with `--slots {figures['slots']:g}`",
                ),
            ]
        )


def number_text(value: float) -> str:
    """A number as people read it."""
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


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
            "slots of each", "PostgreSQL's cores", "engines", "agents' uplinks, Mbit/s",
            "engine's line, Mbit/s each way", "storage, GB an hour"]  # fmt: skip
    limits = [[f"{where:,.0f}", scale.work.name, what] for scale in scales for where, what in scale.limits()]
    return "\n".join(
        [
            markdown([["name", "figure", "what", "from"], *reckoned]),
            markdown([head, *(scale.row(count) for scale in scales for count in cores)]),
            markdown([["full at so many busy cores", "of", "is"], *limits]),
        ]
    )


def main() -> int:
    """Reckon, and print or write."""
    parser = argparse.ArgumentParser(description="what many busy cores need through an engine")
    parser.add_argument("--cores", default=",".join(map(str, CORES)), help="how many are to be busy")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="another figure")
    parser.add_argument(
        "--from", metavar="FOLDER", dest="taken", help="take and keep what was measured last, bench/out"
    )
    parser.add_argument("--markdown", action="store_true", help="write the tables into docs/scale-out.md")
    options = parser.parse_args()
    if options.taken:
        try:
            MEASURED.update(measured_in(options.taken))
        except (OSError, KeyError) as error:
            parser.error(f"run bench/engines.py and bench/buildgrid.py first: {error!r}")
        with open(MEASURES, "w", encoding="utf-8") as file:
            json.dump({name: asdict(figure) for name, figure in MEASURED.items()}, file, indent=1)
            file.write("\n")
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
        write_between(GUIDE, BEGIN, END, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
