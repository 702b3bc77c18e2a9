"""What is said of two versions of an output, on real objects and on what a node may make of them."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from manycc.toolchain.objectdiff import MAX_LINES, describe, first_difference

SOURCE = """#include <stddef.h>
const char text[] = "truth";
static int helper(void) { return NUMBER; }
int f(int x) { return x + helper(); }
"""


def compiled(folder: Path, *options: str) -> bytes:
    (folder / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-DNUMBER=3", *options, "-c", "a.c", "-o", "a.o"], cwd=folder, check=True)
    return (folder / "a.o").read_bytes()


def test_the_same_is_not_described(tmp_path: Path) -> None:
    data = compiled(tmp_path, "-g")
    assert describe(data, bytes(data)) == []


def test_a_byte_of_data(tmp_path: Path) -> None:
    data = compiled(tmp_path, "-g")
    (line,) = describe(data, data.replace(b"truth", b"trUth"))
    assert line == ("section .rodata: 6 bytes, first difference at offset 0x2: here 75 74 68 00, there 55 74 68 00")


def test_another_optimisation(tmp_path: Path) -> None:
    lines = describe(compiled(tmp_path, "-g"), compiled(tmp_path, "-g", "-O2"))
    assert any(line.startswith("section .text: ") and "bytes here" in line for line in lines)
    said = [line for line in lines if line.startswith("debug information produced")]
    assert len(said) == 2
    assert "-O2" not in said[0] and said[0].startswith("debug information produced, here: GNU C")
    assert "-O2" in said[1]


def test_sections_of_one_side_only(tmp_path: Path) -> None:
    lines = describe(compiled(tmp_path), compiled(tmp_path, "-ffunction-sections"))
    assert any(line.startswith("section .text.f: only there, ") for line in lines)
    lines = describe(compiled(tmp_path, "-g"), compiled(tmp_path))
    assert any(line.startswith("section .debug_info: only here, ") for line in lines)


def test_symbols(tmp_path: Path) -> None:
    lines = describe(compiled(tmp_path), compiled(tmp_path, "-Dhelper=longer_name"))
    assert "symbols, here: helper at 0x0, 11 bytes, local" in lines
    assert "symbols, there: longer_name at 0x0, 11 bytes, local" in lines


def test_the_compiler_in_the_comment(tmp_path: Path) -> None:
    data = compiled(tmp_path)
    lines = describe(data, data.replace(b"GCC: (", b"GCC: <"))
    assert any(line.startswith(".comment says, here: GCC: (") for line in lines)
    assert any(line.startswith(".comment says, there: GCC: <") for line in lines)


def test_headers_only(tmp_path: Path) -> None:
    data = compiled(tmp_path)
    changed = data[:8] + b"\1" + data[9:]
    (line,) = describe(data, changed)
    assert line.startswith("only the headers or the layout differ: ") and "offset 0x8" in line


def test_texts() -> None:
    assert describe(b"a.o: a.c \\\n b.h\n", b"a.o: a.c \\\n c.h\n") == [
        "--- here", "+++ there", "@@ -1,2 +1,2 @@", " a.o: a.c \\", "- b.h", "+ c.h",
    ]  # fmt: skip
    (line,) = describe(b"same\n", b"same")
    assert line == "5 bytes here, 4 there, first difference at offset 0x4: here 0a, there the end"


def test_a_long_text_difference_is_cut() -> None:
    here, there = ("".join(f"{side} {n}\n" for n in range(500)).encode() for side in "ab")
    lines = describe(here, there)
    assert len(lines) < MAX_LINES and lines[-1] == "…"


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_is_described(tmp_path: Path, seed: int) -> None:
    data = compiled(tmp_path, "-g")
    chance = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 10, 200))):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    if seed % 4 == 0:
        del damaged[chance.randrange(len(damaged)) :]
    lines = describe(data, bytes(damaged))
    assert bool(lines) == (bytes(damaged) != data)
    assert len(lines) <= MAX_LINES


def test_first_difference() -> None:
    chance = random.Random(1)
    for _ in range(300):
        here = bytes(chance.choices(b"ab", k=chance.randrange(12)))
        there = bytes(chance.choices(b"ab", k=chance.randrange(12)))
        pairs = zip(here, there, strict=False)
        expected = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(here), len(there)))
        assert first_difference(here, there) == expected
