"""The best place for a job among the hosts that are free, and the best job of a line for a host that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from manycc.schedule.fitness import Fitness
from manycc.schedule.host import Demand, Host
from manycc.schedule.line import Waiter
from manycc.schedule.predict import Expected
from manycc.schedule.pressure import Pressure
from manycc.schedule.served import WIDTH, Served

LOOK_AHEAD: Final = 64
"""How far from the head of the line somebody is looked for whom a free slot suits."""
MAX_PASSED: Final = 64
"""How many may be served before the head of the line because a host suits them better."""
MAX_PASSED_FOR_MEMORY: Final = 32
"""After so many, hosts are kept for a job that needs more memory than they have left."""
PREFERRED: Final = 1.5
"""The host that has a job's inputs, perhaps its result, is taken if it takes no longer than so many times the best."""
PREFERRED_S: Final = 0.1
GOES_ON: Final = 1 / 16
"""A build that has gone on for a while is expected to go on for this share of that time: no more can be lost by it."""


class Choice:
    """Of one pool. ``look_again`` is called with the seconds after which a host that is left free may be taken."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        fitness: Fitness,
        pressure: Pressure,
        look_again: Callable[[float], None],
    ) -> None:
        self._named = hosts
        self._fitness = fitness
        self._pressure = pressure
        self._look_again = look_again
        self.doubtful: list[Waiter] = []
        """A host had an objection to them: is there another one?"""

    def wait(self, served: Served, host: Host, demand: Demand, seconds: float, work: float, now: float) -> float:
        """How long to leave a slot of a slow host free, as ``Served.wait`` has it, but not while a build goes on."""
        if seconds <= GOES_ON * self._pressure.lasted(now):
            return 0.0
        return served.wait(host, demand, seconds, work, now)

    def quickest(self, served: Served, demand: Demand, now: float) -> tuple[Host | None, float]:
        """The best of the hosts that are free, and the seconds that the job would take there."""
        expected = demand.expected
        preferred = self._named.get(demand.prefer) if demand.prefer else None
        if preferred is not None and preferred in served.hosts and self._fitness.usable(preferred, demand):
            seconds = preferred.seconds_now(expected, now)
            if not preferred.has_room():
                if expected.again:
                    return None, float("inf")
            elif self._nearly_best(served, expected, seconds, now) and self._fitness.suits(preferred, demand):
                return preferred, 0.0 if expected.again else seconds
        found: list[tuple[float, int, Host]] = []
        free = served.best_free()
        for host in free:
            if self._fitness.usable(host, demand):
                found.append((host.seconds_now(expected, now), len(found), host))
                if len(found) == WIDTH:
                    break
        free.close()
        found.sort()
        for seconds, _, host in found:
            if self._fitness.suits(host, demand):
                return host, seconds
        return None, float("inf")

    def next(self, served: Served, host: Host, now: float) -> Waiter | None:
        """Who of a line gets a slot: who wants this very host, else who is first, else, of a slow one, a short one.

        A short one: of those who would be served last.
        """
        line = served.line
        head = line.head
        if head.passed < MAX_PASSED:
            for waiter in line.wanting(host.name):
                expected = waiter.demand.expected
                seconds = host.seconds_now(expected, now)
                if self._fits(host, waiter, now) and self._nearly_best(served, expected, seconds, now):
                    head.passed += waiter is not head
                    return waiter
        work = 0.0
        for place, waiter in enumerate(line):
            if place >= LOOK_AHEAD:
                break
            demand = waiter.demand
            if patience := waiter.patience(host.name, now):
                self._look_again(patience)
            elif self._fits(host, waiter, now):
                seconds = host.seconds_now(demand.expected, now)
                wait = served.wait(host, demand, seconds, work, now)
                if not wait:
                    return waiter
                # It is better off waiting for a quicker host; those behind it would wait for longer.
                tail = min(line.last(LOOK_AHEAD), key=_length)
                expected = tail.demand.expected
                if self._fits(host, tail, now):
                    seconds = host.seconds_now(expected, now)
                    if not self.wait(served, host, tail.demand, seconds, line.work - expected.seconds, now):
                        return tail
                self._look_again(wait)
                return None
            if self._fitness.lacks_memory(host, demand):
                waiter.passed += 1
                if waiter.passed > MAX_PASSED_FOR_MEMORY:
                    return None  # others would take for ever what becomes free
            work += demand.expected.seconds
        return None

    def _fits(self, host: Host, waiter: Waiter, now: float) -> bool:
        demand = waiter.demand
        if waiter.future.done() or not self._fitness.usable(host, demand):
            return False  # it was cancelled, and has not left yet
        if self._fitness.suits(host, demand):
            return True
        self.doubtful.append(waiter)
        return False

    @staticmethod
    def _nearly_best(served: Served, expected: Expected, seconds: float, now: float) -> bool:
        """Whether a host that has a job's inputs, perhaps its result, is to be preferred to others."""
        return expected.again or seconds <= PREFERRED * served.least(expected, now) + PREFERRED_S


def _length(waiter: Waiter) -> float:
    return waiter.demand.expected.seconds
