"""Nodes that exist only in virtual time: they have speed, slots, memory and moods, and satisfy ``PoolBackend``.

Which of the jobs there may run is decided by a real node's code (``node/slots.py``); several agents can have jobs on
the same nodes, and are told apart by ``AGENT``. What a job costs is looked up by its source (``Cost``); how long it
takes here follows from the node's speed, and from what happens to it: the job may be a straggler, the connection may
break, the node may go away and come back. All chance comes from generators that belong to one node each, so that a run
repeats from its seed however the scheduler behaves.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from manycc.backends.base import State, Verdict
from manycc.errors import BackendGone, BackendRefused
from manycc.job import Job, Outcome, Toolchain
from manycc.node.slots import GROWTH_S, RESERVE, STILL_TO_COME, Slot, Slots
from manycc.reasons import Reason

RECONNECT_S: Final = 0.1
"""How long a broken connection to a node that lives takes to be there again."""
STATE_S: Final = 0.1
"""Changes of state are told together, this long after the first, as a real node does."""

AGENT: Final[ContextVar[str]] = ContextVar("agent", default="")
"""Whose job it is that a task has a node run, where there are several agents."""
_PLENTY: Final = 1 << 50


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
    long a node stays, and stays away, on average (exponential); 0: it never goes. ``leave``: the chance that it
    goes once, at any moment of the first ``within_s`` seconds, and is away for as long as that.
    """

    straggle: float = 0.0
    straggle_factor: float = 10.0
    loss: float = 0.0
    up_s: float = 0.0
    down_s: float = 0.0
    leave: float = 0.0
    within_s: float = 0.0


CALM: Final = Moods()


def absences(name: str, moods: Moods, seed: int) -> Iterator[tuple[float, float]]:
    """When a node goes, and when it is back: seconds from the beginning, one after the other."""
    chance = random.Random(f"{seed}/{name}/absences")  # noqa: S311 - it has to repeat
    if moods.leave and chance.random() < moods.leave:
        gone = chance.random() * moods.within_s
        yield gone, gone + moods.within_s
    if not moods.up_s:
        return
    back = 0.0
    if chance.random() < moods.down_s / (moods.up_s + moods.down_s):  # it is away by now
        back = chance.expovariate(1.0 / moods.down_s)
        yield 0.0, back
    while True:
        gone = back + chance.expovariate(1.0 / moods.up_s)
        back = gone + chance.expovariate(1.0 / moods.down_s)
        yield gone, back


@dataclass(slots=True, eq=False)
class _Running:
    """A job that a node compiles."""

    cost: Cost
    future: asyncio.Future[None]
    agent: str
    since: float
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
        self._absences = absences(machine.name, moods, seed)
        self._telling: asyncio.TimerHandle | None = None
        self._running: dict[_Running, None] = {}  # in order, as a set of objects is not
        self._admission = Slots(machine.slots, self._memory_available, self.tell)
        self._callbacks: list[Callable[[], None]] = []
        self._comes_and_goes: asyncio.TimerHandle | None = None
        self._begun = 0.0
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
        self.others = self.guests + self._admission.busy + self._admission.queued
        self.told = asyncio.get_running_loop().time()
        if self.machine.memory:
            self.memory_free = max(0, self._admission.memory_free())

    # -- running jobs

    async def run(self, job: Job) -> Outcome:
        loop = asyncio.get_running_loop()
        if self.state is not State.READY:
            raise BackendGone(Reason.NODE_LOST, self.why)
        cost = self._costs[job.source]
        asked = begun = loop.time()
        try:
            slot = await self._slot(cost)
            begun = loop.time()
            try:
                await self._compile(cost)
            finally:
                self._admission.release(slot)
        except BackendGone:
            self.tally.lost += 1
            self.tally.wasted_s += loop.time() - begun
            raise
        except asyncio.CancelledError:
            self.tally.cancelled += 1
            self.tally.wasted_s += loop.time() - begun
            raise
        took = loop.time() - begun
        self.tally.done += 1
        self.tally.busy_s += took
        return Outcome(
            Reason.REMOTE,
            self.name,
            0,
            b"",
            b"",
            phases={"wait": begun - asked, "stage": 0.0, "wall": took - self.machine.latency_s},
            cpu_s=cost.cpu_s / self.machine.speed,
            peak_rss=cost.peak_rss,
            sent=cost.input_bytes,
            received=cost.output_bytes,
        )

    async def _slot(self, cost: Cost) -> Slot:
        """Wait as in a real node's queue; a job too large for the node is let run alone."""
        expected = min(cost.peak_rss, self.machine.memory) if self.machine.memory else 0
        try:
            return await self._admission.acquire(AGENT.get(), max(1, expected))
        except BackendRefused as refused:
            if self.state is State.READY:
                raise
            raise BackendGone(Reason.NODE_LOST, self.why) from refused

    def _memory_available(self) -> int:
        """Jobs take their memory bit by bit, as real nodes think they do."""
        if not self.machine.memory:
            return _PLENTY
        now = asyncio.get_running_loop().time()
        taken = sum(
            min(running.cost.peak_rss, self.machine.memory) * min(1 - STILL_TO_COME, (now - running.since) / GROWTH_S)
            for running in self._running
        )
        return self.machine.memory + RESERVE - int(taken)

    async def _compile(self, cost: Cost) -> None:
        if self.state is not State.READY:  # it went in the moment in which the job was let in
            raise BackendGone(Reason.NODE_LOST, self.why)
        loop = asyncio.get_running_loop()
        running = _Running(cost, loop.create_future(), AGENT.get(), loop.time())
        self._running[running] = None
        self._begin(running)
        try:
            await running.future
        finally:
            assert running.timer is not None  # noqa: S101
            running.timer.cancel()
            del self._running[running]

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

    def shares(self) -> Counter[str]:
        """How many slots each agent has now."""
        return Counter(running.agent for running in self._running)

    # -- coming and going

    def start(self) -> None:
        """Begin to come and go, if that is its mood."""
        self._begun = asyncio.get_running_loop().time()
        self._plan()

    def stop(self) -> None:
        """Let nothing happen to it any more."""
        for timer in (self._comes_and_goes, self._telling):
            if timer is not None:
                timer.cancel()
        self._admission.close()

    def leave(self, why: str = "the connection was lost") -> None:
        """Be gone: all jobs here are lost."""
        if self.state is State.DOWN:
            return
        self.state, self.why = State.DOWN, why
        self.tally.changes.append((asyncio.get_running_loop().time(), False))
        self._admission.resize(0)
        for running in self._running:
            if not running.future.done():
                running.future.set_exception(BackendGone(Reason.NODE_LOST, why))
        self._changed()

    def come(self) -> None:
        """Be there again."""
        if self.state is State.READY:
            return
        self.state, self.why = State.READY, ""
        self.tally.changes.append((asyncio.get_running_loop().time(), True))
        self._admission.resize(self.machine.slots)
        self._see()
        self._changed()

    def _go(self, back: float) -> None:
        self._away = True
        self.leave("it went away")
        self._comes_and_goes = asyncio.get_running_loop().call_at(back, self._back)

    def _back(self) -> None:
        self._away = False
        self.come()
        self._plan()

    def _break(self) -> None:
        if self.state is State.READY:
            self.leave()
            asyncio.get_running_loop().call_later(RECONNECT_S, self._reconnect)

    def _reconnect(self) -> None:
        if not self._away:
            self.come()

    def _plan(self) -> None:
        absence = next(self._absences, None)
        if absence is not None:
            gone, back = (self._begun + time for time in absence)
            self._comes_and_goes = asyncio.get_running_loop().call_at(gone, self._go, back)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
