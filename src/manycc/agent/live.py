"""The jobs under way, for monitors."""

from __future__ import annotations

import time
from typing import Any

from manycc.job import Job


class LiveJob:
    """Where one job is now. ``phase`` is one of the names that records have: prepare, queue, remote, local."""

    __slots__ = ("_since", "compiler", "host", "job", "phase", "pid", "source")

    def __init__(self, pid: int, compiler: str) -> None:
        self.pid = pid
        self.compiler = compiler
        self.phase = "prepare"
        self.source = ""
        self.job: Job | None = None  # once it is prepared
        self.host = ""
        self._since = time.monotonic()

    def enter(self, phase: str, host: str = "") -> None:
        """The job has got to a phase."""
        self.phase = phase
        self.host = host

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pid": self.pid,
            "compiler": self.compiler,
            "phase": self.phase,
            "source": self.source,
            "host": self.host,
            "seconds": round(time.monotonic() - self._since, 3),
        }
