"""Canaries: small sources whose objects show what a compiler does by default.

A stock distccd says nothing about its compilers, and equal version numbers hide different builds. So before
it is trusted with a toolchain and a set of options, it compiles these (``canarysources.py``), and its objects are
compared with those made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from manycc.errors import CompilerError
from manycc.job import Toolchain
from manycc.toolchain.canarysources import CANARIES, MACROS, NOTICES, Canary

__all__ = ["CANARIES", "MACROS", "NOTICES", "Canaries", "Canary", "command"]

MAX_REMEMBERED: Final = 512

Compile = Callable[[Toolchain, Sequence[str], str], Awaitable[bytes]]
"""Compiles here: the toolchain, the arguments and the folder to run in. The object; empty if it fails."""


class Canaries:
    """The canaries' files, and the objects that the compilers here make of them. For one event loop."""

    def __init__(self, folder: str, compile_here: Compile) -> None:
        """``folder`` is where the sources lie; it is made when first needed, and may be deleted at any time."""
        self.folder = folder
        self._compile = compile_here
        self._objects: dict[tuple[str, str, tuple[str, ...], str], asyncio.Task[bytes]] = {}

    def of(self, language: str) -> list[Canary]:
        """Those of a language."""
        return [canary for canary in CANARIES if canary.language == language]

    async def object_of(self, toolchain: Toolchain, flags: Sequence[str], canary: Canary) -> bytes:
        """What the compiler here makes of a canary with these options; empty if it does not compile with them.

        Raises CompilerError if it cannot be run.
        """
        key = (toolchain.fingerprint, toolchain.driver, tuple(flags), canary.name)
        task = self._objects.get(key)
        if task is None:
            if len(self._objects) >= MAX_REMEMBERED:
                for old in [other for other, done in self._objects.items() if done.done()]:
                    del self._objects[old]
            task = self._objects[key] = asyncio.create_task(self._made(toolchain, tuple(flags), canary))
        try:
            # Others wait for the same: one that is cancelled must not take it from them.
            return await asyncio.shield(task)
        except CompilerError:
            self._objects.pop(key, None)
            raise

    async def _made(self, toolchain: Toolchain, flags: tuple[str, ...], canary: Canary) -> bytes:
        self.write()
        return await self._compile(toolchain, command(flags, canary), self.folder)

    def write(self) -> None:
        """Have the sources in their folder. Raises CompilerError."""
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            for canary in CANARIES:
                path = os.path.join(self.folder, canary.name)
                with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                    if file.read() == canary.text:
                        continue
                with open(path, "w", encoding="ascii") as file:
                    file.write(canary.text)
        except OSError as error:
            raise CompilerError(f"{self.folder} cannot be written", error.strerror or str(error)) from error

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._objects.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._objects.clear()


def command(flags: Sequence[str], canary: Canary) -> list[str]:
    """The arguments that compile a canary."""
    return [*flags, "-w", "-x", canary.language, "-c", canary.name]
