"""Nodes that exist only in virtual time: they have speed, slots, memory and moods, and satisfy ``PoolBackend``.

What a job costs they look up by its source (``Costs``); how long it takes here follows from the node's speed, and from
what happens to it: the job may be a straggler, the connection may break, the node may go away and come back.
All chance comes from generators that belong to one node each, so that a run repeats from its seed however the
scheduler behaves.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from manycc.backends.base import State, Verdict
from manycc.errors import BackendGone
from manycc.job import Job, Outcome, Toolchain
from manycc.reasons import Reason

RECONNECT_S: Final = 0.1
"""How long a broken connection to a node that lives takes to be there again."""
STATE_S: Final = 0.1
"""Changes of state are told together, this long after the first, as a real node does."""


class Cost(NamedTuple):
    """What one compile takes: CPU seconds on a machine of speed 1, and bytes."""

    cpu_s: float
    peak_rss: int = 0
    input_bytes: int = 0
    output_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node is. ``speed``: reference seconds that one slot does in a second. ``memory``: 0 for enough.

    ``latency_s`` is what a job takes besides compiling (both ways, and the node's work); ``bandwidth`` (bytes a
    second, 0: no limit) is what each job's own bytes take.
    """

    name: str
    slots: int
    speed: float = 1.0
    memory: int = 0
    latency_s: float = 0.0
    bandwidth: float = 0.0


@dataclass(frozen=True, slots=True)
class Moods:
    """What goes wrong. All zero: nothing does.

    ``straggle``: the chance that a job takes ``straggle_factor`` times as long on the node it is on. ``loss``: the
    chance that the connection breaks while a job is out, which loses all jobs there. ``up_s`` and ``down_s``: how
    long a node stays, and stays away, on average (exponential); 0: it never goes.
    """

    straggle: float = 0.0
    straggle_factor: float = 10.0
    loss: float = 0.0
    up_s: float = 0.0
    down_s: float = 0.0


CALM: Final = Moods()


@dataclass(slots=True, eq=False)
class _Running:
    """A job on a node; ``timer`` is set once it compiles."""

    cost: Cost
    future: asyncio.Future[None]
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class Tally:
    """What became of the jobs of a node, and the seconds of slots that went into those done and those given up."""

    done: int = 0
    lost: int = 0
    cancelled: int = 0
    busy_s: float = 0.0
    wasted_s: float = 0.0
    changes: list[tuple[float, bool]] = field(default_factory=list)
    """When it came (True) and went (False)."""


class SimulatedNode:
    """One node. Satisfies ``schedule.pool.PoolBackend``."""

    kind = "simulated node"
    exact = True

    def __init__(self, machine: Machine, costs: Mapping[str, Cost], moods: Moods = CALM, seed: int = 0) -> None:
        """``costs``: by source."""
        self.machine = machine
        self.name = machine.name
        self.slots = machine.slots
        self.memory_free = machine.memory or None
        """As it was ``told`` last, as are ``others``."""
        self.told = 0.0
        self.others = 0
        self.state = State.READY
        self.why = ""
        self.guests = 0
        """Jobs of other agents, that this one hears of only as ``others``."""
        self.tally = Tally()
        self._costs = costs
        self._moods = moods
        self._chance = random.Random(f"{seed}/{machine.name}")  # noqa: S311 - it has to repeat
        self._free = machine.memory
        self._telling: asyncio.TimerHandle | None = None
        self._running: dict[_Running, None] = {}  # in order, as a set of objects is not
        self._waiting: deque[_Running] = deque()
        self._callbacks: list[Callable[[], None]] = []
        self._comes_and_goes: asyncio.TimerHandle | None = None
        self._away = False

    # -- what the scheduler reads

    def refusal(self, toolchain: Toolchain) -> str:
        return ""

    def proven(self, toolchain: Toolchain) -> bool:
        return True

    def verdicts(self) -> list[Verdict]:
        return []

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return None

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return None

    def unproven(self, job: Job) -> bool:
        return False

    async def prove(self, toolchain: Toolchain) -> str:
        return ""

    async def prove_job(self, job: Job) -> None:
        pass

    def keeps_bytes(self, job: Job) -> bool:
        return True

    def distrust(self, why: str) -> None:
        self.leave(why)

    def connect(self) -> None:
        pass

    def retry(self) -> None:
        pass

    async def close(self) -> None:
        self.stop()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _changed(self) -> None:
        for callback in tuple(self._callbacks):
            callback()

    def tell(self) -> None:
        """Have the scheduler told of this node's state, soon."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(STATE_S, self._tell)

    def _tell(self) -> None:
        self._telling = None
        if self.state is State.READY:
            self._see()
            self._changed()

    def _see(self) -> None:
        self.others = self.guests + len(self._running) + len(self._waiting)
        self.told = asyncio.get_running_loop().time()
        if self.machine.memory:
            self.memory_free = max(0, self._free)

    # -- running jobs

    async def run(self, job: Job) -> Outcome:
        loop = asyncio.get_running_loop()
        if self.state is not State.READY:
            raise BackendGone(Reason.NODE_LOST, self.why)
        cost = self._costs[job.source]
        begun = loop.time()
        running = _Running(cost, loop.create_future())
        self._waiting.append(running)
        self._admit()
        try:
            await running.future
        except BackendGone:
            self.tally.lost += 1
            self.tally.wasted_s += loop.time() - begun
            raise
        except asyncio.CancelledError:
            self.tally.cancelled += 1
            self.tally.wasted_s += loop.time() - begun
            raise
        finally:
            self._end(running)
        took = loop.time() - begun
        self.tally.done += 1
        self.tally.busy_s += took
        return Outcome(
            Reason.REMOTE,
            self.name,
            0,
            b"",
            b"",
            phases={"wait": 0.0, "stage": 0.0, "wall": took - self.machine.latency_s},
            cpu_s=cost.cpu_s / self.machine.speed,
            peak_rss=cost.peak_rss,
            sent=cost.input_bytes,
            received=cost.output_bytes,
        )

    def _admit(self) -> None:
        """Begin what waits, in order, as far as slots and memory go; a job too large for the node runs alone."""
        while self._waiting and len(self._running) < self.slots:
            running = self._waiting[0]
            if self.machine.memory and self._running and running.cost.peak_rss > self._free:
                return
            self._waiting.popleft()
            self._running[running] = None
            self._free -= running.cost.peak_rss
            self._begin(running)
            self.tell()

    def _begin(self, running: _Running) -> None:
        machine, moods, chance = self.machine, self._moods, self._chance
        seconds = running.cost.cpu_s / machine.speed
        if moods.straggle and chance.random() < moods.straggle:
            seconds *= moods.straggle_factor
        if machine.bandwidth:
            seconds += (running.cost.input_bytes + running.cost.output_bytes) / machine.bandwidth
        seconds += machine.latency_s
        loop = asyncio.get_running_loop()
        if moods.loss and chance.random() < moods.loss:
            running.timer = loop.call_later(seconds * chance.random(), self._break)
        else:
            running.timer = loop.call_later(seconds, _finish, running.future)

    def _end(self, running: _Running) -> None:
        if running.timer is not None:
            running.timer.cancel()
        if running in self._running:
            del self._running[running]
            self._free += running.cost.peak_rss
        elif running in self._waiting:
            self._waiting.remove(running)
        self.tell()
        self._admit()

    # -- coming and going

    def start(self) -> None:
        """Begin to come and go, if that is its mood: where it is by now is chance as well."""
        moods = self._moods
        if not moods.up_s:
            return
        if self._chance.random() < moods.down_s / (moods.up_s + moods.down_s):
            self._go()
        else:
            self._plan(moods.up_s, self._go)

    def stop(self) -> None:
        """Let nothing happen to it any more."""
        for timer in (self._comes_and_goes, self._telling):
            if timer is not None:
                timer.cancel()

    def leave(self, why: str = "the connection was lost") -> None:
        """Be gone: all jobs here are lost."""
        if self.state is State.DOWN:
            return
        self.state, self.why = State.DOWN, why
        self.tally.changes.append((asyncio.get_running_loop().time(), False))
        self._waiting, gone = deque(), [*self._running, *self._waiting]
        for running in gone:
            if not running.future.done():
                running.future.set_exception(BackendGone(Reason.NODE_LOST, why))
        self._changed()

    def come(self) -> None:
        """Be there again."""
        if self.state is State.READY:
            return
        self.state, self.why = State.READY, ""
        self.tally.changes.append((asyncio.get_running_loop().time(), True))
        self._see()
        self._changed()

    def _go(self) -> None:
        self._away = True
        self.leave("it went away")
        self._plan(self._moods.down_s, self._back)

    def _back(self) -> None:
        self._away = False
        self.come()
        self._plan(self._moods.up_s, self._go)

    def _break(self) -> None:
        if self.state is State.READY:
            self.leave()
            asyncio.get_running_loop().call_later(RECONNECT_S, self._reconnect)

    def _reconnect(self) -> None:
        if not self._away:
            self.come()

    def _plan(self, mean_s: float, then: Callable[[], None]) -> None:
        delay = self._chance.expovariate(1.0 / mean_s)
        self._comes_and_goes = asyncio.get_running_loop().call_later(delay, then)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
