"""What a job reads, and whether it is still so.

The check is the hottest loop of the agent: one ``stat`` per file and folder, no object made per file but
the kernel's answer.
"""

from __future__ import annotations

import os
import time

from manycc.inputs.fileview import DirView, FileEntry, FileView
from manycc.job import Inputs


class Manifest:
    """``inputs`` as a backend needs them, and the ``files`` and ``folders`` that they rest on.

    ``versions``: the folders' versions when the inputs were collected.
    """

    __slots__ = ("files", "folders", "inputs", "versions")

    def __init__(self, inputs: Inputs, files: list[FileEntry], folders: list[DirView]) -> None:
        self.inputs = inputs
        self.files = files
        self.folders = folders
        self.versions = [folder.version for folder in folders]


def unchanged(view: FileView, manifest: Manifest, since: int) -> bool:
    """Whether all that the manifest rests on is as it was, at some moment after ``since``.

    Stops at the first change.
    """
    lstat = os.lstat
    now = time.monotonic_ns()
    for folder, version in zip(manifest.folders, manifest.versions, strict=True):
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
    for entry in manifest.files:
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
