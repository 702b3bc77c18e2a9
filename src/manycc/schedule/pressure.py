"""Whether a build goes on: for how long it has asked for as much as it may.

Make has so many jobs out at once, and asks for another whenever one is done, until there are no more. So while the
number of jobs that are out stays where it was, more will come; once it falls, the end of the build, or a link that all
waits for, is near. A build that has gone on for a while is expected to go on for a while more.
"""

from __future__ import annotations

import math


class Pressure:
    """Of one pool. Times are in ``loop.time()``."""

    def __init__(self) -> None:
        self.out = 0
        """Jobs that have been asked for, and are not done."""
        self._most = 0
        self._least = 0
        """With fewer out than this, fewer are asked for than are done."""
        self._since = 0.0

    def more(self, now: float) -> None:
        """A job is asked for."""
        self.out += 1
        if self.out > self._most:
            if not self._least:
                self._since = now
            self._begin(self.out)

    def less(self, now: float) -> None:
        """A job is done."""
        self.out -= 1
        if self.out < self._least:
            self._begin(self.out)
            self._since = now

    def lasted(self, now: float) -> float:
        """For so many seconds no fewer were asked for than were done."""
        return now - self._since if self._least else 0.0

    def _begin(self, out: int) -> None:
        self._most = out
        # As many may be on their way from make to here as chance has it.
        self._least = max(0, out - 1 - math.isqrt(out))
