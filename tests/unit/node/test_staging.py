"""Trees on the disk: made, changed into one another, and what a job may write."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.node import tree
from manycc.node.staging import DEVICES, MAX_MOUNTS, Mount, Root, RootPool, Workplace
from manycc.node.tree import Entry, Tree
from manycc.store.store import BlobMissing, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(str(tmp_path / "store"))
    yield made
    made.close()


def file(store: Store, path: str, data: bytes = b"x") -> Entry:
    return Entry(FILE, path, store.add_bytes(data), len(data))


def tree_of(entries: list[Entry], *folders: str) -> Tree:
    return tree.build(tree.empty(), entries, folders)


def on_disk(path: str) -> dict[str, bytes | str | None]:
    """Everything below a folder: content of files, "-> target" of links, None of folders."""
    found: dict[str, bytes | str | None] = {}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            full = os.path.join(folder, name)
            short = full[len(path) :]
            if os.path.islink(full):
                found[short] = "-> " + os.readlink(full)
            elif os.path.isdir(full):
                found[short] = None
            else:
                with open(full, "rb") as opened:
                    found[short] = opened.read()
    return found


def expected(store: Store, made: Tree) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = dict.fromkeys(made.folders - {"/"})
    for path, entry in made.leaves.items():
        found[path] = "-> " + entry.target if entry.kind == LINK else store.read(entry.digest, 1000)
    found.update(dict.fromkeys(DEVICES, b""))
    return found


leaf = st.tuples(
    st.sampled_from([FILE, LINK, FOLDER]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["1", "2"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(leaf, max_size=12), min_size=1, max_size=5))
def test_a_root_becomes_exactly_any_tree(store: Store, trees: list[list[tuple[int, str, str]]]) -> None:
    root = Root(store)
    for wanted in trees:
        entries = []
        for kind, path, what in wanted:
            if kind == FILE:
                entries.append(file(store, path, what.encode()))
            else:
                entries.append(Entry(kind, path, target=what if kind == LINK else ""))
        try:
            made = tree_of(entries, "/w")
        except Exception:  # noqa: BLE001 - what is no tree is another test's matter
            continue
        root.become(made)
        assert on_disk(root.path) == expected(store, made)
        assert root.cost(made) == 0
    root.remove()
    assert not os.path.exists(root.path)


def test_roots_are_used_again(store: Store) -> None:
    pool = RootPool(store, 2)
    many = [file(store, f"/i/h{number}.h", b"%d" % number) for number in range(50)]
    first = pool.take(tree_of(many))
    pool.give_back(first)
    assert pool.take(tree_of([*many[:-1], file(store, "/i/new.h")])) is first
    other = pool.take(tree_of([file(store, "/other.h")]))
    assert other is not first
    pool.give_back(first)
    pool.give_back(other)
    assert pool.take(tree_of([file(store, "/other.h")])) is other
    assert pool.take(tree_of(many)) is first
    third = pool.take(tree_of([file(store, "/third.h")]))
    for root in (first, other, third):
        pool.give_back(root)
    assert not os.path.exists(first.path)  # the pool is full: the oldest went
    assert os.path.exists(other.path)
    pool.clear()
    assert not os.path.exists(other.path)


def test_what_was_damaged_is_not_used_again(store: Store) -> None:
    pool = RootPool(store, 2)
    header = file(store, "/h.h", b"good")
    root = pool.take(tree_of([header]))
    pool.give_back(root)
    path = root.path + "/h.h"
    os.chmod(path, 0o644)
    with open(path, "wb") as opened:
        opened.write(b"evil")
    with pytest.raises(BlobMissing):
        pool.take(tree_of([header]))
    assert store.corrupted == 1
    store.add_bytes(b"good")
    root = pool.take(tree_of([header]))
    assert Path(root.path + "/h.h").read_bytes() == b"good"


def test_equal_inputs_stay_equally_old(store: Store) -> None:
    pool = RootPool(store, 2)
    made = tree_of([file(store, "/a/h.h"), file(store, "/b/h.h")])
    places = ("/a/h.h", "/b/h.h")
    root = pool.take(made)
    assert root.remove_damaged() == []
    before = [os.stat(root.path + place) for place in places]
    assert before[0].st_ino != before[1].st_ino and before[0].st_mtime_ns == before[1].st_mtime_ns
    pool.give_back(root)
    # Evicted, and sent anew: what gcc takes for one header must still be equally old.
    digest = made.leaves["/a/h.h"].digest
    while (now := store.identity(digest)) is None or now.modified_ns == before[0].st_mtime_ns:
        store.drop(digest)
        store.add_bytes(b"x")
    assert pool.take(made) is root
    after = [os.stat(root.path + place) for place in places]
    assert after[0].st_mtime_ns == after[1].st_mtime_ns == now.modified_ns


def test_a_content_that_is_missing_leaves_no_root(store: Store) -> None:
    pool = RootPool(store, 2)
    with pytest.raises(BlobMissing):
        pool.take(tree_of([file(store, "/a"), Entry(FILE, "/b", hashlib.sha256(b"?").digest(), 1)]))
    assert os.listdir(store.scratch.path) == ["lock"]


def workplace_of(store: Store, made: Tree, *writable: str) -> tuple[Root, Workplace]:
    root = Root(store)
    root.become(made)
    place = Workplace(store)
    place.prepare(root, made, writable)
    return root, place


def test_a_working_folder_has_copies_and_mount_points(store: Store) -> None:
    made = tree_of(
        [file(store, "/w/a.c"), Entry(LINK, "/w/l", target="a.c"), file(store, "/w/sub/h.h"), file(store, "/o.h")], "/w"
    )
    root, place = workplace_of(store, made, "/w")
    ((folder, disk),) = place.folders
    assert folder == "/w"
    assert on_disk(disk) == {"/a.c": b"x", "/l": "-> a.c", "/sub": None}
    assert os.stat(f"{disk}/a.c").st_nlink == 1
    assert place.mounts == [
        Mount("private", "/tmp"),
        Mount("write", "/w", disk),
        Mount("read", "/w/sub", root.path + "/w/sub"),
    ]


def test_folders_within_folders_and_tmp(store: Store) -> None:
    made = tree_of([file(store, "/tmp/x/w/a.c"), file(store, "/tmp/t.h"), file(store, "/tmp/x/s/h.h")], "/tmp/x/w/o")
    root, place = workplace_of(store, made, "/tmp/x/w", "/tmp/x/w/o")
    kinds = [(mount.kind, mount.path) for mount in place.mounts]
    assert kinds == [
        ("private", "/tmp"),
        ("read", "/tmp/t.h"),
        ("read", "/tmp/x"),
        ("write", "/tmp/x/w"),
        ("write", "/tmp/x/w/o"),
    ]
    assert root.path


def test_more_mounts_than_a_job_may_have(store: Store) -> None:
    one = file(store, "/w/a.c")
    made = tree_of([one, *(Entry(FOLDER, f"/w/{number}") for number in range(MAX_MOUNTS))], "/w")
    place = Workplace(store)
    with pytest.raises(BackendRefused):
        place.prepare(Root(store), made, ["/w"])
    made = tree_of([one, *(Entry(FOLDER, f"/x/{number}") for number in range(MAX_MOUNTS))], "/w")
    place.prepare(Root(store), made, ["/w"])


def test_the_private_folder_itself_may_be_written(store: Store) -> None:
    made = tree_of([file(store, "/tmp/a.c")], "/tmp")
    _, place = workplace_of(store, made, "/tmp")
    assert [(mount.kind, mount.path) for mount in place.mounts] == [("write", "/tmp")]
