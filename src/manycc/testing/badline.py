"""A line between an agent and an engine that gets slow, and then says nothing: TCP over loopback.

What is held back is delivered late, as over a network that loses packets for a while: no byte is lost, no
connection reset, and new connections are taken, without an answer.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final

_PIECE: Final = 65536
_CLOSE_S: Final = 5.0


class BadLine:
    """Forwards connections to a port of loopback; ``port`` is its own.

    ``delay_s``: how late each piece comes, in either direction.
    """

    def __init__(self, target: int, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self._target = target
        self._speaks = threading.Event()
        self._speaks.set()
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def fall_silent(self) -> None:
        """From now on nothing arrives, in either direction."""
        self._speaks.clear()

    def speak_again(self) -> None:
        """Deliver what was held back, and what comes."""
        self._speaks.set()

    def close(self) -> None:
        """Cut everything and stop."""
        self._closed.set()
        self._speaks.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def __enter__(self) -> BadLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed.is_set():
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                self._ends |= {client, server}
                self._start(self._carry, client, server)
                self._start(self._carry, server, client)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """One direction, until either end is closed."""
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                self._closed.wait(self.delay_s)
                self._speaks.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._ends.discard(end)
