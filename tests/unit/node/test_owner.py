"""A node that gives way: what others use of a machine, and what is offered of it."""

from __future__ import annotations

import asyncio

import pytest

from manycc.errors import BackendRefused
from manycc.node.owner import LATELY_S, Owner, Times, read_times
from manycc.node.slots import Slots
from manycc.reasons import Reason

HUNDRED = 100
"""Ticks of a processor in a second."""


class Machine:
    """Four processors whose use is told second by second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.times = Times(1000, 1000, 1000, 1000)
        self.owner = Owner(4, lambda: self.times, lambda: self.now)

    def second(self, user: float = 0.0, nice: float = 0.0, system: float = 0.0, slots: int = 4) -> int:
        """One second in which so many processors were used; the slots that are offered then."""
        spent = [int(used * HUNDRED) for used in (user, nice, system)]
        spent.append(4 * HUNDRED - sum(spent))
        self.times = Times(*(old + new for old, new in zip(self.times, spent, strict=True)))
        self.now += 1.0
        return self.owner.slots(slots)


def test_an_idle_machine_is_offered_whole() -> None:
    assert Machine().second() == 4


def test_its_own_jobs_are_nobody_elses() -> None:
    machine = Machine()
    assert machine.second(nice=3.6, system=0.4) == 4


def test_what_others_use_is_not_offered() -> None:
    assert Machine().second(user=1.0) == 3
    assert Machine().second(user=1.9, nice=2.0) == 2
    assert Machine().second(user=4.0) == 0
    assert Machine().second(system=2.0) == 2


def test_a_little_is_no_use() -> None:
    assert Machine().second(user=0.3) == 4


def test_time_in_the_kernel_is_shared_out() -> None:
    """Half of the time outside of it was others'."""
    assert Machine().second(user=1.0, nice=1.0, system=2.0) == 2


@pytest.mark.parametrize(("wanted", "offered"), [(1, 1), (2, 1), (4, 2), (8, 4), (16, 8)])
def test_slots_are_given_in_proportion(wanted: int, offered: int) -> None:
    assert Machine().second(user=2.0, slots=wanted) == offered


def test_slots_go_at_once_and_come_back_later() -> None:
    machine = Machine()
    assert machine.second(user=3.0) == 1
    offered = [machine.second() for _ in range(int(LATELY_S) + 1)]
    assert offered[:9] == [1] * 9
    assert offered[-1] == 4


def test_a_clock_that_stands_still_is_no_fault() -> None:
    machine = Machine()
    assert machine.owner.slots(4) == 4


def test_the_real_one() -> None:
    times = read_times()
    assert all(value >= 0 for value in times)
    assert times.idle + times.user > 0


def test_without_slots_nobody_waits() -> None:
    async def main() -> None:
        slots = Slots(1, lambda: 1 << 40, lambda: None)
        held = await slots.acquire("agent", 0)
        waiting = asyncio.ensure_future(slots.acquire("agent", 0))
        await asyncio.sleep(0)
        slots.resize(0)
        for refused in (waiting, slots.acquire("other", 0)):
            with pytest.raises(BackendRefused) as caught:
                await refused
            assert caught.value.reason is Reason.NODE_BUSY
        assert (slots.busy, slots.queued) == (1, 0), "what runs is left to end"
        slots.release(held)
        slots.resize(1)
        assert await slots.acquire("agent", 0)
        slots.close()

    asyncio.run(main())
