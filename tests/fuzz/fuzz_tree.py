"""A tree of files, how it changes from step to step, and what is compiled at each: plain values.

Their ``repr`` is the Python that makes them, so that a tree found by the fuzzer can be pasted as a fixed case.
``@ROOT@`` in contents, link targets, arguments and variables stands for the tree's own absolute folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

ROOT = "@ROOT@"

IN_PLACE = "in place"
REPLACE = "replace"
SAME_TIME = "same time"


def _inside(root: str, path: str) -> str:
    """The absolute path. Raises PermissionError if links lead it out of the tree: nothing else may be touched."""
    place = os.path.join(root, path)
    real = os.path.realpath(root)
    for name in (place, os.path.dirname(place)):
        if not f"{os.path.realpath(name)}/".startswith(f"{real}/"):
            raise PermissionError(f"{path} leads out of the tree")
    return place


@dataclass(frozen=True)
class Write:
    """A file's content. ``how``: IN_PLACE keeps the inode, REPLACE renames a new file over it, SAME_TIME
    keeps the inode and sets the old modification time again."""

    path: str
    data: bytes
    how: str = IN_PLACE

    def apply(self, root: str) -> None:
        path = _inside(root, self.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        old = os.lstat(path).st_mtime_ns if os.path.isfile(path) else None
        place = path + ".new" if self.how == REPLACE else path
        with open(place, "wb") as file:
            file.write(self.data.replace(ROOT.encode(), os.fsencode(root)))
        if place != path:
            os.rename(place, path)
        if self.how == SAME_TIME and old is not None:
            os.utime(path, ns=(old, old))


@dataclass(frozen=True)
class Link:
    """A symbolic link, made or made anew."""

    path: str
    target: str

    def apply(self, root: str) -> None:
        path = os.path.join(_inside(root, os.path.dirname(self.path)), os.path.basename(self.path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Remove(self.path).apply(root)
        os.symlink(self.target.replace(ROOT, root), path)


@dataclass(frozen=True)
class HardLink:
    """Another name of a file that is there."""

    path: str
    target: str

    def apply(self, root: str) -> None:
        path = _inside(root, self.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(_inside(root, self.target), path)


@dataclass(frozen=True)
class Folder:
    """An empty folder."""

    path: str

    def apply(self, root: str) -> None:
        os.makedirs(_inside(root, self.path), exist_ok=True)


@dataclass(frozen=True)
class Remove:
    """A file, a link, or a folder with all in it, goes."""

    path: str

    def apply(self, root: str) -> None:
        path = os.path.join(_inside(root, os.path.dirname(self.path)), os.path.basename(self.path))
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


@dataclass(frozen=True)
class Move:
    """A file or folder gets another name."""

    path: str
    to: str

    def apply(self, root: str) -> None:
        os.rename(_inside(root, self.path), _inside(root, self.to))


@dataclass(frozen=True)
class Age:
    """A file was modified some seconds before 2020."""

    path: str
    seconds: int

    def apply(self, root: str) -> None:
        modified = 1_577_836_800 - self.seconds
        os.utime(_inside(root, self.path), (modified, modified))


Change = Write | Age | Link | HardLink | Folder | Remove | Move


@dataclass(frozen=True)
class Compile:
    """A command without its outputs, run in ``cwd`` (relative to the tree) with further variables."""

    argv: tuple[str, ...]
    cwd: str = "."
    env: tuple[tuple[str, str], ...] = ()

    def words(self, root: str) -> list[str]:
        """The arguments, for a tree in ``root``."""
        return [word.replace(ROOT, root) for word in self.argv]

    def variables(self, root: str) -> dict[str, str]:
        """The further variables, for a tree in ``root``."""
        return {name: value.replace(ROOT, root) for name, value in self.env}


@dataclass(frozen=True)
class Step:
    """Changes, then compiles. ``restart``: the agent ends, and another one begins, in between."""

    changes: tuple[Change, ...]
    compiles: tuple[Compile, ...]
    restart: bool = False


@dataclass(frozen=True)
class Tree:
    """A build in steps."""

    steps: tuple[Step, ...] = field(default=())


def apply(changes: Sequence[Change], root: str) -> None:
    """Make the changes; one that cannot be made (its file is gone, a folder is in the way) is left out."""
    for change in changes:
        with contextlib.suppress(OSError):
            change.apply(root)
