"""A TCP proxy that breaks on purpose."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Proxy:
    """Forwards to a port; cuts both sides after so many bytes in one direction.

    ``cut_up`` and ``cut_down`` are byte counts (None: never). The first connection is the one that
    is cut; ``once`` lets later ones through whole.
    """

    def __init__(self, port: int, cut_up: int | None = None, cut_down: int | None = None, once: bool = False) -> None:
        self._target = port
        self._cut = (cut_up, cut_down)
        self._once = once
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        limits = [None, None] if self._once and self.cuts else list(self._cut)
        with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as server:
            passed = [0, 0]
            while not self._ending.is_set():
                readable, _, _ = select.select([client, server], [], [], 1)
                for source in readable:
                    way = 0 if source is client else 1
                    data = source.recv(65536)
                    if not data:
                        return
                    limit = limits[way]
                    if limit is not None and passed[way] + len(data) >= limit:
                        (server if way == 0 else client).sendall(data[: limit - passed[way]])
                        self.cuts += 1
                        return
                    passed[way] += len(data)
                    (server if way == 0 else client).sendall(data)

    def close(self) -> None:
        """Cut everything and stop."""
        self._ending.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
