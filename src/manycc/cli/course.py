"""The course of a run, as ``manycc run`` itself sees it: noted for ``manycc stats``, judged at its end."""

from __future__ import annotations

import time

from manycc.config import Config
from manycc.monitor.cpu import CpuMeter
from manycc.monitor.judged import judge_jobs
from manycc.monitor.limits import Limit
from manycc.monitor.limittext import sentence
from manycc.monitor.records import Record, RecordLog, Tail
from manycc.monitor.samples import LOG_BYTES, RunNote, Sample
from manycc.monitor.timeline import Job, lay_out


class Course:
    """Begins when it is made. What cannot be measured or written is done without: the build is what counts."""

    def __init__(self, settings: Config, run: str) -> None:
        self._run = run
        self._jobs: list[Job] = []
        self._log = RecordLog(settings.samples_path, LOG_BYTES)
        self._seen = Tail(settings.samples_path)  # from here on: what was before may be a lot
        self._meter = CpuMeter()
        self._begun = time.monotonic()
        self._sample()

    def over(self, tool: str, jobs: int) -> float:
        """The build has ended: note it, with the program and its -j (0: unknown). How long it took, in seconds."""
        wall = time.monotonic() - self._begun
        self._sample()
        self._log.write(RunNote(self._run, time.time(), wall, tool, jobs).as_record())
        self._log.close()
        return wall

    def add(self, record: Record) -> None:
        """One of its jobs is over."""
        job = lay_out(record)
        if job is not None:
            self._jobs.append(job)

    def limit(self) -> str:
        """What limited it, in a sentence; empty if it was over too soon to tell."""
        try:
            lines = self._seen.poll()
        except OSError:
            lines = []
        self._seen.close()
        verdict = judge_jobs(self._jobs, lines, self._run)
        return "" if verdict.bound.limit is Limit.UNKNOWN and not verdict.clock_set else sentence(verdict)

    def _sample(self) -> None:
        try:
            used = self._meter.read()
        except (OSError, ValueError, LookupError):
            return
        self._log.write(Sample(time.time(), time.monotonic(), *used).as_record())
