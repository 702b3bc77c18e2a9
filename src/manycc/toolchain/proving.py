"""Does a compiler of this machine make the objects that another one here makes? The canaries tell.

A toolchain that was added is tried once, by itself: does it compile, and for its own target? Where there is another
compiler of the same target, their objects are compared, under options that distributions set differently.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from manycc.command.drivers import words_to_ask
from manycc.errors import CompilerError
from manycc.job import Toolchain
from manycc.toolchain import canaries, probe
from manycc.toolchain.canaries import CANARIES, Canary
from manycc.toolchain.identity import tool_path
from manycc.toolchain.machines import host_of
from manycc.toolchain.objectdiff import describe

FLAG_SETS: Final[tuple[tuple[str, ...], ...]] = (
    ("-O0",), ("-O1",), ("-O2",), ("-O3",), ("-Os",), ("-O0", "-g"), ("-O2", "-g"), ("-O2", "-fPIC"), ("-O2", "-fPIE"),
    ("-O2", "-fno-pie"), ("-O2", "-fstack-protector-strong"), ("-O2", "-fstack-clash-protection"),
    ("-O2", "-ffunction-sections", "-fdata-sections"), ("-O2", "-fno-exceptions"),
)  # fmt: skip
"""What is compared by hand. A client's own options are proven with its first job."""

_MAX_OBJECT: Final = 16 * 1024 * 1024

SAME: Final = "same"
DIFFERS: Final = "differs"
FAILS: Final = "does not compile"


class Result(NamedTuple):
    """One canary under one set of options. ``lines`` say what differs, or what the compiler said."""

    flags: tuple[str, ...]
    canary: str
    state: str
    lines: list[str]


def compiled(toolchain: Toolchain) -> list[Canary]:
    """The canaries of the languages that a driver compiles: a gcc has a part for each."""
    cxx = toolchain.kind != "gcc" or "cc1plus" in toolchain.components
    return [canary for canary in CANARIES if cxx or canary.language != "c++"]


async def compiles(toolchain: Toolchain) -> None:
    """Make sure that a compiler compiles at all. Raises CompilerError with its own words."""
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        first = {canary.language: canary for canary in reversed(compiled(toolchain))}
        for canary in (first[language] for language in ("c", "c++") if language in first):
            data, said = await _compile(toolchain, ("-O2",), canary, folder)
            if not data:
                raise CompilerError(f"{toolchain.driver} does not compile", said)
            if not host_of(data):
                raise CompilerError(f"{toolchain.driver} makes no objects that manycc knows", toolchain.target)


async def compare(
    toolchain: Toolchain, other: Toolchain, flag_sets: Sequence[Sequence[str]] = FLAG_SETS
) -> AsyncIterator[Result]:
    """Compile the canaries with both, one by one, with no identification string. Raises CompilerError."""
    there = compiled(other)
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        for flags in map(tuple, flag_sets):
            for canary in compiled(toolchain):
                if canary not in there:
                    continue
                used = (*flags, "-fno-ident")
                mine, said = await _compile(toolchain, used, canary, folder)
                theirs, said_there = await _compile(other, used, canary, folder)
                if mine and mine == theirs:
                    yield Result(flags, canary.name, SAME, [])
                elif mine and theirs:
                    yield Result(flags, canary.name, DIFFERS, describe(mine, theirs))
                else:
                    words = [f"{toolchain.driver}: {said}"] * (not mine) + [f"{other.driver}: {said_there}"] * (
                        not theirs
                    )
                    yield Result(flags, canary.name, FAILS, words)


async def _compile(toolchain: Toolchain, flags: tuple[str, ...], canary: Canary, folder: str) -> tuple[bytes, str]:
    """The object; or nothing, and why."""
    source, output = os.path.join(folder, canary.name), os.path.join(folder, "canary.o")
    env = {"PATH": tool_path(toolchain), "LC_ALL": "C", "TMPDIR": folder}
    try:
        with open(source, "w", encoding="ascii") as file:
            file.write(canary.text)
        words = canaries.command(flags, canary._replace(name=source))
        answer = await probe.run([toolchain.driver, *words_to_ask(toolchain.driver), *words, "-o", output], env)
        if answer.code:
            return b"", next(iter(answer.stderr.splitlines()), f"exit code {answer.code}")
        with open(output, "rb") as file:
            data = file.read(_MAX_OBJECT)
        os.unlink(output)
    except OSError as error:
        raise CompilerError(f"{toolchain.driver} cannot be tried", error.strerror or str(error)) from error
    return data, ""
