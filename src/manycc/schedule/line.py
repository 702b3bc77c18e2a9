"""The line of jobs that wait for a slot: those that will take long first, and nobody for ever.

A job goes before others that came earlier and are shorter, but before no more than MAX_OVERTAKEN of them: its place is
the number it came with, less something for its length.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from typing import Final

from manycc.schedule.host import Demand, Grant

MAX_OVERTAKEN: Final = 1000
"""How many that came earlier a long job may go before."""
PATIENCE: Final = 0.5
"""A result that is at hand is waited for, for up to this share of what it took to make."""
_SHORT_S: Final = 1 / 16
_OCTAVES: Final = 10
"""From _SHORT_S to a minute: a job of twice the length goes before a tenth of MAX_OVERTAKEN more."""


class Waiter:
    """A job that waits. ``order``: where in the line, larger is sooner."""

    __slots__ = ("demand", "future", "order", "passed", "since", "waits")

    def __init__(self, demand: Demand, future: asyncio.Future[Grant], order: float, since: float) -> None:
        self.demand = demand
        self.future = future
        self.order = order
        self.passed = 0
        self.since = since
        self.waits = True

    def patience(self, host: str, now: float) -> float:
        """For how much longer it waits for the host that has its result, rather than have this one compile it."""
        expected = self.demand.expected
        if not expected.again or self.demand.prefer == host:
            return 0.0
        return max(0.0, self.since + PATIENCE * expected.seconds - now)


class Line:
    """Those who wait for hosts of one toolchain. ``work``: reference seconds of them all."""

    def __init__(self) -> None:
        # Sorted, the head at the end, so that taking it moves nothing.
        self._waiters: list[Waiter] = []
        self._orders: list[float] = []
        self._wanting: dict[str, deque[Waiter]] = {}
        self._number = 0
        self.work = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return reversed(self._waiters)

    @property
    def head(self) -> Waiter:
        """Who is to be served first."""
        return self._waiters[-1]

    @property
    def tail(self) -> Waiter:
        """Who is to be served last."""
        return self._waiters[0]

    def last(self, count: int) -> list[Waiter]:
        """The so many who are to be served last."""
        return self._waiters[:count]

    def add(self, demand: Demand, future: asyncio.Future[Grant], now: float = 0.0) -> Waiter:
        """Somebody begins to wait."""
        self._number += 1
        length = math.log2(max(demand.expected.seconds, _SHORT_S) / _SHORT_S) / _OCTAVES
        if demand.avoid:  # it failed elsewhere, and is late already
            length = 1.0
        waiter = Waiter(demand, future, min(length, 1.0) * MAX_OVERTAKEN - self._number, now)
        index = bisect_left(self._orders, waiter.order)
        self._orders.insert(index, waiter.order)
        self._waiters.insert(index, waiter)
        self.work += demand.expected.seconds
        if demand.prefer:
            self._wanting.setdefault(demand.prefer, deque()).append(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Somebody waits no more."""
        index = bisect_left(self._orders, waiter.order)
        while self._waiters[index] is not waiter:
            index += 1
        del self._waiters[index], self._orders[index]
        waiter.waits = False
        self.work = self.work - waiter.demand.expected.seconds if self._waiters else 0.0
        prefer = waiter.demand.prefer
        if prefer:
            wanting = self._wanting[prefer]
            if wanting[0] is waiter:
                wanting.popleft()
            else:
                wanting.remove(waiter)
            if not wanting:
                del self._wanting[prefer]

    def wanting(self, host: str) -> Iterator[Waiter]:
        """Those who would rather have this host than another."""
        return iter(self._wanting.get(host, ()))
