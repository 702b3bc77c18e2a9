"""What jobs share of each other's look-ups: the same headers, but not what one of them alone can see."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from inputs_support import Client, compiler_opens

from manycc.inputs.closure import Reach
from manycc.job import FILE
from manycc.testing.fileview import Tree

FOLDERS = ("p", "q", "r", "s")


def unit(tree: Tree) -> tuple[str, ...]:
    """The same command in each folder: but for the working folder nothing differs."""
    return ("gcc", f"-I{tree.path('early')}", f"-I{tree.path('inc')}", "-c", "a.c")


@pytest.fixture
def tree(tmp_path: object) -> Tree:
    tree = Tree(f"{tmp_path}/tree", {
        "inc/top.h": "#include <mid.h>\n#include <other.h>\n", "inc/mid.h": '#include "deep.h"\n', "inc/deep.h": "",
        "inc/other.h": "#include <mid.h>\n", "early/unrelated.h": "",
    })  # fmt: skip
    for folder in FOLDERS:
        tree.write(f"{folder}/a.c", '#include "top.h"\n')
    return tree


ALL = {"inc/top.h", "inc/mid.h", "inc/deep.h", "inc/other.h"}


def found(client: Client, folder: str) -> set[str]:
    """What the job of a folder reads, each file once; the compiler must not open anything else."""
    argv = unit(client.tree)
    manifest = client.collect(*argv, cwd=folder)
    paths = [item.path for item in manifest.inputs.items]
    assert len(paths) == len(set(paths))
    assert client.check(manifest)
    opened = compiler_opens(argv, client.tree.path(folder))
    assert {path for path in opened if path.startswith(client.tree.root)} <= set(paths)
    return client.names(manifest)


def test_folders_share_what_headers_lead_to(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(tree)
    assert all(found(client, folder) == {f"{folder}/a.c", *ALL} for folder in FOLDERS[:3])
    expanded: list[str] = []
    (closures,) = client.collector._closures.values()
    real = closures.resolver.expand
    monkeypatch.setattr(closures.resolver, "expand", lambda node: (expanded.append(node.entry.path), real(node)))
    assert found(client, "s") == {"s/a.c", *ALL}
    assert expanded == [tree.path("s/a.c")]
    reaches = [reach for reach in closures._reaches.values() if isinstance(reach, Reach)]
    assert {tree.path(name) for name in ALL} in [{node.entry.path for node in reach.nodes} for reach in reaches]


def test_header_beside_one_source_is_that_ones_alone(tree: Tree) -> None:
    client = Client(tree)
    manifests = {folder: client.collect(*unit(tree), cwd=folder) for folder in FOLDERS}
    tree.write("q/top.h", "#include <deep.h>\n")
    assert [client.check(manifests[folder]) for folder in FOLDERS] == [True, False, True, True]
    assert found(client, "q") == {"q/a.c", "q/top.h", *ALL}
    assert found(client, "p") == {"p/a.c", *ALL}


def test_header_beside_a_source_is_not_for_the_headers_it_asks_for(tree: Tree) -> None:
    """A quoted name is looked up beside the file that mentions it: p/deep.h is for nobody."""
    client = Client(tree)
    manifests = {folder: client.collect(*unit(tree), cwd=folder) for folder in FOLDERS}
    tree.write("p/deep.h", "")
    assert all(client.check(manifests[folder]) for folder in FOLDERS)
    assert found(client, "p") == {"p/a.c", *ALL}


@pytest.mark.parametrize("name", ["top.h", "mid.h", "deep.h", "other.h"])
def test_shadowing_header_is_for_all(tree: Tree, name: str) -> None:
    """A new file in a folder that is searched first, whichever of the headers asks for that name."""
    client = Client(tree)
    manifests = [client.collect(*unit(tree), cwd=folder) for folder in FOLDERS]
    tree.write("new.h", "")
    tree.write(f"early/{name}", f'#include "{tree.path("new.h")}"\n')
    assert not any(map(client.check, manifests))
    for folder in FOLDERS:
        assert found(client, folder) == {f"{folder}/a.c", f"early/{name}", "new.h", *ALL}


@pytest.mark.parametrize("content", ['#include "more.h"\n', "#if __has_include(<more.h>)\n#endif\n"])
def test_changed_header_changes_what_leads_to_it(tree: Tree, content: str) -> None:
    client = Client(tree)
    manifests = [client.collect(*unit(tree), cwd=folder) for folder in FOLDERS]
    tree.write("inc/deep.h", content)
    assert not any(map(client.check, manifests))
    assert all(found(client, folder) == {f"{folder}/a.c", *ALL} for folder in FOLDERS)
    tree.write("early/more.h", "")  # which a header asks for that only another one includes
    assert all(found(client, folder) == {f"{folder}/a.c", "early/more.h", *ALL} for folder in FOLDERS)
    tree.remove("early/more.h")
    tree.write("inc/mid.h", "")
    assert all(found(client, folder) == {f"{folder}/a.c", *ALL} - {"inc/deep.h"} for folder in FOLDERS)


def test_each_job_reads_its_own_working_folder(tree: Tree) -> None:
    client = Client(tree)
    argv = (*unit(tree)[:-1], tree.path("p/a.c"))
    places = [tree.folder("first"), tree.folder("second")]
    manifests = [client.collect(*argv, cwd=place) for place in places]
    assert [{"first", "second"} & client.folders(manifest) for manifest in manifests] == [{"first"}, {"second"}]
    os.rmdir(places[0])
    assert not client.check(manifests[0])
    assert "second" in client.folders(client.collect(*argv, cwd=places[1]))


def test_same_folder_by_a_relative_name_is_another_set(tree: Tree) -> None:
    client = Client(tree)
    tree.write("p/mid.h", "")
    argv = ("gcc", "-I.", f"-I{tree.path('inc')}", "-c", "a.c")
    assert client.names(client.collect(*argv, cwd="p")) == {"p/a.c", "p/mid.h", *ALL}
    manifest = client.collect(*argv, cwd="q")
    assert client.names(manifest) == {"q/a.c", *ALL}
    tree.write("q/mid.h", "")
    assert not client.check(manifest)
    assert client.names(client.collect(*argv, cwd="q")) == {"q/a.c", "q/mid.h", *ALL}


READERS: dict[str, Callable[[str], str]] = {
    "incbin": lambda name: f'__asm__(".incbin \\"{name}\\"");\n',
    "assembler's include": lambda name: f'__asm__(".include \\"{name}\\"");\n',
    "line": lambda name: f'#line 7 "{name}"\n',
}


@pytest.mark.parametrize("reader", READERS)
def test_common_header_opens_a_file_from_each_working_folder(tree: Tree, reader: str) -> None:
    client = Client(tree)
    tree.write("inc/deep.h", READERS[reader]("own.s"))
    for folder in FOLDERS[:3]:
        tree.write(f"{folder}/own.s", f"# {folder}\n")
    manifests = {}
    for folder in FOLDERS:
        manifests[folder] = client.collect(*unit(tree), cwd=folder)
        own = {f"{folder}/own.s"} if folder != "s" else set()
        assert client.names(manifests[folder]) == {f"{folder}/a.c", *own, *ALL}
    tree.write("q/own.s", "# new\n")
    tree.write("s/own.s", "")
    assert [client.check(manifests[folder]) for folder in FOLDERS] == [True, False, True, False]
    assert "s/own.s" in found(client, "s")


def test_jobs_hold_the_systems_part_once(tree: Tree) -> None:
    client = Client(tree)
    tree.write("p/a.c", "#include <stdio.h>\n#include <stdlib.h>\n")
    tree.write("q/a.c", "#include <stdlib.h>\n#include <stdio.h>\n")
    first, second = (client.collect(*unit(tree), cwd=folder) for folder in ("p", "q"))
    assert first.steady is second.steady and first.steady.files
    assert [entry.path for entry in first.files] == [tree.path("p/a.c")]
    files = [item for item in first.inputs.items if item.kind == FILE]
    assert len(first.inputs.items) == len(list(first.inputs.items)) and set(files) == set(first.all_files)


def test_files_of_past_builds_are_forgotten(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a build is bounded, and what was made of it before stays right."""
    sources = [f"many{number // 10}/a{number}.c" for number in range(60)]
    for source in sources:
        tree.write(source, f"#include <top.h>\n// {source}\n")
    client = Client(tree)
    first = client.collect(*unit(tree), cwd="p")
    client.collector._most = client.collector._room = 20
    monkeypatch.setattr("manycc.inputs.collect._ROOM", 20)
    most = client.view.size + 30
    kept = []
    for source in sources:
        folder, name = source.split("/")
        manifest = client.collect(*unit(tree)[:-1], name, cwd=folder)
        assert client.names(manifest) == {source, *ALL}
        assert client.view.size <= most
        kept.append(manifest)
    assert client.check(first) and all(map(client.check, kept))
    assert found(client, "p") == {"p/a.c", *ALL}
    tree.write("p/top.h", "")
    assert not client.check(first) and all(map(client.check, kept))
    tree.write("early/deep.h", "")
    assert not any(map(client.check, kept))
    assert found(client, "p") == {"p/a.c", "p/top.h", "early/deep.h", *ALL}


def test_build_larger_than_thought_is_given_more_room(tree: Tree) -> None:
    """Else each of its jobs would read all of its headers again."""
    client = Client(tree)
    for number in range(50):
        tree.write(f"wide/h{number}.h", "")
    tree.write("wide.c", "".join(f'#include "wide/h{number}.h"\n' for number in range(50)))
    client.collector._most = client.collector._room = 10
    reads = []
    for number in range(6):
        tree.write(f"wide{number}.c", f'#include "wide.c"\nint i{number};\n')
        before = client.view.contents.reads
        assert len(client.names(client.collect("gcc", "-c", f"wide{number}.c"))) == 52
        reads.append(client.view.contents.reads - before)
    assert reads[-1] == 1
