"""Making a job's tree on the disk, out of hard links to the store.

A ``Root`` is the read-only part: everything the job may read. Since no job can write to it, it is as
good for the next job, which seldom reads much else: roots are kept, and only what differs is removed
and added. That takes a warm job from 9 ms to 1.5 ms.

A ``Workplace`` is the part of a job's own: for each folder that it may write into, a fresh folder
that the sandbox mounts over the one in the root, with copies of the inputs that lie directly in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from manycc.job import FILE, LINK
from manycc.node.tree import Entry, Tree, parent_of, refused
from manycc.store.layout import remove_tree
from manycc.store.store import BlobMissing, Store

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/urandom")
PRIVATE: Final = "/tmp"  # noqa: S108 - the name within the sandbox
_CANDIDATES: Final = 6
"""How many of the roots used last are compared with a job's tree."""
MAX_MOUNTS: Final = 2000
"""Mounts for one job. The time bubblewrap takes grows with their square."""
_FOLDER_COST: Final = 4
"""A folder costs as much to make as this many links."""


class Mount(NamedTuple):
    """What the sandbox puts over a path of the root.

    ``kind``: "read" or "write" binds ``source``; "private" is an empty folder in memory; "link"
    makes a symbolic link to ``source``.
    """

    kind: str
    path: str
    source: str = ""


class Root:
    """A tree on the disk. ``path`` is its folder; what is in it is ``tree``.

    Inputs of equal content do not share a file: clang takes two names of one file for the same header, and
    looks up what the second one includes in the folder of the first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = store.scratch.folder()
        self.tree = Tree({}, {"/"})
        self._linked: dict[bytes, str] = {}  # the one place of each of the store's files
        self._copies: dict[str, tuple[int, int]] = {}  # inode and mode of the others
        os.mkdir(f"{self.path}/dev", 0o755)
        for device in DEVICES:
            with open(self.path + device, "wb"):
                pass
        self.tree.folders.add("/dev")

    def become(self, tree: Tree) -> None:
        """Make the folder hold exactly ``tree``. Raises BlobMissing, StoreFull, OSError: then it is of no use."""
        path = self.path
        store = self._store
        leaves, folders = self.tree.leaves, self.tree.folders
        stale, fresh = self.difference(tree)
        for entry in stale:
            self._unlink(entry)
        # Longer paths first: a folder is empty when it is removed, and there when it is filled.
        for folder in sorted(folders - tree.folders, key=len, reverse=True):
            os.rmdir(path + folder)
            folders.discard(folder)
        for folder in sorted(tree.folders - folders, key=len):
            os.mkdir(path + folder, 0o755)
            folders.add(folder)
        for entry in fresh:
            if entry.kind == LINK:
                os.symlink(entry.target, path + entry.path)
            elif entry.executable or self._linked.setdefault(entry.key, entry.path) == entry.path:
                store.link_into(entry.digest, path + entry.path, executable=entry.executable)
            else:
                status = store.copy_into(entry.digest, path + entry.path)
                self._copies[entry.path] = (status.st_ino, status.st_mode)
            leaves[entry.path] = entry

    def _unlink(self, entry: Entry) -> None:
        os.unlink(self.path + entry.path)
        del self.tree.leaves[entry.path]
        self._copies.pop(entry.path, None)
        if self._linked.get(entry.key) == entry.path:
            del self._linked[entry.key]

    def difference(self, tree: Tree) -> tuple[list[Entry], list[Entry]]:
        """The leaves that must be removed, and those that must be added, to make this that tree."""
        have, want = self.tree.leaves, tree.leaves
        stale: list[Entry] = []
        fresh: list[Entry] = []
        for path, entry in want.items():
            present = have.get(path)
            if present is entry:
                continue
            if present is None:
                fresh.append(entry)
            elif present.token != entry.token:
                stale.append(present)
                fresh.append(entry)
        if len(have) + len(fresh) - len(stale) != len(want):
            stale += [entry for path, entry in have.items() if path not in want]
        return stale, fresh

    def cost(self, tree: Tree) -> int:
        """About how many links must be made or removed to make this that tree."""
        stale, fresh = self.difference(tree)
        return len(stale) + len(fresh) + _FOLDER_COST * len(self.tree.folders ^ tree.folders)

    def remove_damaged(self) -> list[Entry]:
        """Remove the files that are not any more what was hashed, by their status; returns them."""
        stat = os.stat
        identity = self._store.identity
        base = self.path
        wrong: list[Entry] = []
        used: list[bytes] = []
        for path, entry in self.tree.leaves.items():
            if entry.kind == FILE:
                status = stat(base + path)
                known = identity(entry.key)
                copy = self._copies.get(path)
                if known is not None and copy is not None:  # it must be as old as the one in the store is now
                    known = known._replace(inode=copy[0], mode=copy[1])
                if known != (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode):
                    wrong.append(entry)
                else:
                    used.append(entry.key)
        self._store.use(used)
        for entry in wrong:
            self._unlink(entry)
        return wrong

    def remove(self) -> None:
        """Remove it from the disk."""
        remove_tree(self.path)


class RootPool:
    """The roots that no job uses at the moment, least recently used first."""

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._idle: list[Root] = []

    def take(self, tree: Tree) -> Root:
        """A root that holds ``tree``, for one job. Raises BlobMissing, StoreFull, OSError."""
        root = self._nearest(tree)
        try:
            if root is None:
                root = Root(self._store)
            else:
                self._check(root)
            root.become(tree)
        except BaseException:
            if root is not None:
                root.remove()
            raise
        return root

    def give_back(self, root: Root) -> None:
        """The job is over."""
        self._idle.append(root)
        while len(self._idle) > self._size:
            self._idle.pop(0).remove()

    def clear(self) -> None:
        """Remove all idle roots."""
        while self._idle:
            self._idle.pop().remove()

    def _nearest(self, tree: Tree) -> Root | None:
        """Take out the idle root that is cheapest to change; None if a new one is cheaper."""
        best: Root | None = None
        least = len(tree.leaves) + _FOLDER_COST * len(tree.folders)
        for root in self._idle[: -_CANDIDATES - 1 : -1]:
            cost = root.cost(tree)
            if cost < least:
                best, least = root, cost
                if cost == 0:
                    break
        if best is not None:
            self._idle.remove(best)
        return best

    def _check(self, root: Root) -> None:
        for entry in root.remove_damaged():
            # Either the store's file was renewed since, or it is the very file we hold that changed.
            self._store.has(entry.digest, executable=entry.executable)


class Workplace:
    """The folders that are a job's own.

    ``mounts`` is what goes over the root, in order. ``folders`` pairs each writable folder's path
    within the sandbox with the one on the disk; ``given`` holds what was put in there at first, as
    (inode, modification time) by path on the disk.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.path = store.scratch.folder()
        self.mounts: list[Mount] = []
        self.folders: list[tuple[str, str]] = []
        self.given: dict[str, tuple[int, int]] = {}

    def prepare(self, root: Root, tree: Tree, writable: Iterable[str]) -> None:
        """Fill the folders. Raises BlobMissing, StoreFull, OSError; BackendRefused if there are too many."""
        private = PRIVATE
        chosen = sorted(set(writable), key=_depth)
        layers = {*chosen, private}
        children: dict[str, list[str]] = {folder: [] for folder in layers}
        for folder in tree.folders:
            if folder != "/" and (parent := parent_of(folder)) in layers:
                children[parent].append(folder)
        leaves: dict[str, list[Entry]] = {folder: [] for folder in layers}
        for entry in tree.leaves.values():
            if entry.parent in layers:
                leaves[entry.parent].append(entry)
        mounts = sum(map(len, children.values())) + len(layers) + len(leaves[private])
        if mounts > MAX_MOUNTS:
            raise refused(f"{mounts} mounts would be needed for the folders it writes into and what is in them")
        for folder in sorted(layers, key=_depth):
            if folder in chosen:
                self._writable(folder, leaves[folder], children[folder])
            else:
                self.mounts.append(Mount("private", folder))
                for entry in leaves[folder]:
                    if entry.kind == LINK:
                        self.mounts.append(Mount("link", entry.path, entry.target))
                    else:
                        self.mounts.append(Mount("read", entry.path, root.path + entry.path))
            for child in children[folder]:
                if child not in layers:
                    self.mounts.append(Mount("read", child, root.path + child))

    def _writable(self, folder: str, leaves: Sequence[Entry], children: Iterable[str]) -> None:
        place = f"{self.path}/w{len(self.folders)}"
        os.mkdir(place, 0o700)
        given = self.given
        for entry in leaves:
            target = place + entry.path[len(folder.rstrip("/")) :]
            if entry.kind == LINK:
                os.symlink(entry.target, target)
                status = os.lstat(target)
            else:
                status = self._store.copy_into(entry.digest, target, 0o644)
            given[target] = (status.st_ino, status.st_mtime_ns)
        for child in children:
            target = place + child[len(folder.rstrip("/")) :]
            os.mkdir(target, 0o755)
            given[target] = (0, 0)
        self.folders.append((folder, place))
        self.mounts.append(Mount("write", folder, place))

    def remove(self) -> None:
        """Remove it from the disk."""
        remove_tree(self.path)


def digests_of(tree: Tree) -> Iterator[bytes]:
    """The contents that a tree's inputs need; the toolchain's own are not among them."""
    return (entry.digest for entry in tree.leaves.values() if entry.kind == FILE and not entry.executable)


def _depth(path: str) -> tuple[int, str]:
    return (0 if path == "/" else path.count("/"), path)


__all__ = ["BlobMissing", "Mount", "Root", "RootPool", "Workplace", "digests_of"]
