"""Running the compiler here for hosts that cannot: preprocessing, and the canaries' local half.

What a run writes goes to memory without a name, so that nothing is left of one that is killed, and the
event loop has no part in it. How many run at once is bounded, and so is the memory that their results hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from manycc.command.stock import DEPFILE
from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.schedule.local import LocalSlots
from manycc.toolchain.identity import tool_path
from manycc.wire.pressing import Pressers

MAX_TEXT: Final = 128 * 1024**2
"""Bytes of one preprocessed source."""
MAX_SAID: Final = 8 * 1024**2
MAX_HELD: Final = 512 * 1024**2
"""Bytes of preprocessed sources that are on their way at the same time."""
USUAL_SLOTS: Final = 8
"""As many as distcc runs; more where there are more processors."""


@dataclass(slots=True)
class Ran:
    """What a run came to: exit code (negative: the signal), what it wrote and what it said."""

    code: int
    output: bytes
    said: bytes
    depfile: bytes


class LocalRuns:
    """Runs compilers here, a bounded number at a time. For one event loop."""

    def __init__(self, time_limit_s: float, total: int | None = None) -> None:
        self.slots = LocalSlots(total or max(USUAL_SLOTS, len(os.sched_getaffinity(0))))
        self.pressers = Pressers()
        self._time_limit_s = time_limit_s
        self._held = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def run(
        self,
        toolchain: Toolchain,
        arguments: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        *,
        output_option: str = "",
    ) -> Ran:
        """Run the compiler with a job's environment; what it writes to stdout is the output.

        With ``output_option`` ("-o") it is told to write there by name. DEPFILE in an argument is replaced by a
        name under which the depfile can be written. Cancelling kills it. Raises NotDistributable(PREPROCESS_FAILED)
        if it cannot be run, takes too long or writes too much.
        """
        await self.slots.acquire()
        try:
            return await self._run(toolchain, arguments, cwd, env, output_option)
        finally:
            self.slots.release()

    async def _run(
        self, toolchain: Toolchain, arguments: Sequence[str], cwd: str, env: Mapping[str, str], output_option: str
    ) -> Ran:
        variables = {"PATH": tool_path(toolchain), **env}
        with _unnamed() as output, _unnamed() as said, _unnamed() as depfile:
            words = [word.replace(DEPFILE, f"/dev/fd/{depfile}") for word in arguments]
            if output_option:
                words += [output_option, f"/dev/fd/{output}"]
            try:
                process = await asyncio.create_subprocess_exec(
                    toolchain.driver, *words, cwd=cwd, env=variables, start_new_session=True,
                    stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=said, pass_fds=(depfile, output),
                )  # fmt: skip
            except (OSError, ValueError) as error:
                raise _failed(f"{toolchain.driver}: {error}") from error
            try:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (MAX_TEXT, MAX_TEXT))
                async with asyncio.timeout(self._time_limit_s):
                    code = await process.wait()
            except TimeoutError:
                raise _failed(f"the preprocessor took more than {self._time_limit_s:g} s") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
            if code == -signal.SIGXFSZ or os.fstat(output).st_size >= MAX_TEXT:
                raise _failed(f"preprocessed it has more than {MAX_TEXT} bytes")
            return Ran(code, _content(output, MAX_TEXT), _content(said, MAX_SAID), _content(depfile, MAX_TEXT))

    async def close(self) -> None:
        """End what is kept running."""
        await self.pressers.close()

    @contextlib.asynccontextmanager
    async def holding(self, size: int) -> AsyncIterator[None]:
        """Wait until so many more bytes may be held in memory, and hold them."""
        while self._held and self._held + size > MAX_HELD:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(waiting)
            await waiting
        self._held += size
        try:
            yield
        finally:
            self._held -= size
            while self._line:
                waiting = self._line.popleft()
                if not waiting.done():
                    waiting.set_result(None)


@contextlib.contextmanager
def _unnamed() -> Iterator[int]:
    fd = os.memfd_create("manycc", os.MFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _content(fd: int, limit: int) -> bytes:
    size = min(os.fstat(fd).st_size, limit)
    return os.pread(fd, size, 0) if size else b""


def _failed(why: str) -> NotDistributable:
    return NotDistributable(Reason.PREPROCESS_FAILED, why)
