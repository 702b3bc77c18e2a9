"""What limited a build: for each moment what was binding, and of all that what took the largest part of the time.

The rules look at one slice of the timeline at a time, first that applies. They go by what more of one thing would
have changed: while jobs wait in line and all slots are taken, more slots would have let another job begin; while
slots are free and nobody waits, they would not. Pure: a timeline in, a verdict out; the sentences are in
``monitor/limittext.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from statistics import mean
from typing import Any, Final

from manycc.monitor.timeline import Slice, Timeline

BUSY: Final = 0.9
"""The share of the processors, or of one by the agent, from which on there are none to spare."""
FULL: Final = 0.85
"""The share of the slots that is taken while all are in use: one is free for a moment between two jobs."""
WAITING: Final = 0.3
"""Jobs in line, on average, from which on there is a line."""
NOBODY: Final = 0.3
"""Jobs on average up to which nothing is under way: a slice may hold the end of one."""
PLATEAU: Final = 0.75
"""The part of its -j that a build keeps under way while -j is all that holds it back."""
AT_WORK: Final = 0.7
"""Processors in use from which on this machine does something, although there are no jobs."""
ROUND_TRIPS: Final = 6
"""Jobs that are on the line for no longer than this many round trips wait for answers, not for bandwidth."""
LEAST_WALL_S: Final = 1.0
LEAST_SHARE: Final = 0.25
"""Less than this part of the time is no limit worth naming alone."""
RUNNER_UP: Final = 0.15


class Limit(Enum):
    """What was binding. The values are those of ``--json``."""

    SLOTS = "slots"
    FULL = "full"
    MEMORY = "memory"
    UPLINK = "uplink"
    DOWNLINK = "downlink"
    CLIENT_CPU = "client-cpu"
    PARALLELISM = "parallelism"
    LINKS = "links"
    LONG_FILE = "long-file"
    ORDER = "order"
    HOSTS = "hosts"
    OTHER_WORK = "other-work"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Bound:
    """How long one limit was binding, and the averages of that time. ``saving_s``: an estimate, 0 if there is none."""

    limit: Limit
    seconds: float
    jobs: float = 0.0
    waiting: float = 0.0
    at_hosts: float = 0.0
    slots: float = 0.0
    cpu: float = 0.0
    agent: float = 0.0
    line: float = 0.0
    """The part of their time at hosts that jobs were on the line."""
    local: float = 0.0
    up: float = 0.0
    down: float = 0.0
    saving_s: float = 0.0


AVERAGES: Final = ("jobs", "waiting", "at_hosts", "slots", "cpu", "agent", "line", "local", "up", "down")


@dataclass(slots=True)
class Verdict:
    """What limited a build, and what came second, if it is worth a word.

    ``more`` holds what belongs to a limit: ``file``, ``file_s`` and ``alone_s`` of a long file; ``link``, ``link_s``
    and ``links``; ``more_slots``; ``use_jobs``; ``hosts`` that lack memory; ``hosts_here``; ``told_jobs`` and ``tool``.
    """

    wall_s: float
    jobs: int
    processors: float
    bound: Bound
    runner_up: Bound | None = None
    all: list[Bound] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    clock_set: bool = False


def judge(
    timeline: Timeline,
    told_jobs: int = 0,
    tool: str = "",
    here: Callable[[str], bool] = lambda host: False,
    clock_set: bool = False,
) -> Verdict:
    """Find out what limited a build. ``told_jobs``: its -j, 0 if that is not known; ``here``: whether a host is a
    node on this very machine."""
    verdict = Verdict(
        timeline.wall, len(timeline.jobs), timeline.processors, Bound(Limit.UNKNOWN, 0.0), clock_set=clock_set
    )
    timed = sum(job.end > job.begin for job in timeline.jobs)
    if clock_set or timeline.wall < LEAST_WALL_S or timed <= 0.5 * len(timeline.jobs):
        return verdict
    judged = _Rules(timeline, told_jobs, here)
    bounds = _bounds(timeline, [judged.of(part) for part in timeline.slices])
    _one_or_many(timeline, bounds)
    ranked = sorted(bounds.values(), key=lambda bound: -bound.seconds)
    verdict.more = {"told_jobs": told_jobs, "tool": tool, "hosts_here": judged.hosts_here}
    for bound in ranked:
        _estimate(timeline, bound, verdict.more)
    verdict.all = ranked
    verdict.bound = ranked[0]
    others = [bound for bound in ranked[1:] if bound.limit not in (Limit.FULL, Limit.NOTHING)]
    if others and others[0].seconds >= max(RUNNER_UP * timeline.wall, 0.5):
        verdict.runner_up = others[0]
    return verdict


class _Rules:
    """Judges slices of one timeline."""

    def __init__(self, timeline: Timeline, told_jobs: int, here: Callable[[str], bool]) -> None:
        # More than its -j at once: the tool has been lent some, so that -j is not what holds it back.
        self.cap = timeline.peak if not told_jobs else told_jobs if timeline.peak <= told_jobs + 1 else 0
        hosts = [job.host for job in timeline.jobs if job.host]
        known = {host: here(host) for host in set(hosts)}
        self.hosts_here = sum(known[host] for host in hosts) > 0.5 * len(hosts)
        self._sampled = any(part.state.known for part in timeline.slices)
        on_line = [job.line_s for job in timeline.jobs if job.line_s]
        self._on_any_line = bool(on_line)
        average = sum(on_line) / len(on_line) if on_line else 0.0
        self._only_delay = bool(on_line) and average <= ROUND_TRIPS * timeline.round_trip
        self._on_line = 2 * sum(part.line for part in timeline.slices) >= sum(part.told for part in timeline.slices)
        self._processors = timeline.processors

    def of(self, part: Slice) -> Limit:
        """What was binding in a slice."""
        state = part.state
        here = part.local + part.link + part.refused
        if part.jobs < NOBODY:
            at_work = state.cpu * self._processors >= AT_WORK or state.cpu >= BUSY
            return Limit.OTHER_WORK if at_work else Limit.NOTHING
        if part.link >= 0.5 * part.jobs and part.jobs - part.link < NOBODY:
            return Limit.LINKS
        busy = state.cpu >= BUSY or state.agent >= BUSY
        if part.refused >= 0.5 and part.refused >= 0.5 * here:
            return Limit.MEMORY
        if part.queue >= WAITING:
            return self._with_a_line(part, busy)
        if part.held >= 0.5 * part.told and part.held >= WAITING:
            return Limit.MEMORY if state.short else Limit.SLOTS
        if busy or part.wait >= WAITING:
            return Limit.CLIENT_CPU
        if (line := self._line(part)) is not None:
            return line
        if self._all_taken(part):
            return Limit.FULL
        if part.alone >= 0.5 and self.cap != 1:
            return Limit.LONG_FILE
        if self.cap and part.jobs >= PLATEAU * self.cap:
            return Limit.PARALLELISM
        return Limit.ORDER

    def _with_a_line(self, part: Slice, busy: bool) -> Limit:
        """Of a slice in which jobs wait for hosts."""
        state = part.state
        if state.short:
            return Limit.MEMORY
        if busy and (self.hosts_here or part.line >= 0.5 * part.told > 0):
            return Limit.CLIENT_CPU  # more slots would not be used any better
        if self._sampled and part.remote < NOBODY and not self._all_taken(part):
            return Limit.CLIENT_CPU if busy else Limit.HOSTS
        return self._line(part) or Limit.SLOTS

    def _all_taken(self, part: Slice) -> bool:
        slots = part.state.slots
        return bool(slots) and max(part.remote, part.state.taken) >= FULL * slots

    def _line(self, part: Slice) -> Limit | None:
        """The direction that holds jobs back, if they spend most of their time on the line and not just waiting."""
        state = part.state
        told = part.told >= NOBODY
        # Of jobs that were over here before the host answered, it is not known where they were: as the others.
        mostly = 2 * part.line >= part.told if told else part.remote >= NOBODY and self._on_line
        if not mostly or self._only_delay:
            return None
        if state.up >= state.down:
            return Limit.UPLINK if state.backlog or (told and not state.known) else None
        return Limit.DOWNLINK if self._on_any_line else None


def _bounds(timeline: Timeline, judged: Sequence[Limit]) -> dict[Limit, Bound]:
    """Sum up: for each limit its time and the averages of that time."""
    groups: dict[Limit, list[Slice]] = {}
    for part, limit in zip(timeline.slices, judged, strict=True):
        groups.setdefault(limit, []).append(part)
    found: dict[Limit, Bound] = {}
    for limit, parts in groups.items():
        count = len(parts)
        told = sum(part.told for part in parts)
        found[limit] = Bound(
            limit,
            seconds=count * timeline.width,
            jobs=sum(part.jobs for part in parts) / count,
            waiting=sum(part.queue for part in parts) / count,
            at_hosts=sum(part.remote for part in parts) / count,
            # None are seen where hosts are not used for a while; they are there all the same.
            slots=mean([part.state.slots for part in parts if part.state.slots] or [0]),
            cpu=sum(part.state.cpu for part in parts) / count,
            agent=sum(part.state.agent for part in parts) / count,
            line=sum(part.line for part in parts) / told if told else 0.0,
            local=sum(part.local + part.link + part.refused for part in parts) / count,
            up=sum(part.state.up for part in parts) / count,
            down=sum(part.state.down for part in parts) / count,
        )
    return found


def _one_or_many(timeline: Timeline, bounds: dict[Limit, Bound]) -> None:
    """Take together what is one to whoever reads of it."""
    alone = timeline.alone.values()
    if Limit.LONG_FILE in bounds and max(alone) < 0.5 * sum(alone):
        # Many files that were alone one after another are no long file: they are the order that the build has.
        _merge(bounds, Limit.LONG_FILE, Limit.ORDER)
    if Limit.FULL in bounds and Limit.SLOTS in bounds and bounds[Limit.FULL].seconds > bounds[Limit.SLOTS].seconds:
        # All slots were taken all the same, and more of them would mostly have stayed free.
        _merge(bounds, Limit.SLOTS, Limit.FULL)


def _merge(bounds: dict[Limit, Bound], less: Limit, more: Limit) -> None:
    """Count the time of one limit as another's."""
    part, whole = bounds.pop(less), bounds.setdefault(more, Bound(more, 0.0))
    seconds = part.seconds + whole.seconds
    for name in AVERAGES:
        mixed = getattr(part, name) * part.seconds + getattr(whole, name) * whole.seconds
        setattr(whole, name, mixed / seconds)
    whole.seconds = seconds


def _estimate(timeline: Timeline, bound: Bound, more: dict[str, Any]) -> None:
    """What would help, and what it could save at most: no build gets shorter than its longest job."""
    longest = max(job.busy_s for job in timeline.jobs)
    saving = 0.0
    if bound.limit is Limit.SLOTS and bound.slots >= 1:
        slots = round(bound.slots)
        added = more["more_slots"] = max(1, min(slots, round(bound.waiting)))
        saving = bound.seconds * added / (slots + added)
    elif bound.limit is Limit.PARALLELISM and bound.slots > bound.jobs:
        more["use_jobs"] = round(bound.slots)
        saving = bound.seconds * (1 - bound.jobs / bound.slots)
    elif bound.limit in (Limit.UPLINK, Limit.DOWNLINK):
        saving = bound.seconds * bound.line / 2
        longest = max(job.busy_s - job.line_s / 2 for job in timeline.jobs)
    elif bound.limit is Limit.LONG_FILE:
        index = max(timeline.alone, key=lambda one: timeline.alone[one])
        job = timeline.jobs[index]
        more |= {"file": job.source, "file_s": job.end - job.begin, "alone_s": timeline.alone[index]}
        saving = min(timeline.alone[index], job.begin - timeline.begin)
        longest = 0.0  # it is this one, and is not to become shorter
    elif bound.limit is Limit.LINKS:
        links = [job for job in timeline.jobs if job.link]
        job = max(links, key=lambda one: one.end - one.begin)
        more |= {"link": job.source, "link_s": job.end - job.begin, "links": len(links)}
    elif bound.limit is Limit.MEMORY:
        more |= {"hosts": list(timeline.short)}
    bound.saving_s = max(0.0, min(saving, timeline.wall - longest))
