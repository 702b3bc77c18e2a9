"""The pool: slots, the line, and hosts that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.job import Job, Outcome, Toolchain
from manycc.reasons import Reason
from manycc.schedule.choice import MAX_PASSED
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})


class FakeBackend:
    """A backend whose state the test sets."""

    exact = True

    def __init__(self, name: str, slots: int = 1, state: State = State.READY, proven: bool = True) -> None:
        self.name = name
        self.slots = slots
        self.state = state
        self.why = ""
        self.others = 0
        self.memory_free: int | None = None
        self.told = 0.0
        self.answer = "" if proven else None
        self.asked = 0
        self.connects = 0
        self.callbacks: list[Callable[[], None]] = []

    def refusal(self, toolchain: Toolchain) -> str:
        return self.answer or ""

    def proven(self, toolchain: Toolchain) -> bool:
        return self.answer == ""

    def connect(self) -> None:
        self.connects += 1
        self.state = State.CONNECTING

    def retry(self) -> None:
        pass

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: self.callbacks.remove(callback)

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        for callback in self.callbacks:
            callback()

    async def prove(self, toolchain: Toolchain) -> str:
        self.asked += 1
        if self.answer is None:
            self.answer = ""
        return self.answer

    async def run(self, job: Job) -> Outcome:
        raise AssertionError("not asked for here")

    def verdicts(self) -> list[tuple[str, str]]:
        return []

    def distrust(self, why: str) -> None:
        self.state = State.DOWN

    async def close(self) -> None:
        pass


async def settled(task: asyncio.Task[Any]) -> bool:
    """Let everything that can happen now happen; whether the task is over."""
    for _ in range(10):
        await asyncio.sleep(0)
    return task.done()


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def test_least_loaded_host_first() -> None:
    async def test() -> None:
        small, large = FakeBackend("small", 2), FakeBackend("large", 8)
        pool = Pool([small, large])
        names = [(await pool.acquire(GCC)).backend.name for _ in range(10)]
        assert names.count("large") == 8
        assert names.count("small") == 2

    run(test)


def test_others_load_counts() -> None:
    async def test() -> None:
        busy, idle = FakeBackend("busy", 4), FakeBackend("idle", 4)
        busy.others = 4
        pool = Pool([busy, idle])
        assert (await pool.acquire(GCC)).backend.name == "idle"

    run(test)


def test_waiters_are_served_in_order() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("one", 1)])
        host = await pool.acquire(GCC)
        served: list[int] = []

        async def wait(number: int) -> None:
            taken = await pool.acquire(GCC)
            served.append(number)
            pool.release(taken)

        tasks = [asyncio.create_task(wait(number)) for number in range(5)]
        assert not await settled(tasks[0])
        pool.release(host)
        await asyncio.gather(*tasks)
        assert served == [0, 1, 2, 3, 4]
        assert pool.hosts[0].busy == 0

    run(test)


def test_cancelled_waiter_keeps_no_slot() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("one", 1)])
        host = await pool.acquire(GCC)
        waiting = asyncio.create_task(pool.acquire(GCC))
        await settled(waiting)
        pool.release(host)  # hands the slot to the waiter
        waiting.cancel()  # which is cancelled before it runs
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert pool.hosts[0].busy == 0
        assert await asyncio.wait_for(pool.acquire(GCC), 1)

    run(test)


def test_down_everywhere_is_said_at_once() -> None:
    async def test() -> None:
        backend = FakeBackend("dead", state=State.DOWN)
        backend.why = "connection refused"
        with pytest.raises(NotDistributable) as caught:
            await Pool([backend]).acquire(GCC)
        assert caught.value.reason is Reason.HOSTS_DOWN
        assert "dead: connection refused" in caught.value.detail

    run(test)


def test_refusal_names_the_sentence() -> None:
    async def test() -> None:
        refusing = FakeBackend("other")
        refusing.answer = "gcc 12 there, 13 here"
        with pytest.raises(NotDistributable) as caught:
            await Pool([refusing]).acquire(GCC)
        assert caught.value.reason is Reason.NO_TOOLCHAIN
        assert "gcc 12 there, 13 here" in caught.value.detail

    run(test)


def test_idle_host_is_connected_and_waited_for() -> None:
    async def test() -> None:
        backend = FakeBackend("new", state=State.IDLE, proven=False)
        pool = Pool([backend])
        waiting = asyncio.create_task(pool.acquire(GCC))
        assert not await settled(waiting)
        assert backend.connects == 1
        backend.change(state=State.READY)
        assert (await asyncio.wait_for(waiting, 1)).backend is backend
        assert backend.asked == 1

    run(test)


def test_host_lost_while_waiting() -> None:
    async def test() -> None:
        backend = FakeBackend("one", 1)
        pool = Pool([backend])
        await pool.acquire(GCC)
        waiting = [asyncio.create_task(pool.acquire(GCC)) for _ in range(3)]
        await settled(waiting[0])
        backend.change(state=State.DOWN, why="gone")
        for task in waiting:
            with pytest.raises(NotDistributable) as caught:
                await asyncio.wait_for(task, 1)
            assert caught.value.reason is Reason.HOSTS_DOWN

    run(test)


def test_full_host_is_not_waited_for_when_another_can() -> None:
    async def test() -> None:
        full, free = FakeBackend("full", 1), FakeBackend("free", 1)
        pool = Pool([full, free])
        first = await pool.acquire(GCC)
        second = await pool.acquire(GCC)
        assert {first.backend.name, second.backend.name} == {"full", "free"}

    run(test)


def test_avoided_hosts_are_passed_over() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("bad", 4), FakeBackend("good", 1)])
        assert (await pool.acquire(GCC, frozenset({"bad"}))).backend.name == "good"
        with pytest.raises(NotDistributable) as caught:
            await pool.acquire(GCC, frozenset({"bad", "good"}))
        assert caught.value.reason is Reason.HOSTS_DOWN

    run(test)


def test_preferred_host_even_if_it_is_busier() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("a", 4), FakeBackend("b", 4)])
        assert [(await pool.acquire(GCC, prefer="b")).backend.name for _ in range(5)] == ["b", "b", "b", "b", "a"]

    run(test)


def test_freed_slot_goes_to_whom_it_suits_but_not_for_ever() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("a", 1), FakeBackend("b", 1)])
        a, b = await pool.acquire(GCC, prefer="a"), await pool.acquire(GCC, prefer="b")
        served: list[str] = []

        async def wait(prefer: str) -> None:
            host = await pool.acquire(GCC, prefer=prefer)
            served.append(f"{prefer or 'any'} on {host.backend.name}")
            pool.release(host)

        tasks = [asyncio.create_task(wait(prefer)) for prefer in ["", *["b"] * (MAX_PASSED + 10)]]
        await settled(tasks[0])
        pool.release(b)
        for _ in range(MAX_PASSED * 4):
            await asyncio.sleep(0)
        assert served[:3] == ["b on b"] * 3
        assert served.index("any on b") <= MAX_PASSED
        pool.release(a)
        await asyncio.gather(*tasks)
        assert all(host.busy == 0 for host in pool.hosts)

    run(test)


def test_local_compiles_only_when_nodes_are_full() -> None:
    async def test() -> None:
        local = LocalSlots(1)
        pool = Pool([FakeBackend("one", 1)], local.free)
        local.on_free.append(pool.wake)
        await pool.acquire(GCC)
        with pytest.raises(NotDistributable) as caught:
            await pool.acquire(GCC)
        assert caught.value.reason is Reason.LOCAL_SLOT
        await local.acquire()
        waiting = asyncio.create_task(pool.acquire(GCC))
        assert not await settled(waiting)
        local.release()
        with pytest.raises(NotDistributable):
            await asyncio.wait_for(waiting, 1)

    run(test)


def test_local_slots_are_fair_and_survive_cancelling() -> None:
    async def test() -> None:
        local = LocalSlots(2)
        await local.acquire()
        await local.acquire()
        first, second = asyncio.create_task(local.acquire()), asyncio.create_task(local.acquire())
        assert not await settled(first)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        local.release()
        await asyncio.wait_for(second, 1)
        assert local.busy == 2
        local.release()
        local.release()
        assert local.busy == 0

    run(test)


def test_local_slot_released_right_after_a_waiter_was_cancelled() -> None:
    async def test() -> None:
        local = LocalSlots(1)
        await local.acquire()
        waiting = asyncio.create_task(local.acquire())
        await settled(waiting)
        waiting.cancel()
        local.release()  # passes over the cancelled one before that has run
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (local.busy, local.waiting) == (0, 0)

    run(test)


def test_free_host_is_not_withheld_by_a_line_that_cannot_use_it() -> None:
    async def test() -> None:
        free, full = FakeBackend("free", 1), FakeBackend("full", 1)
        pool = Pool([free, full])
        await pool.acquire(GCC, frozenset(("free",)))
        waiting = asyncio.create_task(pool.acquire(GCC, frozenset(("free",))))
        assert not await settled(waiting)
        assert (await asyncio.wait_for(pool.acquire(GCC), 1)).backend.name == "free"
        waiting.cancel()

    run(test)


def test_host_that_was_down_is_not_waited_for_while_it_is_tried_again() -> None:
    async def test() -> None:
        backend = FakeBackend("dead", state=State.CONNECTING)
        backend.why = "it did not answer in time"
        with pytest.raises(NotDistributable) as caught:
            await asyncio.wait_for(Pool([backend]).acquire(GCC), 1)
        assert caught.value.reason is Reason.HOSTS_DOWN

    run(test)
