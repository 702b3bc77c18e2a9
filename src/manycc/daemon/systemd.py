"""What a service manager hands over and wants to hear: sockets, and a line about the state.

Two protocols of systemd's that are documented to be spoken without its library: sd_listen_fds(3) and
sd_notify(3). Other managers speak them, too; where there is none, nothing happens.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from manycc.errors import ConfigError

FIRST_FD: Final = 3
MAX_SOCKETS: Final = 64


def sockets_passed(env: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets this process was started with; none if it was started otherwise.

    Raises ConfigError if what was passed cannot be listened on.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = env.get("LISTEN_FDS", "")
    if not count.isascii() or not count.isdigit() or not 1 <= int(count[:6]) <= MAX_SOCKETS:
        raise ConfigError(f"LISTEN_FDS={count!r} in the environment", f"expected a number from 1 to {MAX_SOCKETS}")
    sockets: list[socket.socket] = []
    for fd in range(FIRST_FD, FIRST_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
            one = socket.socket(fileno=fd)
        except OSError as error:
            raise ConfigError(f"descriptor {fd} is no socket", error.strerror or "", "see the socket unit") from error
        listens = one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
        if not listens or not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            for opened in (*sockets, one):
                opened.close()
            raise ConfigError(
                f"descriptor {fd} is no listening TCP socket", "", "the socket unit needs ListenStream=PORT, Accept=no"
            )
        one.setblocking(False)
        sockets.append(one)
    return sockets


def notify(env: Mapping[str, str], *lines: str) -> None:
    """Tell the service manager, if there is one that listens."""
    address = env.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address[0] == "@":  # an abstract one, unix(7)
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        one.sendto("\n".join(lines).encode(), address)


def reloading() -> tuple[str, str]:
    """The lines that begin a reload."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
