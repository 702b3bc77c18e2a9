"""The host list's grammar."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.errors import ConfigError
from manycc.hostlist import DEFAULT_PORT, MAX_SLOTS, HostSpec, parse_hosts, parse_list

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
    specs = parse_hosts(separator.join(part[0] for part in parts))
    assert len(specs) == len({spec.key for part in parts for spec in parse_hosts(part[0])})
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
        ("pi/2/3", "pi/2/3", "column 1", "more than one slot count"),
        ("pi/2:3632/3", "pi/2:3632/3", "column 1", "more than one slot count"),
        ("pi:99x", "pi:99x", "column 1", "port"),
        ("pi,zstd", "pi,zstd", "column 1", "'zstd' is no option"),
        ("pi,lzoxyz", "pi,lzoxyz", "column 1", "no option"),
        ("pi,cpp", "pi,cpp", "column 1", ",cpp needs ,lzo"),
        ("pi,auth", "pi,auth", "column 1", "GSSAPI"),
        ("pi,lzo,auth=name", "pi,lzo,auth=name", "column 1", "GSSAPI"),
        ("pi --localslots=0", "--localslots=0", "column 4", "slot count of --localslots"),
        ("--localslots=", "--localslots=", "column 1", "slot count"),
        ("--randomise", "--randomise", "column 1", "no word about the list"),
        ("+bonjour", "+bonjour", "column 1", "no word about the list"),
        ("ro ot@pi -l@pi", "-l@pi", "column 10", "no user name"),
        ("@", "@", "column 1", "missing"),
        ("@-oProxyCommand=x", "@-oProxyCommand=x", "column 1", "no host name"),
        ("@pi:distccd;reboot", "@pi:distccd;reboot", "column 1", "path of a distccd"),
        ("@pi:-x", "@pi:-x", "column 1", "path of a distccd"),
        ("@pi/2:", "@pi/2:", "column 1", "path of a distccd"),
        ("/4", "/4", "column 1", "missing"),
        (":3632", ":3632", "column 1", "missing"),
        ("::1", "::1", "column 1", "brackets"),
        ("[::g]", "[::g]", "column 1", "IPv6"),
        ("[fe80::1%/4", "[fe80::1%/4", "column 1", "no host"),
        ("[fe80::1%]", "[fe80::1%]", "column 1", "zone"),
        ("pi,laptop", "pi,laptop", "column 1", "not by commas"),
        ("-pi", "-pi", "column 1", "no host name"),
        ("p\x00i", "'p\\x00i'", "column 1", "no host name"),
        ("pi\nlaptop\n  b%d", "b%d", "line 3, column 3", "no host name"),
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


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("h/3:99", HostSpec("h:99", "h", 99, 3)),
        ("h:99/3", HostSpec("h:99", "h", 99, 3)),
        ("h,lzo", HostSpec("h", "h", 3632, lzo=True)),
        ("h:99/3,lzo,cpp", HostSpec("h:99", "h", 99, 3, lzo=True, cpp=True)),
        ("h,lzo/7", HostSpec("h", "h", 3632, 7, lzo=True)),
        ("h,down", HostSpec("h", "h", 3632, down=True)),
        ("[::1]/3:99,lzo", HostSpec("[::1]:99", "::1", 99, 3, lzo=True)),
        ("localhost/2", HostSpec("localhost", "localhost", 0, 2, local=True)),
        ("localhost,lzo", HostSpec("localhost", "localhost", 3632, lzo=True)),
        ("@h", HostSpec("@h", "h", 0, ssh=True)),
        ("me@h/3", HostSpec("me@h", "h", 0, 3, ssh=True, user="me")),
        (
            "me@h/3:/opt/bin/distccd,lzo",
            HostSpec("me@h", "h", 0, 3, lzo=True, ssh=True, user="me", command="/opt/bin/distccd"),
        ),
        ("h a#c", HostSpec("h", "h", 3632)),
    ],
)
def test_entries_of_distcc(text: str, spec: HostSpec) -> None:
    assert parse_hosts(text)[0] == spec
    assert parse_hosts(str(spec)) == (spec,)


def test_a_host_named_twice_counts_once_with_the_larger_number_of_slots() -> None:
    assert [str(spec) for spec in parse_hosts("pi/2 laptop PI:3632/4,lzo localhost/3 localhost/2")] == [
        "pi/4", "laptop", "localhost/3"
    ]  # fmt: skip
    assert parse_hosts("pi/2 pi")[0].slots is None
    assert len(parse_hosts("pi @pi me@pi pi:3633")) == 4


def test_words_about_the_whole_list() -> None:
    found = parse_list("--randomize --localslots=3 --localslots_cpp/9 pi")
    assert (found.randomize, found.local_slots, found.local_cpp_slots, found.zeroconf) == (True, 3, 9, False)
    assert [spec.name for spec in found.hosts] == ["pi"]
    assert not found.notes
    assert parse_list("--localslots pi").local_slots is None
    assert parse_list("").hosts == ()


def test_what_the_list_says_about_this_machine() -> None:
    assert parse_list("pi localhost/2").own_slots == 2
    assert parse_list("pi localhost/2 --localslots=5").own_slots == 5
    assert parse_list("pi --localslots=5").own_slots == 5
    assert parse_list("pi localhost").own_slots is None


def test_hosts_beside_zeroconf_are_used_and_a_sentence_says_what_is_missing() -> None:
    found = parse_list("+zeroconf pi")
    assert [spec.name for spec in found.hosts] == ["pi"]
    assert "not supported" in found.notes[0]
