"""From a file's bytes to all it may ask for: a superset by construction.

No conditional is evaluated and no comment or string is skipped: a name that is only mentioned costs one
look-up, a name that is missed costs a wrong object. So the search is not bound to the start of a line;
what can hide a directive from a plain search is undone first (byte order mark, line continuations,
digraphs, trigraphs), and comments are allowed wherever a blank is.

The reverse holds where a mention has a price: an operand that is not a literal sends the job to the
compiler's own ``-M``, or home. Those are dropped where they provably stand in a comment or where no
directive can stand.
"""

from __future__ import annotations

import re
from sys import intern
from typing import Final, NamedTuple

VOLATILE: Final = 1
"""Mentions __DATE__ or __TIME__."""
TIMESTAMP: Final = 2
"""Mentions __TIMESTAMP__, or compares file times (#pragma GCC dependency)."""
PCH: Final = 4
"""Names a precompiled header (#pragma GCC pch_preprocess)."""
INCBIN: Final = 8
"""Has an .incbin whose name is not a literal."""
ONCE: Final = 16
"""May be a file to be included once: has the pragma, or hands its word to a macro that may make one."""
IMPORT: Final = 32
"""Has an #import, which makes any file one to be included once."""
OPTIONS: Final = 64
"""May set options for its own code (#pragma GCC optimize, the attributes optimize and target)."""
FAR: Final = 128
"""Asks whether a file exists that it names from the root, or by "..": what the file is, is not all that counts."""
SYSTEM: Final = 256
"""May say of itself that it is a system header, wherever it lies."""
EXISTS_NAME: Final = "name"
EXISTS_WRAPPER: Final = "wrapper"
EXISTS_UNKNOWN: Final = "?"


class Scan(NamedTuple):
    """What one content may ask for. Names as written, without their quotes."""

    quoted: tuple[str, ...] = ()
    """#include "x" and its kin (include_next, import, __has_include)."""
    angled: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    """Operands of computed includes: an identifier; ``IDENT(`` for one with more behind it; ``?``."""
    exists: tuple[tuple[str, str], ...] = ()
    """Computed operands of __has_include: (EXISTS_NAME, macro), (EXISTS_WRAPPER, macro that passes its
    argument on), (EXISTS_UNKNOWN, text)."""
    data: tuple[str, ...] = ()
    """#embed and __has_embed: read, but not as source."""
    lines: tuple[str, ...] = ()
    """#line and line markers: diagnostics show lines of these files, named from the working folder."""
    sources: tuple[str, ...] = ()
    """The assembler's .include."""
    binaries: tuple[str, ...] = ()
    """The assembler's .incbin."""
    flags: int = 0


_NAME: Final = rb'"([^"\n\r]*)"'
_ANGLE: Final = rb"<([^>\n\r]*)>"
BLANKS: Final = rb"(?:[ \t\v\f\0]|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/)*+"
"""What may stand between the tokens of a directive."""
IDENTIFIER: Final = rb"(?:[A-Za-z_$\x80-\xff]|\\[uU][0-9A-Fa-f]{4,8})(?:[\w$\x80-\xff]|\\[uU][0-9A-Fa-f]{4,8})*+"

_DIRECTIVE: Final = re.compile(
    rb"#" + BLANKS + rb"(?:"
    rb"(include_next|include|import|embed)(?![\w$])" + BLANKS + rb"(?:" + _NAME + rb"|" + _ANGLE + rb"|([^\n\r]*))"
    rb"|(?:line(?!\w)" + BLANKS + rb")?[0-9]+" + BLANKS + rb'"((?:[^"\\\n\r]|\\[^\n\r])*)"'
    rb"|pragma" + BLANKS + rb"GCC" + BLANKS + rb"(dependency|pch_preprocess)"
    rb")"
)
_HAS: Final = re.compile(
    rb"__has_(include(?:_next)?|embed)(?:__)?(?![\w$])" + BLANKS
    + rb"(\()?" + BLANKS + rb"(?:" + _NAME + rb"|" + _ANGLE + rb"|(" + IDENTIFIER + rb")?)" + BLANKS + rb"(\))?"
)  # fmt: skip
_CONDITION: Final = re.compile(
    BLANKS + rb"#" + BLANKS + rb"(?:(if|elif|elifdef|elifndef|ifdef|ifndef|define)(?![\w$])|(\w*))"
)
_DEFINED: Final = re.compile(rb"#" + BLANKS + rb"define" + BLANKS + rb"(" + IDENTIFIER + rb")(?:\(([^)\n\r]*)\))?")
_ASSEMBLER: Final = re.compile(
    rb'\.((?i:incbin|include))(?!\w)(?:[ \t]*\\?"([^"\\\n\r]*)\\?"|([ \t]*\\?"|[ \t]+[A-Za-z_\\]))?'
)
# Searches for one byte with more behind it are the fastest there are.
_WORDS: Final = re.compile(rb"_(_has_|Pragma|_DATE__|_TIME__|_TIMESTAMP__)")
_DOT_INC: Final = re.compile(rb"\.(?=[iI][nN][cC])")
_QUESTION_MARKS: Final = re.compile(rb"\?(?=\?)")
_DIGRAPH: Final = re.compile(rb"%(?=:)")
_PRAGMA: Final = re.compile(rb"GCC" + BLANKS + rb"(dependency|pch_preprocess)")
_ONCE: Final = re.compile(rb"#" + BLANKS + rb"pragma" + BLANKS + rb'once(?!\w)|\([ \t]*\\?"?once\\?"?[ \t]*\)')
_OPTION_WORDS: Final = (
    re.compile(rb"optimize(?:__)?(?!\w)"),
    re.compile(rb"target(?:_clones|_version)?(?:__)?(?!\w)"),
)
_BRACKET: Final = re.compile(rb'\s*\((\s*")?')
_ATTRIBUTE: Final = re.compile(rb"attribute(?:__)?\s*\([^;{}]*\Z")
_NEAR: Final = 220
"""How far before its name the attribute's own bracket is looked for."""
_CONTINUATION: Final = re.compile(rb"\\[ \t\v\f\0]*(?:\r\n|\n|\r)")
_TRIGRAPHS: Final = {
    b"??=": b"#", b"??/": b"\\", b"??'": b"^", b"??(": b"[", b"??)": b"]", b"??!": b"|", b"??<": b"{", b"??>": b"}",
    b"??-": b"~",
}  # fmt: skip
_FIRST_WORD: Final = re.compile(rb"(" + IDENTIFIER + rb")" + BLANKS + rb"(//[^\n\r]*)?(.?)", re.DOTALL)
_UCN: Final = re.compile(rb"\\u([0-9A-Fa-f]{4})|\\U([0-9A-Fa-f]{8})")
_LINE_ESCAPE: Final = re.compile(r"\\(.)")
_BLANK_BYTES: Final = b" \t\v\f\0"


def readings(data: bytes) -> list[bytes]:
    """The text or texts that a preprocessor may see: one, or two where trigraphs make a difference."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    texts = [data]
    if _QUESTION_MARKS.search(data):
        replaced = data
        for trigraph, char in _TRIGRAPHS.items():
            replaced = replaced.replace(trigraph, char)
        texts.append(replaced)
    for at, text in enumerate(texts):
        if b"\\" in text:
            text = _CONTINUATION.sub(b"", text)
        if _DIGRAPH.search(text):
            text = text.replace(b"%:", b"#")
        texts[at] = text
    return texts


def sets_options(text: bytes) -> bool:
    """Whether a text may set options for the code around it."""
    return any(_is_option(text, *match.span()) for word in _OPTION_WORDS for match in word.finditer(text))


def _is_option(text: bytes, start: int, end: int) -> bool:
    """Whether such a word is a pragma's or an attribute's, by what stands around it; true when in doubt."""
    if text.endswith(b"__", start, end):
        return text.endswith(b"__", 0, start)
    head = text[max(start - _NEAR, 0) : start]
    if head[-1:].isalnum() or head.endswith(b"_"):
        return False
    before = head.rstrip(_BLANK_BYTES)
    if before.endswith(b"GCC") or (before.endswith(b"*/") and b"GCC" in text):
        return True
    bracket = _BRACKET.match(text, end)
    return bracket is not None and (bracket[1] is not None or _ATTRIBUTE.search(head) is not None)


def scan(data: bytes) -> Scan:
    """All that a file of this content may ask for."""
    found = _Found()
    for text in readings(data):
        found.directives(text)
        words = set(_WORDS.findall(text))
        if b"_has_" in words:
            found.existence(text)
        if b"Pragma" in words:
            for match in _PRAGMA.finditer(text):
                found.flags |= TIMESTAMP if match[1] == b"dependency" else PCH
        if b"_DATE__" in words or b"_TIME__" in words:
            found.flags |= VOLATILE
        if b"_TIMESTAMP__" in words:
            found.flags |= TIMESTAMP
        if _DOT_INC.search(text):
            found.assembler(text)
        if b"include_alias" in text:  # clang's -fms-extensions: one name stands for another
            found.computed[b"?"] = None
        if b"once" in text and _ONCE.search(text):
            found.flags |= ONCE
        if b"system_header" in text:
            found.flags |= SYSTEM
        if sets_options(text):
            found.flags |= OPTIONS
    return found.result()


class _Found:
    """Names in the order of their first mention."""

    def __init__(self) -> None:
        self.quoted: dict[bytes, None] = {}
        self.angled: dict[bytes, None] = {}
        self.computed: dict[bytes, None] = {}
        self.exists: dict[tuple[str, bytes], None] = {}
        self.data: dict[bytes, None] = {}
        self.lines: dict[bytes, None] = {}
        self.sources: dict[bytes, None] = {}
        self.binaries: dict[bytes, None] = {}
        self.flags = 0

    def result(self) -> Scan:
        return Scan(
            _headers(self.quoted), _headers(self.angled), _texts(self.computed),
            tuple((kind, _text(name)) for kind, name in self.exists),
            _texts(self.data), tuple(_unescape(name) for name in _texts(self.lines)),
            _texts(self.sources), _texts(self.binaries), self.flags,
        )  # fmt: skip

    def directives(self, text: bytes) -> None:
        for match in _DIRECTIVE.finditer(text):
            word, quoted, angled, operand, line, pragma = match.groups()
            if word is not None:
                if word == b"import":
                    self.flags |= IMPORT
                if word == b"embed":
                    self._embed(quoted, angled, text, match)
                elif quoted is not None:
                    self.quoted[quoted] = None
                elif angled is not None:
                    self.angled[angled] = None
                else:
                    self._computed(text, match.start(), match.start(4), operand)
            elif line is not None:
                self.lines[line] = None
            else:
                self.flags |= TIMESTAMP if pragma == b"dependency" else PCH

    def _embed(self, quoted: bytes | None, angled: bytes | None, text: bytes, match: re.Match[bytes]) -> None:
        name = quoted if quoted is not None else angled
        if name is not None:
            self.data[name] = None
        elif _may_be_directive(text, match.start()):
            self.computed[b"?"] = None

    def _computed(self, text: bytes, at: int, operand_at: int, operand: bytes) -> None:
        first = operand[:1]
        word = _FIRST_WORD.match(text, operand_at)
        # An operand that starts with anything else can never become a header's name.
        if (word is None and first not in (b"<", b'"')) or not _may_be_directive(text, at):
            return
        if word is None:
            if first == b"<":
                self.computed[b"?"] = None
        elif word[3] in (b"", b"\n", b"\r"):
            self.computed[plain_identifier(word[1])] = None
        else:
            self.computed[plain_identifier(word[1]) + b"("] = None

    def existence(self, text: bytes) -> None:
        for match in _HAS.finditer(text):
            word, bracket, quoted, angled, name, closing = match.groups()
            if bracket is not None and (quoted is not None or angled is not None):
                if is_far(_text(quoted if quoted is not None else angled)):
                    self.flags |= FAR
                if word == b"embed":
                    self.data[quoted if quoted is not None else angled] = None
                elif quoted is not None:
                    self.quoted[quoted] = None
                else:
                    self.angled[angled] = None
            else:
                self._exists(text, match.start(), name if bracket and closing else None, bracket is not None)

    def _exists(self, text: bytes, at: int, name: bytes | None, called: bool) -> None:
        """An operand of __has_include that is not a literal, or the word without an operand."""
        start = _line_start(text, at)
        head = text[start:at]
        if _in_comment(text, at) or _comment_open(head):
            return
        directive = _CONDITION.match(head)
        if directive is None:
            if b"*/" not in head:
                return  # means nothing outside a directive
            directive = _CONDITION.match(head, head.index(b"*/") + 2)  # the line began within a comment
        kind = directive[1] if directive is not None else None
        if directive is not None and kind is None:
            return  # #endif, #error, #undef, …
        if kind == b"define":
            defined = _DEFINED.search(text, start)
            if defined is not None:
                if defined.start(1) == at:
                    return  # it is the macro being defined
                macro = plain_identifier(defined[1])
                parameters = [part.strip(_BLANK_BYTES) for part in (defined[2] or b"").split(b",")]
                if not called or (name is not None and name in parameters):
                    self.exists[EXISTS_WRAPPER, macro] = None
                    return
        elif not called and (kind != b"elif" or b"defined" in head) and (kind != b"if" or b"defined" in head):
            return  # #ifdef __has_include, #if defined __has_include
        if name is not None:
            self.exists[EXISTS_NAME, plain_identifier(name)] = None
        else:
            self.exists[EXISTS_UNKNOWN, b""] = None

    def assembler(self, text: bytes) -> None:
        for match in _ASSEMBLER.finditer(text):
            word, name, computed = match.groups()
            if name:
                (self.binaries if word.lower() == b"incbin" else self.sources)[name] = None
            elif (computed or word.lower() == b"incbin") and not _in_comment(text, match.start()):
                self.flags |= INCBIN


def is_far(name: str) -> bool:
    """Whether a name may lead out of the folders that are searched (see ``FAR``)."""
    return name.startswith("/") or ".." in name


def plain_identifier(name: bytes) -> bytes:
    """An identifier with its universal character names spelled out in UTF-8."""
    if b"\\" not in name:
        return name
    return _UCN.sub(lambda match: chr(int(match[1] or match[2], 16)).encode("utf-8", "replace"), name)


def _text(name: bytes) -> str:
    return intern(name.decode("utf-8", "surrogateescape"))  # the same names stand in many files


def _texts(names: dict[bytes, None]) -> tuple[str, ...]:
    return tuple([_text(name) for name in names])


def _headers(names: dict[bytes, None]) -> tuple[str, ...]:
    """The names; clang's -fms-compatibility takes a backslash for a slash."""
    for name in [name for name in names if b"\\" in name]:
        names[name.replace(b"\\", b"/")] = None
    return _texts(names)


def _unescape(name: str) -> str:
    return _LINE_ESCAPE.sub(r"\1", name) if "\\" in name else name


def _line_start(text: bytes, at: int) -> int:
    return max(text.rfind(b"\n", 0, at), text.rfind(b"\r", 0, at)) + 1


def _may_be_directive(text: bytes, at: int) -> bool:
    """Whether a directive can start with the ``#`` at ``at``: alone on its line, or behind a comment."""
    head = text[_line_start(text, at) : at].rstrip(_BLANK_BYTES)
    return (not head or head.endswith(b"*/")) and not _in_comment(text, at)


def _in_comment(text: bytes, at: int) -> bool:
    """Whether ``at`` is proven to be within a block comment; false when in doubt.

    The last ``/*`` opens a comment unless it stands in a string, a character, a header's name or a line
    comment, which all need something before it on its line, or in a raw string.
    """
    start = text.rfind(b"/*", 0, at)
    if start < 0 or text.find(b"*/", start + 1, at) >= 0 or b'R"' in text:
        return False
    head = text[_line_start(text, start) : start]
    return not any(mark in head for mark in (b'"', b"'", b"<", b"//"))


def _comment_open(head: bytes) -> bool:
    """Whether a comment provably began on the line whose start is ``head``."""
    if b'"' in head or b"'" in head or b"<" in head:
        return False
    return b"//" in head or head.rfind(b"/*") > head.rfind(b"*/")
