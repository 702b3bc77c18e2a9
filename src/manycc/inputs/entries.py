"""What the file view keeps: a content of a file, a folder, an answer; and how they are told apart.

A signature is what ``stat`` says of one content. It is trusted only if the content was read well after its
last change: within the clock's granularity it could change again without a trace.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from manycc.inputs.derived import Derived
from manycc.inputs.scan import Scan
from manycc.job import FILE, FOLDER, LINK, Input

ABSENT: Final = -1
OTHER: Final = 3
"""Kinds of answer besides job.FILE, LINK and FOLDER; OTHER: a device, a pipe, a socket, or what cannot be looked at."""

RETIRED: Final = -1
"""The ``seen`` of an entry whose content is no more."""

Signature = tuple[int, int, int, int, int]  # mtime_ns, ctime_ns, size, inode, device

_GRANULE_NS: Final = 20_000_000  # the kernel stamps with its tick: up to 10 ms old
_COARSE_NS: Final = 2_100_000_000  # file systems with whole seconds
_SECOND_NS: Final = 1_000_000_000


class FileEntry(Input):
    """One content of one file. Retired, and replaced by another object, when the content changes."""

    __slots__ = ("dependents", "scan", "seen", "signature")

    def __init__(self, path: str, digest: bytes, size: int, signature: Signature | None, seen: int) -> None:
        super().__init__(FILE, path, digest, size)
        self.signature = signature  # None: do not trust it
        self.seen = seen
        self.scan: Scan | None = None
        self.dependents: list[Derived] = []

    @property
    def stale(self) -> bool:
        """Whether another content has taken its place."""
        return self.seen == RETIRED


class Answer:
    """What a name in a folder is: a kind, and for a LINK the input that describes it."""

    __slots__ = ("dependents", "kind", "link")

    def __init__(self, kind: int, link: Input | None) -> None:
        self.kind = kind
        self.link = link
        self.dependents: list[Derived] = []


class DirView:
    """A folder at its physical path. ``version`` grows whenever an answer that was given changed."""

    __slots__ = ("answers", "count", "item", "names", "path", "prefix", "seen", "signature", "version", "watched")

    def __init__(self, path: str) -> None:
        self.path = path
        self.prefix = path if path.endswith("/") else path + "/"
        self.item = Input(FOLDER, path)
        self.answers: dict[str, Answer] = {}
        self.names: dict[str, int] | None = None  # None: ask the file system name by name
        self.count = 0
        self.seen = 0
        self.signature: Signature | None = None
        self.version = 0
        self.watched = False  # any new or lost name counts as a change


def signature_of(status: os.stat_result) -> Signature:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def is_settled(ctime_ns: int, read_at: int) -> bool:
    granule = _COARSE_NS if ctime_ns % _SECOND_NS == 0 else _GRANULE_NS
    return read_at - ctime_ns > granule


def kind_of_mode(mode: int) -> int:
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return FOLDER
    return LINK if stat.S_ISLNK(mode) else OTHER


def list_folder(prefix: str) -> dict[str, int] | None:
    """Kinds by name; None if the folder cannot be listed or searched, or does not tell upper from lower case."""
    names: dict[str, int] = {}
    if not os.access(prefix, os.X_OK):
        return None
    try:
        with os.scandir(prefix) as entries:
            for entry in entries:
                if entry.is_symlink():
                    names[entry.name] = LINK
                elif entry.is_file(follow_symlinks=False):
                    names[entry.name] = FILE
                elif entry.is_dir(follow_symlinks=False):
                    names[entry.name] = FOLDER
                else:
                    names[entry.name] = OTHER
    except OSError:
        return None
    for name in names:
        other = name.swapcase()
        if other not in names:
            try:
                os.lstat(prefix + other)
            except (OSError, ValueError):
                break
            return None
    return names
