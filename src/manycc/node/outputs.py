"""What a job wrote: everything new in its folders, taken without trust in any of it.

The job is dead when this runs, so nothing changes any more; but it may have left links, devices,
pipes, endless names and sparse files behind. Only regular files are taken, never through a link.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from manycc.errors import BackendRefused
from manycc.reasons import Reason
from manycc.wire.native import MAX_OUTPUTS, MAX_PATH

IN_MEMORY: Final = 1024 * 1024
"""A file up to this size is read at once; a larger one is kept open and read in pieces."""
MAX_IN_MEMORY: Final = 64 * 1024 * 1024
"""Of all files of a job together; beyond it all are kept open."""
MAX_DEPTH: Final = 8
MAX_SEEN: Final = 16 * MAX_OUTPUTS
_CHUNK: Final = 1024 * 1024


@dataclass(slots=True)
class Produced:
    """A file of a result: absolute path, permission bits, size in bytes, SHA-256.

    Its content is ``data``, or is read from the start of ``file``, which the receiver closes.
    ``place`` is where it lies on this node's disk, empty if it comes from the store.
    """

    path: str
    mode: int
    size: int
    digest: bytes
    data: bytes | None
    file: BinaryIO | None
    place: str = ""


def collect(folders: Sequence[tuple[str, str]], given: Mapping[str, tuple[int, int]], limit: int) -> list[Produced]:
    """All new files, at most ``limit`` bytes together.

    ``folders`` pairs the path of each writable folder with the one on this disk; ``given`` has the
    (inode, modification time) of what was in them before, by path on this disk.

    Raises BackendRefused(UNEXPECTED_OUTPUT) if they break a bound, OSError.
    """
    produced: list[Produced] = []
    room = limit
    memory = MAX_IN_MEMORY
    try:
        for path, place in _new_files(folders, given):
            if len(produced) >= MAX_OUTPUTS:
                raise BackendRefused(Reason.UNEXPECTED_OUTPUT, f"more than {MAX_OUTPUTS} files were written")
            one = _take(path, place, room, min(memory, IN_MEMORY))
            if one is not None:
                produced.append(one)
                room -= one.size
                memory -= one.size if one.data is not None else 0
    except BaseException:
        close_all(produced)
        raise
    return produced


def bytes_in(folders: Sequence[tuple[str, str]]) -> int:
    """What the files that lie directly in the folders take on the disk, as far as they can be looked at.

    ``folders`` as for ``collect``. A compiler makes no folders of its own.
    """
    total = 0
    for _, place in folders:
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in itertools.islice(entries, MAX_SEEN):
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def close_all(produced: list[Produced]) -> None:
    """Close the files of a result that nobody wants any more."""
    for one in produced:
        if one.file is not None:
            one.file.close()


def _new_files(folders: Sequence[tuple[str, str]], given: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """(path in the sandbox, path on the disk) of what may be new."""
    seen = 0
    for folder, place in folders:
        waiting = [(folder.rstrip("/"), place, 0)]
        while waiting:
            path, on_disk, depth = waiting.pop()
            if depth:
                # Our own folder, whatever mode the job gave it.
                os.chmod(on_disk, 0o700)
            with os.scandir(on_disk) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MAX_SEEN:
                        raise BackendRefused(Reason.UNEXPECTED_OUTPUT, "too many files were written")
                    below = f"{path}/{entry.name}"
                    if len(below) > MAX_PATH:
                        raise BackendRefused(Reason.UNEXPECTED_OUTPUT, "a file with too long a path was written")
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path in given:
                            continue  # a mount point, in which nothing of the job's can be
                        if depth >= MAX_DEPTH:
                            raise BackendRefused(Reason.UNEXPECTED_OUTPUT, "folders were made too deep")
                        waiting.append((below, entry.path, depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        before = given.get(entry.path)
                        if before is not None:
                            status = entry.stat(follow_symlinks=False)
                            if before == (status.st_ino, status.st_mtime_ns):
                                continue
                        yield below, entry.path


def _take(path: str, place: str, room: int, memory: int) -> Produced | None:
    status = os.lstat(place)
    if not status.st_mode & stat.S_IRUSR:
        os.chmod(place, 0o600)
    fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = open(fd, "rb", buffering=0)  # noqa: SIM115 - closed below, or handed on
    keep = False
    try:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode):
            return None
        if opened.st_size > room:
            raise BackendRefused(Reason.UNEXPECTED_OUTPUT, "more was written than a job may write")
        mode = stat.S_IMODE(status.st_mode) & 0o777
        if opened.st_size <= memory:
            data = file.read(memory + 1) or b""
            return Produced(path, mode, len(data), hashlib.sha256(data).digest(), data, None, place)
        running = hashlib.sha256()
        size = 0
        while chunk := file.read(_CHUNK):
            running.update(chunk)
            size += len(chunk)
        file.seek(0)
        keep = True
        return Produced(path, mode, size, running.digest(), None, file, place)
    finally:
        if not keep:
            file.close()


def replace(one: Produced, data: bytes) -> None:
    """Give a file that is held in memory another content, here and on the disk."""
    one.data = data
    one.size = len(data)
    one.digest = hashlib.sha256(data).digest()
    with open(one.place, "wb") as file:
        file.write(data)


def holds(one: Produced, text: bytes) -> bool:
    """Whether a file's content has a text in it."""
    if one.data is not None:
        return text in one.data
    assert one.file is not None  # noqa: S101 - one of the two is always there
    end = b""
    try:
        while chunk := one.file.read(_CHUNK):
            if text in end + chunk:
                return True
            end = chunk[-len(text) :]
    finally:
        one.file.seek(0)
    return False
