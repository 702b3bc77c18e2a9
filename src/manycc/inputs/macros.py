"""The macros a file defines, as far as they matter to computed includes.

Read only for translation units that have a computed include: most have none.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgpack

from manycc.inputs.scan import BLANKS, IDENTIFIER, plain_identifier, readings

QUOTED: Final = '"'
ANGLED: Final = "<"
ALIAS: Final = "="
COMPLEX: Final = "?"
INERT: Final = ""
"""Kinds of body: one literal header's name, one other macro's name, something that might become a header's
name, something that cannot."""

Body = tuple[str, str]  # kind, and the name without quotes for the first three kinds

_DEFINE: Final = re.compile(rb"#" + BLANKS + rb"define" + BLANKS + rb"(" + IDENTIFIER + rb")(\()?([^\n\r]*)")
_CONDITION: Final = re.compile(rb"#" + BLANKS + rb"(?:el)?if(?![\w$])([^\n\r]*)")
_LITERAL: Final = re.compile(
    BLANKS + rb'(?:"([^"\n\r]*)"|<([^>\n\r]*)>|(' + IDENTIFIER + rb"))" + BLANKS + rb"(?://.*)?$", re.DOTALL
)
_START: Final = re.compile(BLANKS + rb'(["<#%]|' + IDENTIFIER + rb")")
_CALL: Final = re.compile(
    rb"(" + IDENTIFIER + rb")" + BLANKS + rb'\((?:' + BLANKS
    + rb'("[^"\n\r]*"|<[^>\n\r]*>|' + IDENTIFIER + rb")" + BLANKS + rb"\))?"
)  # fmt: skip
_NOT_WRAPPERS: Final = frozenset(
    (
        b"defined", b"if", b"elif", b"__has_include", b"__has_include_next", b"__has_embed", b"__has_attribute",
        b"__has_cpp_attribute", b"__has_c_attribute", b"__has_builtin", b"__has_feature", b"__has_extension",
    )
)  # fmt: skip


class Macros(NamedTuple):
    """What one content defines and tests.

    ``bodies``: macro → its bodies; a macro with parameters has the kind COMPLEX. ``calls``: (macro, operand,
    passes) for each call with one argument in a condition or a body: the operand as written (``"x"``,
    ``<x>``, an identifier, or empty for anything else), and ``passes``: the macro whose parameter the
    operand is, or empty.
    """

    bodies: dict[str, tuple[Body, ...]]
    calls: tuple[tuple[str, str, str], ...]

    def pack(self) -> bytes:
        """Bytes for the database."""
        packed: bytes = msgpack.packb((self.bodies, self.calls), unicode_errors="surrogateescape")
        return packed

    @classmethod
    def unpack(cls, stored: bytes) -> Macros:
        """Undo ``pack``."""
        fields: Any = msgpack.unpackb(stored, unicode_errors="surrogateescape", use_list=False)
        return cls(*fields)


def read_macros(data: bytes) -> Macros:
    """All macros of a content, whatever conditions and comments they stand in."""
    bodies: dict[bytes, dict[Body, None]] = {}
    calls: dict[tuple[str, str, str], None] = {}
    for text in readings(data):
        for match in _DEFINE.finditer(text):
            name, bracket, rest = match.groups()
            macro = plain_identifier(name)
            if bracket is None:
                bodies.setdefault(macro, {})[body_of(rest)] = None
                _find_calls(rest, b"", (), calls)
            else:
                bodies.setdefault(macro, {})[COMPLEX, ""] = None
                parameters, _, body = rest.partition(b")")
                _find_calls(body, macro, [part.strip() for part in parameters.split(b",")], calls)
        for match in _CONDITION.finditer(text):
            _find_calls(match[1], b"", (), calls)
    return Macros({_text(name): tuple(kinds) for name, kinds in bodies.items()}, tuple(calls))


def body_of(text: bytes) -> Body:
    """What an object-like macro with this text (to the end of its line) can stand for."""
    match = _LITERAL.match(text)
    if match is not None:
        quoted, angled, word = match.groups()
        if quoted is not None:
            return QUOTED, _text(quoted)
        if angled is not None:
            # Blanks in a name that is made of tokens are the preprocessor's business.
            return (COMPLEX, "") if re.search(rb"\s", angled) else (ANGLED, _text(angled))
        return ALIAS, _text(plain_identifier(word))
    comment_open = text.rfind(b"/*") > text.rfind(b"*/")  # the body goes on after a comment of several lines
    return (COMPLEX, "") if comment_open or _START.match(text) else (INERT, "")


def _find_calls(
    text: bytes, macro: bytes, parameters: list[bytes] | tuple[()], calls: dict[tuple[str, str, str], None]
) -> None:
    if b"(" not in text:
        return
    for match in _CALL.finditer(text):
        name, operand = match.groups()
        if name not in _NOT_WRAPPERS:
            passes = macro if operand in parameters else b""
            calls[_text(plain_identifier(name)), _text(operand or b""), _text(passes)] = None


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
