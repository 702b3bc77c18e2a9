"""A distcc client's connection: whatever comes on it ends in one reply, or in the client's own end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manycc.errors import BackendRefused
from manycc.inputs.fileview import FileView
from manycc.node.distcc import reply, session
from manycc.node.distcc.budget import Budget
from manycc.node.distcc.session import Session, Shared
from manycc.node.distcc.system import SystemHeaders
from manycc.node.options import NodeOptions
from manycc.node.sandbox import Sandbox
from manycc.node.service import Node
from manycc.reasons import Reason
from manycc.testing.requirements import need
from manycc.wire import distcc, lzo

WHOLE = {
    1: distcc.pack_request(1, ("gcc", "-c", "a.c", "-o", "a.o"), b"int a;\n"),
    2: distcc.pack_request(2, ("gcc", "-c", "a.c", "-o", "a.o"), b"int a;\n"),
    3: (
        b"DIST00000003CDIR00000002/hARGC00000003ARGV00000003gccARGV00000002-cARGV00000003a.cNFIL00000002"
        b"NAME00000006/h/a.cFILE0000000a\x17int a;\x11\0\0NAME00000006/h/a.hLINK00000003b.h"
    ),
}  # fmt: skip
FOREVER = b"""# 1 "a.cc"
constexpr unsigned long f() { unsigned long x = 1;
    for (unsigned long i = 0; i < 900000000000ul; ++i) x = x * 31 + i; return x; }
constexpr auto v = f();
"""
FOREVER_ARGS = ("-std=c++17", "-fconstexpr-ops-limit=9223372036854775807", "-fconstexpr-loop-limit=2147483647")


class _Transport(asyncio.Transport):
    """Takes all that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0


class _Toolchains:
    async def named(self, word: str) -> object:
        await asyncio.sleep(0)
        raise BackendRefused(Reason.NO_TOOLCHAIN, f"no {word} is installed here")


class _Host:
    """A node that has no compiler."""

    name = "here"
    closing = False
    store = executor = None
    sandbox = Sandbox("bubblewrap")

    def __init__(self, memory: int = 1 << 30) -> None:
        self.toolchains = _Toolchains()
        self.distcc = Shared(Budget(memory), SystemHeaders())
        self.ended: list[object] = []
        self.over: list[object] = []

    def job_ended(self, one: object) -> None:
        self.ended.append(one)

    def session_ended(self, one: object) -> None:
        self.over.append(one)


def _connected(host: _Host) -> tuple[Session, _Transport]:
    made, transport = Session(host, "127.0.0.1:1"), _Transport()  # type: ignore[arg-type]
    made.connection_made(transport)
    return made, transport


async def _settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def _replies(data: bytes, version: int) -> list[distcc.Reply]:
    reader = distcc.ReplyReader(version)
    reader.feed(data)
    assert not reader.extra
    return [reader.done] if reader.done is not None else []


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from((1, 2, 3)),
    st.lists(st.tuples(st.integers(4, 300), st.binary(max_size=12), st.booleans()), max_size=3),
    st.integers(0, 400),
    st.integers(1, 64),
    st.randoms(use_true_random=False),
)
def test_any_bytes_end_in_one_reply_or_none(
    version: int, changes: list[tuple[int, bytes, bool]], cut: int, step: int, chance: random.Random
) -> None:
    """Requests that are damaged, cut and dealt out in pieces; then the client goes."""
    data = bytearray(WHOLE[version])
    for place, new, instead in changes:
        data[place : place + (len(new) if instead else 0)] = new
    del data[max(cut, 4) :]

    async def run() -> None:
        host = _Host()
        made, transport = _connected(host)
        rest = bytes(data[4:])
        while rest:
            size = chance.randint(1, step)
            made.data_received(rest[:size])
            rest = rest[size:]
        await _settled()
        spoken = int(transport.written[4:12], 16) if transport.written else version
        answers = _replies(transport.written, spoken)
        assert len(answers) == bool(transport.written) == len(host.ended)
        for answer in answers:
            assert answer.status >> 8 in (reply.PROTOCOL, reply.NO_COMPILER) and transport.ended
            text = distcc.expand(answer.version, answer.stderr, 10_000)
            assert text.startswith(b"manycc node here: ") and text.endswith(b"\n")
        made.connection_lost(None)
        await _settled()
        assert host.over == [made] and made.jobs == 0 and host.distcc.budget.used == 0

    asyncio.run(run())


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300))
def test_garbage_ends_in_one_reply_or_none(data: bytes) -> None:
    async def run() -> None:
        host = _Host()
        made, transport = _connected(host)
        made.data_received(data)
        await _settled()
        assert len(_replies(transport.written, 1)) == bool(transport.written)
        made.connection_lost(None)
        await _settled()
        assert host.over == [made]

    asyncio.run(run())


def test_a_late_client_is_told_that_the_node_is_closing() -> None:
    async def run() -> None:
        host = _Host()
        host.closing = True
        made, transport = _connected(host)
        made.data_received(WHOLE[2][4:20])
        (answer,) = _replies(transport.written, 2)
        assert answer.status >> 8 == reply.BUSY
        assert b"is closing" in distcc.expand(2, answer.stderr, 1000)
        made.connection_lost(None)

    asyncio.run(run())


def test_without_the_library_a_client_reads_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its own version's words, though nothing can be compressed."""
    monkeypatch.setattr(lzo, "lzokay", None)

    async def run() -> None:
        for version in (2, 3):
            made, transport = _connected(_Host())
            made.data_received(WHOLE[version][4:])
            await _settled()
            (answer,) = _replies(transport.written, version)
            assert answer.version == version and answer.status >> 8 == reply.REFUSED
            assert b"pip install lzokay" in answer.stderr
            made.connection_lost(None)

    asyncio.run(run())


def test_without_a_sandbox_a_client_reads_what_to_install() -> None:
    async def run() -> None:
        for version in (1, 2, 3):
            host = _Host()
            host.sandbox = Sandbox("folder", "bwrap is not installed")
            made, transport = _connected(host)
            made.data_received(WHOLE[version][4:])
            await _settled()
            (answer,) = _replies(transport.written, version)
            text = distcc.expand(version, answer.stderr, 1000)
            assert answer.status >> 8 == reply.REFUSED and b"since bwrap is not installed: install" in text
            made.connection_lost(None)

    asyncio.run(run())


# -- memory


def test_readers_wait_while_others_hold_the_memory() -> None:
    body = distcc.pack_request(1, ("gcc",), bytes(12_000))

    async def run() -> None:
        host = _Host(memory=15_000)
        first, one = _connected(host)
        second, two = _connected(host)
        first.data_received(body[4:8000])
        second.data_received(body[4:8000])
        assert one.reading and not two.reading  # the first may go on: somebody must
        first.data_received(body[8000:11_000])
        assert one.reading and not two.reading
        first.data_received(body[11_000:])
        await _settled()  # refused, for there is no compiler
        first.connection_lost(None)
        await _settled()
        assert two.reading
        second.data_received(body[8000:])
        await _settled()
        assert _replies(two.written, 1)
        second.connection_lost(None)
        await _settled()
        assert host.distcc.budget.used == 0

    asyncio.run(run())


def test_who_waits_for_memory_too_long_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE_S", 0.01)

    async def run() -> None:
        host = _Host(memory=60)
        first, _ = _connected(host)
        second, two = _connected(host)
        first.data_received(WHOLE[1][4:60])
        second.data_received(WHOLE[1][4:60])
        async with asyncio.timeout(10):
            while not two.written:
                await asyncio.sleep(0.001)
        (answer,) = _replies(two.written, 1)
        assert answer.status >> 8 == reply.BUSY
        first.connection_lost(None)
        second.connection_lost(None)
        assert host.distcc.budget.used == 0

    asyncio.run(run())


def test_a_request_larger_than_all_memory_for_them_is_refused() -> None:
    async def run() -> None:
        host = _Host(memory=5000)
        made, transport = _connected(host)
        made.data_received(distcc.pack_request(1, ("gcc",), bytes(6000))[4:5500])
        (answer,) = _replies(transport.written, 1)
        assert answer.status >> 8 == reply.BUSY and b"all that this node has" in answer.stderr
        made.connection_lost(None)

    asyncio.run(run())


def test_a_budget_serves_the_longest_holder_first() -> None:
    async def run() -> None:
        budget = Budget(100)
        assert budget.take("a", 90)
        assert not budget.take("b", 20) and budget.take("a", 500)
        waiting = budget.room("b")
        assert not waiting.done()
        budget.give("a")
        assert waiting.done() and budget.used == 20
        budget.take("c", 1000)
        late = budget.room("c")
        budget.give("c")
        assert late.cancelled() and budget.used == 20

    asyncio.run(run())


def test_a_thread_whose_client_is_gone_still_counts() -> None:
    """Or clients that hang up at once would have as many requests unpacked at a time as there are threads."""

    async def run() -> None:
        shared = Shared(Budget(1 << 30), SystemHeaders())
        may_end = threading.Event()
        begun: list[int] = []

        def work(number: int) -> None:
            begun.append(number)
            may_end.wait(60)

        tasks = [asyncio.create_task(shared.work(work, number)) for number in range(3)]
        while len(begun) < 2:
            await asyncio.sleep(0.01)
        for task in tasks[:2]:
            task.cancel()
        await _settled()
        for task in tasks[:2]:
            task.cancel()
        await _settled()
        assert begun == [0, 1] and not any(task.done() for task in tasks)
        may_end.set()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
        assert begun == [0, 1, 2]

    asyncio.run(run())


# -- with a real node


def _with_node(tmp_path: Path, slots: int, body: Callable[[Node], Awaitable[None]]) -> None:
    need("bwrap", "g++")

    async def run() -> None:
        node = Node(NodeOptions(store=str(tmp_path / "store"), port=0, slots=slots), FileView().digest_of)
        await node.start()
        try:
            async with asyncio.timeout(60):
                await body(node)
        finally:
            await node.stop()

    asyncio.run(run())


def test_slots_are_those_of_all_jobs(tmp_path: Path) -> None:
    """What a distcc client holds, an agent waits for; and gets, when the client is gone."""

    async def body(node: Node) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(distcc.pack_request(1, ("g++", *FOREVER_ARGS, "-c", "a.cc"), FOREVER))
        while not node.slots.busy:
            await asyncio.sleep(0.01)
        agents = asyncio.create_task(node.slots.acquire("an agent", 0))
        while not node.slots.queued:
            await asyncio.sleep(0.01)
        writer.close()
        node.slots.release(await agents)
        while node.slots.busy:
            await asyncio.sleep(0.01)
        assert node.counts.disconnects == 1 and node.counts.accepted == 1

    _with_node(tmp_path, 1, body)


def test_a_node_that_stops_ends_the_jobs_and_says_so(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(distcc.pack_request(1, ("g++", *FOREVER_ARGS, "-c", "a.cc"), FOREVER))
        while not node.slots.busy:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(node.stop())
        (answer,) = _replies(await reader.read(), 1)
        assert answer.status >> 8 == reply.BUSY and b"closing" in answer.stderr
        writer.close()
        await stopping
        assert not node.slots.busy

    _with_node(tmp_path, 1, body)


def test_a_node_that_is_asked_to_end_finishes_the_request_that_is_being_sent(tmp_path: Path) -> None:
    data = distcc.pack_request(2, ("g++", "-c", "a.cc"), b"int a;\n")

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(data[:-3])
        while not node.counts.accepted:
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(node.drain())
        while not node.closing:
            await asyncio.sleep(0.01)
        writer.write(data[-3:])
        (answer,) = _replies(await reader.read(), 2)
        assert answer.status == 0 and distcc.expand(2, answer.output, 100_000).startswith(b"\x7fELF")
        writer.close()
        await draining

    _with_node(tmp_path, 1, body)


def test_a_client_that_sends_on_and_on_does_not_keep_a_node_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CLOSING_S", 0.1)
    monkeypatch.setattr(session, "STALL_S", 0.1)
    monkeypatch.setattr(session, "LAST_S", 0.3)

    async def body(node: Node) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(b"DIST00000009")
        (answer,) = _replies(await reader.read(), 1)
        assert answer.status >> 8 == reply.PROTOCOL

        async def go_on() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(bytes(2 * session.MIN_PROGRESS))
                    await writer.drain()
                    await asyncio.sleep(0.01)

        sending = asyncio.create_task(go_on())
        async with asyncio.timeout(20):
            await node.stop()
        await sending

    _with_node(tmp_path, 1, body)


def test_counts_are_kept(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        for argv, source in (
            (("g++", "-c", "a.cc"), b"int a;\n"),
            (("g++", "-c", "a.cc"), b"int a\n"),
            (("g++", "-wrapper", "x", "-c", "a.cc"), b"int a;\n"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(distcc.pack_request(1, argv, source))
            assert _replies(await reader.read(), 1)
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(b"DIST00000001XXXX00000000")
        assert _replies(await reader.read(), 1)
        writer.close()
        counts = node.counts
        assert (counts.accepted, counts.compiled, counts.compile_errors) == (4, 1, 1)
        assert (counts.refused, counts.bad_requests, counts.disconnects) == (1, 1, 0)
        assert counts.longest == "a.cc" and counts.longest_compiler == "g++" and counts.longest_s > 0

    _with_node(tmp_path, 1, body)
