"""Unpacking a toolchain's archive: all of it, or nothing.

An archive comes from somewhere, and whoever made it may mean harm. So it is not handed to a general
unpacker: each entry must be a folder, a file, or a link that stays inside, under a name that goes
through no link; there are bounds for all that can be counted. Owners, times and permissions are not
taken over: a file is executable or it is not.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from manycc.errors import ManyccError, ToolchainError, shown
from manycc.toolchain.planting import MEBIBYTE, Planter
from manycc.toolchain.unpressing import Damaged, Unpressed

BLOCK: Final = 512
_MAX_EXTENDED: Final = MEBIBYTE
_PIECE: Final = MEBIBYTE
_ZIP: Final = b"PK\x03\x04"
_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_REGULAR: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_REFUSED: Final = {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a FIFO"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may hold at most. Sizes in bytes.

    Beyond ``free_ratio`` bytes, not more than ``ratio`` times the archive's size may come out of it.
    """

    entries: int = 200_000
    size: int = 8 * 1024 * MEBIBYTE
    ratio: int = 200
    free_ratio: int = 64 * MEBIBYTE


def unpack(archive: str, target: str, bounds: Bounds | None = None) -> None:
    """Unpack a tar archive (plain, or pressed by gzip, bzip2, xz or zstd) into the new folder ``target``.

    Raises ToolchainError that says what is wrong; ``target`` is not there then.
    """
    bounds = bounds or Bounds()
    try:
        with open(archive, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ToolchainError("", "it is no file")
            if file.read(len(_ZIP)) == _ZIP:
                raise ToolchainError("", "it is a zip file", "unpack it and add the folder")
            file.seek(0)
            os.mkdir(target, 0o700)
            try:
                _unpack(Unpressed(file, bounds.size, bounds.ratio, bounds.free_ratio), target, bounds)
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
    except ManyccError as error:
        raise ToolchainError(f"{archive} is not unpacked", error.why, error.hint) from error
    except Damaged as error:
        raise ToolchainError(f"{archive} is not unpacked", str(error)) from error
    except OSError as error:
        raise ToolchainError(f"{archive} is not unpacked", error.strerror or str(error)) from error


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would never answer


def _unpack(source: Unpressed, target: str, bounds: Bounds) -> None:
    """Raises ToolchainError, Damaged, OSError."""
    planter = Planter(target, bounds.entries, bounds.size)
    for entry in _entries(source):
        kind = entry.type
        if kind in _REGULAR:
            if entry.mode & (stat.S_ISUID | stat.S_ISGID):
                raise ToolchainError("", f"{shown(entry.name)} would run as another user (set-user-ID)")
            planter.file(entry.name, entry.size, bool(entry.mode & 0o111), _content(source, entry.size))
            source.exactly(-entry.size % BLOCK)
        elif kind == tarfile.DIRTYPE:
            planter.folder(entry.name)
        elif kind == tarfile.SYMTYPE:
            planter.link(entry.name, entry.linkname)
        elif kind == tarfile.LNKTYPE:
            planter.same(entry.name, entry.linkname)
        elif kind == tarfile.GNUTYPE_SPARSE:
            raise _sparse(entry.name)
        else:
            raise ToolchainError("", f"{shown(entry.name)} is {_REFUSED.get(kind, 'no file, folder or link')}")
    planter.finish()


def _content(source: Unpressed, size: int) -> Iterator[bytes]:
    while size:
        piece = source.exactly(min(size, _PIECE))
        size -= len(piece)
        yield piece


def _entries(source: Unpressed) -> Iterator[tarfile.TarInfo]:
    """The archive's entries; who gets a file has read its content and padding before going on."""
    name = link = None
    size: int | None = None
    while True:
        block = source.exactly(BLOCK)
        if not block.strip(b"\0"):
            break
        try:
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise Damaged(f"it is no tar archive, or damaged: {error}") from error
        kind = entry.type
        if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE, *_EXTENDED):
            data = _extended(source, entry.size)
            if kind == tarfile.GNUTYPE_LONGNAME:
                name = _text(data)
            elif kind == tarfile.GNUTYPE_LONGLINK:
                link = _text(data)
            elif kind in _EXTENDED:
                records = _pax(data)
                if any(key.startswith(b"GNU.sparse") for key in records):
                    raise _sparse(os.fsdecode(records.get(b"GNU.sparse.name", b"a file")))
                if b"path" in records:
                    name = os.fsdecode(records[b"path"])
                if b"linkpath" in records:
                    link = os.fsdecode(records[b"linkpath"])
                if b"size" in records:
                    size = _number(records[b"size"])
            continue
        entry.name = entry.name if name is None else name
        entry.linkname = entry.linkname if link is None else link
        entry.size = entry.size if size is None else size
        name = link = size = None
        if entry.size < 0:
            raise Damaged("an entry has a negative size")
        yield entry
    # To the end: what presses it has a checksum there.
    while source.some(_PIECE):
        pass


def _extended(source: Unpressed, size: int) -> bytes:
    if not 0 <= size <= _MAX_EXTENDED:
        raise Damaged("the name of an entry is too long")
    data = source.exactly(size)
    source.exactly(-size % BLOCK)
    return data


def _pax(data: bytes) -> dict[bytes, bytes]:
    """The records of an extended header, pax(1): "length key=value" and a newline each."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        space = data.find(b" ", at, at + 20)
        length = _number(data[at:space]) if space > 0 else 0
        record = data[space + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or at + length > len(data):
            raise Damaged("an extended header is damaged")
        records[key] = value[:-1]
        at += length
    return records


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise Damaged("an extended header is damaged")
    return int(text)


def _text(data: bytes) -> str:
    return os.fsdecode(data.partition(b"\0")[0])


def _sparse(name: str) -> ToolchainError:
    return ToolchainError(
        "", f"{shown(name)} is stored as a sparse file", "pack it without: tar without -S, bsdtar --no-read-sparse"
    )
