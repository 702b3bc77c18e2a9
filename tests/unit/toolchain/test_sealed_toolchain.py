"""The list of a toolchain's files is whole: with them and the headers alone, it compiles the same."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from manycc.job import Toolchain

C = '#include <stdio.h>\n#include <math.h>\nint twice(int x) { printf("%d\\n", x); return 2 * x; }\n'
CXX = "#include <string>\n#include <vector>\nstd::vector<std::string> v(int n) { return {std::to_string(n)}; }\n"
ASM = "\t.globl answer\nanswer:\n\t.long 42\n"
ASM_CPP = "#define ANSWER 42\n\t.globl answer\nanswer:\n\t.long ANSWER\n"

OPTIONS = [
    ["-O2"],
    ["-O2", "-g", "-fPIC", "-fstack-protector-strong"],
    ["-g", "-gsplit-dwarf"],
    ["-flto", "-frandom-seed=1"],
    ["-flto", "-ffat-lto-objects", "-g", "-frandom-seed=1"],
    ["--coverage", "-frandom-seed=1"],
    ["-fsanitize=address,undefined", "-O1"],
    ["-fopenmp", "-O2"],
    ["-S", "-O2"],
]


def include_folders(driver: str, language: str) -> list[str]:
    said = subprocess.run(
        [driver, "-E", "-v", "-x", language, "/dev/null"], capture_output=True, text=True, env={"LC_ALL": "C"}
    ).stderr
    listed = re.search(r"#include <\.\.\.> search starts here:\n(.*?)End of search list", said, re.DOTALL)
    assert listed
    return [os.path.realpath(line.strip()) for line in listed[1].splitlines()]


def results(folder: Path, source: str) -> dict[str, bytes]:
    found = {}
    for path in folder.iterdir():
        if path.name != source:
            found[path.name] = path.read_bytes()
            path.unlink()
    return found


def compare(sealed, toolchain: Toolchain, folder: Path, source: str, text: str, options: list[str]) -> None:
    (folder / source).write_text(text)
    suffix = ".s" if "-S" in options and source != "a.s" else ".o"
    command = [
        os.path.basename(toolchain.driver),
        *options,
        *([] if "-S" in options else ["-c"]),
        source,
        "-o",
        "out" + suffix,
    ]
    subprocess.run(
        [toolchain.driver, *command[1:]], cwd=folder, check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}
    )
    here = results(folder, source)
    language = {"a.c": "c", "a.cc": "c++"}.get(source, "c")
    folders = include_folders(toolchain.driver, language)
    done = sealed(toolchain, command, cwd=folder, folders=folders, env={"LC_ALL": "C"})
    assert done.returncode == 0, done.stderr.decode()
    assert results(folder, source) == here


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_gcc(sealed, gcc: Toolchain, tmp_path: Path, options: list[str]) -> None:
    compare(sealed, gcc, tmp_path, "a.c", C, options)


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_gxx(sealed, gxx: Toolchain, tmp_path: Path, options: list[str]) -> None:
    compare(sealed, gxx, tmp_path, "a.cc", CXX, options)


@pytest.mark.parametrize(("source", "text"), [("a.s", ASM), ("a.S", ASM_CPP)])
def test_gcc_assembles(sealed, gcc: Toolchain, tmp_path: Path, source: str, text: str) -> None:
    compare(sealed, gcc, tmp_path, source, text, ["-g"])


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
@pytest.mark.parametrize(("source", "text"), [("a.c", C), ("a.cc", CXX)])
def test_clang(sealed, identify, clang_names, tmp_path: Path, source: str, text: str, options: list[str]) -> None:
    if "-fopenmp" in options:
        options = ["-O3"]  # needs omp.h, which is a package of its own
    driver = clang_names[0] if source == "a.c" else clang_names[1]
    options = [option for option in options if option != "-ffat-lto-objects"]
    compare(sealed, identify(driver), tmp_path, source, text, options)


def test_root_is_sealed(sealed, gcc: Toolchain, tmp_path: Path) -> None:
    """Without cc1 there is no compile."""
    (tmp_path / "a.c").write_text("int x;\n")
    without = replace(gcc, files=tuple(file for file in gcc.files if os.path.basename(file.path) != "cc1"))
    folders = include_folders(gcc.driver, "c")
    assert sealed(gcc, ["gcc", "-c", "a.c"], cwd=tmp_path, folders=folders).returncode == 0
    done = sealed(without, ["gcc", "-c", "a.c"], cwd=tmp_path, folders=folders)
    assert done.returncode != 0 and b"cc1" in done.stderr
