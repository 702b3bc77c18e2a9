"""clang's MSVC mode looks beside every includer."""

from __future__ import annotations

import pytest
from inputs_support import Client, compiler_opens

from manycc.errors import NotDistributable
from manycc.testing.fileview import Tree
from manycc.testing.requirements import need

FILES = {
    "u.c": '#include "sub/b.h"\nint result = WHICH;\n',
    "sub/b.h": '#include "c.h"\n',
    "c.h": "#define WHICH 1\n",  # beside u.c: this is what clang takes in this mode
    "inc/c.h": "#define WHICH 2\n",  # what a node takes that has not got c.h
}


@pytest.mark.parametrize("mode", [("-fms-compatibility",), ("--target=x86_64-pc-windows-msvc",)])
def test_quoted_name_beside_an_includers_includer(tmp_path: object, mode: tuple[str, ...]) -> None:
    need("clang-14")
    tree = Tree(f"{tmp_path}/tree", FILES)
    argv = ("clang-14", *mode, "-Iinc", "-c", "u.c")
    opened = compiler_opens(argv, tree.root)
    assert tree.path("c.h") in opened  # the compiler is the judge
    try:
        manifest = Client(tree).collect(*argv, kind="clang")
    except NotDistributable:
        return  # to keep such jobs here is right, too
    assert {path for path in opened if path.startswith(tree.root)} <= {item.path for item in manifest.inputs.items}
