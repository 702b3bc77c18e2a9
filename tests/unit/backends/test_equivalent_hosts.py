"""What no canary can show: the assemblers of 32-bit and of 64-bit machines."""

from __future__ import annotations

import pytest

from manycc.job import Toolchain
from manycc.toolchain.equivalence import Offer, beyond_canaries
from manycc.toolchain.machines import is_wide


def toolchain(host: str, kind: str = "gcc") -> Toolchain:
    return Toolchain(
        fingerprint="f", kind=kind, driver="/usr/bin/gcc", version="12.2.0", target="arm-linux-gnueabihf", label="gcc",
        files=(), links=(), components={}, host=host,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["x86-64", "aarch64", "riscv64", "ppc64le", "mips64el", "s390x", "loongarch64"])
def test_wide(host: str) -> None:
    assert is_wide(host)


@pytest.mark.parametrize("host", ["x86", "arm", "x32", "riscv32", "ppc", "s390"])
def test_narrow(host: str) -> None:
    assert not is_wide(host)


@pytest.mark.parametrize(
    ("here", "there", "kind", "language", "options", "refused"),
    [
        ("arm", "x86-64", "gcc", "c", ("-O2", "-g"), True),
        ("x86-64", "arm", "gcc", "c++", ("-ggdb3",), True),
        ("arm", "x86-64", "gcc", "assembler", ("-O2",), True),
        ("arm", "x86-64", "gcc", "c", ("--debug",), True),
        ("arm", "x86-64", "gcc", "c", ("-Wa,--noexecstack,--gdwarf-5",), True),
        ("arm", "x86-64", "gcc", "c", ("-Xassembler", "--gen-debug", "-g0", "-Wa,-g"), True),
        ("arm", "x86-64", "gcc", "c", ("-O2", "-Wa,--noexecstack"), False),
        ("arm", "x86-64", "gcc", "c", ("-O2",), False),
        ("arm", "x86-64", "gcc", "c", ("-g", "-g0"), False),
        ("arm", "x86", "gcc", "c", ("-g",), False),
        ("aarch64", "x86-64", "gcc", "c", ("-g",), False),
        ("arm", "x86-64", "clang", "c", ("-g",), False),
    ],
)
def test_line_information(
    here: str, there: str, kind: str, language: str, options: tuple[str, ...], refused: bool
) -> None:
    offer = Offer("o", "gcc", "/usr/bin/gcc", {}, there)
    assert bool(beyond_canaries(toolchain(here, kind), offer, language, options)) is refused
