"""Trees of files for tests of what reads them, and a file view in which they are settled.

A file that was written a moment ago is rightly not trusted to its times. Tests would have to wait; instead
``SETTLED`` is a wall clock that runs ahead, so that everything seems to have been written long ago.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping

from manycc.inputs.fileview import FileView

_AHEAD_NS = 10_000_000_000


def settled_wall() -> int:
    """A clock by which all files are old."""
    return time.time_ns() + _AHEAD_NS


def settled_view(database: str | None = None) -> FileView:
    """A file view that trusts file times at once."""
    return FileView(database, settled_wall)


class Tree:
    """A folder to fill. Paths are relative to ``root``; parents are made as needed."""

    def __init__(self, root: str, files: Mapping[str, str | bytes] | None = None) -> None:
        self.root = os.path.realpath(root)
        os.makedirs(self.root, exist_ok=True)
        for path, content in (files or {}).items():
            self.write(path, content)

    def path(self, path: str) -> str:
        """The absolute path."""
        return os.path.join(self.root, path)

    def _make_room(self, path: str) -> str:
        path = self.path(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, path: str, content: str | bytes) -> str:
        """Write a file in place (its inode is kept). Returns the absolute path."""
        path = self._make_room(path)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
        return path

    def link(self, path: str, target: str) -> str:
        """Make or retarget a symbolic link."""
        path = self._make_room(path)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)
        return path

    def folder(self, path: str) -> str:
        """Make a folder."""
        path = self.path(path)
        os.makedirs(path, exist_ok=True)
        return path

    def remove(self, path: str) -> None:
        """Remove a file, a link, or a folder with all in it."""
        path = self.path(path)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
