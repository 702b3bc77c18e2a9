"""The way to one engine: an HTTP/2 connection, with or without TLS, made when it is needed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import math
import os
import ssl
from collections.abc import Callable
from typing import Final

from manycc import __version__
from manycc.engine.address import EngineAddress
from manycc.engine.frames import Broken, literal
from manycc.engine.http2 import Connection
from manycc.engine.status import StatusCode

CONNECT_S: Final = 20.0
NEXT_ADDRESS_S: Final = 0.25
"""A host of several addresses is tried at the next when the one before takes longer."""
RETRY_S: Final = 0.5
_WANTED: Final = "; it may want a certificate of this machine, or another one (cert= and key=)"
_METHOD_POST: Final = b"\x83"
_SCHEMES: Final = (b"\x86", b"\x87")

Metadata = tuple[tuple[str, str | bytes], ...]
Failing = Callable[[StatusCode, str], None]
"""How a call is told that it is over."""


class RpcError(Exception):
    """A call that failed."""

    def __init__(self, code: StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class Line:
    """The way to one engine: a connection, made when it is needed, and anew when it was lost."""

    def __init__(self, address: EngineAddress, context: ssl.SSLContext | None) -> None:
        self._address = address
        self._context = context
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._calls: set[Failing] = set()
        self._metadata: Metadata = ()
        self._written = b""  # the metadata of the last call, which are mostly those of the next
        self.closed = False
        self._head = b"".join((
            _METHOD_POST, _SCHEMES[address.tls], literal(b":authority", address.target.encode()),
            literal(b"te", b"trailers"), literal(b"content-type", b"application/grpc"),
            literal(b"user-agent", f"manycc/{__version__}".encode()),
        ))  # fmt: skip

    @property
    def live(self) -> Connection | None:
        """A connection on which a call can be begun at once."""
        found = self._connection
        return found if found is not None and found.lost is None and not found.full else None

    async def ready(self) -> None:
        """Return when there is a connection. Raises RpcError if it is closed."""
        while not self.closed:
            with contextlib.suppress(RpcError):
                await self.connection()
                return
            await asyncio.sleep(RETRY_S)
        raise RpcError(StatusCode.CANCELLED, "the connection to the engine was given up")

    async def connection(self) -> Connection:
        """One on which a call can be begun. Raises RpcError."""
        while True:
            if self.closed:
                raise RpcError(StatusCode.CANCELLED, "the connection to the engine was given up")
            found = self._connection
            if found is not None and found.lost is None:
                if not found.full:
                    return found
                await found.wait_for_room()
                continue
            if self._connecting is None:
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
                self._connecting.add_done_callback(self._connected)
            try:
                await asyncio.shield(self._connecting)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                raise RpcError(StatusCode.CANCELLED, "the connection to the engine was given up") from None
            if self._connection is not None and self._connection.lost is not None:  # at once: not to be tried in a loop
                raise RpcError(StatusCode.UNAVAILABLE, self._connection.lost.why)

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self) -> Connection:
        address = self._address
        loop = asyncio.get_running_loop()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    Connection, address.address, address.port, ssl=self._context,
                    server_hostname=address.address if self._context else None, happy_eyeballs_delay=NEXT_ADDRESS_S,
                )  # fmt: skip
                await asyncio.shield(connection.ready)
        except TimeoutError:
            raise RpcError(StatusCode.UNAVAILABLE, f"no connection within {CONNECT_S:.0f} s") from None
        except Broken as error:
            # A server that does not let a client's certificate pass (or its lack) ends the connection without a word.
            raise RpcError(StatusCode.UNAVAILABLE, error.why + (_WANTED if self._context else "")) from error
        except OSError as error:
            raise RpcError(StatusCode.UNAVAILABLE, _said(error)) from error
        finally:
            if connection is not None and not (connection.ready.done() and connection.lost is None):
                await connection.close()
                connection.ready.exception()
        if self._context is not None and connection.protocol != "h2":
            await connection.close()
            raise RpcError(StatusCode.UNAVAILABLE, "what answers there does not speak HTTP/2")
        return connection

    def block(self, path: bytes, metadata: Metadata, limit_s: float) -> bytes:
        """The headers of a call."""
        milliseconds = max(1, min(math.ceil(limit_s * 1000), 99_999_999))
        if metadata is not self._metadata:
            self._metadata, self._written = metadata, b"".join(_header(name, value) for name, value in metadata)
        return b"".join((self._head, path, literal(b"grpc-timeout", b"%dm" % milliseconds), self._written))

    def added(self, fail: Failing) -> None:
        """A call is under way."""
        self._calls.add(fail)

    def removed(self, fail: Failing) -> None:
        """A call is over."""
        self._calls.discard(fail)

    async def close(self) -> None:
        """Break off whatever is under way."""
        self.closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        for fail in tuple(self._calls):
            fail(StatusCode.CANCELLED, "the connection to the engine was given up")
        if self._connection is not None:
            await self._connection.close()


def _header(name: str, value: str | bytes) -> bytes:
    """A word of metadata. The names of binary ones end in -bin."""
    if isinstance(value, bytes):
        value = base64.b64encode(value).rstrip(b"=").decode("ascii")
    return literal(name.encode("ascii"), value.encode("ascii"))


def _said(error: OSError) -> str:
    """What an error of a connection says, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {error.reason or error}"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error)
