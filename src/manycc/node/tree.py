"""The tree of files, links and folders that one job sees: what is in it, and that it is one.

A tree is checked in memory before any of it is made on the disk: every path is plain, nothing lies
below a file or a link, no two things have one path. That is what makes it safe to create its parts
by path below a folder: no component of any of these paths can be a link.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.reasons import Reason
from manycc.store.actions import input_token
from manycc.store.layout import blob_key

RESERVED: Final = ("/dev", "/proc", "/sys")
"""The sandbox has its own of these."""
MEMORY: Final = "/dev/shm"  # noqa: S108 - within the sandbox
"""What people build in who have memory to spare: a folder like any other."""
SKELETON_FOLDERS: Final = ("/dev", "/proc", "/tmp")  # noqa: S108 - within the sandbox
MAX_NAME: Final = 255
MAX_PATH: Final = 4095
MAX_JOINED: Final = 2 * MAX_PATH
"""A working folder, and a path from there."""
MAX_LINKS_FOLLOWED: Final = 40
MAX_FOLDER_NAMES: Final = 4 * 1024 * 1024
"""Characters of the paths of a tree's folders together. One path can need two thousand, of four megabytes."""


class Entry:
    """One file, link or folder of a tree.

    ``token`` stands for all of it (two entries of equal token are the same thing at the same path);
    ``key`` is what the store calls a file's content; ``fault`` is a sentence why no job may have it, empty if any may.
    """

    __slots__ = ("digest", "executable", "fault", "key", "kind", "parent", "path", "size", "target", "token")

    def __init__(
        self,
        kind: int,
        path: str,
        digest: bytes = b"",
        size: int = 0,
        target: str = "",
        executable: bool = False,
    ) -> None:
        self.kind = kind
        self.path = path
        self.digest = digest
        self.size = size
        self.target = target
        self.executable = executable
        self.key = blob_key(digest, executable)
        self.parent = parent_of(path)
        self.fault = path_fault(path)
        if kind == LINK and not self.fault and not 0 < len(target.encode("utf-8", "surrogateescape")) <= MAX_PATH:
            self.fault = f"{path} is a link with no usable target"
        if path == "/" and kind != FOLDER:
            self.fault = "/ is not a file"
        self.token = input_token(kind + (4 if executable else 0), path, digest, target)


class Tree:
    """Leaves (files and links) by path, and all folders they need, ``/`` among them."""

    __slots__ = ("folders", "leaves")

    def __init__(self, leaves: dict[str, Entry], folders: set[str]) -> None:
        self.leaves = leaves
        self.folders = folders

    def links(self) -> dict[str, str]:
        """Targets by path."""
        return {path: entry.target for path, entry in self.leaves.items() if entry.kind == LINK}

    def files(self) -> list[Entry]:
        """The files' entries."""
        return [entry for entry in self.leaves.values() if entry.kind == FILE]


def parent_of(path: str) -> str:
    """The folder a plain absolute path lies in."""
    return path.rpartition("/")[0] or "/"


def path_fault(path: str) -> str:
    """Why a path cannot be one of a tree; empty if it can.

    It must be absolute and plain (no empty, ``.`` or ``..`` components), and not in a reserved place.
    """
    if not path.startswith("/"):
        return f"{path!r} is not absolute"
    if path != "/":
        for name in path[1:].split("/"):
            if name in ("", ".", ".."):
                return f"{path!r} is not plain"
            if len(name) > MAX_NAME // 4 and len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
                return f"{path!r} has too long a name in it"
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH:
        return "a path is too long or holds a NUL"
    for reserved in RESERVED:
        if f"{path}/".startswith(f"{reserved}/") and not f"{path}/".startswith(f"{MEMORY}/"):
            return f"{path} lies in {reserved}, of which a sealed job has its own"
    return ""


def build(base: Tree, entries: Iterable[Entry], folders: Iterable[str]) -> Tree:
    """The tree of a job: a toolchain's, the job's inputs, and folders that must exist.

    Raises BackendRefused if that is no tree, or if an input would take the place of a toolchain's file.
    """
    leaves = dict(base.leaves)
    needed = set(base.folders)
    parents: set[str] = set()
    for entry in entries:
        if entry.fault:
            raise refused(entry.fault)
        path = entry.path
        if entry.kind == FOLDER:
            parents.add(path)
            continue
        present = leaves.get(path)
        if present is not None:
            if present.kind != entry.kind or present.digest != entry.digest or present.target != entry.target:
                what = "the toolchain" if path in base.leaves else "another input"
                raise refused(f"{path} is in {what} with another content")
            continue
        leaves[path] = entry
        parents.add(entry.parent)
    parents.update(folders)
    room = MAX_FOLDER_NAMES
    for parent in parents:
        room -= add_folder(needed, parent)
        if room < 0:
            raise refused("its folders are too many, or too deep")
    if not needed.isdisjoint(leaves):
        clash = min(path for path in needed if path in leaves)
        raise refused(f"{clash} is both a folder and not one")
    return Tree(leaves, needed)


def add_folder(folders: set[str], path: str) -> int:
    """Add a folder and those above it. How many characters their paths have."""
    added = 0
    while path not in folders:
        folders.add(path)
        added += len(path)
        path = parent_of(path)
    return added


def empty() -> Tree:
    """The tree every job has: the folders that the sandbox mounts over."""
    folders = {"/"}
    folders.update(SKELETON_FOLDERS)
    return Tree({}, folders)


def resolve(path: str, links: Mapping[str, str], crossed: list[tuple[str, str]] | None = None) -> str:
    """Where an absolute path leads if these are all the links there are.

    Those that it leads through are added to ``crossed``. Raises BackendRefused on a loop, and for what is too long:
    each name costs as much as there is of the path before it.
    """
    if len(path) > MAX_JOINED:
        raise refused("a path is too long")
    waiting = path.split("/")[::-1]
    place = ""
    followed = 0
    while waiting:
        name = waiting.pop()
        if name in ("", "."):
            continue
        if name == "..":
            place = place.rpartition("/")[0]
            continue
        step = f"{place}/{name}"
        target = links.get(step)
        if target is None:
            place = step
            continue
        if crossed is not None:
            crossed.append((step, target))
        followed += 1
        if followed > MAX_LINKS_FOLLOWED or len(waiting) > MAX_JOINED or len(target) > MAX_PATH:
            raise refused(f"{path} leads through too many links, or too long ones")
        if target.startswith("/"):
            place = ""
        waiting.extend(target.split("/")[::-1])
    return place or "/"


def refused(sentence: str) -> BackendRefused:
    """The refusal of a job that is not as a job must be."""
    return BackendRefused(Reason.NODE_REFUSED, sentence)


__all__ = ["FILE", "FOLDER", "LINK", "Entry", "Tree", "add_folder", "build", "empty", "parent_of", "resolve"]
