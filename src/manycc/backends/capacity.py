"""How much a node can take, as it says itself: slots, memory, the jobs that it has."""

from __future__ import annotations

from typing import Any, Final

from manycc.backends.answer import count

MEMORY_NEWS: Final = 64 * 1024**2
"""When so much more memory became free, those who wait for some look again."""
_MAX_SLOTS: Final = 4096


class Capacity:
    """Of one node. ``given``: slots that its user wrote behind its name; None: what it offers."""

    def __init__(self, given: int | None) -> None:
        self._given = given
        self._offered = 0
        self.offered_now = 0
        self.others = 0
        """Jobs that it runs or queues, ours included."""
        self.memory_free: int | None = None
        self.lacks_memory = False
        self.told = 0.0
        """When it said so, in ``loop.time()``."""
        self._memory_low = 0  # the least there was since anybody looked

    @property
    def slots(self) -> int:
        """How many to use; fewer for as long as it gives way to its own user."""
        slots = self._given or self._offered
        return slots if self.offered_now >= self._offered else min(slots, self.offered_now)

    def greeted(self, welcome: dict[str, Any]) -> None:
        """What it offers at first. Raises WireError."""
        self._offered = self.offered_now = max(1, min(count(welcome, "slots"), _MAX_SLOTS))

    def lost(self) -> None:
        """Nothing is known of it any more."""
        self.others = 0
        self.memory_free = None
        self.lacks_memory = False

    def pushed(self, state: dict[str, Any], now: float) -> bool:
        """What it says later. True if somebody may have waited for that. Raises WireError."""
        busy, queued = count(state, "busy"), count(state, "queued")
        self.others = busy + queued
        # Who waits there although a slot is free waits for memory.
        self.lacks_memory = queued > 0 and busy < count(state, "slots")
        self.told = now
        self.memory_free = count(state, "memory_free") if "memory_free" in state else None
        before, self.offered_now = self.slots, min(count(state, "slots"), _MAX_SLOTS) if "slots" in state else 1
        free = self.memory_free or 0
        self._memory_low = min(self._memory_low, free)  # it comes back in small steps, too
        more = self.slots > before or free - self._memory_low >= MEMORY_NEWS
        if more or not self.slots or not self.others:
            self._memory_low = free
            return True
        return False
