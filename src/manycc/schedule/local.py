"""How many things may run on this machine at once.

Everything that must be local takes a slot here (links, fallbacks, compiles sent to ``localhost``), so
that a build with -j50 does not swamp the client. Waiting is first come, first served, woken by the
slot's release.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class LocalSlots:
    """A counted resource with a fair queue."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.busy = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.on_free: list[Callable[[], None]] = []
        self.on_line: list[Callable[[], object]] = []
        """Who has slots that are not urgent: the latest is called when somebody has to wait."""

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._queue)

    def state(self) -> tuple[int, int]:
        """How many slots there are, and how many wait for one."""
        return self.total, len(self._queue)

    def free(self) -> bool:
        """Whether a slot could be had at once."""
        return self.busy < self.total and not self._queue

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits for it."""
        if not self.free():
            return False
        self.busy += 1
        return True

    async def acquire(self) -> None:
        """Take a slot, waiting for one if need be."""
        if self.try_acquire():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        if self.on_line:
            self.on_line[-1]()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()  # it was handed to us in the same moment
            elif future in self._queue:  # a release may have passed it over already
                self._queue.remove(future)
            raise

    def release(self) -> None:
        """Give a slot back: to whoever waits longest."""
        while self._queue:
            future = self._queue.popleft()
            if not future.done():
                future.set_result(None)
                return
        self.busy -= 1
        for callback in self.on_free:
            callback()
