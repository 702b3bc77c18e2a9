"""An engine's contents, as a worker reads and writes them: nothing is believed before it was hashed.

Whatever an engine sends is bounded before it is asked for: sizes are those of the digests, which the job named.
An engine that is away for a moment is waited for: what a lost job costs is more.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, ParamSpec, TypeVar

from google.rpc import code_pb2

from manycc.engine.channel import CallFailed, Channel
from manycc.engine.streams import Streams
from manycc.errors import BackendError, BackendGone, BackendRefused, DigestMismatch, InputsChanged, StoreError
from manycc.node.outputs import Produced
from manycc.node.text import plain
from manycc.reapi import bytestream_pb2, remote_execution_pb2
from manycc.reasons import Reason
from manycc.store.store import Store

BATCH_BYTES: Final = 3 * 1024**2
"""Of contents in one message: what every server takes (4 MiB, with what goes around them)."""
BATCH_COUNT: Final = 4000
CALL_S: Final = 60.0
"""For one call, and for a stream besides the time that its bytes take."""
SLOWEST: Final = 256 * 1024
"""Bytes a second."""
MAX_SMALL: Final = 4 * 1024**2
"""Of one content that is read into memory, where it takes up to thirty times as much as a message: a command, or a
folder's listing with some 40,000 files."""
PATIENCE_S: Final = 120.0
"""How long an engine is waited for that was there when it gave out the job."""
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 5.0
_FINAL: Final = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED")
"""Errors that would be the same the next time."""

_re = remote_execution_pb2
_P = ParamSpec("_P")
_T = TypeVar("_T")


class Named(NamedTuple):
    """A content by its digest and its size in bytes."""

    digest: bytes
    size: int

    def message(self) -> _re.Digest:
        """As the API has it."""
        return _re.Digest(hash=self.digest.hex(), size_bytes=self.size)


class ContentsMissing(Exception):
    """The engine does not have these contents."""

    def __init__(self, missing: Sequence[Named]) -> None:
        super().__init__(f"{len(missing)} contents are missing")
        self.missing = list(missing)


def named(digest: _re.Digest) -> Named:
    """Read a digest. Raises BackendRefused(PROTOCOL) if it is none of SHA-256."""
    try:
        raw = bytes.fromhex(digest.hash)
    except ValueError:
        raw = b""
    if len(raw) != 32 or digest.size_bytes < 0:
        raise BackendRefused(Reason.PROTOCOL, "a digest is not one of SHA-256")
    return Named(raw, digest.size_bytes)


def name_of(data: bytes) -> Named:
    """The name of some bytes."""
    return Named(hashlib.sha256(data).digest(), len(data))


class Contents:
    """The contents of one instance of an engine. For one event loop."""

    def __init__(self, channel: Channel, instance: str) -> None:
        self._instance = instance
        self.use(channel)
        self._coming: dict[bytes, asyncio.Future[None]] = {}
        self._pending = 0

    def use(self, channel: Channel) -> None:
        """Go by another channel from now on; what is under way on the one before is begun anew when that closes."""
        self._channel = channel
        self._streams = Streams(channel, self._instance)

    # -- reading

    async def read(self, wanted: Iterable[Named]) -> dict[bytes, bytes]:
        """Small contents, by digest. Raises ContentsMissing, BackendError."""
        got: dict[bytes, bytes] = {}
        large: list[Named] = []
        for batch in _batches(wanted, large):
            got |= await _patiently(self._batch, batch)
        for one in large:
            if one.size > MAX_SMALL:
                raise BackendRefused(Reason.PROTOCOL, f"a content of {one.size} bytes where a small one is due")
            got[one.digest] = await _patiently(self._whole, one)
        return got

    async def fetch(self, wanted: Iterable[tuple[bytes, int]], store: Store) -> None:
        """Bring contents into the store, each once, whoever else wants it meanwhile.

        Raises ContentsMissing, BackendError.
        """
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[None]] = []
        mine: list[Named] = []
        sizes = dict(wanted)
        for digest, size in sizes.items():
            if digest in self._coming:
                waiting.append(self._coming[digest])
            else:
                self._coming[digest] = loop.create_future()
                mine.append(Named(digest, size))
        total = sum(one.size for one in mine)
        self._pending += total
        failed: BaseException | None = None
        try:
            if self._pending > store.limit // 2:
                raise BackendRefused(Reason.NODE_DISK, f"its inputs do not fit into half of a store of {store.limit}")
            await self._fetch(mine, store)
        except BaseException as error:
            failed = error
            raise
        finally:
            self._pending -= total
            for one in mine:
                # Who waited looks whether it is there: it may, whatever became of the others.
                self._coming.pop(one.digest).set_result(None)
        if failed is None and waiting:
            await asyncio.wait(waiting)
            lacking = store.missing(sizes)
            if lacking:
                await self._fetch([Named(digest, sizes[digest]) for digest in lacking], store)

    async def _fetch(self, wanted: Sequence[Named], store: Store) -> None:
        large: list[Named] = []
        try:
            for batch in _batches(wanted, large):
                for digest, data in (await _patiently(self._batch, batch)).items():
                    store.add_bytes(data, digest)
            for one in large:
                await _patiently(self._stream, one, store)
        except (StoreError, OSError) as error:
            raise BackendRefused(Reason.NODE_DISK, str(error)) from error

    async def _batch(self, wanted: Sequence[Named]) -> dict[bytes, bytes]:
        request = _re.BatchReadBlobsRequest(instance_name=self._instance, digests=[one.message() for one in wanted])
        reply = await self._channel.call(self._channel.cas.BatchReadBlobs, request, CALL_S)
        sizes = dict(wanted)
        got: dict[bytes, bytes] = {}
        for one in reply.responses:
            digest = named(one.digest).digest
            if one.status.code == code_pb2.OK and digest in sizes:
                if hashlib.sha256(one.data).digest() != digest or len(one.data) != sizes[digest]:
                    raise _wrong()
                got[digest] = one.data
            elif one.status.code not in (code_pb2.OK, code_pb2.NOT_FOUND):
                # It may well be there: who is told that it is missing would send it again.
                raise BackendGone(Reason.NODE_LOST, f"the engine did not give a content: {plain(one.status.message)}")
        missing = [one for one in wanted if one.digest not in got]
        if missing:
            raise ContentsMissing(missing)
        return got

    async def _whole(self, one: Named) -> bytes:
        data = b"".join([piece async for piece in self._pieces(one)])
        if name_of(data) != one:
            raise _wrong()
        return data

    async def _stream(self, one: Named, store: Store) -> None:
        writer = store.writer(one.digest, one.size)
        try:
            async for piece in self._pieces(one):
                writer.write(piece)
            writer.commit()
        except DigestMismatch:
            raise _wrong() from None
        finally:
            writer.abort()

    async def _pieces(self, one: Named) -> AsyncIterator[bytes]:
        prefix = f"{self._instance}/" if self._instance else ""
        request = bytestream_pb2.ReadRequest(resource_name=f"{prefix}blobs/{one.digest.hex()}/{one.size}")
        came = 0
        limit = CALL_S + one.size / SLOWEST
        try:
            async for reply in self._channel.stream(self._channel.bytes.Read, request, limit):
                came += len(reply.data)
                if came > one.size:
                    raise _wrong()
                yield reply.data
        except CallFailed as error:
            if error.code.name == "NOT_FOUND":
                raise ContentsMissing([one]) from None
            raise

    # -- writing

    async def put(self, blobs: Iterable[tuple[Named, bytes | Produced]]) -> None:
        """Hand contents over: bytes, or a job's file. Raises BackendError."""
        batch: list[_re.BatchUpdateBlobsRequest.Request] = []
        room = BATCH_BYTES
        for one, content in dict(blobs).items():
            if isinstance(content, Produced) and content.data is not None:
                content = content.data
            if isinstance(content, Produced) or one.size > BATCH_BYTES:
                await _patiently(self._write, one, content)
                continue
            if one.size > room or len(batch) >= BATCH_COUNT:
                await _patiently(self._put, batch)
                batch, room = [], BATCH_BYTES
            batch.append(_re.BatchUpdateBlobsRequest.Request(digest=one.message(), data=content))
            room -= one.size
        if batch:
            await _patiently(self._put, batch)

    async def _put(self, batch: Sequence[_re.BatchUpdateBlobsRequest.Request]) -> None:
        request = _re.BatchUpdateBlobsRequest(instance_name=self._instance, requests=batch)
        reply = await self._channel.call(self._channel.cas.BatchUpdateBlobs, request, CALL_S)
        for one in reply.responses:
            if one.status.code != code_pb2.OK:
                raise BackendGone(Reason.NODE_LOST, f"the engine did not take a result: {plain(one.status.message)}")

    async def _write(self, one: Named, content: bytes | Produced) -> None:
        data, path = (content, "") if isinstance(content, bytes) else (None, _reopened(content))
        try:
            await self._streams.write(one.digest, one.size, data, path, compress=False)
        except InputsChanged as error:
            raise BackendRefused(Reason.NODE_FAULT, "a result is not any more what it was") from error


def _reopened(content: Produced) -> str:
    """A path of a file that may have none any more."""
    assert content.file is not None  # noqa: S101 - put() has taken those that are in memory
    return f"/proc/self/fd/{content.file.fileno()}"


async def _patiently(call: Callable[_P, Awaitable[_T]], *given: _P.args, **more: _P.kwargs) -> _T:
    """What an engine answers to a call in the end. Raises ContentsMissing, BackendError."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    pause = FIRST_RETRY_S
    while True:
        try:
            return await call(*given, **more)
        except BackendError as error:
            if not _may_pass(error) or loop.time() + pause > end:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LAST_RETRY_S)


def _may_pass(error: BackendError) -> bool:
    """Whether an error of a call may be over the next time: no line, no answer, too much to do, no token yet."""
    if isinstance(error, CallFailed):
        return error.code.name not in _FINAL
    return error.reason in (Reason.NODE_LOST, Reason.NODE_REFUSED)


def _batches(wanted: Iterable[Named], large: list[Named]) -> Iterable[list[Named]]:
    """What goes into one message each; ``large`` gets those that are too large for one."""
    batch: list[Named] = []
    room = BATCH_BYTES
    for one in dict.fromkeys(wanted):
        if one.size > BATCH_BYTES:
            large.append(one)
            continue
        if one.size > room or len(batch) >= BATCH_COUNT:
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(one)
        room -= one.size
    if batch:
        yield batch


def _wrong() -> BackendRefused:
    return BackendRefused(Reason.NODE_FAULT, "the engine sent a content that is not what its digest says")
