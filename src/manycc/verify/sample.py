"""Which jobs that nodes answered are compiled here again, and what is kept of them until then.

Of each pair of host and toolchain the first job is taken and every N-th after it, so that a new node
is checked soon and none is left to chance. What waits is bounded; when it is too much, the oldest
samples go, and are counted.
"""

from __future__ import annotations

import functools
import time
from collections import deque
from typing import Any, Final

from manycc.agent.prepare import Prepared
from manycc.config import every
from manycc.job import Outcome
from manycc.verify.compare import Observed, observed
from manycc.wire.launcher import Request

MAX_WAITING: Final = 64
MAX_BYTES: Final = 32 * 1024 * 1024
"""Of outputs that are held in memory for samples that wait."""
MAX_PAIRS: Final = 10_000


class Sample:
    """One job that a node answered: all that is needed to do it again and to compare.

    ``done``: when the answer was accepted, seconds since the epoch. ``number``: the job's in its agent's life.
    """

    __slots__ = ("done", "host", "number", "prepared", "remote", "request", "size")

    def __init__(self, host: str, number: int, request: Request, prepared: Prepared, remote: Observed) -> None:
        if "LD_PRELOAD" in request.env:
            # What jobs may preload changes no byte (identity.py), but libfakeroot waits for its daemon, which is gone.
            env = {name: value for name, value in request.env.items() if name != "LD_PRELOAD"}
            request = request._replace(env=env)
        self.host = host
        self.number = number
        self.request = request
        self.prepared = prepared
        self.remote = remote
        self.done = time.time()
        self.size = len(remote.stdout) + len(remote.stderr) + sum(len(data) for _, data in remote.files.values())

    def record(self) -> dict[str, Any]:
        """What a verification record (``monitor/verifications.py``) says of the job itself."""
        toolchain = self.prepared.toolchain
        return {
            "host": self.host,
            "fingerprint": toolchain.fingerprint,
            "label": toolchain.label,
            "done": round(self.done, 3),
            "job": self.number,
            "run": self.request.env.get("MANYCC_RUN", ""),
            "cwd": self.request.cwd,
            "src": self.prepared.command.source,
            "out": self.prepared.command.output,
        }


class Sampler:
    """Chooses samples, and holds those that wait."""

    def __init__(self, rate: str) -> None:
        """``rate`` as ``config.rate`` has it; a job's own MANYCC_VERIFY goes before it."""
        self._every = every(rate)
        self._seen: dict[tuple[str, str], int] = {}
        self._waiting: deque[Sample] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, host: str, number: int, request: Request, prepared: Prepared, outcome: Outcome) -> Sample | None:
        """A sample of this job if it is its turn. Every job passes here: where nothing is verified, two look-ups."""
        text = request.env.get("MANYCC_VERIFY")
        wanted = self._every if text is None else _every(text, self._every)
        if not wanted:
            return None
        pair = (host, prepared.toolchain.fingerprint)
        seen = self._seen.get(pair, 0)
        if seen == 0 and len(self._seen) >= MAX_PAIRS:
            self._seen.clear()
        self._seen[pair] = seen + 1
        return None if seen % wanted else Sample(host, number, request, prepared, observed(outcome))

    def add(self, sample: Sample) -> list[Sample]:
        """Let a sample wait. Returns those for which there is no room any more, itself perhaps among them."""
        self._waiting.append(sample)
        self._bytes += sample.size
        dropped = []
        while len(self._waiting) > MAX_WAITING or self._bytes > MAX_BYTES:
            dropped.append(self.next())
        return dropped

    def next(self) -> Sample:
        """The oldest that waits, which waits no more. Raises IndexError if none does."""
        sample = self._waiting.popleft()
        self._bytes -= sample.size
        return sample


@functools.lru_cache(maxsize=64)
def _every(text: str, default: int) -> int:
    """The N that a job's environment asks for; ``default`` where it cannot be read, or is empty."""
    try:
        return every(text)
    except ValueError:
        return default
