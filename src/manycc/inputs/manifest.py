"""What a job reads, and whether it is still so.

The check is the hottest loop of the agent: one ``stat`` per file and folder, no object made per file but
the kernel's answer.

Most of what a job reads lies in folders of the system that a watcher watches, and other jobs read just the same
of it. So that part is kept once for all of them, and looked at once for all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import overload
from weakref import WeakValueDictionary

from manycc.inputs.entries import DirView, FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.twins import Twins
from manycc.inputs.watch import BLIND, Watcher
from manycc.job import Input, Inputs


class Steady:
    """Files and folders that a watcher watches, as several jobs rest on them.

    ``versions``: those of the folders when the inputs were collected. They need no look while the watcher's epoch
    is still ``epoch``.
    """

    __slots__ = ("__weakref__", "epoch", "files", "folders", "versions")

    def __init__(self, files: tuple[FileEntry, ...], folders: tuple[DirView, ...], versions: tuple[int, ...]) -> None:
        self.epoch = BLIND
        self.files = files
        self.folders = folders
        self.versions = versions


_NONE = Steady((), (), ())


class SteadyParts:
    """All ``Steady`` parts that a manifest still holds, each once."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._known: WeakValueDictionary[tuple[tuple[object, ...], ...], Steady] = WeakValueDictionary()

    def of(self, files: Iterable[FileEntry], folders: Iterable[DirView]) -> Steady:
        """What of these is watched."""
        watcher = self._watcher
        if watcher.epoch == BLIND:
            return _NONE
        # In one order, so that it is no matter in which order a source asks for its headers.
        part = tuple(sorted(watcher.resting(files), key=id))
        places = tuple(sorted([folder for folder in folders if watcher.covers(folder)], key=id))
        if not part and not places:
            return _NONE
        versions = tuple([folder.version for folder in places])
        key = (part, places, versions)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Steady(*key)
        return known


class Items(Sequence[Input]):
    """The inputs of a job: what it shares with other jobs, and what is its own."""

    __slots__ = ("own", "shared")

    def __init__(self, own: tuple[Input, ...], shared: tuple[Input, ...]) -> None:
        self.own = own
        self.shared = shared

    def __len__(self) -> int:
        return len(self.own) + len(self.shared)

    def __iter__(self) -> Iterator[Input]:
        return chain(self.own, self.shared)

    @overload
    def __getitem__(self, at: int) -> Input: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Input, ...]: ...
    def __getitem__(self, at: int | slice) -> Input | tuple[Input, ...]:
        return (self.own + self.shared)[at]


class Manifest:
    """``inputs`` as a backend needs them, and the ``files`` and ``folders`` that they rest on besides the ``steady``.

    ``versions``: the folders' versions when the inputs were collected. ``twins``: the files that have equal content.
    """

    __slots__ = ("files", "folders", "inputs", "steady", "twins", "versions")

    def __init__(
        self,
        inputs: Inputs,
        files: tuple[FileEntry, ...],
        folders: tuple[DirView, ...],
        steady: Steady = _NONE,
        twins: Twins | None = None,
    ) -> None:
        """``files`` and ``folders``: without the steady ones."""
        self.inputs = inputs
        self.files = files
        self.folders = folders
        self.versions = tuple([folder.version for folder in folders])
        self.steady = steady
        self.twins = twins

    @property
    def all_files(self) -> Iterator[FileEntry]:
        """The steady files, too."""
        return chain(self.files, self.steady.files)


def unchanged(view: FileView, manifest: Manifest, since: int, watcher: Watcher | None = None) -> bool:
    """Whether all that the manifest rests on is as it was, at some moment after ``since``.

    Stops at the first change.
    """
    steady = manifest.steady
    if steady is not _NONE:
        epoch, latest = (watcher.drain(), watcher.latest) if watcher is not None else (BLIND, 0)
        if epoch == BLIND or epoch != steady.epoch:
            after = since if epoch == BLIND else latest
            if not _look(view, steady.folders, steady.versions, steady.files, after):
                return False
            steady.epoch = epoch
        else:
            for entry in steady.files:
                if entry.seen < 0:  # retired: another job found it changed
                    return False
    if not _look(view, manifest.folders, manifest.versions, manifest.files, since):
        return False
    return manifest.twins is None or manifest.twins.unchanged()


def _look(
    view: FileView, folders: Sequence[DirView], versions: Sequence[int], files: Sequence[FileEntry], since: int
) -> bool:
    """Check folders and files that were last checked before ``since``.

    Stops at the first change.
    """
    lstat = os.lstat
    now = time.monotonic_ns()
    for folder, version in zip(folders, versions, strict=True):
        if folder.seen < since:
            try:
                status = lstat(folder.path)
                signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
            except OSError:
                signature = None
            if signature is not None and signature == folder.signature:
                folder.seen = now
            else:
                view.look(folder, now)
        if folder.version != version:
            return False
    for entry in files:
        if entry.seen < since:
            try:
                status = lstat(entry.path)
            except OSError:
                view.retire(entry)
                return False
            if (
                status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev,
            ) == entry.signature:  # fmt: skip
                entry.seen = now
            elif not view.refresh(entry, now):
                return False
    return True
