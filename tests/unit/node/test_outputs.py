"""What a job wrote is taken without trust in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.errors import BackendRefused
from manycc.job import FILE
from manycc.node import outputs, tree
from manycc.node.staging import Root, Workplace
from manycc.node.tree import Entry
from manycc.store.store import Store


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    store = Store(str(tmp_path / "store"))
    entry = Entry(FILE, "/w/given.h", store.add_bytes(b"given"), 5)
    made = tree.build(tree.empty(), [entry], ["/w", "/w/sub"])
    root = Root(store)
    root.become(made)
    place = Workplace(store)
    place.prepare(root, made, ["/w"])
    yield place
    place.remove()
    assert not os.path.exists(place.path)
    store.close()


def disk(workplace: Workplace) -> Path:
    return Path(workplace.folders[0][1])


def taken(workplace: Workplace, limit: int = 1 << 30) -> dict[str, bytes]:
    produced = outputs.collect(workplace.folders, workplace.given, limit)
    found = {one.path: one.data if one.data is not None else (one.file.read() if one.file else b"") for one in produced}
    for one in produced:
        assert one.digest == hashlib.sha256(found[one.path]).digest() and one.size == len(found[one.path])
    outputs.close_all(produced)
    return found


def test_everything_new_and_nothing_else(workplace: Workplace) -> None:
    (disk(workplace) / "a.o").write_bytes(b"object")
    (disk(workplace) / "new" / "deep").mkdir(parents=True)
    (disk(workplace) / "new" / "deep" / "\udcff.su").write_bytes(b"")
    assert taken(workplace) == {"/w/a.o": b"object", "/w/new/deep/\udcff.su": b""}


def test_a_given_file_that_was_written_over(workplace: Workplace) -> None:
    (disk(workplace) / "given.h").unlink()
    (disk(workplace) / "given.h").write_bytes(b"other")
    assert taken(workplace) == {"/w/given.h": b"other"}


def test_modes(workplace: Workplace) -> None:
    path = disk(workplace) / "a.o"
    path.write_bytes(b"x")
    path.chmod(0o4751)
    secret = disk(workplace) / "b.o"
    secret.write_bytes(b"y")
    secret.chmod(0)
    produced = {one.path: one.mode for one in outputs.collect(workplace.folders, workplace.given, 100)}
    assert produced == {"/w/a.o": 0o751, "/w/b.o": 0}


def test_nothing_is_read_through_links_or_from_devices(workplace: Workplace) -> None:
    os.symlink("/etc/passwd", disk(workplace) / "link.o")
    os.symlink("/etc", disk(workplace) / "etc")
    os.mkfifo(disk(workplace) / "pipe.o")
    assert taken(workplace) == {}


def test_a_mount_point_replaced_by_the_job(workplace: Workplace) -> None:
    (disk(workplace) / "sub").rmdir()
    os.symlink("/etc", disk(workplace) / "sub")
    assert taken(workplace) == {}


def test_large_files_are_kept_open(workplace: Workplace) -> None:
    data = os.urandom(outputs.IN_MEMORY + 1)
    (disk(workplace) / "big.o").write_bytes(data)
    (one,) = outputs.collect(workplace.folders, workplace.given, 1 << 30)
    assert one.data is None and one.file is not None
    workplace.remove()
    assert one.file.read() == data
    one.file.close()
    os.mkdir(workplace.path)


def test_bounds(workplace: Workplace) -> None:
    folder = disk(workplace)
    with open(folder / "sparse.o", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BackendRefused):
        outputs.collect(workplace.folders, workplace.given, 1 << 30)
    os.unlink(folder / "sparse.o")
    for number in range(outputs.MAX_OUTPUTS + 1):
        (folder / f"{number}.o").touch()
    with pytest.raises(BackendRefused):
        outputs.collect(workplace.folders, workplace.given, 1 << 30)


def test_folders_without_end(workplace: Workplace) -> None:
    deep = disk(workplace)
    for _ in range(outputs.MAX_DEPTH + 2):
        deep = deep / "d"
    deep.mkdir(parents=True)
    with pytest.raises(BackendRefused):
        outputs.collect(workplace.folders, workplace.given, 1 << 30)


def test_folders_that_were_locked(workplace: Workplace) -> None:
    locked = disk(workplace) / "locked"
    locked.mkdir()
    (locked / "a.o").write_bytes(b"x")
    locked.chmod(0)
    assert taken(workplace) == {"/w/locked/a.o": b"x"}
