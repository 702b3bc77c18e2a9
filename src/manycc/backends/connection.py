"""The agent's end of one native connection: frames in and out, numbering, uploads.

A connection is used by one ``NodeBackend`` and thrown away when it breaks; everything that was
announced on it dies with it. All methods run in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from manycc.backends.line import Line, look
from manycc.backends.sending import Sending
from manycc.errors import BackendGone, InputsChanged, WireError
from manycc.job import FILE, LINK, Input, Job, Repair
from manycc.reasons import BY_CODE, Reason
from manycc.wire import native

MAX_UPLOADS: Final = 10_000
"""Requests for contents that wait to be served."""
_MOST_NUMBERS: Final = 1_000
"""Inputs that have a number, before those that no job needs any more are looked for."""
MAX_ASKED: Final = 16
"""How often a job's contents may be asked for: they can be evicted before they are used, but not for ever."""


class Pieces:
    """A large output that comes before its job's result, hashed as it comes."""

    __slots__ = ("data", "hashed")

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.hashed = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self.data.append(piece)
        self.hashed.update(piece)


class Pending:
    """A job on its way: its future, its output pieces, its bytes."""

    __slots__ = ("allowed", "future", "items", "pieces", "received", "sent", "size")

    def __init__(self, future: asyncio.Future[list[Any]], items: Sequence[Input]) -> None:
        self.future = future
        self.items = items
        self.allowed = MAX_ASKED * len(items)  # contents it may still ask for
        self.pieces: dict[int, Pieces] = {}
        self.size = 0
        self.sent = 0
        self.received = 0


class Connection(asyncio.Protocol):
    """One connection to a node, after ``connection_made`` has sent the greeting."""

    def __init__(
        self,
        greeting: dict[str, Any],
        silence_s: float,
        on_state: Callable[[dict[str, Any]], None],
        on_proven: Callable[[int, str, str, dict[str, Any]], None],
        on_lost: Callable[[Connection, str], None],
        on_wanted: Callable[[int], None] | None = None,
        name: str = "",
    ) -> None:
        """``on_wanted(number)``: the node would serve a toolchain if that were sent. ``name`` is for the log."""
        self._greeting = greeting
        self._silence_s = silence_s
        self._on_state = on_state
        self._on_proven = on_proven
        self._on_lost = on_lost
        self._on_wanted = on_wanted or (lambda number: None)
        self.sending = Sending(name, self.send, self.abort)
        """The toolchains that this node is sent."""
        self._framer = native.Framer()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._jobs: dict[int, Pending] = {}
        self._next_job = 1
        self._numbers: dict[Input, int] = {}
        self._by_digest: dict[bytes, Input] = {}
        self._next_number = 1
        self._most_numbers = _MOST_NUMBERS
        self._retracted: list[int] = []
        self._outdated: set[bytes] = set()  # contents that jobs under way may have named, and that are no more
        self._uploads: set[asyncio.Task[None]] = set()
        self._uploading = asyncio.Lock()
        self._heard = self._loop.time()
        self.closed = ""
        """Why it is closed; empty while it is open."""
        self.reason = Reason.NODE_LOST
        """What that means for its jobs, once it is closed."""
        self.hung_up = False
        """Whether the other side closed it instead of greeting: it may speak another protocol."""
        self.welcome: asyncio.Future[dict[str, Any]] = self._loop.create_future()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        transport.set_write_buffer_limits(high=4 * 1024 * 1024)
        transport.write(native.PREAMBLE + native.pack([native.HELLO, {**self._greeting, "silence": self._silence_s}]))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        framer = self._framer
        try:
            for message in framer.feed(data):
                self._receive(message, framer.length)
        except (WireError, ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            # A peer's malformed message shows as any of these; it is cut off, never trusted further.
            self.abort(f"the peer broke the protocol: {error}", Reason.PROTOCOL)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.welcome.done():
            self.hung_up = not self.closed
            self.abort("it hung up without a greeting: it is of another version, or does not let this machine in")
        else:
            self.abort(f"the connection broke: {exc}" if exc else "the node closed the connection")

    # -- life

    def abort(self, why: str, reason: Reason = Reason.NODE_LOST) -> None:
        """Close at once; every job under way raises BackendGone with that reason."""
        if self.closed:
            return
        self.closed = why
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()
        self.sending.close()
        for upload in self._uploads:
            upload.cancel()
        for pending in self._jobs.values():
            if not pending.future.done():
                pending.future.set_exception(BackendGone(reason, why))
        self._jobs.clear()
        if not self.welcome.done():
            self.welcome.set_exception(BackendGone(reason, why))
            self.welcome.exception()
        self._writable.set()
        self._on_lost(self, why)

    def check_alive(self) -> None:
        """Abort if the node has been silent for too long; else ask for a sign of life."""
        if self.closed or self._transport is None:
            return
        if self._loop.time() - self._heard > self._silence_s:
            self.abort(f"the node was silent for {self._silence_s:g} s")
        else:
            self._transport.write(native.pack([native.PING, 0]))

    def line(self) -> Line | None:
        """How the line to the node is now; None if nothing is known."""
        return look(self._transport) if self._transport is not None and not self.closed else None

    # -- sending

    def send(self, message: list[Any]) -> None:
        """Queue one message. Raises BackendGone on a closed connection."""
        if self.closed or self._transport is None:
            raise BackendGone(self.reason, self.closed)
        self._transport.write(native.pack(message))

    def retire(self, item: Input) -> None:
        """An input's content changed: the node may forget its number."""
        number = self._numbers.pop(item, None)
        if number is not None:
            self._retracted.append(number)
            self._outdated.add(item.digest)
            if self._by_digest.get(item.digest) is item:
                del self._by_digest[item.digest]

    def start(self, job: Job, toolchain: int, expected_rss: int, repair: Repair | None = None) -> tuple[int, Pending]:
        """Send a job with whatever announcements it needs, in one write."""
        if self.closed or self._transport is None:
            raise BackendGone(self.reason, self.closed)
        numbers = self._numbers
        frames = b""
        try:
            wanted = [numbers[item] for item in job.inputs.items]
        except KeyError:
            if len(numbers) > self._most_numbers:
                self._take_back(job.inputs.items)
            frames = self._announce(job.inputs.items)
            wanted = [numbers[item] for item in job.inputs.items]
        if self._retracted:
            taken = range(0, len(self._retracted), native.MAX_INPUTS)
            # First, as the node has room for so many.
            frames = (
                b"".join([native.pack([native.RETRACT, self._retracted[at : at + native.MAX_INPUTS]]) for at in taken])
                + frames
            )
            self._retracted = []
        number = self._next_job
        self._next_job += 1
        flags = native.FLAG_CACHE if job.cacheable else 0
        flags |= native.FLAG_TERMINAL if job.terminal else 0
        frames += native.pack(
            [
                native.JOB,
                number,
                toolchain,
                job.argv,
                job.cwd,
                job.env,
                job.umask,
                array("I", wanted).tobytes(),
                job.folders,
                job.outputs,
                job.stems,
                flags,
                expected_rss,
                repair,
            ]
        )
        pending = Pending(self._loop.create_future(), job.inputs.items)
        pending.sent = len(frames)
        self._jobs[number] = pending
        self._transport.write(frames)
        return number, pending

    def _take_back(self, items: Iterable[Input]) -> None:
        """Forget the numbers that neither a job under way nor ``items``, the next one's, name.

        Each source has one, and nothing says that it is the last.
        """
        named = {item for pending in self._jobs.values() for item in pending.items}
        named.update(items)
        for item in [item for item in self._numbers if item not in named]:
            self._retracted.append(self._numbers.pop(item))
            if self._by_digest.get(item.digest) is item:
                del self._by_digest[item.digest]
        self._most_numbers = max(_MOST_NUMBERS, 2 * len(self._numbers))

    def _announce(self, items: Iterable[Input]) -> bytes:
        fresh: list[list[Any]] = []
        for item in items:
            if item in self._numbers:
                continue
            number = self._next_number
            self._next_number += 1
            self._numbers[item] = number
            if item.kind == FILE:
                fresh.append([number, FILE, item.path, item.digest, item.size])
                self._by_digest[item.digest] = item
            else:
                fresh.append([number, item.kind, item.path, item.target if item.kind == LINK else "", 0])
        return native.pack([native.ANNOUNCE, fresh])

    def finish(self, number: int) -> None:
        """Forget a job (answered, failed or cancelled); tell the node if it may still be at it."""
        pending = self._jobs.pop(number, None)
        if pending is not None and not self.closed and self._transport is not None:
            self._transport.write(native.pack([native.CANCEL, number]))
        if not self._jobs:
            self._outdated.clear()

    # -- receiving

    def _receive(self, message: list[Any], length: int) -> None:
        kind = message[0]
        if kind == native.RESULT or kind == native.REFUSED:
            pending = self._pending(message[1])
            if pending is not None and not pending.future.done():
                del self._jobs[message[1]]
                pending.received += length
                pending.future.set_result(message)
        elif kind == native.STATE:
            self._on_state(_mapping(message[1]))
        elif kind == native.OUTPUT:
            self._piece(message, length)
        elif kind == native.MISSING and message[1] & native.SHIPPED:
            self.sending.missing(message[1] ^ native.SHIPPED, list(message[2]), list(message[3]))
        elif kind == native.MISSING:
            self._asked(message[1], list(message[2]))
        elif kind == native.WANTED:
            self._on_wanted(int(message[1]))
        elif kind == native.PROVEN:
            self._on_proven(int(message[1]), str(message[2])[:2000], str(message[3]), _mapping(message[4]))
        elif kind == native.WELCOME:
            if not self.welcome.done():
                self.welcome.set_result(_mapping(message[1]))
        elif kind == native.BYE:
            self.abort(f"the node hung up: {str(message[1])[:500]}", _why_gone(message))
        elif kind == native.PONG:
            self.sending.confirmed(int(message[1]))
        else:
            raise WireError(f"unknown message {kind}")

    def _pending(self, number: int) -> Pending | None:
        """The job of that number; None if it is over. Raises WireError if there never was one."""
        pending = self._jobs.get(number)
        if pending is None and not 0 < number < self._next_job:
            raise WireError("an answer to what was never asked")
        return pending

    def _asked(self, number: int, digests: list[bytes]) -> None:
        pending = self._pending(number)
        if pending is not None:  # of one that is over, others may need the contents
            pending.allowed -= len(digests)
        if len(self._uploads) >= MAX_UPLOADS or (pending is not None and pending.allowed < 0):
            raise WireError("contents asked for too often")
        upload = self._loop.create_task(self._upload(number, digests))
        self._uploads.add(upload)
        upload.add_done_callback(self._uploaded)

    def _piece(self, message: list[Any], length: int) -> None:
        _, number, index, zdata = message
        pending = self._pending(number)
        if pending is None:
            return
        piece = native.decompress(zdata, native.MAX_PIECE)
        pending.received += length
        pending.size += len(piece)
        if not piece or pending.size > native.MAX_FILE or not 0 <= index < native.MAX_OUTPUTS:
            raise WireError("outputs larger than allowed, or in empty pieces")
        pending.pieces.setdefault(index, Pieces()).add(piece)

    def _uploaded(self, task: asyncio.Task[None]) -> None:
        self._uploads.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, WireError):
                self.abort(f"the peer broke the protocol: {error}", Reason.PROTOCOL)
            else:
                self.abort(f"an upload failed: {error}")

    async def _upload(self, number: int, digests: list[bytes]) -> None:
        """Send the contents a job lacks. A file that is no longer what was announced ends its job."""
        async with self._uploading:  # one at a time, so that no more than one file is held
            await self._send_contents(number, digests)

    async def _send_contents(self, number: int, digests: list[bytes]) -> None:
        for digest in digests:
            item = self._announced(digest)
            if item is None and digest not in self._outdated and number in self._jobs:
                raise WireError("a content was asked for that no job named")
            data = await self._contents(item, digest) if item is not None else None
            if self.closed or self._transport is None:
                return
            if data is None:
                self.send([native.GONE, number, digest])
                pending = self._jobs.pop(number, None)
                if pending is not None and not pending.future.done():
                    path = item.path if item is not None else digest.hex()
                    pending.future.set_exception(InputsChanged(Reason.INPUTS_CHANGED, path))
                return
            total = len(data)
            sent = 0
            for offset in range(0, total, native.MAX_PIECE) if total else (0,):
                if number not in self._jobs:  # it was cancelled: who needs that as well asks for it again
                    self.send([native.GONE, number, digest])
                    return
                zdata = native.compress(data[offset : offset + native.MAX_PIECE])
                self.send([native.BLOB, digest, total, offset, zdata])
                sent += len(zdata) + 60
                await self._writable.wait()
                if self.closed:
                    return
            pending = self._jobs.get(number)
            if pending is not None:
                pending.sent += sent

    def _announced(self, digest: bytes) -> Input | None:
        """An input with that content: if the one noted was retired, another may have the same."""
        return self._by_digest.get(digest) or next((item for item in self._numbers if item.digest == digest), None)

    async def _contents(self, item: Input, digest: bytes) -> bytes | None:
        def read() -> bytes | None:
            try:
                with open(item.path, "rb", opener=_without_waiting) as file:
                    data = file.read(item.size + 1) or b""
            except OSError:
                return None
            return data if hashlib.sha256(data).digest() == digest else None

        if item.size < 256 * 1024:
            return read()
        return await self._loop.run_in_executor(None, read)


def _without_waiting(path: str, flags: int) -> int:
    """Open what may have become a pipe since it was announced."""
    return os.open(path, flags | os.O_NONBLOCK)


def _why_gone(goodbye: list[Any]) -> Reason:
    code = goodbye[2] if len(goodbye) > 2 else ""
    return BY_CODE[code] if isinstance(code, str) and code in native.GOODBYES else Reason.NODE_LOST


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > 64:
        raise WireError("expected a small map")
    return value
