"""Content-addressed files, shared by every job of a node, and by other processes on the machine.

A file comes into being by rename, so that a killed process leaves none half-written; nothing is
synced to the disk, because nothing is believed before it was hashed once by the process that uses
it. There are no locks between processes: a file may vanish at any instant and is then missing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from typing import BinaryIO, Final, NamedTuple

from manycc.errors import DigestMismatch, StoreError, StoreFull
from manycc.store import layout
from manycc.store.alterations import Alterations
from manycc.store.files import copy_content, translated
from manycc.store.layout import Scratch, blob_key, discard, open_plain, record_key, relative_path, unlink
from manycc.store.room import Room, default_limit
from manycc.store.writer import BlobWriter

_CHUNK: Final = 1024 * 1024
_REOPEN: Final = 5


class BlobMissing(KeyError):
    """The store does not hold the content; the argument is its digest."""


class Identity(NamedTuple):
    """What a hashed file looked like. The change time is left out: every hard link alters it."""

    inode: int
    size: int
    modified_ns: int
    mode: int


def identity_of(status: os.stat_result) -> Identity:
    """The identity of a file, of its status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)


def _mode(key: bytes) -> int:
    """The permissions of a key's file, in layout.py's words."""
    return 0o555 if len(key) == 33 else 0o444


class Store:
    """A bounded folder of contents, least recently used first out. Safe to use from several threads.

    ``limit`` in bytes. ``scratch`` is a folder of this process on the same file system. ``corrupted``
    counts the contents that were found damaged, ``evicted`` those that had to make room.
    """

    def __init__(self, root: str, limit: int | None = None) -> None:
        self.root = os.path.abspath(root)
        for folder in (*layout.FOLDERS, "tmp"):
            os.makedirs(os.path.join(self.root, folder), mode=0o700, exist_ok=True)
        self.corrupted = 0
        self.leftovers = layout.remove_leftovers(self.root)
        self.scratch = Scratch(self.root)
        self._verified: dict[bytes, Identity] = {}
        self._alterations = Alterations()
        self._room = Room(self.root, default_limit(self.root) if limit is None else limit, self._discard)

    # -- asking

    @property
    def limit(self) -> int:
        """Bytes the store may hold."""
        return self._room.limit

    @property
    def total(self) -> int:
        """Bytes held, as far as this process knows."""
        return self._room.total

    @property
    def evicted(self) -> int:
        """How many contents had to make room."""
        return self._room.evicted

    def wait_counted(self) -> None:
        """Block until the folder has been counted once (that is done in the background)."""
        self._room.wait_counted()

    def has(self, digest: bytes, *, executable: bool = False) -> bool:
        """Whether the content is here and is what its name says (hashed on first use)."""
        key = blob_key(digest, executable)
        return key in self._verified or self._verify(key) is not None

    def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Which of the contents are not here, each once, in order."""
        verified = self._verified
        return [digest for digest in dict.fromkeys(digests) if digest not in verified and self._verify(digest) is None]

    def look(self) -> None:
        """Doubt what somebody has written into meanwhile."""
        names = self._alterations.names()
        if names is None:
            self._verified.clear()
        for name in names or ():
            key = layout.key_of("blobs", name)
            if key is not None:
                self._verified.pop(key, None)

    def doubt(self, blobs: Iterable[tuple[bytes, bool]]) -> None:
        """Hash these (digest, executable) again before they are used again."""
        for digest, executable in blobs:
            self._verified.pop(blob_key(digest, executable), None)

    def recheck(self, keys: Iterable[bytes]) -> list[bytes]:
        """Hash contents (``key``: layout.blob_key) now; those that are not here, or no more since they were damaged."""
        return [key for key in keys if self._verify(key) is None]

    def identity(self, key: bytes) -> Identity | None:
        """What a file looked like when this process hashed it; None if it has not. ``key``: layout.blob_key."""
        return self._verified.get(key)

    def use(self, keys: Iterable[bytes]) -> None:
        """Note that contents were used without a look at their files (a tree that is used again)."""
        self._room.used(keys)

    # -- reading

    def open(self, digest: bytes, *, executable: bool = False) -> BinaryIO:
        """The content as an open file. Raises BlobMissing."""
        key = blob_key(digest, executable)
        path = self._path(key)
        for _ in range(_REOPEN):
            try:
                file = open_plain(path)
            except OSError:
                self._forget(key)
                break
            identity = identity_of(os.fstat(file.fileno()))
            if self._verified.get(key) == identity or self._verify(key) == identity:
                self._room.touch(key, path)
                return file
            file.close()
            if key not in self._verified:
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
        self._room.touch(key, source)

    def copy_into(self, digest: bytes, path: str, mode: int = 0o444) -> os.stat_result:
        """Make ``path`` a new file with a copy of the content, as old as the store's own; its status.

        gcc takes two files of equal content for one (``#pragma once``, ``#import``) if they are equally old.
        Raises BlobMissing, FileExistsError, StoreFull, OSError.
        """
        with self.open(digest) as source:
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                copy_content(source.fileno(), target)
                age = os.fstat(source.fileno()).st_mtime_ns
                os.utime(target, ns=(age, age))
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

    def remove(self, digest: bytes, *, executable: bool = False) -> None:
        """Give up a content that nobody needs any more."""
        self._discard(blob_key(digest, executable))

    def enter(self, key: bytes, temporary: str) -> None:
        """Give a finished file of this file system, already hashed, its name. Raises StoreFull, OSError."""
        os.chmod(temporary, _mode(key))
        status = os.lstat(temporary)
        self._room.make(status.st_size)
        path = self._path(key)
        folder = os.path.dirname(path)
        self._alterations.watch(folder)
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            self._alterations.watch(folder, new=True)
            os.rename(temporary, path)
        except IsADirectoryError:
            discard(path)
            os.rename(temporary, path)
        if layout.is_blob(key):
            self._verified[key] = identity_of(status)
        self._room.entered(key, status.st_size)

    def relieve(self, size: int) -> None:
        """Where the disk is nearly full before the bound is reached, evict for ``size`` bytes to come."""
        self._room.relieve(size)

    # -- records of the result cache, which live under the same bound

    def read_record(self, digest: bytes, limit: int) -> bytes | None:
        """A record's bytes, or None: absent, or longer than ``limit``. Not verified here."""
        key = record_key(digest)
        try:
            with open_plain(self._path(key)) as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        self._room.touch(key, self._path(key))
        return data if len(data) <= limit else None

    def write_record(self, digest: bytes, data: bytes) -> None:
        """Set a record. Raises StoreFull."""
        self._write(record_key(digest), data)

    def drop_record(self, digest: bytes) -> None:
        """Remove a record."""
        self._discard(record_key(digest))

    def close(self) -> None:
        """Remove this process's scratch folder."""
        self._room.wait_counted()
        self._alterations.close()
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
        path = self._path(key)
        self._alterations.watch(os.path.dirname(path))
        try:
            with open_plain(path) as file:
                identity = identity_of(os.fstat(file.fileno()))
                while chunk := file.read(_CHUNK):
                    running.update(chunk)
                sound = identity_of(os.fstat(file.fileno())) == identity and identity.mode & 0o777 == _mode(key)
        except FileNotFoundError:
            self._forget(key)
            return None
        except OSError:
            sound = False
        if not sound or running.digest() != key[:32]:
            self.corrupted += 1
            self._discard(key)
            return None
        self._verified[key] = identity
        self._room.found(key, identity.size)
        return identity

    def _forget(self, key: bytes) -> None:
        self._verified.pop(key, None)
        self._room.forget(key)

    def _discard(self, key: bytes) -> None:
        discard(self._path(key))
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
