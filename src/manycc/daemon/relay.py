"""Bytes between a socket and stdin and stdout, whatever these are; and a node that runs on this machine already.

A client that comes by ssh or a super-server is passed on to that node, if there is one: it has the caches, and
counts the compiles of all. What this needs is little, since it is started anew for each compile.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Any, Final

from manycc import __version__
from manycc.errors import ConfigError, WireError
from manycc.node.holder import Listener, listeners
from manycc.node.privileges import account
from manycc.wire import native

ANSWER_S: Final = 3.0
_CHUNK: Final = 64 * 1024
NEAR: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
"""By which address of this machine's own a socket is reached that listens on every one."""


def relay(sock: socket.socket) -> threading.Thread:
    """Send what comes from stdin, and write to stdout what comes back. The thread ends with the latter."""

    def bring() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, _CHUNK):
                sock.sendall(data)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    def take() -> None:
        with contextlib.suppress(OSError):
            while data := sock.recv(_CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(1, view) :]
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=bring, daemon=True).start()
    writer = threading.Thread(target=take, daemon=True)
    writer.start()
    return writer


def pass_on(port: int) -> bool:
    """Connect stdin and stdout to the node on this machine, to the end; false if there is none that can be trusted."""
    if _came_in_by(port):
        return False  # who listens there is the super-server that started this, and would start another one
    for listener in listeners(port):
        address = NEAR.get(listener.address, listener.address)
        if _is_trusted(listener) and welcome(address, port):
            try:
                sock = socket.create_connection((address, port), timeout=ANSWER_S)
            except OSError:
                continue
            with sock:
                sock.settimeout(None)
                relay(sock).join()
            return True
    return False


def welcome(address: str, port: int) -> dict[str, Any] | None:
    """What a node says of itself; None if it hangs up at once, nothing if it says something else or nothing at all."""
    hello = native.pack([native.HELLO, {"version": native.VERSION, "release": __version__, "name": "neighbour"}])
    framer = native.Framer()
    deadline = time.monotonic() + ANSWER_S
    try:
        with socket.create_connection((address, port), timeout=ANSWER_S) as sock:
            sock.sendall(native.PREAMBLE + hello)
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                data = sock.recv(_CHUNK)
                if not data:
                    return None
                for message in framer.feed(data):
                    if message[0] == native.WELCOME and isinstance(message[1], dict):
                        return message[1]
                    return None
    except ConnectionError:
        return None
    except (OSError, WireError, ValueError, IndexError, TypeError):
        pass
    return {}


def _came_in_by(port: int) -> bool:
    """Whether stdin is a connection to this very port."""
    try:
        with socket.socket(fileno=os.dup(0)) as client:
            name = client.getsockname()
    except OSError:
        return False
    return isinstance(name, tuple) and name[1] == port


def _is_trusted(listener: Listener) -> bool:
    """Whether a socket is root's, ours, or a node's own user's: what it answers is taken for a compiler's work."""
    users = {0, os.geteuid()}
    with contextlib.suppress(ConfigError):
        entry = account(None)
        if entry.pw_name != "nobody":
            users.add(entry.pw_uid)
    return listener.uid in users
