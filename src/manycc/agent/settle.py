"""What hosts say when they are asked now: for the tools, which cannot wait as a job does."""

from __future__ import annotations

import asyncio
from typing import Final

from manycc.backends.base import State
from manycc.backends.distcc import CANNOT_KEEP
from manycc.errors import BackendError
from manycc.job import Job, Toolchain, Way
from manycc.schedule.pool import EXCLUDED, Pool, PoolBackend

SETTLE_S: Final = 2.0
WAYS: Final[dict[str, str]] = {
    Way.SAME: "it has the same compiler, byte for byte",
    Way.SHIPPED: "the compiler of this machine was sent there",
    Way.EQUIVALENT: "it has an equivalent compiler, which makes the same objects of the canaries",
}
"""How a node serves a toolchain, for people."""


def verdict(backend: PoolBackend, toolchain: Toolchain) -> str:
    """Whether a host can do jobs of a toolchain, in a sentence."""
    if backend.state is not State.READY:
        return backend.why or "not connected yet"
    if backend.proven(toolchain):
        if not backend.exact:
            return "can: its compiler makes the same objects of the canaries"
        said = backend.verdict(toolchain)
        return "can: " + WAYS.get(said.way if said is not None else "", "it serves this compiler")
    said = backend.verdict(toolchain)
    if said is not None and said.sending is not None:
        return f"not yet: {said.refused}"
    return f"cannot: {backend.refusal(toolchain)}" if backend.refusal(toolchain) else "has not said yet"


async def stock_verdict(backend: PoolBackend, job: Job, exact: bool) -> str:
    """What a stock distccd that serves the toolchain is for this very job, in a sentence; "" if it just can."""
    if exact:
        return f"cannot: {EXCLUDED}"
    await backend.prove_job(job)
    if (objection := backend.objection(job)) is not None:
        return f"cannot: {objection[1]}"
    if backend.state is State.READY and not backend.keeps_bytes(job):
        return f"can, where no manycc node does it, but not to the same bytes: {CANNOT_KEEP}"
    return ""


async def settle(pool: Pool, toolchain: Toolchain | None = None) -> None:
    """Connect a pool's hosts and wait, for a moment only, until each has answered."""
    changed = asyncio.Event()
    unsubscribe = [host.backend.on_change(changed.set) for host in pool.hosts]
    for host in pool.hosts:
        host.backend.connect()
    proofs: dict[int, asyncio.Task[str]] = {}
    try:
        async with asyncio.timeout(SETTLE_S if toolchain is None else SETTLE_S * 5):
            while True:
                changed.clear()
                for host in pool.hosts:
                    if toolchain is not None and host.backend.state is State.READY and id(host) not in proofs:
                        proofs[id(host)] = asyncio.create_task(host.backend.prove(toolchain))
                if not any(host.backend.state in (State.IDLE, State.CONNECTING) for host in pool.hosts):
                    break
                await changed.wait()
            for proof in proofs.values():
                try:
                    await proof
                except BackendError:
                    pass  # its state says why
    except TimeoutError:
        pass
    finally:
        for proof in proofs.values():
            proof.cancel()
        for end in unsubscribe:
            end()
