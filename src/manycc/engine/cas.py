"""The engine's content store: what it has, what it is sent, what is fetched from it.

A content that the engine was seen to have is not asked about again for a while; if it was dropped meanwhile, the
engine says so when a job needs it, and all that was known is forgotten. Callers that need the same content at the same
time share its upload.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from manycc.engine.channel import CallFailed, Channel
from manycc.engine.merkle import Folder
from manycc.engine.status import StatusCode
from manycc.engine.streams import Streams, expand
from manycc.errors import BackendError, BackendGone, InputsChanged
from manycc.job import ToolFile
from manycc.reapi.remote_execution_pb2 import (
    BatchReadBlobsRequest,
    BatchUpdateBlobsRequest,
    Compressor,
    Digest,
    FindMissingBlobsRequest,
)
from manycc.reasons import Reason

USUAL_BATCH: Final = 4 * 1024 * 1024 - 128 * 1024
"""Bytes of a batch where the engine does not say: a message must stay below the 4 MiB that servers usually take."""
PER_BLOB: Final = 128
"""About what a blob takes in a batch besides its content."""
UNASKED: Final = 16 * 1024
"""Contents of so few bytes together are sent without asking which of them are there."""
MAX_ASKED: Final = 10_000
KNOWN_S: Final = 600.0
"""How long the engine is trusted to have kept what it was seen to have; then all of it is asked about anew."""
MAX_KNOWN: Final = 500_000
UPLOADS: Final = 4
"""Batches and large files that are under way at the same time."""
COMPRESS_FROM: Final = 512
IN_LOOP: Final = 256 * 1024
"""What is read, packed and hashed at once; more goes to a thread."""
FIND_S: Final = 30.0
BATCH_S: Final = 60.0
_NO_STATE: Final = -1


@dataclass(slots=True)
class Content:
    """A content to be sent: held in ``data``, or found at ``path``."""

    digest: bytes
    size: int
    data: bytes | None = None
    path: str = ""


@dataclass(slots=True)
class Offer:
    """What an engine says of its store."""

    batch: int = USUAL_BATCH
    batch_zstd: bool = False
    stream_zstd: bool = False


class Cas:
    """The store of one engine. For one event loop."""

    def __init__(self, channel: Channel, instance: str) -> None:
        self._channel = channel
        self._instance = instance
        self._known: set[bytes] = set()
        self._sending: dict[bytes, asyncio.Future[bool]] = {}
        self._uploads = asyncio.Semaphore(UPLOADS)
        self._streams = Streams(channel, instance)
        self._state_since = time.monotonic()
        self.state = 1
        """Grows whenever what was known of the store must be found out again."""
        self.offer = Offer()

    def forget(self) -> None:
        """The engine lacks what it was thought to have."""
        self._known.clear()
        self.state += 1
        self._state_since = time.monotonic()

    # -- sending

    async def ensure_tree(self, root: Folder, more: Sequence[Content] = (), ask: bool = False) -> int:
        """Have the engine hold a tree and further contents. The bytes that were sent. Raises BackendError.

        ``ask``: even few and small contents are only sent if the engine says that it lacks them.
        """
        if time.monotonic() - self._state_since > KNOWN_S:
            self.forget()
        state = self.state
        wanted, fresh = _tree(root, more, state)
        sent = await self.ensure(wanted.values(), ask)
        if self.state == state:
            for folder in fresh:
                folder.known = state
        return sent

    async def send_again(self, root: Folder, more: Sequence[Content] = ()) -> int:
        """Have the engine hold a tree of which it seems to lack something, whatever is known of it.

        The bytes that were sent; 0 if it has it all. Raises BackendError.
        """
        wanted, _ = _tree(root, more, _NO_STATE)
        if not await self._missing(list(wanted.values())):
            return 0
        self.forget()
        return await self.ensure_tree(root, more, ask=True)

    def held(self, files: Iterable[ToolFile]) -> int:
        """How many bytes of these files the engine is known to have."""
        return sum(file.size for file in files if file.digest in self._known)

    async def ensure(self, contents: Iterable[Content], ask: bool = False) -> int:
        """Have the engine hold these contents; ``ask`` as above. The bytes that were sent. Raises BackendError."""
        sent = 0
        wanted = [content for content in contents if content.digest not in self._known]
        while wanted:
            mine = [content for content in wanted if content.digest not in self._sending]
            others = [self._sending[content.digest] for content in wanted if content.digest in self._sending]
            if mine:
                loop = asyncio.get_running_loop()
                for content in mine:
                    self._sending[content.digest] = loop.create_future()
                try:
                    sent += await self._send(mine, ask)
                finally:
                    for content in mine:
                        self._sending.pop(content.digest).set_result(True)
            if others:
                await asyncio.wait(others)
            wanted = [content for content in wanted if content.digest not in self._known]
        return sent

    def _note(self, contents: Iterable[Content]) -> None:
        if len(self._known) >= MAX_KNOWN:
            self.forget()
        self._known.update(content.digest for content in contents)

    async def _send(self, contents: list[Content], ask: bool) -> int:
        if ask or sum(content.size for content in contents) > UNASKED:
            missing = await self._missing(contents)
            self._note(content for content in contents if content.digest not in missing)
            contents = [content for content in contents if content.digest in missing]
        batches: list[list[Content]] = []
        room = 0
        large: list[Content] = []
        for content in contents:
            if content.size + PER_BLOB > self.offer.batch:
                large.append(content)
                continue
            if content.size + PER_BLOB > room:
                batches.append([])
                room = self.offer.batch
            batches[-1].append(content)
            room -= content.size + PER_BLOB
        jobs = [self._batch(batch) for batch in batches] + [self._large(content) for content in large]
        if len(jobs) == 1:
            return await jobs[0]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            return sum(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _missing(self, contents: Sequence[Content]) -> set[bytes]:
        missing: set[bytes] = set()
        for start in range(0, len(contents), MAX_ASKED):
            request = FindMissingBlobsRequest(instance_name=self._instance)
            asked = {}
            for content in contents[start : start + MAX_ASKED]:
                name = content.digest.hex()
                asked[name] = content.digest
                request.blob_digests.add(hash=name, size_bytes=content.size)
            answer = await self._channel.call(self._channel.cas.FindMissingBlobs, request, FIND_S)
            for digest in answer.missing_blob_digests:
                if digest.hash not in asked:
                    raise broken("it misses a content that it was not asked about")
                missing.add(asked[digest.hash])
        return missing

    async def _batch(self, contents: Sequence[Content]) -> int:
        async with self._uploads:
            compress = self.offer.batch_zstd
            if sum(content.size for content in contents) > IN_LOOP:
                packed = await asyncio.to_thread(_pack, contents, compress)
            else:
                packed = _pack(contents, compress)
            request = BatchUpdateBlobsRequest(instance_name=self._instance)
            for content, (data, compressed) in zip(contents, packed, strict=True):
                blob = request.requests.add(data=data)
                blob.digest.hash = content.digest.hex()
                blob.digest.size_bytes = content.size
                if compressed:
                    blob.compressor = Compressor.ZSTD
            answer = await self._channel.call(self._channel.cas.BatchUpdateBlobs, request, BATCH_S)
        done = {blob.digest.hash for blob in answer.responses if blob.status.code == 0}
        for blob in answer.responses:
            if blob.status.code:
                raise _stored_not(blob.status)
        if not done >= {content.digest.hex() for content in contents}:
            raise broken("it does not say what became of a content it was sent")
        self._note(contents)
        return int(request.ByteSize())

    async def _large(self, content: Content) -> int:
        async with self._uploads:
            sent = await self._streams.write(content.digest, content.size, content.data, content.path,
                                             self.offer.stream_zstd)  # fmt: skip
        self._note([content])
        return sent

    # -- fetching

    async def fetch(self, digests: Sequence[Digest], limit: int) -> tuple[list[bytes], int]:
        """The contents, in order, and the bytes received. At most ``limit`` bytes of content are taken together.

        Raises BackendError; CallFailed(NOT_FOUND) if one is not there.
        """
        wanted: dict[tuple[str, int], bytes] = {}
        for digest in digests:
            if not 0 <= digest.size_bytes <= limit or len(digest.hash) != 64:
                raise broken("a content has no sound digest, or is larger than allowed")
            if (digest.hash, digest.size_bytes) not in wanted:
                wanted[digest.hash, digest.size_bytes] = b""
                limit -= digest.size_bytes
        batch: list[tuple[str, int]] = []
        room = self.offer.batch
        received = 0
        for key in wanted:
            size = key[1]
            if not size:
                continue
            if size + PER_BLOB > self.offer.batch:
                wanted[key], length = await self._streams.read(*key, self.offer.stream_zstd)
                received += length
                continue
            if size + PER_BLOB > room:
                received += await self._read_batch(batch, wanted)
                batch, room = [], self.offer.batch
            batch.append(key)
            room -= size + PER_BLOB
        if batch:
            received += await self._read_batch(batch, wanted)
        for (name, size), data in wanted.items():
            found = await asyncio.to_thread(_name_of, data) if size > IN_LOOP else _name_of(data)
            if found != name:
                raise broken("a content is not what its digest says")
        return [wanted[digest.hash, digest.size_bytes] for digest in digests], received

    async def _read_batch(self, keys: Sequence[tuple[str, int]], into: dict[tuple[str, int], bytes]) -> int:
        request = BatchReadBlobsRequest(instance_name=self._instance)
        for name, size in keys:
            request.digests.add(hash=name, size_bytes=size)
        if self.offer.batch_zstd:
            request.acceptable_compressors.append(Compressor.ZSTD)
        answer = await self._channel.call(self._channel.cas.BatchReadBlobs, request, BATCH_S)
        left = set(keys)
        for blob in answer.responses:
            key = (blob.digest.hash, blob.digest.size_bytes)
            if key not in left:
                raise broken("it sent a content that it was not asked for")
            if blob.status.code == StatusCode.NOT_FOUND:
                raise CallFailed(StatusCode.NOT_FOUND, Reason.NODE_FAULT, "an output is not in the engine's store")
            if blob.status.code:
                raise BackendError(Reason.NODE_FAULT, f"the engine cannot give an output: {_said(blob.status)}")
            left.discard(key)
            into[key] = _unpacked(blob, key[1])
        if left:
            raise broken("it did not send what it was asked for")
        return int(answer.ByteSize())


def _tree(root: Folder, more: Sequence[Content], state: int) -> tuple[dict[bytes, Content], list[Folder]]:
    """The contents of a tree and further ones, but for the folders that are known in this state; and these folders."""
    wanted: dict[bytes, Content] = {content.digest: content for content in more}
    fresh: list[Folder] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if folder.known == state:
            continue
        fresh.append(folder)
        wanted[folder.digest] = Content(folder.digest, folder.size, folder.data)
        for file in folder.files:
            wanted[file.digest] = Content(file.digest, file.size, path=file.path)
        waiting += folder.folders
    return wanted, fresh


def _name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def broken(sentence: str) -> BackendGone:
    """The engine does not keep to its protocol: nothing of it is to be trusted."""
    return BackendGone(Reason.PROTOCOL, f"the engine broke the protocol: {sentence}")


def read_content(content: Content) -> bytes:
    """A content that is to be sent. Raises InputsChanged if its file is not any more what it was."""
    if content.data is not None:
        return content.data
    try:
        with open(content.path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            data = file.read(content.size + 1) or b""
    except OSError as error:
        raise InputsChanged(Reason.INPUTS_CHANGED, content.path) from error
    if hashlib.sha256(data).digest() != content.digest:
        raise InputsChanged(Reason.INPUTS_CHANGED, content.path)
    return data


def _pack(contents: Sequence[Content], compress: bool) -> list[tuple[bytes, bool]]:
    """What is sent of each content, and whether that is compressed. Raises InputsChanged."""
    packed = []
    for content in contents:
        data = read_content(content)
        if compress and len(data) >= COMPRESS_FROM:
            smaller = zstandard.ZstdCompressor(level=3).compress(data)
            if len(smaller) < len(data):
                packed.append((smaller, True))
                continue
        packed.append((data, False))
    return packed


def _unpacked(blob: Any, size: int) -> bytes:
    """The content of one answer. Raises BackendGone."""
    data: bytes = blob.data
    if blob.compressor == Compressor.ZSTD:
        data = expand(data, size)
    elif blob.compressor != Compressor.IDENTITY:
        raise broken("it compressed a content in a way that it was not asked for")
    if len(data) != size:
        raise broken("a content has another size than it said")
    return data


def _stored_not(status: Any) -> BackendError:
    full = status.code == StatusCode.RESOURCE_EXHAUSTED
    return BackendError(Reason.NODE_DISK if full else Reason.NODE_FAULT,
                        f"the engine does not store an input: {_said(status)}")  # fmt: skip


def _said(status: Any) -> str:
    return " ".join(status.message.split())[:300] or f"code {status.code}"
