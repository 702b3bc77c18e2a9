"""How many jobs a build tool shall run at once: what the user said, else filled in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_MAKE = frozenset(("make", "gmake", "gnumake"))
_NINJA = frozenset(("ninja", "ninja-build", "samu"))
_MAKE_WITH_VALUE = "CfIoWE"
_NINJA_WITH_VALUE = "Cfklwd"


@dataclass(frozen=True, slots=True)
class Parallel:
    """A build command with its degree of parallelism filled in, and what its environment gets."""

    argv: list[str]
    env: dict[str, str]


def fill_in(argv: Sequence[str], env: Mapping[str, str], jobs: int) -> Parallel:
    """Have a command run ``jobs`` jobs at once, unless its user said how many.

    make is told by MAKEFLAGS, so that a make below it shares the slots; ninja by an argument; anything
    else by the variables that build tools below it heed.
    """
    tool = os.path.basename(argv[0])
    flags = env.get("MAKEFLAGS", "")
    told = make_has_jobs(flags.split(), flags=True)
    if tool in _NINJA:
        return Parallel(list(argv) if ninja_has_jobs(argv[1:]) else [argv[0], f"-j{jobs}", *argv[1:]], {})
    if tool in _MAKE:
        if told or make_has_jobs(argv[1:]):
            return Parallel(list(argv), {})
        return Parallel(list(argv), {"MAKEFLAGS": _with_jobs(flags, jobs)})
    added = {} if told else {"MAKEFLAGS": _with_jobs(flags, jobs)}
    if not env.get("CMAKE_BUILD_PARALLEL_LEVEL"):
        added["CMAKE_BUILD_PARALLEL_LEVEL"] = str(jobs)
    return Parallel(list(argv), added)


def told_jobs(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """How many jobs a build tool runs at once, by its arguments, else by its environment.

    0 if they do not say, or if it is no tool whose words are known: it may give others below it a -j of its own.
    """
    tool = os.path.basename(argv[0])
    if tool not in (*_MAKE, *_NINJA, "cmake"):
        return 0
    for word, after in pairwise([*argv[1:], ""]):
        if word == "--" and tool != "cmake":
            break
        if word in ("-j", "--jobs", "--parallel"):
            return _number(after)
        for option in ("--parallel=", "--jobs=", "-j"):
            if word.startswith(option):
                return _number(word.removeprefix(option))
    if tool not in _MAKE and (jobs := _number(env.get("CMAKE_BUILD_PARALLEL_LEVEL", ""))):
        return jobs
    if tool in _NINJA:
        return 0
    return next((_number(word[2:]) for word in env.get("MAKEFLAGS", "").split() if word.startswith("-j")), 0)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0


def make_has_jobs(words: Sequence[str], flags: bool = False) -> bool:
    """Whether make's words say how many jobs. ``flags``: they are MAKEFLAGS, whose first may lack its dash."""
    skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word == "--":
            return False
        elif word.startswith("--"):
            if word.partition("=")[0] in ("--jobs", "--jobserver-auth", "--jobserver-fds"):
                return True
            skip = word in ("--directory", "--file", "--makefile", "--include-dir", "--eval")
        elif (word.startswith("-") and len(word) > 1) or (flags and index == 0 and "=" not in word):
            found, skip = _cluster(word.removeprefix("-"), _MAKE_WITH_VALUE)
            if found:
                return True
    return False


def ninja_has_jobs(words: Sequence[str]) -> bool:
    """Whether ninja's arguments say how many jobs."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "--":
            return False
        elif word.startswith("-t"):
            return True  # a tool, with options of its own: it builds nothing
        elif word.startswith("-") and not word.startswith("--"):
            found, skip = _cluster(word[1:], _NINJA_WITH_VALUE)
            if found:
                return True
    return False


def _cluster(letters: str, with_value: str) -> tuple[bool, bool]:
    """Of short options in one word: whether -j is among them; whether the next word is the last one's value."""
    for index, letter in enumerate(letters):
        if letter == "j":
            return True, False
        if letter in with_value:
            return False, index == len(letters) - 1
        if letter in "lO":
            return False, False
    return False, False


def _with_jobs(flags: str, jobs: int) -> str:
    """MAKEFLAGS with -j in front."""
    first, _, rest = flags.strip().partition(" ")
    if first and not first.startswith("-") and "=" not in first:
        first = f"-{first}"
    return " ".join(part for part in (f"-j{jobs}", first, rest) if part)
