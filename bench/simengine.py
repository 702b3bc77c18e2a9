"""Engines of many sizes, simulated from what a job was measured to cost at each party.

    python bench/simengine.py [--cores 100,1000,10000] [--jobs N] [--seed N] [--markdown]

A job's way: the one core of its agent, and the uplink; a core of the agent's BuildGrid process, one of the database's;
a free core of a worker, which an assigner finds when it looks; the compile; the database and a BuildGrid process again;
the engine's line; the agent. Each party serves first come, first served, with the costs in ``scale.py`` and compiles
drawn from ``costs.json``. Agents hand in the next job when one comes back, as make does, so that what is short shows
as cores that idle and jobs that wait, not as a queue that grows for ever. Sizes of the parties are those that
``scale.py`` reckons for so many cores; then with a quarter more slots, and of those with fewer BuildGrid processes.

Time is virtual, and what comes of it depends on the seed alone. What is not in it: losses, threads that run out,
a database that is slowed down by its own size. ``--markdown`` writes the table into docs/scale-out.md.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scale import CHOSEN, CORES, COSTS, GUIDE, MEASURED, TREES, Scale, number_text, work_of
from tables import markdown, write_between

BEGIN: Final = "<!-- simulation: made by bench/simengine.py -->"
END: Final = "<!-- end of simulation -->"
ASSIGN_S: Final = 0.05
"""How often an assigner looks, in what ``manycc engine init`` writes."""
SETTLED: Final = 0.2
"""This part of the jobs comes before anything is counted."""


Step = Callable[[float], float]


MORE: Final = 1.25
"""So many times the slots that ``scale.py`` reckons, where there may be more."""


class Party:
    """Some cores, or one line, that serve what arrives in its order."""

    def __init__(self, count: int) -> None:
        self._free = [0.0] * count
        self.busy = 0.0

    def serve(self, now: float, seconds: float) -> float:
        """When a request that arrives now is done. To be called in the order of time."""
        done = max(now, self._free[0]) + seconds
        heapq.heapreplace(self._free, done)
        self.busy += seconds
        return done

    def waits(self, now: float) -> bool:
        """Whether who arrives now must wait."""
        return self._free[0] > now

    def full(self, seconds: float) -> float:
        """How much of that time it was busy."""
        return self.busy / seconds / len(self._free)


@dataclass(frozen=True, slots=True)
class Size:
    """One engine with all around it."""

    cores: int
    slots: int
    agents: int
    processes: int
    database_cores: int


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it. Times in seconds."""

    busy: float
    """How much of the workers' cores compiled."""
    jobs_s: float
    added: tuple[float, float]
    """What half, and 95 of 100 jobs took at most, besides the compile."""
    fullest: str


class Engine:
    """One engine, and the jobs that go through it."""

    def __init__(self, size: Size, figures: Mapping[str, float], compiles: Sequence[tuple[float, float]], seed: int):
        self._size = size
        self._ms = {name.removesuffix("_ms"): value / 1000 for name, value in figures.items() if name.endswith("_ms")}
        self._sent = figures["source_kib"] * 1024 + figures["beside_bytes"]
        self._compiles = compiles
        self._random = random.Random(seed)
        byte_s = 8 / (figures["line_gbit"] * 1e9)
        self._byte_s = byte_s
        self._agents = [Party(1) for _ in range(size.agents)]
        self._servers = [Party(1) for _ in range(size.processes)]
        self._database = Party(size.database_cores)
        self._up, self._down = Party(1), Party(1)
        self._workers = Party(size.cores)

    def _job(self, number: int) -> tuple[float, Iterator[Step]]:
        """How long one job's compile takes, and what each party in turn makes of the moment the job arrives there."""
        agent, server, ms = self._agents[number % self._size.agents], self._random.choice(self._servers), self._ms
        workers_server = self._random.choice(self._servers)
        compile_s, object_bytes = self._random.choice(self._compiles)
        steps: list[Step] = [
            lambda now: agent.serve(now, ms["agent"] / 2),
            lambda now: self._up.serve(now, self._sent * self._byte_s),
            lambda now: server.serve(now, ms["server"] / 2),
            lambda now: self._database.serve(now, ms["database"] / 2),
            lambda now: now if self._workers.waits(now) else now + self._random.uniform(0, ASSIGN_S),
            lambda now: self._workers.serve(now, compile_s + ms["worker"]),
            lambda now: self._database.serve(now, ms["database"] / 2),
            lambda now: workers_server.serve(now, ms["server"] / 2),
            lambda now: self._down.serve(now, object_bytes * self._byte_s),
            lambda now: agent.serve(now, ms["agent"] / 2),
        ]
        return compile_s, iter(steps)

    def run(self, jobs: int) -> Found:
        """Have so many jobs done."""
        tie = itertools.count()
        events: list[tuple[float, int, int, float, float, Iterator[Step]]] = []
        for number in range(self._size.slots):  # builds do not begin all in one moment
            at = self._random.uniform(0, 1)
            events.append((at, next(tie), number, at, *self._job(number)))
        heapq.heapify(events)
        unsettled = int(jobs * SETTLED)
        over, compiled, began, now = 0, 0.0, 0.0, 0.0
        added: list[float] = []
        while over < jobs:
            now, _, number, begun, compile_s, steps = heapq.heappop(events)
            step = next(steps, None)
            if step is not None:
                heapq.heappush(events, (step(now), next(tie), number, begun, compile_s, steps))
                continue
            over += 1
            if over == unsettled:
                began = now
                self._forget()
            elif over > unsettled:
                added.append(now - begun - compile_s)
                compiled += compile_s
            heapq.heappush(events, (now, next(tie), number, now, *self._job(number)))
        added.sort()
        seconds = now - began
        return Found(
            compiled / seconds / self._size.cores,
            len(added) / seconds,
            (added[len(added) // 2], added[len(added) * 95 // 100]),
            self._fullest(seconds),
        )

    def _parties(self) -> dict[str, list[Party]]:
        return {
            "agents": self._agents, "BuildGrid": self._servers, "the database": [self._database],
            "the line up": [self._up], "the line down": [self._down], "workers": [self._workers],
        }  # fmt: skip

    def _forget(self) -> None:
        for parties in self._parties().values():
            for party in parties:
                party.busy = 0.0

    def _fullest(self, seconds: float) -> str:
        full = {name: sum(party.full(seconds) for party in some) / len(some) for name, some in self._parties().items()}
        name = max(full, key=lambda one: full[one])
        return f"{name} ({full[name]:.0%})"


def sizes(tree: str, cores: int, figures: Mapping[str, float]) -> tuple[int, list[Size]]:
    """How many engines ``scale.py`` reckons for so many cores; what one of them may be like."""
    scale = Scale(work_of(tree), figures)
    need = scale.need(cores)
    engines = need.engines
    own = math.ceil(cores / engines)
    processes = math.ceil(need.servers / engines)
    slots, agents = math.ceil(need.slots / engines), math.ceil(need.agents / engines)
    database = math.ceil(need.database_cores / engines)
    choices = [Size(own, slots, agents, processes, database)]
    for part in (1, 2, 4):
        choices.append(Size(own, math.ceil(slots * MORE), agents, max(1, math.ceil(processes / part)), database))
    return engines, list(dict.fromkeys(choices))


def compiles_of(tree: str) -> list[tuple[float, float]]:
    """(seconds, bytes of the object) of each of a tree's units."""
    with open(COSTS, encoding="utf-8") as file:
        costs = json.load(file)
    seconds, size = costs["fields"].index("cpu_ms"), costs["fields"].index("object_kib")
    return [(row[seconds] / 1000, row[size] * 1024) for row in costs["trees"][tree]]


def text_of(cores: Sequence[int], jobs: int, seed: int) -> str:
    """The table."""
    figures = {name: figure.value for name, figure in {**MEASURED, **CHOSEN}.items()}
    rows = []
    for tree, language in TREES.items():
        for count in cores:
            engines, choices = sizes(tree, count, figures)
            for size in choices:
                found = Engine(size, figures, compiles_of(tree), seed).run(max(jobs, 20 * size.cores))
                rows.append(
                    [f"{language} ({tree})", number_text(count), number_text(engines), number_text(size.processes),
                     number_text(size.slots), f"{found.busy:.0%}", number_text(found.jobs_s),
                     *(f"{seconds:.2f}" for seconds in found.added), found.fullest]
                )  # fmt: skip
    head = ["", "cores", "engines", "BuildGrid processes of each", "slots of each", "of its cores compile",
            "jobs/s of each", "half wait at most, s", "95 of 100, s", "fullest"]  # fmt: skip
    return markdown([head, *rows])


def main() -> int:
    """Simulate, and print or write."""
    parser = argparse.ArgumentParser(description="engines of many sizes, simulated from measured costs")
    parser.add_argument("--cores", default=",".join(map(str, CORES)), help="how many are to be busy")
    parser.add_argument("--jobs", type=int, default=20_000, help="of each engine, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/scale-out.md")
    options = parser.parse_args()
    try:
        cores = [int(count) for count in options.cores.split(",")]
    except ValueError as error:
        parser.error(str(error))
    if min([*cores, options.jobs]) <= 0:
        parser.error("cores and jobs are greater than 0")
    text = text_of(cores, options.jobs, options.seed)
    if options.markdown:
        write_between(GUIDE, BEGIN, END, text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
