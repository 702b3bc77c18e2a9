"""Triples and processors in crosstool-NG's terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from manycc.errors import ConfigError

HOST_PACKAGES: Final = {
    "arm-linux-gnueabihf": "g++-arm-linux-gnueabihf",
    "arm-linux-gnueabi": "g++-arm-linux-gnueabi",
    "aarch64-linux-gnu": "g++-aarch64-linux-gnu",
    "riscv64-linux-gnu": "g++-riscv64-linux-gnu",
    "x86_64-linux-gnu": "g++-x86-64-linux-gnu",
    "i686-linux-gnu": "g++-i686-linux-gnu",
    "powerpc64le-linux-gnu": "g++-powerpc64le-linux-gnu",
    "s390x-linux-gnu": "g++-s390x-linux-gnu",
}
"""What a toolchain can be built to run on, and Debian's and Ubuntu's package of the compiler for that."""

_WORD: Final = re.compile(r"[\w.+-]+", re.ASCII)
_processors: Final = (
    (r"x86_64", ("ARCH_X86", "ARCH_64")),
    (r"i[3-6]86", ("ARCH_X86", "ARCH_32")),
    (r"aarch64", ("ARCH_ARM", "ARCH_64")),
    (r"arm(?:v[4-8]\w*|el|)", ("ARCH_ARM", "ARCH_32")),
    (r"riscv64\w*", ("ARCH_RISCV", "ARCH_64")),
    (r"powerpc64le", ("ARCH_POWERPC", "ARCH_64", "ARCH_LE")),
    (r"powerpc64", ("ARCH_POWERPC", "ARCH_64", "ARCH_BE")),
    (r"s390x", ("ARCH_S390", "ARCH_64")),
    (r"loongarch64", ("ARCH_LOONGARCH", "ARCH_64")),
)


class Target(NamedTuple):
    """A triple, taken apart: ``x86_64-linux-gnu`` has no vendor, ``x86_64-redhat-linux`` no system's ABI."""

    arch: str
    vendor: str
    abi: str


def split(triple: str) -> Target:
    """Raises ConfigError if it is not one of a Linux that crosstool-NG can build for."""
    fields = triple.split("-")
    at = next((index for index, field in enumerate(fields) if field == "linux"), 0)
    abi = "-".join(fields[at + 1 :])
    if not at or at > 2 or not re.fullmatch(r"(gnu|musl)(eabi(hf)?|)|", abi):
        raise ConfigError(
            f"no recipe is known for {triple}", "crosstool-NG is driven for Linux with glibc or musl here",
            "write its configuration by hand: ct-ng menuconfig",
        )  # fmt: skip
    return Target(fields[0], fields[1] if at == 2 else "", abi or "gnu")


def lines(triple: str, options: Mapping[str, str]) -> list[str]:
    """The lines that choose target, vendor, processor and float ABI. ``options`` are those of the client's configure.

    Raises ConfigError.
    """
    target = split(triple)
    symbols = next((symbols for pattern, symbols in _processors if re.fullmatch(pattern, target.arch)), None)
    if symbols is None:
        raise ConfigError(f"no recipe is known for the processor of {triple}")
    chosen = [f"CT_{symbol}=y" for symbol in symbols]
    chosen += ["CT_OMIT_TARGET_VENDOR=y"] if not target.vendor else [f'CT_TARGET_VENDOR="{target.vendor}"']
    chosen += ["CT_KERNEL_LINUX=y", f"CT_LIBC_{'MUSL' if target.abi.startswith('musl') else 'GLIBC'}=y"]
    wanted = {name: options.get(f"--with-{name}", "") for name in ("arch", "abi", "cpu", "tune", "fpu")}
    if symbols[0] == "ARCH_X86":
        wanted.update(abi="")  # gcc's own configure knows m64, crosstool-NG does not
        if "ARCH_32" in symbols:
            wanted["arch"] = wanted["arch"] or target.arch
    if symbols == ("ARCH_ARM", "ARCH_32"):
        if target.arch != "arm":
            chosen.append(f'CT_ARCH_SUFFIX="{target.arch[3:]}"')
        hard = options.get("--with-float", "hard" if target.abi.endswith("hf") else "")
        chosen += {
            "hard": ["CT_ARCH_FLOAT_HW=y"], "softfp": ["CT_ARCH_FLOAT_SOFTFP=y"], "soft": ["CT_ARCH_FLOAT_SW=y"],
        }.get(hard, [])  # fmt: skip
        if hard == "hard" and not target.abi.endswith("hf"):
            chosen.append("# CT_ARCH_ARM_TUPLE_USE_EABIHF is not set")
        chosen.append(f"CT_ARCH_ARM_MODE_{'THUMB' if options.get('--with-mode') == 'thumb' else 'ARM'}=y")
    else:
        wanted.update(fpu="")
    chosen += [f'CT_ARCH_{name.upper()}="{value}"' for name, value in wanted.items() if _WORD.fullmatch(value)]
    return chosen


def host_lines(triple: str) -> list[str]:
    """The lines for a toolchain that runs on another machine than the one that builds it. Raises ConfigError."""
    if triple not in HOST_PACKAGES:
        raise ConfigError(
            f"a toolchain that runs on {triple[:80]!r} is not known how to build",
            "the machine that builds it needs a compiler for that", f"one of {', '.join(HOST_PACKAGES)}",
        )  # fmt: skip
    return ["CT_CANADIAN=y", f'CT_HOST="{triple}"']
