"""What the compiler's ``-M`` said about jobs, remembered.

An answer holds as long as all inputs of the job, found with its help, are what they were: the same files,
links and folders with the same content. So it is kept with one digest over them all, its *state*.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from manycc.inputs.shelf import Shelves

SHELF: Final = "opened"
_MAX_NAMES: Final = 50_000
"""Names in all answers that are kept in memory, of 0.1 KB each; the database has the others."""


class Opened(NamedTuple):
    """The names that -M listed, as spelled, and the state of all inputs in which it did so."""

    names: tuple[str, ...]
    state: bytes


class OpenedMemory:
    """Answers by the job's key. ``asked`` counts how often a compiler was asked."""

    def __init__(self, shelves: Shelves | None) -> None:
        self.asked = 0
        self._shelves = shelves
        self._known: dict[bytes, Opened] = {}
        self._names = 0

    def get(self, key: bytes) -> Opened | None:
        """The last answer."""
        known = self._known.get(key)
        if known is None and self._shelves is not None:
            stored = self._shelves.get(SHELF, key)
            if stored is not None:
                fields: Any = msgpack.unpackb(stored, unicode_errors="surrogateescape", use_list=False)
                known = Opened(*fields)
                self._hold(key, known)
        return known

    def keep(self, key: bytes, answer: Opened) -> None:
        """Remember an answer."""
        self._hold(key, answer)
        if self._shelves is not None:
            self._shelves.put(SHELF, key, msgpack.packb(tuple(answer), unicode_errors="surrogateescape"))

    def _hold(self, key: bytes, answer: Opened) -> None:
        old = self._known.pop(key, None)
        self._names += len(answer.names) - (len(old.names) if old is not None else 0)
        self._known[key] = answer
        while self._names > _MAX_NAMES and len(self._known) > 1:
            self._names -= len(self._known.pop(next(iter(self._known))).names)
