"""One agent's connection: what it announced, what it asked for, what it is still owed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any, Final, Protocol

from manycc import __version__
from manycc.errors import BackendRefused, WireError
from manycc.job import Way
from manycc.node import admission, messages
from manycc.node.delivery import Deliveries
from manycc.node.distcc.counts import Counts
from manycc.node.executor import Executor, Result
from manycc.node.outputs import Produced, close_all
from manycc.node.slots import Slots
from manycc.node.text import plain
from manycc.node.toolchains import Served, ToolchainService
from manycc.node.tree import Entry
from manycc.node.uploads import ContentGone, Incoming, Uploads
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.wire import native

GREETING_TIMEOUT_S: Final = 10.0
SILENCE_S: Final = 60.0
"""For an agent, and for what it was asked to send; an agent may promise to speak more often."""
FAREWELL_S: Final = 1.0
"""How long an agent that was said goodbye may take to hang up."""
MAX_GREETING: Final = 64 * 1024
"""Bytes of the first frame, of an agent that has not said yet what it speaks."""
MAX_TOOLCHAINS: Final = 256
MAX_ANNOUNCED_BYTES: Final = 64 * 1024**2
"""Of paths and link targets, for one agent."""
MAX_NAMED: Final = 1_000_000
"""Inputs that the jobs under way of one agent may name together."""
MAX_UNSENT: Final = 64 * 1024**2
"""Bytes that may wait for an agent that does not read, besides the result that is being sent."""
INLINE: Final = 4 * 1024**2
"""Outputs up to this many bytes together go with the result itself."""
_log: Final = logging.getLogger("manycc.node")


class Host(Protocol):
    """What a session needs of its node."""

    name: str
    store: Store
    toolchains: ToolchainService
    executor: Executor
    slots: Slots
    incoming: Incoming
    counts: Counts
    closing: bool

    def greeting(self) -> dict[str, Any]:
        """What a WELCOME says."""

    def state(self) -> bytes:
        """A STATE frame of this moment."""

    def job_ended(self, session: Session) -> None:
        """A job was answered, refused or cancelled."""

    def session_ended(self, session: Session) -> None:
        """Both sides have hung up, and none of its jobs is left running."""


class Session(asyncio.Protocol):
    """The protocol of a connection whose preamble was read and taken away."""

    def __init__(self, host: Host, peer: str) -> None:
        self._host = host
        self.peer = peer
        self._loop = asyncio.get_running_loop()
        self._framer = native.Framer(MAX_GREETING)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._greeted = False
        self._closed = False
        self._hung_up = False
        self._heard = self._loop.time()
        self._silence_s = SILENCE_S
        self._entries: dict[int, Entry] = {}
        self._announced_bytes = 0
        self._toolchains: dict[int, Served | str] = {}
        self._proofs: set[int] = set()
        self._proving: set[asyncio.Task[None]] = set()
        self._asked_for: dict[int, messages.ToolchainMessage] = {}
        self._deliveries = Deliveries(self._send)
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._named = 0
        self._uploads = Uploads(host.store, host.incoming, self._ask)
        self._watch: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._host.counts.accepted += 1
        transport.set_write_buffer_limits(high=1024 * 1024)
        self._watch = self._loop.call_later(GREETING_TIMEOUT_S, self._look)

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        self._heard = self._loop.time()
        try:
            for message in self._framer.feed(data):
                self._receive(message)
                if self._closed:
                    return
        except WireError as error:
            _log.warning("%s broke the protocol: %s", self.peer, error)
            self.close(f"protocol: {error}", Reason.PROTOCOL)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hung_up = True
        self._end()
        self._tell_if_over()

    # -- life

    @property
    def jobs(self) -> int:
        """How many jobs are under way."""
        return len(self._jobs)

    def close(self, sentence: str, reason: Reason = Reason.NODE_LOST) -> None:
        """Say goodbye and hang up; all jobs are killed. ``reason``: one of ``native.GOODBYES``."""
        if not self._closed and self._transport is not None:
            self._send([native.BYE, sentence[:500], reason.code])
            self._transport.write_eof()  # and read on, for unread bytes would make the kernel take it back
            self._loop.call_later(FAREWELL_S, self._transport.abort)
        self._end()

    def push_state(self, frame: bytes) -> None:
        """Send a STATE, unless the agent has enough to read."""
        if self._greeted and not self._closed and self._transport is not None and self._writable.is_set():
            self._transport.write(frame)

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        for task in (*self._jobs.values(), *self._proving):
            task.cancel()
        self._uploads.close()
        self._writable.set()
        self._entries.clear()

    def _tell_if_over(self) -> None:
        if self._hung_up and not self._jobs:
            self._host.session_ended(self)

    def _look(self) -> None:
        """Hang up on an agent that does not greet, has fallen silent, or does not send what it was asked for."""
        left = min(
            self._silence_s - (self._loop.time() - self._heard),
            SILENCE_S - self._uploads.silence(),
            SILENCE_S - self._deliveries.silence(),
        )
        if not self._greeted:
            self.close("no greeting came in time")
        elif left <= 0:
            _log.warning("%s was silent for too long", self.peer)
            self.close("you were silent for too long")
        else:
            self._watch = self._loop.call_later(left + 0.1, self._look)

    # -- sending

    def _send(self, message: list[Any]) -> None:
        transport = self._transport
        if self._closed or transport is None:
            return
        transport.write(native.pack(message))
        if transport.get_write_buffer_size() > MAX_UNSENT:
            _log.warning("%s does not read what it asked for", self.peer)
            transport.abort()

    def _ask(self, job: int, digests: list[bytes]) -> None:
        for start in range(0, len(digests), 10_000):
            self._send([native.MISSING, job, digests[start : start + 10_000]])

    # -- receiving

    def _receive(self, message: list[Any]) -> None:
        kind = message[0]
        if not self._greeted:
            if kind != native.HELLO:
                raise WireError("the first message is not a greeting")
            self._greet(messages.parse_hello(message))
        elif kind == native.JOB:
            self._start(messages.parse_job(message))
        elif kind == native.BLOB:
            blob = messages.parse_blob(message)
            if not self._deliveries.take(blob, self._uploads.wants(blob.digest)):
                self._uploads.receive(blob)
        elif kind == native.ANNOUNCE:
            self._announce(message)
        elif kind == native.RETRACT:
            for number in messages.parse_retract(message):
                entry = self._entries.pop(number, None)
                if entry is not None:
                    self._announced_bytes -= len(entry.path) + len(entry.target)
        elif kind == native.CANCEL:
            task = self._jobs.get(messages.parse_number(message))
            if task is not None:
                task.cancel()
        elif kind == native.PING:
            self._send([native.PONG, messages.parse_number(message)])
        elif kind == native.TOOLCHAIN:
            self._prove(messages.parse_toolchain(message))
        elif kind == native.GONE:
            number = messages.parse_gone(message)[0]
            if not self._deliveries.gone(number):
                self._uploads.gone(number)
        elif kind == native.FILES:
            self._deliveries.list_came(*messages.parse_files(message))
        else:
            raise WireError(f"unknown message {kind}")

    def _greet(self, hello: messages.Hello) -> None:
        if hello.version != native.VERSION:
            sentence = f"this node speaks version {native.VERSION} of the protocol, not {hello.version}"
            self.close(sentence, Reason.PROTOCOL)
            return
        self._greeted = True
        self._silence_s = min(hello.silence, SILENCE_S)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_later(self._silence_s, self._look)
        self._framer.limit = native.MAX_FRAME
        _log.info("%s connected: %s, manycc %s", self.peer, plain(hello.name), plain(hello.release))
        greeting = self._host.greeting()
        self._send([native.WELCOME, {"version": native.VERSION, "release": __version__, **greeting}])
        self.push_state(self._host.state())

    def _announce(self, message: list[Any]) -> None:
        for item in messages.parse_announce(message, native.MAX_INPUTS - len(self._entries)):
            if item.number in self._entries:
                raise WireError("an input's number was given twice")
            self._announced_bytes += len(item.path) + len(item.target)
            self._entries[item.number] = Entry(item.kind, item.path, item.digest, item.size, item.target)
        if self._announced_bytes > MAX_ANNOUNCED_BYTES:
            raise WireError("the inputs announced have too long names altogether")

    # -- toolchains

    def _prove(self, message: messages.ToolchainMessage) -> None:
        if len(self._proofs) >= MAX_TOOLCHAINS:
            raise WireError(f"more than {MAX_TOOLCHAINS} toolchains")
        if message.number in self._proofs:
            raise WireError("a toolchain's number was given twice")
        if message.number & native.SHIPPED:
            raise WireError("a toolchain's number is out of bounds")
        self._proofs.add(message.number)
        self._begin_proof(message)

    def _begin_proof(self, message: messages.ToolchainMessage) -> None:
        task = self._loop.create_task(self._proof(message))
        self._proving.add(task)
        task.add_done_callback(self._proving.discard)

    async def _proof(self, message: messages.ToolchainMessage) -> None:
        way, sentence = "", ""
        about: dict[str, Any] = {}
        delivery = self._deliveries.begin(message.number)
        try:
            served = await self._host.toolchains.prove(message, delivery)
            self._toolchains[message.number] = served
            self._asked_for[message.number] = message
            way, about = served.way.value, served.about
        except BackendRefused as error:
            sentence = self._toolchains[message.number] = error.detail
            _log.info("%s: toolchain refused: %s", self.peer, sentence)
        except Exception:  # noqa: BLE001 - one agent's request must not end the node
            _log.exception("%s: a toolchain could not be looked for", self.peer)
            sentence = self._toolchains[message.number] = "the node failed to look for it"
        finally:
            self._deliveries.end(message.number)
        self._send([native.PROVEN, message.number, sentence, way, about])

    def _no_longer_served(self, number: int, sentence: str) -> None:
        """A toolchain that was proven cannot be used any more. One that was sent may be sent again."""
        served = self._toolchains[number]
        if isinstance(served, str):
            return  # the first of its jobs has said so
        self._toolchains[number] = sentence
        self._send([native.PROVEN, number, sentence, "", {}])
        if served.way is Way.SHIPPED:
            self._begin_proof(self._asked_for[number])

    # -- jobs

    def _start(self, message: messages.JobMessage) -> None:
        if message.id in self._jobs:
            raise WireError("a job's number was given twice")
        if self._host.closing:
            self._refuse(message.id, Reason.NODE_BUSY, "the node is closing")
            return
        if self._too_many_jobs() or self._named + len(message.numbers) > MAX_NAMED:
            self._refuse(message.id, Reason.NODE_BUSY, "too many of your jobs wait already")
            return
        try:
            entries = [self._entries[number] for number in message.numbers]
        except KeyError as error:
            raise WireError("a job names an input that was not announced") from error
        task = self._loop.create_task(self._job(message, entries))
        self._jobs[message.id] = task
        named = len(entries)
        self._named += named
        task.add_done_callback(lambda _: self._job_over(message.id, named))

    def _too_many_jobs(self) -> bool:
        """Waiting for inputs is not yet waiting for a slot; both together are bounded here."""
        bound = 5 * self._host.slots.count + 16
        if len(self._jobs) < bound:
            return False
        # Those that were cancelled are on their way out; but they must not pile up either.
        alive = sum(not task.cancelling() for task in self._jobs.values())
        return alive >= bound or len(self._jobs) >= 4 * bound

    def _job_over(self, number: int, named: int) -> None:
        del self._jobs[number]
        self._named -= named
        if self._closed:
            self._tell_if_over()
        else:
            self._host.job_ended(self)

    async def _job(self, message: messages.JobMessage, entries: list[Entry]) -> None:
        """Run to the answer; whatever happens, exactly one answer, or none if nobody waits for it."""
        source = message.argv[-1]
        began = time.monotonic()
        try:
            served = self._toolchains.get(message.toolchain, "it was not proven yet")
            if isinstance(served, str):
                raise BackendRefused(Reason.NO_TOOLCHAIN, served)
            plan = admission.admit(message, served, entries)
            source = plan.source
            try:
                result = await self._fetch_and_run(message.id, plan)
            except BackendRefused as error:
                if error.reason is Reason.NO_TOOLCHAIN:
                    self._no_longer_served(message.toolchain, error.detail)
                raise
            took = time.monotonic() - began
            result.info["took"] = took
            self._host.counts.ended(result.exit_code, took, message.argv[0], source)
            _log_job(self.peer, source, result, took)
            await self._answer(message.id, result)
        except BackendRefused as error:
            self._host.counts.refused += 1
            _log.info("%s: %s refused: %s", self.peer, plain(source), error)
            self._refuse(message.id, error.reason, error.detail)
        except asyncio.CancelledError:
            _log.info("%s: %s cancelled after %.2f s", self.peer, plain(source), time.monotonic() - began)
        except Exception:  # noqa: BLE001 - a fault of ours costs this job its place here, and no other's
            _log.exception("%s: %s failed", self.peer, plain(source))
            self._refuse(message.id, Reason.NODE_FAULT, "internal error, see the node's log")

    async def _fetch_and_run(self, number: int, plan: admission.Plan) -> Result:
        async def fetch(wanted: Iterable[tuple[bytes, int]]) -> None:
            lacking = dict(wanted)
            # An upload that another job asked for may end with that job; then it is asked for again.
            for _ in range(3):
                try:
                    await self._uploads.fetch(number, lacking.items())
                    return
                except ContentGone:
                    still = self._host.store.missing(lacking)
                    lacking = {digest: lacking[digest] for digest in still}
            raise BackendRefused(Reason.INPUTS_CHANGED, "an input was changed before it could be sent")

        return await self._host.executor.run(plan, self, fetch)

    async def _answer(self, number: int, result: Result) -> None:
        """Send the outputs, in pieces where they are large, and the result."""
        try:
            room = INLINE
            listed: list[list[Any]] = []
            for index, one in enumerate(result.produced):
                zdata: bytes | None = None
                if one.data is not None and one.size <= room:
                    zdata = native.compress(one.data)
                    room -= one.size
                else:
                    await self._send_pieces(number, index, one)
                listed.append([one.path, one.mode, one.size, one.digest, zdata])
            texts = [native.compress(text) if text else b"" for text in (result.stdout, result.stderr)]
            self._send([native.RESULT, number, result.exit_code, *texts, listed, result.info])
        finally:
            close_all(result.produced)

    async def _send_pieces(self, number: int, index: int, one: Produced) -> None:
        sent = 0
        while sent < one.size:
            if one.file is not None:
                piece = one.file.read(native.MAX_PIECE)
                if not piece:
                    raise BackendRefused(Reason.NODE_FAULT, f"{one.path} became shorter while it was sent")
            else:
                piece = (one.data or b"")[sent : sent + native.MAX_PIECE]
            sent += len(piece)
            self._send([native.OUTPUT, number, index, native.compress(piece)])
            await self._writable.wait()
            if self._closed:
                return

    def _refuse(self, number: int, reason: Reason, sentence: str) -> None:
        self._send([native.REFUSED, number, reason.code, sentence[:2000]])


def _log_job(peer: str, source: str, result: Result, took: float) -> None:
    info = result.info
    if info["cached"]:
        _log.info("%s: %s cached, %.3f s", peer, plain(source), took)
        return
    _log.info(
        "%s: %s exit %d, %.2f s, cpu %.2f s, waited %.2f s, %d MiB",
        peer,
        plain(source),
        result.exit_code,
        took,
        info["cpu"],
        info["wait"],
        info["rss"] >> 20,
    )
