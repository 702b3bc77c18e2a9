"""Reading an archive that is pressed in one of four ways, within bounds.

What comes out is counted as it comes: the sum, and how it compares with what went in. A few bytes
that stand for gigabytes are then noticed while they are read, not when the disk is full.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

import zstandard

from manycc.errors import ToolchainError

_PIECE: Final = 64 * 1024
_STEP: Final = 1024 * 1024
_MEMORY: Final = 256 * 1024 * 1024
"""For the dictionary of an xz file. ``xz -9`` needs 65 MiB."""
_WINDOW: Final = 128 * 1024 * 1024
"""What zstd(1) itself takes without being told to take more."""
_ZSTD_PIECE: Final = 1024
"""Input bytes for each call: they can stand for 32768 times as many."""


class Damaged(Exception):
    """The bytes are not what the format wants, or end too soon; the sentence why."""


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decoder with the interface of the other two in the standard library."""

    def __init__(self) -> None:
        self._one = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def needs_input(self) -> bool:
        return not self._one.unconsumed_tail and not self._one.eof

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._one.decompress(self._one.unconsumed_tail + data, max_length)


class _Zstd:
    """The same for zstd, whose decoder has no bound for its output: it is fed little at a time."""

    def __init__(self) -> None:
        self._one = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self._ahead = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._ahead)

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data + self._ahead[self._at :]

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:
            self._ahead, self._at = self._ahead[self._at :] + data, 0
        piece = self._ahead[self._at : self._at + _ZSTD_PIECE]
        self._at += len(piece)
        return self._one.decompress(piece)


_MAGIC: Final[tuple[tuple[bytes, Callable[[], _Decoder]], ...]] = (
    (b"\x1f\x8b", _Gzip),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)),
    (b"\x28\xb5\x2f\xfd", _Zstd),
)


class Unpressed:
    """The bytes behind a file that may be pressed; told by how it begins, not by its name."""

    def __init__(self, file: BinaryIO, most: int, ratio: int, free: int) -> None:
        """``most`` bytes may come out, and beyond ``free`` bytes not more than ``ratio`` times what went in.

        Raises OSError.
        """
        self._file = file
        self._most = most
        self._ratio = ratio
        self._free = free
        self._taken = 0
        self._given = 0
        self._buffer = b""
        self._at = 0
        self._ended = False
        first = self._more()
        decoder = next((make for magic, make in _MAGIC if first.startswith(magic)), None)
        self._pieces = self._unpress(first, decoder) if decoder is not None else self._plain(first)

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes, which must be there. Raises Damaged, ToolchainError, OSError."""
        parts: list[bytes] = []
        while count:
            piece = self.some(count)
            if not piece:
                raise Damaged("it ends too soon: was it cut off?")
            parts.append(piece)
            count -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def some(self, most: int) -> bytes:
        """At least one byte and at most ``most``; none at the end. Raises as ``exactly``."""
        while self._at >= len(self._buffer):
            if self._ended:
                return b""
            self._advance()
        piece = self._buffer[self._at : self._at + most]
        self._at += len(piece)
        return piece

    def _advance(self) -> None:
        try:
            piece = next(self._pieces, None)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError) as error:
            raise Damaged(str(error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise Damaged(str(error)) from error  # bz2 says so of wrong data
        self._ended = piece is None
        self._buffer, self._at = piece or b"", 0
        self._given += len(self._buffer)
        if self._given > self._most:
            raise ToolchainError("", f"more than {self._most >> 20} MiB come out of it")
        if self._given > self._free and self._given > self._ratio * self._taken:
            raise ToolchainError("", f"more than {self._ratio} times its size comes out of it")

    def _more(self) -> bytes:
        data = self._file.read(_PIECE)
        self._taken += len(data)
        return data

    def _plain(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield data
            data = self._more()

    def _unpress(self, data: bytes, make: Callable[[], _Decoder]) -> Iterator[bytes]:
        decoder = make()
        while True:
            piece = decoder.decompress(data, _STEP)
            if piece:
                yield piece
            data = b""
            if decoder.eof:
                # Another stream may follow, and zero bytes as padding.
                data = decoder.unused_data.lstrip(b"\0")
                while not data:
                    more = self._more()
                    if not more:
                        return
                    data = more.lstrip(b"\0")
                decoder = make()
            elif decoder.needs_input:
                data = self._more()
                if not data:
                    raise Damaged("it ends too soon: was it cut off?")
