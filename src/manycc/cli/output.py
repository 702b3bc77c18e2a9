"""What all verbs print with: text made safe for a terminal, JSON, tables.

Sentences come from nodes and paths from file systems, so control characters are shown, never sent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from manycc.errors import ManyccError


def prepare_streams() -> None:
    """Let any text be printed, whatever the terminal's encoding: what does not fit is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def clean(text: str) -> str:
    """The text with control characters (and bytes that are not UTF-8) as escapes, on one line."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def say(text: str = "", file: TextIO | None = None) -> None:
    """Print one line, made safe."""
    print(clean(text), file=sys.stdout if file is None else file)


def complain(error: ManyccError, program: str = "manycc") -> None:
    """Tell a person what happened, why, and what to do."""
    say(f"{program}: {error.what}" + (f": {error.why}" if error.why else ""), sys.stderr)
    if error.hint:
        say(f"  hint: {error.hint}", sys.stderr)


def print_json(value: Any) -> None:
    """Print JSON for programs: ASCII, two spaces."""
    print(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = frozenset()) -> None:
    """Draw a table; the columns named in ``right`` are set flush right.

    On a terminal cells wrap to its width; elsewhere each row stays one line, for grep and awk.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", no_wrap=not terminal)
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    Console(file=sys.stdout, highlight=False, width=None if terminal else 10_000).print(table)
