"""What a worker makes of an engine's words: every name, size and count of theirs is looked at."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
import tracemalloc
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

from google.protobuf import any_pb2
from google.rpc import code_pb2

from manycc.engine import inputroot, leasedjob, leasework
from manycc.engine.contents import MAX_SMALL, Contents, Named, named
from manycc.engine.inputroot import InputRoots
from manycc.engine.leaseresult import refusal
from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.reapi import remote_execution_pb2 as re
from manycc.reasons import Reason
from manycc.store.store import Store

EMPTY = re.Digest(hash=hashlib.sha256(b"").hexdigest(), size_bytes=0)


class Kept:
    """An engine's contents, in memory; satisfies what InputRoots needs. ``asked`` counts the questions."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.asked = 0

    def add(self, message: Any) -> re.Digest:
        data = message.SerializeToString(deterministic=True)
        digest = hashlib.sha256(data)
        self.data[digest.digest()] = data
        return re.Digest(hash=digest.hexdigest(), size_bytes=len(data))

    async def read(self, wanted: Iterable[Named]) -> dict[bytes, bytes]:
        self.asked += 1
        return {one.digest: self.data[one.digest] for one in wanted}


def _entries(kept: Kept, root: re.Directory) -> list[Any]:
    roots = InputRoots(kept)  # type: ignore[arg-type]
    return asyncio.run(roots.entries(named(kept.add(root))))


def _folder(**names: re.Digest) -> re.Directory:
    return re.Directory(directories=[re.DirectoryNode(name=name, digest=digest) for name, digest in names.items()])


def test_root() -> None:
    kept = Kept()
    source = re.Directory(files=[re.FileNode(name="a.c", digest=EMPTY)],
                          symlinks=[re.SymlinkNode(name="b.c", target="/src/a.c")])  # fmt: skip
    found = _entries(kept, _folder(src=kept.add(source), empty=kept.add(re.Directory())))
    assert {(entry.kind, entry.path, entry.target) for entry in found} == {
        (FILE, "/src/a.c", ""), (LINK, "/src/b.c", "/src/a.c"), (FOLDER, "/empty", ""),
    }  # fmt: skip
    assert kept.asked == 2  # a level at a time


def test_listings_are_kept() -> None:
    kept = Kept()
    roots = InputRoots(kept)  # type: ignore[arg-type]
    root = named(kept.add(_folder(src=kept.add(re.Directory(files=[re.FileNode(name="a.c", digest=EMPTY)])))))
    first, again = asyncio.run(roots.entries(root)), asyncio.run(roots.entries(root))
    assert kept.asked == 2
    assert first[0] is again[0]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../etc", "nul\0", 300 * "x"])
@pytest.mark.parametrize("kind", ["files", "symlinks", "directories"])
def test_names(name: str, kind: str) -> None:
    """No name leads out of its folder."""
    node = {
        "files": re.Directory(files=[re.FileNode(name=name, digest=EMPTY)]),
        "symlinks": re.Directory(symlinks=[re.SymlinkNode(name=name, target="x")]),
        "directories": re.Directory(directories=[re.DirectoryNode(name=name, digest=EMPTY)]),
    }[kind]
    with pytest.raises(BackendRefused):
        _entries(Kept(), node)


def test_folders_in_folders_without_end() -> None:
    """Sixty small listings, each twice in the next, would be more folders than there are atoms in a grain of sand."""
    kept = Kept()
    digest = kept.add(re.Directory(files=[re.FileNode(name="a.c", digest=EMPTY)]))
    for _ in range(60):
        digest = kept.add(_folder(a=digest, b=digest))
    with pytest.raises(BackendRefused, match="refused"):
        _entries(kept, _folder(top=digest))


def test_wide_and_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One listing of 40,000 folders, at 1,000 places: what it stands for is counted before any of it is made."""
    made = itertools.count(1)

    def counted(digest: re.Digest) -> Named:
        if next(made) > inputroot.MAX_INPUTS:
            pytest.fail("more was made than a job may have")
        return named(digest)

    monkeypatch.setattr(inputroot, "named", counted)
    kept = Kept()
    leaf = kept.add(re.Directory(files=[re.FileNode(name="a.c", digest=EMPTY)]))
    wide = kept.add(_folder(**{f"f{number}": leaf for number in range(40_000)}))
    with pytest.raises(BackendRefused, match="too many files"):
        _entries(kept, _folder(**{f"g{number}": wide for number in range(1000)}))


@pytest.mark.parametrize("kind", ["files", "symlinks", "directories"])
def test_empty_names_by_the_million(kind: str) -> None:
    """Nodes of a few bytes, more of them than a job may have inputs: refused before any is made into an object."""
    kept = Kept()
    node = {"files": b"\x0a\x05\x0a\x03abc", "directories": b"\x12\x05\x0a\x03abc", "symlinks": b"\x1a\x05\x0a\x03abc"}
    data = node[kind] * (MAX_SMALL // 7)
    digest = hashlib.sha256(data).digest()
    kept.data[digest] = data
    roots = InputRoots(kept)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        with pytest.raises(BackendRefused, match="too many files"):
            asyncio.run(roots.entries(Named(digest, len(data))))
        assert tracemalloc.get_traced_memory()[1] < 50 * 1024**2  # the listing itself is not in Python's memory
    finally:
        tracemalloc.stop()


def test_too_large_a_listing() -> None:
    kept = Kept()
    with pytest.raises(BackendRefused, match="too many files"):
        asyncio.run(InputRoots(kept).entries(Named(bytes(32), MAX_SMALL + 1)))  # type: ignore[arg-type]
    assert kept.asked == 0


def test_large_listings_stop_nobody() -> None:
    """While a large root is read, the node goes on answering its engine."""
    kept = Kept()
    files = [re.FileNode(name=f"file{number}", digest=EMPTY) for number in range(30_000)]
    root = named(kept.add(re.Directory(files=files)))

    async def whole() -> tuple[int, int]:
        reading = asyncio.create_task(InputRoots(kept).entries(root))  # type: ignore[arg-type]
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0.001)
        return turns, len(reading.result())

    turns, found = asyncio.run(whole())
    assert found == 30_000
    assert turns > 10


def test_listings_make_room_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept may go between the look for it and its use: by another job, or by the same level's own."""
    monkeypatch.setattr(inputroot, "MAX_KEPT", 3000)
    kept = Kept()
    roots = InputRoots(kept)  # type: ignore[arg-type]
    folders = [kept.add(re.Directory(files=[re.FileNode(name=f"{name}.c", digest=EMPTY)])) for name in range(20)]
    firsts = [named(kept.add(_folder(**{f"d{place}": folders[place]}))) for place in range(3)]
    all_of_them = named(kept.add(_folder(**{f"d{place}": digest for place, digest in enumerate(folders)})))

    async def whole() -> None:
        for first in firsts:
            await roots.entries(first)
        for _ in range(2):
            found = await asyncio.gather(*(roots.entries(root) for root in (all_of_them, *firsts, all_of_them)))
            assert [len(entries) for entries in found] == [20, 1, 1, 1, 20]
            assert [entry.path for entry in found[0]] == [f"/d{place}/{place}.c" for place in range(20)]

    asyncio.run(whole())


def test_folders_are_counted_in_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputroot, "MAX_KEPT", 100_000)
    kept = Kept()
    leaf = kept.add(re.Directory(files=[re.FileNode(name="a.c", digest=EMPTY)]))
    root = named(kept.add(_folder(**{f"f{number}": leaf for number in range(500)})))
    roots = InputRoots(kept)  # type: ignore[arg-type]
    asyncio.run(roots.entries(root))
    kept.asked = 0
    asyncio.run(roots.entries(root))
    assert kept.asked  # 500 folders do not fit


def test_too_deep() -> None:
    kept = Kept()
    digest = kept.add(re.Directory())
    for _ in range(5000):
        digest = kept.add(_folder(a=digest))
    with pytest.raises(BackendRefused):
        _entries(kept, _folder(a=digest))


@pytest.mark.parametrize("digest", [re.Digest(hash="12", size_bytes=1), re.Digest(hash="g" * 64, size_bytes=1),
                                    re.Digest(hash="0" * 64, size_bytes=-1)])  # fmt: skip
def test_digests(digest: re.Digest) -> None:
    with pytest.raises(BackendRefused):
        named(digest)


def _command(**fields: Any) -> tuple[re.Action, re.Command]:
    platform = re.Platform(properties=[re.Platform.Property(name="toolchain", value="f" * 64)])
    return re.Action(), re.Command(**{"arguments": ["gcc", "-c", "a.c"], "platform": platform, **fields})


def test_command() -> None:
    variables = [
        re.Command.EnvironmentVariable(name=name, value=value)
        for name, value in (("MANYCC_DRIVER", "/opt/gcc"), ("PATH", "/bin"), ("LC_ALL", "C"), ("MANYCC_TERMINAL", "1"))
    ]
    wanted = leasedjob.read(
        *_command(environment_variables=variables, working_directory="src/x", output_paths=["a.o", "../b.o"])
    )
    assert (wanted.cwd, wanted.driver, wanted.fingerprint) == ("/src/x", "/opt/gcc", "f" * 64)
    assert wanted.env == (("LC_ALL", "C"),)
    assert (wanted.terminal, wanted.everything) == (True, False)
    assert wanted.outputs == (("a.o", "/src/x/a.o"), ("../b.o", "/src/b.o"))


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": []},
        {"arguments": ["gcc", "a\0b"]},
        {"arguments": ["gcc"] * 2_000_000},
        {"platform": re.Platform()},
        {"platform": re.Platform(properties=[re.Platform.Property(name="toolchain", value="f" * 64)] * 1000)},
        {"output_paths": [f"{number}.o" for number in range(100_000)]},
        {"environment_variables": [re.Command.EnvironmentVariable(name=f"A{number}") for number in range(1000)]},
        {"working_directory": 100_000 * "a/", "output_paths": [f"{number}.o" for number in range(1000)]},
        {"environment_variables": [re.Command.EnvironmentVariable(name=leasedjob.DRIVER, value=100_000 * "/a")]},
    ],
    ids=["no words", "NUL", "too long", "no compiler", "properties", "outputs", "variables", "folder", "driver"],
)
def test_commands_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BackendRefused):
        leasedjob.read(*_command(**change))


def test_somebody_elses_job() -> None:
    """On a shared engine it is another worker's, and whoever sent it learns why it was not done here."""
    with pytest.raises(leasedjob.NotOurs) as error:
        leasedjob.read(*_command(platform=re.Platform()))
    status = refusal(error.value)
    assert status.code == code_pb2.UNAVAILABLE
    assert "platform property toolchain" in status.message


def test_compiler_gone() -> None:
    """Not to be taken for missing inputs, which clients would send again."""
    status = refusal(BackendRefused(Reason.NO_TOOLCHAIN, "no compiler here has the fingerprint"))
    assert (status.code, list(status.details)) == (code_pb2.UNIMPLEMENTED, [])


class Liar:
    """A channel whose engine answers each batch as ``answer`` says."""

    def __init__(self, answer: Callable[[re.BatchReadBlobsRequest], re.BatchReadBlobsResponse]) -> None:
        self._answer = answer
        self.cas = self

    BatchReadBlobs = None

    async def call(self, method: Any, request: Any, limit_s: float) -> Any:
        return self._answer(request)


def test_wrong_content(tmp_path: Path) -> None:
    """What is not what its digest says is never in the store."""

    def answer(request: re.BatchReadBlobsRequest) -> re.BatchReadBlobsResponse:
        made = re.BatchReadBlobsResponse()
        for digest in request.digests:
            made.responses.add(digest=digest, data=b"evil")
        return made

    store = Store(str(tmp_path), 1 << 20)
    contents = Contents(Liar(answer), "")  # type: ignore[arg-type]
    good = hashlib.sha256(b"good").digest()
    with pytest.raises(BackendRefused, match="internal error"):
        asyncio.run(contents.fetch([(good, 4)], store))
    assert store.missing([good]) == [good]
    with pytest.raises(BackendRefused, match="disk"):
        asyncio.run(contents.fetch([(good, 1 << 30)], store))
    store.close()


def test_memory_of_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that took much memory here is expected to do so again: engines tell nothing of that."""

    @dataclasses.dataclass
    class Planned:
        source: str
        expected_rss: int = 0

    expected: list[int] = []

    class Executor:
        async def run(self, planned: Planned, owner: Any, fetch: Any) -> Any:
            expected.append(planned.expected_rss)
            return types.SimpleNamespace(info={"rss": 1 << 30})

    class Compilers:
        async def served(self, fingerprint: str, driver: str, entries: Any) -> None:
            return None

    async def result_of(*given: Any) -> re.ActionResult:
        return re.ActionResult()

    monkeypatch.setattr(leasework, "plan", lambda wanted, *given, cached: Planned(wanted.argv[-1]))
    monkeypatch.setattr(leasework, "result_of", result_of)
    kept = Kept()
    work = leasework.Work(None, Executor(), Compilers(), kept, None)  # type: ignore[arg-type]
    root = kept.add(re.Directory())

    async def whole() -> None:
        for name in ("a.c", "a.c", "b.c"):
            _, command = _command(arguments=["gcc", "-c", name])
            payload = any_pb2.Any()
            payload.Pack(re.Action(command_digest=kept.add(command), input_root_digest=root))
            done = await work.do(payload, None)
            assert done.status.code == code_pb2.OK, done.status

    asyncio.run(whole())
    assert expected == [0, 1 << 30, 0]
