"""Hosts for tests of the scheduler in virtual time: they take as long for a job as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from test_pool import GCC, FakeBackend

from manycc.errors import BackendError
from manycc.job import FILE, Input, Inputs, Job, Outcome
from manycc.reasons import Reason
from manycc.schedule.learned import Learned
from manycc.schedule.speed import Speed


def job_of(name: str, size: int = 1000, level: str = "-O2") -> Job:
    """The job that compiles a source."""
    argv = tuple(word for word in ("gcc", level, "-c", f"{name}.c") if word)
    inputs = Inputs((Input(FILE, f"/{name}.c", bytes(32), size),), "manifest", True, False)
    return Job(argv, "/", (), 0o22, GCC, inputs, ("/",), (f"/{name}.o",), (), f"/{name}.c")


def outcome(host: str, wall: float, rss: int = 0, **more: Any) -> Outcome:
    """A host's answer."""
    return Outcome(Reason.REMOTE, host, 0, b"", b"", phases={"wall": wall}, peak_rss=rss, **more)


class PlayedHost(FakeBackend):
    """A host that takes ``seconds(job)``; ``running`` are the sources it is at, ``cancelled`` those it had to end."""

    def __init__(self, name: str, seconds: Callable[[Job], float], slots: int = 1, **more: Any) -> None:
        super().__init__(name, slots, **more)
        self.seconds = seconds
        self.running: list[str] = []
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.failing: BackendError | None = None

    def objection(self, job: Job) -> None:
        return None

    def unproven(self, job: Job) -> bool:
        return False

    def keeps_bytes(self, job: Job) -> bool:
        return True

    async def run(self, job: Job) -> Outcome:
        self.running.append(job.source)
        self.started.append(job.source)
        try:
            await asyncio.sleep(self.seconds(job))
            if self.failing is not None:
                raise self.failing
        except asyncio.CancelledError:
            self.cancelled.append(job.source)
            raise
        finally:
            self.running.remove(job.source)
        return outcome(self.name, self.seconds(job))


def set_speed(learned: Learned, host: str, factor: float) -> Speed:
    """Have a host's speed be well known. The others' are left as they are."""
    speed = learned.speed(host)
    speed.factor, speed.variance, speed.samples, speed.seen = factor, 0.0004, 100, 0.0
    speed.log = 0.0
    return speed


def teach(learned: Learned, job: Job, seconds: float, rss: int = 0, host: str = "", times: int = 3) -> None:
    """Have a job's cost be known."""
    for _ in range(times):
        learned.predictions.learn(job, learned.expect(job), seconds, rss, 1000, host)
