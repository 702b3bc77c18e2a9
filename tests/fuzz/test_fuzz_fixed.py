"""Every tree that manycc once did wrong by, as small as it got."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzz_check import Checker
from fuzz_hunt import checker
from fuzz_tree import SAME_TIME, Age, Compile, Folder, HardLink, Link, Remove, Step, Tree, Write

from manycc.testing.requirements import need

__all__ = ["SAME_TIME", "Folder", "HardLink", "Link", "Remove"]  # what a pasted tree may need


def _tree(changes: tuple[object, ...], *compiles: tuple[str, ...]) -> Tree:
    return Tree((Step(changes, tuple(Compile(argv) for argv in compiles)),))  # type: ignore[arg-type]


MARK = b'__asm__(".byte %d");\n'

TREES = {
    # clang took two names of one inode for one header: the second one's include was looked up beside the first.
    "equal headers that include their neighbours": _tree(
        (
            Write("a/x.h", b'#include "y.h"\n'),
            Write("b/x.h", b'#include "y.h"\n'),
            Write("a/y.h", MARK % 1),
            Write("b/y.h", MARK % 2),
            Write("u.c", b'#include "a/x.h"\n#include "b/x.h"\n'),
        ),
        ("clang-14", "-g", "-MD", "u.c"),
        ("gcc", "-g", "-MD", "u.c"),
    ),
    "equal headers, each to be included once": _tree(
        (
            Write("a/x.h", b"#pragma once\n" + MARK % 1),
            Write("b/x.h", b"#pragma once\n" + MARK % 1),
            Write("x.h", b"#pragma once\n" + MARK % 1),
            Write("u.c", b'#include "a/x.h"\n#include "b/x.h"\n#include "x.h"\n'),
        ),
        ("clang-14", "-MD", "u.c"),
        ("gcc", "-MD", "u.c"),
    ),
    "equal headers, imported": _tree(
        (
            Write("a/x.h", MARK % 1),
            Write("x.h", MARK % 1),
            Write("u.c", b'#import "a/x.h"\n#import "x.h"\n'),
        ),
        ("clang-14", "-w", "-MD", "u.c"),
        ("gcc", "-w", "-MD", "u.c"),
    ),
    "one header under two names": _tree(
        (
            Write("a/x.h", b'#pragma once\n#include "y.h"\n'),
            Folder("b"),
            HardLink("b/x.h", "a/x.h"),
            Write("a/y.h", MARK % 1),
            Write("b/y.h", MARK % 2),
            Write("u.c", b'#include "a/x.h"\n#include "b/x.h"\n'),
        ),
        ("clang-14", "-MD", "u.c"),
        ("gcc", "-MD", "u.c"),
    ),
    "equal headers of different age, each to be included once": Tree(
        (
            Step(
                (
                    Write("a/x.h", b"#pragma once\n" + MARK % 1),
                    Write("b/x.h", b"#pragma once\n" + MARK % 1),
                    Age("a/x.h", 0),
                    Age("b/x.h", 0),
                    Write("u.c", b'#include "a/x.h"\n#include "b/x.h"\n'),
                ),
                (Compile(("gcc", "u.c")), Compile(("clang-14", "u.c"))),
            ),
            Step((Age("b/x.h", 1),), (Compile(("gcc", "u.c")), Compile(("clang-14", "u.c")))),
            Step((Age("b/x.h", 0),), (Compile(("gcc", "u.c")), Compile(("clang-14", "u.c")))),
        )
    ),
    # A directive of the assembler in capitals was not seen.
    "assembler in capitals": _tree(
        (
            Write("a/x.inc", b".byte 1\n"),
            Write("b/x.inc", b".byte 2\n"),
            Write("d.bin", b"abc"),
            Write("u.s", b'.INCLUDE "x.inc"\n.Incbin "d.bin"\n'),
        ),
        ("gcc", "-Ib", "-Ia", "u.s"),
        ("clang-14", "-Ib", "-Ia", "u.s"),
    ),
    "assembler's names that are put together": _tree(
        (
            Write("a/x.inc", b".byte 1\n"),
            Write("b/x.inc", b".byte 2\n"),
            Write("u.S", b'#define F "x.inc"\n.include F\n.macro m n\n.include "\\n"\n.endm\nm x.inc\n'),
            Write("u.s", b'.include "x\\056inc"\n'),
        ),
        ("gcc", "-Ib", "-Ia", "u.S"),
        ("clang-14", "-Ib", "-Ia", "u.S"),
        ("gcc", "-Ib", "-Ia", "u.s"),
    ),
    # A pragma that makes one name stand for another was not seen.
    "include_alias": _tree(
        (
            Write("b/x.h", MARK % 1),
            Write("b/y.h", MARK % 2),
            Write("u.c", b'#pragma include_alias("no.h", "x.h")\n#include "no.h"\n'),
            Write("v.c", b'_Pragma("include_alias(<no.h>, <y.h>)")\n#include <no.h>\n'),
        ),
        ("clang-14", "-fms-extensions", "-Ib", "u.c"),
        ("clang-14", "-fms-extensions", "-Ib", "v.c"),
        ("clang-14", "-fms-extensions", "-fms-compatibility", "-Ib", "u.c"),
    ),
    "backslashes in names": _tree(
        (
            Write("a/x.h", MARK % 1),
            Write("b/a\\x.h", MARK % 2),
            Write("u.c", b'#include "a\\x.h"\n#include <a\\x.h>\n'),
        ),
        ("clang-14", "-fms-extensions", "-fms-compatibility", "-I.", "-Ib", "-MD", "u.c"),
        ("clang-14", "-I.", "-Ib", "-MD", "u.c"),
        ("gcc", "-I.", "-Ib", "-MD", "u.c"),
    ),
    # clang follows #include in what is said to be preprocessed; gcc does not.
    "preprocessed sources that include": _tree(
        (
            Write("a/x.h", b"int x;\n"),
            Write("u.i", b'#include "x.h"\nint y;\n'),
            Write("u.ii", b"#include <x.h>\nint y;\n"),
        ),
        ("clang-14", "-Ia", "u.i"),
        ("clang++-14", "-Ia", "u.ii"),
        ("gcc", "-Ia", "u.i"),
    ),
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checker]:
    need("gcc", "g++", "clang-14", "clang++-14", "bwrap")
    with checker(str(tmp_path_factory.mktemp("f"))) as made:
        yield made


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
def test_fixed(judge: Checker, tree: Tree) -> None:
    judge.check(tree)
