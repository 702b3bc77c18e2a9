"""Looking an argument up in the option table.

The drivers take the longest option name that an argument begins with; so does this. What was found for
an argument is remembered, since the commands of a build repeat the same few dozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from manycc.command.drivers import CLANG, GCC
from manycc.command.names import F_NAMES, M_NAMES
from manycc.command.options import OPTIONS, Action, Attach, Effect, Option

_REMEMBERED: Final = 8192


class Match(NamedTuple):
    """An argument's row and its joined value; ``value`` is None where the next argument is the value."""

    option: Option
    value: str | None


class Table:
    """The rows that one kind of compiler has."""

    def __init__(self, kind: str) -> None:
        self._whole: dict[str, Option] = {}
        self._beginnings: dict[str, Option] = {}
        for option in OPTIONS:
            if option.only and option.only != kind:
                continue
            if option.attach is not Attach.JOINED:
                self._whole[option.name] = option
            if option.attach in (Attach.JOINED, Attach.EITHER, Attach.JOINED_OR_NONE):
                self._beginnings[option.name] = option
        self._longest = max(map(len, self._beginnings))
        self._found: dict[str, Match] = {}

    def find(self, argument: str) -> Match | None:
        """The row of an argument that begins with ``-``; None if the option is unknown."""
        match = self._found.get(argument)
        if match is None:
            match = self._look_up(argument)
            if match is not None:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[argument] = match
        return match

    def _look_up(self, argument: str) -> Match | None:
        option = self._whole.get(argument)
        if option is not None:
            with_value = option.attach in (Attach.SEPARATE, Attach.EITHER)
            return Match(option, None if with_value else "")
        if _is_named(argument):
            return Match(_NAMED, "")
        for length in range(min(len(argument), self._longest), 1, -1):
            option = self._beginnings.get(argument[:length])
            if option is not None:
                return Match(option, argument[length:])
        return None


_NAMED: Final = Option("", effect=Effect.CODE, action=Action.NOTHING)


def _is_named(argument: str) -> bool:
    """Whether an argument is one of the -f and -m options that are known by name alone."""
    family = argument[:2]
    if family == "-f":
        names = F_NAMES
    elif family == "-m":
        names = M_NAMES
    else:
        return False
    name, equals, _ = argument[2:].partition("=")
    name += equals
    return name in names or (name.startswith("no-") and name[3:] in names)


TABLES: Final = {GCC: Table(GCC), CLANG: Table(CLANG)}


def options_of(argv: Sequence[str], kind: str) -> Iterator[tuple[Option, list[str], str]]:
    """Each option of a command that was read before, with its words and its value. Unknown ones are left out."""
    find = TABLES[kind].find
    at = 1
    while at < len(argv):
        here = at
        argument = argv[at]
        at += 1
        if argument[:1] != "-" or argument == "-":
            continue
        if argument == "--":
            return
        match = find(argument)
        if match is None:
            continue
        option, value = match
        if value is None:
            value = argv[at]
            at += 1
        yield option, list(argv[here:at]), value
