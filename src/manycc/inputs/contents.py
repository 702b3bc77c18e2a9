"""What is in a file: its digest, and what its content may ask for.

Each content is hashed and scanned once; with a database, once for ever. A digest is stored under the file's
signature, and only if that can be trusted; what a scan found is stored by digest, which needs no trust.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from sys import intern
from typing import Any, Final

import msgpack

from manycc.errors import NotDistributable
from manycc.inputs.entries import Signature, is_settled, signature_of
from manycc.inputs.macros import Macros, read_macros
from manycc.inputs.scan import Scan, scan
from manycc.inputs.shelf import Shelves
from manycc.reasons import Reason
from manycc.wire.native import MAX_FILE

_CHUNK: Final = 1 << 20
_READ_ATTEMPTS: Final = 5
_STORED: Final = struct.Struct("<qqqQQ32s")
_BOUNDS: Final = {"digests": 400_000, "scans": 200_000, "macros": 50_000}


class Contents:
    """Reads files. ``database`` and ``wall`` as for ``FileView``."""

    def __init__(self, database: str | None, wall: Callable[[], int]) -> None:
        self.reads = 0
        """Files whose content was read."""
        self.scans = 0
        """Contents that were scanned."""
        self.shelves = Shelves(database, _BOUNDS) if database is not None else None
        self._wall = wall

    def read(self, path: str, source: bool, known: bytes = b"") -> tuple[bytes, int, Signature | None, bytes | None]:
        """Digest, size, signature and, if it was read for a scan and differs from ``known``, the content.

        No signature: it is not to be trusted. Raises OSError, NotDistributable(INPUT_TOO_LARGE).
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY)
        digest, size = b"", 0
        data: bytes | None = None
        try:
            for _ in range(_READ_ATTEMPTS):
                started = self._wall()
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise FileNotFoundError(path)
                if status.st_size > MAX_FILE:
                    raise NotDistributable(Reason.INPUT_TOO_LARGE, path)
                before = signature_of(status)
                trusted = is_settled(before[1], started)
                if trusted:
                    stored = self._stored_digest(path, before)
                    if stored is not None:
                        return stored, status.st_size, before, None
                self.reads += 1
                data = None
                if source and status.st_size <= 64 * _CHUNK:
                    data = _read(descriptor, status.st_size)
                    digest = hashlib.sha256(data).digest()
                    size = len(data)
                else:
                    digest, size = _digest(descriptor)
                if signature_of(os.fstat(descriptor)) == before and size == before[2]:
                    if trusted:
                        self._store_digest(path, before, digest)
                    return digest, size, before if trusted else None, None if digest == known else data
            return digest, size, None, data  # it is being written to: whoever uses it will find out
        finally:
            os.close(descriptor)

    def again(self, path: str, digest: bytes) -> bytes | None:
        """The content that was read before; None if there is another by now. Raises OSError."""
        self.reads += 1
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
        return data if hashlib.sha256(data).digest() == digest else None

    def scan(self, digest: bytes, read: Callable[[], bytes]) -> Scan:
        """What a content may ask for; ``read`` gives the content if it was never scanned."""
        shelves = self.shelves
        if shelves is not None:
            stored = shelves.get("scans", digest)
            if stored is not None:
                return _unpack_scan(stored)
        data = read()
        self.scans += 1
        found = scan(data)
        if shelves is not None:
            shelves.put("scans", digest, _pack_scan(found))
        return found

    def macros(self, digest: bytes, read: Callable[[], bytes]) -> Macros:
        """The macros that a content defines; ``read`` as for ``scan``."""
        shelves = self.shelves
        if shelves is not None:
            stored = shelves.get("macros", digest)
            if stored is not None:
                return Macros.unpack(stored)
        macros = read_macros(read())
        if shelves is not None:
            shelves.put("macros", digest, macros.pack())
        return macros

    def _stored_digest(self, path: str, signature: Signature) -> bytes | None:
        stored = self.shelves.get("digests", os.fsencode(path)) if self.shelves is not None else None
        if stored is None or len(stored) != _STORED.size:
            return None
        *kept, digest = _STORED.unpack(stored)
        return bytes(digest) if tuple(kept) == signature else None

    def _store_digest(self, path: str, signature: Signature, digest: bytes) -> None:
        if self.shelves is not None:
            self.shelves.put("digests", os.fsencode(path), _STORED.pack(*signature, digest))


def _read(descriptor: int, size: int) -> bytes:
    """The whole content; ``size`` is a guess."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    data = os.read(descriptor, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(descriptor, _CHUNK):
        pieces.append(piece)
    return b"".join(pieces)


def _digest(descriptor: int) -> tuple[bytes, int]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest = hashlib.sha256()
    size = 0
    while piece := os.read(descriptor, _CHUNK):
        digest.update(piece)
        size += len(piece)
    return digest.digest(), size


def _pack_scan(result: Scan) -> bytes:
    packed: bytes = msgpack.packb(tuple(result), unicode_errors="surrogateescape")
    return packed


def _unpack_scan(stored: bytes) -> Scan:
    fields: Any = msgpack.unpackb(stored, unicode_errors="surrogateescape", use_list=False)
    found = Scan(*fields)
    return found._replace(quoted=tuple(map(intern, found.quoted)), angled=tuple(map(intern, found.angled)))
