"""The scheduler in virtual time: every job done, near the lower bound, the same run from the same seed.

Makespans are exact: how busy this machine is has no part in them. ``bench/simulate.py`` has the large runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from manycc.errors import BackendGone
from manycc.reasons import Reason
from manycc.schedule.learned import Learned
from manycc.testing import virtualtime
from manycc.testing.simulated import CALM, Cost, Machine, Moods, SimulatedNode, absences
from manycc.testing.simulatedbuild import (
    AgentsWay,
    Build,
    Result,
    costs_of,
    edited,
    job_of,
    lower_bound,
    phases,
    simulate,
    workload,
)

T = TypeVar("T")
COSTS = os.path.join(os.path.dirname(__file__), "../../../bench/costs.json")


def run(main: Coroutine[Any, Any, T]) -> T:
    return virtualtime.run(main)


# -- the instruments


def test_hours_pass_at_once_and_in_order() -> None:
    async def test() -> list[float]:
        loop = asyncio.get_running_loop()
        times = []

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            times.append(loop.time())

        await asyncio.gather(sleep(7200), sleep(0.5), sleep(3600))
        return times

    assert run(test()) == [0.5, 3600, 7200]


def test_what_can_never_happen_is_not_waited_for() -> None:
    async def test() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(virtualtime.Stuck):
        run(test())


def nodes_of(
    machines: Sequence[Machine], costs: dict[str, Cost], moods: Moods = CALM, seed: int = 1
) -> list[SimulatedNode]:
    return [SimulatedNode(machine, costs, moods, seed) for machine in machines]


def test_a_node_takes_what_its_speed_and_the_way_there_say() -> None:
    costs = {"/a.cc": Cost(6.0, 0, 1000, 1000)}

    async def test() -> float:
        (node,) = nodes_of([Machine("one", 2, speed=3.0, latency_s=0.5, bandwidth=4000)], costs)
        outcome = await node.run(job_of("/a.cc", costs["/a.cc"]))
        assert outcome.cpu_s == 2.0
        return asyncio.get_running_loop().time()

    assert run(test()) == 2.0 + 0.5 + 0.5


def test_a_node_that_goes_loses_its_jobs_and_comes_back() -> None:
    costs = {"/a.cc": Cost(6.0)}
    job = job_of("/a.cc", costs["/a.cc"])

    async def test() -> None:
        (node,) = nodes_of([Machine("one", 2)], costs)
        task = asyncio.create_task(node.run(job))
        await asyncio.sleep(1)
        node.leave("pulled out")
        with pytest.raises(BackendGone) as gone:
            await task
        assert gone.value.reason is Reason.NODE_LOST and gone.value.detail == "pulled out"
        with pytest.raises(BackendGone):
            await node.run(job)
        node.come()
        await node.run(job)
        assert (node.tally.done, node.tally.lost, asyncio.get_running_loop().time()) == (1, 1, 7.0)

    run(test())


def test_a_node_runs_no_more_than_its_slots_at_once() -> None:
    costs = {"/a.cc": Cost(1.0)}

    async def test() -> float:
        (node,) = nodes_of([Machine("one", 2)], costs)
        await asyncio.gather(*[node.run(job_of("/a.cc", costs["/a.cc"])) for _ in range(5)])
        return asyncio.get_running_loop().time()

    assert run(test()) == 3.0


def test_a_node_runs_no_more_than_its_memory_holds() -> None:
    costs = {f"/{number}.cc": Cost(1.0, peak_rss=600 << 20) for number in range(4)}

    async def test() -> float:
        (node,) = nodes_of([Machine("one", 4, memory=1300 << 20)], costs)
        tasks = [asyncio.create_task(node.run(job_of(source, cost))) for source, cost in costs.items()]
        await asyncio.sleep(0.5)
        assert node.memory_free is not None
        assert (node.memory_free >> 20, node.others) == (100, 4)
        tasks[3].cancel()  # while it waits
        await asyncio.wait(tasks)
        assert node.tally.done == 3
        return asyncio.get_running_loop().time()

    assert run(test()) == 2.0


@pytest.mark.parametrize(
    ("times", "barriers", "width", "bound"),
    [
        ([1.0] * 12, 0, 99, 12 / 4),  # all slots together: 2 of speed 1, one of 2
        ([1.0] * 12, 0, 2, 12 / 3),  # make asks for two at a time: the two quickest slots
        ([0.1, 8.0], 0, 99, 8 / 2),  # the longest, on the quickest node
        ([4.0, 0.0, 4.0, 0.0], 1, 99, 2 * 4 / 2),  # the second is not asked for before the first is done
        ([1.0, 1.0, 4.0], 0, 2, 1 / 3 + 4 / 2),  # one of the first two is done before the third is asked for
    ],
)
def test_lower_bound(times: list[float], barriers: int, width: int, bound: float) -> None:
    costs = {f"/{number}.cc": Cost(seconds) for number, seconds in enumerate(times)}
    nodes = nodes_of([Machine("a", 2), Machine("b", 1, speed=2.0)], costs)
    assert lower_bound(Build(costs, phases(list(costs), len(times), barriers), width), nodes) == pytest.approx(bound)


def test_lower_bound_counts_the_slots_that_were_there() -> None:
    costs = {f"/{number}.cc": Cost(1.0) for number in range(8)}
    a, b = nodes_of([Machine("a", 1), Machine("b", 1)], costs)
    b.tally.changes = [(1.0, False), (3.0, True)]
    # One second with both, two with one of them, then two more with both.
    assert lower_bound(Build(costs, [list(costs)], 99), [a, b]) == pytest.approx(5.0)


def test_lower_bound_counts_memory() -> None:
    costs = {f"/{number}.cc": Cost(1.0, peak_rss=600) for number in range(12)}
    nodes = nodes_of([Machine("a", 4, memory=1200), Machine("b", 4, speed=2.0, memory=1200)], costs)
    # Two at once on each, of the four that it has slots for.
    assert lower_bound(Build(costs, [list(costs)], 99), nodes) == pytest.approx(12 / (2 + 4))
    large = {"/large.cc": Cost(3.0, peak_rss=5000), "/small.cc": Cost(1.0, peak_rss=10)}
    nodes = nodes_of([Machine("a", 4, memory=1000)], large)
    assert lower_bound(Build(large, [list(large)], 99), nodes) == pytest.approx(3.01), "it runs alone"


def test_a_node_that_leaves_does_so_once() -> None:
    moods = Moods(leave=0.5, within_s=100.0)
    gone = [list(absences(f"node{number}", moods, 1)) for number in range(400)]
    assert {len(times) for times in gone} == {0, 1}
    times = [times[0] for times in gone if times]
    assert 150 <= len(times) <= 250
    assert all(0.0 <= begin <= 100.0 and end == begin + 100.0 for begin, end in times)


# -- the scheduler


def machines(count: int, mixed: bool) -> list[Machine]:
    return [
        Machine(f"node{number}", 4, 8 ** (number / count) if mixed else 1.0, latency_s=0.001) for number in range(count)
    ]


def build(
    hosts: Sequence[Machine], jobs: int, moods: Moods = CALM, seed: int = 1, barriers: int = 0, runs: int = 2
) -> list[Result]:
    """Cold, then warm: what came of each build."""
    with open(COSTS, encoding="utf-8") as file:
        costs = workload(costs_of(json.load(file), 10), jobs, seed)
    learned = Learned()
    results = []
    for number in range(runs):
        todo = Build(costs, phases(list(costs), jobs, barriers), round(1.25 * sum(host.slots for host in hosts)))

        async def one(todo: Build = todo, number: int = number) -> Result:
            nodes = nodes_of(hosts, dict(todo.costs), moods, seed * 100 + number)
            return await simulate(todo, nodes, AgentsWay(nodes, learned).run)

        results.append(run(one()))
        assert results[-1].done >= jobs
        costs = edited(costs, seed)
    return results


@pytest.mark.parametrize("mixed", [False, True], ids=["equal", "mixed"])
def test_all_hosts_are_used_to_the_end(mixed: bool) -> None:
    cold, warm = build(machines(5, mixed), 1000)
    assert cold.ratio <= 1.15
    assert warm.ratio <= 1.10  # by a list of free slots it is 1.12 on mixed hosts
    assert not cold.failures and not cold.lost


def test_hosts_that_come_and_go() -> None:
    cold, warm = build(machines(5, True), 1000, Moods(up_s=95.0, down_s=5.0))
    assert warm.lost
    assert max(cold.ratio, warm.ratio) <= 1.25


def test_broken_connections_and_stragglers() -> None:
    cold, warm = build(machines(5, True), 500, Moods(straggle=0.01, loss=0.004), seed=2)
    assert cold.lost and warm.lost
    assert max(cold.ratio, warm.ratio) <= 1.5  # by a list of free slots 3.2 and 1.7


def test_second_runs_end_what_straggles() -> None:
    cold, warm = build(machines(5, True), 500, Moods(straggle=0.02), seed=5)
    assert cold.cancelled and warm.cancelled
    assert max(cold.ratio, warm.ratio) <= 1.6  # without races 7.1 and 2.2


def test_one_host_that_goes_is_waited_for() -> None:
    (result,) = build([Machine("only", 4)], 100, Moods(up_s=20.0, down_s=10.0), runs=1)
    assert result.lost and result.failures


def test_a_barrier_is_no_trap() -> None:
    assert build(machines(5, True), 500, barriers=4)[1].ratio <= 1.6  # by a list of free slots 1.8


def test_the_same_seed_is_the_same_run() -> None:
    moods = Moods(straggle=0.02, loss=0.002, up_s=60.0, down_s=5.0)
    random.seed(1)
    first = build(machines(4, True), 300, moods, seed=7)
    random.seed(2)  # chance of the process's own has no part in it
    assert build(machines(4, True), 300, moods, seed=7) == first
    assert build(machines(4, True), 300, moods, seed=8) != first
