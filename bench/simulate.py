"""The scheduler against simulated nodes: makespan beside the lower bound, decisions per second of CPU, memory.

    python bench/simulate.py [--nodes N] [--jobs N] [--mixed] [--churn F] [--stragglers F] [--loss F] [--seed N] …
    python bench/simulate.py --table [SIZE …] [--variants] [--markdown] [--json FILE]

The scheduler is the agent's own; time is virtual (``manycc.testing.virtualtime``), so what comes of a run depends on
the seed alone, however busy this machine is. What compiles cost was measured in real builds (``costs.json``, made by
``costs.py``): whole trees one after the other in make's order, varied by chance, until there are as many
sources as asked for. A build is done twice: *cold*, with nothing known, and *warm*, with what the cold one left (every
source then takes a little more or less than it did). Ratios are makespan over lower bound
(``simulatedbuild.lower_bound``), means over the seeds.

``--leave 0.05``: each node leaves with a chance of 5 % at some moment of the time that the build takes at best, for as
long again; what it was doing is lost. That is what is meant by 5 % churn. ``--churn 0.05`` is harsher: every node is
away for a twentieth of the time, and goes once on average in the time that the build takes at best (``--cycle``: in so
many of them). ``--stragglers 0.01``: one job in a hundred takes ten times as long as it should on the node it is on.
``--loss 0.001``: one job in a thousand breaks its connection, with all jobs on it.

Beside it stands the same build by a list of free slots: first come, first served, by the slot that was free for
longest; and by a scheduler that knows all but has no power over make's order (``simulate_others.py``; not where jobs
straggle, connections break, answers take long or memory is short). CPU is this process's, less what that run takes;
every setting has a process of its own. Memory is the growth of its resident size at its highest; in brackets, with the
list of free slots only (make's jobs, nodes, timers). Several agents on the same nodes: ``simulate_agents.py``.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from simulate_others import FreeSlots, knows_all

from manycc.schedule.learned import Learned
from manycc.testing import virtualtime
from manycc.testing.simulated import Machine, Moods, SimulatedNode
from manycc.testing.simulatedbuild import (
    AgentsWay,
    Build,
    Result,
    Scheduler,
    costs_of,
    edited,
    phases,
    simulate,
    workload,
)

HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "RESULTS.md")
BEGIN = "<!-- simulation: made by bench/simulate.py -->"
END = "<!-- end of simulation -->"
SIZES = (1, 4, 20, 100, 1000)
AIM, AIM_LEAVING = 1.10, 1.25
"""Makespan over lower bound, warm, where nothing goes wrong; and where nodes leave."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One simulation, all that it depends on."""

    scheduler: bool = True
    nodes: int = 20
    jobs: int = 2000
    sources: int = 0
    seed: int = 1
    seeds: int = 1
    slots: int = 4
    mixed: bool = False
    leave: float = 0.0
    churn: float = 0.0
    cycle: float = 1.0
    stragglers: float = 0.0
    loss: float = 0.0
    latency: float = 0.001
    memory: int = 0
    barriers: int = 0
    width: float = 1.25
    scale: float = 1.0
    trees: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Row:
    """What came of it, by seed: cold, warm; and what it took here."""

    setting: Setting
    cold: list[Result] = field(default_factory=list)
    warm: list[Result] = field(default_factory=list)
    knowing: list[float] = field(default_factory=list)
    """Of the warm ones, by whom all is known: makespans over lower bounds. Only beside a list of free slots."""
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    without: Row | None = None
    """The same with a list of free slots."""

    @property
    def decisions(self) -> float:
        """Jobs placed per second of the scheduler's CPU."""
        spent = self.cpu_s - 2 * (self.without.cpu_s if self.without is not None else 0.0)
        return 2 * self.setting.seeds * self.setting.jobs / spent if spent > 0 else math.inf


def machines(setting: Setting) -> list[Machine]:
    """The nodes: all alike, or with speeds from 1 to 8 and a half, once or twice as many slots."""
    chance = random.Random(f"{setting.seed}/machines")
    made = []
    for number in range(setting.nodes):
        speed, slots = 1.0, setting.slots
        if setting.mixed:
            speed = 8 ** (number / max(setting.nodes - 1, 1))
            slots = max(1, chance.choice((setting.slots // 2, setting.slots, setting.slots * 2)))
        made.append(Machine(f"node{number}", slots, speed, setting.memory << 20, setting.latency))
    chance.shuffle(made)
    return made


def load_costs() -> dict[str, Any]:
    with open(os.path.join(HERE, "costs.json"), encoding="utf-8") as file:
        document: dict[str, Any] = json.load(file)
    return document


def run(setting: Setting) -> Row:
    """Simulate cold, then warm, with each seed."""
    trees = costs_of(load_costs(), setting.scale)
    if setting.trees:
        trees = {name: trees[name] for name in setting.trees}
    hosts = machines(setting)
    row = Row(setting=setting)
    before = resident_mb()
    for seed in range(setting.seed, setting.seed + setting.seeds):
        costs = workload(trees, setting.sources or setting.jobs, seed)
        learned = Learned()
        for results in (row.cold, row.warm):
            if results is row.cold and not setting.scheduler:  # a list of free slots learns nothing
                costs = edited(costs, seed)
                continue
            build = Build(costs, phases(list(costs), setting.jobs, setting.barriers), width_of(setting, hosts))
            begun = time.process_time()
            chance = seed * 2 + (results is row.warm)
            results.append(virtualtime.run(one(setting, build, hosts, learned, chance)))
            row.cpu_s += time.process_time() - begun
            if results is row.warm and foreseeable(setting):
                moods = moods_of(setting, build, hosts)
                row.knowing.append(knows_all(build, hosts, moods, chance) / results[-1].bound)
            if results[-1].done < setting.jobs:
                raise SystemExit(f"{setting}: only {results[-1].done} jobs were done")
            costs = edited(costs, seed)
    row.memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    return row


def width_of(setting: Setting, hosts: Sequence[Machine]) -> int:
    """Make's -j."""
    return max(1, round(sum(machine.slots for machine in hosts) * setting.width))


def foreseeable(setting: Setting) -> bool:
    """Whether it is to be told what could be reached, and can be."""
    return not (setting.scheduler or setting.stragglers or setting.loss or setting.memory or setting.latency > 0.01)


def moods_of(setting: Setting, build: Build, hosts: Sequence[Machine]) -> Moods:
    """What goes wrong in a build: its measure of time is how long that takes at best."""
    work = sum(build.costs[source].cpu_s for phase in build.phases for source in phase)
    ideal = work / sum(host.slots * host.speed for host in hosts)
    return Moods(
        straggle=setting.stragglers,
        loss=setting.loss,
        up_s=ideal * setting.cycle * (1 - setting.churn) if setting.churn else 0.0,
        down_s=ideal * setting.cycle * setting.churn,
        leave=setting.leave,
        within_s=ideal,
    )


async def one(setting: Setting, build: Build, hosts: Sequence[Machine], learned: Learned, seed: int) -> Result:
    moods = moods_of(setting, build, hosts)
    nodes = [SimulatedNode(machine, build.costs, moods, seed) for machine in hosts]
    scheduler: Scheduler = AgentsWay(nodes, learned).run if setting.scheduler else FreeSlots(nodes).run
    return await simulate(build, nodes, scheduler)


def resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def run_all(settings: Sequence[Setting], processes: int) -> Iterator[Row]:
    """Each simulation in a process of its own, and once more without a scheduler."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        pairs = [
            (pool.submit(run, setting), pool.submit(run, replace(setting, scheduler=False))) for setting in settings
        ]
        for simulated, bare in pairs:
            row = simulated.result()
            row.without = bare.result()
            yield row


def usual_jobs(nodes: int) -> int:
    return min(max(2000, 1000 * nodes), 100_000)


def table_settings(options: Setting, sizes: Sequence[int]) -> list[Setting]:
    """A thousand compiles a node, between 2,000 and 100,000; those of few nodes with several seeds."""
    moods: list[dict[str, Any]] = [{}, {"leave": 0.05}, {"stragglers": 0.01}, {"churn": 0.05}]
    return [
        replace(options, **{"nodes": nodes, "jobs": jobs, "mixed": mixed, "seeds": max(1, 12_000 // jobs), **mood})
        for nodes, jobs in ((nodes, usual_jobs(nodes)) for nodes in sizes)
        for mixed in (False, True)
        for mood in (moods if mixed and nodes == max(sizes) else moods[:-1])
    ]


def variant_settings(options: Setting) -> list[Setting]:
    """One size of mixed nodes, and what may be otherwise about a build."""
    variants: list[dict[str, Any]] = [
        {"width": 0.5}, {"width": 1.0}, {"width": 2.0}, {"width": 10.0}, {"barriers": 20}, {"loss": 0.001},
        {"latency": 0.1}, {"jobs": 20_000, "sources": 1000}, {"jobs": 1000}, {"scale": 10.0},
        {"memory": 256}, {"leave": 0.05, "stragglers": 0.01, "loss": 0.001},
    ]  # fmt: skip
    return [
        replace(options, **{"nodes": 40, "jobs": 4000, "mixed": True, "seeds": 2, **variant}) for variant in variants
    ]


HEADER = ("nodes", "speeds", "what happens", "compiles", "-j", "lower bound", "free slots", "knows all", "cold", "warm",
          "work given up", "decisions per CPU second", "memory")  # fmt: skip


def cells(row: Row) -> list[str]:
    setting, plain, without = row.setting, Setting(), row.without
    assert without is not None
    told = [
        text.format(getattr(setting, name))
        for name, text in (
            ("leave", "{:.0%} leave"), ("churn", "all away {:.0%} of the time"), ("cycle", "once in {:g} builds"),
            ("stragglers", "{:.0%} stragglers"), ("loss", "{:.1%} lost"),
            ("barriers", "{} barriers"), ("latency", "{} s latency"), ("sources", "{:,} sources"),
            ("memory", "{} MiB each"),
            ("scale", "compiles {:g} times as long"),
        )
        if getattr(setting, name) != getattr(plain, name)
    ]  # fmt: skip
    warm = row.warm[0]
    return [
        f"{setting.nodes:,}",
        "1 to 8" if setting.mixed else "equal",
        ", ".join(told) or "-",
        f"{setting.jobs:,}",
        f"{width_of(setting, machines(setting)):,}",
        f"{warm.bound:.1f} s",
        f"{mean(without.warm):.2f}",
        f"{statistics.fmean(without.knowing):.3f}" if without.knowing else "-",
        f"{mean(row.cold):.3f}",
        f"{mean(row.warm):.3f}",
        f"{warm.wasted_s / (warm.wasted_s + warm.busy_s):.1%}",
        f"{row.decisions:,.0f}",
        f"{row.memory_mb:.0f} MB ({without.memory_mb:.0f})",
    ]


def mean(results: Sequence[Result]) -> float:
    return statistics.fmean(result.ratio for result in results)


def shown(row: Row) -> str:
    return " | ".join(f"{cell:>8}" for cell in cells(row)) + f" | {row.warm[0].failures or ''}"


INTRODUCTION = """## The scheduler against the lower bound

`{command}`: the agent's scheduler in virtual time, over simulated nodes (four slots each; with speeds from 1 to 8: two,
four or eight) and compiles that cost what those of FontForge, redis and re2 do (`bench/costs.json`). *Lower bound* is a
time in which no scheduler could be done; *free slots*, *knows all*, *cold* and *warm* are makespans over it: by a mere
list of free slots, by one that knows all costs and speeds and when to be done but sees no more than make has asked for
(`bench/simulate_others.py`; what it does not reach is make's order), by the agent's scheduler that knows nothing yet,
and by what that learned in that build. *5% leave*: each node leaves with that chance, once, at some moment of the
build; *all away 5% of the time* is harsher: every node goes once in a build on average. *Work given up*: time of slots
that went into lost jobs and into second runs. The decisions are jobs per second of the scheduler's own CPU; memory is
what the process grew by, in brackets without the scheduler.
"""


def markdown(rows: Sequence[Row], command: str) -> str:
    lines = [INTRODUCTION.format(command=command), "| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n\n" + aims(rows)


def aims(rows: Sequence[Row]) -> str:
    """Which rows that have an aim do not meet it: the usual builds, if nothing goes wrong or nodes leave; warm."""
    usual = Setting()
    aimed = [row for row in rows if row.setting.jobs == usual_jobs(row.setting.nodes) and replace(
        row.setting, nodes=usual.nodes, jobs=usual.jobs, mixed=False, seed=1, seeds=1, leave=0.0) == usual]  # fmt: skip
    missed = [
        f"{' '.join(cells(row)[:3]).removesuffix(' -')} {mean(row.warm):.2f}"
        for row in aimed
        if mean(row.warm) > (AIM_LEAVING if row.setting.leave else AIM)
    ]
    told = f"Aims, warm: {AIM:.2f}, and {AIM_LEAVING:.2f} where nodes leave; met in {len(aimed) - len(missed)} of"
    return f"{told} {len(aimed)} rows{'; not by ' if missed else ''}{', '.join(missed)}.\n"


def insert(text: str, path: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put the table between its two marks, which are set at the end where they are not there."""
    begin, end = marks
    with open(path, encoding="utf-8") as file:
        old = file.read()
    if begin not in old:
        old += f"\n{begin}\n{end}\n"
    head, _, rest = old.partition(begin)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{head}{begin}\n{text}{end}{rest.partition(end)[2]}")


def main() -> int:
    """Simulate, and show."""
    parser = argparse.ArgumentParser(description="simulate the scheduler")
    plain = Setting()
    for name, help_text in (
        ("nodes", "how many nodes"), ("jobs", "how many compiles"), ("sources", "how many files (default: one a job)"),
        ("seed", "of all chance"), ("seeds", "how many of them"),
        ("slots", "per node"), ("leave", "chance that a node leaves in the course of the build"),
        ("churn", "share of the time that a node is away"),
        ("cycle", "how often it goes: once in so many builds"),
        ("stragglers", "share of jobs that take ten times as long"), ("loss", "share of jobs that lose the connection"),
        ("latency", "seconds that a job takes besides compiling"), ("barriers", "how often all waits for a link"),
        ("memory", "MiB per node; 0: enough"),
        ("width", "make's -j over the number of slots"), ("scale", "compiles take so many times as long"),
    ):  # fmt: skip
        value = getattr(plain, name)
        parser.add_argument(f"--{name}", type=type(value), default=value, help=help_text)
    parser.add_argument("--trees", nargs="*", default=(), help="draw from these only")
    parser.add_argument("--mixed", action="store_true", help="speeds from 1 to 8")
    parser.add_argument("--table", nargs="*", type=int, metavar="SIZE", help="all sizes, or these; speeds and moods")
    parser.add_argument("--variants", action="store_true", help="other -j, barriers, losses, latency, …")
    parser.add_argument("--processes", type=int, default=1, help="simulations at once")
    parser.add_argument("--markdown", action="store_true", help="put the table into RESULTS.md")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    options = vars(parser.parse_args())
    sizes, variants, processes, into_results, path = (
        options.pop(key) for key in ("table", "variants", "processes", "markdown", "json")
    )
    setting = Setting(**{**options, "trees": tuple(options["trees"])})
    settings = table_settings(setting, sizes or SIZES) if sizes is not None else []
    settings += variant_settings(setting) if variants else []
    print(" | ".join(HEADER), flush=True)
    rows = []
    for row in run_all(settings or [setting], processes):
        rows.append(row)
        print(shown(row), flush=True)
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump([asdict(row) for row in rows], file, indent=1)
    if into_results:
        insert(markdown(rows, " ".join(["python bench/simulate.py", *sys.argv[1:]])), RESULTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
