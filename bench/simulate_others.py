"""What the scheduler is compared with: a list of free slots, and one that knows all.

That one knows every cost, every speed, and when the build can be over. Only make's order is not in its power: it sees
no more jobs than make has asked for, ``width`` at once. So what it reaches is about what could be reached by any
scheduler, and where that is well above the lower bound, the rest is make's doing: a long job that make asks for at the
very end cannot begin before.

For a time T at which it would be done, a slot that is free gets the longest job that it can end by T, and stays free if
there is none and other slots are quicker. There are two ways for the time before: that rule from the beginning, or the
shortest jobs first, so that make asks for others, until the longest one must begin or be late. Of both, and of
several T, the best counts. It does not foresee that nodes go; what was lost is begun anew.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final

from manycc.backends.base import State
from manycc.job import Job, Outcome
from manycc.testing.simulated import Machine, Moods, SimulatedNode, absences
from manycc.testing.simulatedbuild import Build

LOOK_S: Final = 0.1
"""How often the list of free slots looks whether a node is back."""
FACTORS: Final = (1.0, 1.05, 1.1, 1.15, 1.2, 1.4)
"""T, over the time that the work takes if all slots are busy to the end, or the longest job if that is more."""
MARGINS: Final = (float("inf"), 0.1)
"""How long before it would be late the longest job is begun, as a share of T; all the time: always."""
NEARLY_QUICKEST: Final = 0.9

_Change = tuple[float, int, bool]
"""When a node goes or comes, which one, whether it comes."""


class FreeSlots:
    """No scheduler: whoever is first in line gets the slot that has been free for longest."""

    def __init__(self, nodes: Sequence[SimulatedNode]) -> None:
        self._free = deque(node for number in range(max(node.slots for node in nodes))
                           for node in nodes if number < node.slots)  # fmt: skip
        self._line: deque[asyncio.Future[SimulatedNode]] = deque()

    async def run(self, job: Job) -> Outcome:
        if self._free:
            node = self._free.popleft()
        else:
            future: asyncio.Future[SimulatedNode] = asyncio.get_running_loop().create_future()
            self._line.append(future)
            node = await future
        try:
            return await node.run(job)
        finally:
            self._give_back(node)

    def _give_back(self, node: SimulatedNode) -> None:
        if node.state is not State.READY:
            asyncio.get_running_loop().call_later(LOOK_S, self._give_back, node)
        elif self._line:
            self._line.popleft().set_result(node)
        else:
            self._free.append(node)


def knows_all(build: Build, machines: Sequence[Machine], moods: Moods, seed: int) -> float:
    """Its makespan. Nodes go when simulated ones of this seed do; of a mood's other effects it is free."""
    begun = 0.0
    for phase in build.phases:
        seconds = [build.costs[source].cpu_s for source in phase]
        slots = heapq.nlargest(build.width, (machine.speed for machine in machines for _ in range(machine.slots)))
        least = max(sum(seconds) / sum(slots), max(seconds) / slots[0])
        changes = _changes(machines, moods, seed, begun + 10 * least)
        begun = min(
            _play(seconds, build.width, machines, changes, begun, begun + factor * least, margin * factor * least)
            for factor in FACTORS
            for margin in MARGINS
        )
    return begun


def _changes(machines: Sequence[Machine], moods: Moods, seed: int, until: float) -> list[_Change]:
    """Until then: later ones are left out."""
    found = []
    for number, machine in enumerate(machines):
        for gone, back in takewhile(lambda absence: absence[0] < until, absences(machine.name, moods, seed)):
            found += [(gone, number, False), (back, number, True)]
    return sorted(found)


def _play(
    seconds: Sequence[float],
    width: int,
    machines: Sequence[Machine],
    changes: Iterable[_Change],
    now: float,
    over: float,
    margin: float,
) -> float:
    """When the last of the jobs is done, that are asked for from ``now`` on."""
    quickest = max(machine.speed for machine in machines)
    there = [True] * len(machines)
    lives = [0] * len(machines)  # how often each has gone: of what ran there, nothing comes any more
    free = [(-machine.speed, number, 0) for number, machine in enumerate(machines) for _ in range(machine.slots)]
    heapq.heapify(free)
    waiting: list[float] = []  # sorted
    running: list[tuple[float, int, int, float]] = []  # when it is over, node, its life, the job's seconds
    coming = list(reversed(list(changes)))
    asked = done = 0
    while done < len(seconds):
        while coming and coming[-1][0] <= now:
            _, number, there[number] = coming.pop()
            if there[number]:
                for _ in range(machines[number].slots):
                    heapq.heappush(free, (-machines[number].speed, number, lives[number]))
                continue
            for lost in [entry for entry in running if entry[1] == number]:
                insort(waiting, lost[3])
            lives[number] += 1
            running = [entry for entry in running if entry[1] != number]
            heapq.heapify(running)
        while asked < len(seconds) and asked - done < width:
            insort(waiting, seconds[asked])
            asked += 1
        left_free = []
        while free and waiting:
            slot = heapq.heappop(free)
            speed, number, life = -slot[0], slot[1], slot[2]
            if life != lives[number]:
                continue
            fitting = bisect_right(waiting, (over - now - machines[number].latency_s) * speed)
            if not fitting and running and speed < NEARLY_QUICKEST * quickest:
                left_free.append(slot)
                continue
            if now + waiting[-1] / speed + margin < over:
                job = waiting.pop(0)
            else:
                job = waiting.pop(fitting - 1 if fitting else -1)
            heapq.heappush(running, (now + job / speed + machines[number].latency_s, number, life, job))
        for slot in left_free:
            heapq.heappush(free, slot)
        if coming and (not running or coming[-1][0] <= running[0][0]):
            now = coming[-1][0]
            continue
        now, number, life, _ = heapq.heappop(running)
        done += 1
        heapq.heappush(free, (-machines[number].speed, number, life))
    return now
