"""An event loop that ends, whatever is under way in it.

When its coroutine is over, ``asyncio.run`` cancels all other tasks at once. Among them are those in which asyncio
itself connects the pipes of a program that is being started; whoever starts one at that moment then waits for ever for
its end. So the other tasks are ended first, while those go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

ENDING_S: Final = 10.0
"""For what is done in ``finally``."""
_ROUNDS: Final = 3

Result = TypeVar("Result")


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As ``asyncio.run``."""
    return asyncio.run(_run(main))


async def _run(main: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await main
    finally:
        for _ in range(_ROUNDS):  # what ends may begin something
            others = [task for task in asyncio.all_tasks() if not _stays(task)]
            if not others:
                break
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=ENDING_S)


def _stays(task: asyncio.Task[Any]) -> bool:
    """Whether a task is this one, or asyncio's own."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return task is asyncio.current_task() or name.startswith("BaseSubprocessTransport.")
