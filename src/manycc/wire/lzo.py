"""LZO1X blocks as distcc has them on its wire: no header, no length of what is inside.

The library decompresses into a buffer whose size must be given, fills what is left of it with zeros, and
does not tell how much it wrote. So a mark is put behind the content: each block ends with the same
instruction (``11 00 00``), before which two more fit, whatever came before. Their bytes are not zeros, and
are found from the end of the buffer. The buffer starts at what blocks usually expand to and grows up to
the caller's limit, which is what keeps a block of a few bytes from filling the memory.
"""

from __future__ import annotations

from typing import Final

from manycc.errors import WireError

try:
    import lzokay
except ImportError:  # there are machines for which it does not exist ready-made
    lzokay = None  # type: ignore[assignment, unused-ignore]

END: Final = b"\x11\x00\x00"
_MARK: Final = b"\x43\x00\x01\x01\x01"
"""Copy three bytes from one byte back, then three bytes as they stand: valid after any instruction."""
_MARKED: Final = 6
_FIRST_RUN: Final = 17
"""A block may begin with a byte that tells the number of literals that follow, above this one."""
_SHORT_RUN: Final = 238
_LONG_RUN: Final = 18
"""Literals of a run, besides what its length bytes say: each zero stands for 255 of them."""
_USUAL_RATIO: Final = 8
_GROWTH: Final = 8
_LEAST: Final = 64 * 1024


def is_available() -> bool:
    """Whether this machine has the library."""
    return lzokay is not None


def compress(data: bytes) -> bytes:
    """One block; nothing for nothing. Raises WireError without the library."""
    if not data:
        return b""
    _need()
    block: bytes = lzokay.compress(data)
    return block


def stored(data: bytes) -> bytes:
    """One block that holds ``data`` as it is: a little longer than it, but made without the library, and at once.

    A block begins with four literals or more: what is shorter gets blanks behind it.
    """
    if not data:
        return b""
    data = data.ljust(4)
    if len(data) <= _SHORT_RUN:
        return bytes((_FIRST_RUN + len(data),)) + data + END
    zeros, rest = divmod(len(data) - _LONG_RUN - 1, 255)
    return bytes((0,)) + bytes(zeros) + bytes((rest + 1,)) + data + END


def decompress(block: bytes, limit: int) -> bytes:
    """The content of a block, at most ``limit`` bytes. Raises WireError."""
    if not block:
        return b""
    _need()
    if not block.endswith(END):
        raise WireError("an LZO block without an end")
    if block == END:
        return b""
    marked = block[: -len(END)] + _MARK + END
    most = limit + _MARKED
    size = min(max(_USUAL_RATIO * len(block), _LEAST), most)
    while True:
        try:
            filled: bytes = lzokay.decompress(marked, size)
            break
        except lzokay.OutputOverrunError:
            if size >= most:
                raise WireError(f"an LZO block that expands to more than {limit} bytes") from None
            size = min(_GROWTH * size, most)
        except lzokay.LzokayError:
            # Its text can hold the data itself.
            raise WireError("a damaged LZO block") from None
    length = len(filled.rstrip(b"\0")) - _MARKED
    if length < 0:  # the block's last instruction took the mark for its own
        raise WireError("a damaged LZO block")
    return filled[:length]


def _need() -> None:
    if lzokay is None:
        raise WireError("the Python package lzokay is not installed", "", "pip install lzokay")
