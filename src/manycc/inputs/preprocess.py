"""Asking the compiler itself: which files does this job open?

``-M`` preprocesses, so that it costs as much as the first part of a compile. It is the answer to computed
includes that cannot be read off the text.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.reasons import Reason

_TIMEOUT_S: Final = 60.0
_MAX_OUTPUT: Final = 16 << 20
_PIECE: Final = 1 << 16
_DROPPED_VARIABLES: Final = ("DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "LANGUAGE")
_WITH_VALUE: Final = frozenset(("-o", "-MF", "-MT", "-MQ", "-MJ", "-dumpbase", "-dumpdir", "-dumpbase-ext", "--output"))
_JOINED: Final = ("-o", "-MF", "-MT", "-MQ", "-MJ", "-Wp,-M", "-save-temps", "-fdump-", "-ftime-trace", "--output")
_ALONE: Final = frozenset(
    ("-c", "-S", "-E", "-M", "-MM", "-MD", "-MMD", "-MP", "-MG", "-MV", "-H", "-v", "--verbose",
     "--compile", "--assemble", "-ftime-report", "--write-dependencies", "--write-user-dependencies",
     "--user-dependencies", "--dependencies")
)  # fmt: skip
_TARGET: Final = "manycc-target"


async def opened_files(toolchain: Toolchain, argv: Sequence[str], cwd: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Names, as the compiler spells them, of all files that preprocessing this command opens.

    Raises NotDistributable(INPUTS_UNKNOWN) if it fails.
    """
    arguments = dependency_arguments(argv[1:])
    if toolchain.kind == "gcc":
        arguments.append("-fno-canonical-system-headers")  # spelled as looked up, so that links are seen
    code, stdout, stderr = await run_compiler(toolchain.driver, arguments, cwd, env, _TIMEOUT_S, _MAX_OUTPUT)
    names = parse_dependencies(os.fsdecode(stdout)) if code == 0 else None
    if names is None:
        detail = next((line for line in os.fsdecode(stderr).splitlines() if "error" in line), "no answer to -M")
        raise NotDistributable(Reason.INPUTS_UNKNOWN, detail[:300])
    return names


def dependency_arguments(arguments: Sequence[str]) -> list[str]:
    """A compile's arguments, made to list dependencies on standard output and to write nothing else."""
    kept: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        if argument in _WITH_VALUE:
            next(pending, None)
        elif argument == "-Xpreprocessor":
            value = next(pending, "")
            if not value.startswith("-M"):
                kept += [argument, value]
            elif value in _WITH_VALUE or value in ("-MD", "-MMD"):
                next(pending, None)
                next(pending, None)
        elif argument not in _ALONE and not argument.startswith(_JOINED):
            kept.append(argument)
    return [*kept, "-M", "-MT", _TARGET, "-w"]


def parse_dependencies(text: str) -> tuple[str, ...] | None:
    """The names behind the target of a make rule; None if there is no rule.

    Undoes the compilers' quoting: ``\\ `` (with the backslashes before it doubled), ``\\#``, ``$$``.
    """
    head, colon, rest = text.partition(f"{_TARGET}:")
    if not colon or head.strip():
        return None
    rest = rest.replace("\\\r\n", " ").replace("\\\n", " ")
    names: dict[str, None] = {}
    name: list[str] = []
    at = 0
    size = len(rest)
    while at < size:
        char = rest[at]
        at += 1
        if char == "\n":
            break  # the end of the rule
        if char in " \t":
            if name:
                names["".join(name)] = None
                name.clear()
        elif char == "$" and rest[at : at + 1] == "$":
            name.append("$")
            at += 1
        elif char == "\\":
            run = 1
            while rest[at : at + 1] == "\\":
                run += 1
                at += 1
            following = rest[at : at + 1]
            if following == "#":
                name.append("\\" * (run - 1) + following)
                at += 1
            elif following in (" ", "\t") and run % 2:
                name.append("\\" * (run // 2) + following)
                at += 1
            else:
                name.append("\\" * run)
        else:
            name.append(char)
    if name:
        names["".join(name)] = None
    return tuple(names)


async def run_compiler(
    driver: str, arguments: Sequence[str], cwd: str, env: Mapping[str, str], timeout_s: float, max_output: int
) -> tuple[int, bytes, bytes]:
    """Run the compiler in the job's place: (exit code, standard output, standard error), each bounded.

    A run over its time or output counts as failed. Nothing of it outlives the call. Raises
    NotDistributable(INPUTS_UNKNOWN) if it cannot be started.
    """
    variables = {name: value for name, value in env.items() if name not in _DROPPED_VARIABLES}
    variables["LC_ALL"] = "C"
    try:
        process = await asyncio.create_subprocess_exec(
            driver, *arguments, cwd=cwd, env=variables, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NotDistributable(Reason.INPUTS_UNKNOWN, f"{driver}: {error}") from error
    assert process.stdout is not None and process.stderr is not None  # noqa: S101
    failed = False

    def kill() -> None:
        nonlocal failed
        failed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = asyncio.get_running_loop().call_later(timeout_s, kill)
    streams = (process.stdout, process.stderr)
    try:
        stdout, stderr = await asyncio.gather(*[_read_bounded(stream, max_output, kill) for stream in streams])
        code = await process.wait()
    finally:
        timer.cancel()
        if process.returncode is None:
            kill()
            await asyncio.gather(*[_read_bounded(stream, 0, kill) for stream in streams])
            await process.wait()
    if failed:
        return -1, b"", b"error: the compiler did not end in time, or said too much"
    return code, stdout, stderr


async def _read_bounded(stream: asyncio.StreamReader, limit: int, exceeded: Callable[[], None]) -> bytes:
    """All of a stream; what is over the limit is thrown away, and ``exceeded`` called."""
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read(_PIECE):
        size += len(piece)
        if size <= limit:
            pieces.append(piece)
        else:
            exceeded()
    return b"".join(pieces)
