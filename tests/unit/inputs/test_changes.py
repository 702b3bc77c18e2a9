"""What counts as a change, and what does not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from inputs_support import Client

from manycc.errors import NotDistributable
from manycc.inputs.fileview import FileView
from manycc.job import LINK, Input
from manycc.testing.fileview import Tree

C = ("gcc", "-I1", "-I2", "-c", "a.c")


@pytest.fixture
def tree(tmp_path: object) -> Tree:
    return Tree(f"{tmp_path}/tree", {"a.c": "#include <x.h>\n", "1/y.h": "", "2/x.h": "int two;\n"})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda tree: tree.write("1/x.h", ""), {"a.c", "1/x.h", "2/x.h"}),
        (lambda tree: tree.remove("2/x.h"), {"a.c"}),
        (lambda tree: tree.write("2/x.h", '#include "../1/y.h"'), {"a.c", "2/x.h", "1/y.h"}),
        (lambda tree: (tree.remove("2/x.h"), tree.link("2/x.h", "../1/y.h")), {"a.c", "1/y.h"}),
        (lambda tree: (tree.remove("2/x.h"), tree.folder("2/x.h")), {"a.c"}),
        (lambda tree: (os.rename(tree.path("2"), tree.path("3")), tree.link("2", "3")), {"a.c", "3/x.h"}),
        (lambda tree: (os.rename(tree.path("2"), tree.path("3")), tree.write("2/x.h", "//")), {"a.c", "2/x.h"}),
        (lambda tree: tree.write("a.c", '#include "1/y.h"\n'), {"a.c", "1/y.h"}),
        (lambda tree: tree.write("stdc-predef.h", ""), None),
        (lambda tree: tree.write("1/stdc-predef.h", ""), {"a.c", "2/x.h", "1/stdc-predef.h"}),
        (lambda tree: tree.write("1/y.o", ""), None),
        (lambda tree: tree.write("a.o", ""), None),
        (lambda tree: tree.write("2/x.h", "int two;\n"), None),
        (lambda tree: os.utime(tree.path("2/x.h")), None),
        (lambda tree: os.chmod(tree.path("2"), 0o700), None),
        (lambda tree: (tree.write("2/new", "int two;\n"), os.rename(tree.path("2/new"), tree.path("2/x.h"))), None),
    ],
)
def test_changes(tree: Tree, change: Callable[[Tree], object], found: set[str] | None) -> None:
    client = Client(tree)
    manifest = client.collect(*C)
    assert client.names(manifest) == {"a.c", "2/x.h"}
    assert client.check(manifest)
    change(tree)
    assert client.check(manifest) == (found is None)
    again = client.collect(*C)
    assert client.names(again) == (found or {"a.c", "2/x.h"})
    assert client.check(again)
    fresh = Client(tree).collect(*C)
    assert client.names(fresh) == client.names(again)


def test_search_folder_that_appears(tree: Tree) -> None:
    client = Client(tree)
    argv = ("gcc", "-Igen/deep", *C[1:])
    manifest = client.collect(*argv)
    tree.folder("gen")
    assert not client.check(manifest)
    manifest = client.collect(*argv)
    tree.folder("gen/deep")
    assert not client.check(manifest)
    manifest = client.collect(*argv)
    assert "gen/deep" in client.folders(manifest)
    tree.write("gen/deep/x.h", "")
    assert not client.check(manifest)
    assert "gen/deep/x.h" in client.names(client.collect(*argv))


def test_retargeted_link(tree: Tree) -> None:
    tree.link("l", "2")
    tree.write("3/x.h", "")
    client = Client(tree)
    argv = ("gcc", "-Il", "-c", "a.c")
    manifest = client.collect(*argv)
    assert client.links(manifest) == {"l": "2"}
    retired: list[Input] = []
    client.view.on_retired.append(retired.append)
    tree.link("l", "3")
    assert not client.check(manifest)
    assert [(item.kind, item.target) for item in retired] == [(LINK, "2")]
    again = client.collect(*argv)
    assert client.links(again) == {"l": "3"}
    assert client.names(again) == {"a.c", "3/x.h"}


def test_a_new_content_is_a_new_object(tree: Tree) -> None:
    client = Client(tree)
    before = {item.path: item for item in client.collect(*C).inputs.items}
    retired: list[Input] = []
    client.view.on_retired.append(retired.append)
    path = tree.write("2/x.h", "int other;\n")
    after = {item.path: item for item in client.collect(*C).inputs.items}
    assert retired == [before[path]]
    assert after[path] is not before[path]
    assert {name for name in after if after[name] is not before[name]} == {path}


def test_edit_within_the_clocks_granule_is_seen(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": "int a = 0;\n"})
    view = FileView()
    for number in range(200):  # faster than the kernel's tick
        tree.write("a.c", f"int a = {number:03};\n")
        digest = view.digest_of(tree.path("a.c"))
        tree.write("a.c", f"int b = {number:03};\n")  # the same size
        assert view.digest_of(tree.path("a.c")) != digest


def test_file_that_appears_within_the_clocks_granule_is_seen(tmp_path: object) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": '#include "x.h"\n'})
    client = Client(tree, FileView())
    for number in range(100):
        manifest = client.collect("gcc", "-c", "a.c")
        assert client.names(manifest) == {"a.c"}, number
        tree.write("x.h", "")
        assert not client.check(manifest)
        tree.remove("x.h")


def test_recent_file_is_trusted_once_it_has_settled(tmp_path: object) -> None:
    ahead = 0
    view = FileView(wall=lambda: time.time_ns() + ahead)
    tree = Tree(f"{tmp_path}/tree", {"a.c": "int a;\n"})
    path = tree.path("a.c")
    view.digest_of(path)
    reads = view.contents.reads
    view.digest_of(path)
    assert view.contents.reads > reads
    ahead = 1_000_000_000
    view.digest_of(path)
    reads = view.contents.reads
    view.digest_of(path)
    assert view.contents.reads == reads


def test_a_check_for_an_earlier_job_serves_later_ones_that_asked_before_it(tree: Tree) -> None:
    client = Client(tree)
    manifest = client.collect(*C)
    since = time.monotonic_ns()
    assert client.collector.check(manifest, since)
    tree.write("2/x.h", "int other;\n")
    assert client.collector.check(manifest, since)  # checked after that job had asked
    assert not client.collector.check(manifest, time.monotonic_ns())


def test_collect_honours_since_for_what_is_known(tree: Tree) -> None:
    client = Client(tree)
    client.collect(*C)
    tree.write("2/x.h", '#include "../1/y.h"\n')
    assert "1/y.h" in client.names(client.collect(*C))


def test_build_folder_with_many_files_stays_cheap(tree: Tree) -> None:
    for number in range(300):
        tree.write(f"o{number}.o", "")
    client = Client(tree)
    argv = ("gcc", "-I.", "-c", "a.c")
    manifest = client.collect(*argv)
    for number in range(300, 310):
        tree.write(f"o{number}.o", "")
        assert client.check(manifest)
    tree.write("x.h", "")
    assert not client.check(manifest)
    assert "x.h" in client.names(client.collect(*argv))


def test_one_edit_leaves_other_results_alone(tree: Tree) -> None:
    """An edited header is read again; nothing else is, and no other file's includes are resolved anew."""
    client = Client(tree)
    tree.write("b.c", "#include <stdio.h>\n#include <x.h>\n")
    client.collect("gcc", "-I2", "-c", "b.c")
    tree.write("2/x.h", "int other;\n")
    reads, scans = client.view.contents.reads, client.view.contents.scans
    client.collect("gcc", "-I2", "-c", "b.c")
    assert (client.view.contents.reads - reads, client.view.contents.scans - scans) == (1, 1)


def test_generated_header_in_a_warm_build(tree: Tree) -> None:
    tree.write("a.c", '#if __has_include("gen.h")\n#include "gen.h"\n#endif\n')
    client = Client(tree)
    manifest = client.collect(*C)
    tree.write("gen.h", "#include <x.h>\n")
    assert not client.check(manifest)
    assert client.names(client.collect(*C)) == {"a.c", "gen.h", "2/x.h"}


def test_a_job_is_not_refused_for_what_is_no_longer_so(tree: Tree) -> None:
    client = Client(tree)
    tree.write("bad.h", "char *t = __TIMESTAMP__;\n")
    tree.write("x.h.gch", "")
    for name, text in (("bad", '#include "bad.h"\n'), ("pch", '#include "x.h"\n')):
        tree.write(f"{name}.c", text)
        with pytest.raises(NotDistributable):
            client.collect("gcc", "-c", f"{name}.c")
    with pytest.raises(NotDistributable):
        client.collect("gcc", "-c", "new.c")
    tree.write("bad.h", "int good;\n")
    tree.remove("x.h.gch")
    tree.write("new.c", "")
    for name in ("bad", "pch", "new"):
        client.collect("gcc", "-c", f"{name}.c")


def test_source_that_vanishes(tree: Tree) -> None:
    client = Client(tree)
    manifest = client.collect(*C)
    tree.remove("a.c")
    assert not client.check(manifest)
    with pytest.raises(NotDistributable):
        client.collect(*C)


def test_answer_of_the_compiler_is_asked_again_when_something_changed(tree: Tree) -> None:
    tree.write("a.c", "#define S(x) #x\n#include S(x.h)\n")
    client = Client(tree)
    assert client.names(client.collect(*C)) == {"a.c", "2/x.h"}
    assert client.collector.asked == 1
    client.collect(*C)
    assert client.collector.asked == 1
    tree.write("1/x.h", '#include "y.h"\n')
    assert client.names(client.collect(*C)) == {"a.c", "1/x.h", "2/x.h", "1/y.h"}
    assert client.collector.asked == 2


def test_file_being_written_while_it_is_read(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(f"{tmp_path}/tree", {"a.c": "int old;\n"})
    client = Client(tree)
    real, left = os.read, [2]

    def read(descriptor: int, size: int) -> bytes:
        data = real(descriptor, size)
        if left[0] and data.startswith(b"int"):
            left[0] -= 1
            tree.write("a.c", f"int new{left[0]};\n")
        return data

    monkeypatch.setattr(os, "read", read)
    entry = client.view.file(tree.path("a.c"))
    assert entry.digest == client.view.digest_of(tree.path("a.c"))
    with open(entry.path, "rb") as file:
        assert file.read() == b"int new0;\n"
    assert entry.size == 10


def test_many_working_folders_do_not_pile_up(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manycc.inputs.collect._MAX_SETS", 4)
    folders = [tree.folder(f"sub{number}") for number in range(12)]
    client = Client(tree)
    argv = ("gcc", f"-I{tree.path('2')}", "-c", tree.path("a.c"))
    manifests = [client.collect(*argv, cwd=folder) for folder in folders]
    answer = client.view.ask(client.view.folder(tree.path("2")), "x.h")
    assert len(set(answer.dependents)) <= 4
    assert all(client.check(manifest) for manifest in manifests)
    tree.write("2/x.h", '#include "../1/y.h"\n')
    assert not any(client.check(manifest) for manifest in manifests)
    assert all("1/y.h" in client.names(client.collect(*argv, cwd=folder)) for folder in folders)
