"""Messages of distcc's client: on stderr, or in the file that ``DISTCC_LOG`` names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

WARNING: Final = "Warning: "
ERROR: Final = "ERROR: "
INFO: Final = ""
MAX_TEXT: Final = 4000


class Log:
    """Where one process of the client writes its messages. Without a file, only what is wrong is shown."""

    def __init__(self, env: Mapping[str, str], cwd: str, pid: int, umask: int) -> None:
        self._path = os.path.join(cwd, env["DISTCC_LOG"]) if env.get("DISTCC_LOG") else ""
        self._verbose = env.get("DISTCC_VERBOSE") == "1"
        self._pid = pid
        self._umask = umask

    def say(self, level: str, text: str) -> bytes:
        """Write a message. Returns what belongs on stderr, mostly nothing."""
        line = self._line(level, text)
        if not self._path:
            return line if level or self._verbose else b""
        try:
            # What this leads to may be a FIFO that nobody reads, and the agent must not wait.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            log = os.open(self._path, flags, 0o666 & ~self._umask)
            try:
                os.write(log, line)
            finally:
                os.close(log)
            return b""
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return self._line(ERROR, f"failed to open logfile {self._path}: {why}") + (line if level else b"")

    def _line(self, level: str, text: str) -> bytes:
        return f"distcc[{self._pid}] {level}{text[:MAX_TEXT]}\n".encode("utf-8", "surrogateescape")
