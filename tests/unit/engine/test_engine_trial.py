"""The trial of an engine, done by this machine's own compiler: a worker that shows compiles its own files."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from manycc.engine.trial import OUTPUT, OWN, Trial
from manycc.job import Outcome, OutputFile, Toolchain
from manycc.reasons import Reason
from manycc.testing.requirements import need
from manycc.toolchain.canaries import Canaries


@pytest.mark.parametrize("name", ["gcc", "g++", "clang-14"])
def test_a_worker_that_shows_compiles_its_own_files_is_found_out(tmp_path: Path, name: str) -> None:
    need(name)
    assert all(Path(path).exists() for path in OWN)
    toolchain = Toolchain("f" * 64, f"/usr/bin/{name}", name[:5], "", "", name, (), (), {})

    async def compile_here(toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        made = tmp_path / "here.o"
        words = [toolchain.driver, *arguments, "-o", str(made)]
        await asyncio.to_thread(subprocess.run, words, cwd=folder, check=True)
        return made.read_bytes()

    trial = Trial(Canaries(str(tmp_path / "canaries"), compile_here))

    async def verdict(alone: bool) -> str:
        job = await trial.job(toolchain, alone)
        await asyncio.to_thread(subprocess.run, job.argv, cwd=job.cwd, check=True)
        made = OutputFile(job.outputs[0], 0o644, Path(job.cwd, OUTPUT).read_bytes(), b"")
        return await trial.verdict(toolchain, Outcome(Reason.REMOTE, "", 0, b"", b"", [made]))

    async def both() -> None:
        assert "files of their own" in await verdict(True)
        assert await verdict(False) == ""

    asyncio.run(both())
