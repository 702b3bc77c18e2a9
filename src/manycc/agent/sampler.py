"""Samples of this machine and of the agent while there are jobs, for ``manycc stats`` to say what limited a build.

A second apart, less at the beginning, for a build may be short. Without jobs there is no timer: the first job
begins one, and the first look that finds nothing under way and nothing begun is the last. Jobs pay for none of it:
what is written are counters that exist anyway, and those of the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from typing import Final, Protocol

from manycc.backends.base import State
from manycc.backends.line import Line
from manycc.monitor.cpu import CpuMeter, CpuTime
from manycc.monitor.records import RecordLog
from manycc.monitor.samples import Sample
from manycc.node.machine import memory_available
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool, PoolBackend

FIRST_S: Final = 0.25
EVERY_S: Final = 1.0
MEMORY_EVERY: Final = 4
"""Memory changes slowly, and is the dearest to ask for: only every so many samples."""

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What is asked of ``flow.JobRunner``."""

    started: int
    running: int


class Measured(Protocol):
    """What is asked of ``agent.hosts.Hosts``."""

    def in_use(self, since: float) -> list[Pool]:
        """The pools that a job has asked for since then (monotonic time), or has a place in or waits for."""

    def lines(self) -> Iterable[tuple[str, Line]]:
        """The hosts that are connected, and their lines."""

    def lacking_memory(self) -> tuple[str, ...]:
        """The hosts that have slots which their memory does not let them use."""


class Sampler:
    """Writes samples from the first ``wake`` on, until nothing is under way."""

    def __init__(self, runner: Runner, local: LocalSlots, hosts: Measured, samples: RecordLog) -> None:
        self._runner = runner
        self._local = local
        self._hosts = hosts
        self._log = samples
        self._meter = CpuMeter()
        self._timer: asyncio.TimerHandle | None = None
        self._wait_s = FIRST_S
        self._started = 0
        self._count = 0
        self._memory = 0
        self._clock = 0.0
        self._in_use: list[Pool] = []
        self._lines: dict[str, Line] = {}
        self._sent = self._received = 0

    def wake(self) -> None:
        """A job has come."""
        if self._timer is None:
            self._write()
            self._started = self._runner.started
            self._wait_s = FIRST_S
            self._sleep()

    def look_now(self) -> None:
        """A build is over: write what there is now, if anything was done since the last look."""
        if self._timer is not None:
            self._write()

    def close(self) -> None:
        """Write what there was at last, and no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._write()
        self._log.close()

    def _look(self) -> None:
        self._timer = None
        self._write()
        idle = not self._runner.running and self._started == self._runner.started
        self._started = self._runner.started
        if not idle:
            self._sleep()

    def _sleep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._wait_s, self._look)
        self._wait_s = min(EVERY_S, 2 * self._wait_s)

    def _write(self) -> None:
        try:
            sample = self.sample()
        except (OSError, ValueError, LookupError) as error:  # of what the kernel says
            log.warning("this machine cannot be measured: %s", error)
            return
        self._log.write(sample.as_record())

    def sample(self) -> Sample:
        """This moment. Raises OSError, ValueError or LookupError if the kernel cannot be understood."""
        if self._count % MEMORY_EVERY == 0:
            self._memory = memory_available()
        self._count += 1
        used: CpuTime = self._meter.read()
        backlog, round_trip = self._count_bytes()
        busy: dict[PoolBackend, int] = {}
        waiting = 0
        short = dict.fromkeys(self._hosts.lacking_memory())
        clock = time.monotonic()
        # Hosts of other builds, past ones, do not count; those that were in use a moment ago still do.
        in_use = self._hosts.in_use(self._clock)
        pools = {id(pool): pool for pool in (*in_use, *self._in_use)}
        self._in_use, self._clock = in_use, clock
        for pool in pools.values():
            waiting += pool.waiting
            for host in pool.hosts:
                if host.backend.state is State.READY:
                    busy[host.backend] = busy.get(host.backend, 0) + host.busy
            short.update(dict.fromkeys(pool.short_of_memory()))
        return Sample(
            t=time.time(),
            clock=clock,
            cpu_s=used.used,
            processors=used.processors,
            source=used.source,
            pid=os.getpid(),
            agent_s=time.process_time(),
            sent=self._sent,
            received=self._received,
            backlog=backlog,
            round_trip=round_trip,
            running=self._runner.running,
            waiting=waiting + self._local.waiting,
            local=self._local.busy,
            slots=sum(backend.slots for backend in busy),
            # The node's own word counts other agents' jobs, too.
            taken=sum(min(max(count, backend.others), backend.slots) for backend, count in busy.items()),
            memory=self._memory,
            short=tuple(short),
        )

    def _count_bytes(self) -> tuple[int, float]:
        """Add what went over the lines since last time; what waits for them now, and the least round trip."""
        lines = dict(self._hosts.lines())
        backlog, round_trip = 0, 0.0
        for name, line in lines.items():
            before = self._lines.get(name)
            if before is None or line.sent < before.sent or line.received < before.received:
                before = Line(0, 0, 0, 0.0)  # another connection than last time
            self._sent += line.sent - before.sent
            self._received += line.received - before.received
            backlog += line.backlog
            if line.round_trip and (not round_trip or line.round_trip < round_trip):
                round_trip = line.round_trip
        self._lines = lines
        return backlog, round_trip
