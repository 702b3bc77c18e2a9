"""A client of distcc's protocol that says whatever a test wants said."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from manycc.wire import distcc, lzo

WAIT_S = 60.0


class Answer:
    """A reply, expanded. ``code`` is the exit code of its status."""

    def __init__(self, reply: distcc.Reply) -> None:
        self.status = reply.status
        self.code = reply.status >> 8
        limit = 64 * 1024**2
        self.stderr = distcc.expand(reply.version, reply.stderr, limit).decode("utf-8", "replace")
        self.stdout = distcc.expand(reply.version, reply.stdout, limit)
        self.output = distcc.expand(reply.version, reply.output, limit)
        self.depfile = None if reply.depfile is None else distcc.expand(reply.version, reply.depfile, limit)

    @property
    def everything(self) -> bytes:
        """All that came back."""
        return self.stderr.encode() + self.stdout + self.output + (self.depfile or b"")

    def __repr__(self) -> str:
        return f"Answer({self.status:#x}, {self.stderr!r}, {len(self.output)} bytes)"


def packet(token: str, body: bytes) -> bytes:
    """One packet with a body."""
    return token.encode() + b"%08x" % len(body) + body


def number(token: str, value: int) -> bytes:
    """One packet without."""
    return token.encode() + b"%08x" % value


def command(*argv: str) -> bytes:
    """ARGC and ARGV."""
    return number("ARGC", len(argv)) + b"".join(packet("ARGV", word.encode()) for word in argv)


def request(version: int, argv: Sequence[str], source: bytes) -> bytes:
    """A whole request of version 1 or 2."""
    return distcc.pack_request(version, argv, source)


def pump_request(
    argv: Sequence[str], cwd: str, files: Sequence[tuple[str, bytes]], links: Sequence[tuple[str, str]] = ()
) -> bytes:
    """A whole request of version 3."""
    entries = [packet("NAME", path.encode()) + packet("FILE", lzo.compress(data)) for path, data in files]
    entries += [packet("NAME", path.encode()) + packet("LINK", target.encode()) for path, target in links]
    head = number("DIST", 3) + packet("CDIR", cwd.encode()) + command(*argv)
    return head + number("NFIL", len(entries)) + b"".join(entries)


class RawClient:
    """One connection."""

    def __init__(self, port: int, version: int = 1) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.version = version

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes; what the node does not want to hear any more is no error."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def answer(self) -> Answer:
        """The reply. Fails if the node hangs up without one."""
        reader = distcc.ReplyReader(self.version)
        while reader.done is None:
            data = self.socket.recv(1 << 18)
            assert data, f"the node hung up after {reader.received} bytes of its reply"
            reader.feed(data)
        assert not reader.extra
        return Answer(reader.done)

    def hung_up(self) -> bool:
        """Read on until the node hangs up; whether it does."""
        try:
            while self.socket.recv(1 << 18):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


def ask(port: int, data: bytes) -> Answer:
    """Send a whole request; the reply."""
    version = int(data[4:12], 16)
    with RawClient(port, version if version in distcc.VERSIONS else distcc.PLAIN) as client:
        client.send(data)
        return client.answer()


def wait_until(condition: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    """Until something outside comes true."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
