"""The launcher's conversation, from the agent's side."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.errors import WireError
from manycc.wire import launcher as wire

BYTES = st.binary(max_size=30).map(lambda data: data.replace(b"\0", b""))
WORDS = BYTES.map(lambda data: data.decode("utf-8", "surrogateescape"))
NAMES = BYTES.map(lambda data: data.replace(b"=", b"").decode("utf-8", "surrogateescape"))


@given(st.lists(WORDS, min_size=1, max_size=8), st.dictionaries(NAMES, WORDS, max_size=8), WORDS, st.integers(0, 0o777))
def test_request_round_trip(argv: list[str], env: dict[str, str], cwd: str, umask: int) -> None:
    request = wire.Request("1", "/usr/bin/gcc", cwd, argv, env, umask, 1, 80)
    data = wire.build_request(request)
    magic, length, *header, argc = wire.JOB_HEADER.unpack_from(data)
    assert magic == wire.JOB_MAGIC
    assert length == len(data) - wire.JOB_HEADER.size
    parsed = wire.parse_request((header[0], header[1], header[2], argc), data[wire.JOB_HEADER.size :])
    assert parsed == request


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_damaged_request_raises_only_wire_error(payload: bytes, argc: int) -> None:
    try:
        wire.parse_request((0, 0, 0, argc), payload)
    except WireError:
        pass


def test_cut_request_is_refused() -> None:
    data = wire.build_request(wire.Request("1", "/usr/bin/gcc", "/", ["gcc", "-c", "a.c"], {}, 0, 0, 0))
    with pytest.raises(WireError):
        wire.parse_request((0, 0, 0, 3), data[wire.JOB_HEADER.size : -1])
