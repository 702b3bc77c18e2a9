"""Languages by suffix and by -x, beside what the drivers themselves decide."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from manycc.command.languages import language_of
from manycc.command.parse import parse
from manycc.testing.requirements import need


@pytest.mark.parametrize(
    ("argv", "language"),
    [
        (["gcc", "-c", "a.c"], "c"),
        (["g++", "-c", "a.c"], "c++"),
        (["g++", "-c", "a.i"], "c++-cpp-output"),
        (["gcc", "-c", "a.i"], "cpp-output"),
        (["gcc", "-c", "a.ii"], "c++-cpp-output"),
        (["gcc", "-c", "a.mi"], "objective-c-cpp-output"),
        (["gcc", "-c", "a.mii"], "objective-c++-cpp-output"),
        (["gcc", "-c", "a.m"], "objective-c"),
        (["gcc", "-c", "a.mm"], "objective-c++"),
        (["gcc", "-c", "a.M"], "objective-c++"),
        (["gcc", "-c", "a.s"], "assembler"),
        (["gcc", "-c", "a.S"], "assembler-with-cpp"),
        (["gcc", "-c", "a.sx"], "assembler-with-cpp"),
        (["clang", "-c", "a.CC"], "c++"),
        (["gcc", "-c", "-x", "c++", "a.c"], "c++"),
        (["gcc", "-c", "-xc", "a.txt"], "c"),
        (["g++", "-c", "-xc", "a.c"], "c"),
        (["gcc", "-c", "-xc", "-xnone", "a.cc"], "c++"),
        (["gcc", "-c", "-xc++", "-x", "assembler-with-cpp", "a.c"], "assembler-with-cpp"),
        (["gcc", "-c", "a.cc", "-x", "c"], "c++"),  # -x is for what follows
        (["gcc", "-c", "-xc", "a.h"], "c"),
        (["clang", "-c", "--", "-a.c"], "c"),
    ]
    + [(["gcc", "-c", f"a.{suffix}"], "c++") for suffix in ("cc", "cp", "cxx", "cpp", "CPP", "c++", "C")],
)
def test_language(argv: list[str], language: str) -> None:
    assert parse(argv, "/work", {}, None).language == language


# What a driver would run for a language, as -### shows it.
_GCC_PARTS = {
    "c": "cc1", "c++": "cc1plus", "objective-c": "cc1obj", "objective-c++": "cc1objplus",
    "cpp-output": "cc1", "c++-cpp-output": "cc1plus", "c++-header": "cc1plus", "c-header": "cc1",
    "assembler": "as", "assembler-with-cpp": "cc1", None: "",
}  # fmt: skip
_SUFFIXES = (
    "c", "cc", "cp", "cxx", "cpp", "CPP", "c++", "C", "CC", "CXX", "h", "hh", "H", "hpp", "i", "ii", "mm", "M", "m",
    "s", "S", "sx", "o", "a", "txt", "lo",
)  # fmt: skip


@pytest.mark.parametrize("driver", ["gcc", "g++"])
def test_gcc_runs_the_part_for_the_language(driver: str, tmp_path: Path) -> None:
    need(driver)
    for suffix in _SUFFIXES:
        name = f"a.{suffix}"
        (tmp_path / name).touch()
        shown = subprocess.run(
            [driver, "-###", "-c", name], cwd=tmp_path, capture_output=True, text=True, check=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        ).stderr  # fmt: skip
        runs = re.findall(r"^ \"?(?:\S*/)?(cc1objplus|cc1obj|cc1plus|cc1|as)\"? ", shown, re.MULTILINE)
        language = language_of(name, "gcc", driver == "g++")
        assert (runs[0] if runs else "") == _GCC_PARTS[language], (driver, name, shown)


@pytest.mark.parametrize("driver", ["clang-14", "clang++-14"])
def test_clang_names_the_language(driver: str, tmp_path: Path) -> None:
    need(driver)
    for suffix in _SUFFIXES:
        name = f"a.{suffix}"
        (tmp_path / name).touch()
        shown = subprocess.run(
            [driver, "-###", "-c", name], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stderr
        named = re.findall(r'"-x" "([^"]+)"', shown)
        language = language_of(name, "clang", driver.startswith("clang++"))
        if language == "assembler":
            assert "-cc1as" in shown
        else:
            assert (named[0] if named else None) == language, (driver, name)
