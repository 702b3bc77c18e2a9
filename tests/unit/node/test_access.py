"""Who is let in."""

from __future__ import annotations

import pytest

from manycc.errors import ConfigError
from manycc.node.access import LOOPBACK, may_connect, parse_networks
from manycc.node.options import parse_size


@pytest.mark.parametrize(
    ("networks", "address", "welcome"),
    [
        (["192.168.0.0/24"], "192.168.0.7", True),
        (["192.168.0.0/24"], "192.168.1.7", False),
        (["192.168.0.0/24"], "::ffff:192.168.0.7", True),
        (["192.168.0.0/24"], "127.0.0.1", False),
        (["10.0.0.1"], "10.0.0.1", True),
        (["10.0.0.1"], "10.0.0.2", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["2001:db8::/32", "10.0.0.0/8"], "10.1.2.3", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "unix", False),
    ],
)
def test_addresses(networks: list[str], address: str, welcome: bool) -> None:
    assert may_connect(address, parse_networks(networks)) is welcome


def test_only_this_machine_by_default() -> None:
    assert all(may_connect(address, LOOPBACK) for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"))
    assert not any(may_connect(address, LOOPBACK) for address in ("192.168.0.1", "::", "0.0.0.0", "fe80::1"))


@pytest.mark.parametrize("text", ["", "*", "all", "192.168.0.7/24", "192.168.0.0/33", "192.168.0", "host.lan", "1/0"])
def test_what_is_no_network_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_networks([text])


def test_sizes() -> None:
    assert [parse_size(text) for text in ("5G", "1.5k", "7", "2 MiB", "1tb")] == [5 << 30, 1536, 7, 2 << 20, 1 << 40]
    for text in ("", "G", "-1", "5X", "1e9", "٣"):
        with pytest.raises(ConfigError):
            parse_size(text)
