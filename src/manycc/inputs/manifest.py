"""What a job reads, and whether it is still so.

The check is the hottest loop of the agent: one ``stat`` per file and folder, no object made per file but
the kernel's answer.
"""

from __future__ import annotations

import os
import time

from manycc.inputs.entries import DirView, FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.twins import Twins
from manycc.inputs.watch import BLIND, Watcher
from manycc.job import Inputs


class Manifest:
    """``inputs`` as a backend needs them, and the ``files`` and ``folders`` that they rest on.

    ``versions``: the folders' versions when the inputs were collected. The ``steady`` ones are those that
    a watcher watches; they need no look while its epoch is still ``epoch``. ``twins``: the files that have
    equal content.
    """

    __slots__ = (
        "epoch", "files", "folders", "inputs", "steady_files", "steady_folders", "steady_versions", "twins", "versions",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Inputs,
        files: list[FileEntry],
        folders: list[DirView],
        watcher: Watcher | None = None,
        twins: Twins | None = None,
    ) -> None:
        self.inputs = inputs
        self.twins = twins
        self.epoch = BLIND
        self.steady_files: list[FileEntry] = []
        self.steady_folders: list[DirView] = []
        if watcher is not None and watcher.epoch != BLIND:
            self.steady_files = watcher.resting(files)
            self.steady_folders = [folder for folder in folders if watcher.covers(folder)]
            watched = {*self.steady_files, *self.steady_folders}
            files = [entry for entry in files if entry not in watched]
            folders = [folder for folder in folders if folder not in watched]
        self.files = files
        self.folders = folders
        self.versions = [folder.version for folder in folders]
        self.steady_versions = [folder.version for folder in self.steady_folders]


def unchanged(view: FileView, manifest: Manifest, since: int, watcher: Watcher | None = None) -> bool:
    """Whether all that the manifest rests on is as it was, at some moment after ``since``.

    Stops at the first change.
    """
    if manifest.steady_files or manifest.steady_folders:
        epoch, latest = (watcher.drain(), watcher.latest) if watcher is not None else (BLIND, 0)
        if epoch == BLIND or epoch != manifest.epoch:
            after = since if epoch == BLIND else latest
            if not _look(view, manifest.steady_folders, manifest.steady_versions, manifest.steady_files, after):
                return False
            manifest.epoch = epoch
        else:
            for entry in manifest.steady_files:
                if entry.seen < 0:  # retired: another job found it changed
                    return False
    if not _look(view, manifest.folders, manifest.versions, manifest.files, since):
        return False
    return manifest.twins is None or manifest.twins.unchanged()


def _look(view: FileView, folders: list[DirView], versions: list[int], files: list[FileEntry], since: int) -> bool:
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
