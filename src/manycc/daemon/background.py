"""Becoming a daemon, and the file that says which process it is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Final

from manycc.errors import ManyccError

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


class Report:
    """What a daemon tells the process that started it, which waits for that and then ends."""

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    @property
    def awaited(self) -> bool:
        """Whether somebody still waits."""
        return self._fd >= 0

    def tell(self, text: str = "") -> None:
        """Why the daemon does not start; nothing if it does."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, text.encode("utf-8", "replace") + b"\n")
            os.close(self._fd)
            self._fd = -1


def detach(program: str, failed: int = 1) -> Report:
    """Go to the background. Returns there; here the process waits for the report, and ends with 0 or ``failed``."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with open(read, encoding="utf-8", errors="replace") as pipe:
            text = pipe.read()
        if text != "\n":
            print(f"{program}: {text.strip() or 'it ended at its start; see its log'}", file=sys.stderr)
        os._exit(0 if text == "\n" else failed)
    os.close(read)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    return Report(write)


class PidFile:
    """The file with the process number. It stays open: who started as root may not be able to open it later."""

    def __init__(self, path: str) -> None:
        """Raises ManyccError."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            os.write(self._fd, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise ManyccError(f"the pid file {path} cannot be written", error.strerror or "") from error

    def remove(self) -> None:
        """The process ends. Where the folder is not ours to remove from, the file is left empty."""
        try:
            os.unlink(self._path)
        except OSError:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)


def die_with_parent() -> None:
    """End when the process that started this one does. Raises ManyccError if it has ended."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise ManyccError("the process that started the node has ended")
