"""@files: quoting, nesting, bounds, and what real compilers make of the same bytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.command import response
from manycc.command.parse import parse
from manycc.errors import NotDistributable
from manycc.reasons import Reason
from manycc.testing.requirements import need


def reader(files: dict[str, str]) -> Callable[[str], bytes]:
    def read(path: str) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return os.fsencode(files[path])

    return read


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \n\t", []),
        ("-O2  -g\n-c\r\n", ["-O2", "-g", "-c"]),
        ("'a b' \"c d\"", ["a b", "c d"]),
        ("-D'A=\"x\"'", ['-DA="x"']),
        ('-DA=\\"x\\ y\\"', ['-DA="x y"']),
        ('"a\\"b\\\\c"', ['a"b\\c']),
        ("a''b '' \"\"", ["ab", "", ""]),
        ("a\u00a0b\x85c\x1cd", ["a\u00a0b\x85c\x1cd"]),  # no blanks to a compiler
        ("'a\\b'", None),
        ('"a\\b"', None),
        ("a\\\nb", None),
        ("a\\", None),
        ("'a", None),
        ("a\vb", None),
        ("a\0b", None),
        ("\ufeff-c", None),
    ],
)
def test_split(text: str, words: list[str] | None) -> None:
    assert response.split(text) == words


@given(st.lists(st.text(st.characters(blacklist_characters="\v\f\0\ufeff\x1a\n", blacklist_categories=("Cs",)))))
def test_split_undoes_escaping(words: list[str]) -> None:
    text = "\n".join("".join("\\" + c for c in word) or "''" for word in words)
    assert response.split(text) == words


def test_nested_files() -> None:
    files = {"/src/all": "-O2 @more\n-c", "/src/more": "-DX @/abs/last", "/abs/last": "a.c"}
    found = parse(["gcc", "@all", "-o", "x.o"], "/src", {}, reader(files))
    assert found.argv == ("gcc", "-O2", "-DX", "a.c", "-c", "-o", "x.o")


def test_a_missing_file_is_an_argument_the_compiler_will_refuse() -> None:
    for argv in (["gcc", "-c", "@none"], ["gcc", "-c", "a.c", "@none.c"], ["gcc", "-c", "a.c", "-o", "@none"]):
        with pytest.raises(NotDistributable) as caught:
            parse(argv, "/src", {}, reader({}))
        assert caught.value.reason is Reason.BAD_COMMAND
        assert "@none" in caught.value.detail


def test_a_link_through_a_file_is_a_link() -> None:
    with pytest.raises(NotDistributable) as caught:
        parse(["gcc", "@objects", "-o", "prog"], "/src", {}, reader({"/src/objects": "a.o b.o"}))
    assert caught.value.reason is Reason.NOT_COMPILE


@pytest.mark.parametrize(
    "files",
    [
        {"/src/x": "@x"},
        {"/src/x": "-O2 " * 300_000},
        {"/src/x": "@y " * 1000, "/src/y": "-a " * 1000},
    ],
)
def test_bounds(files: dict[str, str]) -> None:
    with pytest.raises(NotDistributable) as caught:
        parse(["gcc", "-c", "@x"], "/src", {}, reader(files))
    assert caught.value.reason is Reason.LOCAL_OPTION


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
def test_compilers_read_the_same_words(compiler: str, tmp_path: Path) -> None:
    need(compiler)
    text = "-DA='x y' \"-DB=a\\\"b\\\\c\" -DC=\\'q\\ r '' -D'D'E"
    (tmp_path / "file").write_text(text)
    shown = subprocess.run(
        [compiler, "-###", "-E", "-xc", "@file", "/dev/null"], cwd=tmp_path, capture_output=True, text=True, check=False
    ).stderr
    words = response.split(text)
    assert words == ["-DA=x y", '-DB=a"b\\c', "-DC='q r", "", "-DDE"]
    for value in ("A=x y", "C='q r", "DE"):
        assert value in shown.replace("\\ ", " ").replace("\\'", "'")
    assert 'B=a\\"b\\\\c' in shown
