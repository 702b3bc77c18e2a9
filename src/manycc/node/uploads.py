"""Contents on their way from one agent into the store.

Each missing content is asked for once per connection, for whichever job needed it first; all jobs
that need it wait together. Bounded: nothing is taken that was not asked for, each content must come
in order and have the size that was announced, and what is asked for must fit into half the store, as
must what all agents together have begun to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from manycc.errors import BackendRefused, DigestMismatch, StoreError, StoreFull, WireError
from manycc.node.messages import Blob
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.store.writer import BlobWriter

MAX_OPEN: Final = 16
"""Contents that may be begun at a time; an agent sends one after the other."""


class ContentGone(Exception):
    """The agent no longer has a content it announced."""


class Incoming:
    """Bytes on the disk of contents that all agents together have begun to send, and not finished."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class _Upload:
    """One content that was asked for. ``failed`` says why its pieces are thrown away."""

    __slots__ = ("arrived", "failed", "job", "offset", "size", "writer")

    def __init__(self, job: int, size: int, arrived: asyncio.Future[None]) -> None:
        self.job = job
        self.size = size
        self.arrived = arrived
        self.offset = 0
        self.writer: BlobWriter | None = None
        self.failed: Exception | None = None


class Uploads:
    """What one agent was asked for. ``incoming`` is shared by all; ``ask(job, digests)`` sends the question."""

    def __init__(self, store: Store, incoming: Incoming, ask: Callable[[int, list[bytes]], None]) -> None:
        self._store = store
        self._incoming = incoming
        self._heard = 0.0
        self._ask = ask
        self._asked: dict[bytes, _Upload] = {}
        self._pending = 0
        self._open = 0

    def silence(self) -> float:
        """Seconds for which nothing of what was asked for has come; 0 if nothing is due."""
        return asyncio.get_running_loop().time() - self._heard if self._asked else 0.0

    def wants(self, digest: bytes) -> bool:
        """Whether a content was asked for, and has not come."""
        return digest in self._asked

    async def fetch(self, job: int, wanted: Iterable[tuple[bytes, int]]) -> None:
        """Return when all contents, given with their sizes, have arrived.

        Raises ContentGone; BackendRefused(NODE_DISK) if the store has no room.
        """
        sizes = dict(wanted)
        fresh = [digest for digest in sizes if digest not in self._asked]
        room = self._store.limit // 2
        if self._pending + sum(sizes[digest] for digest in fresh) > room:
            raise BackendRefused(Reason.NODE_DISK, f"its inputs do not fit into half of a store of {room * 2} bytes")
        loop = asyncio.get_running_loop()
        if not self._asked:
            self._heard = loop.time()
        for digest in fresh:
            self._asked[digest] = _Upload(job, sizes[digest], loop.create_future())
            self._pending += sizes[digest]
        waiting = [self._asked[digest].arrived for digest in sizes]
        if fresh:
            self._ask(job, fresh)
        if waiting:
            # gather would cancel what other jobs wait for as well.
            await asyncio.wait(waiting)
            for future in waiting:
                future.result()

    def receive(self, blob: Blob) -> None:
        """A piece has come. Raises WireError if it is not what was asked for."""
        upload = self._asked.get(blob.digest)
        if upload is None:
            raise WireError("a content came that was not asked for")
        last = blob.offset + len(blob.data) == upload.size
        if blob.total != upload.size or blob.offset != upload.offset or (not blob.data and not last):
            raise WireError("a piece of a content is out of order or of another size than announced")
        self._heard = asyncio.get_running_loop().time()
        upload.offset += len(blob.data)
        if upload.offset > upload.size:
            raise WireError("a content is longer than announced")
        if upload.failed is None:
            try:
                self._store_piece(upload, blob, last)
            except DigestMismatch as error:
                raise WireError(str(error)) from error
            except (StoreError, OSError) as error:
                self._drop_writer(upload)
                upload.failed = BackendRefused(Reason.NODE_DISK, str(error))
        if last:
            self._finish(blob.digest, upload, upload.failed)

    def gone(self, job: int) -> None:
        """The agent lacks a content that was asked for a job: nothing else that job asked for will come."""
        for digest, upload in list(self._asked.items()):
            if upload.job == job:
                self._finish(digest, upload, ContentGone())

    def close(self) -> None:
        """The connection is lost."""
        for digest, upload in list(self._asked.items()):
            self._finish(digest, upload, ContentGone())

    def _store_piece(self, upload: _Upload, blob: Blob, last: bool) -> None:
        if blob.offset == 0 and last:
            self._store.add_bytes(blob.data, blob.digest)
            return
        if upload.writer is None:
            if self._open >= MAX_OPEN:
                raise StoreFull("too many uploads at a time")
            upload.writer = self._store.writer(blob.digest, blob.total)
            self._open += 1
        if self._incoming.bytes + len(blob.data) > self._store.limit // 2:
            raise StoreFull("too much is being sent at a time")
        upload.writer.write(blob.data)
        self._incoming.bytes += len(blob.data)
        if last:
            upload.writer.commit()
            self._drop_writer(upload)

    def _finish(self, digest: bytes, upload: _Upload, error: Exception | None) -> None:
        self._drop_writer(upload)
        del self._asked[digest]
        self._pending -= upload.size
        if upload.arrived.done():
            return
        if error is None:
            upload.arrived.set_result(None)
        else:
            upload.arrived.set_exception(error)
            upload.arrived.exception()  # nobody may be waiting any more

    def _drop_writer(self, upload: _Upload) -> None:
        if upload.writer is not None:
            self._incoming.bytes -= upload.writer.offset
            upload.writer.abort()
            upload.writer = None
            self._open -= 1
