"""The folders that the compiler here searches for headers by itself, for a job of its own.

An equivalent compiler is told to search the very same, in the same order (``node/equivalent.py``).
"""

from __future__ import annotations

import os
from typing import Final

from manycc.backends.localcpp import LocalRuns
from manycc.command.languages import ASSEMBLER
from manycc.command.parse import parse
from manycc.errors import BackendRefused, NotDistributable
from manycc.inputs.includes import TAKES_PATH, VARIABLES, parse_searched
from manycc.job import Job
from manycc.reasons import Reason

MAX_KNOWN: Final = 1000


class Searched:
    """Asks once for each (compiler, language, options), and again when a folder has come that was not there."""

    def __init__(self, runs: LocalRuns) -> None:
        self._runs = runs
        self._known: dict[tuple[object, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}

    async def of(self, job: Job) -> tuple[str, ...]:
        """As the compiler spells them. Raises BackendRefused(NOT_EQUIVALENT) if it does not say."""
        toolchain = job.toolchain
        command = parse(job.argv, job.cwd, {}, None, kind=toolchain.kind)
        if command.language == ASSEMBLER:
            return ()
        language = command.language.removesuffix("cpp-output").removesuffix("-") or "c"
        place = job.cwd if any(map(TAKES_PATH.match, command.probe_args)) else ""
        key = (toolchain.fingerprint, toolchain.driver, language, command.probe_args, place)
        known = self._known.get(key)
        if known is None or any(map(os.path.isdir, known[1])):
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = await self._ask(job, language, command.probe_args)
        return known[0]

    async def _ask(self, job: Job, language: str, options: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        env = {name: value for name, value in job.env if name not in VARIABLES} | {"LC_ALL": "C"}
        arguments = [*options, "-x", language, "-E", "-v", os.devnull]
        try:
            ran = await self._runs.run(job.toolchain, arguments, job.cwd, env)
        except NotDistributable as error:
            raise BackendRefused(Reason.NOT_EQUIVALENT, str(error)) from error
        found = parse_searched(os.fsdecode(ran.said)) if ran.code == 0 else None
        if found is None:
            raise BackendRefused(Reason.NOT_EQUIVALENT, "the compiler here does not tell where it looks for headers")
        searched, absent = found
        base = job.cwd if any(not folder.startswith("/") for folder in absent) else ""
        return searched, tuple(os.path.join(base, folder) for folder in absent)
