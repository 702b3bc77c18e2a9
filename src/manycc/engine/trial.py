"""The trial that shows whether an engine's workers make of a source what the compiler here does.

It is compiled with debug information, at an absolute path, with a header that is found by a search: an engine whose
workers do not have the input root as the root of the file system writes other paths into it, and is found out. So is
one whose workers show compiles files of their own beside it: a job might be given those where it asks for others.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from manycc.command.drivers import is_cxx, is_zig
from manycc.errors import CompilerError
from manycc.job import FILE, Input, Inputs, Job, Outcome, Toolchain
from manycc.toolchain.canaries import CANARIES, Canaries, Canary, command

FLAGS: Final = ("-g", "-O1", "-nostdinc")
OUTPUT: Final = "engine-trial.o"
FOUND: Final = "engine-trial"
"""The folder that is searched."""
HEADER: Final = "engine-trial.h"
OWN: Final = ("/usr/include/stdio.h", "/bin/sh")
"""What a worker's own files are seen by, if they are seen: the trial brings none of these."""
NOT_ALONE: Final = "-DMANYCC_ENGINE_TRIAL_NOT_ALONE"
"""Has the header not look for them."""
HEADER_TEXT: Final = f"""__attribute__((used)) static const char manycc_engine_trial[] = __FILE__;
#if defined(__has_include) && !defined({NOT_ALONE.removeprefix("-D")})
#if {" || ".join(f'__has_include("{path}")' for path in OWN)}
__attribute__((used)) static const char manycc_engine_own[] = "";
#endif
#endif
"""
GENERATION: Final = hashlib.sha256(repr((FLAGS, OUTPUT, HEADER_TEXT, CANARIES)).encode()).hexdigest()
"""Names what is compiled: what another trial has shown does not count."""


class Trial:
    """Makes the trial's job, and judges what came of it."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    async def job(self, toolchain: Toolchain, alone: bool) -> Job:
        """What is to be compiled there, and really so: an old result would prove nothing.

        ``alone``: with nothing beside the input root. Raises CompilerError.
        """
        if is_zig(toolchain.driver):
            raise CompilerError("zig is not sent to remote execution engines")
        canary = self._canary(toolchain)
        self._canaries.write()
        flags = self._flags()
        folder = os.path.realpath(self._canaries.folder)
        source = _input(f"{folder}/{canary.name}", canary.text)
        header = _input(f"{folder}/{FOUND}/{HEADER}", HEADER_TEXT)
        argv = (toolchain.driver, *([] if alone else [NOT_ALONE]), *command(flags, canary), "-o", OUTPUT)
        return Job(
            argv=argv,
            cwd=folder,
            env=(("LC_ALL", "C"),),
            umask=0o022,
            toolchain=toolchain,
            inputs=Inputs([source, header], "scan", True, False),
            folders=(folder,),
            outputs=(f"{folder}/{OUTPUT}",),
            stems=(),
            source=canary.name,
            cacheable=False,
        )

    async def verdict(self, toolchain: Toolchain, outcome: Outcome) -> str:
        """The sentence why the engine does not serve the toolchain; "" if it does. Raises CompilerError."""
        canary = self._canary(toolchain)
        here = await self._canaries.object_of(toolchain, (NOT_ALONE, *self._flags()), canary)
        if not here:
            raise CompilerError(f"{canary.name} does not compile here")
        if outcome.exit_code:
            line = next(iter(outcome.stderr.decode(errors="replace").strip().splitlines()), "")
            return f"a trial compile fails there (exit code {outcome.exit_code}): {line[:300]}"
        there = next((output.data for output in outcome.outputs), b"")
        if not there:
            return "a trial compile wrote nothing there"
        if there != here:
            return (
                "a trial compile there makes another object: its workers do not keep paths, "
                "show it files of their own, or have another compiler"
            )
        return ""

    def _flags(self) -> tuple[str, ...]:
        """The options, once the header that they name is there. Raises CompilerError."""
        folder = os.path.join(os.path.realpath(self._canaries.folder), FOUND)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with open(os.path.join(folder, HEADER), "w", encoding="ascii") as file:
                file.write(HEADER_TEXT)
        except OSError as error:
            raise CompilerError(f"{folder} cannot be written", error.strerror or str(error)) from error
        return (*FLAGS, "-isystem", folder, "-include", HEADER)

    def _canary(self, toolchain: Toolchain) -> Canary:
        return self._canaries.of("c++" if is_cxx(toolchain.driver) else "c")[0]


def _input(path: str, text: str) -> Input:
    data = text.encode("ascii")
    return Input(FILE, path, hashlib.sha256(data).digest(), len(data))
