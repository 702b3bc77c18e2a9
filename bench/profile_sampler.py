"""Samples of a Python process by its own CPU time, from within; loaded as ``sitecustomize`` by ``profile_hotpath``.

The kernel's profiling timer (ITIMER_PROF) runs only while the process does, so a busy machine changes how long a
profile takes, not its shares. Python runs the handler when the C function under way returns: its time counts for its
caller. SIGUSR1 has what was counted so far written to the next of ``BENCH_SAMPLES``.0, .1 and so on, and begins anew.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from types import FrameType

INTERVAL_S = 0.001
"""Asked for; the kernel gives at most one a tick."""


class Sampler:
    """Counts stacks: outermost first, ``function (file)`` joined by ``;``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._written = 0
        self._counts: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.signal(signal.SIGUSR1, self._write)
        for number in (signal.SIGPROF, signal.SIGUSR1):
            signal.siginterrupt(number, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_qualname} ({frame.f_code.co_filename})")
            frame = frame.f_back
        self._counts[";".join(reversed(stack))] += 1

    def _write(self, _number: int, _frame: FrameType | None) -> None:
        path = f"{self._prefix}.{self._written}"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.writelines(f"{stack} {count}\n" for stack, count in self._counts.items())
        os.replace(f"{path}.new", path)
        self._counts.clear()
        self._written += 1


if sys.orig_argv[-2:] == ["agent", "serve"] and "BENCH_SAMPLES" in os.environ:
    Sampler(os.environ["BENCH_SAMPLES"]).start()
