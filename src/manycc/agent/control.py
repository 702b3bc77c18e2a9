"""What the command line tools ask the agent: its state, and how it would handle a command."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from manycc import __version__
from manycc.backends.base import State
from manycc.errors import BackendError, CompilerError, NotDistributable
from manycc.job import FILE, Toolchain
from manycc.schedule.pool import Pool
from manycc.wire.launcher import Request

if TYPE_CHECKING:
    from manycc.agent.server import Agent

SETTLE_S: Final = 2.0


class Control:
    """Answers control and explain requests. Answers are JSON-able dicts; an error is {"error": text}."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._operations: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "stop": self._stop,
            "version": self._version,
        }

    async def answer(self, data: bytes) -> dict[str, Any]:
        """Answer one control request."""
        try:
            asked = json.loads(data)
            operation = self._operations[asked["op"]]
        except (ValueError, KeyError, TypeError):
            return {"error": "the request is not understood"}
        try:
            return await operation(asked)
        except NotDistributable as error:
            return {"error": str(error)}

    async def _version(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"version": __version__, "pid": os.getpid()}

    async def _stop(self, _: dict[str, Any]) -> dict[str, Any]:
        self._agent.stopping.set()
        return {"stopping": True, "pid": os.getpid()}

    async def _status(self, asked: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        text = asked.get("hosts")
        pools = agent.hosts.all()
        if isinstance(text, str):
            try:
                pool = agent.hosts.pool(text)
            except NotDistributable as error:
                if error.detail:
                    return {"error": error.detail}
                pools = []
            else:
                await settle(pool)
                pools = [pool]
        seen: dict[int, dict[str, Any]] = {}
        for pool in pools:
            for host in pool.hosts:
                backend = host.backend
                entry = seen.get(id(backend))
                if entry is None:
                    seen[id(backend)] = {
                        "name": backend.name,
                        "state": backend.state.value,
                        "slots": backend.slots,
                        "busy": host.busy,
                        "done": host.done,
                        "why": backend.why,
                        "toolchains": [{"label": label, "refused": said} for label, said in backend.verdicts()],
                    }
                else:
                    entry["busy"] += host.busy
                    entry["done"] += host.done
        return {
            "agent": {
                "pid": os.getpid(),
                "version": __version__,
                "uptime_s": round(time.monotonic() - agent.started, 1),
                "rss": _resident(),
                "cpu_s": round(time.process_time(), 3),
            },
            "hosts": list(seen.values()),
            "jobs": {
                "running": agent.runner.running,
                "remote": agent.runner.remote,
                "waiting": sum(pool.waiting for pool in pools) + agent.local.waiting,
                "local": agent.local.busy,
            },
            "local_slots": agent.local.total,
        }

    async def explain(self, request: Request) -> dict[str, Any]:
        """How a command would be handled, and why."""
        agent = self._agent
        answer: dict[str, Any] = {"distributable": True, "reason": "", "detail": "", "sentence": "", "hint": ""}
        since = agent.view.now()
        try:
            prepared = await agent.preparer.prepare(agent.preparer.key(request), request, since)
        except NotDistributable as error:
            reason = error.reason
            return answer | {
                "distributable": False,
                "reason": reason.code,
                "detail": error.detail,
                "sentence": reason.sentence,
                "hint": reason.hint,
                "hosts": [],
            }
        except CompilerError as error:
            return answer | {"distributable": False, "reason": "not-a-compiler", "sentence": str(error), "hosts": []}
        items = [item for item in prepared.job.inputs.items if item.kind == FILE]
        largest = sorted(items, key=lambda item: item.size, reverse=True)[:5]
        answer |= {
            "language": prepared.command.language,
            "source": prepared.command.source,
            "output": prepared.command.output,
            "toolchain": prepared.toolchain.label,
            "fingerprint": prepared.toolchain.fingerprint,
            "inputs": {
                "how": prepared.manifest.inputs.how,
                "count": len(items),
                "bytes": sum(item.size for item in items),
                "complete": prepared.manifest.inputs.complete,
                "largest": [[item.path, item.size] for item in largest],
            },
        }
        try:
            pool = agent.hosts.pool_for(request)
        except NotDistributable as error:
            return answer | {"reason": error.reason.code, "detail": error.detail, "hosts": []}
        await settle(pool, prepared.toolchain)
        answer["hosts"] = [
            {
                "name": host.backend.name,
                "state": host.backend.state.value,
                "sentence": _verdict(host.backend, prepared.toolchain),
            }
            for host in pool.hosts
        ]
        return answer


def _resident() -> int:
    """This process's memory in bytes: the second field of /proc/self/statm, in pages (proc(5))."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _verdict(backend: Any, toolchain: Toolchain) -> str:
    if backend.state is not State.READY:
        return backend.why or "not connected yet"
    if backend.proven(toolchain):
        return "can: it has the same compiler, byte for byte"
    return f"cannot: {backend.refusal(toolchain)}" if backend.refusal(toolchain) else "has not said yet"


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
