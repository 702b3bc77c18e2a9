"""Where a job goes: where it is over first. Speeds, lines, memory, inputs, this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from played_hosts import PlayedHost, job_of, outcome, set_speed, teach
from test_pool import GCC, FakeBackend, settled

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.reasons import Reason
from manycc.schedule.choice import GOES_ON, MAX_PASSED_FOR_MEMORY
from manycc.schedule.dispatch import Dispatcher
from manycc.schedule.here import Here
from manycc.schedule.host import Grant
from manycc.schedule.learned import HERE, Learned
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool
from manycc.schedule.predict import UNKNOWN
from manycc.testing import virtualtime

MIB = 1 << 20


def play(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtualtime.run(test())


def pool_of(speeds: dict[str, float], slots: dict[str, int] | None = None) -> tuple[Pool, Learned]:
    learned = Learned()
    for name, factor in speeds.items():
        set_speed(learned, name, factor)
    backends = [FakeBackend(name, (slots or {}).get(name, 1)) for name in speeds]
    return Pool(backends, speeds=learned.speeds), learned


async def give(pool: Pool, seconds: float, rss: int = 0, prefer: str = "") -> Grant:
    expected = UNKNOWN._replace(seconds=seconds, rss=rss)
    return await asyncio.wait_for(pool.acquire(GCC, prefer=prefer, expected=expected), 1000)


def ask(pool: Pool, seconds: float, rss: int = 0) -> asyncio.Task[Grant]:
    return asyncio.create_task(give(pool, seconds, rss))


def test_the_quickest_first() -> None:
    async def test() -> None:
        pool, _ = pool_of({"slow": 0.5, "quick": 2.0, "usual": 1.0})
        assert [(await give(pool, 1.0)).host.name for _ in range(3)] == ["quick", "usual", "slow"]

    play(test)


def test_a_weak_helper_is_left_idle_while_the_strong_one_is_free_soon() -> None:
    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.1})
        first = await give(pool, 1.0)
        assert first.host.name == "strong"
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        await asyncio.sleep(1.0)
        pool.release(first)
        assert (await waiting).host.name == "strong"

    play(test)


def test_a_weak_helper_helps_where_the_line_is_long() -> None:
    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.2})
        await give(pool, 1.0)
        asked = [ask(pool, 1.0) for _ in range(8)]
        assert [await settled(task) for task in asked].count(True) == 1
        (taken,) = [task.result().host.name for task in asked if task.done()]
        assert taken == "weak"
        for task in asked:
            task.cancel()

    play(test)


def test_the_last_of_the_line_gets_the_slow_slot_and_the_first_the_quick_one() -> None:
    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.2})
        strong, weak = await give(pool, 1.0), pool.hold(pool.hosts[1])
        long, *short = [ask(pool, seconds) for seconds in (4.0, *[0.5] * 10)]
        await settled(long)
        pool.release(weak)
        await settled(long)
        assert [task.result().host.name for task in short if task.done()] == ["weak"]
        pool.release(strong)
        assert (await long).host.name == "strong"
        for task in short:
            task.cancel()

    play(test)


def test_of_those_who_are_last_the_shortest_gets_the_slow_slot() -> None:
    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.2})
        strong, weak = await give(pool, 1.0), pool.hold(pool.hosts[1])
        asked = [ask(pool, seconds) for seconds in (4.0, *[1.0] * 8, 0.5, 1.0)]
        await settled(asked[0])
        pool.release(weak)
        await settled(asked[0])
        assert [task.done() for task in asked] == [False] * 9 + [True, False]
        pool.release(strong)
        for task in asked:
            task.cancel()

    play(test)


def test_a_weak_helper_helps_in_a_build_that_goes_on() -> None:
    """No job would be over sooner there, but the build is; until make asks for no more."""

    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.2})
        used: dict[str, list[float]] = {"strong": [], "weak": []}
        loop = asyncio.get_running_loop()

        async def make(todo: int) -> None:
            for _ in range(todo):
                grant = await give(pool, 1.0)
                used[grant.host.name].append(loop.time())
                await asyncio.sleep(1.0 if grant.host.name == "strong" else 5.0)
                pool.release(grant)

        await make(4)
        assert not used["weak"], "one at a time needs no more than the strong one"
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(make(80))
        begun, took = 4.0, loop.time() - 4.0
        assert took <= 220.0, "without it it is 240"
        assert len(used["weak"]) >= 20
        assert used["weak"][0] >= begun + 0.8 * 5.0 / GOES_ON

    play(test)


def test_a_quick_host_that_does_not_come_free_is_not_waited_for_for_ever() -> None:
    async def test() -> None:
        pool, _ = pool_of({"strong": 1.0, "weak": 0.2})
        await give(pool, 1.0)  # and is never over
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert (await ask(pool, 1.0)).host.name == "weak"
        assert 1.0 < loop.time() - begun < 60.0

    play(test)


def test_a_slot_is_not_left_free_for_what_is_only_guessed() -> None:
    async def test() -> None:
        pool, learned = pool_of({"one": 1.0, "other": 1.0})
        learned.speed("one").variance = learned.speed("other").variance = 0.3
        learned.speed("one").factor = 2.0
        assert {(await give(pool, 1.0)).host.name for _ in range(2)} == {"one", "other"}

    play(test)


def test_the_host_with_the_inputs_if_it_is_nearly_as_good() -> None:
    async def test() -> None:
        pool, _ = pool_of({"had": 0.8, "quick": 1.0, "slow": 0.2}, {"had": 2, "quick": 2, "slow": 2})
        assert (await give(pool, 1.0, prefer="had")).host.name == "had"
        assert (await give(pool, 1.0, prefer="slow")).host.name == "quick"

    play(test)


def test_memory_of_a_host_is_not_given_twice() -> None:
    async def test() -> None:
        small, large = FakeBackend("small", 8), FakeBackend("large", 8)
        small.memory_free, large.memory_free = 1000 * MIB, 3000 * MIB
        small.told = large.told = 1.0
        await asyncio.sleep(2.0)
        pool = Pool([small, large])
        grants = [await give(pool, 1.0, rss=900 * MIB) for _ in range(4)]
        assert sorted(grant.host.name for grant in grants) == ["large", "large", "large", "small"]
        waiting = ask(pool, 1.0, rss=900 * MIB)
        assert not await settled(waiting)
        little = await give(pool, 1.0, rss=50 * MIB)
        assert little.host.has_room()
        pool.release(grants[0])
        assert (await waiting).host is grants[0].host

    play(test)


def test_memory_that_jobs_gave_back_is_there_at_once() -> None:
    """A host need not say so first."""

    async def test() -> None:
        host = FakeBackend("host", 4)
        host.memory_free = 1000 * MIB
        pool = Pool([host])
        old = [await give(pool, 1.0, rss=400 * MIB) for _ in range(2)]
        await asyncio.sleep(1.0)
        host.memory_free, host.told = 200 * MIB, 1.0  # beside those two
        waiting = [ask(pool, 1.0, rss=400 * MIB) for _ in range(2)]
        assert not await settled(waiting[0])
        pool.release(old[0])
        assert await settled(waiting[0])
        assert not await settled(waiting[1]), "it went to the first"
        pool.release(waiting[0].result())
        assert await settled(waiting[1]), "that came after the host's word, and is over"

    play(test)


def test_it_is_told_which_hosts_are_short_of_memory_for_those_who_wait() -> None:
    """Also while nothing of ours runs there: what counts is what the first in line needs."""

    async def test() -> None:
        host, full = FakeBackend("host", 4), FakeBackend("full", 1)
        host.memory_free = full.memory_free = 1000 * MIB
        pool = Pool([host, full])
        held = [await give(pool, 1.0, rss=900 * MIB) for _ in range(2)]
        assert pool.short_of_memory() == [], "nobody waits"
        waiting = ask(pool, 1.0, rss=600 * MIB)
        assert not await settled(waiting)
        assert pool.short_of_memory() == ["host"], "the other one has no slot"
        host.memory_free = full.memory_free = 100 * MIB
        for grant in held:
            pool.release(grant)
        assert not await settled(waiting)
        assert sorted(pool.short_of_memory()) == ["full", "host"]
        host.told = asyncio.get_running_loop().time() + 10.0
        host.change(memory_free=700 * MIB)
        assert (await waiting).backend is host
        assert pool.short_of_memory() == []

    play(test)


def test_memory_that_became_free_wakes_who_waits_for_it() -> None:
    async def test() -> None:
        host = FakeBackend("host", 4)
        host.memory_free = 1000 * MIB
        pool = Pool([host])
        await give(pool, 1.0, rss=600 * MIB)
        waiting = ask(pool, 1.0, rss=600 * MIB)
        assert not await settled(waiting)
        host.told = asyncio.get_running_loop().time() + 10.0
        host.change(memory_free=700 * MIB)
        assert (await waiting).backend is host

    play(test)


def test_what_fits_nowhere_is_said_at_once() -> None:
    async def test() -> None:
        hosts = [FakeBackend("a", 4), FakeBackend("b", 4)]
        hosts[0].memory_free, hosts[1].memory_free = 500 * MIB, 700 * MIB
        pool = Pool(hosts)
        await give(pool, 1.0, rss=100 * MIB)
        with pytest.raises(NotDistributable) as caught:
            await give(pool, 1.0, rss=2000 * MIB)
        assert caught.value.reason is Reason.NODE_MEMORY
        assert "b: it is taken to need 2000 MiB, 700 MiB can be spared there" in caught.value.detail

    play(test)


def test_an_idle_host_that_lost_memory_is_not_waited_for() -> None:
    async def test() -> None:
        host = FakeBackend("host", 1)
        host.memory_free = 1000 * MIB
        pool = Pool([host])
        grant = await give(pool, 1.0, rss=600 * MIB)
        waiting = ask(pool, 1.0, rss=600 * MIB)
        await asyncio.sleep(1.0)
        host.memory_free = 400 * MIB  # its own user has come
        pool.release(grant)
        assert not await settled(waiting), "what it said last may be old"
        await asyncio.sleep(0.1)
        host.change(told=asyncio.get_running_loop().time())
        with pytest.raises(NotDistributable) as caught:
            await waiting
        assert caught.value.reason is Reason.NODE_MEMORY

    play(test)


def test_an_idle_host_is_asked_again_when_its_word_is_old() -> None:
    async def test() -> None:
        host = FakeBackend("host", 1)
        host.memory_free = 100 * MIB
        pool = Pool([host])
        with pytest.raises(NotDistributable):
            await give(pool, 1.0, rss=200 * MIB)
        await asyncio.sleep(2.0)
        assert (await give(pool, 1.0, rss=200 * MIB)).backend is host

    play(test)


def test_a_large_job_is_not_passed_over_for_ever() -> None:
    async def test() -> None:
        host = FakeBackend("host", 2)
        host.memory_free, host.told = 1000 * MIB, 1.0
        await asyncio.sleep(2.0)
        pool = Pool([host])
        running = [await give(pool, 1.0, rss=400 * MIB) for _ in range(2)]
        large = ask(pool, 1.0, rss=900 * MIB)
        small = [ask(pool, 1.0, rss=400 * MIB) for _ in range(4 * MAX_PASSED_FOR_MEMORY)]
        await settled(large)
        served = 0
        while not large.done():
            if running:
                pool.release(running.pop(0))
            await settled(large)
            done = [task for task in small if task.done()]
            running += [task.result() for task in done]
            served += len(done)
            small = [task for task in small if not task.done()]
            assert served <= 2 * MAX_PASSED_FOR_MEMORY
        for task in small:
            task.cancel()

    play(test)


def test_a_job_that_fits_nowhere_is_expected_to_need_less_next_time() -> None:
    async def test() -> None:
        host = PlayedHost("host", lambda job: 1.0)
        host.memory_free = 100 * MIB
        learned = Learned()
        teach(learned, job_of("a"), 1.0, rss=105 * MIB)
        with pytest.raises(NotDistributable):
            await Dispatcher(learned).run(Pool([host]), job_of("a"))
        assert learned.expect(job_of("a")).rss < 100 * MIB

    play(test)


def test_a_host_that_gave_way_is_like_one_that_is_down() -> None:
    async def test() -> None:
        host = FakeBackend("host", 1)
        pool = Pool([host])
        grant = await give(pool, 1.0)
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        host.change(slots=0)
        with pytest.raises(NotDistributable) as caught:
            await waiting
        assert (caught.value.reason, caught.value.detail) == (
            Reason.NODE_BUSY,
            "host: it gives way to its own user",
        )
        pool.release(grant)
        host.change(slots=1)
        assert (await give(pool, 1.0)).backend is host

    play(test)


def test_more_slots_wake_the_line() -> None:
    async def test() -> None:
        host = FakeBackend("host", 1)
        pool = Pool([host])
        await give(pool, 1.0)
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        host.change(slots=2)
        assert (await waiting).backend is host

    play(test)


# -- this machine


def here_of(learned: Learned, local: LocalSlots, factor: float) -> Here:
    speed = set_speed(learned, HERE, factor)
    return Here(local.free, speed, local.state)


@pytest.mark.parametrize(("factor", "place"), [(1.0, "here"), (0.1, "helper")])
def test_a_strong_client_keeps_what_a_weak_helper_would_take_longer_for(factor: float, place: str) -> None:
    async def test() -> None:
        learned = Learned()
        set_speed(learned, "helper", 0.2)
        pool = Pool([FakeBackend("helper", 4)], here_of(learned, LocalSlots(2), factor), speeds=learned.speeds)
        try:
            found = (await give(pool, 1.0)).host.name
        except NotDistributable as error:
            assert error.reason is Reason.LOCAL_SLOT
            found = "here"
        assert found == place

    play(test)


def test_a_slot_here_is_waited_for_if_it_is_free_sooner() -> None:
    async def test() -> None:
        learned, local = Learned(), LocalSlots(1)
        set_speed(learned, "helper", 0.1)
        pool = Pool([FakeBackend("helper", 4)], here_of(learned, local, 1.0), speeds=learned.speeds)
        local.on_free.append(pool.wake)
        await local.acquire()
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        local.release()
        with pytest.raises(NotDistributable) as caught:
            await waiting
        assert caught.value.reason is Reason.LOCAL_SLOT

    play(test)


def test_one_slot_here_calls_one_job_and_two_call_two() -> None:
    async def test() -> None:
        learned, local = Learned(), LocalSlots(2)
        set_speed(learned, "helper", 0.1)
        pool = Pool([FakeBackend("helper", 1)], here_of(learned, local, 1.0), speeds=learned.speeds)
        local.on_free.append(pool.wake)
        for _ in range(2):
            await local.acquire()
        await pool.acquire(GCC, expected=UNKNOWN._replace(seconds=100.0))
        called = 0

        async def job() -> None:
            nonlocal called
            with pytest.raises(NotDistributable):
                await pool.acquire(GCC)
            called += 1
            await local.acquire()

        jobs = [asyncio.create_task(job()) for _ in range(6)]
        assert not await settled(jobs[0])
        local.release()
        await settled(jobs[0])
        assert (called, local.waiting) == (1, 0)
        local.total = 4  # as a host list may say
        pool.wake()
        await settled(jobs[0])
        assert (called, local.waiting) == (3, 0)
        for task in jobs:
            task.cancel()

    play(test)


def test_who_was_cancelled_in_the_same_moment_gets_nothing() -> None:
    async def test() -> None:
        pool, _ = pool_of({"a": 1.0})
        grant = await give(pool, 1.0)
        first = asyncio.create_task(pool.acquire(GCC))
        second = asyncio.create_task(pool.acquire(GCC, prefer="a"))
        assert not await settled(first)
        first.cancel()
        second.cancel()
        third = ask(pool, 1.0)
        pool.release(grant)  # neither has left the line yet
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await third).host.busy == 1
        assert pool.waiting == 0

    play(test)


def test_a_weak_client_does_not_compile_while_hosts_are_free_soon() -> None:
    async def test() -> None:
        learned, local = Learned(), LocalSlots(1)
        set_speed(learned, "helper", 1.0)
        pool = Pool([FakeBackend("helper", 1)], here_of(learned, local, 0.1), speeds=learned.speeds)
        grant = await give(pool, 1.0)
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        pool.release(grant)
        assert (await waiting).host.name == "helper"

    play(test)


def test_a_weak_helper_never_makes_a_build_slower() -> None:
    """40 jobs of a second: on the strong host alone, and with a helper of a tenth of its speed beside it."""

    async def build(names: dict[str, float]) -> float:
        learned = Learned()
        hosts = [PlayedHost(name, lambda job, speed=speed: 1.0 / speed, slots=2) for name, speed in names.items()]  # type: ignore[misc]
        pool, dispatcher = Pool(hosts, speeds=learned.speeds), Dispatcher(learned)
        loop = asyncio.get_running_loop()
        for _ in range(2):  # the first teaches
            jobs = [job_of(f"s{number}") for number in range(40)]
            begun = loop.time()
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(dispatcher.run(pool, job))
        return loop.time() - begun

    alone = virtualtime.run(build({"strong": 1.0}))
    helped = virtualtime.run(build({"strong": 1.0, "weak": 0.1}))
    assert alone == pytest.approx(20.0)
    assert helped <= 20.0


def test_thousands_of_decisions_a_second() -> None:
    """The bound is a tenth of what is reached: this machine may be busy."""

    async def test() -> None:
        import time

        backends = [FakeBackend(f"h{number}", 4) for number in range(1000)]
        pool = Pool(backends)
        begun = time.process_time()
        grants: list[Grant] = []
        for number in range(6000):
            if len(grants) == 4000:
                pool.release(grants[number % 4000])
                grants[number % 4000] = await pool.acquire(GCC)
            else:
                grants.append(await pool.acquire(GCC))
        assert 6000 / (time.process_time() - begun) > 2000

    play(test)


def test_lost_hosts_leave_no_slots_behind() -> None:
    async def test() -> None:
        pool, _ = pool_of({"a": 1.0, "b": 1.0}, {"a": 2, "b": 2})
        grants = [await give(pool, 1.0) for _ in range(4)]
        waiting = ask(pool, 1.0)
        assert not await settled(waiting)
        backend: Any = pool.hosts[0].backend
        backend.change(state=State.DOWN, why="gone")
        for grant in grants:
            pool.release(grant)
        assert (await waiting).host.name == "b"
        backend.change(state=State.READY, why="")
        names = [(await give(pool, 1.0)).host.name for _ in range(3)]
        assert sorted(names) == ["a", "a", "b"]
        assert pool.waiting == 0

    play(test)


async def repeat(pool: Pool, seconds: float, place: str) -> Grant:
    """A slot for a job that a host has answered already, nothing being changed."""
    expected = UNKNOWN._replace(seconds=seconds, place=place, again=True)
    return await asyncio.wait_for(pool.acquire(GCC, prefer=place, expected=expected), 1000)


def test_a_result_that_is_at_hand_is_waited_for() -> None:
    async def test() -> None:
        pool, _ = pool_of({"has it": 1.0, "has not": 8.0})
        first = await repeat(pool, 10.0, "has it")
        waiting = asyncio.create_task(repeat(pool, 10.0, "has it"))
        assert not await settled(waiting), "the other one would compile it"
        await asyncio.sleep(0.01)
        pool.release(first)
        assert (await waiting).host.name == "has it"

    play(test)


def test_a_result_is_not_waited_for_for_longer_than_it_is_worth() -> None:
    async def test() -> None:
        pool, _ = pool_of({"has it": 1.0, "has not": 1.0})
        assert (await give(pool, 100.0, prefer="has it")).host.name == "has it"
        begun = asyncio.get_running_loop().time()
        assert (await repeat(pool, 10.0, "has it")).host.name == "has not"
        assert 4.0 < asyncio.get_running_loop().time() - begun < 7.0

    play(test)


def test_others_pass_who_waits_for_a_result() -> None:
    async def test() -> None:
        pool, _ = pool_of({"has it": 1.0, "has not": 1.0})
        await give(pool, 100.0, prefer="has it")
        other = await give(pool, 1.0)
        waiting = asyncio.create_task(repeat(pool, 10.0, "has it"))
        behind = ask(pool, 1.0)
        assert not await settled(behind)
        pool.release(other)
        assert (await behind).host.name == "has not"
        assert not waiting.done()
        waiting.cancel()

    play(test)


def test_only_the_very_job_that_a_node_answered_is_at_hand() -> None:
    learned = Learned()
    job = job_of("a")
    learned.done("node", job, learned.expect(job), outcome("node", 1.0, way="same"), 1.0, 0.0)
    assert learned.expect(job).again
    assert not learned.expect(job_of("a")).again, "its inputs are others, or may be"
    learned.done("stock", job := job_of("b"), learned.expect(job), outcome("stock", 1.0), 1.0, 0.0)
    assert not learned.expect(job).again, "a stock server keeps nothing"
