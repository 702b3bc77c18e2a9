"""From names to files: every existing candidate in every search folder.

The compiler takes the first match, and which one that is depends on conditions, on ``include_next`` and on
the order of folders. Here all candidates count, so that order plays no part: look-ups are remembered per
*set* of folders (a ``Resolver``), and shared by all jobs with that set, whatever their working folder.

What a look-up asked for is recorded as a dependency: see ``derived``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Final

from manycc.errors import NotDistributable
from manycc.inputs.derived import Derived, still_valid
from manycc.inputs.entries import ABSENT, OTHER, DirView, FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.walk import Trail, walk
from manycc.job import FILE, FOLDER, Input
from manycc.reasons import Reason
from manycc.wire.native import MAX_PATH

_NOT_FILES: Final = ("/proc/", "/sys/")


class Lookup(Derived):
    """One name, looked up everywhere: the files it may mean, and what they rest on.

    ``leads``: a walk of it as a path ended at a file or a folder.
    """

    __slots__ = ("folders", "hits", "items", "leads", "name", "pch")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.hits: tuple[Node, ...] = ()
        self.leads = False
        self.folders: tuple[DirView, ...] = ()
        self.items: tuple[Input, ...] = ()
        self.pch = ""


class Node(Derived):
    """A file as an include reaches it, and all that its content may ask for.

    ``home`` is the folder it was found in, where its quoted names are looked up first: not its own folder
    if it is a symbolic link. ``leaves`` are files that are read but not scanned. What the content opens from
    the working folder is another file for each job: ``from_cwd`` says that there is such a name. ``version`` counts
    how often all this was worked out.
    """

    __slots__ = (
        "children", "entry", "flags", "folders", "from_cwd", "home", "items", "leaves", "open_ended", "pch", "version",
    )  # fmt: skip

    def __init__(self, home: DirView, entry: FileEntry) -> None:
        super().__init__()
        self.home = home
        self.entry = entry
        self.children: tuple[Node, ...] = ()
        self.leaves: tuple[FileEntry, ...] = ()
        self.folders: tuple[DirView, ...] = ()
        self.items: tuple[Input, ...] = ()
        self.flags = 0
        self.pch = ""
        self.open_ended = False  # has computed operands
        self.from_cwd = False
        self.version = 0


class Resolver:
    """Look-ups in one set of search folders.

    ``search``: absolute folder names as spelled. ``preprocessed``: includes are not followed (the source
    has been preprocessed, or is plain assembly).
    """

    def __init__(self, view: FileView, search: Sequence[str], preprocessed: bool) -> None:
        self.view = view
        self.search = tuple(search)
        self.preprocessed = preprocessed
        self.folders: frozenset[DirView] = frozenset()
        """Folders that every result rests on: the search folders and all on the way to them."""
        self.items: tuple[Input, ...] = ()
        """Inputs that every job has: the search folders, links that lead to them."""
        self.no_folder = ""
        """A place to search that is a file, or closed: clang reads it as a header map, gcc complains."""
        self._places: tuple[DirView, ...] = ()
        self._base = Derived()
        self._lookups: dict[str, Lookup] = {}
        self._own_lookups: dict[tuple[DirView, str], Lookup] = {}
        self._nodes: dict[FileEntry, tuple[Node, ...]] = {}  # mostly one: it depends on the way there

    def retired(self, item: Input) -> tuple[Node, ...]:
        """A file's content is no more: the nodes that are no more, either."""
        return self._nodes.pop(item, ()) if isinstance(item, FileEntry) else ()

    @property
    def size(self) -> int:
        """How many results it keeps."""
        return len(self._lookups) + len(self._own_lookups) + len(self._nodes)

    def sweep(self) -> None:
        """Let go of results that nobody can reach any more, as ``FileView.sweep`` does."""
        for found in (self._base, *self._lookups.values(), *self._own_lookups.values()):
            found.dependents = still_valid(found.dependents)

    def drop(self) -> None:
        """Nobody will ask any more: see ``FileView.sweep``."""
        self._base.valid = False
        for found in (*self._lookups.values(), *self._own_lookups.values()):
            found.valid = False
        for nodes in self._nodes.values():
            for node in nodes:
                node.valid = False

    # -- look-ups

    def lookup(self, name: str) -> Lookup:
        """All candidates for a name: an absolute path, or a name to be looked up in the search folders."""
        found = self._lookups.get(name)
        if found is None:
            found = self._lookups[name] = Lookup(name)
        if not found.valid:
            self._settle()
            self._look_up(found, None)
        return found

    def _lookup_from(self, home: DirView, name: str) -> Lookup:
        """The candidate for a name in one folder."""
        found = self._own_lookups.get((home, name))
        if found is None:
            found = self._own_lookups[home, name] = Lookup(name)
        if not found.valid:
            self._settle()
            self._look_up(found, home)
        return found

    def base(self) -> tuple[Iterable[DirView], Iterable[Input]]:
        """What every job rests on, and reads, for its search folders alone."""
        self._settle()
        return self.folders, self.items

    def _settle(self) -> None:
        """Find the search folders."""
        base = self._base
        if base.valid:
            return
        trail = Trail(base)
        root = self.view.folder("/")
        places: dict[DirView, None] = {}
        self.no_folder = ""
        for path in self.search:
            kind, folder, _, _ = walk(self.view, root, path, trail)
            if kind == FOLDER:
                trail.items[folder.item] = None
                places[folder] = None
            elif kind != ABSENT:
                self.no_folder = path
        self._places = tuple(places)
        self.folders = frozenset(trail.folders)
        self.items = tuple(trail.items)
        base.valid = True

    def _look_up(self, lookup: Lookup, home: DirView | None) -> None:
        """Work a look-up out; ``home``: the one folder to look in, if not all."""
        name = lookup.name.partition("\0")[0]  # as the compilers hand it to the kernel
        trail = Trail(lookup)
        hits: dict[Node, None] = {}
        lookup.pch = ""
        lookup.leads = False
        self._base.dependents.append(lookup)
        if len(name) < MAX_PATH:
            if home is not None:
                self._candidate(home, name, trail, hits, lookup)
            elif name.startswith("/"):
                self._candidate(self.view.folder("/"), name, trail, hits, lookup)
            else:
                simple = "/" not in name and name not in ("", ".", "..")
                first = name.partition("/")[0]
                plain = first not in ("", ".", "..")
                ask = self.view.ask
                for place in self._places:
                    if plain:
                        answer = place.answers.get(first) or ask(place, first)
                        answer.dependents.append(lookup)
                        kind = answer.kind
                        if kind == ABSENT or (simple and kind == FILE):
                            if kind == FILE:
                                hits[self.node(place, self._entry(place, name))] = None
                            if simple and not self.preprocessed:
                                self._precompiled(place, name, lookup)
                            continue
                    self._candidate(place, name, trail, hits, lookup)
        lookup.hits = tuple(hits)
        lookup.folders = tuple([folder for folder in trail.folders if folder not in self.folders])
        lookup.items = tuple(trail.items)
        for node in hits:
            node.entry.dependents.append(lookup)
        lookup.valid = True

    def _precompiled(self, folder: DirView, name: str, result: Lookup | Node) -> None:
        name += ".gch"
        answer = folder.answers.get(name) or self.view.ask(folder, name)
        answer.dependents.append(result)
        if answer.kind != ABSENT:
            result.pch = folder.prefix + name

    def _candidate(self, start: DirView, path: str, trail: Trail, hits: dict[Node, None], lookup: Lookup) -> None:
        kind, folder, name, home = walk(self.view, start, path, trail)
        if home is None:
            return
        lookup.leads = lookup.leads or kind != ABSENT
        if kind == OTHER and folder.prefix + name != os.devnull:
            # The compiler may wait at a pipe, read a device, or give up where permissions stop it.
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"{folder.prefix}{name} is no plain file, or out of reach")
        if kind == FILE:
            entry = self._entry(folder, name)
            hits[self.node(home, entry)] = None
            if folder is not home:  # gcc may prefer the shorter, link-free path of a system header
                hits[self.node(folder, entry)] = None
        if not self.preprocessed:
            last = path.rpartition("/")[2]
            if last not in ("", ".", ".."):
                self._precompiled(home, last, lookup)

    def _entry(self, folder: DirView, name: str) -> FileEntry:
        path = folder.prefix + name
        if path.startswith(_NOT_FILES):
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"includes {path}")
        try:
            return self.view.file(path)
        except PermissionError as error:
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"{path} cannot be read") from error

    def node(self, home: DirView, entry: FileEntry) -> Node:
        """The node of a file found in ``home``; it may be invalid yet."""
        nodes = self._nodes.get(entry, ())
        for node in nodes:
            if node.home is home:
                return node
        node = Node(home, entry)
        self._nodes[entry] = (*nodes, node)
        return node

    # -- what a file asks for

    def expand(self, node: Node) -> None:
        """Work out what a node asks for. Raises OSError if its file has just changed."""
        scan = self.view.scan_of(node.entry)
        trail = Trail(node)
        children: dict[Node, None] = {}
        leaves: dict[FileEntry, None] = {}
        node.pch = ""
        self._base.dependents.append(node)
        node.entry.dependents.append(node)
        trail.folders[node.home] = None
        if not self.preprocessed:
            for name in scan.quoted:
                self._own(node, name, children, trail)
            self._adopt(scan.quoted, node, children, trail)
            self._adopt(scan.angled, node, children, trail)
        self._adopt(scan.sources, node, children, trail, precompiled=False)
        data: dict[Node, None] = {}
        for name in scan.data:
            self._own(node, name, data, trail)
        self._adopt((*scan.data, *scan.binaries), node, data, trail, precompiled=False)
        for reached in data:
            leaves[reached.entry] = None
        node.children = tuple(children)
        node.leaves = tuple(leaves)
        node.folders = tuple([folder for folder in trail.folders if folder not in self.folders])
        node.items = tuple(trail.items)
        node.flags = scan.flags
        node.open_ended = not self.preprocessed and bool(scan.computed or scan.exists)
        node.version += 1
        node.from_cwd = bool(scan.sources or scan.binaries or scan.lines)
        node.valid = True

    def _own(self, node: Node, name: str, found: dict[Node, None], trail: Trail) -> None:
        """Look a name up in the folder of the file that mentions it."""
        home = node.home
        name = name.partition("\0")[0]
        if not name or name.startswith("/"):
            return
        if "/" not in name and name not in (".", ".."):
            answer = home.answers.get(name) or self.view.ask(home, name)
            answer.dependents.append(node)
            if answer.kind == ABSENT:
                self._precompiled(home, name, node)
                return
        self._take(self._lookup_from(home, name), node, found, trail, True)

    def _adopt(
        self, names: Iterable[str], node: Node, found: dict[Node, None], trail: Trail, precompiled: bool = True
    ) -> None:
        for name in names:
            self._take(self.lookup(name), node, found, trail, precompiled)

    @staticmethod
    def _take(lookup: Lookup, node: Node, found: dict[Node, None], trail: Trail, precompiled: bool) -> None:
        lookup.dependents.append(node)
        for hit in lookup.hits:
            found[hit] = None
        for folder in lookup.folders:
            trail.folders[folder] = None
        for item in lookup.items:
            trail.items[item] = None
        if lookup.pch and precompiled:
            node.pch = lookup.pch
