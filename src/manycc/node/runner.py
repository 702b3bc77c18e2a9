"""What the two ways of running a job have in common: sealed, and in a mapped folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from manycc.node import machine
from manycc.node.admission import Plan
from manycc.node.options import NodeOptions
from manycc.node.outputs import Produced
from manycc.node.process import Child, Finished

COUNT_LASTS_S: Final = 5.0
LOOK_S: Final = 1.0
"""How often it is looked at how much a job has written; the kernel bounds each file, not all together."""

Keep = Callable[[Plan, Finished, list[Produced]], None]
"""Called with a result while its files still lie where the job wrote them."""


class Ran(NamedTuple):
    """A job that came to its own end. ``staged`` is the time spent on its folders, in seconds."""

    finished: Finished
    produced: list[Produced]
    staged: float


class Runner(Protocol):
    """A way to run jobs whose inputs are in the store."""

    async def run(self, plan: Plan, keep: Keep) -> Ran:
        """Run a job. When this is over, also by being cancelled, no process of it is left.

        Raises BlobMissing, BackendRefused, StoreFull, OSError.
        """

    def reconfigure(self, options: NodeOptions) -> None:
        """Bound the jobs that start from now on by these options."""

    def close(self) -> None:
        """Remove what is kept for later jobs. None may be under way."""


class ProcessLimit:
    """How many processes a job's user may have. The kernel counts all of a user's, not those of a job."""

    def __init__(self, options: NodeOptions) -> None:
        self._room = options.job_processes * (options.slots + 1)
        self._present = 0
        self._counted = -COUNT_LASTS_S

    def now(self) -> int:
        """Those that are there, and those that jobs may add."""
        now = time.monotonic()
        user = os.geteuid()
        if user and now - self._counted > COUNT_LASTS_S:  # root's processes are not bounded by the kernel
            self._counted = now
            self._present = machine.processes_of_user(user)
        return self._present + self._room


def time_limit(options: NodeOptions) -> float:
    """Seconds after which a job is killed, whatever it does; its CPU time is bounded by the kernel."""
    most = 60.0 + 4.0 * options.job_time
    return min(most, float(options.job_lifetime)) if options.job_lifetime else most


def output_limit(options: NodeOptions) -> int:
    """Bytes that all files of a job together may have."""
    return 2 * options.job_output


async def finish(child: Child, written: Callable[[], int], limit: int) -> Finished:
    """Wait for a child's end. Being cancelled kills it, and is over when it is gone.

    ``written`` tells how many bytes the job has written; beyond ``limit`` it is killed.
    """
    try:
        while not child.finished.done():
            await asyncio.wait([child.finished], timeout=LOOK_S)
            if not child.finished.done() and written() > limit:
                child.kill("disk")
        return child.finished.result()
    except asyncio.CancelledError:
        child.kill("cancel")
        while not child.finished.done():
            # What is left of the job must be gone before its folders and its slot are given back.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(child.finished)
        raise
