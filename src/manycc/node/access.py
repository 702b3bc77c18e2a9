"""Who may talk to a node: peers by address, decided before a byte of theirs is looked at."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from manycc.errors import ConfigError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

PRIVATE: tuple[Network, ...] = (
    *LOOPBACK,
    *map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16")),
    *map(ipaddress.ip_network, ("fc00::/7", "fe80::/10")),
)
"""Networks that are not routed in the Internet."""


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


def parse_client_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that distcc's users write: those above, ``192.168.0.7/24`` for its network, and host names.

    Raises ConfigError for what is none, and for a length of 0 that leaves nothing of the address written.
    """
    networks: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            if not text or "/" in text or ":" in text or text.replace(".", "").isdigit():
                raise ConfigError(
                    f"'{text}' is not a network", str(error), "write an address, or a network like 192.168.0.0/24"
                ) from error
            networks += _addresses(text)
            continue
        if network.prefixlen == 0 and int(network.network_address) != int(ipaddress.ip_address(text.partition("/")[0])):
            raise ConfigError(
                f"'{text}' lets in everyone",
                "of the address no bit is left",
                "write 0.0.0.0/0 if that is what you mean",
            )
        networks.append(network)
    return tuple(networks)


def _addresses(name: str) -> list[Network]:
    try:
        found = {str(item[4][0]).partition("%")[0] for item in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "this is no name"
        raise ConfigError(
            f"'{name}' is not a network", why, "write an address, or a network like 192.168.0.0/24"
        ) from error
    return [ipaddress.ip_network(address) for address in sorted(found)]


def may_connect(address: str, networks: Sequence[Network]) -> bool:
    """Whether a peer's address lies in one of the networks. An address that cannot be read does not."""
    try:
        peer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in networks)
