"""One connection of a distcc client: a request is read, run and answered, whatever the client does.

The client speaks first and keeps its side open until it has the reply; an end of what it sends, at any time
before, means that it is gone, and ends its compile. Whoever is refused gets a reply with a sentence where
compilers put theirs, as soon as it is clear that there will be no other. What the client goes on to send is
read and thrown away then, since unread bytes would make the kernel take the reply back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from manycc.errors import BackendRefused, StoreError, WireError
from manycc.node.distcc import jobs, pump, reply
from manycc.node.distcc.budget import Budget
from manycc.node.distcc.counts import Counts
from manycc.node.distcc.jobs import Job
from manycc.node.distcc.system import SystemHeaders
from manycc.node.executor import Executor, Result
from manycc.node.outputs import close_all
from manycc.node.sandbox import Sandbox
from manycc.node.text import plain
from manycc.node.toolchains import ToolchainService
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.wire import distcc, lzo

STALL_S: Final = 30.0
MIN_PROGRESS: Final = 16 * 1024
"""Bytes that a client must send, or take, in each ``STALL_S``, unless there are fewer."""
PATIENCE_S: Final = 60.0
"""For a request that has to wait until there is memory for it."""
FAREWELL_S: Final = 10.0
"""For a client to hang up when it has its reply."""
CLOSING_S: Final = 1.0
"""The same, for a client that the node is done with."""
LAST_S: Final = 10.0
"""For a client that the node is done with to take its reply, whatever it does."""
MAX_EXTRA: Final = 64 * 1024
"""Bytes behind the end of a request that are put up with; the protocol knows none."""
_log: Final = logging.getLogger("manycc.node")
_T = TypeVar("_T")


class Shared:
    """What all of a node's sessions have in common."""

    def __init__(self, budget: Budget, headers: SystemHeaders) -> None:
        self.budget = budget
        self.headers = headers
        self.counts = Counts()
        self._working = asyncio.Semaphore(2)

    async def work(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Unpack a request or pack a reply in a thread: few at a time, for the memory that takes.

        Who is cancelled waits until the thread has ended, and lets no other begin before: it cannot be stopped.
        """
        async with self._working:
            running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
            try:
                return await asyncio.shield(running)
            finally:
                while not running.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait((running,))


class Host(Protocol):
    """What a session needs of its node."""

    name: str
    store: Store
    toolchains: ToolchainService
    sandbox: Sandbox
    executor: Executor
    closing: bool
    distcc: Shared

    def job_ended(self, session: Session) -> None:
        """Its request was answered."""

    def session_ended(self, session: Session) -> None:
        """Both sides have hung up, and its job is over."""


class Session(asyncio.Protocol):
    """The protocol of a connection whose first four bytes were read and taken away."""

    def __init__(self, host: Host, peer: str) -> None:
        self._host = host
        self.peer = peer
        self._shared = host.distcc
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = distcc.RequestReader()
        self._reader.feed(distcc.PREAMBLE)
        self._job: asyncio.Task[None] | None = None
        self._version = 0
        self._late = host.closing
        self._reading = True
        self._answered = False
        self._hung_up = False
        self._at_last_look = 0
        self._extra = 0
        self._extra_at_last_look = 0
        self._leave_by = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.monotonic()
        self._what = ""
        """Compiler and source, for the log."""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._shared.counts.accepted += 1
        self._look_in(STALL_S, self._look_at_request)

    def data_received(self, data: bytes) -> None:
        if not self._reading:
            self._behind_the_end(len(data))
            return
        roomy = self._shared.budget.take(self, len(data))
        try:
            self._reader.feed(data)
        except WireError as error:
            self._version = self._reader.version
            self._shared.counts.bad_requests += 1
            self._refuse(reply.PROTOCOL, str(error))
            return
        self._version = self._reader.version
        if self._late and self._version:
            self.close("the node is closing", Reason.NODE_BUSY)
        elif self._reader.done is not None:
            self._reading = False
            self._stop_looking()
            self._behind_the_end(self._reader.extra)
            if not self._answered:
                self._job = self._loop.create_task(self._serve(self._reader.done))
                self._job.add_done_callback(self._job_over)
            self._reader = distcc.RequestReader()
        elif self._reader.received > self._shared.budget.total:
            most = self._shared.budget.total >> 20
            self._refuse(reply.BUSY, f"the request has more than {most} MiB, all that this node has for such")
        elif not roomy:
            self._wait_for_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hung_up = True
        self._stop_looking()
        if not self._answered:
            self._answered = True
            self._shared.counts.disconnects += 1
            self._log("CLI_DISCONN", "the client is gone")
        if self._job is None:
            self._shared.budget.give(self)
        self._end_job()
        self._tell_if_over()

    # -- for the node

    @property
    def jobs(self) -> int:
        """How many jobs are under way; a request that is being read counts."""
        return int(not self._answered)

    def push_state(self, frame: bytes) -> None:
        """distcc's clients hear nothing before their reply."""

    def close(self, sentence: str, reason: Reason = Reason.NODE_LOST) -> None:
        """Refuse what is not answered yet, and hang up soon; a job under way is killed."""
        if not self._answered:
            self._refuse(reply.BUSY, sentence, "OTHER")
            self._end_job()
        self._leave_by = min(self._leave_by, self._loop.time() + LAST_S)
        self._look_in(CLOSING_S, self._look_at_reply)

    # -- reading

    def _wait_for_room(self) -> None:
        assert self._transport is not None  # noqa: S101
        self._transport.pause_reading()
        self._shared.budget.room(self).add_done_callback(self._go_on)
        self._look_in(PATIENCE_S, self._give_up_waiting)

    def _go_on(self, room: asyncio.Future[None]) -> None:
        if self._reading and self._transport is not None and not room.cancelled():
            self._at_last_look = self._reader.received
            self._look_in(STALL_S, self._look_at_request)
            self._transport.resume_reading()

    def _give_up_waiting(self) -> None:
        self._refuse(reply.BUSY, "there is no memory for more requests at the moment")

    def _look_at_request(self) -> None:
        received = self._reader.received
        if received - self._at_last_look < MIN_PROGRESS:
            self._shared.counts.bad_requests += 1
            self._refuse(reply.TIMEOUT, f"the request stalled after {received} bytes", "REJ_BAD_REQ")
            return
        self._at_last_look = received
        self._look_in(STALL_S, self._look_at_request)

    def _behind_the_end(self, size: int) -> None:
        """Something came that no client of distcc's sends; or the rest of a request that was refused."""
        if size and not self._extra and not self._answered:
            _log.warning("%s sends more than one request", self.peer)
        self._extra += size
        if self._extra > MAX_EXTRA and not self._answered:
            self.close("there were bytes behind the end of the request")

    # -- running

    async def _serve(self, request: distcc.Request) -> None:
        """Run to the answer. Whatever happens, exactly one answer, or none if nobody waits for it."""
        self._what = plain(request.argv[0])
        try:
            job = await self._admit(request)
            del request
            self._shared.budget.give(self)
            source = plain(job.source)
            self._what = f"{self._what} {source}"
            done = await self._host.executor.run(job.plan, self.peer.rpartition(":")[0], _nothing_to_fetch)
            try:
                self._shared.budget.take(self, reply.size_of(done))
                await self._shared.budget.room(self)
                packed = await self._shared.work(reply.result, self._version, job, done, self._shared.budget.each)
            finally:
                close_all(done.produced)
            self._report(done, source)
            self._answer(packed)
        except (BackendRefused, WireError, StoreError, OSError) as error:
            code, sentence = reply.code_of(error)
            if code == reply.TIMEOUT:
                self._shared.counts.timeouts += 1
            else:
                self._shared.counts.refused += 1
            self._refuse(code, sentence)
        except asyncio.CancelledError:
            pass  # who cancelled it has said why
        except Exception:  # noqa: BLE001 - a fault of ours costs this job its place here, and no other's
            _log.exception("%s: %s failed", self.peer, self._what)
            self._shared.counts.others += 1
            self._refuse(reply.FAULT, "internal error, see the node's log")

    async def _admit(self, request: distcc.Request) -> Job:
        host = self._host
        jobs.check_served(request.version, host.sandbox, lzo.is_available())
        room = self._shared.budget.each
        served = await host.toolchains.named(request.argv[0])
        if request.version == distcc.PUMP:
            system = await self._shared.headers.of(served)
            return await self._shared.work(
                pump.from_files, request, served, host.store, system, self._shared.headers, room
            )
        return await self._shared.work(jobs.from_text, request, served, host.store, room)

    def _report(self, done: Result, source: str) -> None:
        compiler = self._what.partition(" ")[0]
        self._shared.counts.ended(done.exit_code, time.monotonic() - self._began, compiler, source)
        info = done.info
        how = (
            "from the cache"
            if info["cached"]
            else f"cpu {info['cpu']:.2f} s, waited {info['wait']:.2f} s, {info['rss'] >> 20} MiB"
        )
        self._log("COMPILE_ERROR" if done.exit_code else "COMPILE_OK", how, done.exit_code)

    def _end_job(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _job_over(self, _: asyncio.Task[None]) -> None:
        self._job = None
        if self._hung_up:
            self._shared.budget.give(self)
            self._tell_if_over()

    # -- answering

    def _refuse(self, code: int, sentence: str, word: str = "") -> None:
        if not self._answered:
            self._log(word or reply.WORDS.get(code, "OTHER"), plain(sentence), code)
            self._answer(reply.refusal(self._host, self._version, code, sentence))

    def _answer(self, packed: bytes) -> None:
        if self._answered or self._transport is None:
            return
        self._answered = True
        self._reading = False
        self._reader = distcc.RequestReader()  # what was read of a request that is refused is not needed any more
        self._shared.budget.give(self)
        self._shared.budget.take(self, len(packed))
        self._transport.resume_reading()
        self._transport.write(packed)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._at_last_look = len(packed)
        self._look_in(FAREWELL_S, self._look_at_reply)
        self._host.job_ended(self)

    def _look_at_reply(self) -> None:
        assert self._transport is not None  # noqa: S101
        left = self._transport.get_write_buffer_size()
        taken = self._at_last_look - left if left else 0
        sent = self._extra - self._extra_at_last_look if self._extra <= distcc.MAX_REQUEST else 0
        more_s = min(STALL_S, self._leave_by - self._loop.time())
        if max(taken, sent) >= MIN_PROGRESS and more_s > 0:
            self._at_last_look, self._extra_at_last_look = left, self._extra
            self._look_in(more_s, self._look_at_reply)
            return
        if left:
            _log.warning("%s does not take its reply", self.peer)
        self._transport.abort()

    def _tell_if_over(self) -> None:
        if self._hung_up and self._job is None:
            self._host.session_ended(self)

    def _look_in(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_looking()
        self._timer = self._loop.call_later(seconds, action)

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _log(self, word: str, how: str, code: int = 0) -> None:
        took = 1000 * (time.monotonic() - self._began)
        _log.info("%s: distcc %s exit:%d time:%.0fms %s (%s)", self.peer, word, code, took, self._what, how)


async def _nothing_to_fetch(wanted: object) -> None:
    """A request brings all there is at once."""
    raise BackendRefused(Reason.NODE_DISK, "its source was evicted from the store: the store is too small")
