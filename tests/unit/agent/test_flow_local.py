"""What is done here: trial compiles where that is quicker, and wrappers that ask for jobs of their own."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from test_flow import FakeCaller, Stage, endless, ok, play, settle

from manycc.errors import NotDistributable
from manycc.reasons import Reason
from manycc.schedule.trials import BEGIN
from manycc.wire.launcher import LOCAL


async def one_more(stage: Stage) -> dict[str, Any]:
    """The record of another job like the last."""
    stage.log.written.clear()
    stage.caller = FakeCaller()
    return await stage.finish()


def make_trial(stage: Stage) -> None:
    """Have its job be one that a configure step asks for."""
    prepared = stage.preparer.prepared
    prepared.job = dataclasses.replace(prepared.job, source=f"{prepared.job.cwd}/conftest.c")


def test_trial_compiles_are_tried_in_both_places_first(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        make_trial(stage)
        reasons = [(await one_more(stage))["reason"] for _ in range(BEGIN)]
        assert reasons == ["trial-compile", "remote"] * (BEGIN // 2)

    play(test)


def test_trial_compiles_without_hosts_have_that_for_a_reason(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path)
        make_trial(stage)
        assert {(await one_more(stage))["reason"] for _ in range(BEGIN)} == {"no-hosts"}

    play(test)


def test_trial_compiles_stay_here_while_the_hosts_fail(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(code=200))  # no compiler ends so: done again here
        make_trial(stage)
        reasons = [(await one_more(stage))["reason"] for _ in range(BEGIN + 20)]
        assert stage.caller.answers == [LOCAL]
        assert reasons.count("trial-compile") + reasons.count("compiler-killed") == BEGIN + 20

    play(test)


def test_other_compiles_are_no_trials(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        assert [(await one_more(stage))["reason"] for _ in range(BEGIN)] == ["remote"] * BEGIN

    play(test)


def test_a_wrapper_holds_no_slot_while_a_node_works_for_it(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, endless)
        stage.preparer.error = NotDistributable(Reason.COMPILER_WRAPPER)
        wrapper = stage.start()
        await stage.caller.answered.wait()
        assert stage.caller.answers == [LOCAL]
        assert stage.local.busy == 1

        stage.preparer.error = None
        inner = FakeCaller()
        inner.pid = 4712
        request = stage.request._replace(env={"MANYCC_GUARD": f"{stage.caller.pid}:1:2 "})
        compile_ = asyncio.create_task(stage.runner.run(request, inner, 1))
        await settle()
        assert stage.runner.remote == 1
        assert stage.local.busy == 0

        compile_.cancel()
        await asyncio.gather(compile_, return_exceptions=True)
        stage.caller.closed.set()
        await wrapper
        assert stage.local.busy == stage.local.waiting == 0

    play(test)
