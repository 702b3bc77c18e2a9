"""Framing and bounds of the native protocol."""

from __future__ import annotations

from zlib import crc32

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from manycc.errors import WireError
from manycc.wire import native

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary(max_size=50) | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(st.lists(VALUES, max_size=4), max_size=5), st.lists(st.integers(1, 40), min_size=1))
def test_messages_survive_any_cutting(bodies: list[list[object]], cuts: list[int]) -> None:
    messages = [[number + 1, *body] for number, body in enumerate(bodies)]
    stream = b"".join(native.pack(message) for message in messages)
    framer = native.Framer()
    got = []
    position = turn = 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        got += list(framer.feed(stream[position : position + step]))
        position += step
        turn += 1
    assert got == messages


@given(st.binary(max_size=400), st.booleans())
def test_garbage_raises_nothing_but_wire_error(data: bytes, framed: bool) -> None:
    try:
        for message in native.Framer().feed(native.header(len(data), crc32(data)) + data if framed else data):
            assert isinstance(message[0], int)
    except WireError:
        pass


@given(st.lists(VALUES, min_size=1, max_size=4), st.data())
def test_any_flipped_bit_of_a_frame_is_noticed_without_more_bytes(body: list[object], data: st.DataObject) -> None:
    frame = bytearray(native.pack([native.RESULT, *body]))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        list(native.Framer().feed(bytes(frame)))


def test_undecodable_names_survive() -> None:
    name = b"/src/\xff\xfe.c".decode("utf-8", "surrogateescape")
    assert list(native.Framer().feed(native.pack([1, name]))) == [[1, name]]


def test_oversized_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(WireError):
        list(native.Framer().feed(native.header(native.MAX_FRAME + 1, 0)))
    with pytest.raises(WireError):
        native.pack([1, b"x" * (native.MAX_FRAME + 1)])


@given(st.binary(max_size=5000))
def test_compression_round_trip(data: bytes) -> None:
    assert native.decompress(native.compress(data), len(data)) == data


def test_bomb_is_refused_unopened() -> None:
    bomb = native.compress(bytes(100_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(WireError):
        native.decompress(bomb, 1_000_000)


def test_frame_without_stated_size_is_refused() -> None:
    stream = zstandard.ZstdCompressor().compressobj()
    with pytest.raises(WireError):
        native.decompress(stream.compress(bytes(1000)) + stream.flush(), 10_000)


def test_flipped_bit_is_noticed() -> None:
    data = bytearray(native.compress(b"int main(void) { return 0; }" * 10))
    data[len(data) // 2] ^= 4
    with pytest.raises(WireError):
        native.decompress(bytes(data), 10_000)


def test_many_small_values_are_refused() -> None:
    many = [[[] for _ in range(50_000)] for _ in range(30)]
    with pytest.raises(WireError, match="more values"):
        list(native.Framer().feed(native.pack([native.ANNOUNCE, many])))
    with pytest.raises(WireError, match="more values"):
        list(native.Framer().feed(native.pack([native.PING, *[[{}] * 90_000 for _ in range(12)]])))
    inputs = [[number, 2, "/x", "", 0] for number in range(native.MAX_INPUTS)]
    assert list(native.Framer().feed(native.pack([native.ANNOUNCE, inputs]))) == [[native.ANNOUNCE, inputs]]
