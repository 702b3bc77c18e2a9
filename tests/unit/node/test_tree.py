"""Trees are checked in memory before they are made on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.node import tree
from manycc.node.tree import Entry

D, E = b"\1" * 32, b"\2" * 32


def base(*entries: Entry) -> tree.Tree:
    return tree.build(tree.empty(), entries, ())


def test_a_tree_has_all_folders_it_needs() -> None:
    made = tree.build(base(), [Entry(FILE, "/a/b/c.h", D, 1), Entry(FOLDER, "/x/y")], ["/w"])
    assert made.folders >= {"/", "/a", "/a/b", "/x", "/x/y", "/w", "/tmp", "/dev", "/proc"}
    assert list(made.leaves) == ["/a/b/c.h"]


def test_the_toolchain_wins_only_over_its_equal() -> None:
    tools = base(Entry(FILE, "/usr/bin/as", D, 1, executable=True), Entry(LINK, "/lib", target="usr/lib"))
    same = tree.build(tools, [Entry(FILE, "/usr/bin/as", D, 1), Entry(LINK, "/lib", target="usr/lib")], ())
    assert same.leaves["/usr/bin/as"].executable
    for other in (
        Entry(FILE, "/usr/bin/as", E, 1),
        Entry(LINK, "/usr/bin/as", target="x"),
        Entry(LINK, "/lib", target="/evil"),
        Entry(FILE, "/lib/x.so", D, 1),
        Entry(FILE, "/usr/bin", D, 1),
        Entry(FOLDER, "/usr/bin/as"),
        Entry(FOLDER, "/lib/x"),
    ):
        with pytest.raises(BackendRefused):
            tree.build(tools, [other], ())
    with pytest.raises(BackendRefused):
        tree.build(tools, [], ["/lib"])


def test_folders_are_bounded_before_they_are_named() -> None:
    """A path of four thousand characters has two thousand folders: four megabytes of names."""
    deep = [Entry(FILE, f"/{number:04}{'/a' * 2000}/x.h", D, 1) for number in range(8)]
    assert len(tree.build(base(), deep[:1], ()).folders) > 2000
    with pytest.raises(BackendRefused) as caught:
        tree.build(base(), deep, ())
    assert caught.value.detail == "its folders are too many, or too deep"
    with pytest.raises(BackendRefused, match="the node refused"):
        tree.build(base(), (), [entry.parent for entry in deep])


names = st.sampled_from(["a", "b", "c", "..", ".", "", "a.b", "tmp"])


@given(st.lists(names, max_size=6).map("/".join), st.booleans())
def test_only_plain_paths_are_let_in(path: str, absolute: bool) -> None:
    path = "/" * absolute + path
    plain = path.startswith("/") and (path == "/" or (os.path.normpath(path) == path and not path.startswith("//")))
    assert (tree.path_fault(path) == "") is plain


@settings(max_examples=150, deadline=None)
@given(
    links=st.dictionaries(
        st.sampled_from(["/a", "/a/b", "/b", "/c", "/c/d"]),
        st.lists(st.sampled_from(["a", "b", "c", "d", "..", "."]), min_size=1, max_size=4).flatmap(
            lambda parts: st.booleans().map(lambda absolute: "/" * absolute + "/".join(parts))
        ),
        max_size=4,
    ),
    path=st.lists(st.sampled_from(["a", "b", "c", "d", "..", "."]), max_size=5).map(
        lambda parts: "/" + "/".join(parts)
    ),
)
def test_links_are_followed_as_the_kernel_does(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str], path: str
) -> None:
    """The kernel's view comes from a real tree of folders and links, whose root is not a real root."""
    root = Path(tmp_path_factory.mktemp("t"))
    try:
        made = tree.build(tree.empty(), [Entry(LINK, place, target=target) for place, target in links.items()], ())
    except BackendRefused:
        return  # no tree
    for folder in sorted(made.folders, key=len):
        (root / folder[1:]).mkdir(exist_ok=True)
    for place, target in links.items():
        os.symlink(target, root / place[1:])
    try:
        ours = tree.resolve(path, links)
    except BackendRefused:
        return  # a loop
    # Walk as the kernel would in a root of its own, on the real tree.
    place: list[str] = []
    ahead = [part for part in path.split("/") if part][::-1]
    while ahead:
        part = ahead.pop()
        if part == "..":
            place = place[:-1]
        elif part != ".":
            here = root.joinpath(*place, part)
            if here.is_symlink():
                target = os.readlink(here)
                place = [] if target.startswith("/") else place
                ahead += [word for word in target.split("/") if word][::-1]
            else:
                place = [*place, part]
    assert ours == "/" + "/".join(place)


def test_loops_end() -> None:
    for links in ({"/a": "a"}, {"/a": "b", "/b": "a"}, {"/a": "a/a/a/a/a"}):
        with pytest.raises(BackendRefused):
            tree.resolve("/a/x", links)


@pytest.mark.parametrize(("path", "target"), [(50_000 * "/a", "b"), ("/link/c", 50_000 * "b/")])
def test_too_long(path: str, target: str) -> None:
    """What would keep a node from its other jobs for seconds, and for hours where it is somewhat longer."""
    with pytest.raises(BackendRefused, match="too long"):
        tree.resolve(path, {"/link": target})
