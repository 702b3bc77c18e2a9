"""What differs between two versions of a compiler's output, in lines for a person.

Objects are compared section by section; text as a unified diff; all else by size and first
differing byte. One of the two comes from a node, so it may be anything: what cannot be read as an
object is compared as bytes, and everything is bounded.
"""

from __future__ import annotations

import difflib
import io
import itertools
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

MAX_LINES: Final = 60
MAX_DIFF_LINES: Final = 30
MAX_NAMES: Final = 8
MAX_TEXT: Final = 1024 * 1024
"""Longer texts are compared as bytes: a diff takes time that grows with the square of its length."""
_AROUND: Final = 8
_MAX_SECTIONS: Final = 100_000
_MAX_SYMBOLS: Final = 200_000
_WIDTH: Final = 200
_ELF: Final = b"\x7fELF"

_Key = tuple[str, int]


class _Section(NamedTuple):
    kind: str
    flags: int
    size: int
    data: bytes


class _Object(NamedTuple):
    sections: dict[_Key, _Section]
    symbols: Counter[tuple[str, int, int, str]]
    producers: list[str]


def describe(here: bytes, there: bytes) -> list[str]:
    """Lines that say how ``there`` (a node's) differs from ``here`` (this machine's); none if it does not."""
    if here == there:
        return []
    lines: list[str] = []
    if here.startswith(_ELF) and there.startswith(_ELF):
        lines = _describe_objects(here, there)
    elif (texts := _texts(here, there)) is not None:
        lines = _describe_texts(*texts)
    return (lines or [_describe_bytes(here, there)])[:MAX_LINES]


# -- bytes and texts


def first_difference(here: bytes, there: bytes) -> int:
    """The offset of the first byte that differs; the shorter one's length if it is the other's beginning."""
    low, high = 0, min(len(here), len(there))
    while low < high:  # compares whole stretches: no loop over bytes
        middle = (low + high + 1) // 2
        if here[low:middle] == there[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _describe_bytes(here: bytes, there: bytes) -> str:
    at = first_difference(here, there)
    sizes = f"{len(here)} bytes" if len(here) == len(there) else f"{len(here)} bytes here, {len(there)} there"
    shown = ", there ".join(data[at : at + _AROUND].hex(" ") or "the end" for data in (here, there))
    return f"{sizes}, first difference at offset {at:#x}: here {shown}"


def _texts(here: bytes, there: bytes) -> tuple[str, str] | None:
    if max(len(here), len(there)) > MAX_TEXT or b"\0" in here or b"\0" in there:
        return None
    try:
        return here.decode(), there.decode()
    except UnicodeDecodeError:
        return None


def _describe_texts(here: str, there: str) -> list[str]:
    found = difflib.unified_diff(here.splitlines(), there.splitlines(), "here", "there", lineterm="", n=1)
    lines = [line[:_WIDTH] for _, line in zip(range(MAX_DIFF_LINES + 1), found, strict=False)]
    if len(lines) > MAX_DIFF_LINES:
        lines[-1] = "…"
    return lines  # none if only line ends differ


# -- objects


def _describe_objects(here: bytes, there: bytes) -> list[str]:
    mine, theirs = _read(here), _read(there)
    if mine is None or theirs is None:
        return []
    lines = list(_compare_sections(mine.sections, theirs.sections))
    lines += _compare_comments(mine.sections, theirs.sections)
    if mine.producers != theirs.producers:
        lines += _listed("debug information produced", mine.producers, theirs.producers)
    lines += _compare_symbols(mine.symbols, theirs.symbols)
    if not lines:
        lines.append(f"only the headers or the layout differ: {_describe_bytes(here, there)}")
    return lines


def _read(data: bytes) -> _Object | None:
    """What an object holds; None if it cannot be read as one."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile

    # What the reader raises for an object that is damaged on purpose is not bounded by its own errors.
    broken = (ELFError, DWARFError, ConstructError, struct.error, AssertionError, ArithmeticError, AttributeError,
              LookupError, MemoryError, RecursionError, TypeError, ValueError)  # fmt: skip
    try:
        file = ELFFile(io.BytesIO(data))
        if file.num_sections() > _MAX_SECTIONS:
            return None
        sections: dict[_Key, _Section] = {}
        seen: Counter[str] = Counter()
        for section in file.iter_sections():
            name = str(section.name)
            header = section.header
            begin, size = int(header["sh_offset"]), int(header["sh_size"])
            kind = str(header["sh_type"])
            content = b"" if kind == "SHT_NOBITS" else data[begin : begin + size]
            sections[name, seen[name]] = _Section(kind, int(header["sh_flags"]), size, content)
            seen[name] += 1
        symbols = Counter(_symbols(file))
    except broken:
        return None
    try:
        producers = _producers(file)
    except broken:
        producers = []
    return _Object(sections, symbols, producers)


def _symbols(file: Any) -> Iterator[tuple[str, int, int, str]]:
    table = file.get_section_by_name(".symtab")
    if table is None or not hasattr(table, "iter_symbols"):
        return
    for symbol in itertools.islice(table.iter_symbols(), _MAX_SYMBOLS):
        yield str(symbol.name), int(symbol["st_value"]), int(symbol["st_size"]), str(symbol["st_info"]["bind"])


def _producers(file: Any) -> list[str]:
    """What each unit's debug information says of who produced it."""
    if not file.has_dwarf_info():
        return []
    found: dict[str, None] = {}
    for unit in file.get_dwarf_info(follow_links=False).iter_CUs():
        attribute = unit.get_top_DIE().attributes.get("DW_AT_producer")
        if attribute is not None:
            found[bytes(attribute.value).decode(errors="replace")] = None
        if len(found) > MAX_NAMES:
            break
    return list(found)


def _shown(key: _Key, several: bool) -> str:
    return f"{key[0] or '(no name)'}" + (f" (number {key[1] + 1})" if several else "")


def _compare_sections(mine: dict[_Key, _Section], theirs: dict[_Key, _Section]) -> Iterator[str]:
    names = Counter(name for name, _ in mine | theirs)
    for key in mine | theirs:
        label = f"section {_shown(key, names[key[0]] > 1)}"
        here, there = mine.get(key), theirs.get(key)
        if here is None or there is None:
            one = here or there
            assert one is not None  # noqa: S101 - the key is of one of the two
            yield f"{label}: only {'there' if here is None else 'here'}, {one.size} bytes"
        elif here.data != there.data:
            yield f"{label}: {_describe_bytes(here.data, there.data)}"
        elif here.size != there.size:
            yield f"{label}: {here.size} bytes here, {there.size} there"
        elif here != there:
            yield f"{label}: type or flags differ, flags {here.flags:#x} here, {there.flags:#x} there"


def _compare_comments(mine: dict[_Key, _Section], theirs: dict[_Key, _Section]) -> list[str]:
    key = (".comment", 0)
    if key not in mine or key not in theirs or mine[key].data == theirs[key].data:
        return []
    here, there = (
        [text.decode(errors="replace") for text in sections[key].data.split(b"\0") if text]
        for sections in (mine, theirs)
    )
    return _listed(".comment says", here, there)


def _compare_symbols(mine: Counter[tuple[str, int, int, str]], theirs: Counter[tuple[str, int, int, str]]) -> list[str]:
    if mine == theirs:
        return []
    here = [_symbol(*symbol) for symbol in (mine - theirs)]
    there = [_symbol(*symbol) for symbol in (theirs - mine)]
    return _listed("symbols", here, there)


def _symbol(name: str, value: int, size: int, bind: str) -> str:
    return f"{name or '(no name)'} at {value:#x}, {size} bytes, {bind.removeprefix('STB_').lower()}"


def _listed(what: str, here: Iterable[str], there: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for side, texts in (("here", list(here)), ("there", list(there))):
        lines += [f"{what}, {side}: {text[:_WIDTH]}" for text in texts[:MAX_NAMES]]
        if len(texts) > MAX_NAMES:
            lines.append(f"{what}, {side}: and {len(texts) - MAX_NAMES} more")
    return lines
