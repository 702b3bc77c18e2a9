"""Single jobs by hand: each one's difference is looked into, whatever else is asked meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from verify_support import GCC, OBJECT, outcome, prepared

from manycc.agent.prepare import Prepared
from manycc.agent.server import Agent
from manycc.job import Job, Outcome, Toolchain
from manycc.schedule.pool import Host, Pool
from manycc.verify import byhand as module
from manycc.verify.byhand import ByHand
from manycc.verify.sample import Sample
from manycc.wire.launcher import Request


class FakeAgent:
    """An agent with one node, which does every job."""

    def __init__(self) -> None:
        self.verified: list[Sample] = []
        self.preparer = SimpleNamespace(key=lambda request: (), prepare=self._prepare)
        self.view = SimpleNamespace(now=lambda: 1)
        self.runner = SimpleNamespace(started=0, expected=lambda prepared: prepared.expected)
        self.verifier = SimpleNamespace(add=self.verified.append, drain=self._drain)
        self.control = SimpleNamespace(quarantine=list)

    async def _prepare(self, key: object, request: Request, since: int) -> Prepared:
        return prepared(argv=request.argv)

    async def _drain(self) -> None:
        pass


class OneHost(ByHand):
    """With a host that is there."""

    async def _choose(self, request: Request, toolchain: Toolchain, wanted: str) -> tuple[Host, Pool]:
        async def run(job: Job) -> Outcome:
            return outcome(OBJECT)

        host = SimpleNamespace(busy=0, backend=SimpleNamespace(name="pi", run=run))
        return cast(Host, host), cast(Pool, SimpleNamespace(hold=lambda host: None, release=lambda grant: None))


def asked(folder: Path, *argv: str) -> dict[str, Any]:
    return {"compiler": GCC.driver, "cwd": "/w", "argv": argv, "env": {}, "umask": 0o22, "folder": str(folder)}


def test_two_at_a_time_are_not_mixed_up(tmp_path: Path) -> None:
    async def test() -> None:
        agent = FakeAgent()
        by_hand = OneHost(cast(Agent, agent))
        first = await by_hand.run(asked(tmp_path, "gcc", "-c", "a.c"))
        second = await by_hand.run(asked(tmp_path, "gcc", "-g", "-c", "a.c"))
        assert first["done"] and second["done"]
        await by_hand.confirm({"job": first["job"]})
        await by_hand.confirm({"job": first["job"]})  # once is enough
        await by_hand.confirm({"job": second["job"]})
        assert [sample.request.argv for sample in agent.verified] == [["gcc", "-c", "a.c"], ["gcc", "-g", "-c", "a.c"]]

    asyncio.run(test())


def test_what_nobody_asked_about_is_not_kept_for_ever(tmp_path: Path) -> None:
    async def test() -> None:
        agent = FakeAgent()
        by_hand = OneHost(cast(Agent, agent))
        answers = [await by_hand.run(asked(tmp_path, "gcc", "-c", "a.c")) for _ in range(module.MAX_REMEMBERED + 1)]
        await by_hand.confirm({"job": answers[0]["job"]})
        assert agent.verified == []

    asyncio.run(test())
