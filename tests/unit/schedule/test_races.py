"""Late jobs are done a second time: when, where, at most how often, and that nothing of the loser is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from played_hosts import PlayedHost, job_of, outcome, set_speed, teach

from manycc.errors import BackendError, BackendGone
from manycc.job import Job, Outcome
from manycc.reasons import Reason
from manycc.schedule import race
from manycc.schedule.dispatch import Dispatcher, Done, Failed
from manycc.schedule.learned import HERE, Learned
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool
from manycc.schedule.predict import UNKNOWN
from manycc.testing import virtualtime

KNOWN = UNKNOWN._replace(known=3)
GUESSED = UNKNOWN._replace(known=0)
STUCK = 10_000.0


def play(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    virtualtime.run(test())


class Stage:
    """Hosts ``a`` and ``b`` (equally quick unless told), a pool and a dispatcher; all sources are known to take 1 s."""

    def __init__(
        self, a: Callable[[Job], float], b: Callable[[Job], float], slots: int = 1, local: LocalSlots | None = None
    ) -> None:
        self.learned = Learned()
        self.a, self.b = PlayedHost("a", a, slots), PlayedHost("b", b, slots)
        for name in "ab":
            set_speed(self.learned, name, 1.0)
        self.pool = Pool([self.a, self.b], speeds=self.learned.speeds)
        self.dispatcher = Dispatcher(self.learned, local)

    def job(self, name: str, seconds: float = 1.0, place: str = "a") -> Job:
        job = job_of(name)
        teach(self.learned, job, seconds, host=place)
        return job

    def start(self, job: Job, here: Callable[[], Awaitable[Outcome]] | None = None) -> asyncio.Task[Done]:
        return asyncio.create_task(self.dispatcher.run(self.pool, job, here=here))

    def check(self) -> None:
        """Nothing is held any more."""
        assert not self.a.running and not self.b.running
        assert [host.busy for host in self.pool.hosts] == [0, 0]
        assert [host.promised for host in self.pool.hosts] == [0, 0]
        assert not any(host.grants for host in self.pool.hosts)
        assert self.pool.waiting == 0 and not self.pool.on_line


def usual(job: Job) -> float:
    return 1.0


def stuck(job: Job) -> float:
    return STUCK


def test_a_stuck_job_is_done_elsewhere() -> None:
    async def test() -> None:
        stage = Stage(stuck, usual)
        loop = asyncio.get_running_loop()
        done = await stage.start(stage.job("x"))
        assert done.host is not None
        assert (done.host.name, done.lost) == ("b", "a")
        assert loop.time() < 5.0
        assert (stage.a.cancelled, stage.b.cancelled) == (["/x.c"], [])
        stage.check()
        assert (stage.dispatcher.raced, stage.dispatcher.races_won) == (1, 1)

    play(test)


def test_the_first_may_win_still() -> None:
    async def test() -> None:
        stage = Stage(lambda job: 4.0, lambda job: 60.0)
        done = await stage.start(stage.job("x"))
        assert done.host is not None
        assert (done.host.name, done.lost) == ("a", "b")
        assert stage.b.cancelled == ["/x.c"]
        stage.check()

    play(test)


def test_no_race_for_a_job_that_is_in_time() -> None:
    async def test() -> None:
        stage = Stage(lambda job: 1.4, usual)
        done = await stage.start(stage.job("x"))
        assert done.lost == "" and stage.b.started == []

    play(test)


def test_a_quick_host_that_has_run_out_of_work_takes_over() -> None:
    async def test() -> None:
        stage = Stage(lambda job: 100.0, lambda job: 2.0 if job.source == "/short.c" else 10.0)
        stage.learned.speed("a").factor = 0.1
        stage.a.state, before = stage.a.state, stage.b.slots
        stage.b.slots = 0
        for host in (stage.a, stage.b):
            host.change()
        slow = stage.start(stage.job("long", 10.0, place=""))
        await asyncio.sleep(0.01)
        assert stage.a.running == ["/long.c"]
        stage.b.change(slots=before)
        await stage.start(stage.job("short", 2.0, place="b"))
        assert stage.b.running == ["/long.c"], "its slot was free, and nobody waited"
        done = await slow
        assert done.host is not None and (done.host.name, done.lost) == ("b", "a")
        assert asyncio.get_running_loop().time() < 20.0
        stage.check()

    play(test)


def test_nobody_is_raced_while_somebody_waits_and_a_copy_makes_way() -> None:
    async def test() -> None:
        stage = Stage(lambda job: STUCK if job.source == "/x.c" else 1.0, lambda job: 5.0)
        stuck_job = stage.start(stage.job("x"))
        await asyncio.sleep(2.5)
        assert stage.b.running == ["/x.c"]
        others = [stage.start(stage.job(f"o{number}", 5.0, place="b")) for number in range(3)]
        await asyncio.sleep(0.01)
        assert stage.b.cancelled == ["/x.c"]
        assert stage.b.running and stage.b.running != ["/x.c"]
        await asyncio.gather(*others)
        assert stage.b.cancelled == ["/x.c"], "not raced again before the line was empty"
        done = await stuck_job
        assert done.host is not None and done.host.name == "b"
        stage.check()

    play(test)


def test_cancelling_ends_both() -> None:
    async def test() -> None:
        stage = Stage(stuck, lambda job: 5.0)
        job = stage.start(stage.job("x"))
        await asyncio.sleep(3.0)
        assert stage.a.running == stage.b.running == ["/x.c"]
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        await asyncio.sleep(0.01)
        stage.check()

    play(test)


@pytest.mark.parametrize("ticks", range(6))
def test_cancelled_in_the_moment_the_copy_wins(ticks: int) -> None:
    async def test() -> None:
        stage = Stage(stuck, usual)
        job = stage.start(stage.job("x"))
        while not stage.b.running:
            await asyncio.sleep(0.001)
        copy = next(iter(stage.pool.hosts[1].grants))
        await asyncio.sleep(copy.started + 1.0 - asyncio.get_running_loop().time())
        for _ in range(ticks):
            await asyncio.sleep(0)
        cancelled = job.cancel()
        try:
            done = await job
        except asyncio.CancelledError:
            assert cancelled
        else:
            assert not cancelled and done.lost == "a"
        await asyncio.sleep(0.01)
        stage.check()

    play(test)


def test_one_that_fails_leaves_it_to_the_other() -> None:
    async def test() -> None:
        gone = BackendGone(Reason.NODE_LOST, "gone")
        stage = Stage(lambda job: 2.5, lambda job: 5.0)
        stage.a.failing = gone
        done = await stage.start(stage.job("x"))
        assert done.host is not None and (done.host.name, done.lost) == ("b", "")
        stage.check()

        stage = Stage(lambda job: 6.0, usual)
        stage.b.failing = gone
        done = await stage.start(stage.job("x"))
        assert done.host is not None and done.host.name == "a"
        stage.check()

        stage = Stage(lambda job: 3.0, usual)
        stage.a.failing = stage.b.failing = gone
        with pytest.raises(Failed) as caught:
            await stage.start(stage.job("x"))
        assert [(host.name, error) for host, error in caught.value.failures] == [("a", gone)]
        stage.check()

    play(test)


def test_one_copy_at_a_time() -> None:
    async def test() -> None:
        learned = Learned()
        hosts = [PlayedHost(name, stuck) for name in "abcd"]
        for host in hosts:
            set_speed(learned, host.name, 1.0)
        dispatcher = Dispatcher(learned)
        job = job_of("x")
        teach(learned, job, 1.0)
        task = asyncio.create_task(dispatcher.run(Pool(hosts, speeds=learned.speeds), job))
        await asyncio.sleep(500.0)
        assert sum(len(host.running) for host in hosts) == 2
        task.cancel()
        await asyncio.wait([task])

    play(test)


def test_second_runs_are_a_small_share() -> None:
    async def test() -> None:
        """All jobs are stuck, so all would be raced."""
        stage = Stage(lambda job: 300.0, lambda job: 300.0, slots=100)
        jobs = [stage.start(stage.job(f"s{number}", 20.0)) for number in range(100)]
        await asyncio.gather(*jobs)
        assert 0 < stage.dispatcher.raced < 10
        stage.check()

    play(test)


def test_here_where_no_host_is_free() -> None:
    async def test() -> None:
        local = LocalSlots(1)
        stage = Stage(stuck, usual, local=local)
        stage.b.change(slots=0)

        async def here() -> Outcome:
            assert local.busy == 1
            await asyncio.sleep(3.0)
            return outcome(HERE, 3.0)

        done = await stage.start(stage.job("x"), here)
        assert (done.host, done.lost, done.outcome.host) == (None, "a", HERE)
        assert stage.a.cancelled == ["/x.c"]
        assert local.busy == 0 and not local.on_line
        stage.check()

    play(test)


def test_here_only_with_a_free_slot_which_is_given_up_when_wanted() -> None:
    async def test() -> None:
        local = LocalSlots(1)
        stage = Stage(lambda job: 30.0, usual, local=local)
        stage.b.change(slots=0)
        begun: list[float] = []

        async def here() -> Outcome:
            begun.append(asyncio.get_running_loop().time())
            await asyncio.sleep(STUCK)
            raise AssertionError

        await local.acquire()
        job = stage.start(stage.job("x"), here)
        await asyncio.sleep(10.0)
        assert not begun
        local.release()
        await asyncio.sleep(5.0)
        assert begun
        await asyncio.wait_for(local.acquire(), 0.01)  # a link
        done = await job
        assert done.host is not None and len(begun) == 1
        local.release()
        assert local.busy == 0
        stage.check()

    play(test)


def test_a_failure_here_counts_for_nothing() -> None:
    async def test() -> None:
        local = LocalSlots(1)
        stage = Stage(lambda job: 8.0, usual, local=local)
        stage.b.change(slots=0)

        async def here() -> Outcome:
            raise BackendError(Reason.REMOTE_ERROR, "exit code 1")

        done = await stage.start(stage.job("x"), here)
        assert done.host is not None and done.host.name == "a"
        assert local.busy == 0

    play(test)


# -- the policy


def test_a_known_job_that_takes_long_has_a_slow_host_a_guessed_one_is_long() -> None:
    assert race.outlook(0.25, KNOWN, 1.0) == (0.75, 1.0)
    assert race.outlook(4.0, KNOWN, 1.0) == (4.0, 1.0)
    assert race.outlook(4.0, GUESSED, 1.0) == (4.0, 8.0)
    assert race.outlook(20.0, GUESSED, 1.0) == (20.0, 1.0), "it cannot be the job alone"


def test_here_only_what_is_stuck_or_quicker_here() -> None:
    assert not race.worth_here(1.6, 1.6, 1.0, 1.0, speed_known=False)
    assert race.worth_here(3.5, 3.5, 1.0, 1.0, speed_known=False)
    assert race.worth_here(1.0, 20.0, 4.0, 21.0, speed_known=True)
    assert not race.worth_here(1.0, 20.0, 40.0, 21.0, speed_known=True), "this machine is slower still"


def test_none_where_the_user_wants_none() -> None:
    async def test() -> None:
        stage = Stage(lambda job: 50.0, usual)
        stage.dispatcher = Dispatcher(stage.learned, races=False)
        done = await stage.start(stage.job("x"))
        assert done.host is not None and (done.host.name, stage.dispatcher.raced) == ("a", 0)

    play(test)


def test_only_what_gains_something() -> None:
    assert race.worth(10.0, 4.0)
    assert not race.worth(10.0, 9.0)
    assert not race.worth(0.3, 0.01)
    assert not race.worth(10.0, float("inf"))
