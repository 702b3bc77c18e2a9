"""Hosts that are not trusted with a toolchain: passed over while there are others, then a reason of their own."""

from __future__ import annotations

import asyncio

import pytest
from test_pool import GCC, FakeBackend, run

from manycc.backends.base import State
from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Pool


class Trust:
    """Who is barred from what."""

    def __init__(self, *hosts: str) -> None:
        self.barred = set(hosts)

    def __call__(self, host: str, toolchain: Toolchain) -> str:
        return "it lied" if host in self.barred and toolchain is GCC else ""


def test_another_host_is_asked_even_if_this_one_is_preferred() -> None:
    async def test() -> None:
        pool = Pool([FakeBackend("liar", 4), FakeBackend("honest", 2)], barred=Trust("liar"))
        hosts = [await pool.acquire(GCC, prefer="liar") for _ in range(2)]
        assert [host.backend.name for host in hosts] == ["honest", "honest"]
        waiting = asyncio.create_task(pool.acquire(GCC, prefer="liar"))
        await asyncio.sleep(0)
        assert pool.waiting == 1
        pool.release(hosts[0])
        assert (await waiting).backend.name == "honest"

    run(test)


def test_with_no_other_host_the_reason_is_its_own() -> None:
    async def test() -> None:
        other = FakeBackend("other", 1)
        other.state, other.why = State.DOWN, "it is off"
        pool = Pool([FakeBackend("liar", 4), other], barred=Trust("liar"))
        with pytest.raises(NotDistributable) as caught:
            await pool.acquire(GCC)
        assert caught.value.reason is Reason.QUARANTINED
        assert caught.value.detail == "liar: it lied; other: it is off"

    run(test)


def test_whoever_waits_for_it_is_turned_away_at_once() -> None:
    async def test() -> None:
        trust = Trust()
        pool = Pool([FakeBackend("liar", 1)], barred=trust)
        await pool.acquire(GCC)
        waiting = asyncio.create_task(pool.acquire(GCC))
        await asyncio.sleep(0)
        trust.barred.add("liar")
        pool.hosts_changed()
        with pytest.raises(NotDistributable) as caught:
            await waiting
        assert caught.value.reason is Reason.QUARANTINED

    run(test)
