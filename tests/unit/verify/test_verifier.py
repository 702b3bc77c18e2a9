"""The life of a sample: waits for idle time, is compiled again, and what follows from that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from verify_support import GCC, OBJECT, outcome, prepared, request, sample

from manycc.monitor.records import RecordLog
from manycc.verify import field as module
from manycc.verify import sample as sampling
from manycc.verify.compare import Observed
from manycc.verify.field import Verifier
from manycc.verify.quarantine import Quarantine
from manycc.verify.recompile import NotDone, ProvesNothing
from manycc.verify.report import Reports
from manycc.verify.sample import Sample, Sampler

WRONG = OBJECT._replace(files={"/w/a.o": (0o644, b"wrong!")})


class FakeCompiler:
    """Compiles as it is told; the last answer is repeated."""

    def __init__(self, *answers: Observed | Exception) -> None:
        self.answers = list(answers)
        self.ran: list[bool] = []
        self.hold: asyncio.Event | None = None
        self.ended = 0

    async def run(self, sample: Sample, *, patient: bool) -> Observed:
        self.ran.append(patient)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.ended += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stage:
    """A verifier among things that a test controls."""

    def __init__(self, folder: Path, *answers: Observed | Exception) -> None:
        self.folder = folder
        self.compiler = FakeCompiler(*answers)
        self.quarantine = Quarantine(str(folder / "quarantine.json"), lambda path: b"")
        self.holds = [True]
        self.jobs = (0, False)
        self.load = 0
        self.looks = 0
        self.look = asyncio.Event()
        self.verifier = Verifier(
            Sampler("1/1"), self.compiler, self.quarantine, Reports(str(folder / "reports")),
            RecordLog(str(folder / "verify.jsonl")), str(folder / "jobs.jsonl"), self._holds, lambda: self.jobs,
            lambda: self.load, self._pause,
        )  # fmt: skip

    async def _holds(self, sample: Sample) -> bool:
        return self.holds.pop(0) if len(self.holds) > 1 else self.holds[0]

    async def _pause(self) -> None:
        self.looks += 1
        await self.look.wait()
        self.look.clear()

    async def pass_time(self) -> None:
        """One pause goes by, and all that follows from it happens."""
        self.look.set()
        await settle()

    def records(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in (self.folder / "verify.jsonl").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def verdicts(self) -> list[tuple[str, str]]:
        return [(record["verdict"], record["detail"]) for record in self.records()]


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


def test_an_idle_machine_verifies_and_notes_it(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        taken = stage.verifier.take("pi", 3, request(env={"MANYCC_RUN": "r"}), prepared(), outcome())
        assert taken is not None
        stage.verifier.add(taken)
        await settle()
        assert stage.records() == []
        await stage.pass_time()
        (record,) = stage.records()
        assert (record["verdict"], record["host"], record["job"], record["run"]) == ("equal", "pi", 3, "r")
        assert (record["fingerprint"], record["out"], record["src"]) == (GCC.fingerprint, "a.o", "a.c")
        assert stage.compiler.ran == [True]
        assert stage.verifier.counts["equal"] == 1
        assert stage.quarantine.entries() == []

    play(test)


def test_it_waits_while_the_machine_has_work(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.jobs = (1, True)
        stage.verifier.add(sample())
        for _ in range(3):
            await stage.pass_time()
        stage.jobs = (2, False)  # between two jobs of a build
        await stage.pass_time()
        stage.jobs = (3, False)
        await stage.pass_time()
        stage.load = 1000
        await stage.pass_time()
        assert stage.compiler.ran == []
        stage.load = 0
        await stage.pass_time()
        assert stage.compiler.ran == [True]

    play(test)


def test_a_person_who_waits_is_not_kept_waiting(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.jobs = (1, True)
        for number in range(3):
            stage.verifier.add(sample(number=number))
        await settle()
        await stage.verifier.drain()
        assert [record["job"] for record in stage.records()] == [0, 1, 2]
        assert stage.compiler.ran == [False] * 3  # at the usual priority
        await stage.verifier.drain()  # nothing waits

    play(test)


def test_who_waits_does_not_wait_for_what_comes_later(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.jobs = (1, True)
        stage.verifier.add(sample(number=1))
        await settle()
        stage.compiler.hold = asyncio.Event()
        waiting = [asyncio.create_task(stage.verifier.drain()) for _ in range(2)]
        await settle()
        stage.verifier.add(sample(number=2))
        stage.compiler.hold.set()
        await asyncio.gather(*waiting)
        await settle()
        assert [record["job"] for record in stage.records()] == [1]
        assert stage.verifier.waiting == 1
        await stage.verifier.drain()
        assert [record["job"] for record in stage.records()] == [1, 2]

    play(test)


def test_a_difference_bars_the_pair_and_keeps_the_evidence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        (tmp_path / "jobs.jsonl").write_text(
            "".join(json.dumps({"t": t, "host": "pi", "out": "x.o", "cwd": "/w"}) + "\n" for t in (1, 2e9))
        )
        stage = Stage(tmp_path, OBJECT)
        good, bad = sample("pi", 1), sample("pi", 2, WRONG)
        stage.verifier.add(good)
        stage.verifier.add(bad)
        await stage.verifier.drain()
        assert stage.verdicts() == [("equal", ""), ("different", "/w/a.o")]
        (entry,) = stage.quarantine.entries()
        assert entry.host == "pi" and entry.last_good == round(good.done, 3)
        assert entry.report == stage.records()[1]["report"]
        report = Path(entry.report)
        assert (report / "local/files/w/a.o").read_bytes() == b"object"
        assert (report / "remote/files/w/a.o").read_bytes() == b"wrong!"
        assert json.loads((report / "command.json").read_text())["argv"] == ["gcc", "-c", "a.c"]
        assert "WRONG RESULT" in caplog.text and "manycc verify --suspects pi" in caplog.text

    play(test)


def test_it_is_barred_before_its_result_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)

        def broken(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(module, "explained", broken)
        stage.verifier.add(sample("pi", 1, WRONG))
        await stage.verifier.drain()
        (entry,) = stage.quarantine.entries()
        assert entry.host == "pi"

    play(test)


def test_a_compiler_that_varies_blames_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        other = OBJECT._replace(files={"/w/a.o": (0o644, b"another")})
        stage = Stage(tmp_path, OBJECT, other)
        stage.verifier.add(sample(seen=WRONG))
        await stage.verifier.drain()
        assert stage.verdicts() == [("void", "the compiler here does not write the same twice: /w/a.o")]
        assert stage.quarantine.entries() == []

    play(test)


@pytest.mark.parametrize("holds", [[False], [True, False], [True, True, False], [True, True, True, False]])
def test_changed_inputs_blame_nobody(tmp_path: Path, holds: list[bool]) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.holds = holds
        stage.verifier.add(sample(seen=WRONG))
        await stage.verifier.drain()
        assert stage.verdicts() == [("void", "an input has changed since")]
        assert stage.quarantine.entries() == []

    play(test)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NotDone("it writes more than one file", "no namespaces"), "skipped"),
        (ProvesNothing("the compiler was killed here", "Killed"), "void"),
        (RuntimeError("a fault of ours"), "skipped"),
    ],
)
def test_what_goes_wrong_is_counted_and_the_next_is_done(tmp_path: Path, error: Exception, verdict: str) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, error, OBJECT)
        stage.verifier.add(sample(number=1))
        stage.verifier.add(sample(number=2))
        await stage.verifier.drain()
        assert [record["verdict"] for record in stage.records()] == [verdict, "equal"]
        assert str(error.args[0]) in stage.records()[0]["detail"]
        assert stage.quarantine.entries() == []

    play(test)


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.jobs = (1, True)
        for number in range(sampling.MAX_WAITING + 2):
            stage.verifier.add(sample(number=number))
        await settle()
        assert [record["job"] for record in stage.records()] == [0, 1]
        assert stage.verdicts()[0] == ("skipped", "more was sampled than there was idle time for")
        await stage.verifier.close()

    play(test)


def test_closing_ends_the_compile_and_counts_the_rest(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        stage.compiler.hold = asyncio.Event()
        stage.verifier.add(sample(number=1))
        stage.verifier.add(sample(number=2))
        await settle()
        await stage.pass_time()
        assert stage.verifier.busy and stage.compiler.ran == [True]
        await stage.verifier.close()
        assert stage.compiler.ended == 1 and not stage.verifier.busy
        assert [(record["job"], record["verdict"]) for record in stage.records()] == [(1, "skipped"), (2, "skipped")]

    play(test)


def test_samples_after_the_line_was_empty_are_done_too(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        for number in range(3):
            stage.verifier.add(sample(number=number))
            await settle()
            await stage.pass_time()
            assert [record["job"] for record in stage.records()] == list(range(number + 1))

    play(test)


def test_by_its_own_clock_it_gets_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "LOOK_S", 0.001)
        monkeypatch.setattr(module, "cpu_count", lambda: 2 * (module.running_now() + 1000))
        stage = Stage(tmp_path, OBJECT)
        verifier = Verifier(
            Sampler("1/1"), stage.compiler, stage.quarantine, Reports(str(tmp_path / "reports")),
            RecordLog(str(tmp_path / "verify.jsonl")), "", stage._holds, lambda: (0, False),
        )  # fmt: skip
        done = stage.compiler.hold = asyncio.Event()
        done.set()
        verifier.add(sample())
        while not stage.records():
            await asyncio.sleep(0)
        assert stage.verdicts() == [("equal", "")]

    play(test)


def test_nothing_polls_without_samples(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, OBJECT)
        await settle()
        assert stage.looks == 0
        stage.verifier.add(sample())
        await settle()
        await stage.pass_time()
        looks = stage.looks
        await settle()
        assert stage.looks == looks and len(stage.records()) == 1

    play(test)
