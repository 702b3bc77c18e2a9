"""Asking hosts whether they serve a toolchain, or can do a job: once at a time for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from manycc.errors import BackendError
from manycc.job import Job, Toolchain
from manycc.schedule.host import Host


class Proving:
    """What is being asked. ``answered`` is called with the host, and whether it was asked about a job."""

    def __init__(self, answered: Callable[[Host, bool], None]) -> None:
        self._answered = answered
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}

    def begin(self, host: Host, toolchain: Toolchain, job: Job | None = None) -> None:
        """Ask, unless that is being done."""
        key = (host.name, toolchain.fingerprint, toolchain.driver, *(job.argv if job is not None else ()))
        if key not in self._tasks:
            task = asyncio.get_running_loop().create_task(self._ask(host, toolchain, job))
            self._tasks[key] = task
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _ask(self, host: Host, toolchain: Toolchain, job: Job | None) -> None:
        try:
            await (host.backend.prove(toolchain) if job is None else host.backend.prove_job(job))
        except BackendError:
            pass  # the backend is down and says so in its state
        self._answered(host, job is not None)
