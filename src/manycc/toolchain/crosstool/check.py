"""Did crosstool-NG take every line? ``ct-ng defconfig`` silently drops what it cannot satisfy.

A line is taken if .config says the same. And since both files are run by a shell, a recipe is looked at before: it may
only set values, and refer to crosstool-NG's own folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from manycc.errors import ConfigError, shown

MAX_RECIPE: Final = 256 * 1024

_set: Final = re.compile(r'(CT_\w+)=(y|m|n|-?\d+|0x[0-9a-fA-F]+|"(?:[^"\\`$]|\$\{(?:CT_\w+|HOME)\})*")', re.ASCII)
_unset: Final = re.compile(r"# (CT_\w+) is not set", re.ASCII)
_array: Final = re.compile(r'"(?:--?[\w.,:+@/=%^-]+(?: --?[\w.,:+@/=%^-]+)*)?"', re.ASCII)

_COMMANDS: Final = ("_DEVEL_BOOTSTRAP", "_CONFIG_SHELL")
"""Endings of symbols that hold a command."""

Values = dict[str, str | None]
"""By symbol, what stands behind the "="; None for "is not set"."""


class Dropped(NamedTuple):
    """A line that was not taken. ``got`` is None for "is not set"; ``instead`` is another of the same choice."""

    symbol: str
    wanted: str | None
    got: str | None
    instead: str

    def __str__(self) -> str:
        wanted = _line(self.symbol, self.wanted)
        if self.instead:
            return f"{wanted} became {self.instead}=y"
        return f"{wanted} became {_line(self.symbol, self.got)}"


def values_of(text: str) -> Values:
    """What a .config says; lines that are none of its own are passed over."""
    values: Values = {}
    for line in text.splitlines():
        if unset := _unset.fullmatch(line):
            values[unset[1]] = None
        elif line.startswith("CT_"):
            symbol, equals, value = line.partition("=")
            if equals:
                values[symbol] = value
    return values


def recipe_values(text: str, name: str) -> Values:
    """What a recipe says, if it is fit to be run by a shell; ``name`` is the file's. Raises ConfigError."""
    if len(text) > MAX_RECIPE:
        raise ConfigError(f"{name} is too long for a recipe")
    values: Values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if unset := _unset.fullmatch(line):
            values[unset[1]] = None
        elif setting := _set.fullmatch(line):
            symbol, value = setting[1], setting[2]
            if symbol.endswith("_ARRAY") and not _array.fullmatch(value):
                raise ConfigError(f"{name}, line {number}: {symbol} may only hold options, separated by blanks")
            if symbol.endswith(_COMMANDS):
                raise ConfigError(f"{name}, line {number}: {symbol} is a command, which a recipe may not give")
            values[symbol] = None if value == "n" else value
        elif line.strip() and not line.startswith("#"):
            raise ConfigError(
                f"{name}, line {number}: {shown(line)} is no line of a recipe",
                'CT_NAME=y, CT_NAME="text", "# CT_NAME is not set" and comments are',
                "make one by manycc toolchain recipe --for-client -o FILE",
            )
    if not values:
        raise ConfigError(
            f"{name} has no line of a recipe", "", "make one by manycc toolchain recipe --for-client -o FILE"
        )
    return values


def dropped(wanted: Mapping[str, str | None], got: Mapping[str, str | None]) -> list[Dropped]:
    """The lines that are not in effect, in the recipe's order."""
    lost = []
    for symbol, value in wanted.items():
        if got.get(symbol) != value:
            lost.append(Dropped(symbol, value, got.get(symbol), _instead(symbol, got) if value == "y" else ""))
    return lost


def _instead(symbol: str, got: Mapping[str, str | None]) -> str:
    """Of a version that was not taken, the one that was."""
    family, version, _ = symbol.partition("_V_")
    if not version:
        return ""
    return next((name for name, value in got.items() if value == "y" and name.startswith(family + "_V_")), "")


def _line(symbol: str, value: str | None) -> str:
    return f"{symbol} is not set" if value is None else f"{symbol}={value}"
