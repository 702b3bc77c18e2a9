"""Watched folders: what the kernel tells of, what it does not, and that a manifest heeds both."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from manycc.inputs import watch
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest, SteadyParts, unchanged
from manycc.inputs.watch import BLIND, Watcher
from manycc.job import Inputs
from manycc.testing.requirements import lacking


def made(folder: Path) -> tuple[FileView, Watcher, Manifest]:
    """A manifest of one header in a watched folder."""
    (folder / "sys").mkdir()
    (folder / "sys/a.h").write_text("one")
    view = FileView()
    watcher = Watcher(view, (str(folder),))
    if not watcher.covers(str(folder / "sys")):
        lacking(f"{folder} is on a file system that is not watched")
    view_folder = view.folder(str(folder / "sys"))
    view.ask(view_folder, "b.h")
    entry = view.file(str(folder / "sys/a.h"))
    steady = SteadyParts(watcher).of([entry], [view_folder])
    assert steady.files == (entry,) and steady.folders == (view_folder,)
    manifest = Manifest(Inputs([entry], "scan", True, False), (), (), steady)
    return view, watcher, manifest


CHANGES: dict[str, Callable[[Path], object]] = {
    "written over": lambda folder: (folder / "sys/a.h").write_text("two"),
    "replaced": lambda folder: ((folder / "new").write_text("two"), os.rename(folder / "new", folder / "sys/a.h")),
    "removed": lambda folder: (folder / "sys/a.h").unlink(),
    "earlier candidate": lambda folder: (folder / "sys/b.h").write_text("new"),
    "folder replaced": lambda folder: (os.rename(folder / "sys", folder / "old"), (folder / "sys").mkdir()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_seen_by_the_next_job(tmp_path: Path, change: str) -> None:
    view, watcher, manifest = made(tmp_path)
    assert unchanged(view, manifest, view.now(), watcher)
    assert unchanged(view, manifest, view.now(), watcher)
    CHANGES[change](tmp_path)
    assert not unchanged(view, manifest, view.now(), watcher)


def test_nothing_is_looked_at_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, watcher, manifest = made(tmp_path)
    assert unchanged(view, manifest, view.now(), watcher)
    looked: list[str] = []
    monkeypatch.setattr(os, "lstat", lambda path: looked.append(path))
    assert unchanged(view, manifest, view.now(), watcher)
    assert looked == []


def test_another_jobs_manifest_rests_on_the_same_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, watcher, first = made(tmp_path)
    assert unchanged(view, first, view.now(), watcher)
    second = Manifest(first.inputs, (), (), first.steady)
    looked: list[str] = []
    monkeypatch.setattr(os, "lstat", lambda path: looked.append(path))
    assert unchanged(view, second, view.now(), watcher)
    assert looked == []


def test_a_look_of_before_the_change_is_not_relied_on(tmp_path: Path) -> None:
    """Two jobs asked for before a change, one looked at before it, one after: and what comes after them."""
    view, watcher, first = made(tmp_path)
    second = Manifest(first.inputs, (), (), first.steady)
    asked_for = view.now()
    assert unchanged(view, first, asked_for, watcher)
    (tmp_path / "sys/a.h").write_text("two")
    unchanged(view, second, asked_for, watcher)  # true or not: it was so at some moment since
    assert not unchanged(view, second, view.now(), watcher)


def test_unrelated_change_costs_one_look(tmp_path: Path) -> None:
    view, watcher, manifest = made(tmp_path)
    assert unchanged(view, manifest, view.now(), watcher)
    (tmp_path / "sys/unrelated.h").write_text("x")
    assert unchanged(view, manifest, view.now(), watcher)


def test_sweep_finds_what_no_event_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view, watcher, manifest = made(tmp_path)
    os.link(tmp_path / "sys/a.h", tmp_path / "elsewhere")
    assert unchanged(view, manifest, view.now(), watcher)
    (tmp_path / "elsewhere").write_text("two")  # through a folder that nobody watches
    monkeypatch.setattr(watch, "SWEEP_S", -1.0)
    assert not unchanged(view, manifest, view.now(), watcher)
    assert watcher.epoch == BLIND  # and is trusted no more


def test_blind_watcher_means_looking(tmp_path: Path) -> None:
    view, watcher, manifest = made(tmp_path)
    watcher.close()
    assert unchanged(view, manifest, view.now(), watcher)
    (tmp_path / "sys/a.h").write_text("two")
    assert not unchanged(view, manifest, view.now(), watcher)


def test_only_system_folders_are_watched(tmp_path: Path) -> None:
    watcher = Watcher(FileView())
    assert not watcher.covers(str(tmp_path))
    assert not watcher.covers("/proc")
    assert not watcher.covers("/usrlocal")
    watcher.close()
    assert watcher.drain() == BLIND
