"""Where trial compiles are done: here or on a host, wherever they were done sooner of late.

A configure step makes hundreds of them, tiny and one after the other, so what counts is how long each takes
and nothing else. Which place is quicker no rule can say: a small board waits less for a strong
host than for its own compiler, a strong machine less for itself, and a host that did them before has the
results at hand. So both are tried, and the slower one again from time to time.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

BEGIN: Final = 6
"""So many go here and there by turns before anything is concluded."""
AGAIN: Final = 32
"""One of so many goes to the slower place, which may not be slower any more."""
_LATELY: Final = 5


class Trials:
    """What is known of both places."""

    def __init__(self) -> None:
        self._times: dict[bool, deque[float]] = {True: deque(maxlen=_LATELY), False: deque(maxlen=_LATELY)}
        self._chosen = 0

    def here(self) -> bool:
        """Whether the next one is to be done here. Counts it."""
        self._chosen += 1
        here, there = self._times[True], self._times[False]
        if self._chosen <= BEGIN or not (here and there):
            return self._chosen % 2 == 1 or self._chosen > BEGIN
        quicker = median(here) <= median(there)
        return quicker != (self._chosen % AGAIN == 0)

    def took(self, here: bool, seconds: float) -> None:
        """Learn how long one took."""
        self._times[here].append(seconds)
