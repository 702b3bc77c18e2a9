"""gRPC calls on HTTP/2: messages, metadata, deadlines and status, for one event loop.

The package grpc has threads of its own, which cost the agent more than all else that it does for a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import unquote

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from manycc.engine.frames import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    INADEQUATE_SECURITY,
    NO_ERROR,
    REFUSED_STREAM,
    Broken,
    Headers,
    literal,
)
from manycc.engine.http2 import Exchange
from manycc.engine.line import Line, Metadata, RpcError
from manycc.engine.status import StatusCode

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of a message that an engine may send."""
_CODES: Final = {str(code.value).encode(): code for code in StatusCode}
_HTTP: Final = {
    b"400": StatusCode.INTERNAL, b"401": StatusCode.UNAUTHENTICATED, b"403": StatusCode.PERMISSION_DENIED,
    b"404": StatusCode.UNIMPLEMENTED, b"429": StatusCode.UNAVAILABLE, b"502": StatusCode.UNAVAILABLE,
    b"503": StatusCode.UNAVAILABLE, b"504": StatusCode.UNAVAILABLE,
}  # fmt: skip
"""What an answer means that is not gRPC's, but that of a proxy before the engine."""
_RESETS: Final = {
    NO_ERROR: StatusCode.UNAVAILABLE, REFUSED_STREAM: StatusCode.UNAVAILABLE, CANCEL: StatusCode.CANCELLED,
    ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED, INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}  # fmt: skip
"""What HTTP/2's own errors mean; INTERNAL for all else."""
_PREFIX: Final = struct.Struct(">BL")


class Service:
    """The methods of one of an engine's services, each by its name."""

    def __init__(self, line: Line, file: FileDescriptor, name: str) -> None:
        described = file.services_by_name[name]
        for method in described.methods:
            pack = GetMessageClass(method.input_type).SerializeToString
            unpack = GetMessageClass(method.output_type).FromString
            setattr(self, method.name, Method(line, f"/{described.full_name}/{method.name}", pack, unpack))

    def __getattr__(self, name: str) -> Method:
        raise AttributeError(f"the service has no method {name}")


class Method:
    """One method of a service, of whatever kind: how it is called makes the difference."""

    def __init__(self, line: Line, path: str, pack: Callable[[Any], bytes], unpack: Callable[[bytes], Any]) -> None:
        self._line = line
        self._path = literal(b":path", path.encode("ascii"))
        self._pack = pack
        self._unpack = unpack

    async def unary(self, request: Any, limit_s: float, metadata: Metadata) -> Any:
        """The answer to one request. Raises RpcError."""
        call = Call(self._line, limit_s)
        try:
            await call.begin(self._path, metadata)
            await call.send(self._pack(request), True)
            return await self._only(call)
        finally:
            call.cancel()

    async def collect(self, requests: AsyncIterator[Any], limit_s: float, metadata: Metadata) -> Any:
        """The answer to several requests, which may come before the last of them. Raises RpcError."""
        call = Call(self._line, limit_s)
        sending: asyncio.Task[None] | None = None
        try:
            await call.begin(self._path, metadata)
            sending = asyncio.get_running_loop().create_task(self._send_all(call, requests))
            return await self._only(call)
        finally:
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                with contextlib.suppress(asyncio.CancelledError):
                    if (error := sending.exception()) is not None and not isinstance(error, RpcError):
                        raise error

    async def _send_all(self, call: Call, requests: AsyncIterator[Any]) -> None:
        try:
            async with contextlib.aclosing(requests):  # type: ignore[type-var]
                async for request in requests:
                    await call.send(self._pack(request), False)
            await call.send(None, True)
        except RpcError:
            pass  # the answer says it as well
        except BaseException:
            call.cancel()
            raise

    async def _only(self, call: Call) -> Any:
        data = await call.next()
        if data is None:
            raise RpcError(StatusCode.INTERNAL, "the engine gave no answer")
        if await call.next() is not None:
            raise RpcError(StatusCode.INTERNAL, "the engine gave more than one answer")
        return self._unpacked(data)

    def _unpacked(self, data: bytes) -> Any:
        try:
            return self._unpack(data)
        except DecodeError as error:
            raise RpcError(StatusCode.INTERNAL, f"the engine's answer cannot be read: {error}") from error

    async def answers(self, request: Any, limit_s: float, metadata: Metadata) -> AsyncIterator[Any]:
        """The answers to one request, as they come. Raises RpcError."""
        call = Call(self._line, limit_s)
        try:
            await call.begin(self._path, metadata)
            await call.send(self._pack(request), True)
            while (data := await call.next()) is not None:
                yield self._unpacked(data)
        finally:
            call.cancel()


class Call:
    """One call: its messages, and how it ended."""

    def __init__(self, line: Line, limit_s: float) -> None:
        self._line = line
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.call_later(limit_s, self.fail, StatusCode.DEADLINE_EXCEEDED, "")
        self._exchange: Exchange | None = None
        self._messages: deque[bytes] = deque()
        self._partial = bytearray()
        self._withheld = 0  # bytes that the engine is not told were taken while nobody takes messages
        self._sound = False  # the answer is gRPC's
        self._error: RpcError | None = None
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        line.added(self.fail)

    async def begin(self, path: bytes, metadata: Metadata) -> None:
        """Have the engine know of the call. Raises RpcError."""
        connection = self._line.live
        if connection is None:
            try:
                async with asyncio.timeout(self._limit_s):
                    connection = await self._line.connection()
            except TimeoutError:
                raise RpcError(StatusCode.DEADLINE_EXCEEDED, "") from None
        if self._error is not None:
            raise self._error
        block = self._line.block(path, metadata, self._limit_s)
        try:
            self._exchange = connection.begin(block, self._on_headers, self._on_data, self._on_end)
        except Broken as error:
            raise RpcError(StatusCode.UNAVAILABLE, error.why) from error

    async def send(self, message: bytes | None, last: bool) -> None:
        """Send a message, or only the end. Raises RpcError."""
        assert self._exchange is not None  # noqa: S101 - it was begun
        try:
            await self._exchange.send(b"" if message is None else _PREFIX.pack(0, len(message)) + message, last)
        except Broken as error:
            if not self._over:  # it may have been answered before it was asked to the end
                raise self._error or RpcError(StatusCode.UNAVAILABLE, error.why) from error

    async def next(self) -> bytes | None:
        """The next message; None after the last. Raises RpcError."""
        while not self._messages:
            if self._error is not None:
                raise self._error
            if self._over:
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        if not self._messages and self._withheld and self._exchange is not None:
            self._exchange.took(self._withheld)
            self._withheld = 0
        return message

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        self.fail(StatusCode.CANCELLED, "the call was broken off")
        self._end.cancel()
        self._line.removed(self.fail)

    def fail(self, code: StatusCode, details: str) -> None:
        """It has come to a bad end, if it has not come to any before: the engine need not go on."""
        if self._failed(code, details) and self._exchange is not None:
            self._exchange.cancel()

    def _failed(self, code: StatusCode, details: str) -> bool:
        if self._over or self._error is not None:
            return False
        self._error = RpcError(code, details)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what comes

    def _on_headers(self, headers: Headers, last: bool) -> None:
        found = dict(headers)
        status = found.get(b":status")
        if status is not None and not self._sound:
            if status.startswith(b"1"):
                return
            if status != b"200":
                self.fail(_HTTP.get(status, StatusCode.UNKNOWN), f"HTTP status {status[:9].decode('ascii', 'replace')}")
                return
            if not found.get(b"content-type", b"").startswith(b"application/grpc"):
                self.fail(StatusCode.UNKNOWN, "what answers there does not speak gRPC")
                return
            self._sound = True
        if last:
            self._ended(found)

    def _ended(self, trailers: dict[bytes, bytes]) -> None:
        code = _CODES.get(trailers.get(b"grpc-status", b""), StatusCode.UNKNOWN)
        if code is not StatusCode.OK:
            said = trailers.get(b"grpc-message", b"").decode("ascii", "replace")
            self._failed(code, unquote(said, errors="replace"))
        elif self._partial:
            self.fail(StatusCode.INTERNAL, "the engine's answer ends in the middle")
        else:
            self._over = True
            self._wake()

    def _on_data(self, data: bytes) -> None:
        partial = self._partial
        partial += data
        while len(partial) >= _PREFIX.size:
            packed, length = _PREFIX.unpack_from(partial)
            if packed or not self._sound:
                self.fail(StatusCode.INTERNAL, "the engine's answer is none of gRPC, or compressed")
                return
            if length > MAX_MESSAGE:
                self.fail(
                    StatusCode.RESOURCE_EXHAUSTED, f"a message of {length} bytes, where {MAX_MESSAGE} are the most"
                )
                return
            end = _PREFIX.size + length
            if len(partial) < end:
                break
            self._messages.append(bytes(partial[_PREFIX.size : end]))
            del partial[:end]
        if self._messages:
            self._withheld += len(data)
            self._wake()
        elif self._exchange is not None:
            self._exchange.took(len(data))

    def _on_end(self, failure: Broken | None) -> None:
        if failure is None:
            self.fail(StatusCode.INTERNAL, "the engine's answer has no end")
        else:
            self.fail(_RESETS.get(failure.code, StatusCode.INTERNAL), failure.why)
