"""Who may talk to a node: peers by address, decided before a byte of theirs is looked at."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from manycc.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks named, ``192.168.0.0/24`` or a single address. Raises ConfigError for any other text."""
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text.strip(), strict=True))
        except ValueError as error:
            raise ConfigError(
                f"'{text}' is not a network",
                str(error),
                "write an address, or a network like 192.168.0.0/24 whose host bits are zero",
            ) from error
    return tuple(networks)


def may_connect(address: str, networks: Sequence[Network]) -> bool:
    """Whether a peer's address lies in one of the networks. An address that cannot be read does not."""
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)
