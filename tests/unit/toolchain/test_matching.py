"""The sentence that says what differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.toolchain.matching import difference

GCC12 = "gcc 12.2.0 (Debian 12.2.0-14+deb12u1) x86_64-linux-gnu"
GCC13 = "gcc 13.1.0 x86_64-linux-gnu"
PARTS = {"driver": b"1", "cc1": b"2", "cc1plus": b"3", "as": b"4", "libraries": b"5", "places": b"6", "defaults": b"7"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, ""),
        ({"cc1plus": b"x"}, f"the same {GCC12}, but cc1plus differs: a patched build?"),
        ({"libraries": b"x", "cc1plus": b"x"}, f"the same {GCC12}, but cc1plus and libraries differ: a patched build?"),
        ({"libraries": b"x"}, f"the same {GCC12}, but libraries differ: a patched build?"),
        ({"places": b"x"}, f"the same {GCC12}, but installed in other folders"),
        ({"places": b"x", "as": b"x"}, f"the same {GCC12}, but as differs: a patched build?"),
        ({"specs": b"x"}, f"the same {GCC12}, but specs differ: a patched build?"),
        (
            dict.fromkeys(PARTS, b"x"),
            f"the same {GCC12}, but driver, cc1, cc1plus and 3 more parts differ: a patched build?",
        ),
    ],
)
def test_same_label(changes: dict[str, bytes], sentence: str) -> None:
    assert difference(GCC12, PARTS, GCC12, {**PARTS, **changes}) == sentence


def test_other_version() -> None:
    assert difference(GCC13, PARTS, GCC12, PARTS) == f"{GCC12} there, {GCC13} here"


def test_no_compiler() -> None:
    assert difference("", {}, GCC12, PARTS) == "no gcc here"
    assert difference(GCC12, PARTS, "", {}) == "no gcc there"


def test_what_a_peer_says_is_cut_and_made_printable() -> None:
    sentence = difference(GCC12, PARTS, "gcc \x1b[31m\n" + "x" * 100_000, {"\0" * 5000: b""})
    assert len(sentence) < 500
    assert sentence.isprintable()


@given(st.text(), st.dictionaries(st.text(), st.binary()), st.text(), st.dictionaries(st.text(), st.binary()))
def test_always_a_short_printable_sentence(mine, my_parts, theirs, their_parts) -> None:
    sentence = difference(mine, my_parts, theirs, their_parts)
    assert len(sentence) < 2000 and sentence.isprintable()
    if mine and mine == theirs and my_parts == their_parts:
        assert sentence == ""
