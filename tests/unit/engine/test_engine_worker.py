"""A worker's session with an engine, over a real line to an engine that does what the test tells it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

import grpc
from bots_fake import FakeBots
from google.rpc import code_pb2, status_pb2

from manycc.engine import channel as channel_module
from manycc.engine import worker as worker_module
from manycc.engine.address import parse_engine
from manycc.engine.leasework import Done
from manycc.engine.token import Credentials
from manycc.engine.worker import Worker
from manycc.engine.workerid import FILE, WorkerId
from manycc.errors import BackendRefused
from manycc.node.slots import Slots
from manycc.reapi import bots_pb2
from manycc.reapi import remote_execution_pb2 as re
from manycc.reasons import Reason

LIMIT_S = 60.0


class Jobs:
    """What a worker does: each job lasts until it is let go. Stands in for Work."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.ended = 0
        self.result = re.ActionResult(exit_code=0)
        self.go = asyncio.Event()

    async def do(self, payload: Any, owner: Any) -> Done:
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return Done("a.c", status_pb2.Status(code=code_pb2.OK), self.result)


class Host:
    """A node, as far as a worker knows it."""

    name = "host\n"
    toolchains = None
    executor = None
    closing = False

    def __init__(self, folder: Path) -> None:
        self.store = type("Store", (), {"root": str(folder)})()
        self.slots = Slots(2, lambda: 1 << 40, lambda: None)
        self.answered = 0
        self.over = asyncio.Event()

    def job_ended(self, session: Any) -> None:
        self.answered += 1

    def session_ended(self, session: Any) -> None:
        self.over.set()


class Bed:
    """A worker and its engine."""

    def __init__(self, engine: FakeBots, folder: Path, jobs: Jobs) -> None:
        self.engine = engine
        self.host = Host(folder)
        self.jobs = jobs
        address = parse_engine(f"reapi://127.0.0.1:{engine.port}/main", 100)
        self.worker = Worker(self.host, address)  # type: ignore[arg-type]

    async def close(self) -> None:
        self.worker.close("the end")
        await asyncio.wait_for(self.host.over.wait(), LIMIT_S)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
def engine() -> Iterator[FakeBots]:
    made = FakeBots()
    yield made
    made.stop()


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The compilers that the worker finds."""
    found = ["one"]

    class Compilers:
        def __init__(self, service: Any) -> None:
            pass

        async def offered(self, env: Mapping[str, str]) -> list[str]:
            return list(found)

    monkeypatch.setattr(worker_module, "Compilers", Compilers)
    monkeypatch.setattr(channel_module, "PAUSES_S", (0.02, 0.02))
    monkeypatch.setattr(worker_module, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(worker_module, "BUSY_S", 1.0)
    return found


@pytest.fixture
def talk(
    engine: FakeBots, fingerprints: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Callable[[Bed], Awaitable[None]]], None]:
    """Run a test with a worker that has joined; it must end by itself when it is told to."""

    def run(test: Callable[[Bed], Awaitable[None]]) -> None:
        async def whole() -> None:
            jobs = Jobs()
            monkeypatch.setattr(worker_module, "Work", lambda *given: jobs)
            bed = Bed(engine, tmp_path, jobs)
            try:
                await test(bed)
            finally:
                await bed.close()

        asyncio.run(whole())

    return run


Talk = Callable[[Callable[[Bed], Awaitable[None]]], None]


def test_a_job(talk: Talk) -> None:
    async def test(bed: Bed) -> None:
        bed.jobs.go.set()
        bed.engine.give("job")
        await until(lambda: bed.engine.done)
        assert bed.engine.done["job"].status.code == code_pb2.OK
        await until(lambda: bed.host.answered == 1)
        assert [session.bot_id.startswith("host?-") for session in bed.engine.made] == [True]

    talk(test)


@pytest.mark.parametrize(
    "code", ["RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "UNAUTHENTICATED", "PERMISSION_DENIED", "ABORTED",
             "FAILED_PRECONDITION", "DATA_LOSS", "UNKNOWN"],
)  # fmt: skip
def test_errors_that_end_nothing(talk: Talk, code: str) -> None:
    """An engine with too much to do, or whose database is away, costs no compile."""

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        bed.engine.errors = [grpc.StatusCode[code]] * 5
        bed.engine.give("another")  # the call that waits ends
        await until(lambda: not bed.engine.errors)
        bed.jobs.go.set()
        await until(lambda: len(bed.engine.done) == 2)
        assert (bed.jobs.begun, bed.jobs.cancelled, len(bed.engine.made)) == (2, 0, 1)

    talk(test)


def test_token_that_cannot_be_read(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        tries = itertools.count(1)
        real = Credentials.metadata

        async def metadata(self: Credentials) -> Any:
            if next(tries) <= 3:
                raise BackendRefused(Reason.NODE_REFUSED, "the token file is gone")
            return await real(self)

        monkeypatch.setattr(Credentials, "metadata", metadata)
        bed.jobs.go.set()
        await until(lambda: bed.engine.done)
        assert (bed.jobs.begun, bed.jobs.cancelled, len(bed.engine.made)) == (1, 0, 1)

    talk(test)


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND"])
def test_session_ended(talk: Talk, code: str) -> None:
    """The engine does not know the session: its jobs are others' now, and there is a new one."""

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        bed.engine.errors = [grpc.StatusCode[code]]
        await until(lambda: bed.jobs.begun == 2)  # it is given again
        assert bed.jobs.cancelled == 1
        assert len(bed.engine.made) == 2

    talk(test)


def test_two_of_one_name(talk: Talk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two sessions ended within a minute: somebody has the same name, so this one takes another, and says so."""

    async def test(bed: Bed) -> None:
        for number in (1, 2):
            await until(lambda number=number: len(bed.engine.updates) and len(bed.engine.made) == 2 * number - 1)
            bed.engine.forget()
            await until(lambda number=number: len(bed.engine.made) == 2 * number + 1)
        first, _, second, _, third = (session.bot_id for session in bed.engine.made)
        assert first == second != third
        assert (tmp_path / FILE).read_text().strip() in third

    with caplog.at_level(logging.WARNING, "manycc.node"):
        talk(test)
    assert "another worker may have the same name" in caplog.text


def test_names(tmp_path: Path) -> None:
    """Machines made from one image have one name and one path of the store, and are not the same worker."""
    folders = [tmp_path / "one", tmp_path / "two", tmp_path / "broken"]
    for folder in folders:
        folder.mkdir()
    (folders[2] / FILE).write_bytes(b"\xff../../x\n" * 100)
    one, two, broken = (str(WorkerId("raspberrypi", str(folder))) for folder in folders)
    assert len({one, two, broken}) == 3
    assert str(WorkerId("raspberrypi", str(folders[0]))) == one
    assert str(WorkerId("raspberrypi", str(folders[2]))) == broken
    assert str(WorkerId("name", str(tmp_path / "nowhere"))).startswith("name-")


def test_other_compilers(talk: Talk, fingerprints: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler is upgraded: what runs is finished, nothing new is taken, and a new session offers the new one."""
    monkeypatch.setattr("manycc.engine.offer.LAST_S", 0.0)

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        fingerprints[:] = ["two"]
        await until(lambda: bed.engine.updates[-1].status == bots_pb2.UNHEALTHY)
        assert ("toolchain", "one") in _properties(bed.engine.updates[-1])
        bed.jobs.go.set()
        await until(lambda: len(bed.engine.made) == 2)
        assert ("toolchain", "two") in _properties(bed.engine.made[1])
        assert list(bed.engine.done) == ["job"]
        assert (bed.jobs.begun, bed.jobs.cancelled) == (1, 0)
        bed.engine.give("next")
        await until(lambda: "next" in bed.engine.done)

    talk(test)


def _properties(session: bots_pb2.BotSession) -> list[tuple[str, str]]:
    return [(one.key, one.value) for one in session.worker.devices[0].properties]


def test_other_slots(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is never idle gets to its new number of slots as well."""
    monkeypatch.setattr(worker_module, "SETTLE_S", 0.2)
    monkeypatch.setattr(worker_module, "BUSY_S", 0.1)

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        bed.host.slots.resize(3)
        bed.worker.push_state(b"")
        await until(lambda: bed.engine.updates[-1].status == bots_pb2.UNHEALTHY)
        bed.jobs.go.set()
        await until(lambda: len(bed.engine.made) == 2)
        assert [session.worker.configs[0].value for session in bed.engine.made] == ["2", "3"]
        assert bed.jobs.cancelled == 0
        bed.host.slots.resize(0)  # its own user works there now: not a matter for another session
        bed.worker.push_state(b"")
        await until(lambda: bed.engine.updates[-1].status == bots_pb2.UNHEALTHY)
        bed.host.slots.resize(3)
        bed.worker.push_state(b"")
        await until(lambda: bed.engine.updates[-1].status == bots_pb2.OK)
        assert len(bed.engine.made) == 2

    talk(test)


def test_new_connection_after_silence(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is dead without a word is not waited for until the kernel gives it up."""
    monkeypatch.setattr(worker_module, "BUSY_S", 0.2)

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        first = bed.engine.peers[-1]
        bed.engine.on["UpdateBotSession"] = bed.engine.silent
        await until(lambda: bed.engine.peers[-1] != first)
        del bed.engine.on["UpdateBotSession"]
        bed.jobs.go.set()
        await until(lambda: bed.engine.done)
        assert (bed.jobs.begun, len(bed.engine.made)) == (1, 1)

    talk(test)


@pytest.mark.parametrize("method", ["CreateBotSession", "UpdateBotSession"])
def test_end_is_bounded(
    engine: FakeBots, talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """An engine that swallows everything does not keep a worker from ending."""
    monkeypatch.setattr(worker_module, "FAREWELL_S", 0.3)
    monkeypatch.setattr(worker_module, "ANSWER_S", 10 * LIMIT_S)
    engine.on[method] = engine.silent

    async def test(bed: Bed) -> None:
        await until(lambda: bed.engine.peers)

    talk(test)
    assert "did not take the goodbye" in caplog.text


def test_end_with_a_job(talk: Talk) -> None:
    """What is not done is given back, to be done by another."""

    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        await bed.close()
        assert bed.engine.done["job"].status.code == code_pb2.UNAVAILABLE
        assert bed.engine.updates[-1].status == bots_pb2.BOT_TERMINATING
        assert bed.jobs.cancelled == 1

    talk(test)


def test_leases_of_the_first_answer(engine: FakeBots, talk: Talk) -> None:
    def create(request: Any, context: Any) -> bots_pb2.BotSession:
        session = engine.CreateBotSession(request, context)
        engine.give("job")
        session.leases.extend(engine.jobs.values())
        return session

    engine.on["CreateBotSession"] = create

    async def test(bed: Bed) -> None:
        await until(lambda: bed.jobs.begun)
        bed.jobs.go.set()
        await until(lambda: bed.engine.done)
        assert [lease.id for lease in bed.engine.updates[0].leases] == ["job"]
        assert bed.jobs.begun == 1

    talk(test)


def test_lease_cancelled_by_its_state(talk: Talk) -> None:
    async def test(bed: Bed) -> None:
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        bed.engine.give("job", state=bots_pb2.CANCELLED)
        bed.engine.give("other")
        await until(lambda: bed.jobs.cancelled)
        assert bed.jobs.begun == 2

    talk(test)


def test_more_leases_than_slots(talk: Talk) -> None:
    """However many an engine names, a worker has no more jobs than it offered slots."""

    async def test(bed: Bed) -> None:
        bed.engine.give(*map(str, range(1000)))
        await until(lambda: len(bed.engine.updates) > 4)
        assert (bed.jobs.begun, bed.worker.jobs) == (2, 2)

    talk(test)


@pytest.mark.parametrize("when", ["at once", "at the end"])
def test_more_results_than_a_message_holds(engine: FakeBots, talk: Talk, when: str) -> None:
    """Results that wait for an engine, as after it was away, come in as many messages as they need."""
    names = [str(number) for number in range(100)]

    async def test(bed: Bed) -> None:
        bed.host.slots.resize(len(names))
        bed.jobs.result = re.ActionResult(stderr_raw=bytes(64 * 1024))
        await until(lambda: bed.engine.made and bed.engine.made[-1].worker.configs[0].value == str(len(names)))
        bed.engine.give(*names)
        await until(lambda: bed.jobs.begun == len(names))
        if when == "at the end":
            engine.errors += 1000 * [grpc.StatusCode.UNAVAILABLE]
        bed.jobs.go.set()
        if when == "at the end":
            await until(lambda: bed.jobs.ended == len(names))
            engine.errors.clear()
            await bed.close()
        await until(lambda: len(bed.engine.done) == len(names))
        assert {lease.status.code for lease in bed.engine.done.values()} == {code_pb2.OK}
        assert all(lease.HasField("result") for lease in bed.engine.done.values())

    talk(test)


def test_too_large_a_result(talk: Talk) -> None:
    """It would keep all others from being taken."""

    async def test(bed: Bed) -> None:
        bed.jobs.result = re.ActionResult(stderr_raw=bytes(5 * 1024**2))
        bed.jobs.go.set()
        bed.engine.give("job")
        await until(lambda: bed.engine.done)
        assert bed.engine.done["job"].status.code == code_pb2.RESOURCE_EXHAUSTED

    talk(test)


def test_words_of_the_engine(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that an engine says reaches a terminal or a log's next line."""

    async def test(bed: Bed) -> None:
        bed.engine.words = "\x1b[2Jfine\r\nmanycc node: all is well"
        bed.engine.errors = [grpc.StatusCode.INTERNAL]
        bed.engine.give("job")
        await until(lambda: bed.jobs.begun)
        bed.engine.errors = [grpc.StatusCode.NOT_FOUND]
        bed.engine.give("other")
        await until(lambda: len(bed.engine.made) == 2)

    talk(test)
    said = [record.getMessage() for record in caplog.records]
    assert any("fine" in text for text in said)
    assert all(text.isprintable() for text in said)


def test_fault_of_its_own(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that breaks takes its node along, which then says that it failed."""

    async def test(bed: Bed) -> None:
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)

        def broken(offer: Any) -> bool:
            raise ValueError("a fault")

        monkeypatch.setattr(bed.worker, "_outgrown", broken)
        bed.engine.give("job")
        await asyncio.wait_for(told.wait(), LIMIT_S)
        assert bed.worker.broken
        await asyncio.wait_for(bed.host.over.wait(), LIMIT_S)

    talk(test)


def test_exit_code_after_a_fault(tmp_path: Path) -> None:
    """Whoever looks after the node (systemd, with Restart=on-failure) starts it again."""
    program = """
import sys
from manycc.cli.main import main
from manycc.engine import worker

def broken(*given):
    raise ValueError("a fault")

worker.Offers.current = broken
sys.exit(main(sys.argv[1:]))
"""
    line = [sys.executable, "-c", program, "node", "--join", "reapi://127.0.0.1:1/main", "--store", str(tmp_path / "s")]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "broke off" in ended.stderr
