"""Objects of another kind than was expected: which host is to blame, and which source asks for them.

What is expected of an object is learned from a small file under the same options. Assembly within a source may
choose another processor (``.arch``, ``.fpu``), and then the object's attributes differ although its host is sound. So
such an object is refused, and what the compiler here then writes decides: the same kind is accepted for this source
from then on; another one is held against the host. An object for another machine is held against it at once.
"""

from __future__ import annotations

import logging
import os
from typing import Final, NamedTuple

from manycc.job import Job
from manycc.schedule.pool import Host
from manycc.toolchain.objectcheck import Expected, ObjectKind, kind_of, may_be_the_sources

log = logging.getLogger(__name__)

MAX_KNOWN: Final = 10_000
MAX_READ: Final = 512 * 1024 * 1024


class _Doubt(NamedTuple):
    host: Host
    source: str
    output: str
    expected: Expected
    sent: ObjectKind | None
    sentence: str


class Doubts:
    """What is known of such sources, and what waits for the compiler here. For one event loop."""

    def __init__(self) -> None:
        self._open: dict[int, _Doubt] = {}
        self._known: dict[tuple[str, Expected], ObjectKind] = {}

    def expected(self, job: Job, expected: Expected | None) -> Expected | None:
        """The kind that a job's object must be of."""
        return None if expected is None else self._known.get((job.source, expected), expected)

    def refused(self, number: int, host: Host, job: Job, expected: Expected | None, data: bytes, sentence: str) -> None:
        """A host sent an object of another kind for the job of that number; it was not accepted."""
        if expected is None or not may_be_the_sources(data, expected):
            _blame(host, job.source, sentence)
            return
        self._open[number] = _Doubt(host, job.source, job.outputs[0], expected, kind_of(data), sentence)

    def settle(self, number: int) -> str:
        """The compiler here has done that job. A sentence if it cleared the host, else ""."""
        doubt = self._open.pop(number, None)
        if doubt is None:
            return ""
        here = _kind_of_file(doubt.output)
        if here is None:
            return ""  # it has failed: nobody knows
        if here != doubt.sent:
            _blame(doubt.host, doubt.source, doubt.sentence)
            return ""
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[doubt.source, doubt.expected] = here
        return "the compiler here wrote one of that kind, too: the source asks for it"

    def drop(self, number: int) -> None:
        """The job of that number is over, however it ended."""
        self._open.pop(number, None)


def _blame(host: Host, source: str, sentence: str) -> None:
    host.wrong += 1
    host.wrong_last = f"{os.path.basename(source)}: {sentence}"
    log.error("host %s returned a wrong object for %s: %s", host.backend.name, source, sentence)
    host.backend.distrust(sentence)


def _kind_of_file(path: str) -> ObjectKind | None:
    try:
        with open(path, "rb") as file:
            return kind_of(file.read(MAX_READ))
    except OSError:
        return None
