"""What a worker makes of an engine's words: every name, size and count of theirs is looked at."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc")

from manycc.engine import leasedjob
from manycc.engine.contents import Contents, Named, named
from manycc.engine.inputroot import InputRoots
from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.reapi import remote_execution_pb2 as re
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
        {"output_paths": [f"{number}.o" for number in range(100_000)]},
        {"environment_variables": [re.Command.EnvironmentVariable(name=f"A{number}") for number in range(1000)]},
    ],
    ids=["no words", "NUL", "too long", "no compiler", "outputs", "variables"],
)
def test_commands_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BackendRefused):
        leasedjob.read(*_command(**change))


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
