"""A build's course: from job records and samples, how much of each thing went on at each moment.

A record says when its job ended and how long each phase took, so the phases can be laid out backwards from there.
The build's time is cut into slices of equal width, and each slice gets the average of what was under way in it:
jobs by phase from the records, the machine's and the agent's state from the samples around it. Pure: nothing is read
here, and whatever is out of form counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from manycc.monitor.records import Record
from manycc.monitor.samples import Sample
from manycc.monitor.stats import number_of, text_of
from manycc.reasons import Reason

SLICES: Final = 1000
LEAST_SLICE_S: Final = 0.01
LEAST_APART_S: Final = 0.05
"""Samples that are closer say nothing: the kernel counts CPU time in hundredths of a second."""
ROUNDED_S: Final = 0.002
"""Records are exact to about this: jobs that overlap by less were one after the other."""
MOMENTS: Final = 0.02
"""The part of the time up to which something was so for moments only."""
BACKLOG: Final = 2048
"""Bytes that wait for the line beyond what is just on its way through."""

LOADS: Final = ("prepare", "queue", "remote", "told", "line", "held", "write", "refused", "wait", "local", "link")
"""What is counted, in jobs: phases of records; ``told``: those of ``remote`` of which is known how they spent
their time there; of these, the parts on the line and ``held`` up at the host;
``refused``: done here for want of memory elsewhere; ``wait``: for a place on this machine; ``link``: local jobs that
compile nothing; ``local``: all other local ones."""
_PHASES: Final = ("prepare", "queue", "remote", "write")


@dataclass(frozen=True, slots=True)
class Job:
    """One record, laid out in time."""

    begin: float
    end: float
    spans: tuple[tuple[str, float, float], ...]
    source: str
    link: bool
    host: str
    told: bool
    """Whether the host has said how it spent its time there: seconds on the line, and waiting there to begin."""
    line_s: float
    held_s: float

    @property
    def busy_s(self) -> float:
        """Seconds in which it did not just wait for its turn."""
        return sum(until - since for name, since, until in self.spans if name not in ("queue", "wait"))


class State(NamedTuple):
    """What samples say of some time: shares of the processors, and of one of them the agent's; bytes a second; slots of
    hosts, and how many are taken; whether a host lacked memory, and whether bytes waited for the line.

    ``known`` is False where there is no sample.
    """

    known: bool = False
    cpu: float = 0.0
    agent: float = 0.0
    up: float = 0.0
    down: float = 0.0
    slots: int = 0
    taken: int = 0
    short: bool = False
    backlog: bool = False


class Slice(NamedTuple):
    """Averages over one slice of time, in jobs: all that are under way, and each of ``LOADS``.

    ``alone``: the part of it that one single job was under way, in a stretch that is worth mentioning.
    """

    jobs: float
    prepare: float
    queue: float
    remote: float
    told: float
    line: float
    held: float
    write: float
    refused: float
    wait: float
    local: float
    link: float
    alone: float
    state: State


@dataclass(slots=True)
class Timeline:
    """The whole course. ``width`` is a slice's, in seconds; ``peak`` the most jobs that were under way at once
    for more than moments.

    ``alone``: of the jobs that were the only one for a while, how long in all.
    """

    begin: float
    end: float
    width: float
    slices: list[Slice]
    jobs: list[Job]
    peak: int
    alone: dict[int, float] = field(default_factory=dict)
    processors: float = 0.0
    round_trip: float = 0.0
    short: tuple[str, ...] = ()

    @property
    def wall(self) -> float:
        """Seconds from begin to end."""
        return self.end - self.begin


def lay_out(record: Record) -> Job | None:
    """The job of a record; None if it does not say when it was."""
    end = number_of(record, "t")
    if not end:
        return None
    phases = record.get("phases")
    known = {name: number_of(phases, name) for name in (*_PHASES, "local")} if isinstance(phases, dict) else {}
    spent = sum(known.values())
    total = max(number_of(phases, "total") if isinstance(phases, dict) else 0.0, spent)
    if total > end:
        return None
    code = text_of(record, "reason")
    link = code == Reason.NOT_COMPILE.code
    local = "refused" if code == Reason.NODE_MEMORY.code else "link" if link else "local"
    # Time that no phase accounts for: of a local job, that in which it waited for its place here.
    order = [(name, known.get(name, 0.0)) for name in _PHASES]
    order += [("wait" if known.get("local") else "prepare", total - spent), (local, known.get("local", 0.0))]
    spans: list[tuple[str, float, float]] = []
    at = end - total
    for name, seconds in order:
        if seconds > 0:
            spans.append((name, at, at + seconds))
            at += seconds
    at_host = _at_host(record, known.get("remote", 0.0))
    return Job(
        end - total, end, tuple(spans), _name(record), link, text_of(record, "host"),
        at_host is not None, *(at_host or (0.0, 0.0)),
    )  # fmt: skip


def _name(record: Record) -> str:
    """What a job is about, as the command spells it: its source, else what it makes."""
    if name := text_of(record, "src") or text_of(record, "out"):
        return name
    argv = record.get("argv")
    words = [word for word in argv if isinstance(word, str)] if isinstance(argv, list) else []
    return next((after for word, after in pairwise(words) if word == "-o"), text_of(record, "compiler"))


def _at_host(record: Record, remote: float) -> tuple[float, float] | None:
    """Of a job's seconds at its host: those on the line, and those it waited there; None if that is not known."""
    node = record.get("node")
    if not isinstance(node, dict) or not text_of(record, "host"):
        return None
    held = number_of(node, "wait") + number_of(node, "queued")
    if "took" in node:  # what the node does not account for, and what it waited for contents
        line = remote - number_of(node, "took") + number_of(node, "fetch")
    elif "compile" in node:  # a stock distccd
        line = sum(number_of(node, name) for name in ("connect", "send", "receive"))
    else:
        line = remote - sum(number_of(node, name) for name in ("wait", "queued", "stage", "wall"))
    line = min(max(line, 0.0), remote)
    return line, min(held, remote - line)


def lay_out_all(records: Iterable[Record]) -> list[Job]:
    """The jobs of records, as far as they say when they were."""
    return [job for record in records if (job := lay_out(record)) is not None]


def build(jobs: list[Job], samples: Sequence[Sample], begin: float = 0.0, end: float = 0.0) -> Timeline:
    """The course of a build. Without ``begin`` and ``end`` it lasts from its first job to its last."""
    begin = begin or min((job.begin for job in jobs), default=0.0)
    end = max(begin, end or max((job.end for job in jobs), default=0.0))
    count = max(1, min(SLICES, int((end - begin) / LEAST_SLICE_S)))
    width = (end - begin) / count or LEAST_SLICE_S
    peak, stretches = _alone(jobs, max(0.5, 0.05 * (end - begin)), end - begin)
    grid = _Grid(begin, width, count)
    loads = [grid.new() for _ in LOADS]
    by_name = dict(zip(LOADS, loads, strict=True))
    under_way, alone = grid.new(), grid.new()
    for job in jobs:
        grid.add(under_way, job.begin, job.end)
        for name, since, until in job.spans:
            grid.add(by_name[name], since, until)
            if name == "remote" and job.told:
                grid.add(by_name["told"], since, until)
                # When in this time it was on the line is not known: it is spread out over it.
                grid.add(by_name["line"], since, until, job.line_s / (until - since))
                grid.add(by_name["held"], since, until, job.held_s / (until - since))
    single: dict[int, float] = {}
    for index, since, until in stretches:
        grid.add(alone, since, until)
        single[index] = single.get(index, 0.0) + until - since
    columns = [values.averages() for values in (under_way, *loads, alone)]
    states = _states(samples, grid)
    with_agent = [sample for sample in samples if sample.pid]
    return Timeline(
        begin, end, width,
        [Slice._make((*(column[index] for column in columns), states[index])) for index in range(count)],
        jobs, peak, single,
        max((sample.processors for sample in samples), default=0.0),
        min((sample.round_trip for sample in with_agent if sample.round_trip), default=0.0),
        tuple(dict.fromkeys(name for sample in with_agent for name in sample.short)),
    )  # fmt: skip


def _alone(jobs: Sequence[Job], least_s: float, wall: float) -> tuple[int, list[tuple[int, float, float]]]:
    """How many jobs at once there were, but for moments; and where there was one for a while: (which, from, to)."""
    events = sorted(
        event
        for index, job in enumerate(jobs)
        if job.end - job.begin > ROUNDED_S
        for event in ((job.begin, 1, index), (job.end - ROUNDED_S, -1, index))
    )
    under_way: set[int] = set()
    held: dict[int, float] = {}  # seconds by the number of jobs
    found: list[tuple[int, float, float]] = []
    for (at, change, index), (following, _, _) in pairwise([*events, (events[-1][0] if events else 0.0, 0, -1)]):
        if change > 0:
            under_way.add(index)
        else:
            under_way.discard(index)
        seconds = following - at
        held[len(under_way)] = held.get(len(under_way), 0.0) + seconds
        if len(under_way) == 1 and seconds >= least_s:
            found.append((next(iter(under_way)), at, following))
    above = 0.0
    for level in sorted(held, reverse=True):
        above += held[level]
        if above >= MOMENTS * wall:
            return level, found
    return 0, found


class _Values:
    """Sums per slice, with what fills whole slices kept as differences between neighbours."""

    def __init__(self, count: int) -> None:
        self.parts = [0.0] * (count + 1)
        self.changes = [0.0] * (count + 2)

    def averages(self) -> list[float]:
        level = 0.0
        found: list[float] = []
        for part, change in zip(self.parts[:-1], self.changes, strict=False):
            level += change
            found.append(max(0.0, level + part))
        return found


class _Grid:
    def __init__(self, begin: float, width: float, count: int) -> None:
        self.begin = begin
        self.width = width
        self.count = count

    def new(self) -> _Values:
        return _Values(self.count)

    def place(self, t: float) -> float:
        return min(max((t - self.begin) / self.width, 0.0), float(self.count))

    def add(self, values: _Values, since: float, until: float, weight: float = 1.0) -> None:
        """Something that went on between two moments."""
        first, last = self.place(since), self.place(until)
        if first >= last:
            return
        low, high = int(first), int(last)
        if low == high:
            values.parts[low] += (last - first) * weight
            return
        values.parts[low] += (low + 1 - first) * weight
        values.parts[high] += (last - high) * weight
        values.changes[low + 1] += weight
        values.changes[high] -= weight


def _states(samples: Sequence[Sample], grid: _Grid) -> list[State]:
    """What the samples say of each slice: rates between two of them, and the later one's word on what there was."""
    states = [State()] * grid.count
    for since, until, state in _intervals([sample for sample in samples if sample.pid]):
        for index in range(int(grid.place(since)), int(grid.place(until))):
            states[index] = state
    before: Sample | None = None
    for sample in samples:
        if before is None or before.source != sample.source:
            before = sample
        elif _apart(before, sample) >= LEAST_APART_S:
            cpu = _cpu(before, sample)
            for index in range(int(grid.place(before.t)), int(grid.place(sample.t))):
                states[index] = states[index]._replace(known=True, cpu=cpu)
            before = sample
    return states


def _intervals(samples: Sequence[Sample]) -> Iterator[tuple[float, float, State]]:
    """The time between each two of the agent's samples, and what it was like; at both ends, as it was next to it."""
    for old, new in pairwise(samples):
        yield old.t, new.t, _by_agent(old if old.pid == new.pid else new, new)
    if samples:
        yield 0.0, samples[0].t, _by_agent(samples[0], samples[0])
        old, new = samples[-2:] if len(samples) > 1 else (samples[-1], samples[-1])
        yield new.t, float("inf"), _by_agent(old if old.pid == new.pid else new, new)


def _by_agent(old: Sample, new: Sample) -> State:
    seconds = _apart(old, new) or 1.0
    return State(
        known=True,
        agent=max(0.0, new.agent_s - old.agent_s) / seconds,
        up=max(0, new.sent - old.sent) / seconds,
        down=max(0, new.received - old.received) / seconds,
        slots=new.slots,
        taken=new.taken,
        short=bool(new.short or old.short),
        backlog=max(new.backlog, old.backlog) > BACKLOG,
    )


def _apart(one: Sample, other: Sample) -> float:
    """Seconds between two samples, by the clock that is never set if they have one."""
    apart = other.clock - one.clock if one.clock and other.clock else other.t - one.t
    return max(0.0, apart)


def _cpu(before: Sample, sample: Sample) -> float:
    """The share of the processors that was busy between two samples of one source."""
    available = _apart(before, sample) * sample.processors
    return min(1.0, max(0.0, sample.cpu_s - before.cpu_s) / available) if available else 0.0
