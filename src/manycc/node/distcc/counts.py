"""What came of the jobs of agents and of distcc's clients, counted since the node's start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Requests by how they ended. ``longest_s`` is the longest job's time, ``longest`` what it compiled, and
    ``longest_compiler`` with what."""

    accepted: int = 0
    bad_requests: int = 0
    refused: int = 0
    compiled: int = 0
    compile_errors: int = 0
    timeouts: int = 0
    disconnects: int = 0
    others: int = 0
    longest_s: float = 0.0
    longest: str = ""
    longest_compiler: str = ""

    def ended(self, exit_code: int, seconds: float, compiler: str, source: str) -> None:
        """A compile came to its end, with this exit code."""
        if exit_code == 0:
            self.compiled += 1
        else:
            self.compile_errors += 1
        self.took(seconds, compiler, source)

    def took(self, seconds: float, compiler: str, source: str) -> None:
        """A job came to its end."""
        if seconds > self.longest_s:
            self.longest_s, self.longest, self.longest_compiler = seconds, source, compiler
