"""Build attributes: what an ARM or RISC-V object says of the processor and the ABI it was made for.

The ELF header of an ARM object is the same for all of them: that code is for ARMv7 where the machine is an ARMv6, or
that floats are passed in other registers, stands only in a section that the assembler adds (Addenda to the ABI for
the Arm Architecture; RISC-V ELF psABI). Read here from any bytes, within bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

Attributes = tuple[tuple[int, int | str], ...]
"""(tag, value), by tag: those that are compared, without those that are zero."""

ARM: Final = 40
RISCV: Final = 243
UNREADABLE: Final[Attributes] = ((-1, "cannot be read"),)

_SECTION: Final = 0x70000003
"""The type of the section, for both processors."""
_MAX_SIZE: Final = 8192
_MAX_SECTIONS: Final = 1 << 20
_MAX_STRING: Final = 1024
_FILE: Final = 1
_COMPATIBILITY: Final = 32

_vendors: Final = {ARM: b"aeabi", RISCV: b"riscv"}
_strings: Final = {ARM: frozenset((4, 5)), RISCV: frozenset(())}
"""Tags whose value is a string, beside the odd ones (ARM's below 32 are numbers)."""

_CPUS: Final = (
    "before v4", "v4", "v4T", "v5T", "v5TE", "v5TEJ", "v6", "v6KZ", "v6T2", "v6K", "v7", "v6-M", "v6S-M", "v7E-M",
    "v8-A", "v8-R", "v8-M.base", "v8-M.main", "v8.1-A", "v8.2-A", "v8.3-A", "v8.1-M.main", "v9-A",
)  # fmt: skip
_FLOATS: Final = (
    "none", "VFPv1", "VFPv2", "VFPv3", "VFPv3-D16", "VFPv4", "VFPv4-D16", "FP-ARMv8", "FP-ARMv8-D16",
)  # fmt: skip
_names: Final[dict[int, dict[int, tuple[str, tuple[str, ...]]]]] = {
    ARM: {
        6: ("CPU", _CPUS),
        7: ("profile", ()),
        10: ("FPU", _FLOATS),
        11: ("WMMX", ()),
        12: ("SIMD", ("none", "NEONv1", "NEONv1 with FMA", "NEON for ARMv8", "NEON for ARMv8.1")),
        18: ("wchar_t of", ()),
        26: ("enums", ("unused", "short", "int", "int if visible")),
        28: ("floats passed", ("in core registers", "in VFP registers", "in a way of its own", "either way")),
        38: ("half floats", ("unused", "IEEE 754", "alternative")),
    },
    RISCV: {4: ("stack aligned to", ()), 5: ("for", ())},
}
"""The tags that are compared, as a person calls them. All others depend on what is in a source, or on how far it is
optimised, or say no more than these."""


def read(data: bytes, bits: int, order: str, machine: int, table: int, entry: int, count: int) -> Attributes:
    """The attributes of an object; () for a processor that has none, or an object without.

    ``order`` is "<" or ">"; ``table``, ``entry`` and ``count`` are where its section headers are, how large, how many.
    """
    if machine not in _vendors or entry != (40 if bits == 32 else 64):
        return ()
    section = struct.Struct(order + ("IIIIIIIIII" if bits == 32 else "IIQQQQIIQQ"))
    if table + entry <= len(data) and count == 0:
        count = section.unpack_from(data, table)[5]  # more than the header's field can say
    if count > _MAX_SECTIONS or table + entry * count > len(data):
        return UNREADABLE
    for index in range(count - 1, 0, -1):  # assemblers put it behind the code
        _, kind, _, _, offset, size, *_ = section.unpack_from(data, table + index * entry)
        if kind == _SECTION:
            if size > _MAX_SIZE or offset + size > len(data):
                return UNREADABLE
            try:
                return parse(data[offset : offset + size], order, machine)
            except ValueError:
                return UNREADABLE
    return ()


def parse(section: bytes, order: str, machine: int) -> Attributes:
    """The attributes out of a section's contents. Raises ValueError if they are out of form."""
    if section[:1] != b"A":
        raise ValueError("of another format")
    found: dict[int, int | str] = {}
    for vendor, attributes in _parts(section, 1, order):
        if vendor == _vendors[machine]:
            found.update(_pairs(attributes, order, machine))
    return tuple(sorted((tag, value) for tag, value in found.items() if tag in _names[machine] and value))


def describe(machine: int, attributes: Attributes) -> str:
    """The attributes in words; "" for none."""
    texts = []
    for tag, value in attributes:
        name, values = _names.get(machine, {}).get(tag, ("attributes", ()))
        if isinstance(value, str):
            word = "".join(char if char.isprintable() else "?" for char in value[:200])
        elif tag == 7 and 32 < value < 127:
            word = chr(value)
        else:
            word = values[value] if value < len(values) else str(value)
        texts.append(f"{name} {word}")
    return ", ".join(texts)


def _parts(section: bytes, place: int, order: str) -> Iterator[tuple[bytes, bytes]]:
    """The subsections: whose attributes, and what they are."""
    while place < len(section):
        length = _number(section, place, order)
        if length < 5 or place + length > len(section):
            raise ValueError("a part that is too long")
        end = section.find(b"\0", place + 4, place + length)
        if end < 0:
            raise ValueError("a part of nobody")
        yield section[place + 4 : end], section[end + 1 : place + length]
        place += length


def _pairs(attributes: bytes, order: str, machine: int) -> Iterator[tuple[int, int | str]]:
    """Tags and values of those that hold for the whole file."""
    place = 0
    while place < len(attributes):
        scope, start = _uleb(attributes, place)
        length = _number(attributes, start, order)
        if length < start + 4 - place or place + length > len(attributes):
            raise ValueError("attributes that are too long")
        end = place + length
        place = start + 4
        while scope == _FILE and place < end:
            tag, place = _uleb(attributes, place)
            value: int | str
            if tag in _strings[machine] or (tag % 2 and (tag > _COMPATIBILITY or machine == RISCV)):
                value, place = _string(attributes, place, end)
            else:
                value, place = _uleb(attributes, place)
                if tag == _COMPATIBILITY and machine == ARM:
                    _, place = _string(attributes, place, end)
            yield tag, value
        place = end


def _number(data: bytes, place: int, order: str) -> int:
    if place + 4 > len(data):
        raise ValueError("cut short")
    return int.from_bytes(data[place : place + 4], "little" if order == "<" else "big")


def _uleb(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if place >= len(data):
            raise ValueError("cut short")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number that is too large")


def _string(data: bytes, place: int, end: int) -> tuple[str, int]:
    stop = data.find(b"\0", place, min(end, place + _MAX_STRING))
    if stop < 0:
        raise ValueError("a text without end")
    return data[place:stop].decode("ascii", "replace"), stop + 1
