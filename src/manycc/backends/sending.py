"""Sending toolchains to a node that has no such compiler: all of a connection's, one file after the other.

They are tens of megabytes, and jobs go over the same line meanwhile: so little is under way at any time. After each
piece the node is asked for a sign of life, and when it has answered, it has taken the piece. Files are
read, hashed and compressed in threads.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from manycc.errors import BackendError, WireError
from manycc.job import Toolchain, ToolFile
from manycc.wire import native

PIECE: Final = 256 * 1024
WINDOW: Final = 512 * 1024
"""Bytes on the wire that the node has not confirmed: what a job's message waits for at most."""
CONFIRM_S: Final = 120.0
"""How long the node may take to confirm a piece."""
REPORT_S: Final = 10.0
"""How often the log tells how far it is."""
MAX_ASKED: Final = 16
"""How often a node may ask for one toolchain."""
log = logging.getLogger(__name__)

Send = Callable[[list[Any]], None]


@dataclass(slots=True)
class Transfer:
    """A toolchain on its way to a node. Bytes: ``total`` of what the node lacks, ``sent`` of that, ``wire`` as sent."""

    number: int
    toolchain: Toolchain
    began: float = field(default_factory=time.monotonic)
    total: int = 0
    sent: int = 0
    wire: int = 0
    asked: int = 0
    over: bool = False

    def shown(self) -> str:
        """How far it is, in words."""
        if not self.total:
            return "its compiler is about to be sent there"
        if self.sent >= self.total:
            return f"its compiler was sent there ({_mib(self.total)}), and is being tried"
        return f"its compiler is being sent there: {self.sent >> 20} of {_mib(self.total)}"


class Sending:
    """What one connection's node wants to have sent. ``send`` raises BackendGone once it is closed."""

    def __init__(self, name: str, send: Send, failed: Callable[[str], None]) -> None:
        """``failed(why)`` ends the connection: what was begun cannot be gone on with."""
        self._name = name
        self._send = send
        self._failed = failed
        self._transfers: dict[int, Transfer] = {}
        self._queue: deque[tuple[Transfer, bytes, int]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._unconfirmed: deque[int] = deque()  # bytes of each piece under way
        self._confirmed = asyncio.Event()
        self._last_number = 0
        self._times: dict[int, int] = {}
        self._closed = False

    def transfer(self, number: int) -> Transfer | None:
        """What is under way of a toolchain, by its number."""
        return self._transfers.get(number)

    def wanted(self, number: int, toolchain: Toolchain) -> None:
        """The node would serve the toolchain if it is sent: list its files."""
        self._times[number] = self._times.get(number, 0) + 1
        if self._times[number] > MAX_ASKED:
            raise WireError("a toolchain was asked for again and again")
        self._transfers[number] = Transfer(number, toolchain)
        self._send([native.FILES, number, [[file.path, file.digest, file.size] for file in toolchain.files]])

    def missing(self, number: int, digests: list[bytes], offsets: list[int]) -> None:
        """The node lacks these files, from these offsets on. Raises WireError if they are none of that toolchain."""
        transfer = self._transfers.get(number)
        if transfer is None:
            raise WireError("files were asked for of a toolchain that nobody wants")
        sizes = {file.digest: file.size for file in transfer.toolchain.files}
        offsets = offsets or [0] * len(digests)
        if len(digests) != len(offsets) or len(set(digests)) != len(digests) or not sizes.keys() >= set(digests):
            raise WireError("files were asked for that are none of the toolchain")
        if any(type(offset) is not int or not 0 <= offset <= sizes[digest]
               for digest, offset in zip(digests, offsets, strict=True)):  # fmt: skip
            raise WireError("a file was asked for from beyond its end on")
        transfer.asked += 1
        if transfer.asked > MAX_ASKED + len(sizes):
            raise WireError("a toolchain's files were asked for too often")
        lacking = sum(sizes[digest] - offset for digest, offset in zip(digests, offsets, strict=True))
        transfer.total += lacking
        log.info(
            "%s: sending it %s: %d of its %d files, %s of %s",
            self._name, transfer.toolchain.label, len(digests), len(transfer.toolchain.files), _mib(lacking),
            _mib(sum(sizes.values())),
        )  # fmt: skip
        self._queue += [(transfer, digest, offset) for digest, offset in zip(digests, offsets, strict=True)]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
            self._task.add_done_callback(self._worked)

    def proven(self, number: int, sentence: str) -> None:
        """The node has decided about a toolchain: whatever is left to send is not wanted any more."""
        transfer = self._transfers.pop(number, None)
        if transfer is None:
            return
        transfer.over = True
        took = time.monotonic() - transfer.began
        if sentence:
            log.info("%s: does not take %s: %s", self._name, transfer.toolchain.label, sentence)
        else:
            log.info(
                "%s: serves %s, which was sent there in %.1f s: %s, %s on the wire",
                self._name, transfer.toolchain.label, took, _mib(transfer.sent), _mib(transfer.wire),
            )  # fmt: skip

    def confirmed(self, number: int) -> None:
        """The node has answered a PING: it has taken all that was sent before."""
        while self._unconfirmed and self._last_number - len(self._unconfirmed) < number:
            self._unconfirmed.popleft()
        self._confirmed.set()

    def close(self) -> None:
        """The connection is closed. What a thread is at, it brings to an end."""
        self._closed = True
        self._confirmed.set()
        self._transfers.clear()
        self._queue.clear()

    def _worked(self, task: asyncio.Task[None]) -> None:
        if self._task is task:  # and not one that was begun in the moment in which it ended
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, BackendError):
            why = "the node does not take it" if isinstance(error, TimeoutError) else str(error)
            self._failed(f"a toolchain could not be sent: {why}")

    async def _work(self) -> None:
        while self._queue:
            transfer, digest, offset = self._queue.popleft()
            if transfer.over:
                continue
            file = next(file for file in transfer.toolchain.files if file.digest == digest)
            if not await self._send_file(transfer, file, offset):
                log.warning("%s: %s was changed before it could be sent", self._name, file.path)
                self._send([native.GONE, native.SHIPPED | transfer.number, digest])

    async def _send_file(self, transfer: Transfer, file: ToolFile, offset: int) -> bool:
        """Whether it is still what it was when the compiler was identified."""
        loop = asyncio.get_running_loop()
        fd = await loop.run_in_executor(None, _open, file)
        if fd < 0:
            return False
        reported = time.monotonic()
        try:
            while not transfer.over:
                raw, zdata = await loop.run_in_executor(None, _read, fd, offset)
                if offset + raw > file.size or (not raw and offset < file.size):
                    return False
                self._send([native.BLOB, file.digest, file.size, offset, zdata])
                await self._pace(len(zdata))
                offset += raw
                transfer.sent += raw
                transfer.wire += len(zdata)
                if offset == file.size:
                    break
                if time.monotonic() - reported > REPORT_S:
                    reported = time.monotonic()
                    log.info("%s: %s: %s", self._name, transfer.toolchain.label, transfer.shown())
        finally:
            os.close(fd)
        return True

    async def _pace(self, size: int) -> None:
        """Wait until the node has taken most of what was sent."""
        self._last_number += 1
        self._unconfirmed.append(size)
        self._send([native.PING, self._last_number])
        async with asyncio.timeout(CONFIRM_S):
            while sum(self._unconfirmed) > WINDOW and not self._closed:
                self._confirmed.clear()
                await self._confirmed.wait()


def _open(file: ToolFile) -> int:
    """A toolchain's file, open; -1 if it is not any more what it was."""
    try:
        fd = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            running = hashlib.sha256()
            place = 0
            while piece := os.pread(fd, 4 * PIECE, place):
                running.update(piece)
                place += len(piece)
            if running.digest() == file.digest:
                return fd
    except OSError:
        pass
    os.close(fd)
    return -1


def _read(fd: int, offset: int) -> tuple[int, bytes]:
    """The next piece: its length, and how it is sent. Raises OSError."""
    piece = os.pread(fd, PIECE, offset)
    return len(piece), native.compress(piece)


def _mib(size: int) -> str:
    return f"{(size + (1 << 19)) >> 20} MiB"
