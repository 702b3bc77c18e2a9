"""The input root of a job, from the folders' listings that an engine keeps to the entries of a tree.

The root is the file system's: a listing at ``usr/include`` is that of ``/usr/include``. Most of what a job
reads lies in folders whose listings were read before, for another job; their entries are kept.

A listing is small and what it stands for is not: one may stand at many places, and each of its names becomes an
object. So all that it will take is counted first, and only then made.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from manycc.engine.contents import MAX_SMALL, Contents, Named, named
from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.node.tree import MAX_NAME, MAX_PATH, Entry
from manycc.reapi import remote_execution_pb2
from manycc.reasons import Reason
from manycc.wire.native import MAX_INPUTS

MAX_LISTINGS: Final = 32 * 1024**2
"""Bytes of all listings of a job together."""
MAX_NAMES: Final = 64 * 1024**2
"""Characters of all paths of a job together."""
MAX_KEPT: Final = 128 * 1024**2
"""Bytes, about, of the entries that are kept for later jobs."""
ENTRY_BYTES: Final = 600
"""What an entry takes, besides its path."""
AT_ONCE: Final = 64 * 1024
"""Bytes of listings that are read on the spot; more would keep the node from answering."""

_re = remote_execution_pb2
_Place = tuple[str, Named]
"""A folder's path, "" for the root's, and its listing."""


class _Room:
    """What a job's input root may still take. Raises BackendRefused where it takes more."""

    __slots__ = ("bytes", "characters", "nodes")

    def __init__(self) -> None:
        self.bytes = MAX_LISTINGS
        self.characters = MAX_NAMES
        self.nodes = MAX_INPUTS

    def take_bytes(self, size: int) -> None:
        self.bytes -= size
        if self.bytes < 0 or size > MAX_SMALL:
            raise _too_large()

    def take(self, nodes: int, characters: int) -> None:
        self.nodes -= nodes
        self.characters -= characters
        if self.nodes < 0 or self.characters < 0:
            raise _too_large()


class _Listing:
    """One folder at one place: what it has, and the folders in it by path.

    ``nodes`` and ``characters`` are what it takes of a job's room.
    """

    __slots__ = ("characters", "entries", "folders", "nodes")

    def __init__(self, path: str, directory: _re.Directory, size: int, room: _Room) -> None:
        """``size``: of the listing, in bytes. Raises BackendRefused."""
        self.nodes = 1 + len(directory.files) + len(directory.symlinks) + len(directory.directories)
        self.characters = self.nodes * (len(path) + 1) + size
        room.take(self.nodes, self.characters)
        self.entries: list[Entry] = []
        self.folders: list[tuple[str, Named]] = []
        above = path + "/"
        for file in directory.files:
            content = named(file.digest)
            self.entries.append(Entry(FILE, above + _plain(file.name), content.digest, content.size))
        for link in directory.symlinks:
            self.entries.append(Entry(LINK, above + _plain(link.name), target=link.target))
        for folder in directory.directories:
            self.folders.append((above + _plain(folder.name), named(folder.digest)))
        if not self.entries and not self.folders:
            self.entries.append(Entry(FOLDER, path or "/"))

    @property
    def weight(self) -> int:
        """Bytes of memory, about: a path is there twice, once without its last name."""
        return ENTRY_BYTES * self.nodes + 2 * self.characters


class InputRoots:
    """Reads input roots of one instance of an engine. For one event loop."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._kept: OrderedDict[_Place, _Listing] = OrderedDict()
        self._weight = 0
        self._reading = asyncio.Lock()

    async def entries(self, root: Named) -> list[Entry]:
        """All that is in a root. Raises ContentsMissing, BackendError."""
        found: list[Entry] = []
        room = _Room()
        raw: dict[bytes, bytes] = {}
        level = [("", root)]
        while level:
            # Taken out now: what is kept may have had to make room for other jobs' by the time it is wanted.
            here = {place: self._known(place) for place in level}
            new: dict[Named, list[str]] = {}
            for (path, name), listing in here.items():
                if listing is None:
                    new.setdefault(name, []).append(path)
                else:
                    room.take(listing.nodes, listing.characters)
            unread = [name for name in new if name.digest not in raw]
            for name in unread:
                room.take_bytes(name.size)
            if unread:
                raw |= await self._contents.read(unread)
            made = await self._listings(new, raw, room)
            level = []
            for place, listing in here.items():
                one = listing or made[place]
                found += one.entries
                level += one.folders
        return found

    def _known(self, place: _Place) -> _Listing | None:
        if len(place[0]) > MAX_PATH:
            raise _too_large()
        listing = self._kept.get(place)
        if listing is not None:
            self._kept.move_to_end(place)
        return listing

    async def _listings(
        self, places: Mapping[Named, Sequence[str]], raw: Mapping[bytes, bytes], room: _Room
    ) -> dict[_Place, _Listing]:
        """Each listing at each of its places. Raises BackendRefused."""

        def make() -> dict[_Place, _Listing]:
            made: dict[_Place, _Listing] = {}
            for name, paths in places.items():
                data = raw[name.digest]
                directory = _parse(data)
                made |= {(path, name): _Listing(path, directory, len(data), room) for path in paths}
            return made

        if sum(len(raw[name.digest]) * len(paths) for name, paths in places.items()) <= AT_ONCE:
            made = make()
        else:
            async with self._reading:  # one job at a time, for what a listing takes meanwhile
                made = await asyncio.to_thread(make)
        for place, listing in made.items():
            self._keep(place, listing)
        return made

    def _keep(self, place: _Place, listing: _Listing) -> None:
        before = self._kept.pop(place, None)  # another job may have read it meanwhile
        self._kept[place] = listing
        self._weight += listing.weight - (before.weight if before is not None else 0)
        while self._weight > MAX_KEPT:
            _, gone = self._kept.popitem(last=False)
            self._weight -= gone.weight


def _parse(data: bytes) -> _re.Directory:
    directory = _re.Directory()
    try:
        directory.ParseFromString(data)
        return directory
    except DecodeError as error:
        raise BackendRefused(Reason.PROTOCOL, "a folder's listing cannot be read") from error


def _plain(name: str) -> str:
    if not name or "/" in name or "\0" in name or name in (".", "..") or len(name) > MAX_NAME:
        raise BackendRefused(Reason.NODE_REFUSED, "a name in the input root is not one of a file")
    return name


def _too_large() -> BackendRefused:
    return BackendRefused(Reason.NODE_REFUSED, "the input root has too many files, or too long names")
