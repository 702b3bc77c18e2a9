"""The packets of distcc's protocol: what is written is read again, and nothing that breaks a bound is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manycc.errors import WireError
from manycc.wire import distcc, lzo

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
BODIES = st.binary(max_size=5000)


def _fed(reader, data: bytes, step: int):
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    return reader


@given(
    st.sampled_from((distcc.PLAIN, distcc.LZO)), st.lists(TEXTS, min_size=1, max_size=8), BODIES, st.integers(1, 4000)
)
def test_a_request_is_read_as_it_was_written(version: int, argv: list[str], source: bytes, step: int) -> None:
    reader = _fed(distcc.RequestReader(), distcc.pack_request(version, argv, source), step)
    assert reader.done is not None
    assert reader.done.argv == tuple(argv)
    assert distcc.expand(version, reader.done.body, len(source)) == source
    assert reader.version == version


@given(st.sampled_from(distcc.VERSIONS), st.sampled_from((0, 256, 9)), BODIES, BODIES, BODIES, st.integers(1, 4000))
def test_a_reply_is_read_as_it_was_written(
    version: int, status: int, stderr: bytes, output: bytes, depfile: bytes, step: int
) -> None:
    data = distcc.pack_reply(version, status, stderr, b"out", output, depfile)
    reply = _fed(distcc.ReplyReader(version), data, step).done
    assert reply is not None
    assert reply.status == status
    assert distcc.expand(version, reply.stderr, 5000) == stderr
    assert distcc.expand(version, reply.stdout, 5000) == b"out"
    assert distcc.expand(version, reply.output, 5000) == (output if status == 0 else b"")
    if version == distcc.PUMP and status == 0:
        assert reply.depfile is not None
        assert distcc.expand(version, reply.depfile, 5000) == depfile
    else:
        assert reply.depfile is None


SOURCE = b"int x;\nint f(void) { return x + x + x + x + x + x + x; }\n"
STOCK_ARGV = ("x86_64-linux-gnu-gcc", "-Wall", "-O1", "-c", "hello.i", "-o", "hello.o")
STOCK_HEAD = (
    b"ARGC00000007ARGV00000014x86_64-linux-gnu-gccARGV00000005-WallARGV00000003-O1ARGV00000002-c"
    b"ARGV00000007hello.iARGV00000002-oARGV00000007hello.o"
)
STOCK_PLAIN = b"DIST00000001" + STOCK_HEAD + b"DOTI00000039" + SOURCE
STOCK_LZO = (
    b"DIST00000002"
    + STOCK_HEAD
    + b"DOTI00000035"
    + (b"\x04int x;\nx\x00\x00\x02f(void) { return x +*\x0c\x00\x0b x + x + x; }\n\x11\x00\x00")
)
"""What distcc 3.4 sent for this source."""


@pytest.mark.parametrize(("version", "data"), [(distcc.PLAIN, STOCK_PLAIN), (distcc.LZO, STOCK_LZO)])
def test_what_the_stock_client_sends(version: int, data: bytes) -> None:
    request = _fed(distcc.RequestReader(), data, 7).done
    assert request is not None
    assert request.version == version
    assert request.argv == STOCK_ARGV
    assert distcc.expand(version, request.body, 1000) == SOURCE


def test_the_plain_request_is_what_the_stock_client_would_send() -> None:
    assert distcc.pack_request(distcc.PLAIN, STOCK_ARGV, SOURCE) == STOCK_PLAIN


def test_a_pump_request() -> None:
    content = lzo.compress(b"int x;\n")
    data = (
        b"DIST00000003CDIR00000005/home" + b"ARGC00000001ARGV00000002cc" + b"NFIL00000002"
        b"NAME00000009/home/a.c" + b"FILE%08x" % len(content) + content + b"NAME00000009/home/a.hLINK00000003a.i"
    )
    request = _fed(distcc.RequestReader(), data, 5).done
    assert request is not None
    assert request.cwd == "/home"
    assert request.entries == (
        distcc.PumpEntry("/home/a.c", content),
        distcc.PumpEntry("/home/a.h", b"", "a.i"),
    )


@pytest.mark.parametrize(
    "data",
    [
        b"DIST00000004",
        b"DIST00000000",
        b"DIST0000000x",
        b"DIST 0000001",
        b"GET / HTTP/1",
        b"DIST00000001ARGC00000000",
        b"DIST00000001ARGC7fffffff",
        b"DIST00000001ARGCffffffff",
        b"DIST00000001ARGC00000001ARGVffffffff",
        b"DIST00000001ARGC00000001ARGV00000003a\0b",
        b"DIST00000001ARGC00000001ARGV00000002ccDOTIffffffff",
        b"DIST00000001ARGC00000001ARGV00000002ccFILE00000001",
        b"DIST00000003CDIR00001001",
        b"DIST00000003CDIR00000001/ARGC00000001ARGV00000002ccNFIL7fffffff",
        b"DIST00000003CDIR00000001/ARGC00000001ARGV00000002ccNFIL00000001NAME7fffffff",
        b"DIST00000003CDIR00000001/ARGC00000001ARGV00000002ccNFIL00000001NAME00000002/aLINKffffffff",
        b"DIST00000003CDIR00000001/ARGC00000001ARGV00000002ccNFIL00000001NAME00000002/aDOTI00000001",
    ],
)
def test_what_breaks_the_protocol_or_a_bound_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        distcc.RequestReader().feed(data)


def test_arguments_are_bounded_together() -> None:
    large = b"ARGV%08x" % (distcc.MAX_ARGUMENT_BYTES // 2) + b"x" * (distcc.MAX_ARGUMENT_BYTES // 2)
    reader = distcc.RequestReader()
    reader.feed(b"DIST00000001ARGC00000003" + large)
    with pytest.raises(WireError):
        reader.feed(large)


@given(st.binary(max_size=400))
def test_random_bytes_never_do_more_than_break_the_protocol(data: bytes) -> None:
    reader = distcc.RequestReader()
    try:
        reader.feed(b"DIST0000000" + data)
    except WireError:
        pass


@given(st.one_of(BODIES, st.binary(max_size=30).map(lambda part: part + bytes(200_000)), st.just(bytes(3_000_000))))
def test_lzo_gives_back_what_it_was_given(data: bytes) -> None:
    assert lzo.decompress(lzo.compress(data), len(data)) == data


@pytest.mark.parametrize("size", [1, 2, 3, 4, 17, 18, 19, 238, 239, 255, 256, 4096, 65535, 65536, 65537])
@pytest.mark.parametrize("byte", [b"\0", b"a"])
def test_lzo_of_runs(size: int, byte: bytes) -> None:
    assert lzo.decompress(lzo.compress(byte * size), size) == byte * size


def test_lzo_expands_to_no_more_than_it_may() -> None:
    bomb = lzo.compress(bytes(64 * 1024**2))
    assert len(bomb) < 1024**2
    with pytest.raises(WireError, match="more than 1048576 bytes"):
        lzo.decompress(bomb, 1024**2)


@example(b"\x02")
@given(st.binary(max_size=300))
def test_damaged_lzo_is_refused_or_bounded(data: bytes) -> None:
    try:
        assert len(lzo.decompress(data + lzo.END, 10_000)) <= 10_000
    except WireError:
        pass


@pytest.mark.parametrize("size", [0, 4, 5, 18, 19, 237, 238, 239, 273, 274, 528, 529, 100_000])
def test_stored_blocks_are_blocks(size: int) -> None:
    data = bytes(range(1, 256)) * (size // 255 + 1)
    assert lzo.decompress(lzo.stored(data[:size]), 200_000) == data[:size]
    assert lzo.decompress(lzo.stored(b"ab"), 100) == b"ab  "


def test_large_outputs_are_stored_and_refusals_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    output = b"\x7fELF" * (distcc.MAX_PRESSED // 4 + 1)
    reader = distcc.ReplyReader(distcc.LZO)
    reader.feed(distcc.pack_reply(distcc.LZO, 0, b"", output=output))
    assert reader.done is not None and len(reader.done.output) > len(output)
    assert distcc.expand(distcc.LZO, reader.done.output, len(output)) == output
    monkeypatch.setattr(lzo, "lzokay", None)
    for version in (distcc.PLAIN, distcc.LZO, distcc.PUMP):
        refused = distcc.ReplyReader(version)
        refused.feed(distcc.pack_refusal(version, 110 << 8, b"no such compiler\n"))
        assert refused.done is not None and b"no such compiler\n" in refused.done.stderr and not refused.extra
