"""How much a store holds, what of it was used when, and what has to go.

Recency is held in memory and written to the files' access times at most once an hour, so that it
survives a restart. Modification times are left alone: together with inode and size they tell that
a file is still the one that was hashed.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from manycc.errors import StoreFull
from manycc.store.layout import all_files, relative_path

DEFAULT_LIMIT: Final = 5 * 1024**3
TOUCH_INTERVAL_S: Final = 3600.0
LOW_WATER: Final = 0.9
"""Eviction goes on until this part of the bound is left, so that it does not run for every blob."""
KEEP_FREE: Final = 64 * 1024**2
"""Bytes of the disk that the store leaves to others, as long as it holds anything that is not in use."""
IN_USE_S: Final = 60.0
"""What was used so lately is not given up for the disk's sake: it would only be sent again."""
RECOUNT_SHARE: Final = 0.05
"""The folder is counted again after this part of the bound was added: other processes add too."""


def default_limit(root: str) -> int:
    """Bytes a store may hold where nobody said otherwise: 5 GiB, or 10 % of a smaller disk."""
    return min(DEFAULT_LIMIT, shutil.disk_usage(root).total // 10)


class Room:
    """The accounts of a store's folder, by key (``layout.blob_key``, ``layout.record_key``).

    ``limit`` and ``total`` in bytes. ``discard(key)`` removes a file and calls ``forget``.
    """

    def __init__(self, root: str, limit: int, discard: Callable[[bytes], None]) -> None:
        self.limit = limit
        self.total = 0
        self.evicted = 0
        self._root = root
        self._discard = discard
        self._lock = threading.RLock()
        self._sizes: dict[bytes, int] = {}
        self._used: dict[bytes, float] = {}
        self._touched: dict[bytes, float] = {}
        self._added_since_count = 0
        self._counted = False
        self._counter = threading.Thread(target=self._count, name="store-count", daemon=True)
        self._counter.start()

    def wait_counted(self) -> None:
        """Block until the folder has been counted once (that is done in the background)."""
        self._counter.join()

    def found(self, key: bytes, size: int) -> None:
        """A file is there, and used now."""
        with self._lock:
            self.total += size - self._sizes.get(key, 0)
            self._sizes[key] = size
            self._used[key] = time.time()

    def entered(self, key: bytes, size: int) -> None:
        """A file has come into being."""
        with self._lock:
            self._added_since_count += size
            self.found(key, size)
            self._touched[key] = time.time()

    def forget(self, key: bytes) -> None:
        """A file is gone."""
        with self._lock:
            self.total -= self._sizes.pop(key, 0)
            self._used.pop(key, None)
            self._touched.pop(key, None)

    def used(self, keys: Iterable[bytes]) -> None:
        """Files were used without a look at them."""
        self._used.update(dict.fromkeys(keys, time.time()))

    def touch(self, key: bytes, path: str) -> None:
        """A file was used."""
        now = time.time()
        self._used[key] = now
        if now - self._touched.get(key, 0.0) > TOUCH_INTERVAL_S:
            self._touched[key] = now
            with contextlib.suppress(OSError):
                os.utime(path, ns=(int(now * 1e9), os.stat(path).st_mtime_ns))

    def relieve(self, size: int) -> None:
        """Where the disk is nearly full before the bound is reached, evict for ``size`` bytes to come."""
        state = os.statvfs(self._root)
        lack = size + KEEP_FREE - state.f_bavail * state.f_frsize
        if lack > 0 and self._counted:
            self._evict(max(0, self.total - lack), time.time() - IN_USE_S)

    def make(self, size: int) -> None:
        """Make room for a file of ``size`` bytes. Raises StoreFull if it can never fit."""
        if size > self.limit:
            raise StoreFull("a file is larger than the whole store may be", f"{size} of {self.limit} bytes")
        if not self._counted:
            return
        if self._added_since_count > self.limit * RECOUNT_SHARE:
            self._count()
        if self.total + size <= self.limit:
            return
        self._count()
        self._evict(max(0, int(self.limit * LOW_WATER) - size))

    def _evict(self, target: int, before: float = math.inf) -> None:
        """Give up what was used least recently, and not after ``before``, until ``target`` bytes are left."""
        with self._lock:
            for key in sorted(self._sizes, key=lambda key: self._used.get(key, 0.0)):
                if self.total <= target or self._used.get(key, 0.0) > before:
                    break
                self._discard(key)
                self.evicted += 1

    def _count(self) -> None:
        """Learn what is in the folder, whoever put it there."""
        sizes: dict[bytes, int] = {}
        used: dict[bytes, float] = {}
        for key, status in all_files(self._root):
            sizes[key] = status.st_size
            used[key] = status.st_atime
        with self._lock:
            # A file that was entered while the folder was being read may not have been seen.
            for key, size in list(self._sizes.items()):
                if key not in sizes and os.path.lexists(f"{self._root}/{relative_path(key)}"):
                    sizes[key] = size
            for key, when in list(self._used.items()):
                if key in sizes:
                    used[key] = max(when, used.get(key, 0.0))
            self._sizes = sizes
            self._used = used
            self.total = sum(sizes.values())
            self._added_since_count = 0
            self._counted = True
