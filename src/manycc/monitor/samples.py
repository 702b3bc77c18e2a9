"""What is seen of a build besides its jobs: samples of this machine and the agent, and notes of whole runs.

One JSON line each, in a log of its own beside the job records (``samples.jsonl``), bounded and rotated as they are.
The agent writes a sample a second while it has jobs; ``manycc run`` writes one when it begins, and when it is over
another and a note of the run. The keys are documented in ``docs/json.md``. A reader does without any of them.

Counters only ever grow, so that two samples give the average between them, however far apart they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from manycc.monitor.records import Record
from manycc.monitor.stats import number_of, text_of

LOG_BYTES: Final = 4 * 1024 * 1024
ROUNDED_S: Final = 0.005
_MAX_NAMES: Final = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment.

    ``t`` is of the wall clock, ``clock`` of one that is never set. ``cpu_s``, ``processors`` and ``source`` are those
    of ``monitor/cpu.py``. All else is the agent's, ``pid`` says which; 0 where another process wrote the sample:
    CPU seconds of its own; bytes to and from nodes; bytes that wait for the line; the line's least round trip in
    seconds; jobs that wait in line for a host; slots of hosts that are there, how many of them are taken; bytes of
    memory that can be had here; the hosts that lack memory for what they could otherwise run.
    """

    t: float
    clock: float = 0.0
    cpu_s: float = 0.0
    processors: float = 0.0
    source: str = ""
    pid: int = 0
    agent_s: float = 0.0
    sent: int = 0
    received: int = 0
    backlog: int = 0
    round_trip: float = 0.0
    running: int = 0
    waiting: int = 0
    local: int = 0
    slots: int = 0
    taken: int = 0
    memory: int = 0
    short: tuple[str, ...] = ()

    def as_record(self) -> Record:
        """Its line. What only an agent knows is left out by others."""
        record: Record = {
            "t": round(self.t, 3), "clock": round(self.clock, 3),
            "cpu": round(self.cpu_s, 3), "processors": round(self.processors, 3), "source": self.source,
        }  # fmt: skip
        if self.pid:
            record |= {
                "pid": self.pid, "agent": round(self.agent_s, 3), "sent": self.sent, "received": self.received,
                "backlog": self.backlog, "round_trip": round(self.round_trip, 6), "running": self.running,
                "waiting": self.waiting, "local": self.local, "slots": self.slots, "taken": self.taken,
                "memory": self.memory,
            }  # fmt: skip
        if self.short:
            record["short"] = list(self.short[:_MAX_NAMES])
        return record


@dataclass(frozen=True, slots=True)
class RunNote:
    """A ``manycc run`` that is over: its id, when it ended, how long it took, what ran it, and its -j (0: unknown)."""

    run: str
    t: float
    wall_s: float
    tool: str = ""
    jobs: int = 0

    def as_record(self) -> Record:
        """Its line."""
        wall = round(self.wall_s, 3)
        return {"t": round(self.t, 3), "run": self.run, "wall": wall, "tool": self.tool, "jobs": self.jobs}


@dataclass(slots=True)
class Seen:
    """What the log says of one run: its note, if it is over, and samples in the order of their clock."""

    note: RunNote | None
    samples: list[Sample]


def read_seen(lines: Iterable[Record], run: str, begin: float, end: float) -> Seen:
    """Pick what concerns a run whose jobs were under way between two moments (seconds since the epoch)."""
    note: RunNote | None = None
    samples: list[Sample] = []
    for line in lines:
        if "run" in line:
            if text_of(line, "run") == run:
                note = _run_note(line)
        elif number_of(line, "t"):
            samples.append(_sample(line))
    samples.sort(key=lambda sample: sample.t)
    if note is not None:
        # Its first sample is of its begin, to the rounding.
        begin, end = min(begin, note.t - note.wall_s), max(end, note.t)
        first = sum(sample.t < begin - ROUNDED_S for sample in samples)
    else:
        first = max((index for index, sample in enumerate(samples) if sample.t < begin), default=0)
    # One more, the agent's: what was between the last one and it belongs to the run in part.
    last = min((index for index, sample in enumerate(samples) if sample.t > end and sample.pid), default=len(samples))
    return Seen(note, samples[first : last + 1])


def _run_note(line: Record) -> RunNote | None:
    t, wall = number_of(line, "t"), number_of(line, "wall")
    if not t or not wall or wall > t:
        return None
    return RunNote(text_of(line, "run"), t, wall, text_of(line, "tool"), _count(line, "jobs"))


def _sample(line: Record) -> Sample:
    short: Any = line.get("short")
    names = [name for name in short if isinstance(name, str)] if isinstance(short, list) else []
    return Sample(
        t=number_of(line, "t"),
        clock=number_of(line, "clock"),
        cpu_s=number_of(line, "cpu"),
        processors=number_of(line, "processors"),
        source=text_of(line, "source"),
        pid=_count(line, "pid"),
        agent_s=number_of(line, "agent"),
        sent=_count(line, "sent"),
        received=_count(line, "received"),
        backlog=_count(line, "backlog"),
        round_trip=number_of(line, "round_trip"),
        running=_count(line, "running"),
        waiting=_count(line, "waiting"),
        local=_count(line, "local"),
        slots=_count(line, "slots"),
        taken=_count(line, "taken"),
        memory=_count(line, "memory"),
        short=tuple(names[:_MAX_NAMES]),
    )


def _count(line: Record, key: str) -> int:
    return int(number_of(line, key))
