"""Running crosstool-NG: its output line by line, nothing of it left behind when we end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Final

from manycc.errors import ToolchainError
from manycc.toolchain.crosstool.log import Log

QUIET_S: Final = 300.0
_MAX_LINE: Final = 1 << 16
_END_S: Final = 10.0


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    folder: str,
    log: Log,
    *,
    quiet_s: float = QUIET_S,
    limit_s: float | None = None,
) -> int:
    """Run a program to its end. Returns its exit code, as a shell gives it.

    Whoever ends us ends it, too, with all its children. Raises ToolchainError if it cannot be started, or takes longer
    than ``limit_s``.
    """
    try:
        process = subprocess.Popen(
            list(argv), env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ToolchainError(f"{argv[0]} cannot be run", error.strerror or str(error)) from error
    try:
        with _ended_by_signal():
            _follow(process, log, quiet_s, None if limit_s is None else time.monotonic() + limit_s)
            code = process.wait()
    except TimeoutError as error:
        raise ToolchainError(f"{' '.join(argv)} has not ended after {limit_s:g} s", "it was ended") from error
    finally:
        _end(process)
    return code if code >= 0 else 128 - code


def _follow(process: subprocess.Popen[bytes], log: Log, quiet_s: float, deadline: float | None) -> None:
    """Take down the output to its end. Raises TimeoutError."""
    assert process.stdout is not None  # noqa: S101 (it is a PIPE above)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = quiet_s if deadline is None else min(quiet_s, deadline - time.monotonic())
            if left <= 0:
                raise TimeoutError
            if not selector.select(left):
                if deadline is None:
                    log.quiet()
                continue
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                log.line(line.decode("utf-8", "replace"))
            if len(rest) > _MAX_LINE:
                rest = rest[-1024:]
    if rest:
        log.line(rest.decode("utf-8", "replace"))


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Let the signals that would end us at once end us in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the program and its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
    if process.stdout is not None:
        process.stdout.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
