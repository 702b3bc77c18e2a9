"""Files of a node's store that are altered on its disk, behind its back.

``WAYS`` is the table of what happens to a file: a content that jobs read, a program of the toolchain, the object of
a cached result, or the record of one. In every case the next job ends with the right object on that node, and the
file is sound again: either at once, or because it is not there any more and comes anew.
No time is lost beyond one more transfer, or one more compile on the node.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from phases import MARK, nothing_left
from support import until

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need, need_root

VALUE = b"4711"


def another_byte(path: str) -> None:
    """A header then says something else, and an object, a program or a record is damaged."""
    with open(path, "r+b") as file:
        place = max(0, file.read().find(VALUE))
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def keeping_times(alter: Callable[[str], None]) -> Callable[[str], None]:
    def altered(path: str) -> None:
        before = os.stat(path)
        alter(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return altered


def longer(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"\n#error more\n")


def shorter(path: str) -> None:
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path: str) -> None:
    os.truncate(path, 0)


def another_file(path: str) -> None:
    data = Path(path).read_bytes()
    os.rename(path, path + ".old")
    Path(path).write_bytes(bytes(len(data)))
    os.unlink(path + ".old")


def removed(path: str) -> None:
    os.unlink(path)


def a_link(path: str) -> None:
    os.unlink(path)
    os.symlink("/etc/passwd", path)


def a_folder(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def a_pipe(path: str) -> None:
    os.unlink(path)
    os.mkfifo(path)


def unreadable(path: str) -> None:
    os.chmod(path, 0)
    os.chown(path, 0, 0)


WAYS: dict[str, Callable[[str], None]] = {
    "another byte": another_byte,
    "another byte, same times": keeping_times(another_byte),
    "longer": longer,
    "shorter": shorter,
    "empty": empty,
    "another file": another_file,
    "another file, same times": keeping_times(another_file),
    "removed": removed,
    "a link": a_link,
    "a folder": a_folder,
    "a pipe": a_pipe,
    "unreadable": unreadable,
}


@dataclass
class Place:
    """A node and its store, an agent, a folder with a source and a header that no one has seen."""

    cluster: Cluster
    folder: Path
    number: Iterator[int] = field(default_factory=itertools.count)
    name: str = ""

    def renew(self) -> None:
        """Another header, another source."""
        self.name = f"{MARK}{next(self.number)}"
        (self.folder / f"{self.name}.h").write_text(f"#define VALUE {VALUE.decode()} // {self.name}\n")
        self.edit("")

    def edit(self, text: str) -> None:
        """The source changes, and its object; the header does not."""
        (self.folder / f"{self.name}.c").write_text(
            f'#include <stddef.h>\n#include "{self.name}.h"\nint f(int x) {{ return x + VALUE; }}\n{text}\n'
        )

    def compile(self) -> str:
        """Compile here and there; all must be right. The reason."""
        argv = ["gcc", "-g", "-c", f"{self.name}.c", "-o", "a.o"]
        target = self.folder / "a.o"
        subprocess.run(argv, cwd=self.folder, check=True)
        wanted = target.read_bytes()
        target.unlink()
        count = len(self.cluster.records())
        done = self.cluster.compile(argv, str(self.folder))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert target.read_bytes() == wanted
        target.unlink()
        record = self.cluster.wait_records(count + 1)[-1]
        return str(record["reason"])

    def kept(self, data: bytes, executable: bool = False) -> str:
        """Where the store has a content."""
        name = hashlib.sha256(data).hexdigest()
        return f"{self.store}/blobs/{name[:2]}/{name}{'x' if executable else ''}"

    @property
    def store(self) -> str:
        """The store's folder."""
        return os.path.join(self.cluster.nodes[0].state, "cache", "store")

    def files(self, kind: str) -> list[str]:
        """The files of a kind that came into the store with this header, this source, or this toolchain."""
        if kind == "header":
            return [self.kept((self.folder / f"{self.name}.h").read_bytes())]
        if kind == "program":
            return [self.kept(Path(path).read_bytes(), executable=True) for path in programs()]
        data = self.cluster.records()[-1]["digest"]
        if kind == "object":
            return [f"{self.store}/blobs/{data[:2]}/{data}"]
        newest = sorted(Path(self.store, "actions").glob("*/*"), key=lambda path: path.stat().st_mtime_ns)
        return [str(newest[-1])]


def programs() -> list[str]:
    """The compiler's driver and its assembler: what starts first and last."""
    return [os.path.realpath(f"/usr/bin/{name}") for name in ("gcc", "as")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    need("bwrap", "gcc")
    need_root("write into a node's store")
    folder = tmp_path_factory.mktemp("altered")
    work = folder / "work"
    work.mkdir()
    with Cluster(str(folder / "c"), nodes=1, jobs=2) as cluster:
        yield Place(cluster, work)
        nothing_left(cluster)


KINDS = ("header", "program", "object", "record")


def again(place: Place, kind: str) -> None:
    """What comes after the alteration: all is right at once, and as it was from then on."""
    if kind in ("object", "record"):
        assert place.compile() in ("remote", "cached")
        assert place.compile() == "cached"
    else:
        place.edit("int more;")
        assert place.compile() == "remote"
    place.edit("int still_more;")
    assert place.compile() == "remote"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_altered_between_jobs(place: Place, kind: str, way: str) -> None:
    place.renew()
    assert place.compile() == "remote"
    if kind in ("object", "record"):
        assert place.compile() == "cached"
    for path in place.files(kind):
        WAYS[way](path)
    again(place, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_altered_while_the_node_is_away(place: Place, kind: str) -> None:
    """Each way on a file of its own."""
    altered: list[tuple[str, str, str]] = []
    for way in WAYS:
        place.renew()
        assert place.compile() == "remote"
        altered.append((way, place.name, place.files(kind)[0]))
    if kind == "program":
        paths = sorted(str(path) for path in Path(place.store, "blobs").glob("*/*x"))
        altered = [(way, name, path) for (way, name, _), path in zip(altered, paths, strict=False)]
    assert len({path for _, _, path in altered}) == len(WAYS)
    node = place.cluster.nodes[0]
    node.stop()
    for way, _, path in altered:
        WAYS[way](path)
    node.start()
    until(lambda: place.compile() != "hosts-down")  # until the agent has found it again
    for _, place.name, _ in altered:
        again(place, kind)
    for path in Path(place.store, "blobs").glob("*/*"):
        assert path.is_file() and not path.is_symlink(), path
        with open(path, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == path.name.removesuffix("x")


@contextlib.contextmanager
def decayed(path: str) -> Iterator[None]:
    """The first byte is another, and nothing tells of it: written through a mapping, whose file is still open."""
    before = os.stat(path)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] ^= 1
        mapped.flush()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        yield


@pytest.mark.parametrize("kind", ["header", "program", "object"])
def test_a_disk_that_decays(place: Place, kind: str) -> None:
    """As much as can be found: what makes a compile go wrong, and results before they are sent."""
    place.renew()
    assert place.compile() == "remote"
    if kind == "object":
        assert place.compile() == "cached"
    with decayed(place.files(kind)[0]):
        again(place, kind)
