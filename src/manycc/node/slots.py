"""Who may compile now: a bounded number of jobs, taken fairly from the agents that wait, within memory."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Final

from manycc.errors import BackendRefused
from manycc.reasons import Reason

RESERVE: Final = 256 * 1024**2
"""Bytes of memory that are never given to jobs."""
DEFAULT_EXPECTED: Final = 96 * 1024**2
"""What a job is taken to need that nobody has seen run before."""
GROWTH_S: Final = 5.0
"""A running job has by then taken most of the memory it will take; until then, less of it."""
STILL_TO_COME: Final = 0.2
IN_USE: Final = "this node gives way to its own user"
RETRY_S: Final = 0.25
"""Memory has no event; where jobs wait for it, it is looked at this often."""


class Slot:
    """One job's right to run. Given back with ``Slots.release``."""

    __slots__ = ("expected", "owner", "since")

    def __init__(self, expected: int, since: float, owner: Hashable) -> None:
        self.expected = expected
        self.since = since
        self.owner = owner


class _Waiter:
    __slots__ = ("expected", "future")

    def __init__(self, expected: int, future: asyncio.Future[Slot]) -> None:
        self.expected = expected
        self.future = future


class Slots:
    """A node's slots.

    ``memory_available`` gives the bytes new processes can take; ``on_change`` is called when the
    number of busy slots or of waiting jobs changes.
    """

    def __init__(self, count: int, memory_available: Callable[[], int], on_change: Callable[[], None]) -> None:
        self.count = count
        self._memory_available = memory_available
        self._on_change = on_change
        self._running: set[Slot] = set()
        self._shares: Counter[Hashable] = Counter()  # jobs that run, by owner
        self._queues: dict[Hashable, deque[_Waiter]] = {}
        self._turns: deque[Hashable] = deque()
        self._queued = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> int:
        """Jobs that run."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        return self._queued

    def memory_free(self) -> int:
        """Bytes that can still be promised to jobs."""
        now = asyncio.get_running_loop().time()
        promised = sum(
            slot.expected * max(STILL_TO_COME, 1.0 - (now - slot.since) / GROWTH_S) for slot in self._running
        )
        return self._memory_available() - RESERVE - int(promised)

    def full(self, owner: Hashable) -> bool:
        """Whether an owner already has as many jobs waiting as it may."""
        return len(self._queues.get(owner, ())) >= 4 * self.count + 16

    async def acquire(self, owner: Hashable, expected: int) -> Slot:
        """Wait for a slot. ``owner`` is the agent's connection, ``expected`` bytes (0: unknown).

        Raises BackendRefused: NODE_BUSY if the owner has too many jobs waiting or there are no slots, NODE_MEMORY if
        the machine has too little memory though nothing runs on it.
        """
        if not self.count:
            raise BackendRefused(Reason.NODE_BUSY, IN_USE)
        if self.full(owner):
            raise BackendRefused(Reason.NODE_BUSY, f"{4 * self.count + 16} of your jobs wait already")
        waiter = _Waiter(expected or DEFAULT_EXPECTED, asyncio.get_running_loop().create_future())
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = deque()
            self._turns.append(owner)
        queue.append(waiter)
        self._queued += 1
        self._pump()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.release(waiter.future.result())
            elif waiter in queue:
                queue.remove(waiter)
                self._queued -= 1
                self._drop_if_empty(owner)
                self._on_change()
            raise

    def release(self, slot: Slot) -> None:
        """The job is over."""
        if slot in self._running:
            self._running.remove(slot)
            self._shares[slot.owner] -= 1
            if not self._shares[slot.owner]:
                del self._shares[slot.owner]
        self._pump()

    def resize(self, count: int) -> None:
        """Have another number of slots. Jobs that run beyond it are left to end; without slots, none may wait."""
        self.count = count
        while not count and self._turns:
            waiter = self._queues[self._turns[0]][0]
            self._take(self._turns[0])
            if not waiter.future.done():
                waiter.future.set_exception(BackendRefused(Reason.NODE_BUSY, IN_USE))
        self._pump()

    def close(self) -> None:
        """Stop looking at memory."""
        if self._timer is not None:
            self._timer.cancel()

    def _pump(self) -> None:
        """Start what can be started: a job of the owner that has the fewest running, of equal ones in turn."""
        now = asyncio.get_running_loop().time()
        lacking: set[Hashable] = set()
        while len(self._running) < self.count and len(lacking) < len(self._turns):
            owner = min((owner for owner in self._turns if owner not in lacking), key=self._shares.__getitem__)
            waiter = self._queues[owner][0]
            if waiter.expected > self.memory_free():
                if self._running:
                    lacking.add(owner)
                    continue
                self._take(owner)
                if not waiter.future.done():
                    waiter.future.set_exception(
                        BackendRefused(
                            Reason.NODE_MEMORY,
                            f"it is taken to need {waiter.expected >> 20} MiB, "
                            f"{max(0, self.memory_free()) >> 20} MiB can be spared",
                        )
                    )
                continue
            self._take(owner)
            if not waiter.future.done():
                slot = Slot(waiter.expected, now, owner)
                self._running.add(slot)
                self._shares[owner] += 1
                waiter.future.set_result(slot)
                lacking.clear()
        if self._timer is None and self._turns and len(self._running) < self.count:
            self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._look_again)
        self._on_change()

    def _look_again(self) -> None:
        self._timer = None
        self._pump()

    def _take(self, owner: Hashable) -> None:
        """Remove an owner's first waiter; of those who have as many running, the next turn is another's."""
        self._queues[owner].popleft()
        self._queued -= 1
        self._turns.remove(owner)
        if self._queues[owner]:
            self._turns.append(owner)
        else:
            del self._queues[owner]

    def _drop_if_empty(self, owner: Hashable) -> None:
        if not self._queues[owner]:
            del self._queues[owner]
            self._turns.remove(owner)
