"""ELF headers: what an object is for."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.toolchain import objectcheck
from manycc.toolchain.objectcheck import ObjectKind, check, expected_kind, kind_of


def compiled(driver: str, folder: Path, text: str, *options: str, name: str = "a.c") -> bytes:
    (folder / name).write_text(text)
    subprocess.run([driver, *options, "-c", name, "-o", "a.o"], cwd=folder, check=True)
    return (folder / "a.o").read_bytes()


def expected(toolchain, *argv: str) -> ObjectKind | None:
    return asyncio.run(expected_kind(toolchain, ("cc", *argv), os.environ))


def test_own_object(gcc, tmp_path: Path) -> None:
    kind = kind_of(compiled(gcc.driver, tmp_path, "int x;\n"))
    assert kind is not None and kind.type == 1
    if gcc.target.startswith("x86_64"):
        assert kind == ObjectKind(64, "little", 62, 0, 1, 0)
    assert expected(gcc, "-O2", "-c", "a.c") == kind
    assert check(compiled(gcc.driver, tmp_path, "int x;\n"), kind) == ""


@pytest.mark.parametrize("rest", [1, 64, 500])
def test_cut_short(gcc, tmp_path: Path, rest: int) -> None:
    data = compiled(gcc.driver, tmp_path, "int x;\n")
    assert check(data[:-rest], kind_of(data)) == "it is cut short"


def test_unique_symbols_make_no_other_kind(gxx, tmp_path: Path) -> None:
    text = "template <class T> struct A { static int x; };\ntemplate <class T> int A<T>::x;\nint *p = &A<int>::x;\n"
    data = compiled(gxx.driver, tmp_path, text, name="a.cc")
    assert data[7] == 3, "this compiler marks no unique symbols: the test shows nothing"
    assert check(data, expected(gxx, "-c", "a.cc")) == ""


def test_other_bits(gcc, tmp_path: Path) -> None:
    if not gcc.target.startswith("x86_64"):
        pytest.skip("-m32 is an option of x86")
    narrow = compiled(gcc.driver, tmp_path, "int x;\n", "-m32")
    kind = expected(gcc, "-m32", "-c", "a.c")
    assert kind is not None and (kind.bits, kind.machine) == (32, 3)
    assert check(narrow, kind) == ""
    sentence = check(narrow, expected(gcc, "-c", "a.c"))
    assert "32-bit" in sentence and "64-bit" in sentence and "x86-64" in sentence


@pytest.mark.parametrize("option", ["-flto", "-flto=thin", "-emit-llvm"])
def test_bitcode_of_clang_is_no_object_of_another_kind(identify, clang_names, tmp_path: Path, option: str) -> None:
    clang = identify(clang_names[0])
    data = compiled(clang.driver, tmp_path, "int x;\n", option)
    assert kind_of(data) is None, "this clang makes ELF objects: the test shows nothing"
    assert check(data, expected(clang, "-O2", option, "-c", "a.c")) == ""
    assert check(data, expected(clang, option, "-fno-lto", "-c", "a.c")) != "" or option == "-emit-llvm"


def test_other_target_of_clang(identify, clang_names, tmp_path: Path) -> None:
    clang = identify(clang_names[0])
    kind = expected(clang, "--target=aarch64-linux-gnu", "-c", "a.c")
    assert kind is not None and kind.machine == 183
    assert kind == expected(clang, "-target", "aarch64-linux-gnu", "-c", "a.c")
    data = compiled(clang.driver, tmp_path, "int x;\n", "--target=aarch64-linux-gnu")
    assert check(data, kind) == ""
    native = expected(clang, "-c", "a.c")
    assert native is not None and (native == kind) == clang.target.startswith("aarch64")


def test_big_endian_header() -> None:
    header = b"\x7fELF\x01\x02\x01\x00" + bytes(8) + bytes([0, 1, 0, 8]) + bytes(16) + b"\x70\x00\x10\x05" + bytes(20)
    assert kind_of(header) == ObjectKind(32, "big", 8, 0x70001005, 1, 0)


@pytest.mark.parametrize(
    "data", [b"", b"\x7fELF", b"\x7fELF\x09\x09" + bytes(60), b"BC\xc0\xde" + bytes(60), b"\t.file" * 20]
)
def test_no_object(data: bytes) -> None:
    assert kind_of(data) is None
    assert check(data, None) == ""
    assert "no ELF file" in check(data, ObjectKind(64, "little", 62, 0, 1, 0))


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(data: bytes, magic: bool) -> None:
    kind_of(b"\x7fELF" + data if magic else data)


def test_program_is_no_object(gcc) -> None:
    with open(gcc.driver, "rb") as file:
        assert check(file.read(64), expected(gcc, "-c", "a.c"))


def test_compiler_is_asked_once(gcc, monkeypatch) -> None:
    first = (
        expected(gcc, "-O2", "-m64", "-o", "-m32", "-c", "a.c") if gcc.target.startswith("x86_64") else expected(gcc)
    )
    monkeypatch.setattr(objectcheck, "_ask", None)
    if gcc.target.startswith("x86_64"):
        assert expected(gcc, "-O3", "-m64", "-DX", "-c", "b.c") == first
    else:
        assert expected(gcc, "-O3") == first


def test_options_the_compiler_refuses(gcc) -> None:
    assert expected(gcc, "-mno-such-option", "-c", "a.c") is None
