"""The trial that shows whether an engine's workers make of a source what the compiler here does.

It is compiled with debug information, at an absolute path: an engine whose workers do not have the input root as the
root of the file system writes other paths into it, and is found out.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from manycc.command.drivers import is_cxx, is_zig
from manycc.errors import CompilerError
from manycc.job import FILE, Input, Inputs, Job, Outcome, Toolchain
from manycc.toolchain.canaries import Canaries, Canary, command

FLAGS: Final = ("-g", "-O1", "-nostdinc")
OUTPUT: Final = "engine-trial.o"


class Trial:
    """Makes the trial's job, and judges what came of it."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    async def job(self, toolchain: Toolchain) -> Job:
        """What is to be compiled there. Raises CompilerError."""
        if is_zig(toolchain.driver):
            raise CompilerError("zig is not sent to remote execution engines")
        canary = self._canary(toolchain)
        self._canaries.write()
        folder = os.path.realpath(self._canaries.folder)
        data = canary.text.encode("ascii")
        source = Input(FILE, f"{folder}/{canary.name}", hashlib.sha256(data).digest(), len(data))
        argv = (toolchain.driver, *command(FLAGS, canary), "-o", OUTPUT)
        return Job(
            argv=argv,
            cwd=folder,
            env=(("LC_ALL", "C"),),
            umask=0o022,
            toolchain=toolchain,
            inputs=Inputs([source], "scan", True, False),
            folders=(folder,),
            outputs=(f"{folder}/{OUTPUT}",),
            stems=(),
            source=canary.name,
        )

    async def verdict(self, toolchain: Toolchain, outcome: Outcome) -> str:
        """The sentence why the engine does not serve the toolchain; "" if it does. Raises CompilerError."""
        canary = self._canary(toolchain)
        here = await self._canaries.object_of(toolchain, FLAGS, canary)
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
                "a trial compile there makes another object: its workers do not keep paths, or it is another compiler"
            )
        return ""

    def _canary(self, toolchain: Toolchain) -> Canary:
        return self._canaries.of("c++" if is_cxx(toolchain.driver) else "c")[0]
