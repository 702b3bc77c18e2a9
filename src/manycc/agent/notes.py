"""What an agent has under way, noted so that the next one can see to it if this one is killed.

Each agent has a file of its own in the runtime folder, ``NAME.PID``, locked for as long as it lives: an agent
that still finishes its last jobs keeps its notes while a successor begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import os


class Note:
    """This agent's file ``NAME.PID``. Made while the lock is held that makes this agent the only one to start."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = os.path.join(folder, f"{name}.{os.getpid()}")
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def add(self, data: bytes) -> None:
        """Append. Raises OSError."""
        os.write(self._fd, data)

    def clear(self) -> None:
        """Nothing is under way. Raises OSError."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """The agent ends in order."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def take_over(folder: str, name: str, bound: int) -> list[bytes]:
    """The notes of that name that dead agents left, each cut at ``bound`` bytes; they are removed."""
    found: list[bytes] = []
    with contextlib.suppress(OSError):
        for entry in os.listdir(folder):
            if entry.startswith(f"{name}."):
                found += _take(os.path.join(folder, entry), bound)
    return found


def _take(path: str, bound: int) -> list[bytes]:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held: its agent lives
        data = file.read(bound)
        os.unlink(path)
        return [data]
    return []
