"""Processors and targets by one name each, whoever named them.

A program's ELF header says what it runs on; what a compiler makes code for is said by the macros that it predefines.
Names are believed only where nothing better is there to be asked: ``uname`` tells what the kernel is (a 64-bit
one may carry a 32-bit userland, and under emulation /proc shows another machine), and distributions call
one target ``arm-linux-gnueabihf``, ``armv7l-unknown-linux-gnueabihf`` and ``armv7hl-redhat-linux-gnueabi``.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Mapping
from typing import Final

from manycc.toolchain import elf

UNKNOWN: Final = ""

_HEADER: Final = 64
_FLAGS_OFFSET: Final = {1: 36, 2: 48}
_MIPS_N32: Final = 0x20
_PPC_ABI: Final = 0x3

_plain: Final = {
    (2, 1): "sparc", (3, 1): "x86", (4, 1): "m68k", (15, 1): "hppa", (18, 1): "sparc", (20, 1): "ppc", (22, 1): "s390",
    (22, 2): "s390x", (36902, 2): "alpha", (42, 1): "sh4", (43, 2): "sparc64", (50, 2): "ia64", (62, 1): "x32",
    (62, 2): "x86-64", (93, 1): "arc", (94, 1): "xtensa", (252, 1): "csky", (243, 1): "riscv32", (243, 2): "riscv64",
    (258, 1): "loongarch32", (258, 2): "loongarch64",
}  # fmt: skip
"""Names by (e_machine, class) where neither endianness nor flags matter: 1 is 32 bits, 2 is 64."""

_MAX_TARGET: Final = 128
_SYSTEMS: Final = (
    "kfreebsd", "freebsd", "netbsd", "openbsd", "dragonfly", "darwin", "macos", "windows", "mingw", "cygwin", "gnu",
    "elf", "eabi", "solaris", "aix", "haiku", "wasi", "android", "rtems", "uclinux",
)  # fmt: skip
"""Beginnings of the systems' names besides Linux: what stands before one is a vendor."""
_x86: Final = re.compile(r"i[3-7]86|x86")
_FLOATS: Final = {
    "__mips_soft_float": "sf", "__riscv_float_abi_soft": "sf", "__loongarch_soft_float": "sf",
    "__riscv_float_abi_single": "f32", "__loongarch_single_float": "f32",
}  # fmt: skip
"""What says that floats are passed otherwise than most do, and the ending by which targets are told so."""
_arm_arch: Final = re.compile(r"__ARM_ARCH_(?!EXT_|ISA_|PROFILE)(\d\w*?)__")
_libc: Final = re.compile(r"(gnu|musl|uclibc|newlib)")


def host_of(program: str | bytes) -> str:
    """What a program runs on, told from its ELF header (``program``: its path, or its first bytes).

    "x86-64", "x86", "x32", "aarch64", "arm", "riscv64", "ppc64le", "s390x", "loongarch64", "mips64el", …;
    UNKNOWN for a processor that has no name here and for what is no ELF file. Raises OSError.
    """
    header = elf.first_bytes(program, _HEADER) if isinstance(program, str) else program
    if len(header) < 52 or header[:4] != elf.MAGIC or header[4] not in (1, 2) or header[5] not in (1, 2):
        return UNKNOWN
    order = "<" if header[5] == 1 else ">"
    little = header[5] == 1
    (machine,) = struct.unpack_from(order + "H", header, 18)
    (flags,) = struct.unpack_from(order + "I", header, _FLAGS_OFFSET[header[4]])
    wide = header[4] == 2
    if machine == 40:
        return "arm" if little else "armeb"
    if machine == 183:
        return ("aarch64" if little else "aarch64_be") + ("" if wide else "-ilp32")
    if machine == 21:  # the second ABI came with little-endian machines, but big-endian ones use it, too
        return "ppc64le" if little else "ppc64v2" if flags & _PPC_ABI == 2 else "ppc64"
    if machine in (8, 10):
        width = "64" if wide else "n32" if flags & _MIPS_N32 else ""
        return f"mips{width}{'el' if little else ''}"
    if machine == 20 and little:
        return "ppcle"
    return _plain.get((machine, header[4]), UNKNOWN)


def this_host() -> str:
    """What this process runs on: its own interpreter says so, not the kernel. UNKNOWN if that cannot be read."""
    for program in (sys.executable, "/proc/self/exe"):
        try:
            host = host_of(os.path.realpath(program)) if program else UNKNOWN
        except OSError:
            continue
        if host:
            return host
    return UNKNOWN


def is_wide(host: str) -> bool:
    """Whether the pointers of programs for a host, as ``host_of`` names it, have 64 bits."""
    return "64" in host or host in ("s390x", "alpha")


def triple_of(dumpmachine: str, macros: Mapping[str, str]) -> str:
    """The target of a compiler as ``arch-os-abi``, equal for all who mean the same.

    ``dumpmachine`` is what ``-dumpmachine`` says, ``macros`` what ``-dM -E`` predefines, by name. Processor, word
    size, endianness and float ABI are taken from the macros; from the name only the system and its C library. The
    vendor is dropped. All 32-bit ARMs are "arm" here: which architecture code is made for by default (armv6,
    armv7-a, …) is a fact of its own (``facts.py``), because an option chooses another.
    """
    fields = [field for field in dumpmachine.strip().lower()[:_MAX_TARGET].split("-") if field]
    named = fields[0] if fields else ""
    arch = _arch(macros) or _named_arch(named)
    if not arch:
        return UNKNOWN
    system, abi = _system(fields[1:])
    return "-".join(part for part in (arch, system, _abi(arch, system, abi, macros)) if part)


def arm_level(macros: Mapping[str, str]) -> str:
    """The ARM architecture that 32-bit code is made for by default, out of a compiler's macros.

    "armv5te", "armv6", "armv6kz", "armv7-a", "armv8-a", …; "" if the macros are not of such a compiler.
    """
    if "__arm__" not in macros:
        return ""
    for name in macros:
        if told := _arm_arch.fullmatch(name):
            level = told[1].lower()
            profile = re.fullmatch(r"([7-9](?:_\d)?)([a-z]+)", level)  # "7a" is written armv7-a, "8_1m_main" stays
            return f"armv{level}" if profile is None else f"armv{profile[1].replace('_', '.')}-{profile[2]}"
    level = macros.get("__ARM_ARCH", "")
    return f"armv{level}" if re.fullmatch(r"\d{1,2}", level) else ""


def _arch(macros: Mapping[str, str]) -> str:
    big = "__ORDER_BIG_ENDIAN__" in macros.get("__BYTE_ORDER__", "")
    if "__x86_64__" in macros:
        return "x86_64"
    if "__i386__" in macros:
        return "i686"
    if "__aarch64__" in macros:
        return "aarch64_be" if big else "aarch64"
    if "__arm__" in macros:
        return "armeb" if big else "arm"
    if "__riscv" in macros:
        return f"riscv{macros.get('__riscv_xlen', '')}"
    if "__powerpc64__" in macros:
        return "powerpc64" if big else "powerpc64le"
    if "__powerpc__" in macros or "__PPC__" in macros:
        return "powerpc" if big else "powerpcle"
    if "__s390__" in macros:
        return "s390x" if "__s390x__" in macros else "s390"
    if "__loongarch__" in macros:
        return f"loongarch{macros.get('__loongarch_grlen', '64')}"
    if "__mips__" in macros:
        return f"mips{'64' if '__mips64' in macros else ''}{'' if big else 'el'}"
    return ""


def _named_arch(name: str) -> str:
    """One name for a processor of the rarer kinds, for which no macro is looked at."""
    if _x86.fullmatch(name):
        return "i686"
    other = {"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "powerpc64le", "ppc64": "powerpc64", "ppc": "powerpc"}
    if re.fullmatch(r"arm(v\d\w*)?", name):
        return "armeb" if name.endswith("b") else "arm"
    return other.get(name, name if re.fullmatch(r"[a-z][a-z0-9_]*", name) else "")


def _system(fields: list[str]) -> tuple[str, str]:
    """System and ABI out of what follows the processor, which may have a vendor in front, and no ABI behind."""
    for index, field in enumerate(fields):
        if field.startswith("linux"):
            return "linux", "-".join(fields[index + 1 :]) or "gnu"
    known = [index for index, field in enumerate(fields) if field.startswith(_SYSTEMS)]
    rest = fields[known[0] :] if known else fields[-1:]
    if rest and rest[0].startswith(("elf", "eabi")):  # no system
        return "none", rest[0]
    return (rest[0] if rest else ""), "-".join(rest[1:])


def _abi(arch: str, system: str, abi: str, macros: Mapping[str, str]) -> str:
    """The C library and ABI: the library by name, the ABI by macros where there is one that tells."""
    libc = _libc.match(abi)
    if system != "linux" or libc is None or not macros:
        return abi
    ilp32 = "__ILP32__" in macros
    end = ""
    if arch.startswith("arm") and "__ARM_EABI__" in macros:
        end = "eabihf" if "__ARM_PCS_VFP" in macros else "eabi"
    elif arch == "x86_64":
        end = "x32" if ilp32 else ""
    elif arch.startswith("aarch64"):
        end = "_ilp32" if ilp32 else ""
    elif arch.startswith("mips64"):
        end = "abi64" if macros.get("_MIPS_SIM") in ("_ABI64", "3") else "abin32"
    elif arch.startswith(("mips", "riscv", "loongarch")):
        end = next((end for name, end in _FLOATS.items() if name in macros), "")
    elif arch == "powerpc64":
        end = "elfv2" if macros.get("_CALL_ELF") == "2" else ""
    return libc[1] + end
