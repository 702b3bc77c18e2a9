"""One line at the bottom of the terminal, under whatever a build prints.

The terminal is told to scroll all lines but its last, so that the build's output and ours cannot
meet. Each change is a single write, hence whole even while the build writes too.
"""

from __future__ import annotations

import os
from typing import Final

from manycc.cli.output import clean

LEAST_LINES: Final = 5
LEAST_COLUMNS: Final = 20
_SAVE, _RESTORE = "\x1b7", "\x1b8"


class BottomLine:
    """Holds the last line of the terminal ``fd`` from its first ``show`` until ``close``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = (0, 0)

    def columns(self) -> int:
        """How many characters fit."""
        try:
            return os.get_terminal_size(self._fd).columns
        except OSError:
            return 0

    def show(self, text: str) -> None:
        """Put a text there. Does nothing on a terminal that is too small, or gone."""
        try:
            size = os.get_terminal_size(self._fd)
            if size.lines < LEAST_LINES or size.columns < LEAST_COLUMNS:
                self._release()
                return
            start = ""
            if self._size != (size.columns, size.lines):
                # A line feed first: if the cursor is on the last line, that line moves up.
                room = "\n" if self._size == (0, 0) else ""
                start = f"{room}{_SAVE}\x1b[1;{size.lines - 1}r{_RESTORE}" + ("\x1b[1A" if room else "")
                self._size = (size.columns, size.lines)
            line = clean(text)[: size.columns - 1]
            self._write(f"{start}{_SAVE}\x1b[{size.lines};1H\x1b[2K\x1b[2m{line}\x1b[0m{_RESTORE}")
        except OSError:
            self._size = (0, 0)

    def close(self) -> None:
        """Give the line back, empty."""
        try:
            self._release()
        except OSError:
            pass

    def _release(self) -> None:
        if self._size != (0, 0):
            lines = self._size[1]
            self._size = (0, 0)
            self._write(f"{_SAVE}\x1b[{lines};1H\x1b[2K\x1b[r{_RESTORE}")

    def _write(self, text: str) -> None:
        os.write(self._fd, text.encode("utf-8", "replace"))


def usable(fd: int, term: str) -> bool:
    """Whether the descriptor is a terminal that can do this."""
    return os.isatty(fd) and term not in ("", "dumb")
