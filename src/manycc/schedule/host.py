"""A host as the scheduler sees it: what is given to it, how long a job would take there, whether it has the memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from manycc.backends.base import Backend, Verdict
from manycc.job import Job, Toolchain
from manycc.reasons import Reason
from manycc.schedule.predict import Expected
from manycc.schedule.speed import Speed

if TYPE_CHECKING:
    from manycc.schedule.served import Served

LOADED: Final = 0.25
"""A host whose slots are all taken is reckoned to be slower by this share than an idle one."""
OVERDUE: Final = 0.25
"""A job that has taken longer than was expected is expected to take this share of its time again."""
STALE_S: Final = 1.0
"""What a host said of its memory this long ago need not be so any more."""
IN_FLIGHT_S: Final = 0.3
"""What was given this shortly before a host told of its memory may have been on its way still."""


class PoolBackend(Backend, Protocol):
    """What the pool needs beyond the common interface."""

    @property
    def kind(self) -> str:
        """What it runs, for people; empty while that is not known."""

    @property
    def others(self) -> int:
        """Jobs the host itself reports as running or queued."""

    @property
    def memory_free(self) -> int | None:
        """Bytes of memory that the host said it can give to further jobs; None where it says nothing of it."""

    @property
    def told(self) -> float:
        """When it said so, in ``loop.time()``."""

    @property
    def exact(self) -> bool:
        """Whether all that it sends back is byte for byte what the compiler here writes."""

    def proven(self, toolchain: Toolchain) -> bool:
        """Whether the host has said that it serves this toolchain."""

    def verdicts(self) -> list[Verdict]:
        """What the host has said about toolchains."""

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        """What the host has said about this one; None if nothing yet."""

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """Why it cannot do this job, although it serves the toolchain; None if nothing is known against it."""

    def unproven(self, job: Job) -> bool:
        """Whether ``prove_job`` has to be asked before it is given this job."""

    async def prove_job(self, job: Job) -> None:
        """Find out whether it objects to a job, if only a trial tells."""

    def keeps_bytes(self, job: Job) -> bool:
        """Whether this job's object will be what the compiler here writes."""

    def distrust(self, why: str) -> None:
        """It returned what a sound host does not: leave it alone for a while."""


class Demand(NamedTuple):
    """What a job asks of its host (see ``Pool.acquire``)."""

    toolchain: Toolchain
    avoid: frozenset[str]
    prefer: str
    job: Job | None
    exact: bool
    expected: Expected


class Grant:
    """A slot of a host, taken for one job. Given back with ``Pool.release``. Times are in ``loop.time()``."""

    __slots__ = ("ends", "host", "rss", "started")

    def __init__(self, host: Host, started: float, ends: float, rss: int) -> None:
        self.host = host
        self.started = started
        self.ends = ends
        self.rss = rss

    @property
    def backend(self) -> PoolBackend:
        """Who runs it."""
        return self.host.backend

    def left(self, now: float) -> float:
        """Seconds it is expected to take still."""
        left = self.ends - now
        return left if left > 0 else OVERDUE * (now - self.started)


class Host:
    """A backend and the jobs this agent has on it.

    ``wrong`` counts the objects it returned that were of another kind than they had to be; ``wrong_last`` says how.
    """

    __slots__ = (
        "_foreign", "_given_back", "_next_end", "_next_of", "_told", "backend", "busy", "done", "ended", "grants",
        "most_memory", "name", "promised", "serves", "speed", "stamp", "wrong", "wrong_last",
    )  # fmt: skip

    def __init__(self, backend: PoolBackend, speed: Speed | None = None) -> None:
        self.backend = backend
        self.name = backend.name
        self.speed = speed or Speed()
        self.busy = 0
        self.done = 0
        self.ended = 0.0  # when the last job was over
        self.grants: dict[Grant, None] = {}
        self.promised = 0
        """Bytes of memory that the jobs given to it are expected to take."""
        self.most_memory = 0
        self.stamp = 0
        """Changes whenever ``busy`` does."""
        self._next_end = 0.0  # when the first of the jobs there should be over, as of the stamp _next_of
        self._next_of = -1
        self._foreign = 0  # as of what it told at _told
        self._told = -1.0
        self._given_back = (-1.0, 0)
        self.serves: list[Served] = []
        """The toolchains that it serves."""
        self.wrong = 0
        self.wrong_last = ""

    def has_room(self) -> bool:
        """Whether a job could be given to it now."""
        return self.busy < self.backend.slots

    def load(self) -> float:
        """Jobs per slot, the node's own word included."""
        return max(self.busy, self.backend.others) / (self.backend.slots or 1)

    def foreign(self) -> int:
        """Jobs of others there, as it said last."""
        backend = self.backend
        if backend.told != self._told:  # ``busy`` is what it was when it said so: whatever changes it looks here first
            self._told = backend.told
            self._foreign = max(0, backend.others - self.busy)
        return self._foreign

    def seconds(self, expected: Expected, now: float) -> float:
        """How long a job would take there if it had a core to itself."""
        return expected.seconds / self.speed.now(now) + self.speed.overhead(expected.received)

    def seconds_now(self, expected: Expected, now: float) -> float:
        """How long a job given to it now would take there, beside those that are there already."""
        slots = self.backend.slots or 1
        jobs = self.busy + self.foreign()
        if jobs < slots:
            return self.seconds(expected, now) * (1 + LOADED * jobs / slots)
        # Others' jobs fill it: ours would wait there.
        return self.seconds(expected, now) * (1 + LOADED) + (jobs + 1 - slots) / slots * self.soonest(now, expected)

    def soonest(self, now: float, expected: Expected) -> float:
        """Seconds until one of the jobs there is over."""
        if self._next_of != self.stamp:
            self._next_of = self.stamp
            self._next_end = min([grant.ends for grant in self.grants], default=0.0)
        if self._next_end > now:
            return self._next_end - now
        return min([grant.left(now) for grant in self.grants], default=expected.seconds / self.speed.now(now))

    def has_memory(self, rss: int) -> bool:
        """Whether a job that takes so much memory fits beside those that are there."""
        free = self.backend.memory_free
        if free is None or not rss:
            return True
        if free > self.most_memory:
            self.most_memory = free
        free += self._given_back_since()
        if self.promised + rss <= free:
            return True
        since = self._reckoned()
        if rss + sum([grant.rss for grant in self.grants if grant.started > since]) <= free:
            return True
        # Memory may have come back since: let an idle host see for itself.
        return self.idle() and asyncio.get_running_loop().time() - self.backend.told > STALE_S

    def _reckoned(self) -> float:
        """The host reckoned with all jobs that were given to it before this, when it told of its memory last."""
        way = 2 * self.speed.floor_s if self.speed.samples else IN_FLIGHT_S
        return self.backend.told - min(way, IN_FLIGHT_S)

    def _given_back_since(self) -> int:
        """Bytes of memory that jobs took when it told of it, and that are over."""
        if self._given_back[0] != self.backend.told:
            self._given_back = (self.backend.told, 0)
        return self._given_back[1]

    def could_have_memory(self, rss: int) -> bool:
        """Whether such a job would fit there if nothing else ran, as far as is known."""
        return self.has_memory(rss) or (rss <= self.most_memory and not self.idle())

    def idle(self) -> bool:
        """Whether it has said that nothing runs there."""
        return not self.busy and not self.backend.others and self.backend.told >= self.ended

    def give(self, demand: Demand, now: float) -> Grant:
        """Take a slot for a job."""
        expected = demand.expected
        grant = Grant(self, now, now + self.seconds_now(expected, now), expected.rss)
        self.busy += 1
        self.stamp += 1
        self.promised += grant.rss
        self.grants[grant] = None
        return grant

    def take_back(self, grant: Grant, now: float) -> None:
        """The job is over."""
        self.foreign()
        self.ended = now
        self.busy -= 1
        self.stamp += 1
        self.promised -= grant.rss
        if grant.rss and grant.started < self._reckoned():
            self._given_back = (self.backend.told, self._given_back_since() + grant.rss)
        del self.grants[grant]
