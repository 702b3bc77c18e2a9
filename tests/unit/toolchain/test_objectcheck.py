"""ELF headers: what an object is for."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.testing.requirements import need
from manycc.toolchain import objectcheck
from manycc.toolchain.objectcheck import (
    Bitcode,
    Expected,
    ObjectKind,
    check,
    check_beside,
    expected_kind,
    kind_of,
    may_be_the_sources,
)


def compiled(driver: str, folder: Path, text: str, *options: str, name: str = "a.c") -> bytes:
    (folder / name).write_text(text)
    subprocess.run([driver, *options, "-c", name, "-o", "a.o"], cwd=folder, check=True)
    return (folder / "a.o").read_bytes()


def expected(toolchain, *argv: str, language: str = "c") -> Expected | None:
    return asyncio.run(expected_kind(toolchain, ("cc", *argv), os.environ, language))


@pytest.fixture(scope="module")
def armhf(identify):
    need("arm-linux-gnueabihf-gcc")
    return identify(str(shutil.which("arm-linux-gnueabihf-gcc")))


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
    assert "got bitcode for another target" in check(data, expected(clang, option, "--target=riscv64-linux-gnu"))
    kind = expected(clang, option)
    assert isinstance(kind, Bitcode) and kind.target.count("-") >= 2
    assert check(b"BC\xc0\xde" + bytes(99), kind) and check(b"\x7fELF" + bytes(99), kind) and check(b"", kind)


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


ARMV6 = ("-march=armv6+fp", "-marm")
ARMV7 = ("-march=armv7-a+fp",)
SOFT = ("-march=armv7-a", "-mfloat-abi=soft")
NEON = ("-march=armv7-a+simd",)


@pytest.mark.parametrize("made", [ARMV6, ARMV7, SOFT, NEON, ("-mbig-endian",), ("-fshort-enums",)], ids=" ".join)
@pytest.mark.parametrize("wanted", [ARMV6, ARMV7, SOFT, NEON, ("-mbig-endian",), ("-fshort-enums",)], ids=" ".join)
def test_arm_objects_of_one_header(armhf, tmp_path: Path, wanted: tuple[str, ...], made: tuple[str, ...]) -> None:
    """Only their attributes tell most of these apart."""
    data = compiled(armhf.driver, tmp_path, "enum e { a } x; int f(double d) { return d > 1; }\n", *made, "-O2")
    sentence = check(data, expected(armhf, *wanted, "-O2", "-c", "a.c"))
    assert (sentence == "") == (wanted == made), sentence
    for options, word in ((ARMV6, "CPU v6"), (ARMV7, "FPU VFPv3-D16"), (SOFT, "CPU v7"), (NEON, "SIMD NEONv1")):
        if sentence and options in (wanted, made):
            assert word in sentence


@pytest.mark.parametrize(
    "options",
    [("-O2", "-flto"), ("-flto", "-ffat-lto-objects"), ("-Os", "-g3"), ("-O3", "-ffast-math"), ("-fPIC",),
     ("-O2", "-fno-common", "-mno-unaligned-access"), ("-mthumb", "-mcpu=cortex-a7"), ("-g", "-gsplit-dwarf")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize(
    "text", ["", "int x;\n", "float f(float x) { return x * 2; }\n"], ids=["empty", "data", "code"]
)
def test_sound_arm_objects(armhf, tmp_path: Path, text: str, options: tuple[str, ...]) -> None:
    data = compiled(armhf.driver, tmp_path, text, *options)
    kind = expected(armhf, *options, "-c", "a.c")
    assert check(data, kind) == ""
    for beside in tmp_path.glob("*.dwo"):
        assert kind_of(beside.read_bytes()) is not None and check_beside(beside.read_bytes(), kind) == ""


def test_arm_objects_of_clang(identify, clang_names, tmp_path: Path) -> None:
    clang = identify(clang_names[0])
    targets = [f"--target={name}-linux-gnueabihf" for name in ("armv6", "armv7")]
    for made in targets:
        data = compiled(clang.driver, tmp_path, "int f(int x) { return x + 1; }\n", made, "-O2")
        for wanted in targets:
            assert (check(data, expected(clang, wanted, "-c", "a.c")) == "") == (made == wanted)


def test_a_source_that_chooses_its_processor(armhf, tmp_path: Path) -> None:
    text = 'void f(void) { __asm__(".arch armv8-a\\n.fpu neon\\nvadd.i32 q0, q0, q0"); }\n'
    kind = expected(armhf, "-c", "a.c")
    data = compiled(armhf.driver, tmp_path, text)
    assert kind is not None and "v8-A" in check(data, kind) and may_be_the_sources(data, kind)
    assert not may_be_the_sources(data[:-200], kind) and not may_be_the_sources(b"", kind)
    assembly = compiled(armhf.driver, tmp_path, ".arch armv8-a\n.fpu neon\nvadd.i32 q0, q0, q0\n", name="a.s")
    assert check(assembly, kind) != ""
    assert check(assembly, expected(armhf, "-c", "a.s", language="assembler")) == ""


def test_another_machine_is_no_choice_of_a_source(armhf, gcc, tmp_path: Path) -> None:
    data = compiled(gcc.driver, tmp_path, "int x;\n")
    kind = expected(armhf, "-c", "a.c")
    assert kind is not None and "expected 32-bit little-endian ARM" in check(data, kind)
    assert not may_be_the_sources(data, kind)
    assert "got 64-bit" in check_beside(data, kind) and check_beside(b"debug", kind) == ""


def test_riscv_objects(identify, clang_names, tmp_path: Path) -> None:
    clang = identify(clang_names[0])
    options = ("--target=riscv64-linux-gnu", "-march=rv64gc")
    data = compiled(clang.driver, tmp_path, "int x;\n", *options)
    assert check(data, expected(clang, *options, "-c", "a.c")) == ""
    sentence = check(data, expected(clang, options[0], "-march=rv64imac", "-mabi=lp64", "-c", "a.c"))
    assert "rv64i" in sentence and "RISC-V" in sentence
