"""A job's inputs as the engine wants them: folders that name what is in them by digest.

The input root stands for the root of the file system, so that every path is the client's own. A folder whose
entries are those of an earlier job is the same object, down to its digest and to whether the engine is known to have
it: of a job like the one before, only the folders above the source that changed are made anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.job import FILE, FOLDER, LINK, Input, Toolchain
from manycc.reapi.remote_execution_pb2 import Digest, Directory
from manycc.reasons import Reason
from manycc.toolchain.identity import tool_path

TMP: Final = "/tmp"  # noqa: S108 - within the worker's root
RESERVED: Final = ("/dev", "/proc", "/sys")
"""A worker has its own of these."""
MAX_NODES: Final = 50_000
"""Folders that are remembered, over all jobs."""
MAX_TOOLCHAINS: Final = 32
MAX_ROOTS: Final = 512
"""Input roots that are remembered with the very list of inputs they were made of: those of jobs done again."""


class Folder:
    """A folder with all that is in it. Compared by identity: one object stands for one content at one path.

    ``known``: the state of the store (``Cas.state``) in which the engine had all of it.
    """

    __slots__ = ("data", "digest", "files", "folders", "known", "size")

    def __init__(self, data: bytes, files: Sequence[Input], folders: Sequence[Folder]) -> None:
        self.data = data
        self.digest = hashlib.sha256(data).digest()
        self.size = len(data)
        self.files = files
        self.folders = folders
        self.known = 0


class Tools:
    """A toolchain's files and links, by the folder they lie in. ``search_path``: the PATH its driver needs."""

    __slots__ = ("executable", "paths", "placed", "search_path")

    def __init__(self, toolchain: Toolchain) -> None:
        items = [Input(FILE, file.path, file.digest, file.size) for file in toolchain.files]
        items += [Input(LINK, place, target=target) for place, target in toolchain.links]
        self.search_path = tool_path(toolchain)
        self.paths = {item.path for item in items}
        self.executable = frozenset(items)
        self.placed: dict[str, list[Input]] = {}
        for item in items:
            self.placed.setdefault(item.path.rpartition("/")[0] or "/", []).append(item)


NO_TOOLS: Final = Tools(Toolchain("", "", "", "", "", "", (), (), {}))


class Trees:
    """Makes input roots, and remembers folders."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[tuple[object, ...], Folder]] = {}
        self._count = 0
        self._tools: dict[tuple[str, str], Tools] = {}
        self._roots: dict[tuple[int, Tools, tuple[str, ...]], tuple[Sequence[Input], Folder]] = {}
        self.made = 0
        """Folders that had to be made, that is: were not known."""

    def tools(self, toolchain: Toolchain) -> Tools:
        """A toolchain, ready to go along with jobs."""
        key = (toolchain.fingerprint, toolchain.driver)
        tools = self._tools.get(key)
        if tools is None:
            if len(self._tools) >= MAX_TOOLCHAINS:
                self._tools.clear()
            tools = self._tools[key] = Tools(toolchain)
        return tools

    def root(self, items: Sequence[Input], folders: tuple[str, ...], tools: Tools = NO_TOOLS) -> Folder:
        """The input root with these inputs, these folders and a toolchain.

        Raises NotDistributable(INPUTS_UNKNOWN) if they cannot be in one tree, or be named to an engine.
        """
        key = (id(items), tools, folders)
        known = self._roots.get(key)
        if known is not None and known[0] is items:
            return known[1]
        root = self._assemble(self._placed(items, folders, tools), tools)
        if len(self._roots) >= MAX_ROOTS:
            del self._roots[next(iter(self._roots))]
        self._roots[key] = (items, root)
        return root

    @staticmethod
    def _placed(items: Iterable[Input], folders: Iterable[str], tools: Tools) -> dict[str, list[Input]]:
        """What lies directly in each folder."""
        placed: dict[str, list[Input]] = {}
        own = tools.paths
        for item in items:
            path = item.path
            if path in own:
                continue
            parent = path if item.kind == FOLDER else (path.rpartition("/")[0] or "/")
            found = placed.get(parent)
            if found is None:
                found = placed[parent] = []
            if item.kind != FOLDER:
                found.append(item)
        for parent in folders:
            placed.setdefault(parent, [])
        placed.setdefault(TMP, [])
        for parent, more in tools.placed.items():
            placed[parent] = placed[parent] + more if parent in placed else more
        return placed

    def _assemble(self, placed: dict[str, list[Input]], tools: Tools) -> Folder:
        paths = {"/", *placed}
        for path in placed:
            while (path := path.rpartition("/")[0] or "/") not in paths:
                paths.add(path)
        below: dict[str, list[str]] = {path: [] for path in paths}
        for path in paths:
            if path != "/":
                below[path.rpartition("/")[0] or "/"].append(path)
        done: dict[str, Folder] = {}
        for path in sorted(below, key=len, reverse=True):  # whatever lies below has the longer path
            if path in RESERVED:
                raise _fault(f"{path} is the worker's own")
            done[path] = self._folder(path, placed.get(path, ()), below[path], done, tools)
        return done["/"]

    def _folder(
        self, path: str, leaves: Sequence[Input], names: Sequence[str], done: dict[str, Folder], tools: Tools
    ) -> Folder:
        inner = [done[name] for name in names]
        key = (frozenset(leaves), frozenset(inner))
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = {}
        found = known.get(key)
        if found is None:
            if self._count >= MAX_NODES:
                self._folders.clear()
                self._count = 0
                known = self._folders[path] = {}
            found = known[key] = _make(path, leaves, list(zip(names, inner, strict=True)), tools)
            self._count += 1
            self.made += 1
        return found


def _make(path: str, leaves: Sequence[Input], inner: list[tuple[str, Folder]], tools: Tools) -> Folder:
    directory = Directory()
    names: set[str] = set()
    try:
        for item in sorted(leaves, key=lambda leaf: leaf.path):
            name = item.path.rpartition("/")[2]
            _check(path, name, names)
            if item.kind == LINK:
                directory.symlinks.add(name=name, target=item.target)
            else:
                executable = item in tools.executable
                directory.files.add(
                    name=name, digest=Digest(hash=item.digest.hex(), size_bytes=item.size), is_executable=executable
                )
        for place, folder in sorted(inner, key=lambda pair: pair[0]):
            name = place.rpartition("/")[2]
            _check(path, name, names)
            directory.directories.add(name=name, digest=Digest(hash=folder.digest.hex(), size_bytes=folder.size))
    except (UnicodeEncodeError, ValueError) as error:
        raise _fault(f"{path!a} holds a name that is not UTF-8, which an engine cannot be told") from error
    files = [item for item in leaves if item.kind == FILE]
    return Folder(directory.SerializeToString(deterministic=True), files, [folder for _, folder in inner])


def _check(path: str, name: str, names: set[str]) -> None:
    if name in ("", ".", "..") or name in names:
        raise _fault(f"{path} cannot hold {name!r} twice, or at all")
    names.add(name)


def _fault(sentence: str) -> NotDistributable:
    return NotDistributable(Reason.INPUTS_UNKNOWN, sentence)
