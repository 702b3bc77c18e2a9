"""A job's inputs as the engine wants them: folders that name what is in them by digest.

The input root stands for the root of the file system, so that every path is the client's own. A folder whose
entries are those of an earlier job is the same object, down to its digest and to whether the engine is known to have
it: of a job like the one before, only the folders above the source that changed are made anew, and looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.inputs.manifest import Items
from manycc.job import FILE, FOLDER, LINK, Input, Toolchain
from manycc.reapi.remote_execution_pb2 import Digest, Directory
from manycc.reasons import Reason
from manycc.toolchain.identity import tool_path

TMP: Final = "/tmp"  # noqa: S108 - within the worker's root
RESERVED: Final = ("/dev", "/proc", "/sys")
"""A worker has its own of these."""
MAX_WEIGHT: Final = 32_000_000
"""About how many bytes are remembered of folders, over all jobs."""
PER_FOLDER: Final = 800
PER_ENTRY: Final = 40
"""About what a folder takes, and each entry of it, besides the listing itself."""
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


def _target_of(link: Input) -> str:
    return link.target


class _Part:
    """What jobs share of their input roots: the tree of a toolchain and of headers that rest."""

    __slots__ = ("below", "done", "leaves", "shared")

    def __init__(self, shared: Sequence[Input], leaves: dict[str, list[Input]]) -> None:
        self.shared = shared
        self.leaves = leaves  # what lies directly in each folder, besides folders
        self.below: dict[str, set[str]] = {}  # the folders in each folder
        self.done: dict[str, Folder] = {}


class Trees:
    """Makes input roots, and remembers folders."""

    def __init__(self, target_of: Callable[[Input], str] = _target_of) -> None:
        """``target_of``: what a link is told to lead to."""
        self._target_of = target_of
        self._folders: dict[tuple[object, ...], Folder] = {}
        self._parts: dict[tuple[int, Tools], _Part] = {}
        self._tools: dict[tuple[str, str], Tools] = {}
        self._roots: dict[tuple[int, Tools, tuple[str, ...]], tuple[Sequence[Input], Folder]] = {}
        self.weight = 0
        """About how many bytes are remembered."""
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
        own, shared = (items.own, items.shared) if isinstance(items, Items) else (items, ())
        part = self._part(shared, tools)
        root = self._grown(part, _placed(own, folders, tools.paths), tools)["/"]
        if len(self._roots) >= MAX_ROOTS:
            del self._roots[next(iter(self._roots))]
        self._roots[key] = (items, root)
        if self.weight > MAX_WEIGHT:  # all of it: whatever were kept would hold most of the rest
            self._folders.clear()
            self._parts.clear()
            self._roots.clear()
            self.weight = 0
        return root

    def _part(self, shared: Sequence[Input], tools: Tools) -> _Part:
        key = (id(shared), tools)
        part = self._parts.get(key)
        if part is None or part.shared is not shared:
            placed = _placed(shared, (TMP,), tools.paths)
            for path, more in tools.placed.items():
                placed[path] = placed[path] + more if path in placed else more
            part = _Part(shared, {})
            part.done = self._grown(part, placed, tools)
            part.leaves = placed
            for path in part.done:
                if path != "/":
                    part.below.setdefault(_parent(path), set()).add(path)
            self._parts[key] = part
            self.weight += PER_ENTRY * len(shared) + PER_FOLDER * len(part.done)
        return part

    def _grown(self, part: _Part, placed: dict[str, list[Input]], tools: Tools) -> dict[str, Folder]:
        """A part with more in it: those of its folders that are other ones then, and new ones, by path."""
        inner: dict[str, set[str]] = {"/": set()}
        for path in placed:
            while path not in inner:
                inner[path] = set()
                path = _parent(path)
        for path in inner:
            if path != "/":
                inner[_parent(path)].add(path)
        done: dict[str, Folder] = {}
        for path in sorted(inner, key=len, reverse=True):  # whatever lies below has the longer path
            if path in RESERVED:
                raise _fault(f"{path} is the worker's own")
            leaves = [*part.leaves.get(path, ()), *placed.get(path, ())]
            names = inner[path] | part.below.get(path, set())
            folders = {name: done.get(name) or part.done[name] for name in names}
            done[path] = self._folder(path, leaves, folders, tools)
        return done

    def _folder(self, path: str, leaves: Sequence[Input], folders: dict[str, Folder], tools: Tools) -> Folder:
        key = (path, frozenset(leaves), frozenset(folders.values()))
        found = self._folders.get(key)
        if found is None:
            found = self._folders[key] = _make(path, leaves, sorted(folders.items()), tools, self._target_of)
            self.weight += PER_FOLDER + found.size + PER_ENTRY * (len(leaves) + len(folders))
            self.made += 1
        return found


def _placed(items: Iterable[Input], folders: Iterable[str], but: Container[str]) -> dict[str, list[Input]]:
    """What lies directly in each folder, without some paths."""
    placed: dict[str, list[Input]] = {folder: [] for folder in folders}
    for item in items:
        path = item.path
        if path in but:
            continue
        parent = path if item.kind == FOLDER else _parent(path)
        found = placed.get(parent)
        if found is None:
            found = placed[parent] = []
        if item.kind != FOLDER:
            found.append(item)
    return placed


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _make(
    path: str,
    leaves: Sequence[Input],
    inner: list[tuple[str, Folder]],
    tools: Tools,
    target_of: Callable[[Input], str],
) -> Folder:
    directory = Directory()
    names: set[str] = set()
    try:
        for item in sorted(leaves, key=lambda leaf: leaf.path):
            name = item.path.rpartition("/")[2]
            _check(path, name, names)
            if item.kind == LINK:
                directory.symlinks.add(name=name, target=target_of(item))
            else:
                executable = item in tools.executable
                directory.files.add(
                    name=name, digest=Digest(hash=item.digest.hex(), size_bytes=item.size), is_executable=executable
                )
        for place, folder in inner:
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
