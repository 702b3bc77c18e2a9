"""The generator finds faults: with a fault put into the search for inputs, some tree of the first hundreds shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz_check import Mismatch
from fuzz_hunt import check_trees, checker

from manycc.inputs import collect, computed, contents, manifest, resolve, scan, search
from manycc.inputs.collect import Collector
from manycc.inputs.entries import ABSENT, DirView, FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.resolve import Lookup, Resolver
from manycc.testing.requirements import need

TREES = 300
SEED = 7

Patch = pytest.MonkeyPatch


def _no_digraphs(patch: Patch) -> None:
    patch.setattr(scan, "_DIGRAPH", re.compile(rb"(?!)"))


def _no_continuations(patch: Patch) -> None:
    patch.setattr(scan, "_CONTINUATION", re.compile(rb"(?!)"))


def _no_blank_continuations(patch: Patch) -> None:
    patch.setattr(scan, "_CONTINUATION", re.compile(rb"\\(?:\r\n|\n|\r)"))


def _no_trigraphs(patch: Patch) -> None:
    patch.setattr(scan, "_QUESTION_MARKS", re.compile(rb"(?!)"))


def _without(field: str) -> Callable[[Patch], None]:
    """A scan that does not see some kind of mention."""

    def fault(patch: Patch) -> None:
        real = scan.scan
        patch.setattr(contents, "scan", lambda data: scan.Scan(**{**real(data)._asdict(), field: ()}))

    return fault


def _no_include_next(patch: Patch) -> None:
    real = scan.scan
    patch.setattr(contents, "scan", lambda data: real(data.replace(b"include_next", b"unknown")))


def _no_comments(patch: Patch) -> None:
    directive = scan._DIRECTIVE.pattern.replace(scan.BLANKS, rb"[ \t\v\f\0]*+")
    patch.setattr(scan, "_DIRECTIVE", re.compile(directive))


def _first_match(patch: Patch) -> None:
    real = Resolver._look_up

    def look_up(self: Resolver, lookup: Lookup, home: DirView | None) -> None:
        real(self, lookup, home)
        lookup.hits = lookup.hits[:1]

    patch.setattr(Resolver, "_look_up", look_up)


def _no_own_folder(patch: Patch) -> None:
    patch.setattr(Resolver, "_own", lambda *_: None)


def _links_are_own_folders(patch: Patch) -> None:
    """A file's quoted names are looked up where the file lies, not where it was found."""
    real = resolve.walk

    def walk(*args: object) -> object:
        kind, folder, name, home = real(*args)  # type: ignore[arg-type]
        return kind, folder, name, home and folder

    patch.setattr(resolve, "walk", walk)


def _stale_listing(patch: Patch) -> None:
    """A folder that was listed once is never listed again."""
    real = FileView.look

    def look(self: FileView, folder: DirView, now: int) -> None:
        if folder.names is None:
            real(self, folder, now)
        folder.seen = now

    patch.setattr(FileView, "look", look)


def _absence_is_for_ever(patch: Patch) -> None:
    """A name that was absent stays so."""
    real = FileView.look

    def look(self: FileView, folder: DirView, now: int) -> None:
        gone = {name: answer for name, answer in folder.answers.items() if answer.kind == ABSENT}
        for name in gone:
            del folder.answers[name]
        real(self, folder, now)
        folder.answers.update(gone)

    patch.setattr(FileView, "look", look)


def _stale_content(patch: Patch) -> None:
    """A file of the same size and modification time is taken for unchanged."""

    def refresh(self: FileView, entry: FileEntry, now: int) -> bool:
        return True

    patch.setattr(FileView, "refresh", refresh)


def _stale_manifest(patch: Patch) -> None:
    patch.setattr(collect, "unchanged", lambda *_: True)


def _forced_from_the_source(patch: Patch) -> None:
    real = search.Search._start

    def start(self: search.Search) -> object:
        self._command = self._command.__class__(
            **{name: getattr(self._command, name) for name in self._command.__slots__} | {"forced": ()}
        )
        return real(self)

    patch.setattr(search.Search, "_start", start)


def _computed_are_dead(patch: Patch) -> None:
    patch.setattr(computed.Operands, "included", lambda *_: set())


def _last_definition(patch: Patch) -> None:
    real = computed.Operands._bodies
    patch.setattr(computed.Operands, "_bodies", lambda self, macro: real(self, macro)[-1:])


def _twins_are_one(patch: Patch) -> None:
    """Same content, same file: a digest is sent for one path only."""
    real = Collector._manifest

    def make(self: Collector, *args: object) -> manifest.Manifest:
        made = real(self, *args)  # type: ignore[arg-type]
        items = {item.digest or item.path: item for item in made.inputs.items}
        made.inputs = replace(made.inputs, items=list(items.values()))
        return made

    patch.setattr(Collector, "_manifest", make)


FAULTS: dict[str, Callable[[Patch], None]] = {
    "digraphs are not seen": _no_digraphs,
    "continuations are not seen": _no_continuations,
    "continuations with blanks are not seen": _no_blank_continuations,
    "trigraphs are not seen": _no_trigraphs,
    "comments are not blanks": _no_comments,
    "quoted names are not seen": _without("quoted"),
    "names in angles are not seen": _without("angled"),
    "computed names are not seen": _without("computed"),
    "assembler's .include is not seen": _without("sources"),
    "assembler's .incbin is not seen": _without("binaries"),
    "include_next is not seen": _no_include_next,
    "only the first match is taken": _first_match,
    "a file's own folder is not searched": _no_own_folder,
    "a link's own folder is that of its target": _links_are_own_folders,
    "folders are listed once": _stale_listing,
    "what was absent stays absent": _absence_is_for_ever,
    "files are read once": _stale_content,
    "manifests hold for ever": _stale_manifest,
    "forced headers are left out": _forced_from_the_source,
    "computed includes lead nowhere": _computed_are_dead,
    "the last definition of a macro counts": _last_definition,
    "one path for each content": _twins_are_one,
}


QUICK = frozenset(
    ("digraphs are not seen", "continuations are not seen", "quoted names are not seen", "include_next is not seen",
     "assembler's .incbin is not seen", "a file's own folder is not searched", "files are read once",
     "manifests hold for ever", "forced headers are left out", "one path for each content")
)  # fmt: skip
"""Those that the first few trees show; the others are long tests."""

_shown = FAULTS if os.environ.get("MANYCC_TEST_LONG") else {name: FAULTS[name] for name in FAULTS if name in QUICK}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", _shown.values(), ids=_shown.keys())
def test_a_fault_is_found(fault: Callable[[Patch], None], tmp_path: Path, monkeypatch: Patch) -> None:
    need("gcc", "g++", "clang-14", "clang++-14")
    with checker(str(tmp_path), with_cluster=False) as made:
        fault(monkeypatch)
        try:
            with pytest.raises(Mismatch):
                check_trees(made, TREES, SEED, shrink=False)
        finally:
            monkeypatch.undo()
    assert made.tally.trees < TREES
