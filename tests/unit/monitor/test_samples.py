"""Samples and notes of runs: written, read again, and judged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.monitor.judged import judge_run
from manycc.monitor.limits import Limit
from manycc.monitor.limittext import sentence
from manycc.monitor.records import RecordLog
from manycc.monitor.samples import RunNote, Sample, read_seen

T0 = 1_700_000_000.0
SAMPLE = Sample(
    T0, 50.5, 12.25, 4.0, "machine", 77, 3.5, 1000, 2000, 30, 0.02, 9, 3, 1, 8, 7, 1 << 33, ("pi", "old pi"),
)  # fmt: skip


def test_what_is_written_is_read() -> None:
    plain = Sample(T0 + 1, 51.5, 13.0, 4.0, "machine")
    assert "slots" not in plain.as_record()
    note = RunNote("r", T0 + 2, 2.5, "make", 8)
    lines = [json.loads(json.dumps(one.as_record())) for one in (SAMPLE, plain, note)]
    seen = read_seen(lines, "r", T0, T0 + 2)
    assert seen.note == note
    assert seen.samples == [SAMPLE, plain]


def test_only_what_is_around_a_run_is_taken() -> None:
    lines = [Sample(T0 + at, pid=7).as_record() for at in range(100)]
    lines += [Sample(T0 + at + 0.7).as_record() for at in range(60, 70)]
    assert [sample.t - T0 for sample in read_seen(lines, "r", T0 + 50.5, T0 + 52.5).samples] == [50, 51, 52, 53]
    lines.append(RunNote("r", T0 + 55.5, 5.5).as_record())
    lines.append(RunNote("another", T0 + 90, 80.0).as_record())
    assert [sample.t - T0 for sample in read_seen(lines, "r", T0 + 50.5, T0 + 52.5).samples] == [*range(50, 57)]
    assert read_seen([], "r", T0, T0).samples == []


def test_the_agents_first_sample_after_the_end_still_counts() -> None:
    lines = [Sample(T0 + at, pid=pid).as_record() for at, pid in ((1, 7), (2, 0), (2.5, 0), (2.7, 7), (3, 7))]
    assert [sample.t - T0 for sample in read_seen(lines, "r", T0 + 0.5, T0 + 2).samples] == [
        pytest.approx(at) for at in (1, 2, 2.5, 2.7)
    ]


def test_names_are_bounded() -> None:
    many = dataclasses.replace(SAMPLE, short=tuple(f"host {number}" for number in range(1000)))
    assert len(many.as_record()["short"]) == 64


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
keys = st.sampled_from(["t", "run", "wall", "jobs", "tool", "clock", "cpu", "processors", "pid", "slots", "short"])


@given(st.lists(st.dictionaries(keys, anything), max_size=8))
def test_lines_out_of_form_break_nothing(lines: list[dict[str, Any]]) -> None:
    seen = read_seen(lines, "r", T0, T0 + 1)
    assert all(sample.t > 0 for sample in seen.samples)
    assert seen.note is None or seen.note.wall_s > 0


class Logs:
    """Both logs of one run of ten seconds, begun at ``T0``."""

    def __init__(self, folder: Path) -> None:
        self.jobs = RecordLog(str(folder / "jobs.jsonl"))
        self.seen = RecordLog(str(folder / "samples.jsonl"))

    def job(self, end: float, seconds: float, run: str = "r", queue: float = 0.0) -> None:
        phases = {"queue": queue, "remote": seconds - queue, "total": seconds}
        self.jobs.write({"t": T0 + end, "run": run, "reason": "remote", "host": "pi", "phases": phases})

    def sample(self, at: float, clock: float, taken: int = 2) -> None:
        self.seen.write(Sample(T0 + at, clock, 0.1 * clock, 4.0, "machine", 7, slots=8, taken=taken).as_record())

    def limit(self) -> tuple[Limit, str]:
        verdict = judge_run(self.jobs.path, self.seen.path, "r")
        return verdict.bound.limit, sentence(verdict)


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def test_the_time_before_and_after_all_jobs_counts(logs: Logs) -> None:
    logs.job(6.0, 1.0)
    for at in (0.0, 5.0, 6.0, 20.0):
        logs.sample(at, 100 + at)
    logs.seen.write(RunNote("r", T0 + 20, 20.0, "make", 4).as_record())
    assert logs.limit() == (
        Limit.NOTHING,
        "Neither hosts nor this machine limited it: for 19 of 20 s no job was under way and this machine was idle: "
        "the build waited for something else.",
    )


def test_another_build_at_the_same_time_is_not_part_of_it(logs: Logs) -> None:
    """This one has two jobs at a time, the other one takes all other slots, and for longer."""
    for number in range(20):
        logs.job(number // 2 + 1.0, 1.0, queue=0.6)
        for _ in range(3):
            logs.job(number + 1.0, 1.0, "another")
    for at in range(21):
        logs.sample(float(at), 100.0 + at, taken=8)
    logs.seen.write(RunNote("another", T0 + 20, 20.0, "make", 8).as_record())
    logs.seen.write(RunNote("r", T0 + 10, 10.0, "make", 2).as_record())
    limit, text = logs.limit()
    assert limit is Limit.SLOTS
    assert text.startswith(
        "Limited by the hosts' slots: for 6.0 of 10.0 s 0 of 8 were used by this build and 2 jobs waited"
    )


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
@pytest.mark.parametrize("noted", [True, False])
def test_a_clock_that_was_set_is_told(logs: Logs, step: float, noted: bool) -> None:
    for number in range(10):
        logs.job(number + 1.0 + (step if number > 5 else 0), 1.0)
        logs.sample(float(number) + (step if number > 5 else 0), 100.0 + number)
    if noted:
        logs.seen.write(RunNote("r", T0 + 10 + step, 10.0, "make", 1).as_record())
    limit, text = logs.limit()
    assert limit is Limit.UNKNOWN
    assert "clock was set during the build" in text


def test_a_clock_that_was_set_is_told_without_samples(logs: Logs) -> None:
    for number in range(10):
        logs.job(number + 1.0 - (3600 if number > 5 else 0), 1.0)
    logs.seen.write(RunNote("r", T0 + 10 - 3600, 10.0, "make", 1).as_record())
    assert "clock was set during the build" in logs.limit()[1]


def test_there_may_be_no_logs_at_all(logs: Logs) -> None:
    assert logs.limit()[0] is Limit.UNKNOWN
