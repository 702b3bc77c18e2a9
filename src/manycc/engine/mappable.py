"""Which commands may run in a folder that is not the root, and how they are put then. Pure.

A worker that stages the input root in some folder shows the compiler other paths than this machine would. What keeps
the bytes is one name for that folder that is the same on every machine: ``ROOT``, which leads through the process's own
working folder to a link that lies in it. Every absolute path of a command is put below ``ROOT``, and gcc leaves it out
of what it writes. That holds for code, debug information, ``__FILE__`` and its kin. What gcc writes without asking its
map (names in sanitizers' tables, coverage notes, code for the linker, dumps) is refused, and so is whatever has not
been looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from manycc.command.drivers import GCC, is_zig
from manycc.command.options import Action, Effect, Option
from manycc.command.outputs import NULL
from manycc.command.parse import parse
from manycc.command.reading import Reading
from manycc.command.table import TABLES
from manycc.errors import NotDistributable
from manycc.reasons import Reason

HERE: Final = "/proc/self/cwd"
LINK_NAME: Final = "^"
ROOT: Final = f"{HERE}/{LINK_NAME}"
"""The input root, as a process in the job's working folder names it. Short: gcc takes the real name of a system header
where that is shorter, and of the real name nobody here knows."""
LANGUAGES: Final = frozenset(("c", "c++"))
_OWN: Final = ("/dev", "/proc", "/sys")
"""A worker has its own of these."""

_UNDERSTOOD: Final = frozenset(
    (Action.NOTHING, Action.COMPILE, Action.ASSEMBLY, Action.LANGUAGE, Action.OUTPUT, Action.QUOTE_DIR,
     Action.INCLUDE_DIR, Action.SYSTEM_DIR, Action.AFTER_DIR, Action.FORCED, Action.DEFINE, Action.DEPS,
     Action.DEPS_FILE, Action.NO_DEBUG, Action.DEBUG, Action.MACHINE, Action.FOR_PREPROCESSOR, Action.FOR_ASSEMBLER)
)  # fmt: skip
_REFUSED: Final = re.compile(
    r"-f(?:no-)?(?:\w+-prefix-map|canon-prefix-map|sanitize|asan|profile|auto-profile|cs-profile|coverage|mcdc"
    r"|\w+-coverage|lto|fat-lto|embed|instrument-functions-exclude|dump|record|contract|openacc|offload|working-directory"
    r"|canonical-system|keep-system|preprocessed|directives-only|debug-types|mudflap|vtable-verify|depfile|xray|temp-file"
    r"|diagnostics-absolute|diagnostics-generate|plugin|module|analyzer-debug|message-length=[1-9])"
    r"|--?sysroot|-isysroot|-imulti|-iprefix|-no-canonical-prefixes|-H$|-wrapper|-remap"
)
"""What shows paths in ways that no map reaches, or moves the folders that are searched."""
_DEBUG: Final = re.compile(
    r"-g(?:gdb)?[0-3]?$|-g(?:gdb)?dwarf$|-gdwarf-[345]$|-gz(?:=|$)|-g(?:no-)?column-info$|-g(?:no-)?strict-dwarf$"
    r"|-gno-record-gcc-switches$|-g(?:gnu-|no-)?pubnames$|-g(?:no-)?variable-location-views$|-g(?:no-)?inline-points$"
    r"|-g(?:no-)?statement-frontiers$|-gno-split-dwarf$"
)
_OLD_DEBUG: Final = re.compile(r"-gdwarf-[34]$")
_FOR_PREPROCESSOR: Final = re.compile(r"(?:-[DU][^,]+,?)+")
_FOR_ASSEMBLER: Final = frozenset(("--noexecstack",))
_DEPFILE: Final = re.compile(r"-M[FPTQ]")
_FIRST_DWARF5: Final = 11
"""The first gcc that writes DWARF 5 unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Words:
    """A command for a folder that is not the root. ``arguments`` are those behind the driver.

    ``system``: the system folders it names, as spelled. ``ascending``: names in it that hold a "..", as spelled.
    ``depfile``: whether it is told to write one; ``partial``: one that leaves system headers out. ``debug``: whether it
    makes debug information.
    """

    arguments: tuple[str, ...]
    language: str
    system: tuple[str, ...]
    ascending: tuple[str, ...]
    depfile: bool
    partial: bool
    assembly: bool
    debug: bool


def refused(why: str) -> NotDistributable:
    """Why a job cannot be done by workers that do not keep paths."""
    return NotDistributable(Reason.NODE_REFUSED, f"its workers do not keep paths: {why}")


@lru_cache(maxsize=512)
def words_of(argv: tuple[str, ...], cwd: str, kind: str, version: str) -> Words:
    """Put a command, as ``Job.argv`` has it. ``version``: the compiler's. Raises NotDistributable."""
    if kind != GCC or is_zig(argv[0]):
        raise refused("only gcc's jobs can be done there")
    if cwd == "/" or "=" in cwd:
        raise refused(f"the working folder is {cwd!r}")
    command = parse(argv, cwd, {}, None, kind=kind)
    if command.language not in LANGUAGES:
        raise refused(f"only C and C++ can be compiled there, not {command.language}")
    reading = Reading(argv, kind)
    reading.read()
    if command.stems or command.reads or command.output == NULL or command.source.startswith("-"):
        raise refused("it reads or writes further files")
    wanted = 2 if reading.wanted.depfile else 1
    if len(command.outputs) != wanted or len(reading.wanted.depfiles) > wanted - 1:
        raise refused("it writes other files than an object and a depfile")
    if wanted == 1 and any(_DEPFILE.match(argument) for argument in argv[1:]):
        raise refused("it says how a depfile is to be, and asks for none")
    partial = "-MMD" in argv
    if partial and (command.debug or "-MD" in argv):  # to say all that is read would be recorded
        raise refused("with -MMD and debug information it does not tell all that it reads")
    putting = _Putting(cwd)
    arguments = putting.all(argv)
    if command.debug and command.source.startswith("/"):
        old = any(map(_OLD_DEBUG.match, argv)) or _major(version) < _FIRST_DWARF5
        if old:  # gcc then lists the source twice, with and without the map
            raise refused("the source is named by an absolute path, and its debug information is older than DWARF 5")
    return Words(
        arguments=tuple(arguments),
        language=command.language,
        system=(*command.system_dirs, *command.after_dirs),
        ascending=tuple(putting.ascending),
        depfile=wanted == 2,
        partial=partial,
        assembly=reading.assembly,
        debug=command.debug,
    )


def _major(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isascii() and first.isdigit() else 0


class _Putting:
    """Puts words one by one."""

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd
        self.ascending: list[str] = []

    def all(self, argv: Sequence[str]) -> list[str]:
        line: list[str] = []
        find = TABLES[GCC].find
        rest = iter(argv[1:])
        for argument in rest:
            if HERE in argument:
                raise refused(f"{argument!r} names {HERE}")
            if not argument.startswith("-"):
                line.append(self.path(argument))
                continue
            match = find(argument)
            if match is None or not _is_understood(match.option, argument):
                raise refused(f"with {argument} paths might show in what it writes")
            option, value = match
            if value is None:
                value = next(rest)
                if HERE in value or not _is_understood(option, f"{argument}{value}"):
                    raise refused(f"with {argument} {value} paths might show in what it writes")
                line += (argument, self.path(value) if option.path else value)
            elif argument == "-pipe":
                continue  # has no effect on the object, and the assembler could not tell what it reads
            elif option.path and value:
                line.append(option.name + self.path(value))
            else:
                line.append(argument)
        return line

    def path(self, text: str) -> str:
        """A path as it is named there. Raises NotDistributable."""
        names = text.split("/")
        if LINK_NAME in names:
            raise refused(f"{text} holds the name {LINK_NAME}")
        if ".." in names:
            self.ascending.append(text)
        if text == NULL or not text.startswith("/"):
            return text
        if text.startswith("//") or any(text == own or text.startswith(own + "/") for own in _OWN):
            raise refused(f"it names {text}")
        return ROOT + text


def _is_understood(option: Option, argument: str) -> bool:
    if option.action not in _UNDERSTOOD or _REFUSED.match(argument):
        return False
    if argument.startswith("-g"):
        return _DEBUG.match(argument) is not None
    if option.action is Action.FOR_PREPROCESSOR:
        return _FOR_PREPROCESSOR.fullmatch(argument[len("-Wp,") :]) is not None
    if option.action is Action.FOR_ASSEMBLER:
        return _FOR_ASSEMBLER.issuperset(argument[len("-Wa,") :].split(","))
    return option.effect is not Effect.LINK or not option.path
