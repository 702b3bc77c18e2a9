"""One job's way: every way out writes exactly one record and gives every slot back."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from manycc.agent.flow import MAX_ATTEMPTS, JobRunner
from manycc.agent.handed import Handed
from manycc.agent.prepare import Prepared, Preparer
from manycc.agent.unfinished import Unfinished
from manycc.backends.base import State, Verdict
from manycc.command.parse import parse
from manycc.errors import BackendError, BackendGone, BackendRefused, CompilerError, InputsChanged, NotDistributable
from manycc.inputs.manifest import Manifest
from manycc.job import Inputs, Job, Outcome, OutputFile, Toolchain
from manycc.monitor.records import RecordLog
from manycc.reasons import Reason
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool
from manycc.toolchain.objectcheck import ObjectKind
from manycc.wire.launcher import LOCAL, Request, build_result

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})
ELF64 = ObjectKind(64, "little", 62, 0, 1, 0)
ARGV = ["gcc", "-c", "a.c", "-o", "a.o"]
HERE = "here"  # the answer to a launcher that shall run the compiler itself


class FakePreparer:
    """Says what the test tells it; ``hold`` keeps preparations waiting."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.warms = False
        self.error: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.asked = 0

    def key(self, request: Request) -> tuple[object, ...]:
        return ()

    def warm(self, key: tuple[object, ...], request: Request, since: int) -> Prepared | None:
        return self.prepared if self.warms else None

    async def prepare(self, key: tuple[object, ...], request: Request, since: int) -> Prepared:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.prepared


class FakeNode:
    """A host whose jobs end as ``run`` says."""

    slots = 1
    others = 0
    why = ""
    exact = True
    kind = "manycc node"
    memory_free = None
    told = 0.0

    def __init__(self, name: str, outcome: Callable[[Job], Awaitable[Outcome]]) -> None:
        self.name = name
        self.state = State.READY
        self.distrusted = ""
        self._outcome = outcome

    def refusal(self, toolchain: Toolchain) -> str:
        return ""

    def proven(self, toolchain: Toolchain) -> bool:
        return True

    def verdicts(self) -> list[Verdict]:
        return []

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return None

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return None

    def unproven(self, job: Job) -> bool:
        return False

    def connect(self) -> None:
        pass

    def retry(self) -> None:
        pass

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    async def prove(self, toolchain: Toolchain) -> str:
        return ""

    def distrust(self, why: str) -> None:
        self.distrusted = why

    async def run(self, job: Job) -> Outcome:
        return await self._outcome(job)

    async def close(self) -> None:
        pass


class FakeCaller:
    """A launcher; ``close`` is the end of it, or of the compiler it became."""

    pid = 4711
    gave_up = False

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.answered = asyncio.Event()
        self.closed = asyncio.Event()

    def answer(self, data: bytes) -> None:
        self.answers.append(data)
        self.answered.set()

    def gone(self) -> bool:
        return self.closed.is_set()

    async def wait_closed(self) -> None:
        await self.closed.wait()


class FakeLog:
    """The records, in memory."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> bool:
        self.written.append(record)
        return True


class Stage:
    """All that a runner works with, and the runner."""

    def __init__(self, folder: Path, *outcomes: Callable[[Job], Awaitable[Outcome]], complete: bool = True) -> None:
        inputs = Inputs((), "scan", complete, False)
        job = Job(
            argv=tuple(ARGV), cwd=str(folder), env=(), umask=0o22, toolchain=GCC, inputs=inputs,
            folders=(str(folder),), outputs=(str(folder / "a.o"),), stems=(), source=str(folder / "a.c"),
        )  # fmt: skip
        command = parse(ARGV, str(folder), {}, None)
        prepared = Prepared(command, GCC.driver, GCC, Manifest(inputs, [], []), job, ELF64, {}, {})
        self.preparer = FakePreparer(prepared)
        self.local = LocalSlots(1)
        self.nodes = [FakeNode(f"node{number}", outcome) for number, outcome in enumerate(outcomes)]
        self.pool = Pool(self.nodes)
        self.log = FakeLog()
        self.caller = FakeCaller()
        self.request = Request("1", GCC.driver, str(folder), ARGV, {"MANYCC_RUN": "r"}, 0o22, 0, 0)
        self.runner = JobRunner(
            cast(Preparer, self.preparer), self.local, lambda request: self.pool, cast(RecordLog, self.log), lambda: 1,
            cast(Unfinished, None), Handed(str(folder), cast(RecordLog, self.log)),
        )  # fmt: skip

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.runner.run(self.request, self.caller, 1))

    async def finish(self) -> dict[str, Any]:
        """Run the job to its end, the compiler it may become included. Returns its record."""
        task = self.start()
        await asyncio.wait_for(self.caller.answered.wait(), 5)
        self.caller.closed.set()
        await asyncio.wait_for(task, 5)
        return self.record()

    def record(self) -> dict[str, Any]:
        """The one record; asserts that there is one and that nothing is held any more."""
        assert self.runner.running == self.runner.remote == 0
        assert self.local.busy == self.local.waiting == 0
        assert self.pool.waiting == 0
        assert [host.busy for host in self.pool.hosts] == [0] * len(self.nodes)
        assert len(self.log.written) == 1
        return self.log.written[0]


def ok(reason: Reason = Reason.REMOTE, code: int = 0, **changes: Any) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(job: Job) -> Outcome:
        data = b"\x7fELF\2\1\1" + bytes(9) + b"\1\0\x3e\0" + bytes(60)
        outputs = [OutputFile(job.outputs[0], 0o644, data, b"d" * 32)] if code == 0 else []
        return Outcome(**{
            "reason": reason, "host": "node0", "exit_code": code, "stdout": b"", "stderr": b"said", "outputs": outputs,
            "sent": 10, "received": 20, **changes,
        })  # fmt: skip

    return run


def failing(error: Exception) -> Callable[[Job], Awaitable[Outcome]]:
    async def run(job: Job) -> Outcome:
        raise error

    return run


async def endless(job: Job) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(10):
        await asyncio.sleep(0)


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize(("warms", "how"), [(True, "manifest"), (False, "scan")])
@pytest.mark.parametrize("reason", [Reason.REMOTE, Reason.CACHED])
def test_done_by_a_node(tmp_path: Path, warms: bool, how: str, reason: Reason) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(reason))
        stage.preparer.warms = warms
        record = await stage.finish()
        assert stage.caller.answers == [build_result(0, b"", b"said")]
        assert (record["reason"], record["host"], record["exit"], record["how"]) == (reason.code, "node0", 0, how)
        assert (record["run"], record["pid"], record["sent"], record["received"]) == ("r", 4711, 10, 20)
        assert record["cached"] is (reason is Reason.CACHED)
        assert (tmp_path / "a.o").exists()

    play(test)


def test_compile_error_is_shown(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(code=1))
        record = await stage.finish()
        assert stage.caller.answers == [build_result(1, b"", b"said")]
        assert (record["reason"], record["exit"]) == ("remote", 1)

    play(test)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotDistributable(Reason.NOT_COMPILE, "links"), "not-compile"),
        (CompilerError("no compiler"), "not-a-compiler"),
        (OSError("disk"), "agent-fault"),
        (sqlite3.OperationalError("database is locked"), "agent-fault"),
    ],
)
def test_not_prepared(tmp_path: Path, error: Exception, reason: str) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        stage.preparer.error = error
        record = await stage.finish()
        assert stage.caller.answers == [LOCAL]
        assert record["reason"] == reason and "local" in record["phases"]
        assert "how" not in record and "host" not in record

    play(test)


FAILURES: list[tuple[Callable[[Job], Awaitable[Outcome]], str]] = [
    (failing(BackendGone(Reason.NODE_LOST, "gone")), "node-lost"),
    (failing(BackendRefused(Reason.NODE_DISK, "full")), "node-disk"),
    (failing(BackendError(Reason.COMPILER_KILLED, "signal 9")), "compiler-killed"),
    (failing(BackendError(Reason.NODE_TIMEOUT)), "node-timeout"),
    (ok(outputs=[OutputFile("/etc/passwd", 0o644, b"x")]), "unexpected-output"),
    (ok(outputs=[]), "unexpected-output"),
    (ok(code=1, stderr=b"a.c:1: fatal error: b.h: No such file or directory"), "remote-error"),
]


@pytest.mark.parametrize(("outcome", "reason"), FAILURES)
def test_failed_on_the_only_node(tmp_path: Path, outcome: Callable[[Job], Awaitable[Outcome]], reason: str) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, outcome)
        # A host that failed is avoided: the pool has nobody else to ask.
        record = await stage.finish()
        assert stage.caller.answers == [LOCAL]
        assert record["reason"] == reason
        assert [(host, code) for host, code, _ in record["tried"]] == [("node0", reason)]
        assert "host" not in record and "exit" not in record
        assert not (tmp_path / "a.o").exists()

    play(test)


def test_error_of_incomplete_inputs_is_repeated_here(tmp_path: Path) -> None:
    async def test() -> None:
        record = await Stage(tmp_path, ok(code=1), complete=False).finish()
        assert record["reason"] == "remote-error"

    play(test)


def test_wrong_object_costs_the_node_its_trust(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(outputs=[OutputFile(str(tmp_path / "a.o"), 0o644, b"\x7fELF\1\1\1" + bytes(60))]))
        assert (await stage.finish())["reason"] == "wrong-object"
        assert "got" in stage.nodes[0].distrusted

    play(test)


def test_output_that_is_no_plain_file(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "a.o").symlink_to("b.o")
        record = await Stage(tmp_path, ok()).finish()
        assert record["reason"] == "output-special"
        assert (tmp_path / "a.o").is_symlink()

    play(test)


def test_next_node_when_one_is_lost(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, failing(BackendGone(Reason.NODE_LOST, "gone")), ok(host="node1"))
        record = await stage.finish()
        assert (record["reason"], record["host"]) == ("remote", "node1")
        assert record["tried"] == [["node0", "node-lost", "gone"]]

    play(test)


@pytest.mark.parametrize("error", [InputsChanged(Reason.INPUTS_CHANGED), BackendRefused(Reason.INPUTS_CHANGED)])
def test_inputs_that_keep_changing(tmp_path: Path, error: Exception) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, failing(error))
        record = await stage.finish()
        assert record["reason"] == "inputs-changed"
        assert len(record["tried"]) == MAX_ATTEMPTS
        assert stage.preparer.asked == MAX_ATTEMPTS + 1

    play(test)


def test_no_host_answers(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        stage.nodes[0].state = State.DOWN
        assert (await stage.finish())["reason"] == "hosts-down"

    play(test)


async def _preparing(stage: Stage) -> None:
    stage.preparer.hold = asyncio.Event()


async def _in_line(stage: Stage) -> None:
    stage.pool.hosts[0].busy = 1


async def _on_the_node(stage: Stage) -> None:
    pass


async def _waiting_for_a_local_slot(stage: Stage) -> None:
    stage.preparer.error = NotDistributable(Reason.NOT_COMPILE)
    await stage.local.acquire()


@pytest.mark.parametrize("where", [_preparing, _in_line, _on_the_node, _waiting_for_a_local_slot])
def test_cancelled(tmp_path: Path, where: Callable[[Stage], Awaitable[None]]) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, endless)
        await where(stage)
        task = stage.start()
        await settle()
        task.cancel()
        if where is _waiting_for_a_local_slot:
            stage.local.release()  # in the same moment: it must not be handed to the dead
        with pytest.raises(asyncio.CancelledError):
            await task
        stage.pool.hosts[0].busy = 0
        assert stage.record()["reason"] == "cancelled"
        assert stage.caller.answers == []

    play(test)


def test_launcher_that_gave_up_has_recorded_the_job_itself(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, endless)
        task = stage.start()
        await settle()
        stage.caller.gave_up = True
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.log.written == []
        assert stage.runner.running == stage.runner.remote == stage.local.busy == 0

    play(test)


def test_launcher_gone_when_the_result_comes(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        stage.caller.closed.set()
        task = stage.start()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.record()["reason"] == "cancelled"
        assert not (tmp_path / "a.o").exists()

    play(test)


def test_a_job_run_here_is_noted_until_it_is_recorded(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        stage.preparer.error = NotDistributable(Reason.NOT_COMPILE, "links")
        task = stage.start()
        await stage.caller.answered.wait()
        (note,) = tmp_path.glob("handed.*")
        noted = json.loads(note.read_bytes())
        assert (noted["reason"], noted["detail"], noted["pid"]) == ("not-compile", "links", 4711)
        stage.caller.closed.set()
        await task
        assert note.read_bytes() == b"" and stage.record()["job"] == noted["job"]

    play(test)


def test_agent_ended_while_a_compiler_runs_here(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        stage.preparer.error = NotDistributable(Reason.NOT_COMPILE)
        task = stage.start()
        await stage.caller.answered.wait()
        assert stage.local.busy == 1 and stage.runner.running == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.record()["reason"] == "not-compile"

    play(test)


@pytest.mark.parametrize(
    ("error", "guard", "waits"),
    [
        (NotDistributable(Reason.NOT_COMPILE), "", True),
        (NotDistributable(Reason.NOT_COMPILE), "12:1:2 13:1:3 ", True),
        (NotDistributable(Reason.NOT_COMPILE), "12:1:2 4711:1:3 ", False),
        (NotDistributable(Reason.NOT_A_COMPILER), "", False),
    ],
)
def test_the_holder_of_a_slot_makes_way_for_what_it_runs(
    tmp_path: Path, error: NotDistributable, guard: str, waits: bool
) -> None:
    async def test() -> None:
        outer, inner = Stage(tmp_path, ok()), FakeCaller()
        outer.preparer.error = NotDistributable(Reason.COMPILER_WRAPPER)
        holder = outer.start()
        await outer.caller.answered.wait()
        outer.preparer.error = error
        inner.pid = 4712
        request = outer.request._replace(env={"MANYCC_GUARD": guard})
        task = asyncio.create_task(outer.runner.run(request, inner, 1))
        await settle()
        assert inner.answered.is_set() is not waits
        for caller in (outer.caller, inner):
            caller.closed.set()
        await asyncio.gather(holder, task)
        assert inner.answers == [LOCAL]
        assert outer.local.busy == outer.local.waiting == 0

    play(test)
