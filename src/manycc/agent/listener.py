"""The agent's socket: where it is, that only one agent has it, and taking those who come."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import socket
from collections.abc import Callable
from typing import Final

from manycc.config import Config

log = logging.getLogger(__name__)

_ACCEPT: Final = 8
"""At a time: between them nodes are heard. Else the first of five hundred waits until the last is prepared."""
_ACCEPT_AGAIN_S: Final = 0.5
_RESERVED: Final = 40
"""Descriptors that launchers must leave for inputs, outputs, databases and nodes; a quarter where there are many."""


class Listener:
    """Accepts connections, and hands each to ``take``, not blocking.

    ``count`` tells how many are open. Where descriptors are few, launchers wait in line until some are closed.
    """

    def __init__(self, sock: socket.socket, take: Callable[[socket.socket], object], count: Callable[[], int]) -> None:
        self._take = take
        self._count = count
        self._socket = sock
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(_RESERVED // 4, limit - max(_RESERVED, limit // 4))
        self._full = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            for _ in range(_ACCEPT):
                if self._count() >= self._most:
                    self._full = True
                    self._loop.remove_reader(self._socket.fileno())
                    return
                self._accept_one()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass
        except OSError as error:  # no descriptors left: launchers wait in line until some are free
            log.warning("cannot accept: %s", error)
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(_ACCEPT_AGAIN_S, self._resume)

    def _accept_one(self) -> None:
        sock, _ = self._socket.accept()
        sock.setblocking(False)
        self._take(sock)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def closed(self) -> None:
        """A connection was closed: there is room for another."""
        if self._full:
            self._full = False
            self._resume()

    def close(self) -> None:
        """Turn newcomers away; those that came before, and were not noticed yet, are taken."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):  # at the end of the line
            while True:
                self._accept_one()
        self._socket.close()


def listen(config: Config) -> tuple[socket.socket, int]:
    """The listening socket and the descriptor of the lock that makes this agent the only one.

    Raises BlockingIOError if another agent has it.
    """
    runtime = config.ensure_runtime_dir()
    lock = os.open(os.path.join(runtime, "agent.run"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = os.open(runtime, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("agent.sock", dir_fd=folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{folder}/agent.sock")  # however long the real path is
    finally:
        os.close(folder)
    listener.listen(1024)
    listener.setblocking(False)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return listener, lock
