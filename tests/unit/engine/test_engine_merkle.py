"""Input roots: what is in them, and what is made anew for the next job."""

from __future__ import annotations

import hashlib

import pytest

from manycc.engine import merkle
from manycc.engine.merkle import Folder, Trees
from manycc.errors import NotDistributable
from manycc.inputs.manifest import Items
from manycc.job import FILE, FOLDER, LINK, Input, Toolchain, ToolFile
from manycc.reapi.remote_execution_pb2 import Directory


def a_file(path: str, data: bytes = b"x") -> Input:
    return Input(FILE, path, hashlib.sha256(data).digest(), len(data))


def shown(folder: Folder, path: str = "") -> list[str]:
    """All that is in a folder, checked: every digest is that of what it names."""
    assert folder.digest == hashlib.sha256(folder.data).digest() and folder.size == len(folder.data)
    directory = Directory.FromString(folder.data)
    lines = [
        f"{path}/{file.name}{'*' if file.is_executable else ''} {file.digest.size_bytes}" for file in directory.files
    ]
    lines += [f"{path}/{link.name} -> {link.target}" for link in directory.symlinks]
    below = {inner.digest.hex(): inner for inner in folder.folders}
    for node in directory.directories:
        inner = below[node.digest.hash]
        assert node.digest.size_bytes == inner.size
        lines += [f"{path}/{node.name}/", *shown(inner, f"{path}/{node.name}")]
    return lines


def test_a_tree() -> None:
    items = [
        a_file("/usr/include/b.h"), a_file("/usr/include/a.h", b"ab"), a_file("/w/src/a.c"),
        Input(LINK, "/w/link", target="src"), Input(FOLDER, "/w/empty"), a_file("/top"),
    ]  # fmt: skip
    assert sorted(shown(Trees().root(items, ("/w/obj/deep",)))) == sorted([
        "/top 1", "/tmp/", "/usr/", "/usr/include/", "/usr/include/a.h 2", "/usr/include/b.h 1", "/w/", "/w/empty/",
        "/w/link -> src", "/w/obj/", "/w/obj/deep/", "/w/src/", "/w/src/a.c 1",
    ])  # fmt: skip


def test_entries_are_in_order_and_the_order_of_inputs_does_not_matter() -> None:
    items = [a_file(f"/w/{name}.h") for name in ("b", "a", "Z", "a-b", "a.b")]
    first = Trees().root(items, ())
    assert first.digest == Trees().root(items[::-1], ()).digest
    (w,) = [Directory.FromString(inner.data) for inner in first.folders if inner.files]
    assert [file.name for file in w.files] == sorted(file.name for file in w.files)


def test_a_toolchain_goes_along() -> None:
    files = (ToolFile("/usr/lib/cc1", b"c" * 32, 7), ToolFile("/w/bin/gcc", b"d" * 32, 8))
    toolchain = Toolchain("f", "/usr/bin/gcc", "gcc", "", "", "", files, (("/usr/bin/gcc", "../../w/bin/gcc"),), {})
    trees = Trees()
    items = [a_file("/w/a.c"), a_file("/usr/lib/cc1", b"what a job says of it does not count")]
    root = trees.root(items, ("/w",), trees.tools(toolchain))
    assert {"/usr/lib/cc1* 7", "/w/bin/gcc* 8", "/usr/bin/gcc -> ../../w/bin/gcc", "/w/a.c 1"} <= set(shown(root))


def test_only_folders_above_a_change_are_made_anew() -> None:
    trees = Trees()
    headers = [a_file(f"/usr/include/d{number}/h.h") for number in range(100)]
    first = trees.root([*headers, a_file("/home/you/p/a.c", b"1")], ("/home/you/p",))
    made = trees.made
    second = trees.root([*headers, a_file("/home/you/p/a.c", b"2")], ("/home/you/p",))
    assert trees.made - made == 4  # /, /home, /home/you, /home/you/p
    assert first.digest != second.digest
    assert len(set(map(id, first.folders)) & set(map(id, second.folders))) == 2  # /usr, /tmp


def test_the_same_list_of_inputs_is_the_same_root() -> None:
    trees = Trees()
    items = [a_file("/w/a.c")]
    assert trees.root(items, ("/w",)) is trees.root(items, ("/w",))
    assert trees.root(items, ("/w",)) is not trees.root(items, ("/w", "/v"))


@pytest.mark.parametrize(
    "items",
    [
        [a_file("/w/a"), a_file("/w/a/b")],
        [Input(LINK, "/w/a", target="b"), a_file("/w/a/b")],
        [a_file("/w/a", b"1"), a_file("/w/a", b"2")],
        [a_file("/dev/a")],
        [a_file("/proc/self/maps")],
        [a_file("/w/\udcff.h")],
        [Input(LINK, "/w/a", target="\udcff")],
    ],
    ids=str,
)
def test_what_is_no_tree_is_refused(items: list[Input]) -> None:
    with pytest.raises(NotDistributable):
        Trees().root(items, ())


def test_of_what_is_shared_nothing_is_made_anew() -> None:
    trees = Trees()
    shared = tuple(a_file(f"/usr/include/d{number}/h.h") for number in range(50))
    first = trees.root(Items((a_file("/home/p/a.c", b"1"),), shared), ("/home/p",))
    made = trees.made
    second = trees.root(Items((a_file("/home/p/b.c", b"2"), a_file("/usr/include/own.h")), shared), ("/home/p",))
    assert trees.made - made == 5  # /, /home, /home/p, /usr, /usr/include
    assert shown(first) == shown(Trees().root([*shared, a_file("/home/p/a.c", b"1")], ("/home/p",)))
    both = [*shared, a_file("/home/p/b.c", b"2"), a_file("/usr/include/own.h")]
    assert second.digest == Trees().root(both, ("/home/p",)).digest


def test_a_clash_with_what_is_shared_is_refused() -> None:
    shared = (a_file("/usr/include/a"),)
    with pytest.raises(NotDistributable):
        Trees().root(Items((a_file("/usr/include/a/b.h"),), shared), ())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merkle, "MAX_WEIGHT", 2_000_000)
    trees = Trees()
    heaviest = 0
    for unit in range(100):
        items = [a_file(f"/usr/include/{number}.h", str(unit).encode()) for number in range(500)]
        root = trees.root(items, ())
        heaviest = max(heaviest, trees.weight)
    assert len(shown(root)) == 503
    assert 1_500_000 < heaviest <= 2_000_000
