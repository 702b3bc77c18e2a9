"""What shows an engine who asks: a bearer token from a file or from a command, and further headers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import time
from typing import Final

from manycc.engine.address import EngineAddress
from manycc.errors import BackendRefused
from manycc.reasons import Reason

KILL_S: Final = 5.0
COMMAND_S: Final = 30.0
"""How long a command may take to print a token."""
RENEW_S: Final = 300.0
LOOK_S: Final = 5.0
"""How often a token's file is looked at."""
MAX_TOKEN: Final = 64 * 1024

_TOKEN = re.compile(rb"[\x21-\x7e]+")

Metadata = tuple[tuple[str, str | bytes], ...]


class Credentials:
    """The metadata of every call. For one event loop."""

    def __init__(self, address: EngineAddress, always: Metadata = ()) -> None:
        self._address = address
        self._always: Metadata = (*address.headers, *always)
        self._current: Metadata = self._always
        self._read_at = float("-inf")
        self._state: tuple[int, int, int] | None = None
        self._taken = False  # there is a token, and the engine has not refused it
        self._lock = asyncio.Lock()

    def refused(self) -> None:
        """The engine did not take the token: get another one before the next call."""
        self._read_at = float("-inf")
        self._state = None
        self._taken = False

    async def metadata(self) -> Metadata:
        """What to send with a call. Raises BackendRefused if there is no token to be had."""
        address = self._address
        if not address.token_file and not address.token_command:
            return self._current
        age = time.monotonic() - self._read_at
        if age > (LOOK_S if address.token_file else RENEW_S):
            async with self._lock:
                if time.monotonic() - self._read_at >= age:  # nobody else has done it meanwhile
                    await self._renew()
        return self._current

    async def _renew(self) -> None:
        try:
            text = await (self._from_command() if self._address.token_command else asyncio.to_thread(self._from_file))
            if text is not None:
                self._current = (*self._always, ("authorization", f"Bearer {_checked(text)}"))
                self._taken = True
        except BackendRefused:
            if not self._taken:
                raise
            # A file is away for a moment while it is replaced: the token from before is good until it is refused.
            self._state = None
        self._read_at = time.monotonic()

    def _from_file(self) -> bytes | None:
        """None if the file is what it was."""
        path = self._address.token_file
        try:
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                status = os.fstat(file.fileno())
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                if state == self._state:
                    return None
                self._state = state
                return file.read(MAX_TOKEN + 1)
        except OSError as error:
            raise _refusal(f"the token file {path} cannot be read: {error.strerror}") from error

    async def _from_command(self) -> bytes:
        try:
            words = shlex.split(self._address.token_command)
            child = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise _refusal(f"the token command cannot be run: {error}") from error
        assert child.stdout is not None  # noqa: S101 - it was asked for
        code = None
        try:
            async with asyncio.timeout(COMMAND_S):
                text = await _to_the_end(child.stdout)
                code = await child.wait()
        except TimeoutError:
            raise _refusal(f"the token command gave no token within {COMMAND_S:.0f} s") from None
        finally:
            if code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                # asyncio sees the end of a process when its pipes are read to theirs; who left the group may hold one.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(child.communicate(), KILL_S)
        if code:
            raise _refusal(f"the token command failed (exit code {code})")
        return text


async def _to_the_end(stream: asyncio.StreamReader) -> bytes:
    """All that comes. Raises BackendRefused if that is more than a token may be."""
    try:
        await stream.readexactly(MAX_TOKEN + 1)
    except asyncio.IncompleteReadError as error:
        return error.partial
    raise _refusal(f"what was given as a token is longer than {MAX_TOKEN} bytes")


def _checked(text: bytes) -> str:
    """A token out of what was read. Raises BackendRefused."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None or len(text) > MAX_TOKEN:
        raise _refusal("what was given as a token is empty, or no token")
    return found[0].decode("ascii")


def _refusal(sentence: str) -> BackendRefused:
    return BackendRefused(Reason.NODE_REFUSED, sentence)
