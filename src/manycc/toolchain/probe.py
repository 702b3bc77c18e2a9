"""Asking a compiler about itself: short runs, bounded in time and output, in a clean environment."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from manycc.command.drivers import is_zig, private_cache
from manycc.errors import CompilerError

TIME_LIMIT: Final = 30.0
"""Seconds for one question. A compiler under emulation on a loaded machine needs a few."""

CWD: Final = "/"
"""Where questions are asked."""

MAX_OUTPUT: Final = 8 * 1024 * 1024

_KILL_LIMIT: Final = 5.0
_PARALLEL: Final = 4


class Answer(NamedTuple):
    """What a run came to. Texts decoded with surrogate escapes."""

    code: int
    stdout: str
    stderr: str


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a probe: untranslated messages, the job's PATH and HOME, nothing else.

    HOME is kept because a clang may be built to look for a configuration file there.
    """
    kept = {name: env[name] for name in ("PATH", "HOME") if name in env}
    kept["LC_ALL"] = "C"
    return kept


async def run(argv: Sequence[str], env: Mapping[str, str], *, time_limit: float = TIME_LIMIT) -> Answer:
    """Run a program with no input and take down what it says.

    Raises CompilerError if it cannot be started, talks without end or exceeds ``time_limit`` seconds;
    it and its children are killed then, as they are when the task is cancelled.
    """
    if is_zig(argv[0]) and "ZIG_GLOBAL_CACHE_DIR" not in env:  # it does nothing without a cache
        with tempfile.TemporaryDirectory(prefix="manycc-", ignore_cleanup_errors=True) as folder:
            return await run(argv, {**env, **private_cache(folder)}, time_limit=time_limit)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=CWD,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CompilerError(f"{argv[0]} cannot be run", str(error)) from error
    assert process.stdout is not None and process.stderr is not None  # noqa: S101 (both are PIPE above)
    try:
        async with asyncio.timeout(time_limit):
            stdout, stderr = await asyncio.gather(_read(process, process.stdout), _read(process, process.stderr))
            code = await process.wait()
    except TimeoutError as error:
        raise CompilerError(f"{argv[0]} did not answer within {time_limit:g} s", " ".join(argv[1:])) from error
    finally:
        if process.returncode is None:
            _kill(process)
            try:
                # Reading to the end closes the pipes together with the process.
                await asyncio.wait_for(process.communicate(), _KILL_LIMIT)
            except TimeoutError:
                pass  # a grandchild that left the process group holds the pipes: its own affair
    if max(len(stdout), len(stderr)) > MAX_OUTPUT:
        raise CompilerError(f"{argv[0]} says more than can be an answer")
    return Answer(code, os.fsdecode(stdout), os.fsdecode(stderr))


async def run_all(commands: Sequence[Sequence[str]], env: Mapping[str, str]) -> list[Answer]:
    """The answers to several questions, in their order. Raises as ``run`` does."""
    gate = asyncio.Semaphore(_PARALLEL)  # hides the latency of starting, and is no load

    async def one(argv: Sequence[str]) -> Answer:
        async with gate:
            return await run(argv, env)

    results = await asyncio.gather(*map(one, commands), return_exceptions=True)
    answers: list[Answer] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        answers.append(result)
    return answers


async def _read(process: asyncio.subprocess.Process, stream: asyncio.StreamReader) -> bytes:
    """All that a stream says; a little over MAX_OUTPUT, and the end of the process, if it is more."""
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read(65536):
        if size <= MAX_OUTPUT:
            pieces.append(piece)
            size += len(piece)
            if size > MAX_OUTPUT:
                _kill(process)
    return b"".join(pieces)


def _kill(process: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
