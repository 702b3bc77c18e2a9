"""When a job that runs already is started a second time elsewhere: decisions only, nothing is run here.

Two things make it worth while: the job has got a slow host, and quicker ones have run out of work (the end of a
build); or it takes far longer than it should (its host is disturbed, or stuck). It is never done while anybody waits
for a slot, and what it costs altogether is a small share of what is done.
"""

from __future__ import annotations

import math
from typing import Final

from manycc.schedule.predict import Expected

BEYOND: Final = 1.5
BEYOND_S: Final = 0.5
"""A job that has taken BEYOND times what was expected, or BEYOND_S more if that is more, is far beyond it."""
BEYOND_GUESS: Final = 9.0
"""The same where it was only guessed what it takes: it is more likely the job than its host."""
STUCK: Final = 3.0
STUCK_S: Final = 2.0
"""When a job counts as stuck: only then is it done here, unless this machine is known to be quicker."""
GAIN: Final = 1.25
GAIN_S: Final = 0.25
"""A second run must be over so much sooner than the first is expected to be."""
LEAST_LEFT_S: Final = 0.5
"""What is over sooner anyway is left alone."""
SHARE: Final = 0.05
"""Of all the time that slots were taken, so much may go into second runs; and CREDIT_S, for a build's last jobs."""
CREDIT_S: Final = 30.0


def due(expected: Expected, seconds: float) -> float:
    """Seconds after which a job that was to take ``seconds`` is to be looked at."""
    return max(seconds * BEYOND, seconds + BEYOND_S)


def outlook(elapsed: float, expected: Expected, seconds: float) -> tuple[float, float]:
    """Of a job that was to take ``seconds``: how long it will take still, and how much more work it is than expected.

    One far beyond its time is expected to take as long again. If its time was known, it is the host that is
    slow; if it was guessed, it is the job that is long, on any host, until that cannot be any more.
    """
    if elapsed < seconds:
        return seconds - elapsed, 1.0
    if expected.known > 0 or elapsed > BEYOND_GUESS * seconds + BEYOND_S:
        return (elapsed if elapsed >= due(expected, seconds) else (elapsed - seconds) * 0.5), 1.0
    return elapsed, 2 * elapsed / seconds


def worth_here(elapsed: float, left_s: float, fresh_s: float, seconds: float, speed_known: bool) -> bool:
    """The same for a run on this machine, whose time is dearer: the host is all but stuck, or known to be slower."""
    stuck = elapsed >= max(STUCK * seconds, seconds + STUCK_S)
    return worth(left_s, fresh_s) and (stuck or (speed_known and left_s >= STUCK_S))


def worth(left_s: float, fresh_s: float) -> bool:
    """Whether to start a second run that takes ``fresh_s`` of a job that has ``left_s`` to go."""
    return left_s >= LEAST_LEFT_S and fresh_s * GAIN + GAIN_S < left_s


class Budget:
    """How much time has gone into second runs."""

    def __init__(self) -> None:
        self._done_s = 0.0
        self._extra_s = 0.0

    def did(self, seconds: float) -> None:
        """A slot was taken by a job for so long."""
        self._done_s += seconds

    def did_extra(self, seconds: float) -> None:
        """A slot was taken by a second run for so long."""
        self._extra_s += seconds

    def allows(self, seconds: float, under_way: int) -> bool:
        """Whether one that takes ``seconds`` may begin beside those under way."""
        if math.isinf(seconds):
            return False
        return self._extra_s + seconds * (1 + under_way) <= CREDIT_S + SHARE * self._done_s
