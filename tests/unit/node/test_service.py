"""A node within the test: time-outs, bounds on connections, peers that do not read."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from manycc.node import server, service, session
from manycc.node.options import NodeOptions
from manycc.node.service import Node
from manycc.node.uploads import ContentGone
from manycc.wire import native

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: needs bwrap")
Body = Callable[[Node], Awaitable[None]]
HELLO = native.PREAMBLE + native.pack([native.HELLO, {"version": native.VERSION, "release": "t", "name": "t"}])


def with_node(tmp_path: Path, body: Body) -> None:
    async def run() -> None:
        node = Node(NodeOptions(store=str(tmp_path / "store"), port=0, slots=2), lambda _: b"")
        await node.start()
        try:
            async with asyncio.timeout(20):
                await body(node)
        finally:
            await node.stop()

    asyncio.run(run())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("first", [b"", native.PREAMBLE[:3]])
def test_first_bytes_must_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr(server, "FIRST_BYTES_TIMEOUT_S", 0.05)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(first)
        assert await until_closed(reader) == b""
        writer.close()

    with_node(tmp_path, body)


def test_a_greeting_must_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GREETING_TIMEOUT_S", 0.05)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(native.PREAMBLE)
        (message,) = native.Framer().feed(await until_closed(reader))
        assert message == [native.BYE, "no greeting came in time", "node-lost"]
        writer.close()

    with_node(tmp_path, body)


def test_a_silent_agent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GREETING_TIMEOUT_S", 0.05)
    monkeypatch.setattr(session, "SILENCE_S", 0.1)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(HELLO)
        kinds = [message[0] for message in native.Framer().feed(await until_closed(reader))]
        assert kinds[0] == native.WELCOME and kinds[-1] == native.BYE
        writer.close()

    with_node(tmp_path, body)


def test_an_agent_may_promise_to_speak_more_often(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        hello = {"version": native.VERSION, "release": "t", "name": "t", "silence": 0.2}
        writer.write(native.PREAMBLE + native.pack([native.HELLO, hello]))
        async with asyncio.timeout(session.GREETING_TIMEOUT_S):
            kinds = [message[0] for message in native.Framer().feed(await until_closed(reader))]
        assert kinds[0] == native.WELCOME and kinds[-1] == native.BYE
        writer.close()

    with_node(tmp_path, body)


def test_connections_of_one_address_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_PER_ADDRESS", 2)

    async def body(node: Node) -> None:
        writers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(HELLO)
            await reader.readexactly(4)
            writers.append(writer)
        reader, third = await asyncio.open_connection("127.0.0.1", node.port)
        assert await until_closed(reader) == b""
        third.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        while node._counts.total():
            await asyncio.sleep(0)
        reader, fourth = await asyncio.open_connection("127.0.0.1", node.port)
        fourth.write(HELLO)
        await reader.readexactly(4)
        fourth.close()

    with_node(tmp_path, body)


def test_an_agent_that_does_not_send_what_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GREETING_TIMEOUT_S", 0.05)
    monkeypatch.setattr(session, "SILENCE_S", 0.3)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(HELLO)
        await reader.readexactly(4)
        (open_session,) = node._sessions
        waiting = asyncio.create_task(open_session._uploads.fetch(1, [(bytes(32), 10)]))
        closed = asyncio.create_task(until_closed(reader))
        while not closed.done():  # it lives, and says so; that is not what was asked for
            writer.write(native.pack([native.PING, 1]))
            await asyncio.wait([closed], timeout=0.01)
        with pytest.raises(ContentGone):
            await waiting
        writer.close()

    with_node(tmp_path, body)


def test_the_first_message_is_a_small_one(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(native.PREAMBLE + native.header(session.MAX_GREETING + 1, 0))
        (message,) = native.Framer().feed(await until_closed(reader))
        assert message[0] == native.BYE and message[2] == "protocol"
        writer.close()

    with_node(tmp_path, body)


@pytest.mark.parametrize("polite", [True, False])
def test_the_end_waits_until_agents_have_hung_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polite: bool) -> None:
    """Else what they send meanwhile would reset the connection, and the goodbye be lost."""
    monkeypatch.setattr(session, "FAREWELL_S", 30.0 if polite else 0.1)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(HELLO)
        framer = native.Framer()
        while native.WELCOME not in [message[0] for message in framer.feed(await reader.read(1000))]:
            pass
        stopping = asyncio.create_task(node.stop())
        messages = [message async for message in arriving(reader, framer)]
        assert messages[-1] == [native.BYE, "the node is closing", "node-busy"]
        if polite:
            writer.write(native.pack([native.PING, 1]))
            await writer.drain()
            assert not stopping.done()
            writer.close()
        async with asyncio.timeout(10):
            await stopping
        writer.close()

    with_node(tmp_path, body)


async def arriving(reader: asyncio.StreamReader, framer: native.Framer) -> AsyncIterator[list[Any]]:
    while data := await reader.read(1000):
        for message in framer.feed(data):
            yield message


def test_states_come_without_being_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "KEEPALIVE_S", 0.02)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(HELLO)
        framer = native.Framer()
        states = 0
        while states < 3:
            states += sum(message[0] == native.STATE for message in framer.feed(await reader.read(1000)))
        writer.close()

    with_node(tmp_path, body)


def test_a_peer_that_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_UNSENT", 100_000)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=1024)
        writer.write(HELLO)
        ping = native.pack([native.PING, 1]) * 1000
        with pytest.raises(ConnectionError):
            while True:
                writer.write(ping)
                await writer.drain()
        writer.close()
        del reader

    with_node(tmp_path, body)
