"""What a toolchain that an agent sends may consist of, and the compile that shows it to be one.

Nothing but toolchains comes in this way: a list whose fingerprint is not the one that was asked for, a path
at which no compiler has a part, a program for another processor and a file that is none are refused.
A friend's program that only answers like a compiler cannot be told from one: what holds it is the sandbox.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Sequence
from typing import Final

from manycc.command.drivers import compiler_kind, words_to_ask
from manycc.job import ToolFile
from manycc.node import tree
from manycc.node.messages import JobMessage, ToolchainMessage
from manycc.node.text import plain
from manycc.node.tree import FILE, Entry
from manycc.toolchain import elf, machines
from manycc.toolchain.identity import fingerprint
from manycc.wire.native import MAX_FILE, MAX_TOOL_FILES

KINDS: Final = ("gcc", "clang")
MAX_DATA: Final = 4 * 1024 * 1024
"""Bytes of a part that is no program."""
MAX_PATHS: Final = 512 * 1024
"""Characters of all paths together: those of a compiler's hundred parts are some thousands."""
HEADER: Final = 64
_FOLDER: Final = "/manycc-trial"
_SOURCE: Final = b"""\
#if defined __clang__
const char manycc_trial[] = "manycc: clang " __VERSION__;
#elif defined __GNUC__
const char manycc_trial[] = "manycc: gcc " __VERSION__;
#endif
"""
_PROGRAM: Final = re.compile(r"(?:[\w.+]+-)*(?:cc1|cc1plus|cc1obj|cc1objplus|as|objcopy)(?:-?\d+(?:\.\d+)*)?")
_LIBRARY: Final = re.compile(r"[^/]+\.so(?:\.[^/]+)?")
_DATA: Final = re.compile(
    r"/etc/ld\.so\.cache|.*/(?:(?:[^/]+\.)?specs|crtbegin\.o|clang/[^/]+/share/[^/]+|std/std\.zig|[^/]+\.cfg)",
    re.DOTALL,
)
_RUNS: Final = (2, 3)  # ELF's types of programs and libraries


def list_fault(message: ToolchainMessage, files: Sequence[ToolFile], driver: str) -> str:
    """Why a list of files is not that of the toolchain that was asked for; "" if it is.

    ``driver`` is what the message's driver leads to.
    """
    if not 0 < len(files) <= MAX_TOOL_FILES:
        return "its list of files is empty, or too long"
    paths = [file.path for file in files]
    if sum(map(len, paths)) > MAX_PATHS:
        return "its files have too long paths"
    if paths != sorted(set(paths)):
        return "its list of files is not in order"
    for file in files:
        if fault := tree.path_fault(file.path) or _place_fault(file, driver):
            return _short(fault)
    if sum(file.size for file in files) != message.about.size:
        return "its files are not as large together as was said"
    if fingerprint(files, message.components.get("defaults", b"")) != message.fingerprint:
        return "its list of files is not that of the compiler that was asked for"
    if driver not in paths:
        return f"{plain(driver)}, its driver, is not among its files"
    return ""


def part_fault(path: str, start: bytes, host: str) -> str:
    """Why the file at a path of a toolchain, beginning with these bytes, can be no part of it; "" if it can.

    ``host`` is what the toolchain's programs run on.
    """
    if _DATA.fullmatch(path):
        return ""
    if not start.startswith(elf.MAGIC):
        return f"{plain(path)} is no program"
    found = machines.host_of(start)
    if found != host:
        return f"{plain(path)} is for {found or 'another processor'}, not for {plain(host)}"
    (kind,) = struct.unpack_from("<H" if start[5] == 1 else ">H", start, 16)
    return "" if kind in _RUNS else f"{plain(path)} is neither a program nor a library"


def trial(driver: str) -> tuple[JobMessage, Entry, bytes]:
    """A compile to try a toolchain with: the job, its input, that one's content."""
    digest = hashlib.sha256(_SOURCE).digest()
    source, output = f"{_FOLDER}/trial.c", f"{_FOLDER}/trial.o"
    argv = (os.path.basename(driver), *words_to_ask(driver), "-O0", "-nostdinc", "-c", source, "-o", output)
    job = JobMessage(0, 0, argv, _FOLDER, (), 0o022, [], (), (output,), (), 0, 0)
    return job, Entry(FILE, source, digest, len(_SOURCE)), _SOURCE


def trial_fault(made: bytes, message: ToolchainMessage) -> str:
    """Why the object of a trial is not what the compiler in question makes; "" if it is."""
    about = message.about
    wanted = f"manycc: {about.kind} ".encode()
    ident = about.facts.get("ident", "").encode("utf-8", "surrogateescape")
    if wanted not in made or ident not in made:
        return f"it does not answer as {plain(message.label)}"
    return ""


def _short(sentence: str) -> str:
    """A sentence without the middle of a path that is too long for one."""
    return plain(sentence if len(sentence) <= 160 else f"{sentence[:80]}…{sentence[-79:]}")


def _place_fault(file: ToolFile, driver: str) -> str:
    """Why no toolchain has such a file there."""
    name = os.path.basename(file.path)
    if file.size > MAX_FILE:
        return f"{file.path} is larger than the {MAX_FILE >> 20} MiB that can be sent of one file"
    if file.path.startswith("/etc/ld.so.") and file.path != elf.CACHE:
        return f"{file.path} is the system's, not a compiler's"
    if file.path == driver:
        return "" if compiler_kind(name) else f"{file.path} is not the name of a compiler"
    if _PROGRAM.fullmatch(name) or _LIBRARY.fullmatch(name):
        return ""
    if not _DATA.fullmatch(file.path):
        return f"{file.path} is not the name of a compiler's part"
    return "" if file.size <= MAX_DATA else f"{file.path} is larger than such a part of a compiler is"
