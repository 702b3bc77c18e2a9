"""What the compiler's ``-M`` said about jobs, remembered.

An answer holds as long as all inputs of the job, found with its help, are what they were: the same files,
links and folders with the same content. So it is kept with one digest over them all, its *state*.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from manycc.inputs.shelf import Shelves

SHELF: Final = "opened"
_MAX_REMEMBERED: Final = 20_000


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

    def get(self, key: bytes) -> Opened | None:
        """The last answer."""
        known = self._known.get(key)
        if known is None and self._shelves is not None:
            stored = self._shelves.get(SHELF, key)
            if stored is not None:
                fields: Any = msgpack.unpackb(stored, unicode_errors="surrogateescape", use_list=False)
                known = self._known[key] = Opened(*fields)
        return known

    def keep(self, key: bytes, answer: Opened) -> None:
        """Remember an answer."""
        if len(self._known) >= _MAX_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = answer
        if self._shelves is not None:
            self._shelves.put(SHELF, key, msgpack.packb(tuple(answer), unicode_errors="surrogateescape"))
