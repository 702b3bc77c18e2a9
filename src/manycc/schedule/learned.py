"""What the scheduler has learned, and the file it is kept in from run to run.

Costs of sources and speeds of hosts are in the same unit, so they are kept together. The file is written when the agent
has nothing to do, and replaced as a whole; one that is damaged, or of another form, is begun anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from typing import Final
from weakref import ref
from zlib import crc32

import msgpack

from manycc.job import Job, Outcome
from manycc.reasons import Reason
from manycc.schedule.predict import Expected, Predictions
from manycc.schedule.speed import Speed, Speeds

log = logging.getLogger(__name__)

HERE: Final = "localhost"
"""What this machine is called among the hosts."""
MAGIC: Final = b"manycc learned 1\n"
MAX_FILE: Final = 16 * 1024 * 1024
MAX_ANSWERED: Final = 100_000


class Learned:
    """Predictions and speeds. ``path``: where they are kept; "": nowhere."""

    def __init__(self, path: str = "") -> None:
        self._path = path
        self.predictions = Predictions()
        self.speeds = Speeds()
        self._changed = False
        self._answered: dict[int, ref[Job]] = {}
        """By a source's number, the job that its place has answered; one whose inputs change is another object."""
        if path:
            self._load()

    def expect(self, job: Job) -> Expected:
        """What a job is expected to cost."""
        expected = self.predictions.expect(job)
        answered = self._answered.get(expected.key)
        return expected._replace(again=True) if answered is not None and answered() is job else expected

    def speed(self, host: str) -> Speed:
        """How quick a host is; it stays the same object."""
        return self.speeds.of(host)

    def done(self, host: str, job: Job, expected: Expected, outcome: Outcome, ran_s: float, time: float) -> None:
        """A host has answered a job after ``ran_s`` seconds; ``time`` is that of the loop."""
        if outcome.way and job.cacheable and not outcome.exit_code:  # a node, which keeps results
            if len(self._answered) >= MAX_ANSWERED:
                self._answered.clear()
            self._answered[expected.key] = ref(job)
        if outcome.exit_code or outcome.reason is Reason.CACHED:
            if not outcome.exit_code:
                self.predictions.learn(job, expected, 0.0, outcome.peak_rss, outcome.received, host)
                self._changed = True
            return
        phases = outcome.phases
        # What a host says of itself is believed as far as it fits into the time that was measured here.
        wall = min(phases.get("wall", ran_s), ran_s)
        wait = min(phases.get("wait", 0.0), ran_s - wall)
        speed = self.speeds.of(host)
        self.speeds.learn(speed, expected.seconds, wall, expected.known, time)
        speed.learn_overhead(ran_s - wall - wait, outcome.received)
        self.predictions.learn(job, expected, wall * speed.factor, outcome.peak_rss, outcome.received, host)
        self._changed = True

    def done_here(self, job: Job, expected: Expected, ran_s: float, time: float) -> None:
        """The compiler here has done a job."""
        speed = self.speeds.of(HERE)
        self.speeds.learn(speed, expected.seconds, ran_s, expected.known, time)
        self.predictions.learn(job, expected, ran_s * speed.factor, 0, expected.received, expected.place)
        self._changed = True

    # -- the file

    def save(self) -> None:
        """Write what has changed. A disk that refuses costs what was learned, and a line in the log."""
        if not self._changed or not self._path:
            return
        self._changed = False
        data = msgpack.packb(
            {"hosts": self.speeds.dump(), "predictions": self.predictions.dump()}, unicode_errors="surrogateescape"
        )
        name = f"{self._path}.new"
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(name, "wb") as file:
                file.write(MAGIC + crc32(data).to_bytes(4, "little") + data)
            os.replace(name, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)
            with contextlib.suppress(OSError):
                os.unlink(name)

    def _load(self) -> None:
        try:
            with open(self._path, "rb") as file:
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be read: %s", self._path, error.strerror)
            return
        try:
            head = len(MAGIC)
            if len(data) > MAX_FILE or not data.startswith(MAGIC):
                raise ValueError("it is of another form")
            body = data[head + 4 :]
            if crc32(body) != int.from_bytes(data[head : head + 4], "little"):
                raise ValueError("it is damaged")
            found = msgpack.unpackb(body, unicode_errors="surrogateescape", strict_map_key=True)
            speeds, predictions = Speeds.load(found["hosts"]), Predictions.load(found["predictions"])
        except (ValueError, KeyError, TypeError, AttributeError, struct.error, msgpack.UnpackException) as error:
            log.warning("%s is begun anew: %s", self._path, error)
            return
        self.speeds, self.predictions = speeds, predictions
