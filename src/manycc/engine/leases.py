"""The leases that a worker has, and the job of each: what the engine gave, what it takes back, what was made of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, status_pb2

from manycc.engine.leaseresult import unavailable
from manycc.engine.leasework import Work
from manycc.node.text import plain
from manycc.reapi import bots_pb2, remote_execution_pb2

CLOSING: Final = "this worker is closing"
MAX_REPORT: Final = 3 * 1024**2
"""Bytes of results in one message: an engine that takes messages of 4 MiB would never take a larger one."""
_THERE: Final = (bots_pb2.PENDING, bots_pb2.ACTIVE)
_log: Final = logging.getLogger("manycc.node")

_re = remote_execution_pb2


class Held:
    """A lease, and the job of it. ``over``: its result is known."""

    __slots__ = ("lease", "over", "task")

    def __init__(self, lease: bots_pb2.Lease) -> None:
        self.lease = lease
        self.over = False
        self.task: asyncio.Task[None] | None = None


class Leases:
    """All leases of one worker. For one event loop."""

    def __init__(self, work: Work, peer: str, changed: Callable[[], None], ended: Callable[[], None]) -> None:
        """``changed`` is called when there is a result to be reported, ``ended`` when a job is answered or gone."""
        self._work = work
        self._peer = peer
        self._changed = changed
        self._ended = ended
        self._held: dict[str, Held] = {}
        self._dropped: set[Held] = set()
        """Those that the engine does not want any more, and whose compilers are being killed."""

    def __len__(self) -> int:
        """How many are the engine's business still."""
        return len(self._held)

    @property
    def jobs(self) -> int:
        """How many are not answered yet, or not quite gone."""
        return len(self._held) + len(self._dropped)

    @property
    def unreported(self) -> bool:
        """Whether there are results that the engine has not taken."""
        return any(held.over for held in self._held.values())

    def report(self) -> tuple[list[bots_pb2.Lease], list[Held]]:
        """All leases as they are to be told to the engine now, and those whose results are among that.

        What is too much for one message stands there as if it were under way.
        """
        leases: list[bots_pb2.Lease] = []
        told: list[Held] = []
        room = MAX_REPORT
        for held in self._held.values():
            size = held.lease.ByteSize() if held.over else 0
            if told and size > room:
                leases.append(bots_pb2.Lease(id=held.lease.id, state=bots_pb2.ACTIVE))
                continue
            leases.append(held.lease)
            if held.over:
                told.append(held)
                room -= size
        return leases, told

    def reported(self, told: Iterable[Held]) -> None:
        """The engine has taken the results."""
        for held in told:
            if self._held.pop(held.lease.id, None) is not None:
                self._ended()

    def take(self, leases: Iterable[bots_pb2.Lease], most: int, *, closing: bool) -> bool:
        """Have those that the engine says, ``most`` at a time. Whether that changed anything.

        Those that are too many are said to be there by the engine again.
        """
        there = {lease.id: lease for lease in leases if lease.state != bots_pb2.CANCELLED}
        news = False
        for identifier, held in list(self._held.items()):
            if identifier not in there and not held.over:
                news = True
                self._drop(held)
        for identifier, lease in there.items():
            if identifier in self._held or lease.state not in _THERE or len(self._held) >= most:
                continue
            news = True
            held = self._held[identifier] = Held(lease)
            lease.state = bots_pb2.ACTIVE
            if closing:
                self._answer(held, unavailable(CLOSING))
            else:
                held.task = asyncio.get_running_loop().create_task(self._run(held))
                held.task.add_done_callback(partial(self._done, held))
        return news

    def cancel(self) -> None:
        """End all jobs; they are then to be reported as not done."""
        for held in self._held.values():
            if held.task is not None and not held.over:
                held.task.cancel()

    async def finish(self) -> None:
        """Wait for the end of all jobs, so that every lease has its answer."""
        tasks = [held.task for held in self._held.values() if held.task is not None and not held.over]
        if tasks:
            await asyncio.wait(tasks)

    async def drop(self) -> None:
        """Give all up, and wait until nothing of their jobs is left."""
        for held in list(self._held.values()):
            self._drop(held)
        tasks = [held.task for held in self._dropped if held.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def _drop(self, held: Held) -> None:
        del self._held[held.lease.id]
        if held.task is not None and not held.over:
            self._dropped.add(held)
            held.task.cancel()
        else:
            self._ended()

    async def _run(self, held: Held) -> None:
        """One job. Whatever comes of it is the lease's status and result."""
        began = time.monotonic()
        try:
            done = await self._work.do(held.lease.payload, self)
            self._answer(held, done.status, done.result)
            how = f"exit {done.result.exit_code}" if done.result is not None else f"refused: {done.status.message}"
            _log.info("%s: %s %s, %.2f s", self._peer, done.source, plain(how), time.monotonic() - began)
        except asyncio.CancelledError:
            _log.info("%s: a job cancelled after %.2f s", self._peer, time.monotonic() - began)
        except Exception:  # noqa: BLE001 - a fault of ours costs this job its place here, and no other's
            _log.exception("%s: a job failed", self._peer)
            self._answer(held, status_pb2.Status(code=code_pb2.INTERNAL, message="internal error, see the node's log"))

    def _done(self, held: Held, _: asyncio.Task[None]) -> None:
        """No process of a job is left, and it may have been cancelled before it began."""
        if not held.over:
            self._answer(held, unavailable(CLOSING))
        if held in self._dropped:
            self._dropped.discard(held)
            self._ended()

    def _answer(self, held: Held, status: status_pb2.Status, result: _re.ActionResult | None = None) -> None:
        lease = held.lease
        lease.state = bots_pb2.COMPLETED
        if result is not None and result.ByteSize() > MAX_REPORT:
            status, result = status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message="too many outputs"), None
        lease.status.CopyFrom(status)
        if result is not None:
            packed = AnyMessage()
            packed.Pack(result)
            lease.result.CopyFrom(packed)
        held.over = True
        self._changed()
