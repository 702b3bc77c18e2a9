"""All that a job's source may lead to: the graph that a resolver gives, gone through.

Most of it comes by way of a few headers that many sources ask for. What such a header leads to is written
down the second time it is asked for (a ``Reach``), and from then on added as a whole. The working folder belongs to
the job: few names are opened from there, and they are added to its closure alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from manycc.errors import NotDistributable
from manycc.inputs.derived import Derived
from manycc.inputs.entries import DirView, FileEntry
from manycc.inputs.resolve import Lookup, Node, Resolver
from manycc.inputs.walk import Trail, walk
from manycc.job import Input
from manycc.reasons import Reason
from manycc.wire.native import MAX_INPUTS

_MAX_REACHED: Final = 200_000
"""Nodes in all reaches of a resolver together: some 2 MB."""
_valid: Final = attrgetter("valid")
_version: Final = attrgetter("version")


def absolute(cwd: str, name: str) -> str:
    """A name as the compiler opens it from its working folder."""
    return name if name.startswith("/") else f"{cwd}/{name}"


class Place(Derived):
    """A working folder: what the way to it rests on."""

    __slots__ = ("folders", "items")

    def __init__(self) -> None:
        super().__init__()
        self.folders: tuple[DirView, ...] = ()
        self.items: tuple[Input, ...] = ()


class Closure:
    """All that a set of starting points may lead to.

    ``open_ended``: the nodes with computed operands. ``from_cwd``: those that open a file from the working folder.
    """

    __slots__ = ("flags", "folders", "from_cwd", "items", "leaves", "nodes", "open_ended", "opened", "pch")

    def __init__(self) -> None:
        self.nodes: dict[Node, None] = {}
        self.leaves: dict[FileEntry, None] = {}
        self.folders: dict[DirView, None] = {}
        self.items: dict[Input, None] = {}
        self.open_ended: dict[Node, None] = {}
        self.from_cwd: dict[Node, None] = {}
        self.opened: set[Node] = set()  # those of them that were
        self.flags = 0
        self.pch = ""

    def rest_on(self, base: Lookup | Place) -> None:
        """Add what was come through on the way."""
        self.folders.update(dict.fromkeys(base.folders))
        self.items.update(dict.fromkeys(base.items))

    def add(self, reach: Reach) -> None:
        """Add all that a header leads to."""
        self.nodes.update(dict.fromkeys(reach.nodes))
        self.leaves.update(dict.fromkeys(reach.leaves))
        self.folders.update(dict.fromkeys(reach.folders))
        self.items.update(dict.fromkeys(reach.items))
        self.open_ended.update(dict.fromkeys(reach.open_ended))
        self.from_cwd.update(dict.fromkeys(reach.from_cwd))
        self.flags |= reach.flags
        self.pch = reach.pch or self.pch


class Reach:
    """A closure, written down. It holds as long as none of its nodes was worked out anew."""

    __slots__ = (
        "_checked", "_versions", "flags", "folders", "from_cwd", "items", "leaves", "nodes", "open_ended", "pch",
    )  # fmt: skip

    def __init__(self, closure: Closure) -> None:
        self.nodes = tuple(closure.nodes)
        self.leaves = tuple(closure.leaves)
        self.folders = tuple(closure.folders)
        self.items = tuple(closure.items)
        self.open_ended = tuple(closure.open_ended)
        self.from_cwd = tuple(closure.from_cwd)
        self.flags = closure.flags
        self.pch = closure.pch
        self._versions = sum(map(_version, self.nodes))  # each only grows
        self._checked = Derived.forgotten

    def holds(self) -> bool:
        """Whether it is still so."""
        if self._checked == Derived.forgotten:
            return True
        if not all(map(_valid, self.nodes)) or sum(map(_version, self.nodes)) != self._versions:
            return False
        self._checked = Derived.forgotten
        return True


class Closures:
    """The closures of jobs with one set of search folders."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self._places: dict[str, Place] = {}
        self._reaches: dict[Node, Reach | None] = {}  # None: asked for once
        self._reached = 0

    @property
    def size(self) -> int:
        """How many results it keeps."""
        return self.resolver.size + len(self._places)

    def retired(self, item: Input) -> None:
        """A file's content is no more."""
        for node in self.resolver.retired(item):
            reach = self._reaches.pop(node, None)
            self._reached -= len(reach.nodes) if reach is not None else 0

    def sweep(self) -> None:
        """Let go of what edits left behind."""
        self.resolver.sweep()

    def drop(self) -> None:
        """Nobody will ask any more: see ``FileView.sweep``."""
        for place in self._places.values():
            place.valid = False
        self._reaches.clear()  # a job that waits for its compiler goes on with these closures
        self._reached = 0
        self.resolver.drop()

    def begin(self, cwd: str) -> Closure:
        """A closure that holds what every job in that working folder needs."""
        closure = Closure()
        folders, items = self.resolver.base()
        closure.folders.update(dict.fromkeys(folders))
        closure.items.update(dict.fromkeys(items))
        closure.rest_on(self._place(cwd))
        return closure

    def extend(self, closure: Closure, cwd: str, names: Iterable[str], scanned: bool = True) -> bool:
        """Add all candidates of the names and what they lead to. True if any name has a candidate.

        Raises OSError if the view must be refreshed first: a file changed since its folder was listed.
        """
        start: dict[Node, None] = {}
        any_hit = False
        for name in names:
            lookup = self.resolver.lookup(name)
            closure.rest_on(lookup)
            any_hit = any_hit or bool(lookup.hits)
            if scanned:
                closure.pch = lookup.pch or closure.pch
                start.update(dict.fromkeys(lookup.hits))
            else:
                closure.leaves.update(dict.fromkeys([hit.entry for hit in lookup.hits]))
        while start:
            self._spread(closure, start)
            start = {}
            for node in [node for node in closure.from_cwd if node not in closure.opened]:
                closure.opened.add(node)
                self._open(closure, cwd, node, start)
        if len(closure.nodes) + len(closure.items) > MAX_INPUTS:
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"more than {MAX_INPUTS} inputs")
        return any_hit

    def _place(self, cwd: str) -> Place:
        """The working folder, which is an input of each job in it."""
        place = self._places.get(cwd)
        if place is None:
            place = self._places[cwd] = Place()
        if not place.valid:
            view = self.resolver.view
            trail = Trail(place)
            _, folder, _, _ = walk(view, view.folder("/"), cwd, trail)
            trail.items[folder.item] = None
            place.folders = tuple(trail.folders)
            place.items = tuple(trail.items)
            place.valid = True
        return place

    def _open(self, closure: Closure, cwd: str, node: Node, sources: dict[Node, None]) -> None:
        """Add what a file opens from the working folder; what of it is a source in turn goes to ``sources``."""
        lookup = self.resolver.lookup
        scan = self.resolver.view.scan_of(node.entry)
        for name in scan.sources:
            found = lookup(absolute(cwd, name))
            closure.rest_on(found)
            sources.update(dict.fromkeys(found.hits))
        for name in (*scan.binaries, *scan.lines):
            found = lookup(absolute(cwd, name))
            closure.rest_on(found)
            closure.leaves.update(dict.fromkeys([hit.entry for hit in found.hits]))

    def _spread(self, closure: Closure, start: Iterable[Node]) -> None:
        """Add nodes and all that they lead to."""
        nodes = closure.nodes
        for node in start:
            if node in nodes:
                continue
            nodes[node] = None
            for child in self._take(closure, node):
                if child not in nodes:
                    reach = self._reach(child)
                    if reach is not None:
                        closure.add(reach)
                    else:
                        self._walk(closure, child)

    def _reach(self, node: Node) -> Reach | None:
        """All that a node leads to; None the first time that it is asked for."""
        reaches = self._reaches
        if node not in reaches:
            reaches[node] = None
            return None
        reach = reaches[node]
        if reach is not None:
            if reach.holds():
                return reach
            self._reached -= len(reach.nodes)
            reaches[node] = None
            return None
        closure = Closure()
        self._walk(closure, node)
        self._reached += len(closure.nodes)
        if self._reached > _MAX_REACHED:
            reaches.clear()
            self._reached = len(closure.nodes)
        reach = reaches[node] = Reach(closure)
        return reach

    def _walk(self, closure: Closure, start: Node) -> None:
        """Add a node and all that it leads to, of which parts may be written down."""
        nodes = closure.nodes
        reaches = self._reaches
        nodes[start] = None
        stack = [start]
        while stack:
            for child in self._take(closure, stack.pop()):
                if child not in nodes:
                    reach = reaches.get(child)
                    if reach is not None and reach.holds():
                        closure.add(reach)
                    else:
                        nodes[child] = None
                        stack.append(child)

    def _take(self, closure: Closure, node: Node) -> tuple[Node, ...]:
        """Add what comes with one node. Returns its children."""
        if not node.valid:
            self.resolver.expand(node)
        closure.flags |= node.flags
        if node.folders:
            closure.folders.update(dict.fromkeys(node.folders))
        if node.items:
            closure.items.update(dict.fromkeys(node.items))
        if node.leaves:
            closure.leaves.update(dict.fromkeys(node.leaves))
        if node.pch:
            closure.pch = node.pch
        if node.open_ended:
            closure.open_ended[node] = None
        if node.from_cwd:
            closure.from_cwd[node] = None
        return node.children
