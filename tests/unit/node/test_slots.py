"""Slots are given fairly, within bounds, within memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from manycc.errors import BackendRefused
from manycc.node.slots import DEFAULT_EXPECTED, RESERVE, Slot, Slots
from manycc.reasons import Reason

GIB = 1 << 30


def slots_of(count: int, memory: int = 64 * GIB) -> Slots:
    return Slots(count, lambda: memory, lambda: None)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(bounded())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_owners_take_turns() -> None:
    async def body() -> None:
        slots = slots_of(1)
        first = await slots.acquire("a", 0)
        order: list[str] = []

        async def job(owner: str) -> None:
            slot = await slots.acquire(owner, 0)
            order.append(owner)
            await asyncio.sleep(0)
            slots.release(slot)

        jobs = [asyncio.create_task(job(owner)) for owner in ["a"] * 4 + ["b"] * 2 + ["c"]]
        await settle()
        assert (slots.busy, slots.queued) == (1, 7)
        slots.release(first)
        await asyncio.gather(*jobs)
        assert order == ["a", "b", "c", "a", "b", "a", "a"]
        assert (slots.busy, slots.queued) == (0, 0)

    run(body)


def test_who_has_the_fewest_running_is_next() -> None:
    """However long the jobs of the others take."""

    async def body() -> None:
        slots = slots_of(4)
        held = [await slots.acquire("long", 0) for _ in range(3)]
        short = await slots.acquire("short", 0)
        waiting = [asyncio.create_task(slots.acquire(owner, 0)) for owner in ("long", "long", "short", "late")]
        await settle()
        slots.release(held.pop())
        await settle()
        assert [task.done() for task in waiting] == [False, False, False, True], "it has none at all"
        slots.release(short)
        await settle()
        assert [task.done() for task in waiting] == [False, False, True, True]
        slots.release(held.pop())
        slots.release(held.pop())
        await asyncio.gather(*waiting)

    run(body)


def test_never_more_than_there_are() -> None:
    async def body() -> None:
        slots = slots_of(3)
        running = most = 0

        async def job(number: int) -> None:
            nonlocal running, most
            slot = await slots.acquire(number % 7, 0)
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            slots.release(slot)

        await asyncio.gather(*(job(number) for number in range(150)))
        assert most == 3

    run(body)


def test_a_queue_has_an_end() -> None:
    async def body() -> None:
        slots = slots_of(2)
        jobs = [asyncio.create_task(slots.acquire("a", 0)) for _ in range(2 + 4 * 2 + 16)]
        await settle()
        with pytest.raises(BackendRefused) as refusal:
            await slots.acquire("a", 0)
        assert refusal.value.reason is Reason.NODE_BUSY
        other = asyncio.create_task(slots.acquire("b", 0))
        await settle()
        slots.release(jobs[0].result())
        await settle()
        assert other.done() or jobs[2].done()
        for job in (*jobs, other):
            job.cancel()

    run(body)


def test_a_cancelled_waiter_takes_no_slot() -> None:
    async def body() -> None:
        slots = slots_of(1)
        first = await slots.acquire("a", 0)
        waiting = [asyncio.create_task(slots.acquire("a", 0)) for _ in range(3)]
        await settle()
        waiting[0].cancel()
        await settle()
        assert slots.queued == 2
        slots.release(first)  # the second waiter is given the slot, and is cancelled before it knows
        waiting[1].cancel()
        await settle()
        assert waiting[2].done()
        slots.release(waiting[2].result())
        assert (slots.busy, slots.queued) == (0, 0)

    run(body)


def test_memory_is_waited_for_while_jobs_run() -> None:
    async def body() -> None:
        slots = slots_of(4, RESERVE + 3 * GIB)
        first = await slots.acquire("a", 2 * GIB)
        big = asyncio.create_task(slots.acquire("a", 2 * GIB))
        await settle()
        assert not big.done()
        small = await slots.acquire("b", 64 << 20)  # another's small job does not wait behind it
        slots.release(small)
        assert not big.done()
        slots.release(first)
        await settle()
        assert isinstance(big.result(), Slot)
        with pytest.raises(BackendRefused) as refusal:
            slots.release(big.result())
            await slots.acquire("a", 4 * GIB)
        assert refusal.value.reason is Reason.NODE_MEMORY
        slots.close()

    run(body)


def test_a_machine_without_memory_refuses() -> None:
    async def body() -> None:
        slots = slots_of(4, RESERVE + DEFAULT_EXPECTED - 1)
        with pytest.raises(BackendRefused) as refusal:
            await slots.acquire("a", 0)
        assert refusal.value.reason is Reason.NODE_MEMORY

    run(body)


def test_memory_that_comes_back_is_noticed_without_an_event() -> None:
    async def body() -> None:
        memory = RESERVE + GIB
        slots = Slots(2, lambda: memory, lambda: None)
        first = await slots.acquire("a", GIB)
        second = asyncio.create_task(slots.acquire("a", GIB))
        await settle()
        assert not second.done()
        memory = RESERVE + 8 * GIB
        await second
        slots.release(first)
        slots.close()

    run(body)


def test_another_number_of_slots() -> None:
    async def body() -> None:
        slots = slots_of(2)
        running = [await slots.acquire("a", 0) for _ in range(2)]
        waiting = [asyncio.create_task(slots.acquire("a", 0)) for _ in range(3)]
        await settle()
        slots.resize(4)
        await settle()
        assert (slots.busy, slots.queued) == (4, 1)  # those that waited need not wait for anybody's end
        slots.resize(1)
        for slot in running:
            slots.release(slot)
        await settle()
        assert (slots.busy, slots.queued) == (2, 1)  # those beyond the bound are left to end
        for task in waiting[:2]:
            slots.release(task.result())
        await settle()
        assert (slots.busy, slots.queued) == (1, 0)
        slots.release(waiting[2].result())

    run(body)
