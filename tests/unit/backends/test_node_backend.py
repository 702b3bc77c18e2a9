"""The agent's end of the native protocol, against a node that the test plays."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from manycc.backends import connection as connection_module
from manycc.backends import node as backend_module
from manycc.backends.base import State
from manycc.backends.node import NodeBackend
from manycc.errors import BackendError, BackendGone, BackendRefused, InputsChanged, NotDistributable
from manycc.job import FILE, FOLDER, LINK, Input, Inputs, Job, Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Pool
from manycc.wire import native

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {"driver": b"d" * 32})
WELCOME = {
    "version": native.VERSION,
    "release": "1",
    "name": "n",
    "slots": 3,
    "sandbox": "bubblewrap",
    "machine": "x86_64",
}


class PlayedNode:
    """A peer that says what the test tells it to."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[list[Any]] = asyncio.Queue()
        self.preamble = b""
        self.welcome: dict[str, Any] = WELCOME
        self.verdict = ""
        self.writer: asyncio.StreamWriter | None = None
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.connections += 1
        framer = native.Framer()
        try:
            self.preamble = await reader.readexactly(8)
            while data := await reader.read(65536):
                for message in framer.feed(data):
                    if message[0] == native.HELLO:
                        self.say([native.WELCOME, self.welcome])
                    elif message[0] == native.TOOLCHAIN:
                        self.say([native.PROVEN, message[1], self.verdict, "" if self.verdict else "same", {}])
                        self.received.put_nowait(message)
                    else:
                        self.received.put_nowait(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def say(self, message: list[Any]) -> None:
        assert self.writer is not None
        self.writer.write(native.pack(message))

    async def next(self, kind: int) -> list[Any]:
        while True:
            message = await asyncio.wait_for(self.received.get(), 5)
            if message[0] == kind:
                return message

    def result(self, job: int, outputs: list[Any] | None = None, code: int = 0, **info: Any) -> None:
        self.say([native.RESULT, job, code, b"", native.compress(b"warned"), outputs or [], info])


def play(test: Callable[[PlayedNode, NodeBackend], Awaitable[None]], slots: int | None = None) -> None:
    async def run() -> None:
        node = PlayedNode()
        server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        backend = NodeBackend(
            "n", "127.0.0.1", port, slots, {"version": native.VERSION, "release": "1", "name": "t"}, connect_timeout_s=5
        )
        try:
            await connected(backend)
            await test(node, backend)
        finally:
            await backend.close()
            server.close()
            await server.wait_closed()

    asyncio.run(asyncio.wait_for(run(), 20))


async def connected(backend: NodeBackend) -> None:
    changed = asyncio.Event()
    end = backend.on_change(changed.set)
    backend.connect()
    while backend.state is State.CONNECTING:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 5)
    end()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def job(*items: Input) -> Job:
    return Job(
        argv=("gcc", "-c", "a.c"), cwd="/w", env=(("LANG", "C"),), umask=0o22, toolchain=GCC,
        inputs=Inputs(items, "scan", True, False), folders=("/w",), outputs=("/w/a.o",), stems=("/w/a.",),
        source="/w/a.c",
    )  # fmt: skip


def source(path: Path, text: str) -> Input:
    path.write_text(text)
    return Input(FILE, str(path), hashlib.sha256(text.encode()).digest(), len(text))


def test_job_is_announced_once_then_named_by_number(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        items = [source(tmp_path / "a.c", "int x;"), Input(LINK, "/l", target="/w"), Input(FOLDER, "/w")]
        first = asyncio.create_task(backend.run(job(*items)))
        announced = await node.next(native.ANNOUNCE)
        assert [entry[2] for entry in announced[1]] == [items[0].path, "/l", "/w"]
        sent = await node.next(native.JOB)
        assert sorted(array("I", sent[7])) == [1, 2, 3]
        assert sent[11] & native.FLAG_CACHE
        data = b"\x7fELF" + bytes(100)
        node.result(sent[1], [["/w/a.o", 0o644, len(data), sha256(data), native.compress(data)]], cpu=1.5, rss=7)
        outcome = await first
        assert (outcome.exit_code, outcome.stderr, outcome.outputs[0].data) == (0, b"warned", data)
        assert outcome.reason is Reason.REMOTE and outcome.cpu_s == 1.5 and outcome.received > 0
        second = asyncio.create_task(backend.run(job(*items)))
        sent = await node.next(native.JOB)
        assert node.received.empty()
        node.result(sent[1], cached=True)
        outcome = await second
        assert outcome.reason is Reason.CACHED
        assert outcome.sent < 300

    play(test)


def test_changed_input_is_retracted_and_announced_anew(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        old = source(tmp_path / "a.c", "int x;")
        task = asyncio.create_task(backend.run(job(old)))
        sent = await node.next(native.JOB)
        node.result(sent[1])
        await task
        backend.retire(old)
        task = asyncio.create_task(backend.run(job(source(tmp_path / "a.c", "int y;"))))
        assert (await node.next(native.RETRACT))[1] == [1]
        assert (await node.next(native.ANNOUNCE))[1][0][0] == 2
        node.result((await node.next(native.JOB))[1])
        await task

    play(test)


def test_numbers_that_no_job_needs_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_MOST_NUMBERS", 3)

    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        header = source(tmp_path / "a.h", "int h;")
        units = [source(tmp_path / f"a{number}.c", f"int i{number};") for number in range(5)]
        for unit in units[:2]:
            done = asyncio.create_task(backend.run(job(header, unit)))
            node.result((await node.next(native.JOB))[1])
            await done
        waiting = asyncio.create_task(backend.run(job(header, units[2])))
        named = await node.next(native.JOB)
        last = asyncio.create_task(backend.run(job(header, units[3])))  # the others' numbers were 2 and 3
        assert (await node.next(native.RETRACT))[1] == [2, 3]
        sent = await node.next(native.JOB)
        assert list(array("I", sent[7])) == [1, 5]
        node.say([native.MISSING, named[1], [header.digest, units[2].digest]])  # what is under way is still served
        assert {(await node.next(native.BLOB))[1] for _ in range(2)} == {header.digest, units[2].digest}
        again = asyncio.create_task(backend.run(job(header, units[0])))
        assert [entry[0] for entry in (await node.next(native.ANNOUNCE))[1]] == [6]
        for number in (named[1], sent[1], (await node.next(native.JOB))[1]):
            node.result(number)
        await asyncio.gather(waiting, last, again)

    play(test)


def test_missing_contents_are_uploaded_in_pieces(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        text = "x" * (2 * native.MAX_PIECE + 5)
        item = source(tmp_path / "a.c", text)
        task = asyncio.create_task(backend.run(job(item)))
        sent = await node.next(native.JOB)
        node.say([native.MISSING, sent[1], [item.digest]])
        got = b""
        for _ in range(3):
            _, digest, total, offset, zdata = await node.next(native.BLOB)
            assert (digest, total, offset) == (item.digest, len(text), len(got))
            got += native.decompress(zdata, native.MAX_PIECE)
        assert got == text.encode()
        node.result(sent[1])
        assert (await task).sent > 100

    play(test)


def test_file_that_changed_before_its_upload(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        item = source(tmp_path / "a.c", "int x;")
        (tmp_path / "a.c").write_text("int y;")
        task = asyncio.create_task(backend.run(job(item)))
        sent = await node.next(native.JOB)
        node.say([native.MISSING, sent[1], [item.digest]])
        assert (await node.next(native.GONE))[1:] == [sent[1], item.digest]
        with pytest.raises(InputsChanged):
            await task

    play(test)


def test_contents_never_announced_are_not_given_away(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        secret = hashlib.sha256(b"secret").digest()
        task = asyncio.create_task(backend.run(job(source(tmp_path / "a.c", "int x;"))))
        sent = await node.next(native.JOB)
        node.say([native.MISSING, sent[1], [secret]])
        with pytest.raises(BackendGone, match="no job named"):
            await task
        assert node.received.empty()

    play(test)


def test_a_question_that_a_cancelled_job_left_behind_breaks_nothing(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        item = source(tmp_path / "a.c", "int x;")
        task = asyncio.create_task(backend.run(job(item)))
        number = (await node.next(native.JOB))[1]
        backend.retire(item)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        node.say([native.MISSING, number, [item.digest]])
        assert (await node.next(native.GONE))[1:] == [number, item.digest]
        assert backend.state is State.READY

    play(test)


def test_what_only_a_cancelled_job_asked_for_is_not_sent_any_more(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        items = [source(tmp_path / f"{name}.h", name * 4 * native.MAX_PIECE) for name in "ab"]
        task = asyncio.create_task(backend.run(job(*items)))
        number = (await node.next(native.JOB))[1]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        node.say([native.MISSING, number, [item.digest for item in items]])
        assert (await node.next(native.CANCEL))[1] == number
        # Whoever needs the same asks for it again, and gets it.
        assert (await node.next(native.GONE))[1:] == [number, items[0].digest]
        task = asyncio.create_task(backend.run(job(*items)))
        again = (await node.next(native.JOB))[1]
        node.say([native.MISSING, again, [items[0].digest]])
        assert (await node.next(native.BLOB))[1:4] == [items[0].digest, items[0].size, 0]
        node.result(again)
        await task

    play(test)


def test_what_it_says_of_memory_and_slots_counts_at_once() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        news = asyncio.Event()
        backend.on_change(news.set)

        async def say(**state: Any) -> None:
            before = backend.told
            node.say([native.STATE, {"slots": 3, "busy": 1, "queued": 0, "memory_free": 0, **state}])
            while backend.told == before:
                await asyncio.sleep(0.001)

        assert backend.memory_free is None
        await say(memory_free=900 << 20, busy=2)
        assert (backend.memory_free, backend.others, backend.slots) == (900 << 20, 2, 3)
        news.clear()
        await say(memory_free=890 << 20)
        assert not news.is_set(), "nobody need be woken"
        await say(memory_free=990 << 20)
        assert news.is_set(), "somebody may wait for that"
        await say(memory_free=500 << 20)
        news.clear()
        await say(memory_free=540 << 20)
        assert not news.is_set()
        await say(memory_free=580 << 20)
        assert news.is_set(), "it comes back in small steps, too"
        await say(slots=1)
        assert backend.slots == 1
        news.clear()
        await say(slots=3)
        assert news.is_set() and backend.slots == 3

    play(test)


def test_contents_are_not_sent_for_ever(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        item = source(tmp_path / "a.c", "int x;")
        task = asyncio.create_task(backend.run(job(item)))
        sent = await node.next(native.JOB)
        for _ in range(connection_module.MAX_ASKED + 1):
            node.say([native.MISSING, sent[1], [item.digest]])
        with pytest.raises(BackendGone, match="too often"):
            await task

    play(test)


def test_large_output_comes_in_pieces() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        sent = await node.next(native.JOB)
        for piece in (b"a" * 1000, b"b" * 500):
            node.say([native.OUTPUT, sent[1], 0, native.compress(piece)])
        node.result(sent[1], [["/w/a.o", 0o644, 1500, sha256(b"a" * 1000 + b"b" * 500), None]])
        assert (await task).outputs[0].data == b"a" * 1000 + b"b" * 500

    play(test)


def test_refusal_carries_its_reason_and_sentence() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        sent = await node.next(native.JOB)
        node.say([native.REFUSED, sent[1], "node-memory", "1 GiB free, 2 GiB needed"])
        with pytest.raises(BackendRefused) as caught:
            await task
        assert caught.value.reason is Reason.NODE_MEMORY
        assert "2 GiB" in caught.value.detail
        assert backend.state is State.READY

    play(test)


def test_made_up_reason_is_an_ordinary_refusal() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        for code in ("remote", "no-such-code"):
            task = asyncio.create_task(backend.run(job()))
            sent = await node.next(native.JOB)
            node.say([native.REFUSED, sent[1], code, ""])
            with pytest.raises(BackendRefused) as caught:
                await task
            assert caught.value.reason is Reason.NODE_REFUSED

    play(test)


def test_refused_toolchain() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.verdict = "gcc 12 there, gcc 13 here"
        with pytest.raises(BackendRefused) as caught:
            await backend.run(job())
        assert caught.value.reason is Reason.NO_TOOLCHAIN
        assert backend.refusal(GCC) == node.verdict
        assert not backend.proven(GCC)

    play(test)


def test_cancelled_job_is_cancelled_on_the_node() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        sent = await node.next(native.JOB)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await node.next(native.CANCEL))[1] == sent[1]

    play(test)


@pytest.mark.parametrize(
    "bad",
    [
        [99],
        [native.RESULT],
        [native.RESULT, 1, 999, b"", b"", [], {}],
        [native.RESULT, 1, 0, b"", b"", [["/w/a.o", 0o644, 5, b"", native.compress(b"four")]], {}],
        [native.RESULT, 1, 0, b"", b"", [["/w/a.o", 0o644, 4, b"h" * 32, native.compress(b"four")]], {}],
        [native.RESULT, 1, 0, b"", b"", [["/w/a.o", 0o644, 4, b"h" * 32, None]], {}],
        [native.RESULT, 2, 0, b"", b"", [], {}],
        [native.REFUSED, 0, "node-busy", ""],
        [native.OUTPUT, 7, 0, native.compress(b"x")],
        [native.MISSING, 2, []],
        [native.RESULT, 1, 0, b"", b"", [["/w/a.o", 0o644, 2**40, b"", b""]], {}],
        [native.RESULT, 1, 0, b"not zstd", b"", [], {}],
        [native.RESULT, 1, 0, b"", b"", 7, {}],
        [native.OUTPUT, 1, -1, native.compress(b"x")],
        [native.OUTPUT, 1, 0, native.compress(b"")],
        [native.STATE, 5],
        [native.MISSING, 1, None],
        [native.PROVEN, []],
    ],
)
def test_malformed_answers_cut_the_peer_off(bad: list[Any]) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        await node.next(native.JOB)
        node.say(bad)
        with pytest.raises(BackendError):
            await task
        assert backend.state is State.DOWN

    play(test)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (["node-busy"], Reason.NODE_BUSY),
        (["protocol"], Reason.PROTOCOL),
        (["node-lost"], Reason.NODE_LOST),
        ([], Reason.NODE_LOST),
        (["cached"], Reason.NODE_LOST),
        ([["protocol"]], Reason.NODE_LOST),
        ([7, "protocol"], Reason.NODE_LOST),
    ],
)
def test_a_goodbye_says_what_it_means_for_jobs(code: list[Any], reason: Reason) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        await node.next(native.JOB)
        node.say([native.BYE, "a protocol of words", *code])  # the sentence is for people only
        with pytest.raises(BackendGone, match="a protocol of words") as under_way:
            await task
        with pytest.raises(BackendGone) as late:  # it had got its place before the goodbye came
            await backend.run(job())
        assert under_way.value.reason is late.value.reason is reason

    play(test)


def test_lost_connection_ends_jobs_and_is_retried() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        task = asyncio.create_task(backend.run(job()))
        await node.next(native.JOB)
        assert node.writer is not None
        node.writer.transport.abort()
        with pytest.raises(BackendGone):
            await task
        assert backend.state is State.DOWN and backend.why
        await connected(backend)
        assert backend.state is State.READY
        assert node.connections == 2

    play(test)


def test_node_that_hangs_up_instead_of_greeting() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        assert node.writer is not None
        node.writer.transport.abort()
        await until_state(backend, State.DOWN)
        node.say = lambda message: node.writer.transport.abort()  # type: ignore[method-assign,union-attr]
        await connected(backend)
        assert backend.state is State.DOWN and "another version" in backend.why

    play(test)


def test_slots_are_the_users_word_or_the_nodes() -> None:
    async def offered(node: PlayedNode, backend: NodeBackend) -> None:
        assert backend.slots == 3

    async def asked(node: PlayedNode, backend: NodeBackend) -> None:
        assert backend.slots == 8
        assert node.preamble == native.PREAMBLE

    play(offered)
    play(asked, slots=8)


@pytest.mark.parametrize(
    "more",
    [native.pack([native.BYE, "closing"]), b"\xff" * native.HEADER_SIZE, native.pack([native.STATE, {"busy": "x"}])],
)
def test_welcome_and_the_end_in_one_piece(more: bytes) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.say = lambda message: node.writer.write(native.pack(message) + more)  # type: ignore[method-assign,union-attr]
        assert node.writer is not None
        node.writer.transport.abort()
        await until_state(backend, State.DOWN)
        await connected(backend)
        assert backend.state is State.DOWN and backend.why

    play(test)


async def until_state(backend: NodeBackend, state: State) -> None:
    changed = asyncio.Event()
    end = backend.on_change(changed.set)
    while backend.state is not state:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 5)
    end()


@pytest.mark.parametrize("slots", [float("inf"), "3", None, -1, [1]])
def test_welcome_out_of_form_is_a_host_that_is_down(slots: object) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.welcome = {**WELCOME, "slots": slots}
        assert node.writer is not None
        node.writer.transport.abort()
        await until_state(backend, State.DOWN)
        await connected(backend)
        assert backend.state is State.DOWN and "slots" in backend.why

    play(test)


def test_state_out_of_form_cuts_the_peer_off() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.say([native.STATE, {"busy": 2, "queued": 1}])
        node.say([native.STATE, {"busy": "many"}])
        await until_state(backend, State.DOWN)
        assert backend.others == 0

    play(test)


def test_node_that_does_not_say_whether_it_has_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.verdict = None  # type: ignore[assignment]
        say = node.say
        node.say = lambda message: None if message[0] == native.PROVEN else say(message)  # type: ignore[method-assign]
        # A job in line is turned away when the time is over; nothing else would wake it.
        with pytest.raises(NotDistributable) as caught:
            await asyncio.wait_for(Pool([backend]).acquire(GCC), 5)
        assert caught.value.reason is Reason.NO_TOOLCHAIN and "in time" in caught.value.detail
        say([native.PROVEN, 1, "", "same", {}])
        while not backend.proven(GCC):
            await asyncio.sleep(0.001)
        assert backend.refusal(GCC) == ""

    monkeypatch.setattr(backend_module, "PROVE_TIMEOUT_S", 0.05)
    play(test)


def test_refused_toolchain_is_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        node.verdict = "cc1 differs"
        assert await backend.prove(GCC) == "cc1 differs"
        assert backend.refusal(GCC) == "cc1 differs"
        node.verdict = ""
        while backend.refusal(GCC):
            await asyncio.sleep(0.001)
        assert [said.refused for said in backend.verdicts()] == ["cc1 differs"]  # what it said last
        host = await asyncio.wait_for(Pool([backend]).acquire(GCC), 5)
        assert host.backend.proven(GCC)

    monkeypatch.setattr(backend_module, "REFUSAL_S", 0.05)
    play(test)


def test_answers_to_questions_never_asked_are_not_kept() -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        for number in range(100, 200):
            node.say([native.PROVEN, number, "", "same", {}])
        assert await backend.prove(GCC) == ""
        assert len(backend._verdicts) == 1

    play(test)


def test_content_that_two_inputs_share_outlives_one_of_them(tmp_path: Path) -> None:
    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        one, two = source(tmp_path / "1.h", "same"), source(tmp_path / "2.h", "same")
        task = asyncio.create_task(backend.run(job(one, two)))
        number = (await node.next(native.JOB))[1]
        backend.retire(two)
        node.say([native.MISSING, number, [one.digest]])
        assert (await node.next(native.BLOB))[1] == one.digest
        node.result(number)
        await task

    play(test)
