"""An engine's contents as a worker reads and writes them, over a real line that breaks when the test wants it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

pytest.importorskip("grpc")

import grpc
from engine_fake import FakeEngine

from manycc.engine import channel as channel_module
from manycc.engine import contents as contents_module
from manycc.engine import streams as streams_module
from manycc.engine.address import parse_engine
from manycc.engine.channel import Channel
from manycc.engine.contents import Contents, ContentsMissing, Named, name_of
from manycc.errors import BackendError, BackendRefused
from manycc.node.outputs import Produced
from manycc.reapi.remote_execution_pb2 import BatchReadBlobsResponse
from manycc.store.store import Store

_T = TypeVar("_T")
LARGE = bytes(range(256)) * 16384 + b"the end"  # 4 MiB: more than a message takes


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    monkeypatch.setattr(contents_module, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(channel_module, "PAUSES_S", (0.02, 0.02))
    monkeypatch.setattr(streams_module, "PAUSES_S", (0.02, 0.02))
    made = FakeEngine()
    yield made
    made.stop()


def talk(fake: FakeEngine, test: Callable[[Contents], Awaitable[_T]], words: str = "") -> _T:
    async def whole() -> _T:
        channel = Channel(parse_engine(f"reapi://127.0.0.1:{fake.port}/main{words}", 100))
        try:
            return await test(Contents(channel, "main"))
        finally:
            await channel.close()

    return asyncio.run(whole())


def fails(fake: FakeEngine, method: str, times: int, code: grpc.StatusCode, after: int = 0) -> None:
    """Answer the first calls of a method with an error; of a stream, when so many of its messages were read."""
    real = getattr(fake, method)
    calls = itertools.count(1)

    def answer(request: Any, context: Any) -> Any:
        if next(calls) <= times:
            if after and method == "Write":
                for piece in itertools.islice(request, after):
                    fake.uploads.setdefault(piece.resource_name, bytearray()).extend(piece.data)
            context.abort(code, "not now")
        return real(request, context)

    fake.on[method] = answer


PASSING = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]


@pytest.mark.parametrize("code", PASSING)
def test_results_are_put_again(fake: FakeEngine, code: grpc.StatusCode) -> None:
    """A moment's trouble of the engine does not throw a finished compile away."""
    fails(fake, "BatchUpdateBlobs", 4, code)
    talk(fake, lambda contents: contents.put([(name_of(b"object"), b"object")]))
    assert fake.blobs[hashlib.sha256(b"object").hexdigest()] == b"object"


@pytest.mark.parametrize("code", [*PASSING, grpc.StatusCode.UNAUTHENTICATED])
def test_streams_are_sent_again(fake: FakeEngine, tmp_path: Path, code: grpc.StatusCode) -> None:
    """A stream that broke off in the middle is sent whole, or from where it broke; its file needs no name any more."""
    path = tmp_path / "a.o"
    path.write_bytes(LARGE)
    one = name_of(LARGE)
    fails(fake, "Write", 4, code, after=2)
    with path.open("rb", buffering=0) as file:
        path.unlink()
        produced = Produced("/a.o", 0o644, one.size, one.digest, None, file)
        talk(fake, lambda contents: contents.put([(one, produced)]))
    assert fake.blobs[one.digest.hex()] == LARGE


def test_a_result_that_changed(fake: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "a.o"
    path.write_bytes(LARGE[:-1] + b"X")
    one = name_of(LARGE)
    with path.open("rb", buffering=0) as file, pytest.raises(BackendRefused, match="internal error"):
        talk(fake, lambda contents: contents.put([(one, Produced("/a.o", 0o644, one.size, one.digest, None, file))]))
    assert not fake.blobs


def test_what_stays_wrong(fake: FakeEngine) -> None:
    """An engine that says no for good is asked once."""
    fails(fake, "BatchUpdateBlobs", 100, grpc.StatusCode.INVALID_ARGUMENT)
    with pytest.raises(BackendError):
        talk(fake, lambda contents: contents.put([(name_of(b"object"), b"object")]))
    assert fake.calls == ["BatchUpdateBlobs"]


def test_too_large_for_memory(fake: FakeEngine) -> None:
    with pytest.raises(BackendRefused, match="protocol"):
        talk(fake, lambda contents: contents.read([Named(bytes(32), contents_module.MAX_SMALL + 1)]))
    assert not fake.calls


def test_patience_ends(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents_module, "PATIENCE_S", 0.1)
    fails(fake, "BatchUpdateBlobs", 100, grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(BackendError):
        talk(fake, lambda contents: contents.put([(name_of(b"object"), b"object")]))
    assert 1 < len(fake.calls) < 10


def test_inputs_are_asked_for_again(fake: FakeEngine, tmp_path: Path) -> None:
    small, large = name_of(b"small"), name_of(LARGE)
    fake.blobs |= {small.digest.hex(): b"small", large.digest.hex(): LARGE}
    fails(fake, "BatchReadBlobs", 2, grpc.StatusCode.UNAVAILABLE)
    fails(fake, "Read", 2, grpc.StatusCode.UNAVAILABLE)
    store = Store(str(tmp_path / "store"), 1 << 30)
    try:
        talk(fake, lambda contents: contents.fetch([small, large], store))
        assert store.missing([small.digest, large.digest]) == []
    finally:
        store.close()


def test_who_waited_for_another_job_has_its_inputs(fake: FakeEngine, tmp_path: Path) -> None:
    """The job that fetched them first may have failed, for want of others."""
    small, gone = name_of(b"small"), name_of(b"gone")
    fake.blobs[small.digest.hex()] = b"small"
    store = Store(str(tmp_path / "store"), 1 << 30)

    async def both(contents: Contents) -> list[BaseException | None]:
        first, second = contents.fetch([gone, small], store), contents.fetch(iter([small]), store)
        return await asyncio.gather(first, second, return_exceptions=True)

    try:
        first, second = talk(fake, both)
        assert isinstance(first, ContentsMissing)
        assert second is None
        assert store.missing([small.digest]) == []
    finally:
        store.close()


def test_status_of_one_content(fake: FakeEngine) -> None:
    """Only what the engine does not find is missing: for all else clients would send what is there."""
    there, gone = name_of(b"there"), name_of(b"gone")
    fake.blobs[there.digest.hex()] = b"there"
    calls = itertools.count(1)

    def busy(request: Any, context: Any) -> BatchReadBlobsResponse:
        answer = fake.BatchReadBlobs(request, context)
        if next(calls) <= 2:
            for blob in answer.responses:
                blob.data, blob.status.code = b"", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        return answer

    fake.on["BatchReadBlobs"] = busy

    async def missing(contents: Contents) -> list[Named]:
        assert await contents.read([there]) == {there.digest: b"there"}
        with pytest.raises(ContentsMissing) as error:
            await contents.read([there, gone])
        return error.value.missing

    assert talk(fake, missing) == [gone]


def test_another_channel(fake: FakeEngine) -> None:
    """A call that hangs on a dead line is made again on the new one."""
    first = True

    def read(request: Any, context: Any) -> Any:
        nonlocal first
        if first:
            first = False
            fake.silent(request, context)
        return fake.BatchReadBlobs(request, context)

    fake.on["BatchReadBlobs"] = read
    one = name_of(b"there")
    fake.blobs[one.digest.hex()] = b"there"

    async def test() -> dict[bytes, bytes]:
        address = parse_engine(f"reapi://127.0.0.1:{fake.port}/main", 100)
        old, new = Channel(address), Channel(address)
        contents = Contents(old, "main")
        reading = asyncio.create_task(contents.read([one]))
        while not fake.calls:
            await asyncio.sleep(0.01)
        contents.use(new)
        await old.close()
        try:
            return await asyncio.wait_for(reading, 60)
        finally:
            await new.close()

    assert asyncio.run(test()) == {one.digest: b"there"}
