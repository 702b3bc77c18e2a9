"""A node as a worker of an engine, by the Remote Workers API: it asks for jobs, does them, and says what came of them.

There is one session with as many leases as the node has slots, and one call of it at a time, which is heartbeat,
long poll and report in one. What an engine answers is the list of leases that the worker should have: one that is new
is a job, one that is gone was cancelled. The call waits at the engine while there is nothing to say; a job that ends
meanwhile breaks it off, for its result must not wait. A call that carries results is never broken off.

What BuildGrid does beyond the API's words: it answers at once while the worker is full, so the worker has a pace of its
own; it hands nothing out if a call has less than four seconds; it keeps sessions in its database, so they outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import signal
import time
from functools import partial
from typing import Any, Final, Protocol

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, status_pb2

from manycc.engine.address import EngineAddress
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.compilers import Compilers
from manycc.engine.contents import CALL_S, Contents
from manycc.engine.leaseresult import unavailable
from manycc.engine.leasework import Work
from manycc.errors import BackendError, BackendGone
from manycc.node.executor import Executor
from manycc.node.slots import Slots
from manycc.node.text import plain
from manycc.node.toolchains import ToolchainService
from manycc.reapi import bots_pb2, remote_execution_pb2
from manycc.reapi.service import Stub
from manycc.reasons import Reason
from manycc.store.store import Store

IDLE_S: Final = 30.0
"""How long a call waits at the engine while there is nothing to do; BuildGrid takes four fifths of it."""
BUSY_S: Final = 5.0
"""The same while jobs are under way: a cancellation is heard of that soon."""
HEARTBEAT_S: Final = 3.0
"""Between two calls of a worker that has as many jobs as it can."""
PACE_S: Final = (0.05, 0.25, 1.0)
"""Before the next call, where the engine answered at once and with nothing new: the first, second and further times."""
AT_ONCE_S: Final = 1.0
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 5.0
FAREWELL_S: Final = 3.0
PROPERTIES_LAST_S: Final = 60.0
_LOST: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
"""Errors that say nothing about the session."""
_log: Final = logging.getLogger("manycc.node")

_re = remote_execution_pb2


class Host(Protocol):
    """What a worker needs of its node."""

    name: str
    store: Store
    toolchains: ToolchainService
    executor: Executor
    slots: Slots
    closing: bool

    def job_ended(self, session: Any) -> None:
        """A job was answered."""

    def session_ended(self, session: Any) -> None:
        """The session is over, and none of its jobs is left."""


class _Held:
    """A lease, and the job of it. ``over``: its result is known."""

    __slots__ = ("lease", "over", "task")

    def __init__(self, lease: bots_pb2.Lease) -> None:
        self.lease = lease
        self.over = False
        self.task: asyncio.Task[None] | None = None


class _Services(Channel):
    """The engine's services, and the one for workers."""

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self.bots = Stub(self._channel, bots_pb2.DESCRIPTOR, "Bots")


class Worker:
    """Takes a node's jobs from an engine. For one event loop; satisfies ``node.service.Connection``."""

    def __init__(self, host: Host, address: EngineAddress) -> None:
        """Raises BackendRefused if a certificate cannot be read."""
        self._host = host
        self._address = address
        self.peer = address.name
        self._channel = _Services(address)
        self._compilers = Compilers(host.toolchains)
        # Stable over restarts, so that the engine gives up what the node's last life had; and not another's.
        place = hashlib.sha256(f"{host.name}\0{host.store.root}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
        self._bot_id = f"{plain(host.name)}-{place}"
        contents = Contents(self._channel, address.instance)
        self._work = Work(host.store, host.executor, self._compilers, contents, self._bot_id)
        self._session: bots_pb2.BotSession | None = None
        self._offered = 0
        self._properties: list[tuple[str, str]] = []
        self._looked = 0.0
        self._held: dict[str, _Held] = {}
        self._dropped: set[_Held] = set()
        """Leases that the engine does not want any more, and whose compilers are being killed."""
        self._changed = asyncio.Event()
        self._ending = False
        self._quick = 0
        self._retry_s = FIRST_RETRY_S
        self._told = ""
        self._task = asyncio.get_running_loop().create_task(self._life())

    # -- what the node asks of a connection

    @property
    def jobs(self) -> int:
        """How many leases are not answered yet."""
        return len(self._held) + len(self._dropped)

    def push_state(self, frame: bytes) -> None:
        """The node's state changed: it may be closing, or have another number of slots."""
        if self._host.closing or self._outgrown():
            self._changed.set()

    def close(self, sentence: str, reason: Reason = Reason.NODE_LOST) -> None:
        """Give back what is not done, say goodbye, and end."""
        self._ending = True
        for held in self._held.values():
            if held.task is not None and not held.over:
                held.task.cancel()
        self._changed.set()

    # -- the session

    async def _life(self) -> None:
        try:
            while not self._ending:
                try:
                    await self._round()
                    self._retry_s = FIRST_RETRY_S
                except BackendError as error:
                    await self._failed(error)
            async with asyncio.timeout(FAREWELL_S):
                await self._farewell()
        except TimeoutError:
            _log.warning("%s did not take the goodbye", self.peer)
        except Exception:  # noqa: BLE001 - the node must not stay behind without what it is for, and without a word
            _log.exception("the session with %s broke off", self.peer)
        finally:
            await self._drop_all()
            await self._channel.close()
            self._host.session_ended(self)
            if not self._ending:
                signal.raise_signal(signal.SIGTERM)

    async def _round(self) -> None:
        """One call, and what follows from it. Raises BackendError."""
        await self._look_at_compilers()
        if self._session is None or self._outgrown():
            await self._begin()
        self._changed.clear()
        reported = [held for held in self._held.values() if held.over]
        started = time.monotonic()
        reply = await self._call(bool(reported))
        if reply is None:
            return  # something ended meanwhile
        for held in reported:
            self._held.pop(held.lease.id, None)
            self._host.job_ended(self)
        news = self._take(reply)
        if len(self._held) >= self._capacity():
            pause = HEARTBEAT_S  # the engine would answer at once
        elif reported or news or time.monotonic() - started > AT_ONCE_S:
            self._quick = 0
            return
        else:
            pause = PACE_S[min(self._quick, len(PACE_S) - 1)]
            self._quick += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._changed.wait()

    async def _begin(self) -> None:
        """Make a session. It begins as one that takes no jobs, for then the engine answers at once."""
        session = bots_pb2.BotSession(bot_id=self._bot_id, status=bots_pb2.UNHEALTHY)
        self._describe(session)
        request = bots_pb2.CreateBotSessionRequest(parent=self._address.instance, bot_session=session)
        self._session = await self._channel.call(self._channel.bots.CreateBotSession, request, CALL_S)
        del self._session.leases[:]
        self._offered = self._capacity()
        _log.info("joined %s as %s with %d slots", self.peer, self._bot_id, self._capacity())
        self._told = ""

    async def _call(self, reports: bool) -> bots_pb2.BotSession | None:
        """Say how things are and wait for something new; None if something else came up first."""
        assert self._session is not None  # noqa: S101 - _round makes one
        session = bots_pb2.BotSession()
        session.CopyFrom(self._session)
        if self._host.closing or self._ending:
            session.status = bots_pb2.BOT_TERMINATING
        else:
            session.status = bots_pb2.OK if self._host.slots.count else bots_pb2.UNHEALTHY
        self._describe(session)
        session.leases.extend(held.lease for held in self._held.values())
        request = bots_pb2.UpdateBotSessionRequest(name=session.name, bot_session=session)
        limit = CALL_S if reports else BUSY_S if self._held else IDLE_S
        call = asyncio.ensure_future(self._channel.call(self._channel.bots.UpdateBotSession, request, limit))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({call} if reports else {call, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                return None
            reply: bots_pb2.BotSession = call.result()
            return reply
        finally:
            for one in (call, changed):
                one.cancel()
            await asyncio.wait({call, changed})
            if not call.cancelled():
                call.exception()  # seen, if it failed in the moment in which it was broken off

    def _take(self, reply: bots_pb2.BotSession) -> bool:
        """Have the leases that the engine says. Whether that changed anything."""
        assert self._session is not None  # noqa: S101
        self._session.version = reply.version
        there = {lease.id: lease for lease in reply.leases}
        news = False
        for identifier, held in list(self._held.items()):
            if identifier not in there and not held.over:
                news = True
                self._drop(held)
        for identifier, lease in there.items():
            if identifier in self._held or lease.state not in (bots_pb2.ACTIVE, bots_pb2.PENDING):
                continue
            news = True
            held = _Held(lease)
            lease.state = bots_pb2.ACTIVE
            self._held[identifier] = held
            if self._host.closing or self._ending:
                self._answer(held, unavailable("this worker is closing"))
            else:
                held.task = asyncio.get_running_loop().create_task(self._run(held))
                held.task.add_done_callback(partial(self._over, held))
        return news

    def _drop(self, held: _Held) -> None:
        """The engine does not want this any more."""
        del self._held[held.lease.id]
        if held.task is not None and not held.over:
            self._dropped.add(held)
            held.task.cancel()
        else:
            self._host.job_ended(self)

    async def _drop_all(self) -> None:
        for held in list(self._held.values()):
            self._drop(held)
        tasks = [held.task for held in self._dropped if held.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def _failed(self, error: BackendError) -> None:
        """A call failed: have the session anew if it is gone, and try again after a while."""
        lost = isinstance(error, BackendGone) or (isinstance(error, CallFailed) and error.code.name in _LOST)
        if not lost and self._session is not None:
            # The engine has given the session up, and all its leases to others.
            _log.warning("%s ended the session: %s", self.peer, error.detail)
            self._session = None
            await self._drop_all()
        if error.detail != self._told:
            _log.warning("%s: %s; trying again", self.peer, error.detail)
            self._told = error.detail
        pause = self._retry_s * random.uniform(0.5, 1.0)  # noqa: S311 - that workers do not come all at once
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)
        end = time.monotonic() + pause
        while not self._ending and (left := end - time.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
            if self._host.closing and not self._held:
                return

    async def _farewell(self) -> None:
        """Report what there is, and that nothing more is to be given."""
        tasks = [held.task for held in self._held.values() if held.task is not None and not held.over]
        if tasks:
            await asyncio.wait(tasks)
        for held in self._held.values():
            if not held.over:
                self._answer(held, unavailable("this worker is closing"))
        if self._session is not None:
            with contextlib.suppress(BackendError):
                await self._call(reports=True)

    # -- what is said of this node

    def _capacity(self) -> int:
        return max(1, self._host.slots.count)

    def _outgrown(self) -> bool:
        """Whether a session with another number of leases should take this one's place; only its making sets that."""
        return self._session is not None and not self._held and self._capacity() != self._offered

    def _describe(self, session: bots_pb2.BotSession) -> None:
        session.worker.Clear()
        device = session.worker.devices.add(handle="cpu")
        for key, value in self._properties:
            device.properties.add(key=key, value=value)
        session.worker.configs.add(key="capacity", value=str(self._capacity()))

    async def _look_at_compilers(self) -> None:
        """Compilers come and go: look again now and then."""
        now = time.monotonic()
        if self._properties and now - self._looked < PROPERTIES_LAST_S:
            return
        self._looked = now
        fingerprints = await self._compilers.offered(os.environ)
        if not fingerprints:
            _log.warning("no compiler is installed here that could be offered to %s", self.peer)
        system = os.uname()
        self._properties = [
            ("OSFamily", system.sysname.lower()),
            ("ISA", system.machine),
            *(("toolchain", fingerprint) for fingerprint in fingerprints),
        ]

    # -- jobs

    async def _run(self, held: _Held) -> None:
        """One job. Whatever comes of it is the lease's status and result."""
        began = time.monotonic()
        try:
            done = await self._work.do(held.lease.payload, self)
            self._answer(held, done.status, done.result)
            how = f"exit {done.result.exit_code}" if done.result is not None else f"refused: {done.status.message}"
            _log.info("%s: %s %s, %.2f s", self.peer, done.source, plain(how), time.monotonic() - began)
        except asyncio.CancelledError:
            _log.info("%s: a job cancelled after %.2f s", self.peer, time.monotonic() - began)
        except Exception:  # noqa: BLE001 - a fault of ours costs this job its place here, and no other's
            _log.exception("%s: a job failed", self.peer)
            self._answer(held, status_pb2.Status(code=code_pb2.INTERNAL, message="internal error, see the node's log"))

    def _over(self, held: _Held, _: asyncio.Task[None]) -> None:
        """No process of a job is left, and it may have been cancelled before it began."""
        if not held.over:
            self._answer(held, unavailable("this worker is closing"))
        if held in self._dropped:
            self._dropped.discard(held)
            self._host.job_ended(self)

    def _answer(self, held: _Held, status: status_pb2.Status, result: _re.ActionResult | None = None) -> None:
        lease = held.lease
        lease.state = bots_pb2.COMPLETED
        lease.status.CopyFrom(status)
        if result is not None:
            packed = AnyMessage()
            packed.Pack(result)
            lease.result.CopyFrom(packed)
        held.over = True
        self._changed.set()
