"""This machine as one more place to compile, where the host list names it: with a speed of its own, that is learned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from manycc.schedule.host import Demand
from manycc.schedule.line import Waiter
from manycc.schedule.predict import Expected
from manycc.schedule.served import Served
from manycc.schedule.speed import Speed

KNOWN: Final = 3
"""Compiles that were done here before anything is concluded."""
DEAR: Final = 1.3
"""A second here counts for more than one elsewhere: the build tool, links and manycc itself run here."""


class Here:
    """``free`` tells whether a local slot is free for a compile, ``slots`` how many there are and how many wait."""

    def __init__(
        self, free: Callable[[], bool], speed: Speed, slots: Callable[[], tuple[int, int]] = lambda: (1, 0)
    ) -> None:
        self._free = free
        self._speed = speed
        self._slots = slots

    def better(self, served: Served, demand: Demand, seconds: float, work: float, now: float) -> bool:
        """Whether to do a job here at once.

        ``seconds``: how long it would take on the best free host, infinite if none is free; ``work``: reference seconds
        that wait before it.
        """
        if not self._free():
            return False
        if self._speed.samples < KNOWN:
            return math.isinf(seconds)  # a slot here is then better than waiting, as far as is known
        if math.isinf(seconds):
            seconds = served.finish(demand.expected, work, now)
        return self._seconds(demand.expected, now) < seconds

    def wait(self, expected: Expected, seconds: float, now: float) -> float:
        """How long to wait for a slot here, if that is better than ``seconds`` from now on a host; else 0."""
        total, waiting = self._slots()
        if self._speed.samples < KNOWN or self._free() or not total:
            return 0.0
        own = self._seconds(expected, now)
        wait = own * (waiting + 1) / total
        return wait if wait + own < seconds else 0.0

    def next_of(self, served: Served, now: float) -> Waiter | None:
        """Who of a line is to be done here now: the first, or, where hosts are quicker, the last."""
        line = served.line
        head = line.head
        if self.better(served, head.demand, math.inf, 0.0, now):
            return head
        tail = line.tail
        ahead = line.work - tail.demand.expected.seconds
        return tail if tail is not head and self.better(served, tail.demand, math.inf, ahead, now) else None

    def _seconds(self, expected: Expected, now: float) -> float:
        return expected.seconds / self._speed.now(now) * DEAR
