"""Asking an installed gcc what ``Probe`` wants to know; the assembler's defaults by what it makes of a few lines."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Mapping
from typing import Final

from manycc.errors import CompilerError, NotDistributable
from manycc.toolchain import probe as run_probe
from manycc.toolchain.crosstool import probe as said_by
from manycc.toolchain.crosstool.probe import SAFE, Probe
from manycc.toolchain.parts import examine
from manycc.toolchain.paths import find_program

_SOURCE: Final = """\
#ifdef __has_include
#  if __has_include(<features.h>)
#    include <features.h>
#  endif
#  if __has_include(<linux/version.h>)
#    include <linux/version.h>
#  endif
#else
#  include <limits.h>
#endif
int probed;
"""
_ASSEMBLY: Final = '\t.section .debug_info,"",%progbits\n\t.zero 4096\n\t.text\n'
_RELAXABLE: Final = "\tmovq probed@GOTPCREL(%rip), %rax\n"
_RELAXED: Final = (41, 42)  # R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX
_COMPRESSED: Final = 0x800  # SHF_COMPRESSED


async def ask(compiler: str, env: Mapping[str, str]) -> Probe:
    """What the compiler is: a name along PATH, or a path. Raises CompilerError."""
    path = os.path.abspath(compiler) if "/" in compiler else find_program(compiler, env)
    if not path:
        raise CompilerError(f"there is no {compiler} along PATH")
    clean = run_probe.environment(env)
    try:
        driver = await examine(path, clean)
    except NotDistributable as error:
        raise CompilerError(f"{compiler} cannot be asked", error.detail) from error
    if driver.kind != "gcc":
        raise CompilerError(
            f"{compiler} is {driver.kind}", "crosstool-NG builds gcc",
            "clang makes code for other targets by itself: install the same version on the node",
        )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        return await _asked(path, driver.said, driver.target, clean, folder)


async def _asked(path: str, said: str, target: str, env: Mapping[str, str], folder: str) -> Probe:
    source, assembly, product = (os.path.join(folder, name) for name in ("probe.c", "probe.s", "probe.o"))
    with open(source, "w", encoding="ascii") as file:
        file.write(_SOURCE)
    with open(assembly, "w", encoding="ascii") as file:
        file.write(_ASSEMBLY + (_RELAXABLE if target.startswith("x86_64") else ""))
    full, short, macro_text, compiled, assembled, *programs = await run_probe.run_all(
        [
            [path, "-dumpfullversion"],
            [path, "-dumpversion"],
            [path, "-dM", "-E", source],
            [path, "-S", "-o", "-", source],
            [path, "-c", "-o", product, assembly],
            *([path, f"-print-prog-name={name}"] for name in ("as", "ld", "cc1plus")),
        ],
        env,
    )
    for answer, what in ((macro_text, "macros"), (compiled, "assembly"), (assembled, "object")):
        if answer.code:
            raise CompilerError(f"{path} makes no {what}", answer.stderr.strip()[:300])
    macros = {}
    for line in macro_text.stdout.splitlines():
        _, _, defined = line.partition("#define ")
        name, _, value = defined.partition(" ")
        macros[name] = value.strip()
    assembler, linker, cxx = (_found(answer.stdout.strip(), env) for answer in programs)
    tools = await run_probe.run_all([[tool, "--version"] for tool in (assembler, linker) if tool], env)
    libc, libc_version = said_by.libc_of(macros, target)
    if libc == "musl":
        libc_version = await _musl_version(path, target, env)
    ident, package = said_by.ident_of(compiled.stdout)
    ssp = "strong" if "__SSP_STRONG__" in macros else "all" if "__SSP_ALL__" in macros else "no"
    return Probe(
        target=target,
        version=(full.stdout if full.code == 0 and full.stdout.strip() else short.stdout).strip(),
        date=said_by.date_of(said),
        package=package if SAFE.fullmatch(package) else "",
        ident=ident if SAFE.fullmatch(ident) else "",
        options=said_by.options_of(said),
        driver_flags=said_by.driver_flags_of(said),
        languages=("c", "c++") if cxx else ("c",),
        compression=said_by.compression_of(said),
        pie="yes" if "__PIE__" in macros else "no",
        ssp="plain" if ssp == "no" and "__SSP__" in macros else ssp,
        libc=libc,
        libc_version=libc_version,
        kernel=said_by.kernel_of(macros),
        binutils=next((version for tool in tools if (version := said_by.tool_version(tool.stdout))), ""),
        **assembler_defaults(product, target),
    )


def assembler_defaults(product: str, target: str) -> dict[str, str]:
    """What an assembler does by itself, read from the object it made of the probe. Raises CompilerError."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.relocation import RelocationSection

    try:
        with open(product, "rb") as file:
            elf = ELFFile(io.BytesIO(file.read(1 << 20)))
        names, compress, relocations = set(), "", []
        for section in elf.iter_sections():
            names.add(section.name)
            if section.name in (".debug_info", ".zdebug_info"):
                packed = section.name == ".zdebug_info" or section["sh_flags"] & _COMPRESSED
                compress = ("zstd" if _algorithm(section) == 2 else "zlib") if packed else "none"
            if isinstance(section, RelocationSection):
                relocations += [entry["r_info_type"] for entry in section.iter_relocations()]
    except (OSError, ELFError, ValueError, KeyError) as error:
        raise CompilerError("the assembler's object cannot be read", str(error)) from error
    x86 = target.startswith(("x86_64", "i386", "i486", "i586", "i686"))
    return {
        "as_used_note": _yes(".note.gnu.property" in names) if x86 else "",
        "as_compress": compress,
        "as_relax": _yes(any(kind in _RELAXED for kind in relocations)) if target.startswith("x86_64") else "",
        "as_build_notes": _yes(".gnu.build.attributes" in names),
    }


def _algorithm(section: object) -> int:
    """The first word of a compressed section: 1 is zlib, 2 is zstd. pyelftools would unpack it."""
    stream = section.stream  # type: ignore[attr-defined]
    stream.seek(section["sh_offset"])  # type: ignore[index]
    order = "little" if section.elffile.little_endian else "big"  # type: ignore[attr-defined]
    return int.from_bytes(stream.read(4), order)  # type: ignore[arg-type]


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _found(name: str, env: Mapping[str, str]) -> str:
    """A program that the driver named: by its path, or along PATH; "" if it is not installed."""
    path = name if name.startswith("/") else find_program(name, env) if name and "/" not in name else ""
    return path if path and os.path.isfile(path) else ""


async def _musl_version(path: str, target: str, env: Mapping[str, str]) -> str:
    """musl's loader tells it, on stderr, when it is run for nothing; only where it can be run, of course."""
    arch = target.partition("-")[0]
    answer = await run_probe.run([path, "-print-sysroot"], env)
    root = answer.stdout.strip().rstrip("/")
    loader = f"{root}/lib/ld-musl-{'i386' if arch[:1] == 'i' and arch.endswith('86') else arch}.so.1"
    if not os.path.isfile(loader):
        return ""
    try:
        said = await run_probe.run([loader], env)
    except CompilerError:
        return ""
    for line in (said.stderr + said.stdout).splitlines():
        if line.startswith("Version "):
            return said_by.tool_version(line)
    return ""
