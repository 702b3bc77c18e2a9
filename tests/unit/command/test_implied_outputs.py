"""The files that real compilers write, beside the files that a Command promises."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from manycc.command.parse import Command, parse
from manycc.testing.requirements import need

SOURCE = "int g(int);\nint f(int x) { int s = 0; for (int i = 0; i < x; i++) s += g(i); return s; }\n"
ASSEMBLY = ".globl x\nx: .long 1\n"

_GCC = [
    "gcc -c src/a.b.c",
    "gcc -S src/a.b.c",
    "gcc -c -x c src/plain",
    "gcc -c src/a.b.c -o obj/x.y.o",
    "gcc -c src/a.b.c -oobj/xy",
    "gcc -c -o 1.o -o 2.o src/a.b.c",
    "gcc -c src/a.b.c -o /dev/null",
    "gcc -c -MD src/a.b.c",
    "gcc -c -MMD src/a.b.c -o obj/x.y.o",
    "gcc -c -MD src/a.b.c -o obj/xy",
    "gcc -c -MD src/a.b.c -o obj/x.y.lo",
    "gcc -S -MD src/a.b.c -o obj/x.y.s",
    "gcc -c -MD -MF d.d src/a.b.c -o obj/x.o",
    "gcc -c -MD -MFd.d -MP -MTx -MQy src/a.b.c -o obj/x.o",
    "gcc -c -Wp,-MMD,obj/.x.o.d src/a.b.c -o obj/x.o",
    "gcc -c -MD -Wp,-MF,d.d src/a.b.c -o obj/x.o",
    "gcc -c -MD src/t.S -o obj/x.o",
    "gcc -c -gsplit-dwarf --coverage -fstack-usage -fcallgraph-info src/a.b.c",
    "gcc -c -gsplit-dwarf --coverage -fstack-usage -fcallgraph-info=su src/a.b.c -o obj/x.y.o",
    "gcc -c -gsplit-dwarf -ftest-coverage -fstack-usage src/a.b.c -o obj/xy",
    "gcc -c --coverage -fstack-usage -fdump-tree-optimized src/a.b.c -o /dev/null",
    "gcc -c -gsplit-dwarf src/t.s -o obj/x.o",
    "gcc -c -save-temps src/a.b.c",
    "gcc -c -save-temps src/a.b.c -o obj/x.y.o",
    "gcc -c -save-temps=obj -gsplit-dwarf src/a.b.cc -o obj/xy",
    "gcc -c -save-temps=cwd -MD -fstack-usage --coverage -gsplit-dwarf src/a.b.c -o obj/x.y.o",
    "gcc -c -save-temps=cwd -fdump-tree-optimized -fsave-optimization-record src/a.b.c -o obj/x.y.o",
    "gcc -c -save-temps src/t.S -o obj/x.o",
    "gcc -c -save-temps=obj src/a.b.c -o /dev/null",
    "gcc -c -O2 -fdump-tree-optimized src/a.b.c",
    "gcc -c -O2 -fdump-tree-all -fdump-ipa-inline -fdump-rtl-expand src/a.b.c -o obj/x.y.lo",
    "gcc -c -O2 -fdump-tree-optimized=d.txt src/a.b.c -o obj/x.o",
    "gcc -c -fdump-tree-optimized -x c src/plain -o obj/q.o",
    "gcc -c -da src/a.b.c -o obj/x.o",
    "gcc -c -dM -dD -dp -dA -dP src/a.b.c -o obj/x.o",
    "gcc -c -fdump-final-insns -fdump-statistics src/a.b.c -o obj/x.o",
    "gcc -c -fanalyzer -fdump-analyzer src/a.b.c -o obj/x.o",
    "gcc -c -O3 -fopt-info-vec=o.txt src/a.b.c -o obj/x.o",
    "gcc -c -O3 -fsave-optimization-record src/a.b.c -o obj/x.y.o",
    "gcc -c -aux-info p.X src/a.b.c -o obj/x.o",
    "gcc -c -aux-info=p.X src/a.b.c -o obj/x.o",
    "gcc -c -fdump-go-spec=g.go src/a.b.c -o obj/x.o",
    "gcc -c --coverage -fprofile-dir=elsewhere src/a.b.c -o obj/x.o",
    "gcc -c --coverage -fprofile-note=n.gcno src/a.b.c -o obj/x.o",
    "gcc -c -fprofile-arcs -fprofile-generate=elsewhere src/a.b.c -o obj/x.o",
    "gcc -c -flto -ffat-lto-objects src/a.b.c -o obj/x.o",
    "g++ -c -MD src/a.b.c -save-temps",
]

_CLANG = [
    "clang -c src/a.b.c",
    "clang -c -MD -gsplit-dwarf -g --coverage -fstack-usage -ftime-trace src/a.b.c",
    "clang -c -MD -gsplit-dwarf -g --coverage -fstack-usage -ftime-trace src/a.b.c -o obj/x.y.o",
    "clang -c -MD -gsplit-dwarf -g -ftest-coverage -fstack-usage -ftime-trace src/a.b.c -o obj/xy",
    "clang -S -MD -gsplit-dwarf -g --coverage -fstack-usage -ftime-trace src/a.b.c -o obj/x.y.s",
    "clang -c -save-temps src/a.b.c -o obj/x.y.o",
    "clang -c -save-temps=obj src/a.b.c -o obj/x.y.o",
    "clang -c -save-temps=obj src/t.S -o obj/x.y.o",
    "clang -c -O2 -fsave-optimization-record src/a.b.c",
    "clang -c -O2 -fsave-optimization-record src/a.b.c -o obj/x.y.o",
    "clang -c -O2 -fsave-optimization-record -foptimization-record-file=q.yaml src/a.b.c",
    "clang -c -emit-llvm src/a.b.c",
    "clang -S -emit-llvm src/a.b.c",
    "clang -c -MJ c.json --serialize-diagnostics d.dia src/a.b.c",
    "clang -c -Wp,-MD,u.d src/a.b.c -o obj/x.o",
]

# Files that are promised because some release, or some other source, has them written.
_MAY_BE_MISSING = (".dwo", ".opt.yaml", ".gcno", ".bc", ".s", ".i", ".X")


def _tree(folder: Path) -> set[str]:
    return {os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file()}


def _compile(line: str, compiler: str, folder: Path) -> tuple[Command, set[str], subprocess.CompletedProcess[str]]:
    for name in ("src", "obj"):
        (folder / name).mkdir()
    for name in ("a.b.c", "a.b.cc", "plain"):
        (folder / "src" / name).write_text(SOURCE)
    for name in ("t.S", "t.s"):
        (folder / "src" / name).write_text(ASSEMBLY)
    argv = line.split()
    command = parse(argv, str(folder), {}, None)
    before = _tree(folder)
    done = subprocess.run(
        [compiler, *argv[1:]], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return command, _tree(folder) - before, done


def _check(line: str, compiler: str, folder: Path) -> None:
    command, written, done = _compile(line, compiler, folder)
    assert done.returncode == 0, done.stderr
    expected = {os.path.normpath(path) for path in command.outputs}
    unexpected = {path for path in written - expected if not path.startswith(command.stems or "\0")}
    assert not unexpected, f"written, but not promised: {sorted(unexpected)}"
    missing = {path for path in expected - written if not path.endswith(_MAY_BE_MISSING)}
    assert not missing, f"promised, but not written: {sorted(missing)}"
    if command.output != "/dev/null":
        assert command.output in written


@pytest.mark.parametrize("line", _GCC)
def test_gcc(line: str, tmp_path: Path) -> None:
    need("gcc", "g++")
    _check(line, line.split()[0], tmp_path)


@pytest.mark.parametrize("line", _CLANG)
def test_clang(line: str, tmp_path: Path) -> None:
    need("clang-14")
    _check(line, "clang-14", tmp_path)


def test_every_promise_of_gcc_can_be_kept(tmp_path: Path) -> None:
    """So that the leniency above hides nothing: with everything asked for, everything is there."""
    need("gcc")
    line = "gcc -c -g -MD -gsplit-dwarf --coverage -fstack-usage -fcallgraph-info -save-temps=obj src/a.b.c -o obj/x.o"
    command, written, _ = _compile(line, "gcc", tmp_path)
    assert set(command.outputs) == written


@pytest.mark.parametrize("options", ["", "-o obj/x.y.o", "-o obj/xy", "-save-temps=cwd -o obj/x.y.o"])
def test_the_profile_gcc_looks_for(options: str, tmp_path: Path) -> None:
    need("gcc")
    line = f"gcc -c -fprofile-use -Wmissing-profile src/a.b.c {options}"
    command, _, done = _compile(line, "gcc", tmp_path)
    (name,) = command.reads
    assert f"{tmp_path}/{name}" in done.stderr


def test_with_prefix_folders_are_where_gcc_puts_them(tmp_path: Path) -> None:
    need("gcc")
    line = "gcc -c -iprefix obj/ -iwithprefix foo -iwithprefixbefore bar -isystem obj/sys src/a.b.c"
    for name in ("foo", "bar", "sys"):
        (tmp_path / "obj" / name).mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.b.c").write_text(SOURCE)
    command = parse(line.split(), str(tmp_path), {}, None)
    shown = subprocess.run(
        [*line.split(), "-v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stderr
    listed = shown.partition("search starts here:\n#include <...> search starts here:\n")[2].split()[:3]
    assert tuple(listed) == (*command.include_dirs, *command.system_dirs)
