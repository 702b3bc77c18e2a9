"""What the command line tools ask the agent: its state, and how it would handle a command."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from manycc import __version__
from manycc.agent.settle import settle, stock_verdict, verdict
from manycc.backends.base import Verdict
from manycc.command.trial import is_trial
from manycc.errors import CompilerError, NotDistributable
from manycc.job import FILE
from manycc.schedule.fitness import GIVES_WAY, gives_way
from manycc.verify.byhand import ByHand
from manycc.wire.launcher import DISTCC, Request

if TYPE_CHECKING:
    from manycc.agent.server import Agent


class Control:
    """Answers control and explain requests. Answers are JSON-able dicts; an error is {"error": text}."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._by_hand = ByHand(agent)
        self._operations: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "stop": self._stop,
            "version": self._version,
            "jobs": self._jobs,
            "verify": self._verify,
            "forgive": self._forgive,
            "remote": self._by_hand.run,
            "confirm": self._by_hand.confirm,
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

    async def _jobs(self, _: dict[str, Any]) -> dict[str, Any]:
        """The jobs under way."""
        return {"jobs": [live.shown() for live in self._agent.runner.live.values()]}

    async def _stop(self, _: dict[str, Any]) -> dict[str, Any]:
        self._agent.stopping.set()
        return {"stopping": True, "pid": os.getpid()}

    async def _verify(self, _: dict[str, Any]) -> dict[str, Any]:
        """Verify all samples that wait, now."""
        await self._agent.verifier.drain()
        return {"verify": self._verification(), "quarantine": self.quarantine()}

    async def _forgive(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"forgiven": [entry.sentence for entry in self._agent.quarantine.forgive(str(asked.get("host", "")))]}

    def quarantine(self) -> list[dict[str, Any]]:
        """The hosts that are not trusted any more, for people and programs."""
        return [
            {"host": entry.host, "label": entry.label, "fingerprint": entry.fingerprint, "since": entry.since,
             "last_good": entry.last_good, "difference": entry.difference, "report": entry.report,
             "sentence": entry.sentence}
            for entry in self._agent.quarantine.entries()
        ]  # fmt: skip

    def _verification(self) -> dict[str, Any]:
        verifier = self._agent.verifier
        return {
            "rate": self._agent.config.verify,
            "waiting": verifier.waiting,
            "busy": verifier.busy,
            **verifier.counts,
        }

    async def _status(self, asked: dict[str, Any]) -> dict[str, Any]:
        agent = self._agent
        if asked.get("sample"):
            agent.sampler.look_now()
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
                        "kind": backend.kind,
                        "state": backend.state.value,
                        "slots": backend.slots,
                        "busy": host.busy,
                        "done": host.done,
                        "wrong": host.wrong,
                        "wrong_last": host.wrong_last,
                        "why": backend.why or (GIVES_WAY if gives_way(backend) else ""),
                        "speed": round(host.speed.factor, 2) if host.speed.samples else None,
                        "toolchains": [_shown(said) for said in backend.verdicts()],
                        "quarantined": [entry.sentence for entry in agent.quarantine.of(backend.name)],
                    }
                else:
                    entry["busy"] += host.busy
                    entry["done"] += host.done
                    entry["wrong"] += host.wrong
                    entry["wrong_last"] = host.wrong_last or entry["wrong_last"]
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
            "warnings": [
                warning for warning in (agent.records.warning, agent.view.warning, agent.collector.warning) if warning
            ],
            "verify": self._verification(),
            "quarantine": self.quarantine(),
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
            "trial": is_trial(prepared.job.source, next(iter(prepared.job.outputs), "")),
        }
        expected = agent.learned.expect(prepared.job)
        answer["expected"] = {"seconds": round(expected.seconds, 3), "rss": expected.rss, "known": expected.known}
        if request.flags & DISTCC:
            answer["items"] = [[item.kind, item.path] for item in prepared.job.inputs.items]
        try:
            pool = agent.hosts.pool_for(request)
        except NotDistributable as error:
            return answer | {"reason": error.reason.code, "detail": error.detail, "hosts": []}
        await settle(pool, prepared.toolchain)
        answer["hosts"] = []
        for host in pool.hosts:
            name = host.backend.name
            said = host.backend.verdict(prepared.toolchain)
            barred = agent.quarantine.sentence(name, prepared.toolchain)
            sentence = f"cannot: {barred}" if barred else verdict(host.backend, prepared.toolchain)
            if sentence.startswith("can:") and not host.backend.exact:
                sentence = await stock_verdict(host.backend, prepared.job, agent.hosts.exact_for(request)) or sentence
            answer["hosts"].append(
                {
                    "name": name,
                    "kind": host.backend.kind,
                    "state": host.backend.state.value,
                    "sentence": sentence,
                    "way": said.way if said is not None else "",
                    "seconds": round(host.seconds(expected, asyncio.get_running_loop().time()), 3),
                    "wrong": host.wrong,
                    "wrong_last": host.wrong_last,
                }
            )
        return answer


def _shown(said: Verdict) -> dict[str, Any]:
    """What a host says about a toolchain, for JSON."""
    shown: dict[str, Any] = {"label": said.label, "refused": said.refused, "way": said.way}
    if said.sending is not None:
        shown |= {"sent": said.sending[0], "sent_of": said.sending[1]}
    return shown


def _resident() -> int:
    """This process's memory in bytes: the second field of /proc/self/statm, in pages (proc(5))."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
