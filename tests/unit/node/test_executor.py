"""What an executor does about a compile that went wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from manycc.job import FILE
from manycc.node import executor, outputs, tree
from manycc.node.admission import Plan
from manycc.node.executor import Executor
from manycc.node.process import Finished
from manycc.node.runner import Keep, Ran
from manycc.node.slots import Slots
from manycc.node.tree import Entry
from manycc.store.actions import ActionCache, CachedOutput, CachedResult
from manycc.store.store import BlobMissing, Store

CONTENTS = (b"#error no\n", b"a header")


class Compiler:
    """A runner whose compiles fail; ``during`` is called within each."""

    def __init__(self, during: Callable[[], Awaitable[None]]) -> None:
        self.runs = 0
        self._during = during

    async def run(self, plan: Plan, keep: Keep) -> Ran:
        self.runs += 1
        await self._during()
        return Ran(Finished(1, 0, b"", b"a.c:1: error", 0.0, 0.0, 0, ""), [], 0.0)

    def close(self) -> None:
        pass


class Toolchains:
    async def check(self, served: object) -> None:
        pass

    async def fill(self, served: object) -> None:
        pass


class Place:
    """A store with the contents of one job, an executor, and what it hashed again."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.sent: list[bytes] = []
        self.hashed: list[bytes] = []
        self.threads: set[int] = set()
        self.during: Callable[[], Awaitable[None]] = self.nothing
        self.compiler = Compiler(lambda: self.during())
        slots = Slots(2, lambda: 1 << 40, lambda: None)
        self.executor = Executor(store, cast(Any, Toolchains()), self.compiler, slots)
        entries = [
            Entry(FILE, f"/w/{number}", store.add_bytes(data), len(data)) for number, data in enumerate(CONTENTS)
        ]
        self.plan = Plan(
            argv=("gcc", "-c", "0"), cwd="/w", env={}, umask=0, served=cast(Any, None),
            tree=tree.build(tree.empty(), entries, ["/w"]), writable=("/w",), key=b"k" * 32,
            may_keep=False, may_answer=False, expected_rss=0, command=cast(Any, SimpleNamespace(source="0")),
            terminal=False,
        )  # fmt: skip
        recheck = store.recheck

        def recorded(keys: Iterable[bytes]) -> list[bytes]:
            keys = list(keys)
            self.hashed += keys
            self.threads.add(threading.get_ident())
            return recheck(keys)

        monkeypatch.setattr(store, "recheck", recorded)

    async def nothing(self) -> None:
        pass

    async def fetch(self, wanted: Iterable[tuple[bytes, int]]) -> None:
        for digest, _ in wanted:
            self.sent.append(digest)
            self.store.add_bytes(next(data for data in CONTENTS if self.digest(data) == digest))

    @staticmethod
    def digest(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def damage(self, content: bytes = CONTENTS[1]) -> None:
        """Alter a content in the store, unseen by it."""
        path = next(path for path in Path(self.store.root, "blobs").glob("*/*") if path.read_bytes() == content)
        before = path.stat()
        os.chmod(path, 0o644)
        path.write_bytes(content.swapcase())
        os.chmod(path, 0o444)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.store._alterations.names()

    async def run(self) -> None:
        assert (await self.executor.run(self.plan, self, self.fetch)).exit_code == 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    store = Store(str(tmp_path / "store"))
    yield Place(store, monkeypatch)
    store.close()


def test_failures_in_a_row_cost_one_look(place: Place) -> None:
    async def body() -> None:
        for _ in range(5):
            await place.run()

    asyncio.run(body())
    assert sorted(place.hashed) == sorted(map(place.digest, CONTENTS)) and place.compiler.runs == 5
    assert threading.get_ident() not in place.threads  # others are served meanwhile


def test_after_a_while_it_looks_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "LOOK_AGAIN_S", 0.0)

    async def body() -> None:
        await place.run()
        await place.run()

    asyncio.run(body())
    assert len(place.hashed) == 4


def test_what_is_damaged_is_sent_again_and_compiled_again(place: Place) -> None:
    place.damage()
    asyncio.run(place.run())
    assert place.sent == [place.digest(CONTENTS[1])] and place.compiler.runs == 2


def test_all_that_fell_over_it_are_compiled_again(place: Place) -> None:
    """Also the one that comes to look when the other one has had it sent anew."""
    started = asyncio.Barrier(2)

    async def together() -> None:
        if place.compiler.runs <= 2:
            await started.wait()

    place.during = together
    place.damage()

    async def body() -> None:
        await asyncio.gather(place.run(), place.run())

    asyncio.run(body())
    assert place.sent == [place.digest(CONTENTS[1])] and place.compiler.runs == 4


def test_a_disk_that_damages_all_is_not_tried_for_ever(place: Place) -> None:
    async def again() -> None:
        place.damage()

    place.during = again
    with pytest.raises(Exception, match="vanishing") as caught:
        asyncio.run(place.run())
    assert not isinstance(caught.value, BlobMissing) and place.compiler.runs == executor.ATTEMPTS


def test_a_large_result_is_hashed_aside_and_seldom(place: Place) -> None:
    large = b"x" * (outputs.IN_MEMORY + 1)
    digest = place.store.add_bytes(large)
    result = CachedResult([CachedOutput("/w/a.o", 0o644, len(large), digest)], b"", b"", 0.0, 0)
    ActionCache(place.store).put(place.plan.key, result)
    place.plan = dataclasses.replace(place.plan, may_answer=True)

    async def body() -> None:
        for _ in range(3):
            answer = await place.executor.run(place.plan, place, place.fetch)
            assert answer.info["cached"] and answer.produced[0].file is not None
            assert answer.produced[0].file.read() == large
            outputs.close_all(answer.produced)
        assert place.hashed == [digest] and threading.get_ident() not in place.threads
        place.executor._looked_at.clear()
        asked = asyncio.create_task(place.executor.run(place.plan, place, place.fetch))
        while len(place.hashed) == 1:
            await asyncio.sleep(0)
        asked.cancel()  # no file may be left open: that would be a warning
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(body())  # its end waits for the thread that still reads
    place.executor._looked_at.clear()
    place.damage(large)
    asyncio.run(place.run())
    assert place.compiler.runs == 1
