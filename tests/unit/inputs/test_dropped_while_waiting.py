"""What was let go while a job waited for -M must not be taken for true."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from inputs_support import Client

from manycc.inputs import search
from manycc.testing.fileview import Tree


@pytest.fixture
def tree(tmp_path: object) -> Tree:
    return Tree(f"{tmp_path}/tree", {
        "early/unrelated.h": "int unrelated;\n", "inc/top.h": "#include <deep.h>\n",
        "inc/deep.h": "#if __has_include(<more.h>)\n#include <more.h>\n#endif\n",
        "p/a.c": "#include <top.h>\n#define S(x) #x\n#include S(late.h)\n", "p/late.h": "int late;\n",
        "q/a.c": "#include <top.h>\nint q;\n", "r/a.c": "#include <top.h>\nint r;\n",
    })  # fmt: skip


def unit(tree: Tree) -> tuple[str, ...]:
    return ("gcc", f"-I{tree.path('early')}", f"-I{tree.path('inc')}", "-c", "a.c")


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen each time that a compiler was asked with -M, before its job goes on."""
    real = search.opened_files

    async def asked(*arguments: object) -> object:
        names = await real(*arguments)  # type: ignore[arg-type]
        happens()
        return names

    monkeypatch.setattr(search, "opened_files", asked)


def test_agent_starts_anew_while_a_job_waits(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """``inc`` stands for a folder of the system, which is kept: what its headers lead to is not what it was."""
    client = Client(tree)
    for folder in ("q", "r"):  # from the second time on, what top.h leads to is written down
        client.collect(*unit(tree), cwd=folder)
    collector = client.collector
    monkeypatch.setattr(collector, "_lasts", lambda item: item.path.startswith(tree.path("inc")))

    def start_anew() -> None:
        collector._most = 0
        collector._make_room()  # as the next job of another folder does

    meanwhile(monkeypatch, start_anew)
    manifest = client.collect(*unit(tree), cwd="p")
    assert client.check(manifest)
    tree.write("early/more.h", "int more;\n")
    assert not client.check(manifest)
    assert "early/more.h" in client.names(client.collect(*unit(tree), cwd="p"))


def test_sets_are_let_go_while_a_job_waits(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(tree)
    for folder in ("q", "r"):
        client.collect(*unit(tree), cwd=folder)
    collector = client.collector

    def let_go() -> None:
        collector._forget(len(collector._closures))  # as a job with a new set of search folders does
        tree.write("early/more.h", "int more;\n")
        client.view.recheck(list(client.view._folders.values()), client.view.now())  # as any other job does

    meanwhile(monkeypatch, let_go)
    assert "early/more.h" in client.names(client.collect(*unit(tree), cwd="p"))
