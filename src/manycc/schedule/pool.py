"""Who runs the next job: the slots of one host list.

A job asks for a place; it gets a slot where it is expected to be over first, waits in line if it is better off so,
or is told at once that no host can do it. Nothing polls: a release, a connection made or lost, a toolchain proven
or refused, memory that became free wakes the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.job import Job, Toolchain
from manycc.reasons import Reason
from manycc.schedule.choice import Choice
from manycc.schedule.fitness import EXCLUDED, Fitness
from manycc.schedule.here import Here
from manycc.schedule.host import Demand, Grant, Host, PoolBackend
from manycc.schedule.line import Line, Waiter
from manycc.schedule.predict import UNKNOWN, Expected
from manycc.schedule.pressure import Pressure
from manycc.schedule.proving import Proving
from manycc.schedule.served import NEARLY_S, Served
from manycc.schedule.speed import Speed, Speeds

__all__ = ["EXCLUDED", "Grant", "Host", "Pool", "PoolBackend"]

CONNECT_S: Final = 0.25
"""How often hosts that are down are told that there is work."""

_NO_TOOLCHAIN: Final = Toolchain("", "", "", "", "", "", (), (), {})


class Pool:
    """The hosts of one list."""

    def __init__(
        self,
        backends: Iterable[PoolBackend],
        here: Here | Callable[[], bool] | None = None,
        barred: Callable[[str, Toolchain], str] | None = None,
        speeds: Speeds | None = None,
    ) -> None:
        """``here``: this machine, as one more place to compile; None: never compile here.

        ``barred`` gives the sentence why a host is not to be trusted with a toolchain, "" if it is.
        """
        speeds = speeds or Speeds()
        self.hosts = [Host(backend, speeds.of(backend.name)) for backend in backends]
        self._here = here if here is None or isinstance(here, Here) else Here(here, Speed())
        self._barred = barred or (lambda host, toolchain: "")
        self._proving = Proving(self._answered)
        self._fitness = Fitness(self.hosts, self._barred, self._proving.begin)
        self._served: dict[tuple[str, str, bool], Served] = {}
        self._usual = UNKNOWN
        self._waiting = 0
        self._pressure = Pressure()
        self._choice = Choice({host.name: host for host in self.hosts}, self._fitness, self._pressure, self._look_again)
        self._unready: set[Host] = set(self.hosts)
        self._connect_at = float("-inf")
        self._again: asyncio.TimerHandle | None = None
        self._unsubscribe = [host.backend.on_change(self._subscriber(host)) for host in self.hosts]
        self.on_line: list[Callable[[], object]] = []
        """Who has slots that are not urgent: the latest is called when somebody has to wait."""

    def close(self) -> None:
        """Take no more notice of the backends. Nobody may hold or await a slot."""
        for end in self._unsubscribe:
            end()
        if self._again is not None:
            self._again.cancel()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return self._waiting

    def slots(self) -> int:
        """All slots that are there to be used now."""
        return sum(host.backend.slots for host in self.hosts if host.backend.state is State.READY)

    def short_of_memory(self) -> list[str]:
        """Hosts with a slot that whoever is first in line does not get, for want of memory there."""
        lines = [served for served in self._served.values() if served.line]
        return [
            host.name
            for served in lines
            for host in served.hosts
            if host.has_room() and not host.has_memory(served.line.head.demand.expected.rss)
        ]

    # -- what jobs call

    async def acquire(
        self,
        toolchain: Toolchain,
        avoid: frozenset[str] = frozenset(),
        prefer: str = "",
        job: Job | None = None,
        exact: bool = False,
        expected: Expected = UNKNOWN,
    ) -> Grant:
        """A slot for this job. Hosts named in ``avoid`` are passed over.

        ``prefer`` names the host that did this job before: it has the inputs, perhaps the result, and
        gets it if that is nearly as good as any other. ``expected``: what the job will cost.

        Hosts that object to ``job`` are passed over; one that would not keep its bytes gets it only where no other
        serves it, busy or not. With ``exact``, hosts that do not keep all bytes are never used.

        Raises NotDistributable: NO_HOSTS, HOSTS_DOWN, NO_TOOLCHAIN, QUARANTINED when no host can do the job, a host's
        objection, SAME_BYTES, NODE_MEMORY, and LOCAL_SLOT when this machine is the best place.
        """
        if not self.hosts:
            raise NotDistributable(Reason.LOCAL_SLOT if self._here else Reason.NO_HOSTS)
        loop = asyncio.get_running_loop()
        demand = Demand(toolchain, avoid, prefer, job, exact, expected)
        served = self._served_by(toolchain, exact)
        now = loop.time()
        self._connect(now)
        # A slot that is free in spite of a line is one that nobody in the line can use, or wants.
        host = self._best(served, demand, now)
        if host is not None:
            return self._give(host, demand, now)
        self._fitness.raise_if_hopeless(demand)
        here = None if expected.again else self._here
        if here is not None and here.better(served, demand, float("inf"), served.line.work, now):
            raise NotDistributable(Reason.LOCAL_SLOT)
        waiter = served.line.add(demand, loop.create_future(), now)
        self._waiting += 1
        self._pressure.more(now)
        if patience := waiter.patience("", now):
            self._look_again(patience)
        if self.on_line:
            self.on_line[-1]()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            future = waiter.future
            if not future.done() or future.cancelled():
                if waiter.waits:
                    self._leave(served.line, waiter)
            elif future.exception() is None:
                self.release(future.result())  # handed over in the same moment
            raise

    def try_acquire(self, demand: Demand) -> Grant | None:
        """A slot that is free now, and that nobody waits for; for a job that has one elsewhere already."""
        served = self._served_by(demand.toolchain, demand.exact)
        if self._waiting:
            return None
        now = asyncio.get_running_loop().time()
        host = self._choice.quickest(served, demand, now)[0]
        if host is None or host.busy + host.foreign() >= host.backend.slots:
            return None
        return self._give(host, demand, now)

    def seconds(self, demand: Demand) -> float:
        """How long a job would take that is given to the best of the hosts that are free; infinite: none is."""
        served = self._served_by(demand.toolchain, demand.exact)
        return self._choice.quickest(served, demand, asyncio.get_running_loop().time())[1]

    def hold(self, host: Host) -> Grant:
        """A slot of a certain host, free or not."""
        demand = Demand(_NO_TOOLCHAIN, frozenset(), "", None, False, UNKNOWN)
        return self._give(host, demand, asyncio.get_running_loop().time())

    def release(self, grant: Grant) -> None:
        """Give a slot back."""
        host = grant.host
        now = asyncio.get_running_loop().time()
        host.take_back(grant, now)
        self._pressure.less(now)
        for served in host.serves:
            served.freed(host, self._usual, now)
        if self._waiting:
            self._serve(host, now)

    def wake(self) -> None:
        """A slot of this machine became free: serve whom it suits."""
        if self._waiting and self._here is not None:
            loop = asyncio.get_running_loop()
            for served in self._served.values():
                if served.line and (waiter := self._here.next_of(served, loop.time())) is not None:
                    self._leave(served.line, waiter)
                    if not waiter.future.done():  # it may have been cancelled in this moment
                        waiter.future.set_exception(NotDistributable(Reason.LOCAL_SLOT))
                    loop.call_soon(self.wake)  # there may be another one, once this job has taken its slot
                    return

    def hosts_changed(self) -> None:
        """Hosts came to be usable or unusable: serve the line, and turn away whom nobody can serve any more."""
        for host in self.hosts:
            self._host_changed(host)

    # -- the best place

    def _give(self, host: Host, demand: Demand, now: float) -> Grant:
        seconds = demand.expected.seconds
        self._usual = self._usual._replace(seconds=self._usual.seconds + 0.02 * (seconds - self._usual.seconds))
        grant = host.give(demand, now)
        self._pressure.more(now)
        if host.has_room():
            for served in host.serves:
                served.freed(host, self._usual, now)
        return grant

    def _best(self, served: Served, demand: Demand, now: float) -> Host | None:
        """Where a newcomer is over first, if that is a slot that is free; None if it had better wait.

        Raises NotDistributable(LOCAL_SLOT) if it is this machine.
        """
        host, seconds = self._choice.quickest(served, demand, now)
        if host is None:
            return None
        work = served.line.work
        if self._here is not None and self._here.better(served, demand, seconds, work, now):
            raise NotDistributable(Reason.LOCAL_SLOT)
        wait = self._choice.wait(served, host, demand, seconds, work, now)
        if not wait and self._here is not None:
            wait = self._here.wait(demand.expected, seconds, now)
        if wait:
            self._look_again(wait)
            return None
        return host

    # -- the line

    def _serve(self, host: Host, now: float) -> None:
        """Hand a host's free slots to those who wait for them."""
        while host.has_room():
            waiting = [served for served in host.serves if served.line]
            waiting.sort(key=lambda served: -served.line.head.order)
            for served in waiting:
                waiter = self._choice.next(served, host, now)
                if waiter is not None:
                    break
            else:
                break
            grant = self._give(host, waiter.demand, now)
            self._leave(served.line, waiter)
            waiter.future.set_result(grant)
        self._turn_away_doubtful()

    def _leave(self, line: Line, waiter: Waiter) -> None:
        line.remove(waiter)
        self._waiting -= 1
        self._pressure.less(asyncio.get_running_loop().time())

    def _look_again(self, wait: float) -> None:
        """A slow host is left free while a quicker one is expected to be free soon; then it is looked again."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(max(wait * 1.1, NEARLY_S), self._looked_for)

    def _looked_for(self) -> None:
        self._again = None
        self._serve_all(asyncio.get_running_loop().time())
        self.wake()

    def _serve_all(self, now: float) -> None:
        """Hand out whatever is free."""
        for served in self._served.values():
            if served.line:
                for host in list(served.best_free()):
                    if self._waiting:
                        self._serve(host, now)

    def _turn_away_doubtful(self) -> None:
        while self._choice.doubtful:
            self._turn_away_if_hopeless(self._choice.doubtful.pop())

    def _turn_away_if_hopeless(self, waiter: Waiter) -> None:
        if waiter.future.done():
            return
        try:
            self._fitness.raise_if_hopeless(waiter.demand)
        except NotDistributable as error:
            demand = waiter.demand
            self._leave(self._served_by(demand.toolchain, demand.exact).line, waiter)
            waiter.future.set_exception(error)

    # -- hosts that come and go

    def _subscriber(self, host: Host) -> Callable[[], None]:
        return lambda: self._host_changed(host)

    def _served_by(self, toolchain: Toolchain, exact: bool) -> Served:
        key = (toolchain.fingerprint, toolchain.driver, exact)
        served = self._served.get(key)
        if served is None:
            served = self._served[key] = Served(toolchain, exact)
            now = asyncio.get_running_loop().time()
            for host in self.hosts:
                self._see(served, host, now)
        return served

    def _connect(self, now: float) -> None:
        """There is work: have hosts connected that are not."""
        if self._unready and now >= self._connect_at:
            self._connect_at = now + CONNECT_S
            for host in list(self._unready):
                state = host.backend.state
                if state is State.IDLE:
                    host.backend.connect()
                elif state is State.DOWN:
                    host.backend.retry()

    def _see(self, served: Served, host: Host, now: float) -> bool:
        """Look whether a host serves a toolchain now. Whether it does."""
        backend, toolchain = host.backend, served.toolchain
        serves = False
        if backend.state is State.READY:
            self._unready.discard(host)
            if backend.proven(toolchain):
                serves = backend.slots > 0 and not (
                    self._barred(host.name, toolchain) or (served.exact and not backend.exact)
                )
            elif not backend.refusal(toolchain):
                self._proving.begin(host, toolchain)
        else:
            self._unready.add(host)
        if serves and host not in served.hosts:
            served.add(host)
        elif not serves and host in served.hosts:
            served.drop(host)
        if serves and host.has_room():
            served.freed(host, self._usual, now)
        return serves

    def _host_changed(self, host: Host) -> None:
        now = asyncio.get_running_loop().time()
        if host.backend.state is not State.READY:
            self._unready.add(host)
            host.most_memory = 0
        lost = False
        for served in list(self._served.values()):
            serves = self._see(served, host, now)
            # One that is idle while somebody waits may lack memory, and has all that it can have.
            if served.line and (not serves or not host.backend.exact or host.idle()):
                lost = True
                for waiter in list(served.line):
                    self._turn_away_if_hopeless(waiter)
        if self._waiting:
            if host.backend.state is not State.READY:
                self._connect(now)
            self._serve(host, now)
            if lost:  # others may now do what they were not the best for
                self._serve_all(now)

    def _answered(self, host: Host, about_a_job: bool) -> None:
        self._host_changed(host)
        if about_a_job:  # it may have found out that it cannot do what waits for it
            for served in self._served.values():
                for waiter in list(served.line):
                    self._turn_away_if_hopeless(waiter)
