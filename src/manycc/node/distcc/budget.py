"""Memory that the requests and replies of all connections may take together."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final

SHARE: Final = 8
"""A node gives one part in so many of its memory to what distcc's clients send and are sent."""
LEAST: Final = 64 * 1024**2


class Budget:
    """Counts bytes by who holds them. For one event loop.

    Whoever has held something for longest always has room: what one may hold is bounded besides, and so somebody
    comes to an end whatever the others wait for. ``each`` bounds one content, of which there are copies at times.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.each = total // 2
        self.used = 0
        self._held: dict[Hashable, int] = {}  # the longest ago first
        self._waiting: dict[Hashable, asyncio.Future[None]] = {}

    def take(self, holder: Hashable, size: int) -> bool:
        """Count bytes that are there already; whether there is room for more of them."""
        self._held[holder] = self._held.get(holder, 0) + size
        self.used += size
        return self._has_room(holder)

    def give(self, holder: Hashable) -> None:
        """All that a holder had is gone."""
        self.used -= self._held.pop(holder, 0)
        waiting = self._waiting.pop(holder, None)
        if waiting is not None:
            waiting.cancel()
        for other, future in list(self._waiting.items()):
            if self._has_room(other):
                del self._waiting[other]
                future.set_result(None)

    def room(self, holder: Hashable) -> asyncio.Future[None]:
        """Done when the holder may take more; cancelled when it gives all back before."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._has_room(holder):
            future.set_result(None)
        else:
            self._waiting[holder] = future
        return future

    def _has_room(self, holder: Hashable) -> bool:
        return self.used <= self.total or next(iter(self._held), holder) == holder
