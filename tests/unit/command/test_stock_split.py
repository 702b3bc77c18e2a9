"""How a command is split between the preprocessor here and a stock server."""

from __future__ import annotations

import pytest

from manycc.command.stock import DEPFILE, compiler_names, split
from manycc.errors import NotDistributable
from manycc.reasons import Reason

END = ["-c", "a.c", "-o", "output.o"]

SPLITS = {
    "gcc -O2 -DX -I inc -Wall -c a.c -o obj/a.o": (
        ["-O2", "-DX", "-I", "inc", "-Wall", "-E", "a.c"], ["-O2", "-Wall", *END], ["-O2"]),
    "gcc -c a.c": (["-E", "a.c"], END, []),
    "gcc -MD -c a.c -o obj/a.o": (["-MD", "-MF", DEPFILE, "-MQ", "obj/a.o", "-E", "a.c"], END, []),
    "gcc -MD -c a.c": (["-MD", "-MF", DEPFILE, "-E", "a.c"], END, []),
    "gcc -MMD -MF x.d -MT t -c a.c -o a.o": (["-MMD", "-MT", "t", "-MF", DEPFILE, "-E", "a.c"], END, []),
    "gcc -Wp,-MMD,x.d,-DY -c a.c": ([f"-Wp,-MMD,{DEPFILE},-DY", "-E", "a.c"], END, []),
    "gcc -isystem s -include h.h -imacros m.h -iquote q -nostdinc -c a.c": (
        ["-isystem", "s", "-include", "h.h", "-imacros", "m.h", "-iquote", "q", "-nostdinc", "-E", "a.c"], END, []),
    "gcc -xc++ -c a.c -o a.o": (["-x", "c++", "-E", "a.c"], ["-c", "a.c.cc", "-o", "output.o"], []),
    "gcc -S a.c": (["-E", "a.c"], ["-S", "a.c", "-o", "output.s"], []),
    "gcc -g -O1 -fPIC -fdebug-prefix-map=/a=/b -c a.c": (
        ["-g", "-O1", "-fPIC", "-fdebug-prefix-map=/a=/b", "-E", "a.c"],
        ["-g", "-O1", "-fPIC", "-fdebug-prefix-map=/a=/b", *END], ["-O1", "-fPIC"]),
    "gcc -C -P -H -c a.c": (["-H", "-E", "a.c"], END, []),
    "gcc -pipe -pthread --param max-inline-insns-single=3 -c a.c": (
        ["-pipe", "-pthread", "--param", "max-inline-insns-single=3", "-E", "a.c"],
        ["-pipe", "-pthread", "--param", "max-inline-insns-single=3", *END],
        ["-pthread", "--param", "max-inline-insns-single=3"]),
    "g++ -O1 -c dir/a.cpp": (["-O1", "-E", "dir/a.cpp"], ["-O1", "-c", "a.cpp", "-o", "output.o"], ["-O1"]),
    "gcc -O1 -c a.i": ([], ["-O1", "-c", "a.i", "-o", "output.o"], ["-O1"]),
}  # fmt: skip
"""What is run here, what the server is told, and what must be proven."""


@pytest.mark.parametrize("command", SPLITS)
def test_split(command: str) -> None:
    preprocess, server, flags = SPLITS[command]
    parted = split(tuple(command.split()), "/w", "gcc")
    assert list(parted.preprocess) == preprocess
    assert list(parted.server) == server
    assert list(parted.flags) == flags
    assert "X" not in "".join(parted.server)


@pytest.mark.parametrize(
    "words",
    ["-gsplit-dwarf", "-fstack-usage", "--coverage", "-fprofile-arcs", "-save-temps", "-fdump-tree-gimple", "-flto",
     "-frecord-gcc-switches", "-MMD -MF a.d -MF b.d", "-MD -MF a.o -o a.o", "-x objective-c", "-x assembler-with-cpp",
     "-fexec-charset=UTF-16LE", "-fprofile-use", "-Xpreprocessor -MD -Xpreprocessor x.d", "-fcallgraph-info"],
)  # fmt: skip
def test_what_is_not_for_a_stock_server(words: str) -> None:
    with pytest.raises(NotDistributable) as caught:
        split(("gcc", *words.split(), "-c", "a.c"), "/w", "gcc")
    assert caught.value.reason is Reason.STOCK_CANNOT
    assert caught.value.detail


@pytest.mark.parametrize(
    ("words", "columns", "raw"),
    [("-O2", False, True), ("-O2 -g", True, False), ("-g -g0", False, True), ("-fsanitize=undefined", True, False),
     ("-O2 -Wunused-macros", False, False), ("-Wp,-Wunused-macros", False, False), ("-fopenmp", False, False),
     ("-finput-charset=UTF-8", False, False), ("-fdirectives-only", False, False), ("-ggdb3", True, False)],
)  # fmt: skip
def test_what_bytes_rest_on(words: str, columns: bool, raw: bool) -> None:
    parted = split(("gcc", *words.split(), "-c", "a.c"), "/w", "gcc")
    assert (parted.columns, parted.raw) == (columns, raw)


def test_clang_leaves_no_macros_to_the_server() -> None:
    assert not split(("clang", "-O2", "-c", "a.c"), "/w", "clang").raw


def test_names() -> None:
    names = compiler_names("/usr/bin/cc", "gcc", "12.2.0", "x86_64-linux-gnu", "c")
    assert names == ("x86_64-linux-gnu-gcc-12", "x86_64-linux-gnu-gcc", "gcc-12", "gcc", "cc")
    assert compiler_names("/usr/bin/gcc", "gcc", "12", "t", "c++") == ("t-g++-12", "t-g++", "g++-12", "g++")
    assert compiler_names("/x/clang-14", "clang", "14.0", "t", "c") == ("clang-14", "clang")
