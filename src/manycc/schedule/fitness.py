"""What hosts are for a certain job: whether they may have it, and what to say if none may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.job import Job, Toolchain
from manycc.reasons import Reason
from manycc.schedule.host import Demand, Host, PoolBackend

EXCLUDED: Final = 'it runs a stock distccd, and same_bytes is "required"'

GIVES_WAY: Final = "it gives way to its own user"


class Fitness:
    """For the hosts of one pool."""

    def __init__(
        self,
        hosts: Sequence[Host],
        barred: Callable[[str, Toolchain], str],
        prove: Callable[[Host, Toolchain, Job], None],
    ) -> None:
        """``barred`` as for ``Pool``; ``prove`` begins to find out whether a host objects to a job."""
        self._hosts = hosts
        self._barred = barred
        self._prove = prove

    def usable(self, host: Host, demand: Demand) -> bool:
        """Whether a host with room may get a job, as far as that is quickly told."""
        return (
            host.backend.state is State.READY and host.name not in demand.avoid and host.has_memory(demand.expected.rss)
        )

    def suits(self, host: Host, demand: Demand) -> bool:
        """Whether a host that serves the toolchain is one for this very job."""
        if demand.job is None:
            return True
        backend = host.backend
        if _objection(backend, demand) is not None:
            return False
        if backend.unproven(demand.job):
            self._prove(host, demand.toolchain, demand.job)
            return False
        return (
            backend.exact
            or backend.keeps_bytes(demand.job)
            or not any(other.backend.keeps_bytes(demand.job) and self._hopeful(other, demand) for other in self._hosts)
        )

    def _hopeful(self, host: Host, demand: Demand) -> bool:
        """Whether a host can do the job sooner or later."""
        backend = host.backend
        return not (
            host.name in demand.avoid
            or _is_down(backend)
            or backend.refusal(demand.toolchain)
            or self._barred(host.name, demand.toolchain)
            or _objection(backend, demand)
            or _lacks(host, demand)
        )

    @staticmethod
    def lacks_memory(host: Host, demand: Demand) -> bool:
        rss = demand.expected.rss
        return not host.has_memory(rss) and host.could_have_memory(rss)

    def raise_if_hopeless(self, demand: Demand) -> None:
        toolchain = demand.toolchain
        refused: list[str] = []
        down: list[str] = []
        barred: list[str] = []
        objected: list[str] = []
        reason: Reason | None = None
        for host in self._hosts:
            backend = host.backend
            if backend.name in demand.avoid:
                continue
            if _is_down(backend):
                down.append(f"{backend.name}: {backend.why}")
            elif sentence := backend.refusal(toolchain):
                refused.append(f"{backend.name}: {sentence}")
            elif sentence := self._barred(backend.name, toolchain):
                barred.append(f"{backend.name}: {sentence}")
            elif (objection := _objection(backend, demand) or _lacks(host, demand)) is not None:
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


def gives_way(backend: PoolBackend) -> bool:
    """Whether a host is there, and has no slots just now."""
    return backend.state is State.READY and not backend.slots


def _is_down(backend: PoolBackend) -> bool:
    # One that was down is not waited for while it is tried again.
    return backend.state is State.DOWN or (backend.state is State.CONNECTING and bool(backend.why))


def _objection(backend: PoolBackend, demand: Demand) -> tuple[Reason, str] | None:
    if demand.job is None:
        return None
    if demand.exact and not backend.exact:
        return Reason.SAME_BYTES, EXCLUDED
    return backend.objection(demand.job)


def _lacks(host: Host, demand: Demand) -> tuple[Reason, str] | None:
    """What a host that could do a job has too little of."""
    if gives_way(host.backend):
        return Reason.NODE_BUSY, GIVES_WAY
    rss = demand.expected.rss
    if host.backend.state is not State.READY or host.could_have_memory(rss):
        return None
    return Reason.NODE_MEMORY, f"it is taken to need {rss >> 20} MiB, {host.most_memory >> 20} MiB can be spared there"
