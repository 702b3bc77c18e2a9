"""Writes behind a store's back are noticed."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.store.alterations import Alterations
from manycc.store.store import BlobMissing, Store
from manycc.testing.requirements import lacking


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Alterations]:
    made = Alterations()
    if made.blind:
        lacking("the kernel gives no inotify here")
    (tmp_path / "a").write_text("1")
    made.watch(str(tmp_path))
    yield made
    made.close()


def test_nothing_is_noticed_at_first(watched: Alterations, tmp_path: Path) -> None:
    assert watched.names() == []
    assert (tmp_path / "a").read_text() == "1"
    os.link(tmp_path / "a", tmp_path / "b")
    os.chmod(tmp_path / "a", 0o444)
    os.rename(tmp_path / "b", tmp_path / "c")
    assert watched.names() == []


def test_a_write_is_noticed_once(watched: Alterations, tmp_path: Path) -> None:
    with open(tmp_path / "a", "r+b", buffering=0) as file:
        file.write(b"2")
        assert watched.names() == ["a"]
    assert watched.names() == ["a"]  # its end
    assert watched.names() == []


def test_a_mapping_is_noticed_at_its_end(watched: Alterations, tmp_path: Path) -> None:
    with open(tmp_path / "a", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0] = 0
    assert watched.names() == ["a"]


def test_where_it_cannot_be_watched(tmp_path: Path) -> None:
    made = Alterations()
    made.watch(str(tmp_path / "absent"))
    made.close()
    made.watch(str(tmp_path))
    assert made.blind and made.names() == []


def test_a_folder_that_comes_again_is_watched_again(watched: Alterations, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for _ in range(2):
        folder.mkdir()
        watched.watch(str(folder))
        (folder / "a").write_text("1")
        assert watched.names() == ["a"]
        shutil.rmtree(folder)
        assert watched.names() == []


def test_too_much_to_be_told_means_that_all_may_be_altered(watched: Alterations, tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with open(tmp_path / "a", "r+b", buffering=0) as one, open(tmp_path / "b", "wb", buffering=0) as other:
        for _ in range(most // 2 + 2):  # equal events in a row are one
            one.write(b"1")
            other.write(b"1")
    assert watched.names() is None
    watched.watch(str(tmp_path))
    while watched.names():
        pass
    (tmp_path / "a").write_text("2")
    assert watched.names() == ["a"]


def test_a_store_whose_folder_was_removed_still_notices(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    digest = store.add_bytes(b"content")
    (path,) = (tmp_path / "store" / "blobs").glob("*/*")
    shutil.rmtree(path.parent)
    with pytest.raises(BlobMissing):
        store.link_into(digest, str(tmp_path / "link"))
    store.add_bytes(b"content")
    before = path.stat()
    os.chmod(path, 0o644)
    path.write_bytes(b"CONTENT")
    os.chmod(path, 0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.look()
    assert not store.has(digest)
    store.close()


@pytest.mark.parametrize("executable", [False, True])
def test_a_store_hashes_again_what_was_written_to(tmp_path: Path, executable: bool) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "file").write_bytes(b"content")
    digest = store.add_bytes(b"content")
    store.add_file(str(tmp_path / "file"), digest, executable=executable)
    (path,) = (tmp_path / "store" / "blobs").glob("*/*x" if executable else "*/*[!x]")
    before = path.stat()
    os.chmod(path, 0o644)
    path.write_bytes(b"CONTENT")
    os.chmod(path, before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.has(digest, executable=executable)
    store.look()
    with pytest.raises(BlobMissing):
        store.link_into(digest, str(tmp_path / "link"), executable=executable)
    assert not path.exists()
    store.close()


@pytest.mark.parametrize("what", ["pipe", "folder", "mode"])
def test_what_is_no_file_of_the_store_is_replaced(tmp_path: Path, what: str) -> None:
    store = Store(str(tmp_path / "store"))
    digest = store.add_bytes(b"content")
    (path,) = (tmp_path / "store" / "blobs").glob("*/*")
    if what == "mode":
        os.chmod(path, 0o600)
    else:
        path.unlink()
        os.mkfifo(path) if what == "pipe" else path.mkdir()
    with pytest.raises(BlobMissing):
        store.link_into(digest, str(tmp_path / "link"))
    assert not store.has(digest)
    store.add_bytes(b"content")
    assert store.read(digest, 10) == b"content"
    store.close()
