"""Calls to an engine: what is tried again, what goes on where it broke off, and engines that break the protocol."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard
from engine_fake import FakeEngine
from test_engine_backend import a_job, a_toolchain

from manycc.engine import channel as channels
from manycc.engine import frames, http2, line, streams
from manycc.engine.action import prepare
from manycc.engine.address import parse_engine
from manycc.engine.cas import Cas
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.frames import frame
from manycc.engine.merkle import Trees
from manycc.engine.status import StatusCode
from manycc.engine.streams import Streams, expand
from manycc.errors import BackendError, BackendGone
from manycc.reapi.bytestream_pb2 import QueryWriteStatusResponse
from manycc.reapi.remote_execution_pb2 import (
    Command,
    FindMissingBlobsRequest,
    FindMissingBlobsResponse,
    GetCapabilitiesRequest,
)
from manycc.reasons import Reason

LIMIT_S = 60.0
SETTINGS = frame(frames.SETTINGS, 0, 0, b"")


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    fake = FakeEngine()
    yield fake
    fake.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(streams, "PAUSES_S", (0.01, 0.02))


def run(port: int, work: Callable[[Channel], Awaitable[Any]], options: str = "") -> Any:
    async def main() -> Any:
        channel = Channel(parse_engine(f"reapi://127.0.0.1:{port}{options}", 9))
        try:
            async with asyncio.timeout(LIMIT_S):
                return await work(channel)
        finally:
            await channel.close()

    return asyncio.run(main())


def ask(channel: Channel, limit_s: float = LIMIT_S) -> Awaitable[Any]:
    return channel.call(channel.capabilities.GetCapabilities, GetCapabilitiesRequest(), limit_s)


def failing(times: int, code: grpc.StatusCode, then: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Fails for some times, then does what an engine does."""
    left = [times]

    def answer(request: Any, context: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            context.abort(code, "for a moment")
        return then(request, context)

    return answer


# -- what is tried again


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_trouble_of_a_moment_is_no_loss(engine: FakeEngine, code: grpc.StatusCode) -> None:
    engine.on["GetCapabilities"] = failing(2, code, engine.GetCapabilities)
    assert run(engine.port, ask).execution_capabilities.exec_enabled
    engine.on["GetCapabilities"] = failing(3, code, engine.GetCapabilities)
    with pytest.raises(BackendError, match="for a moment"):
        run(engine.port, ask)


def test_what_will_not_pass_is_asked_once(engine: FakeEngine) -> None:
    engine.on["GetCapabilities"] = failing(1, grpc.StatusCode.INVALID_ARGUMENT, engine.GetCapabilities)
    with pytest.raises(CallFailed) as caught:
        run(engine.port, ask)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT and len(engine.calls) == 1


def test_attempts_keep_within_the_limit(engine: FakeEngine) -> None:
    engine.on["GetCapabilities"] = engine.silent
    with pytest.raises(CallFailed) as caught:
        run(engine.port, lambda channel: ask(channel, 0.3))
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED and len(engine.calls) == 1


def test_a_connection_that_was_lost_is_made_anew(engine: FakeEngine) -> None:
    async def work(channel: Channel) -> None:
        await ask(channel)
        first = channel._line._connection
        assert first is not None and first._transport is not None
        first._transport.abort()
        await ask(channel)
        assert channel._line._connection is not first

    run(engine.port, work)


def test_an_engine_that_wants_to_go_is_let_go() -> None:
    """A server that is to be replaced says so, and waits for us to hang up: calls go on elsewhere."""
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(len(frames.PREFACE))
            writer.write(SETTINGS)
            await called(reader)
            writer.write(frame(frames.GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0") + ANSWER + frame(frames.DATA, 0, 1, b"\0" * 5))
            writer.write(frame(frames.HEADERS, 5, 1, headers(grpc_status="0")))
            while await reader.read(1000):
                pass
            hung_up.set()
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        channel = Channel(parse_engine(f"reapi://127.0.0.1:{server.sockets[0].getsockname()[1]}", 9))
        try:
            async with asyncio.timeout(LIMIT_S):
                await ask(channel)
                await hung_up.wait()
                await ask(channel)
        finally:
            await channel.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_nobody_there() -> None:
    with pytest.raises(BackendGone, match="refused"):
        run(1, ask)


def test_a_message_is_no_reason_to_believe_in_percent_signs(engine: FakeEngine) -> None:
    engine.on["GetCapabilities"] = lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, "100% größer\n" * 200)
    with pytest.raises(CallFailed, match="100% größer 100%"):
        run(engine.port, ask)


# -- streams


def content(size: int) -> tuple[bytes, bytes]:
    data = bytes(range(256)) * (size // 256)
    return data, hashlib.sha256(data).digest()


def test_more_than_any_window_both_ways(engine: FakeEngine, tmp_path: Path) -> None:
    data, digest = content(3 * http2.WINDOW)
    path = tmp_path / "data"
    path.write_bytes(data)

    async def work(channel: Channel) -> None:
        stream = Streams(channel, "main")
        assert await stream.write(digest, len(data), None, str(path), False) == len(data)
        assert engine.blobs[digest.hex()] == data
        assert await stream.read(digest.hex(), len(data), False) == (data, len(data))

    run(engine.port, work)


def test_a_message_larger_than_the_window(engine: FakeEngine) -> None:
    data, digest = content(2 * http2.WINDOW)
    engine.blobs[digest.hex()] = data

    async def work(channel: Channel) -> None:
        cas = Cas(channel, "main")
        cas.offer.batch = len(data) * 2
        request = FindMissingBlobsResponse()
        named = request.missing_blob_digests.add(hash=digest.hex(), size_bytes=len(data))
        assert (await cas.fetch([named], len(data)))[0] == [data]

    run(engine.port, work)


def test_an_upload_goes_on_although_the_engine_cannot_say_at_once_where(engine: FakeEngine) -> None:
    data, digest = content(4 * streams.PIECE)

    def breaks(requests: Any, context: Any) -> Any:
        request = next(iter(requests))
        engine.uploads[request.resource_name] = bytearray(request.data)
        engine.on.pop("Write")
        context.abort(grpc.StatusCode.UNAVAILABLE, "going down")

    engine.on["Write"] = breaks
    # More often than a call is tried again by itself.
    engine.on["QueryWriteStatus"] = failing(4, grpc.StatusCode.UNAVAILABLE, engine.QueryWriteStatus)

    async def work(channel: Channel) -> int:
        return await Streams(channel, "main").write(digest, len(data), data, "", False)

    assert len(data) <= run(engine.port, work) < 2 * len(data)
    assert engine.blobs[digest.hex()] == data and len(engine.uploads) == 1


@pytest.mark.parametrize("compress", [False, True])
def test_an_upload_with_a_token_that_has_run_out(engine: FakeEngine, tmp_path: Path, compress: bool) -> None:
    """The second attempt sends all of it once more."""
    data, digest = content(2 * streams.PIECE)
    token = tmp_path / "token"
    token.write_text("old")

    def write(requests: Any, context: Any) -> Any:
        if dict(context.invocation_metadata())["authorization"] != "Bearer new":
            for _ in requests:
                pass
            token.write_text("new")
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "run out")
        return engine.Write(requests, context)

    engine.on["Write"] = write

    async def work(channel: Channel) -> None:
        await Streams(channel, "main").write(digest, len(data), data, "", compress)

    run(engine.port, work, f"?token-file={token}")
    assert engine.blobs[digest.hex()] == data


def test_a_channel_closed_under_an_upload_is_a_loss(engine: FakeEngine) -> None:
    """Not a cancelled job: who waits for it was not cancelled."""
    data, digest = content(8 * streams.PIECE)
    begun = threading.Event()

    def write(requests: Any, context: Any) -> Any:
        next(iter(requests))
        begun.set()
        engine.ended.wait(LIMIT_S)
        return QueryWriteStatusResponse()

    engine.on["Write"] = write

    async def work(channel: Channel) -> None:
        upload = asyncio.create_task(Streams(channel, "main").write(digest, len(data), data, "", False))
        await asyncio.to_thread(begun.wait, LIMIT_S)
        await channel.close()
        with pytest.raises(BackendGone, match="given up"):
            await upload

    run(engine.port, work)


def test_several_frames_of_zstd_and_no_byte_more_than_was_said() -> None:
    packed = zstandard.compress(b"a" * 1000) + zstandard.compress(b"b" * 1000)
    assert expand(packed, 2000) == b"a" * 1000 + b"b" * 1000
    assert len(expand(packed, 1500)) == 1501
    with pytest.raises(BackendGone):
        expand(packed + b"garbage", 3000)


# -- many calls, and few that are allowed


def test_more_calls_than_the_engine_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # It may refuse one that comes while it is still busy with the end of another.
    monkeypatch.setattr(channels, "PAUSES_S", (0.01, 0.02, 0.1, 0.3))
    at_once: list[int] = []
    most = [0]
    lock = threading.Lock()

    def answer(request: bytes, context: Any) -> bytes:
        with lock:
            at_once.append(1)
            most[0] = max(most[0], len(at_once))
        context.is_active()
        with lock:
            at_once.pop()
        return b""

    handlers = {"GetCapabilities": grpc.unary_unary_rpc_method_handler(answer)}
    service = "build.bazel.remote.execution.v2.Capabilities"
    options = [("grpc.max_concurrent_streams", 3)]
    server = grpc.server(futures.ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:

        async def work(channel: Channel) -> None:
            await ask(channel)
            await asyncio.gather(*(ask(channel) for _ in range(200)))

        run(port, work)
        assert most[0] <= 3
    finally:
        server.stop(None).wait(10)


def test_a_call_that_is_cancelled_is_cancelled_there(engine: FakeEngine) -> None:
    gone = threading.Event()
    there = threading.Event()

    def answer(request: Any, context: Any) -> Any:
        context.add_callback(gone.set)
        there.set()
        engine.ended.wait(LIMIT_S)
        return FindMissingBlobsResponse()

    engine.on["FindMissingBlobs"] = answer

    async def work(channel: Channel) -> None:
        call = asyncio.ensure_future(channel.call(channel.cas.FindMissingBlobs, FindMissingBlobsRequest(), LIMIT_S))
        await asyncio.to_thread(there.wait, LIMIT_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(gone.wait, LIMIT_S)
        await ask(channel)  # the connection is none the worse for it

    run(engine.port, work)


# -- engines that break the protocol


def headers(**named: str) -> bytes:
    return b"".join(frames.literal(name.replace("_", "-").encode(), value.encode()) for name, value in named.items())


FINE = frames.literal(b":status", b"200") + headers(content_type="application/grpc")
ANSWER = frame(frames.HEADERS, frames.END_HEADERS, 1, FINE)
LONG = frame(frames.DATA, 0, 1, struct.pack(">BL", 0, 2**32 - 1) + b"x")
MANY = frame(frames.DATA, 0, 1, struct.pack(">BL", 0, 0) * 3000)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/2"),
        (b"", "lost"),
        (SETTINGS + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", "too large"),
        (SETTINGS + frame(frames.CONTINUATION, 0, 1, b"x"), "pieces"),
        (SETTINGS + frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b"@" * 16000) * 5, "too many"),
        (SETTINGS + frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b""), "fit together"),
        (SETTINGS + frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\xff"), "cannot be read"),
        (SETTINGS + frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x09"), "padding"),
        (SETTINGS + frame(frames.PUSH_PROMISE, 4, 1, b""), "told not to"),
        (SETTINGS + frame(frames.SETTINGS, 0, 0, b"x"), "settings"),
        (SETTINGS + frame(frames.SETTINGS, 0, 0, struct.pack(">HL", 4, 2**31)), "window"),
        (SETTINGS + frame(frames.RST_STREAM, 0, 1, b""), "wrong size"),
        (SETTINGS + frame(frames.RST_STREAM, 0, 1, b"\0\0\0\x0b"), "broke the call off"),
        (SETTINGS + frame(frames.GOAWAY, 0, 0, b"\0" * 8), "going"),
        (SETTINGS + frame(frames.DATA, 0, 99, b"x"), "not made"),
        (SETTINGS + frame(frames.DATA, 0, 1, b"\0\0\0\0\0"), "none of gRPC"),
        (SETTINGS + ANSWER + frame(frames.DATA, 0, 1, b"\1\0\0\0\1x"), "compressed"),
        (SETTINGS + ANSWER + LONG, "are the most"),
        (SETTINGS + ANSWER + MANY * 400, "more than"),
        (SETTINGS + frame(frames.HEADERS, 5, 1, frames.literal(b":status", b"502")), "502"),
        (SETTINGS + frame(frames.HEADERS, 5, 1, frames.literal(b":status", b"200")), "does not speak gRPC"),
        (SETTINGS + ANSWER + frame(frames.HEADERS, 5, 1, headers(grpc_status="0")), "no answer"),
        (SETTINGS + ANSWER + frame(frames.HEADERS, 5, 1, headers(grpc_status="5", grpc_message="n%0o%")), "n%0o%"),
        (SETTINGS + ANSWER + frame(frames.HEADERS, 5, 1, headers(grpc_status="77")), "UNKNOWN"),
        (SETTINGS + ANSWER + frame(frames.DATA, 1, 1, b"\0\0\0\0\0"), "no end"),
        (SETTINGS + ANSWER + frame(frames.DATA, 0, 1, b"\0\0\0\0\2\xff\xff") + frame(1, 5, 1, headers(grpc_status="0")),
         "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_engines_that_break_the_protocol(said: bytes, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is an error of the call, within its limit; and none is believed."""
    monkeypatch.setattr(channels, "PAUSES_S", ())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not said.startswith(b"HTTP"):
                await reader.readexactly(len(frames.PREFACE))
                if said:
                    writer.write(SETTINGS)
                    await called(reader)
            writer.write(said)
            await writer.drain()
            if said:
                while await reader.read(65536):
                    pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = Channel(parse_engine(f"reapi://127.0.0.1:{port}", 9))
        try:
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(BackendError, match=words):
                    await ask(channel, 20)
        finally:
            await channel.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


async def called(reader: asyncio.StreamReader) -> None:
    """Read until a call has begun."""
    while True:
        head = await reader.readexactly(9)
        await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == frames.HEADERS:
            return


def test_pings_that_nobody_reads_the_answers_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that asks without end and takes no answer is left, before its answers fill the memory."""
    monkeypatch.setattr(channels, "PAUSES_S", ())
    monkeypatch.setattr(http2, "MAX_UNWRITTEN", 100_000)
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        pings = SETTINGS + frame(frames.PING, 0, 0, b"12345678") * 10_000
        try:
            while True:
                writer.write(pings)
                pings = frame(frames.PING, 0, 0, b"12345678") * 10_000
                await writer.drain()
        except OSError:
            left.set()
        finally:
            writer.transport.abort()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        channel = Channel(parse_engine(f"reapi://127.0.0.1:{port}", 9))
        try:
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(BackendError):
                    await ask(channel)
                await left.wait()
        finally:
            await channel.close()
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_a_word_about_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing at all is given up, and says so."""
    monkeypatch.setattr(line, "CONNECT_S", 0.2)

    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(BackendGone, match="no connection within"):
        run(server.getsockname()[1], ask)


def test_reason_of_a_silent_engine(engine: FakeEngine) -> None:
    engine.on["GetCapabilities"] = engine.silent
    with pytest.raises(CallFailed) as caught:
        run(engine.port, lambda channel: ask(channel, 0.2))
    assert caught.value.reason is Reason.NODE_TIMEOUT


# -- what the compiler is told of the terminal here


@pytest.mark.parametrize(
    ("words", "env", "kind", "colours"),
    [
        ((), {"TERM": "xterm"}, "gcc", True),
        ((), {"TERM": "dumb"}, "gcc", False),
        ((), {}, "gcc", False),
        (("-fdiagnostics-color=never",), {"TERM": "xterm"}, "gcc", False),
        (("-grecord-command-line",), {"TERM": "xterm"}, "clang", False),
        (("-frecord-gcc-switches",), {"TERM": "xterm"}, "gcc", False),
        ((), {"TERM": "xterm", "NO_COLOR": "1"}, "clang", False),
    ],
)
def test_colours_only_where_the_compiler_would_write_them_here(
    tmp_path: Path, words: tuple[str, ...], env: dict[str, str], kind: str, colours: bool
) -> None:
    toolchain = dataclasses.replace(a_toolchain(tmp_path), kind=kind)
    argv = ("gcc", *words, "-c", "a.c")
    job = a_job(tmp_path, argv=argv, env=tuple(env.items()), terminal=True, toolchain=toolchain)
    prepared = prepare(job, Trees(), parse_engine("reapi://h", 9), False, True, 60)
    assert ("-fdiagnostics-color=always" in Command.FromString(prepared.command.data or b"").arguments) is colours
