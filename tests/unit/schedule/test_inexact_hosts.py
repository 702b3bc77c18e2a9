"""Hosts that do not keep every byte: what they get, what they object to, and what waits for a better one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from test_pool import GCC, FakeBackend, settled

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.job import Inputs, Job
from manycc.reasons import Reason
from manycc.schedule.pool import EXCLUDED, Pool

JOB = Job(("gcc",), "/", (), 0, GCC, Inputs((), "scan", True, False), (), (), (), "/a.c")


class Node(FakeBackend):
    """A host that keeps every byte."""

    exact = True

    def keeps_bytes(self, job: Job) -> bool:
        return True

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return None

    def unproven(self, job: Job) -> bool:
        return False


class Stock(FakeBackend):
    """One that does not keep the job's bytes unless ``keeps``, or refuses it for ``objects``."""

    exact = False

    def __init__(self, name: str, keeps: bool = False, objects: str = "", **more: Any) -> None:
        super().__init__(name, **more)
        self.keeps = keeps
        self.objects = objects

    def keeps_bytes(self, job: Job) -> bool:
        return self.keeps

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return (Reason.STOCK_CANNOT, self.objects) if self.objects else None

    def unproven(self, job: Job) -> bool:
        return False


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test within a bound."""
    asyncio.run(asyncio.wait_for(test, 30))


def test_what_is_kept_goes_to_either() -> None:
    async def test() -> None:
        pool = Pool([Node("node", slots=2), Stock("stock", keeps=True, slots=2)])
        names = [(await pool.acquire(GCC, job=JOB)).backend.name for _ in range(4)]
        assert sorted(names) == ["node", "node", "stock", "stock"]

    run(test())


def test_what_is_not_kept_waits_for_a_node_that_is_busy() -> None:
    async def test() -> None:
        node = Node("node")
        pool = Pool([Stock("stock", slots=8), node])
        host = await pool.acquire(GCC, job=JOB, prefer="stock")
        assert host.backend.name == "node"
        waiting = asyncio.create_task(pool.acquire(GCC, job=JOB, prefer="stock"))
        assert not await settled(waiting)
        pool.release(host)
        assert (await waiting).backend.name == "node"
        last = asyncio.create_task(pool.acquire(GCC, job=JOB))
        assert not await settled(last)
        node.change(state=State.DOWN, why="gone")
        assert (await last).backend.name == "stock"

    run(test())


@pytest.mark.parametrize("why", ["down", "refuses", "avoided", "barred"])
def test_what_is_not_kept_goes_there_where_no_node_serves_it(why: str) -> None:
    async def test() -> None:
        node = Node("node", state=State.DOWN if why == "down" else State.READY)
        if why == "refuses":
            node.answer = "another compiler"
        barred = (lambda host, toolchain: "bad" if host == "node" else "") if why == "barred" else None
        pool = Pool([node, Stock("stock")], barred=barred)
        avoid = frozenset(("node",)) if why == "avoided" else frozenset[str]()
        assert (await pool.acquire(GCC, avoid, job=JOB)).backend.name == "stock"

    run(test())


def test_a_node_that_is_being_asked_is_waited_for() -> None:
    async def test() -> None:
        node = Node("node", state=State.CONNECTING)
        pool = Pool([Stock("stock"), node])
        waiting = asyncio.create_task(pool.acquire(GCC, job=JOB))
        assert not await settled(waiting)
        node.change(state=State.READY)
        assert (await waiting).backend.name == "node"

    run(test())


def test_objections() -> None:
    async def test() -> None:
        objecting = Stock("stock", keeps=True, objects="no dumps")
        with pytest.raises(NotDistributable) as caught:
            await Pool([objecting]).acquire(GCC, job=JOB)
        assert (caught.value.reason, caught.value.detail) == (Reason.STOCK_CANNOT, "stock: no dumps")
        down = Node("node", state=State.DOWN)
        down.why = "asleep"
        with pytest.raises(NotDistributable) as caught:
            await Pool([down, objecting]).acquire(GCC, job=JOB)
        assert (caught.value.reason, caught.value.detail) == (Reason.STOCK_CANNOT, "stock: no dumps; node: asleep")
        assert (await Pool([objecting, Stock("other")]).acquire(GCC, job=JOB)).backend.name == "other"
        # One that waits is turned away when the last host that would do it is gone.
        node = Node("node")
        pool = Pool([node, objecting])
        await pool.acquire(GCC, job=JOB)
        waiting = asyncio.create_task(pool.acquire(GCC, job=JOB))
        assert not await settled(waiting)
        node.change(state=State.DOWN, why="gone")
        with pytest.raises(NotDistributable):
            await waiting

    run(test())


def test_every_byte_required() -> None:
    async def test() -> None:
        stock = Stock("stock", keeps=True)
        with pytest.raises(NotDistributable) as caught:
            await Pool([stock]).acquire(GCC, job=JOB, exact=True)
        assert (caught.value.reason, caught.value.detail) == (Reason.SAME_BYTES, f"stock: {EXCLUDED}")
        pool = Pool([stock, Node("node")])
        assert (await pool.acquire(GCC, job=JOB, exact=True)).backend.name == "node"

    run(test())


class Unproven(Node):
    """A host that has to be asked first whether it can do a job; ``objects`` is what comes of it."""

    def __init__(self, name: str, objects: str = "", **more: Any) -> None:
        super().__init__(name, **more)
        self.objects = objects
        self.asked = 0
        self.found_out = asyncio.Event()

    def unproven(self, job: Job) -> bool:
        return not self.found_out.is_set()

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        known = self.found_out.is_set() and self.objects
        return (Reason.NOT_EQUIVALENT, self.objects) if known else None

    async def prove_job(self, job: Job) -> None:
        self.asked += 1
        await self.found_out.wait()


def test_while_it_is_proven_jobs_go_elsewhere_or_wait() -> None:
    async def test() -> None:
        new = Unproven("new", slots=2)
        pool = Pool([new, Node("old", slots=1)])
        assert (await pool.acquire(GCC, job=JOB)).backend.name == "old"
        waiting = [asyncio.create_task(pool.acquire(GCC, job=JOB)) for _ in range(2)]
        await asyncio.sleep(0)
        assert pool.waiting == 2 and new.asked == 1
        new.found_out.set()
        assert {(await task).backend.name for task in waiting} == {"new"}

    run(test())


def test_a_job_that_waits_for_a_proof_hears_of_the_refusal() -> None:
    async def test() -> None:
        new = Unproven("new", "another object")
        pool = Pool([new])
        waiting = asyncio.create_task(pool.acquire(GCC, job=JOB))
        await asyncio.sleep(0)
        new.found_out.set()
        with pytest.raises(NotDistributable) as refused:
            await waiting
        assert refused.value.reason is Reason.NOT_EQUIVALENT and "another object" in refused.value.detail
        assert new.asked == 1

    run(test())
