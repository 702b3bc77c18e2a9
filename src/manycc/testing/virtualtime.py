"""An asyncio event loop whose clock jumps: what would take an hour is over as soon as it is computed.

Nothing waits. When no callback is ready, the clock goes on to the next timer at once, so a run depends on nothing but
its code and its seed. Such a loop has no sockets, no child processes and no threads to hear from: where
nothing is ready and no timer is set, nothing can ever happen again, and ``Stuck`` says so.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """All tasks wait for something that no timer and no callback will bring about."""


class _Skip(selectors.SelectSelector):
    """In place of waiting for descriptors, says how long the wait would have been."""

    def __init__(self, skip: Callable[[float | None], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self._skip(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Its clock begins at 0."""

    def __init__(self) -> None:
        self._virtual = 0.0
        super().__init__(_Skip(self._skip))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual

    def _skip(self, timeout: float | None) -> None:
        if timeout is None:
            raise Stuck("nothing is left that could happen")
        self._virtual += timeout


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time, as ``asyncio.run`` does in real time. Raises Stuck."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
