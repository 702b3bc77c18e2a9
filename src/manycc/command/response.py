"""Response files: ``@file`` stands for the arguments in the file.

gcc and clang read them alike but for backslashes between quotes, which newer releases of gcc take as a
POSIX shell does and older ones as an escape everywhere. Where the two readings differ the job is left
to the compiler itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.reasons import Reason

MAX_DEPTH: Final = 16
MAX_BYTES: Final = 1024 * 1024
MAX_ARGUMENTS: Final = 16384

_BLANKS: Final = " \t\n\r"
_WORD: Final = re.compile(f"[^{_BLANKS}]+")
# Only some of the compilers hold these for blanks, or for the end of the text.
_DISPUTED: Final = ("\v", "\f", "\0", "\ufeff", "\x1a")

ReadFile = Callable[[str], bytes]


def expand(arguments: Sequence[str], cwd: str, read_file: ReadFile | None) -> list[str]:
    """Replace each ``@file`` by the arguments in it, nested ones too.

    A file that cannot be read leaves its argument as it is, as the compilers do. ``read_file`` gets an
    absolute path and gives bytes or raises OSError; None refuses every ``@file``.

    Raises NotDistributable: LOCAL_OPTION if refused, over a bound, or read differently by different compilers.
    """
    expanded: list[str] = []
    _Expansion(cwd, read_file, expanded).add(arguments, 0)
    return expanded


class _Expansion:
    def __init__(self, cwd: str, read_file: ReadFile | None, into: list[str]) -> None:
        self._cwd = cwd
        self._read_file = read_file
        self._into = into
        self._bytes = 0

    def add(self, arguments: Sequence[str], depth: int) -> None:
        for argument in arguments:
            if argument.startswith("@"):
                nested = self._read(argument, depth)
                if nested is not None:
                    self.add(nested, depth + 1)
                    continue
            self._into.append(argument)
        if len(self._into) > MAX_ARGUMENTS:
            raise NotDistributable(Reason.LOCAL_OPTION, f"more than {MAX_ARGUMENTS} arguments")

    def _read(self, argument: str, depth: int) -> list[str] | None:
        if self._read_file is None or depth >= MAX_DEPTH:
            raise NotDistributable(Reason.LOCAL_OPTION, argument)
        try:
            data = self._read_file(os.path.join(self._cwd, argument[1:]))
        except OSError:
            return None
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise NotDistributable(Reason.LOCAL_OPTION, f"{argument} holds more than {MAX_BYTES} bytes")
        words = split(os.fsdecode(data))
        if words is None:
            raise NotDistributable(Reason.LOCAL_OPTION, f"{argument} is read differently by different compilers")
        return words


def split(text: str) -> list[str] | None:
    """The arguments in a response file's text; None if compilers disagree about them.

    Blanks separate; single or double quotes hold blanks; outside quotes a backslash takes the next
    character as it is.
    """
    for character in _DISPUTED:
        if character in text:
            return None
    if "\\" not in text and '"' not in text and "'" not in text:
        return _WORD.findall(text)
    words: list[str] = []
    word: list[str] = []
    inside = False  # a word has begun, if only with an empty pair of quotes
    quote = ""
    at, end = 0, len(text)
    while at < end:
        character = text[at]
        at += 1
        if character == "\\":
            following = text[at : at + 1]
            if not following or following == "\n" or quote == "'" or (quote and following not in '"\\$`'):
                return None
            word.append(following)
            inside = True
            at += 1
        elif quote:
            if character == quote:
                quote = ""
            else:
                word.append(character)
        elif character in "\"'":
            quote = character
            inside = True
        elif character in _BLANKS:
            if inside:
                words.append("".join(word))
                word.clear()
                inside = False
        else:
            word.append(character)
            inside = True
    if quote:
        return None
    if inside:
        words.append("".join(word))
    return words
