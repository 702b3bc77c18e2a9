"""Which options of a command choose the code that is made: what an equivalent compiler must be proven with.

The options are those that change an object by themselves, in their order. Names, macros, include folders and
warnings are left out: two compilers that preprocess alike differ no more with them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from manycc.command.drivers import GCC
from manycc.command.options import Action, Effect, Option
from manycc.command.parse import parse
from manycc.command.table import options_of

_NAMES: Final = re.compile(
    r"-f(?:\w+-prefix-map|random-seed|debug-compilation-dir|file-compilation-dir|coverage-compilation-dir)="
)
"""Code options that hold names of this very job, or of its folders."""
_ALSO: Final = frozenset(("-Qn", "-Qy", "-target", "--target=", "--driver-mode="))
_DROPPED: Final = frozenset((Action.COMPILE, Action.OUTPUT, Action.LANGUAGE))
_UNPROVEN: Final = {
    Action.PROFILE_USE: "reads a profile", Action.PROFILE_DIR: "names a folder of profiles",
    Action.READ: "reads a file that changes code", Action.DUMP: "writes dumps", Action.WRITE: "writes further files",
    Action.TRACE: "writes a trace", Action.RECORD: "writes a record of optimisations",
    Action.SECTIONS_LIST: "may read a list",
    Action.SAVE_TEMPS: "keeps preprocessed source, in which stands how headers were found",
}  # fmt: skip
"""What canaries cannot stand for."""

CANARY_LANGUAGE: Final = {
    "c": "c", "cpp-output": "c", "c++": "c++", "c++-cpp-output": "c++", "assembler": "assembler",
    "assembler-with-cpp": "assembler-with-cpp",
}  # fmt: skip
"""The language of the canaries that prove a compile in a language; no other can be proven."""


@lru_cache(maxsize=4096)
def code_options(argv: tuple[str, ...], cwd: str, kind: str) -> tuple[str, tuple[str, ...], str]:
    """(language of the canaries, options, why no canary can prove it) of a command as ``Job.argv`` has it.

    Raises NotDistributable for a command that no node takes.
    """
    command = parse(argv, cwd, {}, None, kind=kind)
    language = CANARY_LANGUAGE.get(command.language, "")
    if not language:
        return "", (), f"there are no canaries in {command.language}"
    options: list[str] = []
    for option, words, _ in options_of(argv, kind):
        if option.action in _UNPROVEN:
            return language, (), f"{words[0]} {_UNPROVEN[option.action]}"
        if _proven(option) and not _NAMES.match(words[0]):
            options += words
    if command.stems:
        return language, (), "it writes dumps"
    return language, tuple(options), ""


def _proven(option: Option) -> bool:
    if option.action in _DROPPED:
        return False
    return option.action is Action.ASSEMBLY or option.effect is Effect.CODE or option.name in _ALSO


def random_names(options: Sequence[str], kind: str) -> bool:
    """Whether a compiler puts random names into what it makes, unless it is given a seed."""
    return kind == GCC and any(option.startswith(("-flto", "-fprofile", "--coverage", "-coverage", "-ftest"))
                               for option in options)  # fmt: skip
