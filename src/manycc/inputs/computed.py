"""Computed operands: ``#include MACRO`` and ``__has_include(MACRO)``, read off the macros where that is safe.

A macro may hold any body that any file of the closure, or the command line, defines for it: all are
candidates. It is safe where each body is a literal name, another such macro, or something that can never
be a header's name. A macro that nobody defines leaves the directive dead. Anything else is unknown
here (None), and the compiler has to be asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Sequence
from typing import Final

from manycc.inputs.entries import FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.macros import ALIAS, ANGLED, COMPLEX, QUOTED, Body, body_of
from manycc.inputs.scan import EXISTS_NAME, EXISTS_WRAPPER
from manycc.job import Input

_BUILT_IN: Final = frozenset(
    ("__FILE__", "__BASE_FILE__", "__FILE_NAME__", "__VERSION__", "__DATE__", "__TIME__", "__TIMESTAMP__")
)
"""Predefined macros that hold strings."""
_PLAIN_PREDEFINED: Final = frozenset(("linux", "unix", "i386", "arm", "mips", "sparc", "sun", "m68k", "hppa", "vax"))
"""Predefined macros with ordinary names (-std=gnu…): a part of a name in angles that is one of them changes."""
_WORD: Final = re.compile(r"[^\W\d]\w*")
_MAX_RETIRED: Final = 1000


class MacroIndex:
    """Who defines what, over all entries that were ever part of a closure with computed operands."""

    def __init__(self, view: FileView) -> None:
        self._view = view
        self._loaded: set[FileEntry] = set()
        self._retired = 0
        self.bodies: dict[str, list[tuple[FileEntry, Body]]] = {}
        self.calls: dict[str, list[tuple[FileEntry, str, str]]] = {}
        self.aliases: dict[str, list[tuple[FileEntry, str]]] = {}

    def retired(self, item: Input) -> None:
        """An entry is no more; its rows do no harm, but shall not pile up."""
        if isinstance(item, FileEntry) and item in self._loaded:
            self._retired += 1
            if self._retired > _MAX_RETIRED:
                self.clear()

    def clear(self) -> None:
        """Forget all of them; they are loaded again when they are next asked for."""
        self._retired = 0
        for table in (self._loaded, self.bodies, self.calls, self.aliases):
            table.clear()

    def load(self, entries: Iterable[FileEntry]) -> None:
        """Add the macros of those that are new. Raises OSError if one has changed."""
        loaded = self._loaded
        for entry in entries:
            if entry not in loaded:
                macros = self._view.macros_of(entry)
                for name, bodies in macros.bodies.items():
                    for body in bodies:
                        self.bodies.setdefault(name, []).append((entry, body))
                        if body[0] == ALIAS:
                            self.aliases.setdefault(body[1], []).append((entry, name))
                for name, operand, passes in macros.calls:
                    self.calls.setdefault(name, []).append((entry, operand, passes))
                loaded.add(entry)


class Operands:
    """What computed operands may come to within one closure and one command line."""

    def __init__(self, index: MacroIndex, closure: Container[FileEntry], defines: Sequence[str]) -> None:
        self._index = index
        self._closure = closure
        self._defines = defines
        self._given: dict[str, list[Body]] = {}
        for text in defines:
            head, _, value = text.partition("=")
            name, bracket, _ = head.partition("(")
            body = (COMPLEX, "") if bracket else body_of(os.fsencode(value))
            self._given.setdefault(name, []).append(body)

    def included(self, operand: str) -> set[Body] | None:
        """All literal names that the operand of an include (see ``Scan.computed``) may stand for."""
        if operand.endswith("("):  # more than one token: an error, unless the first is a macro
            name = operand[:-1]
            return None if name in _BUILT_IN or self._bodies(name) else set()
        return None if operand == "?" else self._names(operand)

    def tested(self, kind: str, text: str) -> set[Body] | None:
        """All literal names that an operand of __has_include (see ``Scan.exists``) may stand for."""
        if kind == EXISTS_NAME:
            return self._names(text)
        if kind == EXISTS_WRAPPER:
            return self._wrapped(text)
        return None

    def _bodies(self, macro: str) -> list[Body]:
        closure = self._closure
        bodies = [body for entry, body in self._index.bodies.get(macro, ()) if entry in closure]
        bodies += self._given.get(macro, ())
        return bodies

    def _names(self, macro: str) -> set[Body] | None:
        names: set[Body] = set()
        seen = {macro}
        pending = [macro]
        while pending:
            name = pending.pop()
            if name in _BUILT_IN:
                return None
            for kind, text in self._bodies(name):
                if kind == COMPLEX:
                    return None
                if kind == QUOTED or (kind == ANGLED and self._is_stable(text)):
                    names.add((kind, text))
                elif kind == ANGLED:
                    return None
                elif kind == ALIAS and text not in seen:
                    seen.add(text)
                    pending.append(text)
        return names

    def _is_stable(self, angled: str) -> bool:
        """Whether no part of a name in angles, which is made of tokens, is a macro itself."""
        return not any(word in _PLAIN_PREDEFINED or self._bodies(word) for word in _WORD.findall(angled))

    def _wrapped(self, macro: str) -> set[Body] | None:
        """The arguments with which a macro that hands its own to __has_include is called."""
        closure = self._closure
        names: set[Body] = set()
        seen = {macro}
        pending = [macro]
        while pending:
            name = pending.pop()
            if any(name in text for text in self._defines):
                return None
            more = [alias for entry, alias in self._index.aliases.get(name, ()) if entry in closure]
            for entry, operand, passes in self._index.calls.get(name, ()):
                if entry not in closure:
                    continue
                if passes:
                    more.append(passes)
                elif operand[:1] in (QUOTED, ANGLED):
                    names.add((operand[0], operand[1:-1]))
                else:
                    found = self._names(operand) if operand else None
                    if found is None:
                        return None
                    names |= found
            pending += [other for other in more if other not in seen]
            seen.update(more)
        return names
