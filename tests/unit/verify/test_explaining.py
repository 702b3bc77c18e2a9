"""How a difference is found out where what a node sent was made to be hard to read."""

from __future__ import annotations

import struct
import time

import pytest

from manycc.verify import explain
from manycc.verify.compare import Observed
from manycc.verify.explain import explained

HEADER = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 0, 0, 64, 0, 0, 64, 0, 1)


def seen(data: bytes) -> Observed:
    return Observed(0, b"", b"", {"/w/\udcff.o": (0o644, data)})


def bomb(sections: int, name: int) -> bytes:
    """An object of sections that are each the whole file, and have names as long."""
    names = b"\0" + b"n" * name + b"\0"
    names += bytes(-len(names) % 8)
    begin = 64 + len(names)
    size = begin + 64 * (sections + 2)
    form = "<IIQQQQIIQQ"
    table = bytes(64) + struct.pack(form, 1, 3, 0, 0, 64, len(names), 0, 0, 1, 0)
    table += b"".join(struct.pack(form, 1 + number, 1, 0, 0, 0, size, 0, 0, 1, 0) for number in range(sections))
    header = bytearray(HEADER)
    struct.pack_into("<Q", header, 0x28, begin)
    struct.pack_into("<HH", header, 0x3C, sections + 2, 1)
    return bytes(header) + names + table


def test_a_name_of_any_bytes() -> None:
    (difference,) = explained(seen(b"here"), seen(b"there"), ["/w/\udcff.o"])
    assert difference == ("/w/\udcff.o", ["--- here", "+++ there", "@@ -1 +1 @@", "-here", "+there"])


def test_an_object_that_takes_all_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "TIME_S", 5)
    here, there = bomb(1, 10), bomb(4000, 4_000_000)
    begun = time.monotonic()
    (difference,) = explained(seen(here), seen(there), ["/w/\udcff.o"])
    assert len(difference.lines) == 1
    assert time.monotonic() - begun < 60
