"""Processors and targets by one name each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.testing.requirements import need
from manycc.toolchain import machines
from manycc.toolchain.facts import read_macros
from manycc.toolchain.machines import arm_level, host_of, this_host, triple_of

BY_CLANG = {
    "x86_64-linux-gnu": "x86-64", "x86_64-linux-gnux32": "x32", "i386-linux-gnu": "x86", "aarch64-linux-gnu": "aarch64",
    "aarch64_be-linux-gnu": "aarch64_be", "armv7-linux-gnueabihf": "arm", "armv6-linux-gnueabihf": "arm",
    "armebv7-linux-gnueabihf": "armeb", "riscv64-linux-gnu": "riscv64", "riscv32-linux-gnu": "riscv32",
    "powerpc64le-linux-gnu": "ppc64le", "powerpc64-linux-gnu": "ppc64", "powerpc64-linux-musl": "ppc64v2",
    "powerpc-linux-gnu": "ppc", "s390x-linux-gnu": "s390x", "mips-linux-gnu": "mips", "mipsel-linux-gnu": "mipsel",
    "mips64el-linux-gnuabi64": "mips64el", "mips64el-linux-gnuabin32": "mipsn32el",
}  # fmt: skip


@pytest.mark.parametrize(("target", "host"), BY_CLANG.items())
def test_host_of_what_compilers_write(target: str, host: str, clang_names: tuple[str, str], tmp_path: Path) -> None:
    made = tmp_path / "a.o"
    done = subprocess.run(
        [clang_names[0], f"--target={target}", "-c", "-x", "c", "/dev/null", "-o", made], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert host_of(str(made)) == host_of(made.read_bytes()) == host


def test_host_of_programs() -> None:
    """A cross compiler runs here, whatever it makes code for."""
    need("aarch64-linux-gnu-gcc")
    for name in ("aarch64-linux-gnu-gcc", "sh"):
        assert host_of(str(shutil.which(name))) == this_host() == host_of("/proc/self/exe") != ""


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\3\1" + bytes(60), b"#!/bin/sh\n" + bytes(60), bytes(64)])
def test_what_is_no_program(data: bytes) -> None:
    assert host_of(data) == ""


@given(st.binary(max_size=64))
def test_any_header(data: bytes) -> None:
    assert host_of(b"\x7fELF" + data) in {*BY_CLANG.values(), *machines._plain.values(), "", "ppcle", "mips64",
                                          "mipsn32", "aarch64-ilp32", "aarch64_be-ilp32"}  # fmt: skip


def test_a_32_bit_userland_on_a_64_bit_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interpreter decides, whatever the kernel is."""
    program = tmp_path / "python3"
    arm = bytearray(b"\x7fELF\1\1\1" + bytes(57))
    arm[16:20] = b"\2\0\x28\0"
    program.write_bytes(bytes(arm))
    monkeypatch.setattr(sys, "executable", str(program))
    assert this_host() == "arm"
    program.write_text("#!/bin/sh\n")  # a wrapper: then the program that runs
    assert this_host() == host_of("/proc/self/exe")


ARMV6 = ["-march=armv6", "-mfpu=vfp", "-mfloat-abi=hard", "-marm"]
"""How Raspbian's gcc is configured, and Arch Linux ARM's and Alpine's for such machines."""
ARMV7 = ["-march=armv7-a", "-mfpu=vfpv3-d16", "-mfloat-abi=hard", "-mthumb"]
ARMV5 = ["-march=armv5te", "-mfloat-abi=soft", "-marm"]
HARD, SOFT, MUSL = "arm-linux-gnueabihf", "arm-linux-gnueabi", "arm-linux-musleabihf"


@pytest.mark.parametrize(
    ("name", "options", "triple", "level"),
    [
        ("arm-linux-gnueabihf", ARMV6, HARD, "armv6"),  # Raspbian
        ("arm-linux-gnueabihf", [], HARD, "armv7-a"),  # Debian, Ubuntu
        ("arm-linux-gnueabi", ARMV5, SOFT, "armv5te"),  # Debian's armel
        ("armv6l-unknown-linux-gnueabihf", ARMV6, HARD, "armv6"),  # Arch Linux ARM
        ("armv7l-unknown-linux-gnueabihf", ARMV7, HARD, "armv7-a"),
        ("armv5tel-unknown-linux-gnueabi", ARMV5, SOFT, "armv5te"),
        ("armv7hl-redhat-linux-gnueabi", ARMV7, HARD, "armv7-a"),  # Fedora: the name does not say hard
        ("armv6-alpine-linux-musleabihf", ARMV6, MUSL, "armv6"),  # Alpine's armhf
        ("armv7-alpine-linux-musleabihf", ARMV7, MUSL, "armv7-a"),
        ("armv7a-hardfloat-linux-gnueabi", ARMV7, HARD, "armv7-a"),  # Gentoo before it named it so
        ("arm-rpi-linux-gnueabihf", ["-mcpu=arm1176jzf-s", *ARMV6[1:]], HARD, "armv6kz"),  # crosstool-NG
        ("arm-linux-gnueabihf", ["-march=armv8-a+simd"], HARD, "armv8-a"),
        ("arm-linux-gnueabihf", ["-mbig-endian"], "armeb-linux-gnueabihf", "armv7-a"),
    ],
)
def test_arm_by_what_the_compiler_says(name: str, options: list[str], triple: str, level: str) -> None:
    """The macros are of a real compiler that is configured as the named one is."""
    need("arm-linux-gnueabihf-gcc")
    command = ["arm-linux-gnueabihf-gcc", *options, "-nostdinc", "-dM", "-E", "-x", "c", "/dev/null"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    macros = read_macros(answer.stdout)
    assert triple_of(name, macros) == triple
    assert arm_level(macros) == level


X86_64, LITTLE = {"__x86_64__": "1"}, {"__BYTE_ORDER__": "__ORDER_LITTLE_ENDIAN__"}
BIG = {"__BYTE_ORDER__": "__ORDER_BIG_ENDIAN__"}
AARCH64 = {"__aarch64__": "1", **LITTLE}


@pytest.mark.parametrize(
    ("name", "macros", "triple"),
    [
        ("x86_64-linux-gnu", X86_64, "x86_64-linux-gnu"),  # Debian
        ("x86_64-pc-linux-gnu", X86_64, "x86_64-linux-gnu"),  # Arch, clang
        ("x86_64-redhat-linux", X86_64, "x86_64-linux-gnu"),  # Fedora
        ("x86_64-suse-linux", X86_64, "x86_64-linux-gnu"),
        ("x86_64-alpine-linux-musl", X86_64, "x86_64-linux-musl"),
        ("x86_64-linux-gnu", {**X86_64, "__ILP32__": "1"}, "x86_64-linux-gnux32"),
        ("x86_64-linux-gnu", {"__i386__": "1"}, "i686-linux-gnu"),
        ("i586-alpine-linux-musl", {"__i386__": "1"}, "i686-linux-musl"),
        ("aarch64-linux-gnu", AARCH64, "aarch64-linux-gnu"),
        ("aarch64-unknown-linux-gnu", AARCH64, "aarch64-linux-gnu"),  # Arch Linux ARM
        ("aarch64-redhat-linux", AARCH64, "aarch64-linux-gnu"),
        ("aarch64-alpine-linux-musl", AARCH64, "aarch64-linux-musl"),
        ("aarch64-linux-android", AARCH64, "aarch64-linux-android"),
        ("aarch64-none-elf", AARCH64, "aarch64-none-elf"),
        ("ppc64le-redhat-linux", {"__powerpc64__": "1", **LITTLE}, "powerpc64le-linux-gnu"),
        ("powerpc64-linux-musl", {"__powerpc64__": "1", "_CALL_ELF": "2", **BIG}, "powerpc64-linux-muslelfv2"),
        ("s390x-redhat-linux", {"__s390__": "1", "__s390x__": "1"}, "s390x-linux-gnu"),
        ("riscv64-linux-gnu", {"__riscv": "1", "__riscv_xlen": "64"}, "riscv64-linux-gnu"),
        ("loongarch64-linux-gnu", {"__loongarch__": "1", "__loongarch_grlen": "64"}, "loongarch64-linux-gnu"),
        ("mips64el-linux-gnuabi64", {"__mips__": "1", "__mips64": "1", "_MIPS_SIM": "_ABI64", **LITTLE},
         "mips64el-linux-gnuabi64"),
        ("x86_64-w64-mingw32", X86_64, "x86_64-mingw32"),
        ("x86_64-unknown-freebsd14.0", X86_64, "x86_64-freebsd14.0"),
        ("arm-none-eabi", {"__arm__": "1", "__ARM_EABI__": "1", **LITTLE}, "arm-none-eabi"),
        ("i686-gnu", {"__i386__": "1"}, "i686-gnu"),
        ("", {}, ""),
        ("-", {}, ""),
        ("nonsense\nof a peer", {}, ""),
    ],
)  # fmt: skip
def test_one_triple_for_all_names(name: str, macros: dict[str, str], triple: str) -> None:
    assert triple_of(name, macros) == triple


def test_names_of_no_macro() -> None:
    """Where a compiler was not asked, its name must do."""
    assert triple_of("armv7l-unknown-linux-gnueabihf", {}) == "arm-linux-gnueabihf"
    assert triple_of("amd64-portbld-freebsd13.2", {}) == "x86_64-freebsd13.2"


@given(st.text(max_size=200), st.dictionaries(st.sampled_from(["__arm__", "__mips__", "_CALL_ELF"]), st.text()))
def test_any_name(name: str, macros: dict[str, str]) -> None:
    assert len(triple_of(name, macros)) <= 160
    arm_level(macros)
