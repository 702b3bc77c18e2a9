"""Contents too large for a batch: the ByteStream service, both ways, going on after a line that broke.

For the client, and for workers: both send files that are hashed on the way.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from typing import Any, Final

import zstandard

from manycc.engine.channel import CallFailed, Channel, passing
from manycc.errors import BackendError, BackendGone, InputsChanged
from manycc.reapi.bytestream_pb2 import QueryWriteStatusRequest, ReadRequest, WriteRequest
from manycc.reasons import Reason

PIECE: Final = 1024 * 1024
PAUSES_S: Final = (0.5, 2.0)
"""Before a stream that broke is taken up again."""
STATUS_S: Final = 10.0
LEAST_S: Final = 60.0
SLOWEST: Final = 256 * 1024
"""Bytes a second of the slowest line that a stream waits for."""


class Streams:
    """Large contents of one engine."""

    def __init__(self, channel: Channel, instance: str) -> None:
        self._channel = channel
        self._prefix = f"{instance}/" if instance else ""

    async def write(self, digest: bytes, size: int, data: bytes | None, path: str, compress: bool) -> int:
        """Send one; the bytes sent. Raises BackendError, InputsChanged.

        What is sent plain goes on where the engine says it stopped; what is compressed is begun anew. Everything is
        read again from the start each time, and checked.
        """
        kind = "compressed-blobs/zstd" if compress else "blobs"
        name = ""
        sources: list[_Source] = []
        limit_s = LEAST_S + size / SLOWEST
        for pause in (*PAUSES_S, None):
            try:
                offset = await self._committed(name, size) if name and not compress else 0
                if not name or compress:
                    name = f"{self._prefix}uploads/{uuid.uuid4()}/{kind}/{digest.hex()}/{size}"

                def requests(name: str = name, offset: int = offset) -> AsyncIterator[WriteRequest]:
                    sources.append(_Source(digest, size, data, path))
                    return sources[-1].compressed(name) if compress else sources[-1].plain(name, offset)

                answer = await self._channel.send(self._channel.bytes.Write, requests, limit_s)
            except BackendError as error:
                if sources:
                    sources[-1].raise_if_changed()
                if pause is None or not passing(error):
                    raise
                await asyncio.sleep(pause)
                continue
            sources[-1].raise_if_changed()
            if answer.committed_size not in ((size, -1, sources[-1].sent) if compress else (size,)):
                raise BackendError(Reason.NODE_FAULT, "the engine took only part of a content")
            return sum(source.sent for source in sources)
        raise AssertionError("not reached")

    async def _committed(self, name: str, size: int) -> int:
        """How much of an upload that broke off the engine has. Raises BackendGone."""
        try:
            request = QueryWriteStatusRequest(resource_name=name)
            answer = await self._channel.call(self._channel.bytes.QueryWriteStatus, request, STATUS_S)
        except CallFailed:
            return 0
        return min(max(int(answer.committed_size), 0), size)

    async def read(self, name: str, size: int, compressed: bool) -> tuple[bytes, int]:
        """Fetch one, and the bytes received. Raises BackendError."""
        kind = "compressed-blobs/zstd" if compressed else "blobs"
        resource = f"{self._prefix}{kind}/{name}/{size}"
        most = size + size // 64 + PIECE if compressed else size  # what cannot be compressed grows a little
        taken = bytearray()
        received = 0
        for pause in (*PAUSES_S, None):
            if compressed:
                taken.clear()  # offsets are those of the content, not of what is on the wire
            request = ReadRequest(resource_name=resource, read_offset=len(taken))
            try:
                async for answer in self._channel.stream(self._channel.bytes.Read, request, LEAST_S + size / SLOWEST):
                    received += len(answer.data)
                    taken += answer.data
                    if len(taken) > most:
                        raise BackendGone(Reason.PROTOCOL, "the engine sent more of a content than it has")
            except BackendError as error:
                if pause is None or not passing(error):
                    raise
                await asyncio.sleep(pause)
                continue
            break
        data = await asyncio.to_thread(expand, taken, size) if compressed else bytes(taken)
        if len(data) != size:
            raise BackendGone(Reason.PROTOCOL, "the engine sent less of a content than it said")
        return data, received


def expand(data: bytes | bytearray, size: int) -> bytes:
    """What was compressed, in one frame or several; at most a byte more than ``size``. Raises BackendGone."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            return bytes(reader.read(size + 1))
    except zstandard.ZstdError as error:
        raise BackendGone(Reason.PROTOCOL, f"the engine sent what cannot be expanded: {error}") from error


class _Source:
    """A content as requests of a stream. Its file is hashed while it is read; the end is only sent if all is right."""

    def __init__(self, digest: bytes, size: int, data: bytes | None, path: str) -> None:
        self._digest = digest
        self._size = size
        self._data = data
        self._path = path
        self._changed = False
        self.sent = 0

    def raise_if_changed(self) -> None:
        """Raises InputsChanged if the file was not any more what it was."""
        if self._changed:
            raise InputsChanged(Reason.INPUTS_CHANGED, self._path)

    async def plain(self, name: str, offset: int) -> AsyncIterator[WriteRequest]:
        place = 0
        async for piece, last in self._pieces():
            start, place = place, place + len(piece)
            if place <= offset and not last:
                continue
            piece = piece[max(offset - start, 0) :]
            at = max(start, offset)
            self.sent += len(piece)
            yield WriteRequest(resource_name=name, write_offset=at, data=piece, finish_write=last)

    async def compressed(self, name: str) -> AsyncIterator[WriteRequest]:
        packer = zstandard.ZstdCompressor(level=3).compressobj(size=self._size)
        loop = asyncio.get_running_loop()
        async for piece, last in self._pieces():
            data = await loop.run_in_executor(None, packer.compress, piece)
            if last:
                data += packer.flush()
            if data or last:
                self.sent += len(data)
                yield WriteRequest(resource_name=name, write_offset=self.sent - len(data), data=data, finish_write=last)

    async def _pieces(self) -> AsyncIterator[tuple[bytes, bool]]:
        """The content in pieces, and whether each is the last. Ends early if the file has changed."""
        if self._data is not None:
            for start in range(0, max(len(self._data), 1), PIECE):
                yield self._data[start : start + PIECE], start + PIECE >= len(self._data)
            return
        running = hashlib.sha256()
        place = 0
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._changed = True
            return
        try:
            while True:
                reading = asyncio.ensure_future(asyncio.to_thread(_next, fd, running))
                try:
                    piece = await asyncio.shield(reading)
                finally:
                    if not reading.done():  # the file must not be closed under it: its number may be another's then
                        await asyncio.wait([reading])
                place += len(piece)
                last = place >= self._size
                if not piece or place > self._size or (last and running.digest() != self._digest):
                    self._changed = True
                    return
                yield piece, last
                if last:
                    return
        finally:
            os.close(fd)


def _next(fd: int, running: Any) -> bytes:
    try:
        piece = os.read(fd, PIECE)
    except OSError:
        return b""
    running.update(piece)
    return piece
