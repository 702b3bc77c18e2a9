"""The agent's end of sending toolchains: what a node may ask for, how fast it is sent, what stops it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from test_node_backend import GCC, PlayedNode, job, play

from manycc.backends import sending as sending_module
from manycc.backends.base import State
from manycc.backends.node import NodeBackend
from manycc.backends.sending import PIECE, WINDOW, Sending
from manycc.errors import BackendGone, BackendRefused, WireError
from manycc.job import Outcome, Toolchain, ToolFile
from manycc.reasons import Reason
from manycc.wire import native


class Node:
    """What is said to a node, with answers to its PINGs while ``answers``."""

    def __init__(self) -> None:
        self.heard: list[list[Any]] = []
        self.failed: list[str] = []
        self.answers = True
        self.closed = False
        self.sending = Sending("pi", self._hear, self.failed.append)

    def _hear(self, message: list[Any]) -> None:
        if self.closed:
            raise BackendGone(Reason.NODE_LOST, "closed")
        self.heard.append(message)
        if message[0] == native.PING and self.answers:
            asyncio.get_running_loop().call_soon(self.sending.confirmed, message[1])

    def of(self, kind: int) -> list[list[Any]]:
        return [message for message in self.heard if message[0] == kind]

    def content(self, digest: bytes) -> bytes:
        return b"".join(native.decompress(one[4], native.MAX_PIECE) for one in self.of(native.BLOB) if one[1] == digest)


def run(body: Callable[[Node], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await body(Node())

    asyncio.run(bounded())


def made(folder: Path, *contents: bytes) -> Toolchain:
    files = []
    for number, content in enumerate(contents):
        path = folder / f"part{number}"
        path.write_bytes(content)
        files.append(ToolFile(str(path), hashlib.sha256(content).digest(), len(content)))
    return Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", tuple(files), (), {})


async def idle(node: Node) -> None:
    """Wait until nothing is left to be sent."""
    while node.sending._task is not None:
        await asyncio.sleep(0.001)


def test_all_is_sent_once_from_where_it_is_lacking(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, os.urandom(3 * PIECE + 5), b"", b"small")
        one, two, three = toolchain.files
        node.sending.wanted(1, toolchain)
        assert node.heard == [[native.FILES, 1, [[file.path, file.digest, file.size] for file in toolchain.files]]]
        transfer = node.sending.transfer(1)
        assert transfer is not None and transfer.shown() == "its compiler is about to be sent there"
        node.sending.missing(1, [one.digest, two.digest, three.digest], [PIECE + 1, 0, 0])
        await idle(node)
        assert [blob[2:4] for blob in node.of(native.BLOB)] == [
            [one.size, PIECE + 1], [one.size, 2 * PIECE + 1], [one.size, 3 * PIECE + 1], [0, 0], [5, 0],
        ]  # fmt: skip
        assert node.content(one.digest) == Path(one.path).read_bytes()[PIECE + 1 :]
        assert (transfer.sent, transfer.total) == (2 * PIECE + 9, 2 * PIECE + 9)
        assert "is being tried" in transfer.shown()
        node.sending.proven(1, "")
        assert node.sending.transfer(1) is None

    run(body)


def test_no_more_is_under_way_than_the_node_confirms(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        node.answers = False
        toolchain = made(tmp_path, os.urandom(8 * PIECE))
        node.sending.wanted(1, toolchain)
        node.sending.missing(1, [toolchain.files[0].digest], [])
        for confirmed in range(5):
            while sum(len(blob[4]) for blob in node.of(native.BLOB)[confirmed:]) <= WINDOW:
                await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0.001)
            under_way = node.of(native.BLOB)[confirmed:]
            assert sum(len(blob[4]) for blob in under_way[:-1]) <= WINDOW
            assert len(node.of(native.PING)) == len(node.of(native.BLOB))
            node.sending.confirmed(confirmed + 1)
        node.sending.close()
        node.closed = True
        await idle(node)
        assert node.failed == []

    run(body)


def test_a_node_that_takes_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_module, "CONFIRM_S", 0.05)

    async def body(node: Node) -> None:
        node.answers = False
        toolchain = made(tmp_path, os.urandom(8 * PIECE))
        node.sending.wanted(1, toolchain)
        node.sending.missing(1, [toolchain.files[0].digest], [])
        await idle(node)
        await asyncio.sleep(0)
        assert node.failed == ["a toolchain could not be sent: the node does not take it"]

    run(body)


def test_what_is_asked_for_in_the_moment_in_which_all_was_sent(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, b"first", b"second")
        first, second = (file.digest for file in toolchain.files)
        node.sending.wanted(1, toolchain)
        node.sending.missing(1, [first], [0])
        task = node.sending._task
        assert task is not None
        while not task.done():  # the callback that notes its end comes in the loop's next turn
            await asyncio.sleep(0)
        assert node.sending._task is task
        node.sending.missing(1, [second], [0])
        await idle(node)
        assert (node.content(first), node.content(second)) == (b"first", b"second")

    run(body)


def test_a_verdict_ends_it(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, os.urandom(200 * PIECE), b"never")
        node.sending.wanted(1, toolchain)
        node.sending.missing(1, [file.digest for file in toolchain.files], [0, 0])
        while not node.of(native.BLOB):
            await asyncio.sleep(0.001)
        node.sending.proven(1, "the disk is full")
        await idle(node)
        assert node.content(toolchain.files[1].digest) == b""
        assert len(node.of(native.BLOB)) < 200

    run(body)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"other"),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
    ],
    ids=["other", "gone", "pipe", "link"],
)
def test_a_file_that_was_changed_is_not_sent(tmp_path: Path, change: Callable[[Path], object]) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, b"first")
        (file,) = toolchain.files
        node.sending.wanted(1, toolchain)
        change(Path(file.path))
        node.sending.missing(1, [file.digest], [0])
        await idle(node)
        assert node.of(native.BLOB) == []
        assert node.of(native.GONE) == [[native.GONE, native.SHIPPED | 1, file.digest]]

    run(body)


@pytest.mark.parametrize(
    ("number", "digests", "offsets"),
    [
        (2, [0], [0]),
        (1, [b"x" * 32], [0]),
        (1, [0, 0], [0, 0]),
        (1, [0], [6]),
        (1, [0], [-1]),
        (1, [0], ["0"]),
        (1, [0], [0, 0]),
    ],
    ids=["toolchain", "digest", "twice", "beyond", "before", "text", "count"],
)
def test_what_a_node_may_not_ask_for(tmp_path: Path, number: int, digests: list[Any], offsets: list[Any]) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, b"first")
        node.sending.wanted(1, toolchain)
        wanted = [toolchain.files[0].digest if digest == 0 else digest for digest in digests]
        with pytest.raises(WireError):
            node.sending.missing(number, wanted, offsets)
        assert node.of(native.BLOB) == []

    run(body)


def test_a_node_that_asks_without_end(tmp_path: Path) -> None:
    async def body(node: Node) -> None:
        toolchain = made(tmp_path, b"first")
        with pytest.raises(WireError):
            for _ in range(100):
                node.sending.wanted(1, toolchain)
                node.sending.proven(1, "not now")
        node.sending.wanted(2, toolchain)
        with pytest.raises(WireError):
            for _ in range(100):
                node.sending.missing(2, [toolchain.files[0].digest], [0])
        await idle(node)

    run(body)


def test_a_host_takes_jobs_when_the_compiler_has_come() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.verdict = "no gcc here"
        assert await backend.prove(GCC) == "no gcc here"
        node.say([native.WANTED, 1])
        assert await node.next(native.FILES) == [native.FILES, 1, []]
        said = backend.verdict(GCC)
        assert said is not None and said.sending == (0, 0) and not backend.proven(GCC)
        assert "about to be sent" in said.refused and said.refused == backend.refusal(GCC) == await backend.prove(GCC)
        with pytest.raises(BackendRefused, match="compiler"):
            await backend.run(job())
        node.say([native.PROVEN, 1, "", "shipped", {}])
        running = asyncio.create_task(_until_served(backend))
        sent = await node.next(native.JOB)
        node.result(sent[1])
        assert (await running).way == "shipped"
        said = backend.verdict(GCC)
        assert said is not None and said[1:] == ("", "shipped", None)
        # It had to make room there, and is wanted again.
        node.say([native.PROVEN, 1, "had to make room", "", {}])
        node.say([native.WANTED, 1])
        await node.next(native.FILES)
        said = backend.verdict(GCC)
        assert said is not None and said.sending is not None and said.way == "" and not backend.proven(GCC)
        node.say([native.WANTED, 99])  # of nothing that was asked for
        node.say([native.MISSING, native.SHIPPED | 99, [b"x" * 32], [0]])
        while backend.state is State.READY:
            await asyncio.sleep(0.001)
        assert "files were asked for of a toolchain that nobody wants" in backend.why

    play(test)


async def _until_served(backend: NodeBackend) -> Outcome:
    while not backend.proven(GCC):
        await asyncio.sleep(0.001)
    return await backend.run(job())
