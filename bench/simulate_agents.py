"""Several agents on the same simulated nodes: who gets how many slots, and what a small build loses by large ones.

    python bench/simulate_agents.py [--agents J …] [--nodes N] [--jobs N] [--mixed] [--seeds N] [--markdown]

Each agent builds a workload of its own with its own ``-j``, by the scheduler that real agents have, all cold; which
job runs next on a node is decided by the code of real nodes. Connections, and what an agent's machine does itself, are
not simulated. *Fair* is the share of slots by which nobody who wants more has less than another; *slots* what each had
on average while all had work; *alone* the same build on the same nodes without the others, with no more at once than
its fair share.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from typing import Final

from simulate import RESULTS, Setting, insert, load_costs, machines

from manycc.schedule.learned import Learned
from manycc.testing import virtualtime
from manycc.testing.simulated import Machine, SimulatedNode
from manycc.testing.simulatedbuild import AgentsWay, Build, Share, costs_of, phases, simulate_together, workload

MARKS: Final = ("<!-- agents: made by bench/simulate_agents.py -->", "<!-- end of agents -->")
CASES: Final = ((8, 40, 200), (8, 200), (4, 4, 4, 200), (200, 200, 200))
INTRODUCTION: Final = """`{command}`: agents with builds of their own on the same
nodes of four slots, all cold. *Fair* is the share by which nobody who wants more has less than another; *slots* what
each had on average while all had work; *alone* the time of the same build without the others, with no more at once than
its fair share.

"""
HEADER: Final = ("nodes", "agents' -j", "-j", "fair", "slots", "seconds", "alone", "times as long")


def fair_shares(widths: Sequence[int], slots: int) -> list[float]:
    """Max-min fair: nobody who wants more has less than another."""
    shares: dict[int, float] = {}
    left = float(slots)
    for place, number in enumerate(sorted(range(len(widths)), key=lambda number: widths[number])):
        shares[number] = min(widths[number], left / (len(widths) - place))
        left -= shares[number]
    return [shares[number] for number in range(len(widths))]


def builds_of(widths: Sequence[int], jobs: int, seed: int) -> list[Build]:
    """For each agent other sources."""
    trees = costs_of(load_costs())
    made = []
    for number, width in enumerate(widths):
        drawn = workload(trees, jobs, seed * 1000 + number)
        costs = {f"/agent{number}{source}": cost for source, cost in drawn.items()}
        made.append(Build(costs, phases(list(costs), jobs), width))
    return made


def together(builds: Sequence[Build], hosts: Sequence[Machine], seed: int) -> list[Share]:
    """Run them at the same time."""
    costs = {source: cost for build in builds for source, cost in build.costs.items()}

    async def main() -> list[Share]:
        nodes = [SimulatedNode(machine, costs, seed=seed) for machine in hosts]
        return await simulate_together(builds, nodes, [AgentsWay(nodes, Learned()).run for _ in builds])

    return virtualtime.run(main())


def rows(setting: Setting, widths: Sequence[int]) -> list[list[str]]:
    """One for each agent: means over the seeds."""
    hosts = machines(setting)
    shares = fair_shares(widths, sum(host.slots for host in hosts))
    had: list[list[Share]] = []
    alone: list[list[float]] = []
    for seed in range(setting.seed, setting.seed + setting.seeds):
        builds = builds_of(widths, setting.jobs, seed)
        had.append(together(builds, hosts, seed))
        alone.append(
            [
                together([Build(build.costs, build.phases, max(1, int(share)))], hosts, seed)[0].took
                for build, share in zip(builds, shares, strict=True)
            ]
        )
    made = []
    for number, width in enumerate(widths):
        took = statistics.fmean(run[number].took for run in had)
        by_itself = statistics.fmean(run[number] for run in alone)
        made.append(
            [
                f"{len(hosts)}, {'1 to 8' if setting.mixed else 'equal'}",
                ", ".join(map(str, widths)),
                str(width),
                f"{shares[number]:.1f}",
                f"{statistics.fmean(run[number].slots for run in had):.1f}",
                f"{took:.1f}",
                f"{by_itself:.1f}",
                f"{took / by_itself:.2f}",
            ]
        )
    return made


def main() -> int:
    """Simulate, and show."""
    parser = argparse.ArgumentParser(description="simulate several agents on the same nodes")
    parser.add_argument("--agents", nargs="*", type=int, help="each agent's -j (default: several cases)")
    parser.add_argument("--nodes", type=int, default=10, help="how many nodes, of four slots")
    parser.add_argument("--jobs", type=int, default=1000, help="compiles of each build")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--mixed", action="store_true", help="speeds from 1 to 8")
    parser.add_argument("--markdown", action="store_true", help="put the table into RESULTS.md")
    options = parser.parse_args()
    plain = Setting(nodes=options.nodes, jobs=options.jobs, seeds=options.seeds, mixed=options.mixed)
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    print("\n".join(lines), flush=True)
    for widths in [options.agents] if options.agents else CASES:
        for row in rows(plain, widths):
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    if options.markdown:
        command = " ".join(["python bench/simulate_agents.py", *sys.argv[1:]])
        insert(INTRODUCTION.format(command=command) + "\n".join(lines) + "\n", RESULTS, MARKS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
