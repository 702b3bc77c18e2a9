"""What a way to run a job looks like to the scheduler.

A backend is one host: this machine, a manycc node, and whatever speaks another protocol. The agent
asks it for its slots and state, hands it a job, and gets an ``Outcome`` or a ``BackendError`` whose
reason goes into the job's record. A backend never retries elsewhere and never prints: that is the
agent's business.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from manycc.job import Job, Outcome, Toolchain


class State(Enum):
    """Whether a host can be given work."""

    IDLE = "idle"  # never asked yet: connects on first use
    CONNECTING = "connecting"
    READY = "ready"
    DOWN = "down"  # did not answer; retried in the background


class Verdict(NamedTuple):
    """What a host has said about a toolchain.

    ``refused``: the sentence why it does not serve it (now), "" if it does; ``way``: how it comes to serve it, as in
    ``Outcome``; ``sending``: while the toolchain is being sent there, the bytes sent and of how many.
    """

    label: str
    refused: str = ""
    way: str = ""
    sending: tuple[int, int] | None = None


class Backend(Protocol):
    """One host that can run jobs."""

    name: str
    """As the user wrote it, without the slot count: ``192.168.0.100:3636``."""

    @property
    def state(self) -> State:
        """Whether it can be given work."""

    @property
    def slots(self) -> int:
        """How many jobs at once: the user's ``/N``, else what the host offers; 0 while unknown."""

    @property
    def why(self) -> str:
        """A sentence about the state: empty when ready, else what is wrong."""

    def refusal(self, toolchain: Toolchain) -> str:
        """The sentence why this host cannot serve the toolchain; empty if it can or is not yet asked."""

    def connect(self) -> None:
        """Begin to connect, or to retry, in the background. Never blocks."""

    def retry(self) -> None:
        """A job is there, and the host is down: try again, unless that was done a moment ago."""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when state, slots or refusals change. Returns what ends the subscription."""

    async def prove(self, toolchain: Toolchain) -> str:
        """Ask whether the host can serve the toolchain: the refusal sentence, or empty. Cached."""

    async def run(self, job: Job) -> Outcome:
        """Run a job to its end. Cancelling the task cancels the job on the host.

        Raises BackendGone, BackendRefused, InputsChanged, BackendError.
        """

    async def close(self) -> None:
        """Give up all connections and background work."""
