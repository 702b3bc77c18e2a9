"""The result cache: what an action came to, when it came to an object.

An action's key is the SHA-256 over all that its result can depend on. Its record names the outputs,
whose contents are blobs of the same store, and holds the texts. A record is believed only if its own
checksum is right; whatever else is wrong with it, or with the blobs it names, makes it a miss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import msgpack

from manycc.store.store import BlobMissing, Store
from manycc.wire.native import MAX_FILE, MAX_OUTPUTS, MAX_PATH

MAX_RECORD: Final = 1024 * 1024
_VERSION: Final = 1


class CachedOutput(NamedTuple):
    """A file of a result: absolute path, permission bits, size in bytes, SHA-256."""

    path: str
    mode: int
    size: int
    digest: bytes


class CachedResult(NamedTuple):
    """What an action came to; the exit code was 0. ``cpu`` (s) and ``rss`` (bytes) are the compiler's."""

    outputs: list[CachedOutput]
    stdout: bytes
    stderr: bytes
    cpu: float
    rss: int


def action_key(
    toolchain: Sequence[str | bytes],
    argv: Sequence[str],
    cwd: str,
    env: Iterable[tuple[str, str]],
    umask: int,
    inputs: Iterable[bytes],
    places: Sequence[Sequence[str]],
    terminal: bool = False,
) -> bytes:
    """The digest that names an action.

    ``toolchain``: fingerprint, driver and whatever else tells which compiler runs; ``inputs``: one
    token for each input (see ``input_token``), in any order; ``places``: folders, outputs, stems;
    ``terminal``: whether stderr is one.
    """
    groups = [list(group) for group in places]
    head = [_VERSION, list(toolchain), list(argv), cwd, sorted(env), umask, groups, terminal]
    key = hashlib.sha256(_pack(head))
    for token in sorted(inputs):
        key.update(token)
    return key.digest()


def input_token(kind: int, path: str, digest: bytes, target: str) -> bytes:
    """32 bytes that stand for one input in an action's key."""
    return hashlib.sha256(_pack([kind, path, digest, target])).digest()


class ActionCache:
    """Results by action key, kept in a store and evicted with it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: bytes) -> CachedResult | None:
        """The result, if its record is sound and every content it names is here."""
        data = self._store.read_record(key, MAX_RECORD)
        if data is None:
            return None
        result = _parse(data)
        if result is None:
            self._store.drop_record(key)
            return None
        if self._store.missing(output.digest for output in result.outputs):
            return None
        return result

    def open_outputs(self, result: CachedResult) -> list[BinaryIO] | None:
        """The contents as open files, so that an eviction cannot take them away; None if one is gone."""
        files: list[BinaryIO] = []
        try:
            for output in result.outputs:
                files.append(self._store.open(output.digest))
        except BlobMissing:
            for file in files:
                file.close()
            return None
        return files

    def put(self, key: bytes, result: CachedResult) -> bool:
        """Keep a result whose contents are in the store; False if it is too large to be kept.

        Raises StoreFull, OSError.
        """
        body = _pack(
            [
                _VERSION,
                [list(output) for output in result.outputs],
                result.stdout,
                result.stderr,
                result.cpu,
                result.rss,
            ]
        )
        if len(body) + 32 > MAX_RECORD:
            return False
        self._store.write_record(key, hashlib.sha256(body).digest() + body)
        return True


def _pack(value: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogateescape")
    return packed


def _parse(data: bytes) -> CachedResult | None:
    body = data[32:]
    if hashlib.sha256(body).digest() != data[:32]:
        return None
    try:
        version, listed, stdout, stderr, cpu, rss = msgpack.unpackb(body, unicode_errors="surrogateescape")
        outputs = [CachedOutput(path, mode, size, digest) for path, mode, size, digest in listed]
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    sound = (
        version == _VERSION
        and len(outputs) <= MAX_OUTPUTS
        and all(
            isinstance(output.path, str)
            and len(output.path) <= MAX_PATH
            and isinstance(output.size, int)
            and 0 <= output.size <= MAX_FILE
            and isinstance(output.digest, bytes)
            and len(output.digest) == 32
            for output in outputs
        )
    )
    return CachedResult(outputs, stdout, stderr, float(cpu), int(rss)) if sound else None
