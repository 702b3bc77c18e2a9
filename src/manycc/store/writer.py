"""A content that arrives in pieces."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from manycc.errors import DigestMismatch, StoreError
from manycc.store.files import translated
from manycc.store.layout import unlink

if TYPE_CHECKING:
    from manycc.store.store import Store


class BlobWriter:
    """A blob that arrives in pieces. ``offset`` is how many bytes have come, ``size`` how many will."""

    def __init__(self, store: Store, digest: bytes, size: int) -> None:
        self.offset = 0
        self.size = size
        self._store = store
        self._digest = digest
        self._running = hashlib.sha256()
        self._path = store.scratch.file()
        try:
            self._file = open(self._path, "xb")  # noqa: SIM115 - closed by commit or abort
        except OSError as error:
            raise translated(error) from error

    def write(self, data: bytes) -> None:
        """Append. Raises StoreError beyond the promised size, StoreFull; the writer is then over."""
        if self.offset + len(data) > self.size:
            self.abort()
            raise StoreError("a blob is longer than was said")
        try:
            self._file.write(data)
        except OSError as error:
            self.abort()
            raise translated(error) from error
        self._running.update(data)
        self.offset += len(data)

    def commit(self) -> None:
        """Enter the blob. Raises DigestMismatch, StoreFull; nothing is left behind then."""
        try:
            self._file.close()
            if self.offset != self.size or self._running.digest() != self._digest:
                raise DigestMismatch("content is not what its digest says", self._digest.hex())
            self._store.enter(self._digest, self._path)
        except OSError as error:
            raise translated(error) from error
        finally:
            unlink(self._path)

    def abort(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._file.close()
        unlink(self._path)
