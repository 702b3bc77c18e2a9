"""A job's way through the scheduler: a slot, the run on its host, what is learned of it, and the race if it is late.

The first good answer counts. A job that is raced has two runs at most; the one that loses is cancelled, on its host
too, and has no record.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from manycc.errors import BackendError, NotDistributable
from manycc.job import Job, Outcome
from manycc.reasons import Reason
from manycc.schedule import race
from manycc.schedule.here import KNOWN
from manycc.schedule.host import Demand, Grant, Host
from manycc.schedule.learned import HERE, Learned
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool

UNKNOWN_SPEED: Final = 0.5
"""What this machine is taken for before it has done jobs itself: it may be why there are hosts."""
LOOK_AGAIN_S: Final = 0.2
"""How often a job is looked at whether it is to be raced, at most."""


class Done(NamedTuple):
    """An answer. ``host``: whose, None if the compiler here made it; ``lost``: whose run was cancelled, "" for none."""

    host: Host | None
    outcome: Outcome
    lost: str = ""


class Failed(Exception):
    """A job was answered by nobody. ``failures``: by whom it was tried, and what went wrong."""

    def __init__(self, failures: list[tuple[Host, BackendError]]) -> None:
        super().__init__(failures[0][1])
        self.failures = failures


class _Flight:
    """A job that is under way on a host."""

    __slots__ = ("copy", "demand", "grant", "here", "looked", "lost", "over", "pool", "task", "won")

    def __init__(self, pool: Pool, demand: Demand, grant: Grant, here: Callable[[], Awaitable[Outcome]] | None) -> None:
        self.pool = pool
        self.demand = demand
        self.grant = grant
        self.here = here
        self.task = asyncio.current_task()
        self.copy: asyncio.Task[None] | None = None
        self.lost = ""  # who runs the copy
        self.won: Done | None = None
        self.over = False  # the first run is
        self.looked = float("-inf")

    def seconds(self) -> float:
        """What it was expected to take on its host."""
        return self.grant.ends - self.grant.started

    def due(self) -> float:
        """When it is far beyond that."""
        return self.grant.started + race.due(self.demand.expected, self.seconds())


class Dispatcher:
    """Runs jobs. For one event loop."""

    def __init__(self, learned: Learned | None = None, local: LocalSlots | None = None, races: bool = True) -> None:
        """``local``: the slots of this machine, if late jobs may be raced here; ``races``: whether any are raced."""
        self._races = races
        self.learned = learned or Learned()
        self._local = local
        self._budget = race.Budget()
        self._numbers = itertools.count()
        self._latest: list[tuple[float, int, _Flight]] = []  # by when they should be over, the last first
        self._due: list[tuple[float, int, _Flight]] = []  # by when they are far beyond that
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._flights = 0
        self._racing = 0
        self.raced = 0
        """How many second runs there have been, and how many of them won."""
        self.races_won = 0

    async def run(
        self,
        pool: Pool,
        job: Job,
        *,
        avoid: frozenset[str] = frozenset(),
        exact: bool = False,
        began: Callable[[Host], None] | None = None,
        here: Callable[[], Awaitable[Outcome]] | None = None,
    ) -> Done:
        """Have a job done by the best host of a pool. ``began`` is called when it has a slot there.

        ``here`` does the job on this machine, without a trace but its answer; None: it must not be done here.
        Raises NotDistributable as ``Pool.acquire`` does, and Failed. Cancelling cancels the job wherever it runs.
        """
        expected = self.learned.expect(job)
        demand = Demand(job.toolchain, avoid, expected.place, job, exact, expected)
        try:
            grant = await pool.acquire(job.toolchain, avoid, expected.place, job, exact, expected)
        except NotDistributable as error:
            if error.reason is Reason.NODE_MEMORY:
                self.learned.predictions.doubt_memory(job)
            raise
        if began is not None:
            began(grant.host)
        flight = self._take_off(_Flight(pool, demand, grant, here))
        loop = asyncio.get_running_loop()
        outcome: Outcome | None = None
        failure: BackendError | None = None
        try:
            outcome = await grant.host.backend.run(job)
        except BackendError as error:
            failure = error
        except asyncio.CancelledError:
            if flight.won is None or flight.task is None or flight.task.uncancel():
                raise
        finally:
            flight.over = True
            self._flights -= 1
            pool.release(grant)
            ran = loop.time() - grant.started
            self._budget.did(ran)
            if outcome is not None:
                self.learned.done(grant.host.name, job, expected, outcome, ran, loop.time())
            if flight.copy is not None and failure is None:
                flight.copy.cancel()
        if flight.copy is not None:
            await self._wait_for_copy(flight)
        if outcome is not None:
            done = Done(grant.host, outcome, flight.lost)
        elif flight.won is not None:
            self.races_won += 1
            done = flight.won._replace(lost=grant.host.name if failure is None else "")
        else:
            assert failure is not None  # noqa: S101
            raise Failed([(grant.host, failure)])
        if self._flights and not pool.waiting:
            self._consider(loop.time())
        return done

    def learn_here(self, job: Job, seconds: float) -> None:
        """The compiler here has done a job."""
        now = asyncio.get_running_loop().time()
        self.learned.done_here(job, self.learned.expect(job), seconds, now)

    def close(self) -> None:
        """Race no more."""
        if self._timer is not None:
            self._timer.cancel()

    # -- races

    def _take_off(self, flight: _Flight) -> _Flight:
        self._flights += 1
        number = next(self._numbers)
        heapq.heappush(self._latest, (-flight.grant.ends, number, flight))
        if len(self._latest) > 2 * self._flights + 64:
            self._latest = [entry for entry in self._latest if not entry[2].over]
            heapq.heapify(self._latest)
        due = flight.due()
        heapq.heappush(self._due, (due, number, flight))
        if due < self._timer_at:
            self._set_timer(due)
        return flight

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._some_are_due)

    def _some_are_due(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer = None
        self._timer_at = float("inf")
        due = self._due
        while due and (due[0][2].over or due[0][0] <= now):
            flight = heapq.heappop(due)[2]
            if not flight.over and flight.copy is None:
                self._race_if_worth(flight, now)
                if flight.copy is None:  # there was no slot, or none quick enough
                    self._look_later(flight, now)
        if due:
            self._set_timer(due[0][0])

    def _look_later(self, flight: _Flight, now: float) -> None:
        again = now + max(LOOK_AGAIN_S, 0.25 * (now - flight.grant.started))
        heapq.heappush(self._due, (again, next(self._numbers), flight))
        if again < self._timer_at:
            self._set_timer(again)

    def _consider(self, now: float) -> None:
        """A slot became free, and nobody waits: is the job that should be over last better off there?"""
        latest = self._latest
        while latest:
            flight = latest[0][2]
            if flight.over or flight.copy is not None:
                heapq.heappop(latest)
                continue
            if -latest[0][0] - now >= race.LEAST_LEFT_S and now - flight.looked >= LOOK_AGAIN_S:
                self._race_if_worth(flight, now)
                if flight.copy is not None:
                    continue
            return

    def _race_if_worth(self, flight: _Flight, now: float) -> None:
        flight.looked = now
        demand = flight.demand
        pool = flight.pool
        if pool.waiting or not self._races:
            return
        expected = demand.expected
        left, more = race.outlook(now - flight.grant.started, expected, flight.seconds())
        if left < race.LEAST_LEFT_S:
            return
        expected = expected._replace(seconds=expected.seconds * more)
        demand = demand._replace(avoid=demand.avoid | {flight.grant.host.name}, prefer="", expected=expected)
        fresh = pool.seconds(demand)
        if race.worth(left, fresh) and self._budget.allows(fresh, self._racing):
            grant = pool.try_acquire(demand)
            if grant is not None:
                self._start(flight, grant)
                return
        local, here = self._local, flight.here
        if local is None or here is None or not local.free():
            return
        speed = self.learned.speed(HERE)
        known = speed.samples >= KNOWN
        fresh = expected.seconds / (speed.now(now) if known else UNKNOWN_SPEED)
        elapsed = now - flight.grant.started
        if (
            race.worth_here(elapsed, left, fresh, flight.seconds(), known)
            and self._budget.allows(fresh, self._racing)
            and local.try_acquire()
        ):
            self._start(flight, None)

    def _start(self, flight: _Flight, grant: Grant | None) -> None:
        self.raced += 1
        self._racing += 1
        loop = asyncio.get_running_loop()
        begun = loop.time()
        flight.lost = grant.host.name if grant is not None else HERE
        copy = flight.copy = loop.create_task(self._copy(flight, grant, begun))
        # Whoever comes to wait for a slot gets this one.
        line = self._local.on_line if grant is None and self._local is not None else flight.pool.on_line
        make_way = copy.cancel
        line.append(make_way)

        def over(_: asyncio.Task[None]) -> None:  # not in the task itself: one cancelled at once never runs
            line.remove(make_way)
            self._racing -= 1
            self._budget.did_extra(loop.time() - begun)
            if grant is not None:
                flight.pool.release(grant)
            elif self._local is not None:
                self._local.release()
            if not flight.over and flight.won is None:  # it may be worth while again
                flight.copy = None
                self._look_later(flight, loop.time())

        copy.add_done_callback(over)

    async def _copy(self, flight: _Flight, grant: Grant | None, begun: float) -> None:
        job, expected = flight.demand.job, flight.demand.expected
        assert job is not None  # noqa: S101
        try:
            if grant is None:
                assert flight.here is not None  # noqa: S101
                done = Done(None, await flight.here())
            else:
                outcome = await grant.host.backend.run(job)
                now = asyncio.get_running_loop().time()
                self.learned.done(grant.host.name, job, expected, outcome, now - begun, now)
                done = Done(grant.host, outcome)
        except BackendError:
            return  # the first run goes on
        flight.won = done
        if not flight.over and flight.task is not None:
            flight.task.cancel()

    async def _wait_for_copy(self, flight: _Flight) -> None:
        """Wait until the second run is over, too, so that nothing of it is left."""
        copy = flight.copy
        assert copy is not None  # noqa: S101
        try:
            await asyncio.wait([copy])
        except asyncio.CancelledError:
            copy.cancel()
            await asyncio.wait([copy])
            raise
