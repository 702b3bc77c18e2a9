"""A node as a worker of an engine, by the Remote Workers API: it asks for jobs, does them, and says what came of them.

There is one session with as many leases as the node has slots, and one call of it at a time, which is heartbeat,
long poll and report in one. What an engine answers is the list of leases that the worker should have: one that is new
is a job, one that is gone was cancelled. The call waits at the engine while there is nothing to say; a job that ends
meanwhile breaks it off, for its result must not wait. A call that carries results is never broken off.

Only an engine that knows a session no more ends it. Whatever else goes wrong (no line, a database that is away, too
many calls, a token that cannot be read) says nothing about the jobs: they go on, and the call is made again.

What BuildGrid does beyond the API's words: it answers at once while the worker is full or takes no jobs, so the worker
has a pace of its own; it hands nothing out if a call has less than four seconds; it keeps sessions in its database, so
they outlive it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import signal
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Protocol

from manycc.engine.address import EngineAddress
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.compilers import Compilers
from manycc.engine.contents import Contents
from manycc.engine.leases import Leases
from manycc.engine.leasework import Work
from manycc.engine.offer import Offer, Offers
from manycc.engine.workerid import WorkerId
from manycc.errors import BackendError, BackendRefused
from manycc.node.executor import Executor
from manycc.node.slots import Slots
from manycc.node.text import plain
from manycc.node.toolchains import ToolchainService
from manycc.reapi import bots_pb2
from manycc.reasons import Reason
from manycc.store.store import Store

IDLE_S: Final = 30.0
"""How long a call waits at the engine while there is nothing to do; BuildGrid takes four fifths of it."""
BUSY_S: Final = 5.0
"""The same while jobs are under way: a cancellation is heard of that soon."""
ANSWER_S: Final = 15.0
"""For a call that the engine has no cause to hold."""
HEARTBEAT_S: Final = 3.0
"""Between two calls of a worker that can be given no job."""
PACE_S: Final = (0.05, 0.25, 1.0)
"""Before the next call, where the engine answered at once and with nothing new: the first, second and further times."""
AT_ONCE_S: Final = 1.0
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 5.0
FAREWELL_S: Final = 3.0
"""From being told to end to the end, whatever is under way."""
SETTLE_S: Final = 20.0
"""So long another number of slots must have stood before a worker that has jobs takes no more for its sake."""
SILENCES: Final = 2
"""So many calls without an answer, one after the other, and the connection is made anew: it may lead nowhere."""
FAILURES: Final = 10
"""The same for failures of all kinds: certificates may have been renewed."""
AGAIN_S: Final = 60.0
_ENDED: Final = ("INVALID_ARGUMENT", "NOT_FOUND")
"""What an engine says of a session that it does not know."""
_log: Final = logging.getLogger("manycc.node")


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


class _Services(Channel):
    """The engine's services, and the one for workers."""

    def __init__(self, address: EngineAddress) -> None:
        super().__init__(address)
        self.bots = self.service(bots_pb2.DESCRIPTOR, "Bots")


class Worker:
    """Takes a node's jobs from an engine. For one event loop; satisfies ``node.service.Connection``.

    ``broken``: it ended without having been told to.
    """

    def __init__(self, host: Host, address: EngineAddress) -> None:
        """Raises BackendRefused if a certificate cannot be read."""
        self._host = host
        self._address = address
        self.peer = address.name
        self.broken = False
        self._changed = asyncio.Event()
        self._channel = _Services(address)
        self._contents = Contents(self._channel, address.instance)
        self._id = WorkerId(host.name, host.store.root)
        compilers = Compilers(host.toolchains)
        work = Work(host.store, host.executor, compilers, self._contents, self._id)
        self._leases = Leases(work, self.peer, self._changed.set, partial(host.job_ended, self))
        self._offers = Offers(host.slots, compilers, self._changed.set)
        self._offer = Offer(0, ())
        """What the session was made with."""
        self._session: bots_pb2.BotSession | None = None
        self._status = bots_pb2.UNHEALTHY
        """What the engine was told last."""
        self._other_since = math.inf
        """Since when there is something else to offer."""
        self._ended_at = -math.inf
        self._ending = False
        self._quick = 0
        self._failures = 0
        self._silences = 0
        self._told = ""
        loop = asyncio.get_running_loop()
        self._talk = loop.create_task(self._converse())
        self._life = loop.create_task(self._live())

    # -- what the node asks of a connection

    @property
    def jobs(self) -> int:
        """How many leases are not answered yet."""
        return self._leases.jobs

    def push_state(self, frame: bytes) -> None:
        """The node's state changed: it may be closing, or have another number of slots."""
        if self._wanted_status(self._offers.known()) != self._status:
            self._changed.set()

    def close(self, sentence: str, reason: Reason = Reason.NODE_LOST) -> None:
        """Give back what is not done, say goodbye, and end."""
        if self._ending:
            return
        self._ending = True
        self._leases.cancel()
        self._changed.set()
        asyncio.get_running_loop().call_later(FAREWELL_S, self._talk.cancel)

    # -- the session

    async def _live(self) -> None:
        """The whole life, of which only the conversation may be cut short."""
        await asyncio.wait({self._talk})
        try:
            self._talk.result()
        except asyncio.CancelledError:
            _log.warning("%s did not take the goodbye within %.0f s", self.peer, FAREWELL_S)
        except Exception:  # noqa: BLE001 - the node must not stay behind without what it is for, and without a word
            _log.exception("the session with %s broke off", self.peer)
        self.broken = not self._ending
        await self._offers.close()
        await self._leases.drop()
        await self._channel.close()
        self._host.session_ended(self)
        if self.broken:
            signal.raise_signal(signal.SIGTERM)

    async def _converse(self) -> None:
        while not self._ending:
            try:
                await self._round()
            except BackendError as error:
                await self._failed(error)
        await self._farewell()

    async def _round(self) -> None:
        """One call, and what follows from it. Raises BackendError."""
        offer = await self._offers.current()
        session = self._session or await self._begin(offer)
        self._changed.clear()
        self._status = status = self._wanted_status(offer)
        leases, told = self._leases.report()
        started = time.monotonic()
        reply = await self._call(session, status, leases, reports=bool(told))
        if reply is None:
            return  # something ended meanwhile
        self._well()
        self._leases.reported(told)
        session.version = reply.version
        news = self._leases.take(reply.leases, self._offer.slots, closing=self._closing)
        if status == bots_pb2.UNHEALTHY and offer != self._offer and not self._leases:
            self._session = None  # it was outgrown, and now nothing is left of it
            return
        if self._leases.unreported:
            return
        if status != bots_pb2.OK or len(self._leases) >= self._offer.slots:
            pause = HEARTBEAT_S  # the engine would answer at once
        elif told or news or time.monotonic() - started > AT_ONCE_S:
            self._quick = 0
            return
        else:
            pause = PACE_S[min(self._quick, len(PACE_S) - 1)]
            self._quick += 1
        await self._wait(pause)

    async def _begin(self, offer: Offer) -> bots_pb2.BotSession:
        """Make a session. It begins as one that takes no jobs, for then the engine answers at once."""
        session = bots_pb2.BotSession(bot_id=str(self._id), status=bots_pb2.UNHEALTHY)
        offer.describe(session)
        request = bots_pb2.CreateBotSessionRequest(parent=self._address.instance, bot_session=session)
        made: bots_pb2.BotSession
        made = await self._channel.call(self._channel.bots.CreateBotSession, request, ANSWER_S)
        self._session, self._offer = made, offer
        self._leases.take(made.leases, offer.slots, closing=self._closing)
        _log.info("joined %s as %s with %d slots", self.peer, self._id, offer.slots)
        self._well()
        return made

    async def _call(
        self,
        made: bots_pb2.BotSession,
        status: bots_pb2.BotStatus,
        leases: Iterable[bots_pb2.Lease],
        *,
        reports: bool,
    ) -> bots_pb2.BotSession | None:
        """Say how things are and wait for something new; None if something else came up first."""
        session = bots_pb2.BotSession(name=made.name, bot_id=made.bot_id, version=made.version, status=status)
        self._offer.describe(session)
        session.leases.extend(leases)
        request = bots_pb2.UpdateBotSessionRequest(name=session.name, bot_session=session)
        limit = ANSWER_S if reports else BUSY_S if self._leases else IDLE_S
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

    async def _farewell(self) -> None:
        """Report what there is, and that nothing more is to be given."""
        await self._leases.finish()
        if self._session is None:
            return
        with contextlib.suppress(BackendError):
            while True:
                leases, told = self._leases.report()
                await self._call(self._session, bots_pb2.BOT_TERMINATING, leases, reports=True)
                self._leases.reported(told)
                if not self._leases.unreported:
                    return

    @property
    def _closing(self) -> bool:
        return self._host.closing or self._ending

    def _wanted_status(self, offer: Offer) -> bots_pb2.BotStatus:
        """What to say of a worker that has this to offer."""
        if self._closing:
            return bots_pb2.BOT_TERMINATING
        if not self._host.slots.count or self._outgrown(offer):
            return bots_pb2.UNHEALTHY
        return bots_pb2.OK

    def _outgrown(self, offer: Offer) -> bool:
        """Whether the session is to be given no more jobs, so that another, with this offer, can take its place."""
        now = time.monotonic()
        self._other_since = min(self._other_since, now) if offer != self._offer else math.inf
        if self._other_since > now:
            return False
        other_compilers = offer.properties != self._offer.properties
        return other_compilers or not self._leases or now - self._other_since > SETTLE_S

    # -- when things go wrong

    def _well(self) -> None:
        """The engine has answered."""
        if self._told:
            _log.info("%s answers again", self.peer)
        self._told = ""
        self._failures = self._silences = 0

    async def _failed(self, error: BackendError) -> None:
        """A call failed: have the session anew if it is gone, and try again after a while."""
        code = error.code.name if isinstance(error, CallFailed) else ""
        said = plain(error.detail)
        if code in _ENDED and self._session is not None:
            await self._ended(said)
        elif said != self._told:
            _log.warning("%s: %s; trying again", self.peer, said)
            self._told = said
        self._failures += 1
        self._silences = self._silences + 1 if code == "DEADLINE_EXCEEDED" else 0
        if self._silences >= SILENCES or self._failures % FAILURES == 0:
            self._silences = 0
            await self._reconnect()
        pause = min(FIRST_RETRY_S * 2 ** min(self._failures - 1, 10), LAST_RETRY_S)
        end = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - that workers do not come all at once
        while not self._ending and (left := end - time.monotonic()) > 0:
            self._changed.clear()
            await self._wait(left)

    async def _ended(self, said: str) -> None:
        """The engine has given the session up, and all its leases to others."""
        _log.warning("%s ended the session: %s", self.peer, said)
        self._session = None
        await self._leases.drop()
        now = time.monotonic()
        if now - self._ended_at < AGAIN_S:
            before = str(self._id)
            self._id.renew()
            _log.warning(
                "%s ended two sessions of %s within a minute: another worker may have the same name, as after a disk "
                "was copied; this one is %s from now on", self.peer, before, self._id,
            )  # fmt: skip
        self._ended_at = now

    async def _reconnect(self) -> None:
        """Have another connection: this one may be dead without a word, or be made with what is out of date."""
        try:
            fresh = _Services(self._address)
        except BackendRefused as error:
            _log.warning("%s: %s", self.peer, plain(error.detail))
            return
        old, self._channel = self._channel, fresh
        self._contents.use(fresh)
        await old.close()

    async def _wait(self, limit_s: float) -> None:
        """For something new, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._changed.wait()
