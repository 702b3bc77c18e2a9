"""How a store's folder is laid out, and which part of it belongs to which process.

::

    <root>/blobs/ab/<hex>       content, mode 0444, never written again
    <root>/blobs/ab/<hex>x      the same, mode 0555: files of toolchains, which must be executable
    <root>/actions/ab/<hex>     records of the result cache (see actions.py)
    <root>/tmp/<owner>/         one folder a process, with a lock file: files and jobs under way

In memory a file is named by a key: a blob by its digest (32 bytes), an executable one by its digest
and ``x``, a record by ``action`` and its digest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

FOLDERS: Final = ("blobs", "actions")
_ACTION: Final = b"action"
_HEX: Final = frozenset("0123456789abcdef")
_ABANDONED_S: Final = 3600.0


def blob_key(digest: bytes, executable: bool) -> bytes:
    """The key of a content."""
    return digest + b"x" if executable else digest


def record_key(digest: bytes) -> bytes:
    """The key of a record of the result cache."""
    return _ACTION + digest


def digest_of(key: bytes) -> bytes:
    """The digest within a key."""
    return key[6:] if len(key) == 38 else key[:32]


def relative_path(key: bytes) -> str:
    """Where a key's file is, below the root."""
    text = digest_of(key).hex()
    if len(key) == 38:
        return f"actions/{text[:2]}/{text}"
    return f"blobs/{text[:2]}/{text}x" if len(key) == 33 else f"blobs/{text[:2]}/{text}"


def all_files(root: str) -> Iterator[tuple[bytes, os.stat_result]]:
    """(key, status) of every file of the store; files that are not the store's are passed over."""
    for folder in FOLDERS:
        for sub in listed(os.path.join(root, folder)):
            for entry in listed(sub.path):
                key = key_of(folder, entry.name)
                if key is not None:
                    with contextlib.suppress(OSError):
                        yield key, entry.stat(follow_symlinks=False)


def is_blob(key: bytes) -> bool:
    """Whether a key is a content's, not a record's."""
    return len(key) != 38


def key_of(folder: str, name: str) -> bytes | None:
    """The key of a file of that name in a folder of ``FOLDERS``; None if it is not the store's."""
    text = name.removesuffix("x") if folder == "blobs" else name
    if len(text) != 64 or not _HEX.issuperset(text):
        return None
    digest = bytes.fromhex(text)
    return record_key(digest) if folder == "actions" else blob_key(digest, name.endswith("x"))


class Scratch:
    """A process's own folder below ``<root>/tmp``, whose lock tells others that its owner lives."""

    def __init__(self, root: str) -> None:
        base = os.path.join(root, "tmp")
        name = f"{os.getpid()}-{time.time_ns():x}"
        hidden = os.path.join(base, f".{name}")
        os.mkdir(hidden, 0o700)
        self._lock = os.open(os.path.join(hidden, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Others take a folder without a held lock for a leftover; they pass over names with a dot.
        self.path = os.path.join(base, name)
        os.rename(hidden, self.path)
        self._counter = itertools.count()

    def file(self) -> str:
        """A path for a new file."""
        return f"{self.path}/{next(self._counter)}.tmp"

    def folder(self) -> str:
        """A new folder."""
        path = f"{self.path}/{next(self._counter)}"
        os.mkdir(path, 0o700)
        return path

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        remove_tree(self.path)
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_leftovers(root: str) -> int:
    """Remove the scratch folders of processes that are gone; how many there were."""
    removed = 0
    for entry in listed(os.path.join(root, "tmp")):
        if entry.name.startswith("."):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                    remove_tree(entry.path)
            continue
        try:
            lock = os.open(os.path.join(entry.path, "lock"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            remove_tree(entry.path)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_tree(entry.path)
            removed += 1
        except OSError:
            continue
        finally:
            os.close(lock)
    return removed


def remove_tree(path: str) -> None:
    """Remove a folder with all that is in it, also where a job took away write permissions."""
    shutil.rmtree(path, onerror=_make_writable)


def _make_writable(function: Callable[..., object], path: str, _: object) -> None:
    with contextlib.suppress(OSError):
        if os.path.islink(path) or not os.path.isdir(path):
            os.chmod(os.path.dirname(path), 0o700)
            os.unlink(path)
        else:
            os.chmod(path, 0o700)
            shutil.rmtree(path, ignore_errors=True)


def listed(path: str) -> list[os.DirEntry[str]]:
    """A folder's entries; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def discard(path: str) -> None:
    """Remove what lies at a file's place, whatever it is."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError:
        if os.path.isdir(path) and not os.path.islink(path):
            remove_tree(path)


def open_plain(path: str) -> BinaryIO:
    """A regular file, opened for reading; never waits, as for a pipe's other end. Raises OSError."""
    file = open(path, "rb", opener=_opener)  # noqa: SIM115 - handed to the caller
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
