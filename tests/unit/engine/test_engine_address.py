"""How an engine is written in a host list."""

from __future__ import annotations

import pytest

from manycc.engine.address import DEFAULT_PORT, USUAL_SLOTS, EngineAddress
from manycc.errors import ConfigError
from manycc.hostlist import parse_hosts, parse_list


def engine(entry: str) -> EngineAddress:
    (spec,) = parse_hosts(entry)
    assert spec.engine is not None
    assert (spec.name, spec.address, spec.port) == (spec.engine.name, spec.engine.address, spec.engine.port)
    return spec.engine


def test_the_shortest() -> None:
    found = engine("reapi://cluster")
    assert (found.address, found.port, found.instance, found.tls) == ("cluster", DEFAULT_PORT, "", False)
    assert (found.slots, found.toolchain, found.compress) == (USUAL_SLOTS, "auto", True)
    assert found.target == f"cluster:{DEFAULT_PORT}"


def test_everything() -> None:
    found = engine(
        "reapis://[fd00::1]:443/team/a?slots=200&toolchain=property&property=ISA=x86-64&property=OSFamily=linux"
        "&compress=off&ca=/ca.pem&cert=/c.pem&key=/k.pem&token-command=get%20token%20-q&header=X-Team:%20blue"
    )
    assert found == EngineAddress(
        name="reapis://[fd00::1]:443/team/a", address="fd00::1", port=443, instance="team/a", tls=True, slots=200,
        toolchain="property", properties=(("ISA", "x86-64"), ("OSFamily", "linux")), compress=False, ca="/ca.pem",
        cert="/c.pem", key="/k.pem", token_command="get token -q", headers=(("x-team", "blue"),),
    )  # fmt: skip
    assert found.target == "[fd00::1]:443"


def test_in_a_list_with_other_hosts() -> None:
    found = parse_list("localhost/2 lan:3633/8 reapi://big:8980/main?slots=64 # the rest\n")
    assert [spec.name for spec in found.hosts] == ["localhost", "lan:3633", "reapi://big:8980/main"]
    assert [spec.slots for spec in found.hosts] == [2, 8, 64]
    assert [str(spec) for spec in found.hosts][2] == "reapi://big:8980/main"


def test_its_name_holds_no_secret_and_is_a_host_again() -> None:
    found = engine("reapis://h/main?header=x-key:secret")
    assert "secret" not in found.name
    assert engine(found.name).instance == "main"


def test_named_twice_it_counts_once() -> None:
    assert [spec.slots for spec in parse_hosts("reapi://h?slots=2 reapi://h?slots=8")] == [8]
    assert len(parse_hosts("reapi://h/a reapi://h/b")) == 2
    assert len(parse_hosts("reapi://h/a reapi://h/A")) == 2  # names of instances differ by case
    assert len(parse_hosts("reapi://h/a reapi://H/a")) == 1


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("reapi://", "host name is missing"),
        ("reapi://:1", "host name is missing"),
        ("reapi://h:0", "port"),
        ("reapi://h:99999", "port"),
        ("reapi://h:x", "port"),
        ("reapi://h:", "port"),
        ("reapi://-h", "no host name"),
        ("reapi://[::1", "IPv6"),
        ("reapi://[fe]:1", "IPv6"),
        ("reapi://you@h", "token"),
        ("reapi://h/a/../b", "instance"),
        ("reapi://h/a/blobs", "instance"),
        ("reapi://h/a//b", "instance"),
        ("reapi://h?slots", "OPTION=VALUE"),
        ("reapi://h?slots=0", "slots"),
        ("reapi://h?slots=99999", "slots"),
        ("reapi://h?slots=2&slots=3", "twice"),
        ("reapi://h?solts=2", "no option"),
        ("reapi://h?toolchain=mine", "toolchain="),
        ("reapi://h?property=ISA", "NAME=VALUE"),
        ("reapi://h?property=toolchain=x", "set by manycc"),
        ("reapi://h?compress=zstd", "on or off"),
        ("reapi://h?ca=/ca.pem", "reapis://"),
        ("reapis://h?cert=/c.pem", "both"),
        ("reapis://h?ca=ca.pem", "absolute"),
        ("reapis://h?token-file=/t&token-command=c", "not from both"),
        ("reapis://h?token-command=%20", "no command"),
        ("reapi://h?token-file=/t", "clear text"),
        ("reapi://h?header=Authorization:Basic%20x", "clear text"),
        ("reapis://h?header=x", "NAME:VALUE"),
        ("reapis://h?header=grpc-timeout:1", "NAME:VALUE"),
        ("reapis://h?header=x:%C3%A9", "ASCII"),
        ("reapis://h?header=x:%0Ay:z", "printed"),
        ("reapis://h?" + "&".join(f"header=x{n}:y" for n in range(100)), "OPTION=VALUE"),
    ],
)
def test_what_is_wrong_is_said(entry: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_hosts(entry)
    assert says in caught.value.why


def test_a_token_may_go_to_this_machine_in_clear_text() -> None:
    assert engine("reapi://127.0.0.1?token-file=/t").token_file == "/t"
    assert engine("reapi://localhost?token-file=/t").token_file == "/t"
