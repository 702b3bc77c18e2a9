"""Files of ``KEY=VALUE`` lines, as ``/etc/default`` has them: read as a shell would, without one.

Words in quotes, backslashes and comments mean what they mean there. What a shell would compute
(``$VAR``, ``$(command)``, backquotes, two commands on a line) is an error rather than text: whoever wrote
it expects something else than its letters.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from manycc.errors import ConfigError

MAX_SIZE: Final = 1024 * 1024
_KEY: Final = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=")
_ESCAPED_IN_QUOTES: Final = '"\\$`'
_COMPUTED: Final = "$`"
_COMMANDS: Final = ";&|<>()"


class Value(NamedTuple):
    """A value, and the number of the line that gave it."""

    text: str
    line: int


def read(path: str) -> dict[str, Value]:
    """The values of a file by key; the last line of a key counts. Raises ConfigError; OSError if it is not there."""
    with open(path, "rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ConfigError(f"{path} cannot be read", "it is larger than 1 MiB")
    try:
        return parse(data.decode(), path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read", f"it is no text: {error}") from error


def parse(text: str, path: str) -> dict[str, Value]:
    """The values of a text; ``path`` is what to call it. Raises ConfigError naming the line."""
    values: dict[str, Value] = {}
    place, number = 0, 1
    while place < len(text):
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        line = text[place:end]
        if not line.strip() or line.lstrip().startswith("#"):
            place, number = end + 1, number + 1
            continue
        try:
            key = _KEY.match(line)
            if key is None:
                raise ValueError("this is no KEY=VALUE")
            value, stop = _value(text, place + key.end())
        except ValueError as error:
            raise ConfigError(
                f"{path}, line {number}: {_shown(line)}",
                str(error),
                'write KEY="VALUE", one on a line; # begins a comment',
            ) from None
        values[key.group(1)] = Value(value, number)
        number += text.count("\n", place, stop) + 1
        place = stop + 1
    return values


def _value(text: str, start: int) -> tuple[str, int]:
    """A value that begins at ``start``, and where its line ends. Raises ValueError."""
    value: list[str] = []
    quote = ""
    place = start
    while place < len(text):
        char = text[place]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                value.append(char)
        elif char == "\\" and place + 1 < len(text):
            place += 1
            if text[place] != "\n":  # a line that goes on
                keep = quote and text[place] not in _ESCAPED_IN_QUOTES
                value.append("\\" + text[place] if keep else text[place])
        elif char in _COMPUTED:
            raise ValueError(f"{char} would be computed by a shell; here values are plain text (write \\{char})")
        elif quote:
            if char == '"':
                quote = ""
            else:
                value.append(char)
        elif char in "'\"":
            quote = char
        elif char.isspace():
            return "".join(value), _end_of_line(text, place)
        elif char in _COMMANDS:
            raise ValueError(f"{char} would end the value in a shell; put the value in quotes")
        else:
            value.append(char)
        place += 1
    if quote:
        raise ValueError(f"the quote {quote} is not closed")
    return "".join(value), place


def _end_of_line(text: str, place: int) -> int:
    """Where the line ends that must hold nothing more but a comment. Raises ValueError."""
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    rest = text[place:end].strip()
    if rest and not rest.startswith("#"):
        raise ValueError("there is something after the value; put values with blanks in quotes")
    return end


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
