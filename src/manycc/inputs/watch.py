"""Folders of the system, watched by the kernel instead of asked about for each job.

Most of what a job reads lies in folders that change only when software is installed: the compiler's own
headers, the system's, the locale's. For these, ``epoch`` stands for "nothing has changed": inotify queues an
event before the call that made the change returns, so that a job asked for afterwards finds it in the queue.

What inotify cannot see (a file changed through a hard link elsewhere or a shared mapping, a file system
mounted over a folder) a sweep finds, which looks at everything again every ``SWEEP_S``; if it finds
such a change, or a watched folder moves away, watching ends for good. Nothing is watched on network file systems.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
import weakref
from collections.abc import Iterable
from typing import Final

from manycc.inputs.entries import DirView, FileEntry
from manycc.inputs.fileview import FileView

SWEEP_S: Final = 30.0
BLIND: Final = -1
"""The epoch of a watcher that sees nothing: everything must be looked at."""

_PLACES: Final = ("/usr", "/lib", "/lib32", "/lib64", "/etc", "/opt")
_SEEN_BY_INOTIFY: Final = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "overlay"))
_MAX_FOLDERS: Final = 4096
_READ: Final = 65536
_EVENT: Final = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name

# From <sys/inotify.h>.
_MODIFY, _ATTRIB, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _IGNORED = 0x400, 0x800, 0x2000, 0x8000
_ONLYDIR, _DONT_FOLLOW = 0x01000000, 0x02000000
_WANTED: Final = (
    _MODIFY
    | _ATTRIB
    | _MOVED_FROM
    | _MOVED_TO
    | _CREATE
    | _DELETE
    | _DELETE_SELF
    | _MOVE_SELF
    | _ONLYDIR
    | _DONT_FOLLOW
)
_FATAL: Final = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED


class Watcher:
    """Watches system folders. ``epoch`` grows with every event; BLIND if watching is impossible."""

    def __init__(self, view: FileView, places: tuple[str, ...] = _PLACES) -> None:
        self.epoch = 0
        self.latest = 0
        """When the last watch began or the last event was taken in (a ``FileView.now()`` stamp).

        What was seen later is unchanged: else there would have been an event.
        """
        self._view = view
        self._places = places
        self._folders: dict[str, bool] = {}
        self._entries: dict[FileEntry, None] = {}
        self._swept = time.monotonic()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._mounts = _local_mounts()
        self._close = weakref.finalize(self, _close, self._descriptor)
        if self._descriptor < 0:
            self.epoch = BLIND

    def covers(self, folder: DirView | str) -> bool:
        """Whether changes in a folder (a view, or its path) show in the epoch; watches it if it may be."""
        path = folder if isinstance(folder, str) else folder.path
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self._watch(path)
        return known

    def resting(self, entries: Iterable[FileEntry]) -> list[FileEntry]:
        """Those of the files whose changes show in the epoch. Nearly all of them have been asked about before."""
        known = self._entries
        found = [entry for entry in entries if entry in known or self.covers(os.path.dirname(entry.path))]
        known.update(dict.fromkeys(found))
        return found

    def knows(self, item: FileEntry | DirView) -> bool:
        """Whether it is a folder that is watched, or a file that was found to be resting."""
        return self._folders.get(item.path, False) if isinstance(item, DirView) else item in self._entries

    def drain(self) -> int:
        """Take in what has happened up to now. Returns the epoch."""
        if self.epoch == BLIND:
            return BLIND
        try:
            data = os.read(self._descriptor, _READ)
        except BlockingIOError:
            data = b""
        except OSError:
            return self._give_up()
        if data:
            self._changed()
            if self._is_fatal(data):
                return self._give_up()
        if time.monotonic() - self._swept > SWEEP_S:
            self._sweep()
        return self.epoch

    def close(self) -> None:
        """Watch no more."""
        self._give_up()

    def _changed(self) -> None:
        self.epoch += 1
        self.latest = time.monotonic_ns()

    def _watch(self, path: str) -> bool:
        if self.epoch == BLIND or len(self._folders) >= _MAX_FOLDERS or not self._is_place(path):
            return False
        found = self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), _WANTED)
        self.latest = time.monotonic_ns()
        return bool(found >= 0)

    def _is_place(self, path: str) -> bool:
        if not any(path == place or path.startswith(place + "/") for place in self._places):
            return False
        mount = max((point for point in self._mounts if path == point or path.startswith(point)), key=len, default="")
        return self._mounts.get(mount, False)

    @staticmethod
    def _is_fatal(data: bytes) -> bool:
        at = 0
        while at + _EVENT.size <= len(data):
            _, mask, _, length = _EVENT.unpack_from(data, at)
            if mask & _FATAL:
                return True
            at += _EVENT.size + length
        return False

    def _sweep(self) -> None:
        """Look at everything again, for what no event tells of."""
        now = time.monotonic_ns()
        for entry in list(self._entries):
            if entry.stale:
                del self._entries[entry]
            elif not self._view.refresh(entry, now):
                try:
                    os.read(self._descriptor, _READ)
                except OSError:  # nothing told of it
                    self._give_up()
                    return
                self._changed()
        self._swept = time.monotonic()

    def _give_up(self) -> int:
        self.epoch = BLIND
        self._folders.clear()
        self._entries.clear()
        self._close()
        return BLIND


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _local_mounts() -> dict[str, bool]:
    """Mount points (each with a slash behind it), and whether inotify sees all that happens in them."""
    mounts: dict[str, bool] = {}
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, point, kind, *_ = line.split(" ")
                mounts[point.rstrip("/") + "/"] = kind in _SEEN_BY_INOTIFY
    except (OSError, ValueError):
        return {}
    return mounts
