"""-march=native and its kin, spelled out: the same object, wherever it is compiled."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from manycc.errors import NotDistributable
from manycc.reasons import Reason
from manycc.testing.requirements import lacking
from manycc.toolchain import native
from manycc.toolchain.native import expand_native

SOURCE = """
int dot(const int *a, const int *b, int n) { int s = 0; for (int i = 0; i < n; i++) s += a[i] * b[i]; return s; }
double sum(const double *a, int n) { double s = 0; for (int i = 0; i < n; i++) s += a[i] * 3.5 + s; return s; }
"""


def expand(toolchain, argv: list[str]) -> tuple[str, ...]:
    places = [index for index, argument in enumerate(argv) if argument.endswith("=native")]
    return asyncio.run(expand_native(toolchain, argv, places, os.environ))


@pytest.fixture
def needs_native(gcc) -> None:
    if subprocess.run([gcc.driver, "-march=native", "-E", "-x", "c", os.devnull], capture_output=True).returncode:
        lacking("this gcc has no -march=native")


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize(
    "options",
    [
        ["-march=native"],
        ["-mtune=native"],
        ["-march=native", "-mtune=native", "-ffast-math"],
        ["-march=native", "-mtune=generic"],
        ["-mtune=native", "-march=x86-64-v2"],
        ["-mno-avx2", "-march=native"],
        ["-march=native", "-mno-sse3"],
        ["-march=native", "-march=x86-64"],
        ["-march=x86-64", "-march=native"],
        ["-march=native", "--param=l1-cache-size=7"],
    ],
    ids=" ".join,
)
def test_same_bytes(gcc, tmp_path: Path, options: list[str]) -> None:
    if not gcc.target.startswith(("x86_64", "i686")) and len(options) > 1:
        pytest.skip("options of x86")
    (tmp_path / "a.c").write_text(SOURCE)
    argv = ["gcc", "-O3", *options, "-c", "a.c", "-o", "a.o"]
    expanded = expand(gcc, argv)
    assert expanded[0] == "gcc"
    assert not any("native" in argument for argument in expanded)
    objects = []
    for command in (argv, expanded):
        subprocess.run(command, executable=gcc.driver, cwd=tmp_path, check=True)
        objects.append((tmp_path / "a.o").read_bytes())
    assert objects[0] == objects[1]


@pytest.mark.usefixtures("needs_native")
def test_what_cannot_be_spelled_out_is_refused(gcc) -> None:
    """No place for the features of native gives the same command: the outcome is checked, not hoped for."""
    if not gcc.target.startswith("x86_64"):
        pytest.skip("options of x86")
    options = ["-mno-avx", "-march=x86-64-v2", "-march=native", "-mno-fma", "-mtune=native"]
    with pytest.raises(NotDistributable) as caught:
        expand(gcc, ["gcc", "-O3", *options, "-c", "a.c"])
    assert caught.value.reason is Reason.LOCAL_OPTION


@pytest.mark.usefixtures("needs_native")
def test_compiler_is_asked_once(gcc, monkeypatch) -> None:
    argv = ["gcc", "-O2", "-march=native", "-c", "a.c"]
    first = expand(gcc, argv)
    monkeypatch.setattr(native, "_expand", None)
    assert expand(gcc, argv) == first
    assert expand(gcc, ["gcc", "-O1", "-DX", "-march=native", "-c", "b.c"])[-4:] == ("-O1", "-DX", "-c", "b.c")


@pytest.mark.parametrize("option", ["-g", "-ggdb3", "-flto", "-flto=auto", "-frecord-gcc-switches", "-fverbose-asm"])
def test_options_that_are_written_down(gcc, option: str) -> None:
    with pytest.raises(NotDistributable) as caught:
        expand(gcc, ["gcc", option, "-march=native", "-c", "a.c"])
    assert caught.value.reason is Reason.NATIVE_DEBUG


def test_refused_where_the_driver_says_nothing(gcc) -> None:
    with pytest.raises(NotDistributable) as caught:
        expand(gcc, ["gcc", "-march=native", "-mno-such-option", "-c", "a.c"])
    assert caught.value.reason is Reason.LOCAL_OPTION


def test_clang_is_not_expanded(identify, clang_names) -> None:
    with pytest.raises(NotDistributable) as caught:
        expand(identify(clang_names[0]), ["clang", "-march=native", "-c", "a.c"])
    assert caught.value.reason is Reason.LOCAL_OPTION
