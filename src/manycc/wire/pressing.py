"""Compressing in processes of their own: the LZO library is slow, and holds the interpreter while it works.

python -m manycc.wire.pressing < FRAMES > FRAMES      (eight bytes of length, then so many bytes)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import IO, Final

from manycc.errors import WireError
from manycc.wire import distcc, lzo

SMALL: Final = 64 * 1024
"""Up to this many bytes it is done where it is asked for: to pass them on costs as much."""
MAX_PRESSERS: Final = 4
TIME_S: Final = 120.0
_LENGTH: Final = 8


class Pressers:
    """A few processes that compress, started when first needed. For one event loop."""

    def __init__(self, total: int | None = None) -> None:
        self._gate = asyncio.Semaphore(total or min(MAX_PRESSERS, len(os.sched_getaffinity(0))))
        self._idle: list[asyncio.subprocess.Process] = []

    async def compress(self, data: bytes) -> bytes:
        """One LZO block. Raises WireError."""
        if len(data) <= SMALL:
            return lzo.compress(data)
        async with self._gate, self._presser() as (reader, writer):
            try:
                async with asyncio.timeout(TIME_S):
                    writer.write(len(data).to_bytes(_LENGTH, "big"))
                    writer.write(data)
                    await writer.drain()
                    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
                    if not 0 < size <= distcc.MAX_BODY:
                        raise WireError("it cannot be compressed")
                    return await reader.readexactly(size)
            except (OSError, asyncio.IncompleteReadError) as error:  # a timeout is an OSError, too
                raise WireError("it cannot be compressed", str(error)) from error

    @contextlib.asynccontextmanager
    async def _presser(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        process = self._idle.pop() if self._idle else await self._start()
        assert process.stdout is not None and process.stdin is not None  # noqa: S101
        try:
            yield process.stdout, process.stdin
        except BaseException:
            await _end(process)  # it may be in the middle of something
            raise
        self._idle.append(process)

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "manycc.wire.pressing",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise WireError("it cannot be compressed", str(error)) from error

    async def close(self) -> None:
        """End them."""
        while self._idle:
            await _end(self._idle.pop())


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.communicate())


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Compress what comes until nothing more does. An answer of no bytes says that it cannot be done."""
    while len(head := source.read(_LENGTH)) == _LENGTH:
        data = source.read(int.from_bytes(head, "big"))
        try:
            block = lzo.compress(data)
        except WireError:
            block = b""
        sink.write(len(block).to_bytes(_LENGTH, "big") + block)
        sink.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
