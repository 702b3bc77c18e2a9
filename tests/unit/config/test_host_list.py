"""The host list's grammar."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.config import DEFAULT_PORT, MAX_SLOTS, HostSpec, parse_hosts
from manycc.errors import ConfigError

names = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
ip6 = st.binary(min_size=16, max_size=16).map(lambda data: f"[{socket.inet_ntop(socket.AF_INET6, data)}]")
ports = st.none() | st.integers(1, 65535)
slots = st.none() | st.integers(1, MAX_SLOTS)


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, str, int | None, int | None]:
    host, port, slot = draw(names | ip6), draw(ports), draw(slots)
    text = host + ("" if port is None else f":{port}") + ("" if slot is None else f"/{slot}")
    return text, host, port, slot


@given(entries())
def test_each_part_of_an_entry_is_read(entry: tuple[str, str, int | None, int | None]) -> None:
    text, host, port, slot = entry
    (spec,) = parse_hosts(text)
    assert spec.slots == slot
    assert spec.address == host.strip("[]")
    assert spec.name == text.partition("/")[0]
    assert spec.local == (host.lower() == "localhost" and port is None)
    if not spec.local:
        assert spec.port == (DEFAULT_PORT if port is None else port)


@given(st.lists(entries(), max_size=6), st.sampled_from([" ", "\n", "\t ", "  # a comment, with a:b:c\n"]))
def test_a_list_written_out_again_reads_the_same(
    parts: list[tuple[str, str, int | None, int | None]], separator: str
) -> None:
    try:
        specs = parse_hosts(separator.join(part[0] for part in parts))
    except ConfigError as error:
        assert "already in the list" in error.why
        return
    assert len(specs) == len(parts)
    assert parse_hosts(" ".join(map(str, specs))) == specs


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_the_grammar(text: str) -> None:
    try:
        specs = parse_hosts(text)
    except ConfigError as error:
        assert "column" in error.what
        assert "NAME[:PORT][/SLOTS]" in error.hint
    else:
        assert all(spec.address for spec in specs)


def test_the_list_of_the_readme() -> None:
    assert parse_hosts("192.168.0.100/6 192.168.0.101:3636/4 localhost/2") == (
        HostSpec("192.168.0.100", "192.168.0.100", 3632, 6),
        HostSpec("192.168.0.101:3636", "192.168.0.101", 3636, 4),
        HostSpec("localhost", "localhost", 0, 2, local=True),
    )


def test_localhost_with_a_port_is_a_node() -> None:
    node, address = parse_hosts("localhost:3632 127.0.0.1")
    assert not node.local
    assert not address.local


@pytest.mark.parametrize("text", ["", "  \n ", "# pi laptop", "\n# pi\n  # laptop"])
def test_nothing_is_no_hosts(text: str) -> None:
    assert parse_hosts(text) == ()


@pytest.mark.parametrize(
    ("text", "entry", "place", "why"),
    [
        ("pi laptop:x/4", "laptop:x/4", "column 4", "port"),
        ("pi:0", "pi:0", "column 1", "port"),
        ("pi:65536", "pi:65536", "column 1", "port"),
        ("pi:", "pi:", "column 1", "port"),
        ("pi/0", "pi/0", "column 1", "slot"),
        ("pi/-1", "pi/-1", "column 1", "slot"),
        ("pi/\u0663", "pi/\u0663", "column 1", "slot"),
        ("pi/10000", "pi/10000", "column 1", "slot"),
        ("pi/", "pi/", "column 1", "slot"),
        ("pi/2/3", "pi/2/3", "column 1", "no host"),
        ("/4", "/4", "column 1", "missing"),
        (":3632", ":3632", "column 1", "missing"),
        ("::1", "::1", "column 1", "brackets"),
        ("[::g]", "[::g]", "column 1", "IPv6"),
        ("[fe80::1%/4", "[fe80::1%/4", "column 1", "no host"),
        ("[fe80::1%]", "[fe80::1%]", "column 1", "zone"),
        ("pi,laptop", "pi,laptop", "column 1", "commas"),
        ("-pi", "-pi", "column 1", "no host name"),
        ("p\x00i", "'p\\x00i'", "column 1", "no host name"),
        ("pi\nlaptop\n  b@d", "b@d", "line 3, column 3", "no host name"),
        ("pi/4 laptop PI:3632/2", "PI:3632/2", "column 13", "already in the list, as pi"),
        ("localhost localhost/2", "localhost/2", "column 11", "already"),
    ],
)
def test_an_error_names_the_entry_its_place_and_the_fault(text: str, entry: str, place: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts(text)
    assert entry in caught.value.what
    assert f"{place}:" in caught.value.what
    assert why in caught.value.why


def test_an_interface_may_be_named() -> None:
    (spec,) = parse_hosts("[fe80::1%eth0]:3636/4")
    assert (spec.address, spec.port, spec.slots) == ("fe80::1%eth0", 3636, 4)
