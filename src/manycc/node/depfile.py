"""Depfiles as gcc writes them: what they name, and how they would look without a prefix.

gcc breaks the lines so that none is longer than 72 columns where that can be helped, which depends on
the length of every name: the lines are broken anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

COLUMNS: Final = 72
_WORD: Final = re.compile(rb"(?:\\++[ \t#:]?+|[^\s\\])++")
"""Runs of backslashes are taken whole: clients choose names, and the time must not grow with their square."""
_QUOTED: Final = re.compile(rb"(?<!\\)(\\++)(?=[ \t#:])")


Rule = tuple[list[bytes], list[bytes]]
"""Targets and prerequisites, quoted as they are."""


def names_in(text: bytes) -> list[bytes]:
    """The prerequisites of all rules, unquoted."""
    return names_of(parsed(text))


def names_of(rules: Iterable[Rule]) -> list[bytes]:
    """The prerequisites of all rules, unquoted."""
    return [_unquoted(word) for _, needs in rules for word in needs]


def without_prefix(text: bytes, prefix: bytes) -> bytes:
    """The depfile gcc would have written had no name begun with ``prefix`` (in which nothing is quoted)."""
    return written(parsed(text), prefix)


def parsed(text: bytes) -> list[Rule]:
    """The rules of a depfile."""
    return [_split(line) for line in _rules(text)]


def written(rules: Iterable[Rule], prefix: bytes = b"") -> bytes:
    """As gcc writes rules, ``prefix`` left out of the names."""
    return b"".join(_rule(rule, prefix) for rule in rules)


def _rules(text: bytes) -> list[bytes]:
    return [line for line in text.replace(b"\\\n", b" ").split(b"\n") if line.strip()]


def _split(line: bytes) -> Rule:
    """A rule's targets, the last without its colon, and its prerequisites."""
    words: list[bytes] = _WORD.findall(line)
    for index, word in enumerate(words):
        if word.endswith(b":"):
            return [*words[:index], word[:-1]], words[index + 1 :]
    return words, []


def _rule(rule: Rule, prefix: bytes) -> bytes:
    targets, needs = ([_stripped(word, prefix) for word in words] for words in rule) if prefix else rule
    if not needs:
        return b" ".join(targets) + b":\n"
    text, column = _listed(b"", 0, targets)
    text, _ = _listed(text + b":", column + 1, needs)
    return text + b"\n"


def _listed(text: bytes, column: int, words: list[bytes]) -> tuple[bytes, int]:
    for word in words:
        if column:
            if column + len(word) > COLUMNS:
                text += b" \\\n"
                column = 0
            text += b" "
            column += 1
        text += word
        column += len(word)
    return text, column


def _stripped(word: bytes, prefix: bytes) -> bytes:
    return word[len(prefix) :] if word.startswith(prefix + b"/") else word


def _unquoted(word: bytes) -> bytes:
    if b"\\" not in word and b"$" not in word:
        return word
    return _QUOTED.sub(lambda match: match[1][: len(match[1]) // 2], word).replace(b"$$", b"$")
