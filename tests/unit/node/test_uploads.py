"""Contents that agents send: what all of them together may begin, and what is made of those who do not finish."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from manycc.errors import BackendRefused
from manycc.node.messages import Blob
from manycc.node.uploads import ContentGone, Incoming, Uploads
from manycc.reasons import Reason
from manycc.store.store import Store

KIB = 1024
LIMIT = 1024 * KIB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "store"), LIMIT)
    yield made
    made.close()


def content(name: str, size: int) -> tuple[bytes, bytes]:
    data = (name.encode() * size)[:size]
    return hashlib.sha256(data).digest(), data


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await body()

    asyncio.run(bounded())


def test_what_is_begun_and_not_finished_is_bounded_for_all_together(store: Store) -> None:
    async def body() -> None:
        incoming = Incoming()
        agents = [Uploads(store, incoming, lambda job, digests: None) for _ in range(4)]
        fetches = []
        for index, agent in enumerate(agents):
            digest, data = content(f"agent {index}", 400 * KIB)
            fetches.append(asyncio.create_task(agent.fetch(1, [(digest, len(data))])))
            await asyncio.sleep(0)
            agent.receive(Blob(digest, len(data), 0, data[: 300 * KIB]))
        on_disk = sum(entry.stat().st_size for entry in os.scandir(store.scratch.path))
        assert on_disk <= incoming.bytes <= LIMIT // 2
        # The first may finish; the others are told that there is no room, once all of theirs has come.
        for index, agent in enumerate(agents):
            digest, data = content(f"agent {index}", 400 * KIB)
            agent.receive(Blob(digest, len(data), 300 * KIB, data[300 * KIB :]))
        await fetches[0]
        for fetch in fetches[1:]:
            with pytest.raises(BackendRefused) as refusal:
                await fetch
            assert refusal.value.reason is Reason.NODE_DISK
        assert incoming.bytes == 0

    run(body)


def test_a_lost_connection_gives_back_what_it_began(store: Store) -> None:
    async def body() -> None:
        incoming = Incoming()
        agent = Uploads(store, incoming, lambda job, digests: None)
        digest, data = content("lost", 100 * KIB)
        fetch = asyncio.create_task(agent.fetch(1, [(digest, len(data))]))
        await asyncio.sleep(0)
        agent.receive(Blob(digest, len(data), 0, data[:KIB]))
        assert incoming.bytes == KIB
        agent.close()
        with pytest.raises(ContentGone):
            await fetch
        assert incoming.bytes == 0
        assert os.listdir(store.scratch.path) == ["lock"]

    run(body)


def test_it_is_known_for_how_long_nothing_came(store: Store) -> None:
    async def body() -> None:
        agent = Uploads(store, Incoming(), lambda job, digests: None)
        assert agent.silence() == 0.0
        digest, data = content("slow", KIB)
        fetch = asyncio.create_task(agent.fetch(1, [(digest, len(data))]))
        await asyncio.sleep(0.02)
        assert 0.01 < agent.silence() < 5.0
        agent.receive(Blob(digest, len(data), 0, data[:1]))
        assert agent.silence() < 0.01
        agent.receive(Blob(digest, len(data), 1, data[1:]))
        await fetch
        assert agent.silence() == 0.0

    run(body)
