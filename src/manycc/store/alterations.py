"""Who writes into a store's files behind its back is noticed, even if he sets their times back afterwards.

A file is told by inode, size and modification time, so that it is not hashed again for each job. A store never
writes into a file that has its name; the kernel tells of anybody else who does (inotify), and queues that
before the write returns: a job that comes afterwards finds it. What cannot be seen so, such as a disk that decays,
shows when a compile goes wrong (``node/executor.py``) or a result is sent.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from typing import Final

_EVENT: Final = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, length of the name
_READ: Final = 65536

# From <sys/inotify.h>.
_MODIFY, _CLOSE_WRITE, _OVERFLOW, _IGNORED = 0x2, 0x8, 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW = 0x01000000, 0x02000000


class Alterations:
    """The folders of a store that are watched. ``blind`` where the kernel refuses: then nothing is noticed."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[str, int] = {}  # the kernel's number of each
        self._close = weakref.finalize(self, _close, self._descriptor)

    @property
    def blind(self) -> bool:
        """Whether nothing can be noticed."""
        return self._descriptor < 0

    def watch(self, folder: str, *, new: bool = False) -> None:
        """Notice writes to the files of a folder from now on. Cheap if it is watched already, and not ``new``."""
        if self._descriptor < 0 or (folder in self._folders and not new):
            return
        wanted = _MODIFY | _CLOSE_WRITE | _ONLYDIR | _DONT_FOLLOW
        number = self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), ctypes.c_uint32(wanted))
        if number >= 0:
            self._folders[folder] = number

    def names(self) -> list[str] | None:
        """The files written to since this was asked last, without their folders; None: any may have been."""
        found: dict[str, None] = {}
        while self._descriptor >= 0:
            try:
                events = os.read(self._descriptor, _READ)
            except (BlockingIOError, InterruptedError):
                break
            place = 0
            while place < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, place)
                place += _EVENT.size + length
                if mask & _OVERFLOW:
                    self._folders.clear()
                    return None
                if mask & _IGNORED:
                    self._gone(number)
                else:
                    found[os.fsdecode(events[place - length : place].rstrip(b"\0"))] = None
        return list(found)

    def _gone(self, number: int) -> None:
        """A folder was removed; another of its name may come."""
        for folder, own in list(self._folders.items()):
            if own == number:
                del self._folders[folder]

    def close(self) -> None:
        """Watch no longer."""
        self._close()
        self._descriptor = -1


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)
