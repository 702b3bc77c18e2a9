"""Files of toolchains on their way into the store.

They are large, and come over whatever line there is: so what has come of one is kept, in
``<store>/shipped/partial/<digest>``, through a lost connection and a restart of the node, and only the rest is asked
for again. Two agents, or two toolchains of one agent, that need the same file share one arrival.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from manycc.errors import BackendRefused, DigestMismatch, StoreError, WireError
from manycc.job import ToolFile
from manycc.node.manifests import FOLDER
from manycc.node.messages import Blob
from manycc.reasons import Reason
from manycc.store.files import translated
from manycc.store.layout import blob_key, listed, open_plain, unlink
from manycc.store.room import KEEP_FREE
from manycc.store.store import Store

KEEP_S: Final = 7 * 86400.0
"""What has come of a file is kept for so long."""
MAX_PARTIAL: Final = 4096
"""Files of which something has come, and that nobody sends at the moment."""
ATTEMPTS: Final = 3
_CHUNK: Final = 1024 * 1024


class Part:
    """One file that comes. ``offset``: how much of it is here; ``arrived`` is done when the store has it."""

    def __init__(self, file: ToolFile, store: Store, folder: str) -> None:
        """Raises OSError."""
        self.digest = file.digest
        self.size = file.size
        self.arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.offset = 0
        self._store = store
        self._path = os.path.join(folder, file.digest.hex())
        self._fd = -1  # opened when it comes: a toolchain may have more files than a process may open
        with contextlib.suppress(FileNotFoundError):
            self.offset = os.lstat(self._path).st_size
        if self.offset > self.size:
            self.drop()

    def write(self, blob: Blob) -> bool:
        """The next piece; whether it was the last. Raises WireError if it is none, OSError."""
        last = blob.offset + len(blob.data) == self.size
        if blob.total != self.size or blob.offset != self.offset or (not blob.data and not last):
            raise WireError("a piece of a toolchain's file is out of order or of another size than listed")
        if self.offset + len(blob.data) > self.size:
            raise WireError("a toolchain's file is longer than listed")
        view = memoryview(blob.data)
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
        while view:
            view = view[os.pwrite(self._fd, view, self.offset) :]
            self.offset = blob.offset + len(blob.data) - len(view)
        return last

    def enter(self) -> None:
        """All has come: hash it, and put it into the store. Raises DigestMismatch, StoreError, OSError."""
        self.close()
        running = hashlib.sha256()
        with open_plain(self._path) as file:
            while chunk := file.read(_CHUNK):
                running.update(chunk)
            size = file.tell()
        if running.digest() != self.digest or size != self.size:
            self.drop()
            raise DigestMismatch("content is not what its digest says", self.digest.hex())
        try:
            self._store.enter(blob_key(self.digest, executable=True), self._path)
        except OSError as error:
            raise translated(error) from error

    def drop(self) -> None:
        """Give up what has come."""
        self.close()
        unlink(self._path)
        self.offset = 0

    def close(self) -> None:
        """Nobody sends it any more; what has come stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Carrier(Protocol):
    """Whoever brings files: an agent's delivery."""

    async def bring(self, parts: Sequence[Part]) -> None:
        """Ask for these, and return when all are in the store.

        Raises BackendRefused if they cannot be had, DigestMismatch if one was damaged, StoreError, OSError.
        """


class Arrivals:
    """The files that come, from whomever, into one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = os.path.join(store.root, FOLDER, "partial")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._lock = os.open(os.path.join(store.root, FOLDER, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.folder = store.scratch.folder()  # another node of this store keeps what comes to it there
        self._coming: dict[bytes, Part] = {}
        self._over: dict[bytes, asyncio.Event] = {}
        self._forget_old()

    async def missing(self, files: Iterable[ToolFile]) -> dict[bytes, ToolFile]:
        """Those whose contents the store lacks, by digest. Hashing others for the first time takes a while."""
        wanted = {file.digest: file for file in files}
        store = self._store

        def look() -> dict[bytes, ToolFile]:
            return {digest: file for digest, file in wanted.items() if not store.has(digest, executable=True)}

        return await asyncio.to_thread(look)

    async def fetch(self, files: Sequence[ToolFile], carrier: Carrier) -> None:
        """Return when the store has all of them. Raises BackendRefused(NO_TOOLCHAIN) with a sentence."""
        for _ in range(ATTEMPTS + len(files)):  # each turn brings a file, or waits for one that another brings
            lacking = await self.missing(files)
            if not lacking:
                return
            fresh = [file for digest, file in lacking.items() if digest not in self._coming]
            if fresh:
                self._check_room(fresh)
                try:
                    await self._bring(fresh, carrier)
                except DigestMismatch:
                    continue
                except (StoreError, OSError) as error:
                    raise _refused(f"it could not be brought into the store: {error}") from error
            else:
                others = [asyncio.ensure_future(self._over[digest].wait()) for digest in lacking]
                try:
                    await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for other in others:
                        other.cancel()
        raise _refused("its files arrive damaged, or keep vanishing from the store")

    async def _bring(self, files: Sequence[ToolFile], carrier: Carrier) -> None:
        parts: list[Part] = []
        try:
            for file in files:
                part = Part(file, self._store, self.folder)
                parts.append(part)
                self._coming[file.digest] = part
                self._over[file.digest] = asyncio.Event()
            await carrier.bring(parts)
        finally:
            for part in parts:
                part.close()
                part.arrived.cancel()
                del self._coming[part.digest]
                self._over.pop(part.digest).set()

    def _check_room(self, files: Sequence[ToolFile]) -> None:
        """Raises BackendRefused if there is no use in beginning: what comes must fit into half the store."""
        size = sum(file.size for file in files)
        coming = sum(part.size for part in self._coming.values())
        half = self._store.limit // 2
        if size + coming > half:
            raise _refused(f"its {_mib(size)} do not fit into half of this node's store ({_mib(half)}) now")
        here = self._begun()
        wanted = {file.digest.hex() for file in files}
        others = here.keys() - wanted - {digest.hex() for digest in self._coming}
        room = half - size - coming
        oldest = time.time() - KEEP_S
        for number, name in enumerate(sorted(others, key=lambda name: -here[name].st_mtime)):
            room -= here[name].st_size
            if room < 0 or number >= MAX_PARTIAL or here[name].st_mtime < oldest:
                unlink(os.path.join(self.folder, name))  # what came of others longer ago makes room
        size -= sum(here[name].st_size for name in wanted & here.keys())
        self._store.relieve(size)
        state = os.statvfs(self._store.root)
        free = state.f_bavail * state.f_frsize - KEEP_FREE
        if size > free:
            raise _refused(f"this node's disk has no room for its {_mib(size)}")

    def _begun(self) -> dict[str, os.stat_result]:
        """What has come of files, by their names in the folder. Some may be entered into the store meanwhile."""
        here: dict[str, os.stat_result] = {}
        for entry in listed(self.folder):
            with contextlib.suppress(FileNotFoundError):
                here[entry.name] = entry.stat(follow_symlinks=False)
        return here

    def _forget_old(self) -> None:
        for name, status in self._begun().items():
            old = time.time() - status.st_mtime > KEEP_S
            if old or len(name) != 64 or set(name) - set("0123456789abcdef"):
                unlink(os.path.join(self.folder, name))

    def close(self) -> None:
        """Nothing comes any more."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _mib(size: int) -> str:
    return f"{(size + (1 << 20) - 1) >> 20} MiB"


def _refused(sentence: str) -> BackendRefused:
    return BackendRefused(Reason.NO_TOOLCHAIN, sentence)
