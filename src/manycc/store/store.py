"""Content-addressed files, shared by every job of a node, and by other processes on the machine.

A file comes into being by rename, so that a killed process leaves none half-written; nothing is
synced to the disk, because nothing is believed before it was hashed once by the process that uses
it. There are no locks between processes: a file may vanish at any instant and is then missing.

Recency for the eviction is held in memory and written to the files' access times at most once an
hour, so that it survives a restart. Modification times are left alone: together with inode and size
they tell that a file is still the one that was hashed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import shutil
import threading
import time
from collections.abc import Iterable
from typing import BinaryIO, Final, NamedTuple

from manycc.errors import DigestMismatch, StoreError, StoreFull
from manycc.store import layout
from manycc.store.files import copy_content, translated
from manycc.store.layout import Scratch, blob_key, record_key, relative_path, unlink
from manycc.store.writer import BlobWriter

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
_CHUNK: Final = 1024 * 1024
_REOPEN: Final = 5


class BlobMissing(KeyError):
    """The store does not hold the content; the argument is its digest."""


class Identity(NamedTuple):
    """What a hashed file looked like. The change time is left out: every hard link alters it."""

    inode: int
    size: int
    modified_ns: int


def identity_of(status: os.stat_result) -> Identity:
    """The identity of a file, of its status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)


def default_limit(root: str) -> int:
    """Bytes a store may hold where nobody said otherwise: 5 GiB, or 10 % of a smaller disk."""
    return min(DEFAULT_LIMIT, shutil.disk_usage(root).total // 10)


class Store:
    """A bounded folder of contents, least recently used first out. Safe to use from several threads.

    ``limit`` in bytes. ``scratch`` is a folder of this process on the same file system. ``corrupted``
    counts the contents that were found damaged, ``evicted`` those that had to make room.
    """

    def __init__(self, root: str, limit: int | None = None) -> None:
        self.root = os.path.abspath(root)
        for folder in (*layout.FOLDERS, "tmp"):
            os.makedirs(os.path.join(self.root, folder), mode=0o700, exist_ok=True)
        self.limit = limit if limit is not None else default_limit(self.root)
        self.corrupted = 0
        self.evicted = 0
        self.leftovers = layout.remove_leftovers(self.root)
        self.scratch = Scratch(self.root)
        self._lock = threading.RLock()
        self._verified: dict[bytes, Identity] = {}
        self._sizes: dict[bytes, int] = {}
        self._used: dict[bytes, float] = {}
        self._touched: dict[bytes, float] = {}
        self._total = 0
        self._added_since_count = 0
        self._counted = False
        self._counter = threading.Thread(target=self._count, name="store-count", daemon=True)
        self._counter.start()

    # -- asking

    @property
    def total(self) -> int:
        """Bytes held, as far as this process knows."""
        return self._total

    def wait_counted(self) -> None:
        """Block until the folder has been counted once (that is done in the background)."""
        self._counter.join()

    def has(self, digest: bytes, *, executable: bool = False) -> bool:
        """Whether the content is here and is what its name says (hashed on first use)."""
        key = blob_key(digest, executable)
        return key in self._verified or self._verify(key) is not None

    def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Which of the contents are not here, each once, in order."""
        verified = self._verified
        return [digest for digest in dict.fromkeys(digests) if digest not in verified and self._verify(digest) is None]

    def doubt(self, blobs: Iterable[tuple[bytes, bool]]) -> None:
        """Hash these (digest, executable) again before they are used again."""
        for digest, executable in blobs:
            self._verified.pop(blob_key(digest, executable), None)

    def identity(self, key: bytes) -> Identity | None:
        """What a file looked like when this process hashed it; None if it has not. ``key``: layout.blob_key."""
        return self._verified.get(key)

    def use(self, keys: Iterable[bytes]) -> None:
        """Note that contents were used without a look at their files (a tree that is used again)."""
        self._used.update(dict.fromkeys(keys, time.time()))

    # -- reading

    def open(self, digest: bytes) -> BinaryIO:
        """The content as an open file. Raises BlobMissing."""
        for _ in range(_REOPEN):
            try:
                file = open(self._path(digest), "rb")  # noqa: SIM115 - handed to the caller
            except OSError:
                self._forget(digest)
                break
            identity = identity_of(os.fstat(file.fileno()))
            if self._verified.get(digest) == identity or self._verify(digest) == identity:
                self._note_use(digest)
                return file
            file.close()
            if digest not in self._verified:
                break
            # Somebody put the same content in its place meanwhile: take that.
        raise BlobMissing(digest)

    def read(self, digest: bytes, limit: int) -> bytes:
        """The content. Raises BlobMissing, or StoreError if it is larger than ``limit`` bytes."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise StoreError(f"a blob is larger than {limit} bytes")
        return data

    def link_into(self, digest: bytes, path: str, *, executable: bool = False) -> None:
        """Make ``path`` a hard link to the content. Raises BlobMissing, FileExistsError, StoreFull, OSError.

        Whoever can write through ``path`` can alter the store: only for trees that are read-only to
        whoever is not trusted.
        """
        key = blob_key(digest, executable)
        source = self._path(key)
        self._check(key, source)
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno == errno.EMLINK:
                self._renew(key, source)
                os.link(source, path)
            elif error.errno == errno.ENOENT and not os.path.lexists(source):
                self._forget(key)
                raise BlobMissing(digest) from None
            elif error.errno == errno.EPERM:
                # The file of another user, which must not be hard-linked: of no use to us.
                self._discard(key)
                raise BlobMissing(digest) from None
            else:
                raise translated(error) from error
        self._note_use(key)

    def copy_into(self, digest: bytes, path: str, mode: int = 0o444) -> os.stat_result:
        """Make ``path`` a new file with a copy of the content; its status.

        Raises BlobMissing, FileExistsError, StoreFull, OSError.
        """
        with self.open(digest) as source:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                copy_content(source.fileno(), target)
                return os.fstat(target)
            except OSError as error:
                raise translated(error) from error
            finally:
                os.close(target)

    # -- writing

    def writer(self, digest: bytes, size: int) -> BlobWriter:
        """Begin a blob that arrives in pieces. Raises StoreFull if it can never fit."""
        if size > self.limit:
            raise StoreFull("a blob is larger than the whole store may be", f"{size} of {self.limit} bytes")
        self.relieve(size)
        return BlobWriter(self, digest, size)

    def add_bytes(self, data: bytes, digest: bytes | None = None) -> bytes:
        """Add a content; its digest. Raises DigestMismatch if that is not ``digest``, StoreFull."""
        found = hashlib.sha256(data).digest()
        if digest is not None and found != digest:
            raise DigestMismatch("content is not what its digest says", digest.hex())
        if not self.has(found):
            self._write(found, data)
        return found

    def add_file(self, path: str, digest: bytes, *, executable: bool = False) -> None:
        """Copy a file of this machine into the store.

        Raises DigestMismatch if it does not hold what ``digest`` says, StoreFull, OSError.
        """
        if self.has(digest, executable=executable):
            return
        self.relieve(os.path.getsize(path))
        temporary = self.scratch.file()
        running = hashlib.sha256()
        try:
            with open(path, "rb") as source, open(temporary, "xb") as target:
                while chunk := source.read(_CHUNK):
                    running.update(chunk)
                    target.write(chunk)
            if running.digest() != digest:
                raise DigestMismatch("a file changed while it was read", path)
            self.enter(blob_key(digest, executable), temporary)
        except OSError as error:
            raise translated(error) from error
        finally:
            unlink(temporary)

    def adopt(self, path: str, digest: bytes) -> None:
        """Move a file below ``scratch``, hashed by the caller and nobody's to write, into the store."""
        if self.has(digest):
            unlink(path)
        else:
            self.enter(digest, path)

    def drop(self, digest: bytes, *, executable: bool = False) -> None:
        """Remove a content that turned out to be damaged."""
        self.corrupted += 1
        self._discard(blob_key(digest, executable))

    def enter(self, key: bytes, temporary: str) -> None:
        """Give a finished file below ``scratch``, already hashed, its name. Raises StoreFull, OSError."""
        os.chmod(temporary, 0o555 if len(key) == 33 else 0o444)
        status = os.lstat(temporary)
        self._make_room(status.st_size)
        path = self._path(key)
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            os.rename(temporary, path)
        with self._lock:
            self._added_since_count += status.st_size
            self._remember(key, identity_of(status))
            self._touched[key] = time.time()

    def relieve(self, size: int) -> None:
        """Where the disk is nearly full before the bound is reached, evict for ``size`` bytes to come."""
        state = os.statvfs(self.root)
        lack = size + KEEP_FREE - state.f_bavail * state.f_frsize
        if lack > 0 and self._counted:
            self._evict(max(0, self._total - lack), time.time() - IN_USE_S)

    # -- records of the result cache, which live under the same bound

    def read_record(self, digest: bytes, limit: int) -> bytes | None:
        """A record's bytes, or None: absent, or longer than ``limit``. Not verified here."""
        key = record_key(digest)
        try:
            with open(self._path(key), "rb") as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        self._note_use(key)
        return data if len(data) <= limit else None

    def write_record(self, digest: bytes, data: bytes) -> None:
        """Set a record. Raises StoreFull."""
        self._write(record_key(digest), data)

    def drop_record(self, digest: bytes) -> None:
        """Remove a record."""
        self._discard(record_key(digest))

    def close(self) -> None:
        """Remove this process's scratch folder."""
        self._counter.join()
        self.scratch.remove()

    # -- inside

    def _path(self, key: bytes) -> str:
        return f"{self.root}/{relative_path(key)}"

    def _check(self, key: bytes, path: str) -> None:
        """Raise BlobMissing unless the file is there and is the one that was, or now is, hashed."""
        known = self._verified.get(key)
        if known is not None:
            try:
                if identity_of(os.stat(path)) == known:
                    return
            except OSError:
                self._forget(key)
                raise BlobMissing(layout.digest_of(key)) from None
        if self._verify(key) is None:
            raise BlobMissing(layout.digest_of(key))

    def _verify(self, key: bytes) -> Identity | None:
        """Hash a blob; remember it if it is right, remove it if it is wrong."""
        running = hashlib.sha256()
        try:
            with open(self._path(key), "rb") as file:
                identity = identity_of(os.fstat(file.fileno()))
                while chunk := file.read(_CHUNK):
                    running.update(chunk)
                sound = identity_of(os.fstat(file.fileno())) == identity
        except FileNotFoundError:
            self._forget(key)
            return None
        except OSError:
            sound = False
        if not sound or running.digest() != key[:32]:
            self.corrupted += 1
            self._discard(key)
            return None
        with self._lock:
            self._remember(key, identity)
        return identity

    def _remember(self, key: bytes, identity: Identity) -> None:
        if len(key) < 38:
            self._verified[key] = identity
        self._total += identity.size - self._sizes.get(key, 0)
        self._sizes[key] = identity.size
        self._used[key] = time.time()

    def _note_use(self, key: bytes) -> None:
        now = time.time()
        self._used[key] = now
        if now - self._touched.get(key, 0.0) > TOUCH_INTERVAL_S:
            self._touched[key] = now
            path = self._path(key)
            with contextlib.suppress(OSError):
                os.utime(path, ns=(int(now * 1e9), os.stat(path).st_mtime_ns))

    def _forget(self, key: bytes) -> None:
        with self._lock:
            self._total -= self._sizes.pop(key, 0)
            self._verified.pop(key, None)
            self._used.pop(key, None)
            self._touched.pop(key, None)

    def _discard(self, key: bytes) -> None:
        unlink(self._path(key))
        self._forget(key)

    def _write(self, key: bytes, data: bytes) -> None:
        self.relieve(len(data))
        temporary = self.scratch.file()
        try:
            with open(temporary, "xb") as file:
                file.write(data)
            self.enter(key, temporary)
        except OSError as error:
            raise translated(error) from error
        finally:
            unlink(temporary)

    def _renew(self, key: bytes, path: str) -> None:
        """Replace a blob that has as many hard links as it may have by a copy of itself."""
        temporary = self.scratch.file()
        try:
            shutil.copyfile(path, temporary)
            self.enter(key, temporary)
        finally:
            unlink(temporary)

    def _make_room(self, size: int) -> None:
        if size > self.limit:
            raise StoreFull("a file is larger than the whole store may be", f"{size} of {self.limit} bytes")
        if not self._counted:
            return
        if self._added_since_count > self.limit * RECOUNT_SHARE:
            self._count()
        if self._total + size <= self.limit:
            return
        self._count()
        self._evict(max(0, int(self.limit * LOW_WATER) - size))

    def _evict(self, target: int, before: float = math.inf) -> None:
        """Give up what was used least recently, and not after ``before``, until ``target`` bytes are left."""
        with self._lock:
            for key in sorted(self._sizes, key=lambda key: self._used.get(key, 0.0)):
                if self._total <= target or self._used.get(key, 0.0) > before:
                    break
                self._discard(key)
                self.evicted += 1

    def _count(self) -> None:
        """Learn what is in the folder, whoever put it there."""
        sizes: dict[bytes, int] = {}
        used: dict[bytes, float] = {}
        for key, status in layout.all_files(self.root):
            sizes[key] = status.st_size
            used[key] = status.st_atime
        with self._lock:
            # A file that was entered while the folder was being read may not have been seen.
            for key, size in list(self._sizes.items()):
                if key not in sizes and os.path.lexists(self._path(key)):
                    sizes[key] = size
            for key, when in list(self._used.items()):
                if key in sizes:
                    used[key] = max(when, used.get(key, 0.0))
            self._sizes = sizes
            self._used = used
            self._total = sum(sizes.values())
            self._added_since_count = 0
            self._counted = True
