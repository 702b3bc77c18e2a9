"""What limited a recorded run: reads the two logs, and judges."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from manycc.monitor import records, timeline
from manycc.monitor.limits import Verdict, judge
from manycc.monitor.records import Record
from manycc.monitor.samples import Seen, read_seen
from manycc.monitor.stats import text_of
from manycc.monitor.summary import on_this_machine
from manycc.monitor.timeline import Job, lay_out_all

STEP_S: Final = 2.0
"""Clocks that differ by less do so for other reasons than being set."""


def judge_run(records_path: str, samples_path: str, run: str) -> Verdict:
    """What limited the run of this id. Raises OSError if a log that exists cannot be read."""
    jobs = lay_out_all(record for record in records.read(records_path) if text_of(record, "run") == run)
    return judge_jobs(jobs, records.read(samples_path), run)


def judge_jobs(jobs: list[Job], lines: Iterable[Record], run: str) -> Verdict:
    """The same, of a run whose jobs are at hand, with the lines of the log of samples."""
    begin, end = min((job.begin for job in jobs), default=0.0), max((job.end for job in jobs), default=0.0)
    seen = read_seen(lines, run, begin, end)
    note = seen.note
    if note is None:
        return judge(timeline.build(jobs, seen.samples), here=on_this_machine, clock_set=_stepped(seen))
    outside = bool(jobs) and (begin < note.t - note.wall_s - STEP_S or end > note.t + STEP_S)
    course = timeline.build(jobs, seen.samples, note.t - note.wall_s, note.t)
    return judge(course, note.jobs, note.tool, on_this_machine, outside or _stepped(seen))


def _stepped(seen: Seen) -> bool:
    """Whether the wall clock did not go as the one that is never set did."""
    timed = [sample for sample in seen.samples if sample.clock]
    return any(abs((after.t - before.t) - (after.clock - before.clock)) > STEP_S for before, after in pairwise(timed))
