"""Writing a tree of files below one folder, whatever its names and links try.

What was written is remembered, so that no name is ever looked up on the disk: a name that goes
through a link, or comes a second time, is refused before anything happens.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from manycc.errors import ToolchainError, shown

MEBIBYTE: Final = 1024 * 1024
_MAX_NAME: Final = 255
_MAX_PATH: Final = 2048
_MAX_DEPTH: Final = 64
_MAX_LINKS: Final = 40
_MAX_STEPS: Final = 5_000_000
"""Names on the ways of all links together: each may cross others that have a thousand names each."""
_LEFT_FREE: Final = 256 * MEBIBYTE
"""What stays free on the disk."""

_FOLDER: Final = ""
_FILE: Final = "\0"

_Place = tuple[str, ...]


class Planter:
    """Writes entries below ``root``, an empty folder that nobody else writes into.

    All methods raise ToolchainError for what is refused, and OSError.
    """

    def __init__(self, root: str, entries: int, size: int) -> None:
        """At most ``entries`` of them, of ``size`` bytes together."""
        self._root = root
        self._entries = entries
        self._size = size
        self._room = max(0, shutil.disk_usage(root).free - _LEFT_FREE)
        self._steps = _MAX_STEPS
        self._known: dict[_Place, str] = {(): _FOLDER}  # a link's target, which is neither "" nor holds a "\0"

    def folder(self, name: str) -> None:
        """A folder; it may have come before."""
        self._count()
        self._folder(_parts(name))

    def file(self, name: str, size: int, executable: bool, content: Iterable[bytes]) -> None:
        """A file of exactly ``size`` bytes."""
        place = self._new(name, _FILE)
        self._size -= size
        self._room -= size
        if self._size < 0:
            raise ToolchainError("", "it holds more than a toolchain can")
        if self._room < 0:
            raise ToolchainError("", "there is no room for it on the disk", "make room, or set MANYCC_DIR")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(self._path(place), flags, 0o600), "wb", buffering=0) as file:
            for piece in content:
                while piece:
                    piece = piece[file.write(piece) :]
            os.fchmod(file.fileno(), 0o755 if executable else 0o644)

    def link(self, name: str, target: str) -> None:
        """A symbolic link. Where it leads is looked at when all is there."""
        if not target or len(target) > _MAX_PATH or "\0" in target:
            raise ToolchainError("", f"{shown(name)} is a link to nowhere")
        if target.startswith("/"):
            raise ToolchainError("", f"{shown(name)} is a link that leads outside, to {shown(target)}")
        os.symlink(target, self._path(self._new(name, target)))

    def same(self, name: str, other: str) -> None:
        """Another name for a file that has been written."""
        there = _parts(other)
        if self._known.get(there) != _FILE:
            raise ToolchainError("", f"{shown(name)} is a link to {shown(other)}, which is no file before it")
        os.link(self._path(there), self._path(self._new(name, _FILE)))

    def finish(self) -> None:
        """All is there: look where the links lead, and let others read it."""
        for place, kind in self._known.items():
            if kind not in (_FOLDER, _FILE):
                self._follow(place)
        for place, kind in self._known.items():
            if kind == _FOLDER:
                os.chmod(self._path(place), 0o755)  # noqa: S103 (nodes of other users read it)

    def _path(self, place: _Place) -> str:
        return os.path.join(self._root, *place)

    def _new(self, name: str, kind: str) -> _Place:
        place = _parts(name)
        self._count()
        if place in self._known:
            raise ToolchainError("", f"{shown(name)} comes twice")
        self._folder(place[:-1])
        self._known[place] = kind
        return place

    def _folder(self, place: _Place) -> None:
        for depth in range(1, len(place) + 1):
            folder = place[:depth]
            kind = self._known.get(folder)
            if kind is None:
                self._count()  # an entry can bring many with it
                self._known[folder] = _FOLDER
                os.mkdir(self._path(folder), 0o700)
            elif kind != _FOLDER:
                raise ToolchainError("", f"{shown('/'.join(place))} goes through {shown('/'.join(folder))}, no folder")

    def _count(self) -> None:
        if self._entries <= 0:
            raise ToolchainError("", "it has more entries than a toolchain can")
        self._entries -= 1

    def _follow(self, link: _Place) -> None:
        """Refuse a link that leads outside, over others too. One that leads to nothing does no harm."""
        place: list[str] = list(link[:-1])
        ahead = self._known[link].split("/")[::-1]
        crossed = 0
        while ahead:
            name = ahead.pop()
            self._steps -= 1
            if self._steps < 0:
                raise ToolchainError("", "its links lead through each other more than a toolchain's do")
            if name in ("", "."):
                continue
            if name == "..":
                if not place:
                    where = shown("/".join(link))
                    raise ToolchainError("", f"{where} is a link that leads outside, to {shown(self._known[link])}")
                place.pop()
                continue
            kind = self._known.get((*place, name), _FILE)
            if kind in (_FOLDER, _FILE):
                place.append(name)
                continue
            crossed += 1
            if crossed > _MAX_LINKS:
                return  # in a circle, within
            ahead += kind.split("/")[::-1]


def copy(source: str, root: str, entries: int, size: int) -> None:
    """Copy the tree below the folder ``source`` into ``root``, by the same rules. Raises ToolchainError, OSError.

    Who can write there may put links in the place of files meanwhile, to what only this user can read: so each
    name is opened in the folder that was opened before it, and never through a link.
    """
    planter = Planter(root, entries, size)
    first: dict[tuple[int, int], str] = {}
    source = os.path.realpath(source)
    for folder, folders, others, descriptor in os.fwalk(source, onerror=_raise):
        above = os.path.relpath(folder, source)
        for base in (*folders, *others):
            name = os.path.normpath(os.path.join(above, base))
            path = os.path.join(source, name)
            status = os.stat(base, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                planter.folder(name)
            elif stat.S_ISLNK(status.st_mode):
                planter.link(name, os.readlink(base, dir_fd=descriptor))
            elif not stat.S_ISREG(status.st_mode):
                raise ToolchainError("", f"{shown(path)} is no file, folder or link")
            else:
                with _opened(base, descriptor, path) as file:
                    _copy_file(planter, name, path, file, first)
    planter.finish()


def _raise(error: OSError) -> None:
    raise error


def _opened(base: str, folder: int, path: str) -> BinaryIO:
    """A file in an open folder. Raises OSError, also for a link; never waits, as for a FIFO's other end."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return open(os.open(base, flags, dir_fd=folder), "rb", buffering=0)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _copy_file(planter: Planter, name: str, path: str, file: BinaryIO, first: dict[tuple[int, int], str]) -> None:
    """``first``: by device and inode, the names of files that have several."""
    status = os.fstat(file.fileno())
    key = (status.st_dev, status.st_ino)
    if not stat.S_ISREG(status.st_mode):
        raise ToolchainError("", f"{shown(path)} is no file, folder or link")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise ToolchainError("", f"{shown(path)} would run as another user (set-user-ID)")
    if key in first:
        planter.same(name, first[key])
        return
    if status.st_nlink > 1:
        first[key] = name
    planter.file(name, status.st_size, bool(status.st_mode & 0o111), _read(file, path, status.st_size))


def _read(file: BinaryIO, path: str, size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, MEBIBYTE))
        if not piece:
            raise ToolchainError("", f"{shown(path)} became shorter while it was copied")
        size -= len(piece)
        yield piece


def _parts(name: str) -> _Place:
    """The parts of a name inside. Raises ToolchainError."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/"):
        raise ToolchainError("", f"{shown(name)} is an absolute path")
    if ".." in parts:
        raise ToolchainError("", f"{shown(name)} leads outside")
    if "\0" in name:
        raise ToolchainError("", f"the name {shown(name)} holds a NUL")
    if len(os.fsencode(name)) > _MAX_PATH or len(parts) > _MAX_DEPTH:
        raise ToolchainError("", f"the name {shown(name)} is too long")
    if any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        raise ToolchainError("", f"the name {shown(name)} is too long")
    return parts
