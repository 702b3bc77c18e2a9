"""The progress line at the bottom of a terminal, on a small model of one."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
from collections.abc import Iterator

import pytest

from manycc.cli.bottomline import BottomLine, usable

_CODE = re.compile(r"\x1b(?:7|8|\[([0-9;]*)([A-Za-z]))|[\r\n]|[^\x1b\r\n]")


class Screen:
    """A terminal that understands what the line, and a plain build, send."""

    def __init__(self, lines: int, columns: int) -> None:
        self.lines, self.columns = lines, columns
        self.cells = [""] * lines
        self.row = self.column = 0
        self.top, self.bottom = 0, lines - 1
        self.saved = (0, 0)

    def feed(self, text: str) -> None:
        for match in _CODE.finditer(text):
            code = match.group()
            if code == "\x1b7":
                self.saved = (self.row, self.column)
            elif code == "\x1b8":
                self.row, self.column = self.saved
            elif code == "\r":
                self.column = 0
            elif code == "\n":
                self.feed_line()
            elif code.startswith("\x1b"):
                self.control(match.group(2), match.group(1))
            else:
                assert self.column < self.columns - 1, "the last column would wrap"
                line = self.cells[self.row].ljust(self.column)
                self.cells[self.row] = line[: self.column] + code + line[self.column + 1 :]
                self.column += 1

    def feed_line(self) -> None:
        self.column = 0
        if self.row == self.bottom:
            self.cells.insert(self.bottom + 1, "")
            del self.cells[self.top]
        else:
            self.row = min(self.row + 1, self.lines - 1)

    def control(self, letter: str, numbers: str) -> None:
        if letter == "r":
            first, _, last = numbers.partition(";")
            self.top, self.bottom = int(first or 1) - 1, int(last or self.lines) - 1
            self.row = self.column = 0
        elif letter == "H":
            row, _, column = numbers.partition(";")
            self.row, self.column = int(row) - 1, int(column) - 1
        elif letter == "A":
            self.row = max(self.row - int(numbers), 0)
        elif letter == "K":
            self.cells[self.row] = ""
        else:
            assert letter == "m", letter


class Terminal:
    def __init__(self, lines: int, columns: int) -> None:
        self.master, self.fd = os.openpty()
        os.set_blocking(self.master, False)
        self.resize(lines, columns)
        self.screen = Screen(lines, columns)

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def look(self) -> list[str]:
        self.screen.feed(self.read())
        return self.screen.cells

    def read(self) -> str:
        data = b""
        try:
            while True:
                data += os.read(self.master, 65536)
        except BlockingIOError:
            # The terminal's own output processing makes \r\n of \n.
            return data.decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal(8, 40)
    yield terminal
    os.close(terminal.master)
    os.close(terminal.fd)


def test_the_build_scrolls_above_the_line(terminal: Terminal) -> None:
    line = BottomLine(terminal.fd)
    for number in range(20):
        os.write(terminal.fd, f"cc {number}\n".encode())
        line.show(f"{number} done")
    cells = terminal.look()
    assert cells[7] == "19 done"
    assert cells[:6] == [f"cc {number}" for number in range(14, 20)]
    line.close()
    os.write(terminal.fd, b"last\n")
    cells = terminal.look()
    assert "19 done" not in "".join(cells)
    assert [cell for cell in cells if cell][-2:] == ["cc 19", "last"]
    assert (terminal.screen.top, terminal.screen.bottom) == (0, 7)


def test_it_starts_well_on_the_last_line(terminal: Terminal) -> None:
    os.write(terminal.fd, b"x\n" * 12 + b"make: entering\n")
    line = BottomLine(terminal.fd)
    line.show("1 done")
    os.write(terminal.fd, b"cc 1\n")
    assert [cell for cell in terminal.look() if cell][-3:] == ["make: entering", "cc 1", "1 done"]
    line.close()


def test_what_is_shown_fits_and_controls_nothing(terminal: Terminal) -> None:
    line = BottomLine(terminal.fd)
    line.show("\x1b[2J" + "w" * 100)
    assert terminal.look()[7] == "\\x1b[2J" + "w" * 32
    line.close()


def test_a_terminal_that_shrinks_too_far_is_left_alone(terminal: Terminal) -> None:
    line = BottomLine(terminal.fd)
    line.show("hello")
    terminal.look()
    terminal.resize(3, 40)
    line.show("hello")
    assert terminal.read().endswith("\x1b[r\x1b8")
    line.show("hello")
    line.close()
    assert terminal.read() == ""


def test_no_terminal_is_no_line() -> None:
    reading, writing = os.pipe()
    try:
        line = BottomLine(writing)
        line.show("hello")
        line.close()
        assert line.columns() == 0
        assert not usable(writing, "xterm")
    finally:
        os.close(writing)
        assert os.read(reading, 100) == b""
        os.close(reading)


def test_a_dumb_terminal_is_not_used(terminal: Terminal) -> None:
    assert usable(terminal.fd, "xterm")
    assert not usable(terminal.fd, "dumb")
    assert not usable(terminal.fd, "")
