"""What a program needs to be started: its dynamic loader and its shared libraries.

The loader itself is asked (``ld.so --list``), not imitated: it alone knows run paths, hardware
capability folders and the default folders it was built with. It maps the program and does not
run it.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import Final

from manycc.errors import CompilerError
from manycc.toolchain import probe

MAGIC: Final = b"\x7fELF"
CACHE: Final = "/etc/ld.so.cache"

_listed: Final = re.compile(r"^\t(?:.+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)


def first_bytes(path: str, count: int) -> bytes:
    """The first bytes of a file. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read(count)


def loader(path: str) -> str:
    """The dynamic loader a program names, as spelled in it; "" for a static program.

    Raises CompilerError if the file is no readable ELF file.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    try:
        with open(path, "rb") as file:
            for segment in ELFFile(file).iter_segments():
                if isinstance(segment, InterpSegment):
                    return str(segment.get_interp_name())
    except (OSError, ELFError, UnicodeDecodeError) as error:
        raise CompilerError(f"{path} cannot be read as a program", str(error)) from error
    return ""


def run_path(path: str) -> str:
    """Where a program or library has the loader look before all else (DT_RPATH); "" if it says nothing, or is none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    try:
        with open(path, "rb") as file:
            for segment in ELFFile(file).iter_segments():
                if isinstance(segment, DynamicSegment):
                    tags = {tag.entry.d_tag: tag for tag in segment.iter_tags()}
                    if "DT_RPATH" in tags and "DT_RUNPATH" not in tags:
                        return str(getattr(tags["DT_RPATH"], "rpath", ""))
    except (OSError, ELFError, UnicodeDecodeError):
        pass
    return ""


async def libraries(path: str) -> tuple[frozenset[str], bool]:
    """The files the loader maps for a program, itself included, as it spells them; and whether it
    finds these very files only with the help of its cache, ``/etc/ld.so.cache``.

    Raises CompilerError if a library is missing.
    """
    interpreter = loader(path)
    if not interpreter:
        return frozenset(), False
    found, without_cache = await asyncio.gather(
        _list(interpreter, "--list", path), _list(interpreter, "--inhibit-cache", "--list", path)
    )
    if not found:
        raise CompilerError(f"{path} cannot be started", "a shared library is missing")
    return found | {interpreter}, found != without_cache and os.path.exists(CACHE)


async def libraries_under(path: str, library_path: str) -> frozenset[str]:
    """As ``libraries``, with LD_LIBRARY_PATH set to ``library_path``; empty if a library is missing."""
    interpreter = loader(path)
    if not interpreter:
        return frozenset()
    return await _list(interpreter, "--library-path", library_path, "--list", path) | {interpreter}


async def _list(interpreter: str, *arguments: str) -> frozenset[str]:
    """What the loader lists; nothing if it fails, or if a library is not found."""
    answer = await probe.run([interpreter, *arguments], {"LC_ALL": "C"})
    if answer.code or "not found" in answer.stdout:
        return frozenset()
    return frozenset(_listed.findall(answer.stdout))
