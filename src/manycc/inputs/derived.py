"""What is worked out from facts, and how it is forgotten when a fact changes.

Resolving a thousand names in twenty folders is slow; doing it again because one header was edited is a
waste. So each result keeps its place in a graph: a fact (an answer of a folder, the content of a file)
lists the results that rest on it, and a result lists those that rest on it in turn. A changed fact makes
exactly these invalid; they are worked out again, in place, when next asked for.
"""

from __future__ import annotations

from typing import ClassVar


class Derived:
    """A result. ``valid`` is false until it is worked out, and again when something below it changed."""

    __slots__ = ("dependents", "valid")

    forgotten: ClassVar[int] = 0
    """How many results became invalid because a fact changed: as long as it stays, none did."""

    def __init__(self) -> None:
        self.valid = False
        self.dependents: list[Derived] = []


def forget(dependents: list[Derived]) -> None:
    """Make all results in the list invalid, and what rests on them; empties the list."""
    pending = dependents[:]
    dependents.clear()
    while pending:
        result = pending.pop()
        if result.valid:  # an invalid one has passed the word on already
            result.valid = False
            Derived.forgotten += 1
            pending += result.dependents
            result.dependents.clear()


def still_valid(dependents: list[Derived]) -> list[Derived]:
    """Those worth telling: an invalid result registers itself again when it is worked out anew."""
    return [result for result in dict.fromkeys(dependents) if result.valid]
