"""The input root of a job, from the folders' listings that an engine keeps to the entries of a tree.

The root is the file system's: a listing at ``usr/include`` is that of ``/usr/include``. Most of what a job
reads lies in folders whose listings were read before, for another job; their entries are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from google.protobuf.message import DecodeError

from manycc.engine.contents import Contents, Named, named
from manycc.errors import BackendRefused
from manycc.job import FILE, FOLDER, LINK
from manycc.node.tree import MAX_NAME, MAX_PATH, Entry
from manycc.reapi import remote_execution_pb2
from manycc.reasons import Reason
from manycc.wire.native import MAX_INPUTS

MAX_LISTINGS: Final = 64 * 1024**2
"""Bytes of all listings of a job together."""
MAX_NAMES: Final = 64 * 1024**2
"""Characters of all paths of a job together: one listing may stand at many places."""
MAX_KEPT: Final = 200_000
"""Entries that are kept for later jobs."""

_re = remote_execution_pb2


class _Listing:
    """One folder at one place: what it has, and the folders in it by path."""

    __slots__ = ("characters", "entries", "folders")

    def __init__(self, path: str, directory: _re.Directory) -> None:
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
        self.characters = sum(len(entry.path) + len(entry.target) for entry in self.entries)


class InputRoots:
    """Reads input roots of one instance of an engine."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._kept: OrderedDict[tuple[str, bytes], _Listing] = OrderedDict()
        self._entries = 0

    async def entries(self, root: Named) -> list[Entry]:
        """All that is in a root. Raises ContentsMissing, BackendError."""
        found: list[Entry] = []
        room, names, count = MAX_LISTINGS, MAX_NAMES, 0
        raw: dict[bytes, _re.Directory] = {}
        level: list[tuple[str, Named]] = [("", root)]
        while level:
            unread = {place[1] for place in level if self._key(place) not in self._kept and place[1].digest not in raw}
            room -= sum(one.size for one in unread)
            if room < 0:
                raise _too_large()
            for digest, data in (await self._contents.read(unread)).items() if unread else ():
                raw[digest] = _parse(data)
            below: list[tuple[str, Named]] = []
            for place in level:
                listing = self._listing(place, raw)
                count += 1 + len(listing.entries)
                names -= len(place[0]) + listing.characters
                if count > MAX_INPUTS or names < 0 or len(place[0]) > MAX_PATH:
                    raise _too_large()
                found += listing.entries
                below += listing.folders
            level = below
        return found

    def _listing(self, place: tuple[str, Named], raw: dict[bytes, _re.Directory]) -> _Listing:
        key = self._key(place)
        listing = self._kept.get(key)
        if listing is None:
            listing = self._kept[key] = _Listing(place[0], raw[place[1].digest])
            self._entries += 1 + len(listing.entries)
            while self._entries > MAX_KEPT and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._entries -= 1 + len(gone.entries)
        else:
            self._kept.move_to_end(key)
        return listing

    @staticmethod
    def _key(place: tuple[str, Named]) -> tuple[str, bytes]:
        return place[0], place[1].digest


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
