"""A node as a worker of BuildGrid: jobs through a real server and its PostgreSQL, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_client import Client, job, talk

from manycc.job import Job
from manycc.testing.buildgrid import BuildGrid
from manycc.testing.cluster import Node
from manycc.testing.requirements import need

need("gcc", "g++", "bwrap")
KEEPALIVE_S = 6


class Bed:
    """An engine and two workers."""

    def __init__(self, engine: BuildGrid, folder: Path) -> None:
        self.engine = engine
        self.workers = [Node(str(folder / f"worker{number}"), 2, ["--join", engine.url]) for number in (0, 1)]

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with BuildGrid(keepalive=KEEPALIVE_S) as engine:
        made = Bed(engine, tmp_path_factory.mktemp("w"))
        try:
            for worker in made.workers:
                worker.start()
            yield made
        finally:
            made.close()


def _local(argv: list[str], cwd: Path) -> tuple[bytes, bytes]:
    """The object and the messages of the compiler here."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    data = (cwd / "a.o").read_bytes()
    (cwd / "a.o").unlink()
    return data, done.stderr


def _small(folder: Path, name: str) -> tuple[Job, list[str]]:
    (folder / "inc").mkdir()
    (folder / "inc" / "a.h").write_text("#define NUMBER 42\n")
    (folder / f"{name}.c").write_text('#include "a.h"\nint f(void) { int unused; return NUMBER; }\n')
    argv = ["gcc", "-g", "-O1", "-Wall", "-Iinc", "-c", f"{name}.c", "-o", "a.o"]
    inputs = [str(folder / f"{name}.c"), str(folder / "inc" / "a.h")]
    return job(argv, str(folder), inputs, [str(folder / "a.o")]), argv


def test_job(bed: Bed, tmp_path: Path) -> None:
    wanted, argv = _small(tmp_path, "small")
    expected, messages = _local(argv, tmp_path)

    async def conversation(client: Client) -> Any:
        result = await client.run(wanted)
        again = await client.executor.known_result(client.prepared(wanted))
        return result, await client.outputs(result), await client.text(result.stderr_digest), again

    result, outputs, text, again = talk(bed.engine.url, conversation)
    assert result.exit_code == 0
    assert outputs == {"a.o": expected}
    assert text == messages == result.stderr_raw
    assert result.output_files[0].node_properties.unix_mode.value == 0o644
    assert again.output_files == result.output_files
