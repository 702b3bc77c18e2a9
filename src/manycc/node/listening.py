"""The sockets a node listens on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final

from manycc.errors import ListenError
from manycc.node.holder import holder

BACKLOG: Final = 256
ANY: Final = ("", "*", "any", "all")
"""What may be written for every address of this machine, of IPv4 and IPv6."""


def open_sockets(listen: str, port: int) -> list[socket.socket]:
    """Listen on an address, or a name's addresses; all on one port. Raises ListenError."""
    where = f"{'every address' if listen in ANY else listen} port {port}"
    try:
        found = socket.getaddrinfo(
            None if listen in ANY else listen, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "this is no name"
        raise ListenError(f"cannot listen on {where}", why, _ADDRESS) from error
    opened: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in sorted({(item[0], item[4]) for item in found if item[0] in _FAMILIES}, key=str):
        if opened:
            port = opened[0].getsockname()[1]
        try:
            opened.append(_open(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and listen in ANY:
                failure = failure or error
                continue  # a machine without IPv6, or with nothing else
            for one in opened:
                one.close()
            raise _refused(where, port, error) from error
    if not opened:
        raise _refused(where, port, failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)))
    return opened


_ADDRESS: Final = "--listen takes an address of this machine, or 0.0.0.0 for all of them"
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


def _open(family: int, address: tuple[object, ...]) -> socket.socket:
    """Raises OSError."""
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(BACKLOG)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one


def _refused(where: str, port: int, error: OSError) -> ListenError:
    why = os.strerror(error.errno or 0)
    hint = ""
    if error.errno == errno.EADDRINUSE:
        with contextlib.suppress(OSError, ValueError):  # who it is, is said if it can be
            who = holder(port)
            why += f": {who} listens there" if who else ""
        hint = f"end what holds port {port}, or choose another with --port"
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = _ADDRESS
    elif error.errno == errno.EACCES:
        hint = "ports below 1024 are root's: choose another with --port"
    return ListenError(f"cannot listen on {where}", why, hint)
