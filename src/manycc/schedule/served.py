"""The hosts that serve one toolchain, the quickest first, and the line of jobs that wait for them."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Generator
from itertools import accumulate
from typing import Final

from manycc.job import Toolchain
from manycc.schedule.host import LOADED, Demand, Host
from manycc.schedule.line import Line
from manycc.schedule.predict import Expected

RANK_S: Final = 0.5
"""How old the order by speed may be."""
NEARLY: Final = 1.25
"""A host that takes no longer than this many times the least is as good as any."""
NEARLY_S: Final = 0.05
_LOOKED_AT: Final = 8
"""So many of the quickest hosts are asked when they will have a slot."""
WIDTH: Final = 4
"""So many of the best free hosts are compared for each job."""
_DEPTH: Final = 64
"""So many are looked at at most to find them."""


class Served:
    """For one event loop. A host that is free is looked for in a heap, so that not all are looked at for each job."""

    def __init__(self, toolchain: Toolchain, exact: bool) -> None:
        self.toolchain = toolchain
        self.exact = exact
        self.line = Line()
        self.hosts: dict[Host, None] = {}
        self._free: list[tuple[float, int, int, Host]] = []  # how long a usual job takes there, …, stamp
        self._number = 0
        self._ranked: list[Host] = []
        self._slowness: list[float] = []
        self._capacity: list[float] = []
        self._ranked_at = float("-inf")

    # -- which hosts

    def add(self, host: Host) -> None:
        """A host has come to serve it."""
        self.hosts[host] = None
        host.serves.append(self)
        self._ranked_at = float("-inf")

    def drop(self, host: Host) -> None:
        """A host does not serve it now."""
        del self.hosts[host]
        host.serves.remove(self)
        self._ranked_at = float("-inf")

    # -- those with room

    def freed(self, host: Host, usual: Expected, now: float) -> None:
        """A host has room, or other room than before."""
        self._number += 1
        heapq.heappush(self._free, (host.seconds_now(usual, now), self._number, host.stamp, host))
        if len(self._free) > 4 * len(self.hosts) + 64:
            alive = [entry for entry in self._free if entry[2] == entry[3].stamp and entry[3] in self.hosts]
            latest = {entry[3]: entry for entry in sorted(alive, key=lambda entry: entry[1])}
            self._free = list(latest.values())
            heapq.heapify(self._free)

    def best_free(self) -> Generator[Host]:
        """Hosts with room, about the best first. Whoever takes a slot there must call ``freed`` if one is left."""
        heap = self._free
        taken: list[tuple[float, int, int, Host]] = []
        seen: set[Host] = set()
        try:
            while heap and len(taken) < _DEPTH:
                entry = heapq.heappop(heap)
                host = entry[3]
                if entry[2] != host.stamp or host in seen or host not in self.hosts or not host.has_room():
                    continue
                taken.append(entry)
                seen.add(host)
                yield host
        finally:
            for entry in taken:
                if entry[2] == entry[3].stamp:  # unchanged
                    heapq.heappush(heap, entry)

    # -- those that are busy

    def rank(self, now: float) -> list[Host]:
        """All its hosts, the quickest first."""
        if now - self._ranked_at > RANK_S:
            self._ranked_at = now
            self._ranked = sorted(self.hosts, key=lambda host: -host.speed.now(now))
            self._slowness = [1 / host.speed.now(now) for host in self._ranked]
            self._capacity = list(
                accumulate(host.backend.slots * host.speed.now(now) for host in self._ranked),
            )
        return self._ranked

    def least(self, expected: Expected, now: float) -> float:
        """Seconds that a job takes on the quickest host, if nothing else were there."""
        ranked = self.rank(now)
        return ranked[0].seconds(expected, now) if ranked else float("inf")

    def wait(self, host: Host, demand: Demand, seconds: float, work: float, now: float) -> float:
        """How long to wait for a quicker host that is busy, if that is better than ``seconds`` on this one; else 0.

        ``work``: reference seconds of those that go before. A slot is left free only where speeds are
        known well enough.
        """
        expected = demand.expected
        ranked = self.rank(now)
        if not ranked:
            return 0.0
        least = NEARLY * ranked[0].seconds(expected, now)
        if seconds <= least + NEARLY_S:
            return 0.0
        doubt = host.speed.doubt() * ranked[0].speed.doubt()
        if seconds <= least * doubt + NEARLY_S:
            return 0.0
        quicker = bisect_right(self._slowness, seconds / (NEARLY * doubt) / expected.seconds)
        if not quicker:
            return 0.0
        # What goes before takes its time, whoever is free then.
        seconds -= work / (self._capacity[quicker - 1] or 1.0) * (1 + LOADED)
        for index in range(min(quicker, _LOOKED_AT)):
            other = ranked[index]
            own = (expected.seconds * self._slowness[index] + other.speed.overhead(expected.received)) * (1 + LOADED)
            if own >= seconds:
                return 0.0  # and those after it are slower
            wait = other.soonest(now, expected)
            if wait + own >= seconds or other.has_room() or other.name in demand.avoid:
                continue  # one that has room is not for this job, or it would have been taken
            if other.could_have_memory(expected.rss):
                return max(wait, NEARLY_S)
        return 0.0

    def finish(self, expected: Expected, work: float, now: float) -> float:
        """Seconds until a job is over that waits for whichever host has a slot first, behind so much work."""
        ranked = self.rank(now)
        if not ranked:
            return float("inf")
        first = min(host.soonest(now, expected) + host.seconds(expected, now) for host in ranked[:_LOOKED_AT])
        return first + work / (self._capacity[-1] or 1.0)
