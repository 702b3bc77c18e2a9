"""How much of the machine is left by those whom it belongs to: ``manycc node --when-idle``.

A node that gives way runs at the lowest priority, and all its jobs with it. The kernel counts the time of
such processes apart (the field "nice" of /proc/stat, proc(5)), so what others use can be read in one line,
without looking at any process. Time in the kernel is not told apart; it is shared out as the other is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

SAMPLE_S: Final = 1.0
LATELY_S: Final = 10.0
"""Slots come back when nobody has used them for so long; they go at once."""
ROUNDING: Final = 0.35
"""Part of a processor that others may use without a slot less: something always runs."""


class Times(NamedTuple):
    """Of all processors together, in ticks since the start of the machine."""

    user: int
    nice: int
    system: int
    idle: int


def read_times() -> Times:
    """The first line of /proc/stat. Raises OSError."""
    with open("/proc/stat", "rb") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    fields += [0] * (8 - len(fields))
    user, nice, system, idle, waiting, hard, soft, stolen = fields
    return Times(user, nice, system + hard + soft, idle + waiting + stolen)


class Owner:
    """What others than this node's jobs use of ``processors``."""

    def __init__(
        self,
        processors: int,
        read: Callable[[], Times] = read_times,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processors = processors
        self._read = read
        self._clock = clock
        self._last = read()
        self._lately: deque[tuple[float, float]] = deque()

    def sample(self) -> float:
        """Processors that others have used, at most, since the last call and in those of the last seconds."""
        before, self._last = self._last, self._read()
        user, nice, system, idle = (max(0, now - then) for now, then in zip(self._last, before, strict=True))
        total = user + nice + system + idle
        if total:
            others = user + (system * user / (user + nice) if user + nice else system)
            self._lately.append((self._clock(), others / total * self._processors))
        while self._lately and self._lately[0][0] < self._clock() - LATELY_S:
            self._lately.popleft()
        return max((used for _, used in self._lately), default=0.0)

    def slots(self, wanted: int) -> int:
        """How many of the ``wanted`` slots are to be offered now; 0 while others use all processors."""
        spare = max(0.0, self._processors - self.sample())
        whole = min(self._processors, int(spare + ROUNDING))
        # More, or fewer, slots than processors may have been asked for: their share is what counts.
        return -(-wanted * whole // self._processors)
