"""HTTP/2 as gRPC's client side needs it (RFC 9113), within the event loop: no threads, and little work per call.

A connection carries many calls. Everything from the engine is bounded: frames, header blocks, messages, and what may
come before somebody takes it (flow control).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import hpack

from manycc.engine import frames
from manycc.engine.frames import FRAME, HEAD, SETTING, U32, Broken, Headers, frame, unpadded, word

WINDOW: Final = 4 * 1024 * 1024
"""What may come on a call before it is taken, and on all of them before it is looked at."""
MAX_HEADER_BLOCK: Final = 64 * 1024
MAX_KEPT_BLOCK: Final = 512
MAX_KEPT_BLOCKS: Final = 64
"""Header blocks that are remembered with what they say: most answers begin and end alike."""
MAX_UNWRITTEN: Final = 4 * 1024 * 1024
"""An engine that sends what must be answered, and does not take the answers, is left."""
STREAMS: Final = 100
"""Calls at once until the engine says how many it takes."""
CLOSE_S: Final = 1.0
"""How long the last words may take."""


class Exchange:
    """One request and its answer. What comes is handed to ``on_headers``, ``on_data`` and ``on_end``."""

    __slots__ = (
        "allowed", "block", "connection", "ended", "failure", "number", "on_data", "on_end", "on_headers", "owed",
        "room", "told",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        block: bytes,
        on_headers: Callable[[Headers, bool], None],
        on_data: Callable[[bytes], None],
        on_end: Callable[[Broken | None], None],
    ) -> None:
        self.connection = connection
        self.block = block
        self.number = 0  # given when the first of it is sent: the engine must see them in order
        self.on_headers = on_headers
        self.on_data = on_data
        self.on_end = on_end
        self.room = 0  # bytes that may be sent
        self.allowed = WINDOW  # bytes that may come
        self.owed = 0  # bytes that came and were taken, which the engine has not been told yet
        self.told = False  # the whole request is sent
        self.ended = False
        self.failure: Broken | None = None

    async def send(self, data: bytes, last: bool) -> None:
        """Send a piece of the request, as the engine has room for it. Raises Broken."""
        connection = self.connection
        start = 0
        opening = b"" if self.number or self.ended else connection.open(self)
        while True:
            if self.ended:
                raise self.failure or Broken("the engine has ended the call")
            room = min(self.room, connection.room, connection.largest)
            left = len(data) - start
            if (left and room <= 0) or connection.paused:
                if opening:
                    connection.write(opening)
                    opening = b""
                await connection.wait_for_room()
                continue
            piece = data[start : start + room] if left > room or start else data
            start += len(piece)
            self.room -= len(piece)
            connection.room -= len(piece)
            over = start == len(data)
            self.told = last and over
            connection.write(opening + frame(frames.DATA, frames.END_STREAM if self.told else 0, self.number, piece))
            opening = b""
            if over:
                return

    def took(self, length: int) -> None:
        """So many bytes were taken: the engine may send as many more."""
        self.owed += length
        if self.owed >= WINDOW // 2 and not self.ended:
            self.connection.write(frame(frames.WINDOW_UPDATE, 0, self.number, U32.pack(self.owed)))
            self.allowed += self.owed
            self.owed = 0

    def answered(self) -> None:
        """The engine has said all that it wanted to, maybe before it had the whole request."""
        if not self.told and not self.ended:
            self.connection.write(frame(frames.RST_STREAM, 0, self.number, U32.pack(frames.NO_ERROR)))
        self.finish(None)

    def cancel(self) -> None:
        """Nobody wants it any more."""
        if not self.ended:
            if self.number:
                self.connection.write(frame(frames.RST_STREAM, 0, self.number, U32.pack(frames.CANCEL)))
            self.finish(Broken("the call was broken off", frames.CANCEL))

    def finish(self, failure: Broken | None) -> None:
        """It is over."""
        if self.ended:
            return
        self.ended = True
        self.failure = failure
        self.connection.forget(self)
        self.on_end(failure)


class Connection(asyncio.Protocol):
    """One connection. ``lost`` is set, to the reason, when no call can be begun on it any more."""

    def __init__(self) -> None:
        self.lost: Broken | None = None
        self.room = frames.DEFAULT_WINDOW
        self.first_room = frames.DEFAULT_WINDOW
        self.largest = FRAME
        self.paused = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._decoder = hpack.Decoder(MAX_HEADER_BLOCK)
        self._decoder.header_table_size = self._decoder.max_allowed_table_size = 0
        self._decoded: dict[bytes, Headers] = {}
        self._received = bytearray()
        self._exchanges: dict[int, Exchange] = {}
        self._most = STREAMS
        self._next = 1
        self._owed = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._block: tuple[int, bool, bytearray] | None = None  # headers that are to be continued
        self.ready: asyncio.Future[None] = self._loop.create_future()
        """Done when the engine has said its settings: it is one that speaks HTTP/2."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when there is no socket any more."""

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Without a table a block says the same each time, so that most need not be decoded again.
        told = {
            frames.TABLE_SIZE: 0,
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW: WINDOW,
            frames.MAX_HEADERS: MAX_HEADER_BLOCK,
        }
        settings = b"".join(SETTING.pack(name, value) for name, value in told.items())
        more = U32.pack(WINDOW - frames.DEFAULT_WINDOW)
        self.write(frames.PREFACE + frame(frames.SETTINGS, 0, 0, settings) + frame(frames.WINDOW_UPDATE, 0, 0, more))

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        at = 0
        try:
            while len(received) - at >= 9:
                high, low, kind, flags, number = HEAD.unpack_from(received, at)
                length = high << 16 | low
                if not self.ready.done() and kind != frames.SETTINGS:
                    raise Broken("it does not speak HTTP/2", frames.PROTOCOL_ERROR)
                if length > FRAME:
                    raise Broken("the engine sent a frame that is too large", frames.PROTOCOL_ERROR)
                if len(received) - at < 9 + length:
                    break
                payload = bytes(received[at + 9 : at + 9 + length])
                at += 9 + length
                self._take(kind, flags, number & frames.LAST_STREAM, payload)
        except Broken as error:
            self._give_up(error)
            return
        del received[:at]

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(Broken(f"the connection to the engine was lost{f': {error}' if error else ''}"))
        if not self.gone.done():
            self.gone.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._wake()

    # -- calls

    @property
    def full(self) -> bool:
        """Whether as many calls are under way as the engine takes."""
        return len(self._exchanges) >= self._most

    async def wait_for_room(self) -> None:
        """Return when there may be room for a call, or for a piece of one."""
        future = self._loop.create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def begin(
        self,
        block: bytes,
        on_headers: Callable[[Headers, bool], None],
        on_data: Callable[[bytes], None],
        on_end: Callable[[Broken | None], None],
    ) -> Exchange:
        """A call with this header block, which must fit into one frame. Raises Broken."""
        if len(block) > FRAME:
            raise Broken("the headers of the call are too large")
        return Exchange(self, block, on_headers, on_data, on_end)

    def open(self, exchange: Exchange) -> bytes:
        """What is to be sent first of a call. Raises Broken."""
        if self.lost is not None:
            raise self.lost
        exchange.number = self._next
        exchange.room = self.first_room
        self._exchanges[self._next] = exchange
        self._next += 2
        if self._next > frames.LAST_STREAM:
            self.lost = Broken("the connection has had all the calls that one may have")
        return frame(frames.HEADERS, frames.END_HEADERS, exchange.number, exchange.block)

    def forget(self, exchange: Exchange) -> None:
        """A call is over."""
        self._exchanges.pop(exchange.number, None)
        self._leave()
        self._wake()

    def write(self, data: bytes) -> None:
        """Send."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    @property
    def protocol(self) -> str:
        """What both sides agreed on to speak within TLS."""
        secure = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        return secure.selected_alpn_protocol() or "" if secure is not None else ""

    async def close(self) -> None:
        """End it, and all calls on it."""
        self._give_up(Broken("the connection to the engine was given up"))
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await asyncio.shield(self.gone)
            self._abort()
            await asyncio.shield(self.gone)

    def _leave(self) -> None:
        """Hang up once no call can be begun and the last has ended."""
        if self.lost is not None and not self._exchanges and self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    def _give_up(self, error: Broken) -> None:
        self._received.clear()
        self.write(frame(frames.GOAWAY, 0, 0, U32.pack(0) + U32.pack(error.code)))
        if self._transport is not None:
            self._transport.close()
            self._loop.call_later(CLOSE_S, self._abort)  # the engine may read nothing any more
        self._end(error)

    def _abort(self) -> None:
        if self._transport is not None and not self.gone.done():
            self._transport.abort()

    def _end(self, error: Broken) -> None:
        self.lost = self.lost or error
        for exchange in tuple(self._exchanges.values()):
            exchange.finish(error)
        if not self.ready.done():
            self.ready.set_exception(error)
        self._wake()

    # -- frames

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if (self._block is None) == (kind == frames.CONTINUATION):
            raise Broken("the engine sent headers in pieces that do not follow each other", frames.PROTOCOL_ERROR)
        if kind == frames.DATA:
            self._take_data(number, unpadded(flags, payload), len(payload), bool(flags & frames.END_STREAM))
        elif kind in (frames.HEADERS, frames.CONTINUATION):
            self._take_headers(kind, flags, number, payload)
        elif kind == frames.RST_STREAM:
            code = word(payload)
            exchange = self._exchanges.get(number)
            if exchange is not None:
                exchange.finish(Broken(f"the engine broke the call off ({code})", code))
        elif kind == frames.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == frames.PING and not flags & frames.ACK:
            self._answer(frame(frames.PING, frames.ACK, 0, payload[:8]))
        elif kind == frames.GOAWAY:
            self._take_goaway(payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window(number, word(payload))
        elif kind == frames.PUSH_PROMISE:
            raise Broken("the engine sent what it was told not to", frames.PROTOCOL_ERROR)

    def _take_data(self, number: int, data: bytes, length: int, last: bool) -> None:
        self._owed += length
        if self._owed >= WINDOW // 2:
            self.write(frame(frames.WINDOW_UPDATE, 0, 0, U32.pack(self._owed)))
            self._owed = 0
        exchange = self._exchanges.get(number)
        if exchange is None:
            if number >= self._next:
                raise Broken("the engine answers a call that was not made", frames.PROTOCOL_ERROR)
            return  # one that was broken off
        exchange.allowed -= length
        if exchange.allowed < 0:
            raise Broken("the engine sent more than it may", frames.FLOW_CONTROL_ERROR)
        if length > len(data):
            exchange.took(length - len(data))
        if data:
            exchange.on_data(data)
        if last:
            exchange.answered()

    def _take_headers(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == frames.HEADERS:
            payload = unpadded(flags, payload)
            if flags & frames.PRIORITY:
                payload = payload[5:]
            block = bytearray(payload)
            last = bool(flags & frames.END_STREAM)
        else:
            assert self._block is not None  # noqa: S101 - looked at before
            known, last, block = self._block
            if known != number or not payload:
                raise Broken("the engine sent headers in pieces that do not fit together", frames.PROTOCOL_ERROR)
            block += payload
        if len(block) > MAX_HEADER_BLOCK:
            raise Broken("the engine sent too many headers", frames.PROTOCOL_ERROR)
        if not flags & frames.END_HEADERS:
            self._block = number, last, block
            return
        self._block = None
        headers = self._headers(bytes(block))
        exchange = self._exchanges.get(number)
        if exchange is not None:
            exchange.on_headers(headers, last)
            if last:
                exchange.answered()

    def _headers(self, block: bytes) -> Headers:
        headers = self._decoded.get(block)
        if headers is None:
            try:
                headers = cast(Headers, self._decoder.decode(block, raw=True))
            except hpack.HPACKError as error:
                raise Broken(f"the engine sent headers that cannot be read: {error}", frames.PROTOCOL_ERROR) from error
            if len(block) <= MAX_KEPT_BLOCK:
                if len(self._decoded) >= MAX_KEPT_BLOCKS:
                    self._decoded.clear()
                self._decoded[block] = headers
        return headers

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        if len(payload) % 6:
            raise Broken("the engine sent settings that cannot be read", frames.PROTOCOL_ERROR)
        for name, value in SETTING.iter_unpack(payload):
            if name == frames.MAX_STREAMS:
                self._most = value
            elif name == frames.MAX_FRAME:
                self.largest = max(FRAME, min(value, 4 * FRAME))
            elif name == frames.INITIAL_WINDOW:
                if value > frames.MAX_WINDOW:
                    raise Broken("the engine sent a window that is too large", frames.FLOW_CONTROL_ERROR)
                for exchange in self._exchanges.values():
                    exchange.room += value - self.first_room
                self.first_room = value
        self._answer(frame(frames.SETTINGS, frames.ACK, 0, b""))
        if not self.ready.done():
            self.ready.set_result(None)
        self._wake()

    def _take_goaway(self, payload: bytes) -> None:
        """The engine takes no new calls, and has not looked at those after the last that it names."""
        last = word(payload[:4]) & frames.LAST_STREAM
        self.lost = self.lost or Broken("the engine is going")
        for number in [number for number in self._exchanges if number > last]:
            self._exchanges[number].finish(self.lost)
        self._leave()
        self._wake()

    def _take_window(self, number: int, more: int) -> None:
        if not number:
            self.room += more & frames.MAX_WINDOW
        elif (exchange := self._exchanges.get(number)) is not None:
            exchange.room += more & frames.MAX_WINDOW
        self._wake()

    def _answer(self, data: bytes) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNWRITTEN:
            raise Broken("the engine does not take what it asks for", frames.PROTOCOL_ERROR)
        self.write(data)
