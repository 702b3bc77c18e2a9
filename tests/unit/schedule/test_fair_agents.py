"""Several agents on the same nodes, in virtual time: equal shares for those who have enough work, nobody starved.

The scheduler is the agent's own, and which job runs next on a node is decided by the node's own code.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from manycc.schedule.learned import Learned
from manycc.testing import virtualtime
from manycc.testing.simulated import Cost, Machine, SimulatedNode
from manycc.testing.simulatedbuild import AgentsWay, Build, Share, simulate_together

NODES = 5
SLOTS = 4


def together(agents: Sequence[tuple[int, int, float]]) -> list[Share]:
    """Agents with so many jobs at once, of so many, of so many seconds each."""
    builds = []
    for number, (width, jobs, seconds) in enumerate(agents):
        costs = {f"/agent{number}/{job}.cc": Cost(seconds * (1 + job % 7 / 10), 0, 1000) for job in range(jobs)}
        builds.append(Build(costs, [list(costs)], width))

    async def main() -> list[Share]:
        costs = {source: cost for build in builds for source, cost in build.costs.items()}
        nodes = [SimulatedNode(Machine(f"node{number}", SLOTS), costs) for number in range(NODES)]
        return await simulate_together(builds, nodes, [AgentsWay(nodes, Learned()).run for _ in builds])

    return virtualtime.run(main())


def test_those_who_have_enough_work_have_equal_shares() -> None:
    shares = together([(30, 150, 1.0), (100, 150, 1.0), (60, 150, 1.0)])
    for share in shares:
        assert share.slots == pytest.approx(NODES * SLOTS / 3, rel=0.1)


def test_long_jobs_give_no_right_to_more_slots() -> None:
    short, long = together([(60, 300, 0.5), (60, 80, 2.0)])
    assert short.slots == pytest.approx(long.slots, rel=0.15)


def test_a_small_build_goes_on_beside_large_ones() -> None:
    small, middle, large = together([(4, 40, 1.0), (20, 150, 1.0), (60, 150, 1.0)])
    (alone,) = together([(4, 40, 1.0)])
    # Each of its jobs waits until one of the slots of a node is free: no job that runs is ended for it.
    assert small.took <= 1.6 * alone.took
    assert small.slots >= 2.4
    assert middle.slots == pytest.approx(large.slots, rel=0.2)
