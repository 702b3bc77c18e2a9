"""Who runs the next job: the slots of one host list.

A job asks for a place; it gets a free slot on the least loaded host that serves its toolchain, waits
in line if all are full, or is told at once that no host can do it. Nothing polls: a release, a
connection made or lost, a toolchain proven or refused wakes the line.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol

from manycc.backends.base import Backend, State, Verdict
from manycc.errors import BackendError, NotDistributable
from manycc.job import Job, Toolchain
from manycc.reasons import Reason

LOOK_AHEAD: Final = 64
"""How far from the head of the line a preference counts."""

MAX_PASSED: Final = 64
"""How many may be served before the head of the line because a host suits them better."""


EXCLUDED: Final = 'it runs a stock distccd, and same_bytes is "required"'


class PoolBackend(Backend, Protocol):
    """What the pool needs beyond the common interface."""

    @property
    def kind(self) -> str:
        """What it runs, for people; empty while that is not known."""

    @property
    def others(self) -> int:
        """Jobs the host itself reports as running or queued."""

    @property
    def exact(self) -> bool:
        """Whether all that it sends back is byte for byte what the compiler here writes."""

    def proven(self, toolchain: Toolchain) -> bool:
        """Whether the host has said that it serves this toolchain."""

    def verdicts(self) -> list[Verdict]:
        """What the host has said about toolchains."""

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        """What the host has said about this one; None if nothing yet."""

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """Why it cannot do this job, although it serves the toolchain; None if nothing is known against it."""

    def unproven(self, job: Job) -> bool:
        """Whether ``prove_job`` has to be asked before it is given this job."""

    async def prove_job(self, job: Job) -> None:
        """Find out whether it objects to a job, if only a trial tells."""

    def keeps_bytes(self, job: Job) -> bool:
        """Whether this job's object will be what the compiler here writes."""

    def distrust(self, why: str) -> None:
        """It returned what a sound host does not: leave it alone for a while."""


class Host:
    """A backend and the jobs this agent has on it.

    ``wrong`` counts the objects it returned that were of another kind than they had to be; ``wrong_last`` says how.
    """

    __slots__ = ("backend", "busy", "done", "wrong", "wrong_last")

    def __init__(self, backend: PoolBackend) -> None:
        self.backend = backend
        self.busy = 0
        self.done = 0
        self.wrong = 0
        self.wrong_last = ""

    def load(self) -> float:
        """Jobs per slot, the node's own word included."""
        return max(self.busy, self.backend.others) / self.backend.slots


class _Demand(NamedTuple):
    """What a job asks of its host (see ``Pool.acquire``)."""

    toolchain: Toolchain
    avoid: frozenset[str]
    prefer: str
    job: Job | None
    exact: bool


class _Waiter:
    __slots__ = ("demand", "future", "passed")

    def __init__(self, demand: _Demand, future: asyncio.Future[Host]) -> None:
        self.demand = demand
        self.passed = 0
        self.future = future


class Pool:
    """The hosts of one list."""

    def __init__(
        self,
        backends: Iterable[PoolBackend],
        local_compile: Callable[[], bool] | None = None,
        barred: Callable[[str, Toolchain], str] | None = None,
    ) -> None:
        """``local_compile`` tells whether a local slot is free for a compile; None: never compile here.

        ``barred`` gives the sentence why a host is not to be trusted with a toolchain, "" if it is.
        """
        self.hosts = [Host(backend) for backend in backends]
        self._local_compile = local_compile
        self._barred = barred or (lambda host, toolchain: "")
        self._queue: deque[_Waiter] = deque()
        self._proving: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._unsubscribe = [host.backend.on_change(self.hosts_changed) for host in self.hosts]

    def close(self) -> None:
        """Take no more notice of the backends. Nobody may hold or await a slot."""
        for end in self._unsubscribe:
            end()

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._queue)

    def slots(self) -> int:
        """All slots that are there to be used now."""
        return sum(host.backend.slots for host in self.hosts if host.backend.state is State.READY)

    async def acquire(
        self,
        toolchain: Toolchain,
        avoid: frozenset[str] = frozenset(),
        prefer: str = "",
        job: Job | None = None,
        exact: bool = False,
    ) -> Host:
        """A host with a slot taken for this job. Hosts named in ``avoid`` are passed over.

        ``prefer`` names the host that did this job before: it has the inputs, perhaps the result, and
        gets it if it has a slot now or as soon as any other.

        Hosts that object to ``job`` are passed over; one that would not keep its bytes gets it only where no other
        serves it, busy or not. With ``exact``, hosts that do not keep all bytes are never used.

        Raises NotDistributable: NO_HOSTS, HOSTS_DOWN, NO_TOOLCHAIN, QUARANTINED when no host can do the job, a host's
        objection, SAME_BYTES, and LOCAL_SLOT when this machine is the best place.
        """
        if not self.hosts:
            raise NotDistributable(Reason.LOCAL_SLOT if self._local_compile else Reason.NO_HOSTS)
        # A slot that is free in spite of a line is one that nobody in the line can use.
        demand = _Demand(toolchain, avoid, prefer, job, exact)
        host = self._free_host(demand)
        if host is None:
            self._raise_if_hopeless(demand)
            if self._local_compile is not None and self._local_compile():
                raise NotDistributable(Reason.LOCAL_SLOT)
            waiter = _Waiter(demand, asyncio.get_running_loop().create_future())
            self._queue.append(waiter)
            try:
                return await waiter.future
            except asyncio.CancelledError:
                if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                    self.release(waiter.future.result())  # handed over in the same moment
                elif waiter in self._queue:
                    self._queue.remove(waiter)
                raise
        host.busy += 1
        return host

    def release(self, host: Host) -> None:
        """Give a slot back."""
        host.busy -= 1
        self.wake()

    def wake(self) -> None:
        """A slot became free: serve the line as far as there are slots."""
        self._serve(hopeless=False)

    def hosts_changed(self) -> None:
        """A host came to be usable or unusable: serve the line, and turn away whom nobody can serve any more."""
        self._serve(hopeless=True)

    def _serve(self, hopeless: bool) -> None:
        """Hand out free slots in order; with ``hopeless``, also turn away whom no host can serve any more."""
        if not self._queue:
            return
        self._serve_preferences()
        kept: deque[_Waiter] = deque()
        queue, self._queue = self._queue, kept
        while queue:
            if not hopeless and not self._any_room():
                kept.extend(queue)
                break
            waiter = queue.popleft()
            if waiter.future.done():
                continue
            host = self._free_host(waiter.demand)
            if host is not None:
                host.busy += 1
                waiter.future.set_result(host)
                continue
            try:
                self._raise_if_hopeless(waiter.demand)
                if self._local_compile is not None and self._local_compile():
                    raise NotDistributable(Reason.LOCAL_SLOT)
            except NotDistributable as error:
                waiter.future.set_exception(error)
            else:
                kept.append(waiter)

    def _serve_preferences(self) -> None:
        """Give free slots to those near the head of the line who would rather have them than any other."""
        free = {host.backend.name: host for host in self.hosts if self._has_room(host)}
        if not free or self._queue[0].passed >= MAX_PASSED:
            return
        served = 0
        for waiter in itertools.islice(self._queue, LOOK_AHEAD):
            demand = waiter.demand
            host = free.get(demand.prefer)
            if host is None or waiter.future.done() or demand.prefer in demand.avoid:
                continue
            if (
                host.backend.state is State.READY
                and host.backend.proven(demand.toolchain)
                and not self._barred(demand.prefer, demand.toolchain)
                and self._suits(host.backend, demand)
            ):
                host.busy += 1
                waiter.future.set_result(host)
                served += 1
                if not self._has_room(host):
                    del free[demand.prefer]
        if served:
            self._queue = deque([waiter for waiter in self._queue if not waiter.future.done()])
            if self._queue:
                self._queue[0].passed += served

    def _any_room(self) -> bool:
        if self._local_compile is not None and self._local_compile():
            return True
        return any(host.backend.state is State.READY and self._has_room(host) for host in self.hosts)

    @staticmethod
    def _has_room(host: Host) -> bool:
        return host.busy < host.backend.slots

    def _free_host(self, demand: _Demand) -> Host | None:
        toolchain, avoid, prefer = demand[:3]
        best: Host | None = None
        best_load = 0.0
        for host in self.hosts:
            backend = host.backend
            if backend.state is State.IDLE:
                backend.connect()
            elif backend.state is State.DOWN:
                backend.retry()
            if backend.state is not State.READY or host.busy >= backend.slots or backend.name in avoid:
                continue
            if not backend.proven(toolchain):
                if not backend.refusal(toolchain):
                    self._prove(backend, toolchain)
                continue
            if self._barred(backend.name, toolchain) or not self._suits(backend, demand):
                continue
            if backend.name == prefer:
                return host
            load = host.load()
            if best is None or load < best_load:
                best, best_load = host, load
        return best

    def _suits(self, backend: PoolBackend, demand: _Demand) -> bool:
        """Whether a host that serves the toolchain is one for this very job."""
        if demand.job is None:
            return True
        if _objection(backend, demand) is not None:
            return False
        if backend.unproven(demand.job):
            self._prove(backend, demand.toolchain, demand.job)
            return False
        return (
            backend.exact
            or backend.keeps_bytes(demand.job)
            or not any(
                other.backend.keeps_bytes(demand.job) and self._hopeful(other.backend, demand) for other in self.hosts
            )
        )

    def _hopeful(self, backend: PoolBackend, demand: _Demand) -> bool:
        """Whether a host can do the job sooner or later."""
        return not (
            backend.name in demand.avoid
            or _is_down(backend)
            or backend.refusal(demand.toolchain)
            or self._barred(backend.name, demand.toolchain)
            or _objection(backend, demand)
        )

    def _prove(self, backend: PoolBackend, toolchain: Toolchain, job: Job | None = None) -> None:
        key = (backend.name, toolchain.fingerprint, toolchain.driver, *(job.argv if job is not None else ()))
        if key not in self._proving:
            task = asyncio.get_running_loop().create_task(self._prove_and_wake(backend, toolchain, job))
            self._proving[key] = task
            task.add_done_callback(lambda _: self._proving.pop(key, None))

    async def _prove_and_wake(self, backend: PoolBackend, toolchain: Toolchain, job: Job | None) -> None:
        try:
            await (backend.prove(toolchain) if job is None else backend.prove_job(job))
        except BackendError:
            pass  # the backend is down and says so in its state
        self.hosts_changed()

    def _raise_if_hopeless(self, demand: _Demand) -> None:
        toolchain = demand.toolchain
        refused: list[str] = []
        down: list[str] = []
        barred: list[str] = []
        objected: list[str] = []
        reason: Reason | None = None
        for host in self.hosts:
            backend = host.backend
            if backend.name in demand.avoid:
                continue
            if _is_down(backend):
                down.append(f"{backend.name}: {backend.why}")
            elif sentence := backend.refusal(toolchain):
                refused.append(f"{backend.name}: {sentence}")
            elif sentence := self._barred(backend.name, toolchain):
                barred.append(f"{backend.name}: {sentence}")
            elif (objection := _objection(backend, demand)) is not None:
                reason = reason or objection[0]
                objected.append(f"{backend.name}: {objection[1]}")
            else:
                return
        if barred:
            raise NotDistributable(Reason.QUARANTINED, "; ".join(barred + refused + objected + down))
        if reason is not None:
            raise NotDistributable(reason, "; ".join(objected + refused + down))
        if refused:
            raise NotDistributable(Reason.NO_TOOLCHAIN, "; ".join(refused + down))
        raise NotDistributable(Reason.HOSTS_DOWN, "; ".join(down))


def _is_down(backend: PoolBackend) -> bool:
    # One that was down is not waited for while it is tried again.
    return backend.state is State.DOWN or (backend.state is State.CONNECTING and bool(backend.why))


def _objection(backend: PoolBackend, demand: _Demand) -> tuple[Reason, str] | None:
    if demand.job is None:
        return None
    if demand.exact and not backend.exact:
        return Reason.SAME_BYTES, EXCLUDED
    return backend.objection(demand.job)
