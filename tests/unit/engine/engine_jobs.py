"""Jobs for an engine that is played, and the client that hands them to it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_fake import OBJECT, FakeEngine, operation

from manycc.backends.base import State
from manycc.engine.address import parse_engine
from manycc.engine.backend import EngineBackend
from manycc.engine.remembered import Remembered
from manycc.errors import BackendError
from manycc.job import FILE, Input, Inputs, Job, Toolchain, ToolFile
from manycc.reapi.remote_execution_pb2 import ActionResult
from manycc.toolchain.canaries import Canaries

TIMEOUT_S = 30.0


def an_input(path: Path, data: bytes) -> Input:
    path.write_bytes(data)
    return Input(FILE, str(path), hashlib.sha256(data).digest(), len(data))


def a_toolchain(folder: Path) -> Toolchain:
    tool = an_input(folder / "cc1", b"compiler")
    files = (ToolFile(tool.path, tool.digest, tool.size),)
    return Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", files, (), {})


def a_job(folder: Path, source: bytes = b"int a;\n", **fields: Any) -> Job:
    given: dict[str, Any] = {
        "argv": ("gcc", "-c", "a.c"),
        "cwd": str(folder),
        "env": (),
        "umask": 0o022,
        "toolchain": fields.pop("toolchain", None) or a_toolchain(folder),
        "inputs": Inputs([an_input(folder / "a.c", source)], "scan", True, False),
        "folders": (str(folder),),
        "outputs": (f"{folder}/a.o",),
        "stems": (),
        "source": "a.c",
        **fields,
    }
    return Job(**given)


@contextlib.asynccontextmanager
async def connected(
    engine: FakeEngine, folder: Path, options: str = "", job_s: float = TIMEOUT_S, silence_s: float = TIMEOUT_S
) -> AsyncIterator[EngineBackend]:
    async def compile_here(*_: object) -> bytes:
        return OBJECT

    address = parse_engine(f"reapi://127.0.0.1:{engine.port}/main{options}", 9999)
    canaries = Canaries(str(folder / "canaries"), compile_here)
    remembered = Remembered(str(folder / "engines.json"))
    backend = EngineBackend(address, 4, canaries, TIMEOUT_S, job_s, silence_s, remembered)
    try:
        await until(backend, lambda: backend.state in (State.READY, State.DOWN))
        yield backend
    finally:
        await backend.close()
        await canaries.close()


async def until(backend: EngineBackend, holds: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    end = backend.on_change(changed.set)
    backend.connect()
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await changed.wait()
            changed.clear()
    end()


def run(engine: FakeEngine, folder: Path, work: Callable[[EngineBackend], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        async with connected(engine, folder, **options) as backend:
            return await work(backend)

    return asyncio.run(main())


def fails(engine: FakeEngine, folder: Path, **options: Any) -> BackendError:
    """The error of a job, once the toolchain was proven. ``engine.on`` counts from then on."""
    changes, engine.on = engine.on, {}

    async def work(backend: EngineBackend) -> BackendError:
        job = a_job(folder)
        assert await backend.proof(job.toolchain) == ""
        engine.on = changes
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        return caught.value

    error = run(engine, folder, work, **options)
    assert isinstance(error, BackendError)
    return error


def altered(engine: FakeEngine, change: Callable[[ActionResult], None]) -> Callable[[Any, Any], Iterator[Any]]:
    def execute(request: Any, context: Any) -> Iterator[Any]:
        response = engine.result(request.action_digest.hash)
        change(response.result)
        yield operation("op", response)

    return execute
