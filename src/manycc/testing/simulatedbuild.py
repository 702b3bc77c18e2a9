"""Builds over simulated nodes: what make would ask for, in its order, and how long it had to take at least.

``simulate`` runs a build with the scheduler that it is given, in virtual time, and returns what came of it beside
``lower_bound``: no scheduler whatsoever could have been quicker.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from manycc.errors import BackendError, NotDistributable
from manycc.job import FILE, Input, Inputs, Job, Outcome, Toolchain
from manycc.reasons import Reason
from manycc.schedule.dispatch import Dispatcher, Failed
from manycc.schedule.learned import Learned
from manycc.schedule.pool import Pool
from manycc.testing.simulated import AGENT, Cost, SimulatedNode

GCC: Final = Toolchain("5" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})
MAX_ATTEMPTS: Final = 3
LOOK_S: Final = 0.1
"""How often it is looked who has how many slots."""
_FOLDER: Final = "/build"
_DIGEST: Final = bytes(32)

Scheduler = Callable[[Job], Awaitable[Outcome]]
"""Has a job done somewhere. Raises NotDistributable and BackendError as the agent's flow sees them."""


class AgentsWay:
    """The agent's own scheduler, and what its flow does with a job that a host failed: try it on others."""

    def __init__(self, nodes: Sequence[SimulatedNode], learned: Learned) -> None:
        self._pool = Pool(nodes, speeds=learned.speeds)
        self._dispatcher = Dispatcher(learned)

    async def run(self, job: Job) -> Outcome:
        """Have a job done."""
        avoid: frozenset[str] = frozenset()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return (await self._dispatcher.run(self._pool, job, avoid=avoid)).outcome
            except Failed as failed:
                if attempt == MAX_ATTEMPTS:
                    raise failed.failures[-1][1] from failed
                avoid |= {host.name for host, _ in failed.failures}
        raise AssertionError("the last attempt raises")


@dataclass(slots=True)
class Build:
    """What is to be compiled: sources in make's order, ``phases`` of them with a barrier after each (a link, say).

    ``width`` is make's -j.
    """

    costs: Mapping[str, Cost]
    phases: Sequence[Sequence[str]]
    width: int

    @property
    def jobs(self) -> int:
        """How many compiles there are."""
        return sum(map(len, self.phases))


def workload(rows: Mapping[str, Sequence[Cost]], sources: int, seed: int, spread: float = 0.1) -> dict[str, Cost]:
    """Costs by source, in the order of a build: whole trees out of ``rows`` one after the other, drawn by chance.

    ``rows`` has the compiles of real trees, in the order in which those were built. Every one is varied a
    little (``spread``: sigma of a log-normal), so that no two files are alike.
    """
    chance = random.Random(f"{seed}/workload")  # noqa: S311 - it has to repeat
    names = sorted(rows)
    costs: dict[str, Cost] = {}
    for tree in itertools.count():
        name = chance.choice(names)
        for number, cost in enumerate(rows[name]):
            if len(costs) == sources:
                return costs
            factor = chance.lognormvariate(0.0, spread)
            costs[f"{_FOLDER}/{name}{tree}/{number}.cc"] = cost._replace(cpu_s=cost.cpu_s * factor)
    raise AssertionError("trees do not run out")


def edited(costs: Mapping[str, Cost], seed: int, spread: float = 0.05) -> dict[str, Cost]:
    """The same sources as another run finds them: each takes a little more or less than last time."""
    chance = random.Random(f"{seed}/edited")  # noqa: S311 - it has to repeat
    return {
        source: cost._replace(cpu_s=cost.cpu_s * chance.lognormvariate(0.0, spread)) for source, cost in costs.items()
    }


def phases(order: Sequence[str], jobs: int, barriers: int = 0) -> list[list[str]]:
    """``jobs`` compiles of the sources in their order, again from the first where there are more, in equal phases."""
    todo = list(itertools.islice(itertools.cycle(order), jobs))
    size = -(-jobs // (barriers + 1))
    return [todo[begin : begin + size] for begin in range(0, jobs, size)]


def job_of(source: str, cost: Cost) -> Job:
    """The job that compiles a source."""
    output = source.removesuffix(".cc") + ".o"
    item = Input(FILE, source, _DIGEST, cost.input_bytes)
    folder = source.rpartition("/")[0]
    return Job(
        argv=("gcc", "-O2", "-c", source, "-o", output),
        cwd=_FOLDER,
        env=(),
        umask=0o022,
        toolchain=GCC,
        inputs=Inputs((item,), "manifest", True, False),
        folders=(_FOLDER, folder),
        outputs=(output,),
        stems=(),
        source=source,
    )


@dataclass(slots=True)
class Result:
    """What came of a build. ``failures`` counts what the scheduler could not have done at once, by reason's code."""

    makespan: float
    bound: float
    done: int
    lost: int
    cancelled: int
    wasted_s: float
    busy_s: float
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The makespan against the lower bound."""
        return self.makespan / self.bound


async def make(build: Build, nodes: Sequence[SimulatedNode], scheduler: Scheduler) -> dict[str, int]:
    """Ask for a build's jobs as make would: ``width`` at once, in order. What could not be done at once, by reason.

    A job that no host can do now, or that failed on too many, is asked for again when a host has come: there is no
    compiler here, so that the bound is one of the nodes alone.
    """
    failures: dict[str, int] = {}
    changed = asyncio.Event()
    unsubscribe = [node.on_change(changed.set) for node in nodes]

    async def worker(todo: Iterator[str]) -> None:
        for source in todo:
            job = job_of(source, build.costs[source])
            while True:
                try:
                    await scheduler(job)
                    break
                except (NotDistributable, BackendError) as error:
                    failures[error.reason.code] = failures.get(error.reason.code, 0) + 1
                    if error.reason is Reason.HOSTS_DOWN:
                        changed.clear()
                        await changed.wait()

    for phase in build.phases:
        todo = iter(phase)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(build.width, len(phase))):
                group.create_task(worker(todo))
    for end in unsubscribe:
        end()
    return failures


async def simulate(build: Build, nodes: Sequence[SimulatedNode], scheduler: Scheduler) -> Result:
    """Run a build. Needs a ``VirtualLoop``."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for node in nodes:
        node.start()
    failures = await make(build, nodes, scheduler)
    makespan = loop.time() - begun
    for node in nodes:
        node.stop()
    tallies = [node.tally for node in nodes]
    return Result(
        makespan=makespan,
        bound=lower_bound(build, nodes, begun),
        done=sum(tally.done for tally in tallies),
        lost=sum(tally.lost for tally in tallies),
        cancelled=sum(tally.cancelled for tally in tallies),
        wasted_s=sum(tally.wasted_s for tally in tallies),
        busy_s=sum(tally.busy_s for tally in tallies),
        failures=failures,
    )


@dataclass(slots=True)
class Share:
    """What one of several agents had of the nodes. ``took``: seconds until its build was done.

    ``slots``: how many it had on average while all of them had work.
    """

    took: float
    slots: float


async def simulate_together(
    builds: Sequence[Build], nodes: Sequence[SimulatedNode], schedulers: Sequence[Scheduler]
) -> list[Share]:
    """Run builds at the same time on the same nodes, each by an agent of its own. Needs a ``VirtualLoop``."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    names = [f"agent{number}" for number in range(len(builds))]
    took: dict[str, float] = {}

    async def agent(name: str, build: Build, scheduler: Scheduler) -> None:
        AGENT.set(name)
        await make(build, nodes, scheduler)
        took[name] = loop.time() - begun

    for node in nodes:
        node.start()
    tasks = [
        loop.create_task(agent(name, build, scheduler))
        for name, build, scheduler in zip(names, builds, schedulers, strict=True)
    ]
    held: dict[str, int] = dict.fromkeys(names, 0)
    looks = 0
    while not took:
        await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        looks += 1
        for node in nodes:
            for name, slots in node.shares().items():
                held[name] += slots
    for task in tasks:
        await task
    for node in nodes:
        node.stop()
    return [Share(took[name], held[name] / looks) for name in names]


def lower_bound(build: Build, nodes: Iterable[SimulatedNode], begun: float = 0.0) -> float:
    """A time in which no scheduler, knowing all, could have done the build. It is the larger of two.

    Phase by phase, for nothing begins before a barrier falls, the largest of

    - the phase's reference seconds over the speeds of all slots; no more slots than make has jobs out at once, the
      quickest ones;
    - where all nodes have limited memory, bytes times reference seconds over bytes times speed: what runs on a node
      fits into it, so that it gets through no more of that product in a second. (A job too large for any node runs
      there alone, and counts as one of the least node's size.)
    - for each job: when make can have asked for it at the earliest, and then its time on the quickest node. Make asks
      for job k when no more than ``width`` - 1 of those before it are left: all others, be they the shortest, are done.

    Over all phases, the time by which the slots that were really there (nodes that had gone left out for as long as
    they were away) could have done so many reference seconds.

    Latency, bandwidth, lost work and stragglers are not in it: they are the scheduler's to hide.
    """
    machines = [(node.machine, node.tally.changes) for node in nodes]
    speeds = heapq.nlargest(build.width, (machine.speed for machine, _ in machines for _ in range(machine.slots)))
    capacity, quickest = sum(speeds), speeds[0]
    least = min(machine.memory for machine, _ in machines)
    room = sum(machine.memory * machine.speed for machine, _ in machines)
    by_phase = 0.0
    total = 0.0
    for phase in build.phases:
        seconds = [build.costs[source].cpu_s for source in phase]
        total += sum(seconds)
        space = sum(min(cost.peak_rss, least) * cost.cpu_s for cost in map(build.costs.__getitem__, phase))
        by_phase += max(
            sum(seconds) / capacity,
            space / room if least else 0.0,
            _last_asked(seconds, build.width, capacity, quickest),
        )
    changes = sorted(
        (time - begun, machine.slots * machine.speed * (1 if there else -1))
        for machine, times in machines
        for time, there in times
    )
    return max(by_phase, _time_for(total, sum(machine.slots * machine.speed for machine, _ in machines), changes))


def _last_asked(seconds: Iterable[float], width: int, capacity: float, quickest: float) -> float:
    """When the last of them can be done at the earliest, by when make asks for it."""
    left: list[float] = []  # the longest of those before, that may still be under way
    done = end = 0.0
    for cost in seconds:
        if len(left) >= width:
            done += heapq.heappop(left)
        end = max(end, done / capacity + cost / quickest)
        heapq.heappush(left, cost)
    return end


def _time_for(work: float, capacity: float, changes: Iterable[tuple[float, float]]) -> float:
    """When so much work is done by a capacity that changes at these times."""
    now = 0.0
    for time, change in changes:
        if work <= capacity * (time - now):
            break
        work -= capacity * (time - now)
        now, capacity = time, capacity + change
    return now + work / capacity if capacity > 0 else now


def costs_of(document: Mapping[str, Any], scale: float = 1.0) -> dict[str, list[Cost]]:
    """The trees of ``bench/costs.json``, their CPU seconds times ``scale``."""
    return {
        tree: [
            Cost(cpu_ms / 1e3 * scale, rss << 20, inputs << 10, made << 10) for _, cpu_ms, rss, _, inputs, made in rows
        ]
        for tree, rows in document["trees"].items()
    }
