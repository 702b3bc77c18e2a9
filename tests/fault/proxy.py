"""TCP proxies that break on purpose: after so many bytes, or at a step of the native protocol, by its name."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections import Counter
from typing import Final

import msgpack

from manycc.wire import native

PREAMBLE: Final = "PREAMBLE"
UP: Final = (PREAMBLE, "HELLO", "TOOLCHAIN", "FILES", "ANNOUNCE", "RETRACT", "JOB", "BLOB", "GONE", "CANCEL", "PING")
"""What an agent says to a node, by the names of ``wire/native.py``."""
DOWN: Final = ("WELCOME", "PROVEN", "WANTED", "STATE", "MISSING", "OUTPUT", "RESULT", "REFUSED", "PONG", "BYE")
"""What a node says to an agent."""
_NAMES: Final = {getattr(native, name): name for name in (*UP[1:], *DOWN)}
_DRIBBLES: Final = 2000
_LINGER_S: Final = 2.0
"""For the other direction to end, too, when one has come to its own end."""


class Link:
    """One connection through a proxy: the client's end, the server's end, and whether half or all of it is over."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.half_over = threading.Event()
        self.over = threading.Event()

    def close(self) -> None:
        """End it."""
        self.over.set()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Forwards connections to a port of the loopback, until it is closed.

    ``host`` is where it listens, as an entry of a host list. Each has an address of its own: agents come back to a
    host for some time, and must not find another test there.
    """

    _addresses = itertools.count()

    def __init__(self, port: int) -> None:
        self._target = port
        number = next(Proxy._addresses)
        self._listener = socket.create_server((f"127.77.{number // 250}.{number % 250 + 1}", 0))
        address, own_port = self._listener.getsockname()
        self.host = f"{address}:{own_port}"
        self._threads: list[threading.Thread] = []
        self._links: set[Link] = set()
        self._start(self._accept)

    @property
    def links(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def close(self) -> None:
        """Cut everything and stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()
        for thread in self._threads:
            thread.join(5)

    def cut_all(self) -> None:
        """Cut every connection there is."""
        for link in tuple(self._links):
            link.close()

    def pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        """Forward one direction. Raises EOFError when it ends by itself; the connection is cut when this returns."""
        while True:
            sink.sendall(_receive(source))

    def _start(self, work: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = Link(client, server)
                self._links.add(link)
                self._start(self._serve, link)

    def _serve(self, link: Link) -> None:
        client, server = link.ends
        with client, server:
            down = self._start(self._carry, link, server, client)
            self._carry(link, client, server)
            down.join()
        self._links.discard(link)

    def _carry(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            try:
                self.pump(link, source, sink)
            except EOFError:
                # To close at once would reset the other end, with all that it has not read yet.
                sink.shutdown(socket.SHUT_WR)
                if not link.half_over.is_set():
                    link.half_over.set()
                    link.over.wait(_LINGER_S)
        link.close()


def _receive(source: socket.socket) -> bytes:
    data = source.recv(65536)
    if not data:
        raise EOFError
    return data


class CuttingProxy(Proxy):
    """Cuts every connection after so many bytes from the client (``up``) or to it (``down``); None: never."""

    def __init__(self, port: int, up: int | None = None, down: int | None = None) -> None:
        self._up, self._down = up, down
        self.cuts = 0
        super().__init__(port)

    def pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        """Forward until the bytes are spent."""
        left = self._up if source is link.ends[0] else self._down
        while True:
            data = _receive(source)
            if left is not None and len(data) >= left:
                sink.sendall(data[:left])
                self.cuts += 1
                return
            if left is not None:
                left -= len(data)
            sink.sendall(data)


class FaultyProxy(Proxy):
    """Knows the native protocol's frames, and does a wrong to the first of one kind (or the ``nth``).

    ``fault`` is one of

    - ``cut``: the connection ends instead of it
    - ``truncate``: half of it, then the end
    - ``stall``: nothing more comes this way, the connection stays; ``freeze``: nor the other way
    - ``flip-length``, ``flip-body``: a bit is wrong, in the length or in the middle of the body
    - ``oversize``: its header promises more than a frame may hold
    - ``twice``: it comes twice
    - ``delay``: it and all that follows come ``DELAY_S`` late
    - ``dribble``: a byte at a time

    ``struck`` is set when that has happened; later connections are left alone. ``passed`` counts what
    went by, by name.
    """

    DELAY_S = 0.2

    def __init__(self, port: int, step: str = "", fault: str = "", nth: int = 1) -> None:
        self.passed: Counter[str] = Counter()
        self.struck = threading.Event()
        self._frozen = threading.Event()
        self._aim = ("", 0)
        self._fault = ""
        if step:
            self.arm(step, fault, nth)
        super().__init__(port)

    def arm(self, step: str, fault: str, nth: int = 1) -> None:
        """From now on: do that to the ``nth`` frame of this kind."""
        if step not in (*UP, *DOWN):
            raise ValueError(step)
        self._fault = fault
        self._aim = (step, self.passed[step] + nth)

    def pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        """Forward frame by frame, up to the one that is wronged."""
        buffer = bytearray()
        upwards = source is link.ends[0]
        if upwards:
            while len(buffer) < len(native.PREAMBLE):
                buffer += _receive(source)
            if not self._forward(link, PREAMBLE, _take(buffer, len(native.PREAMBLE)), sink):
                return
        while True:
            while len(buffer) < native.HEADER_SIZE or len(buffer) < _frame_size(buffer):
                buffer += _receive(source)
            frame = _take(buffer, _frame_size(buffer))
            if self._frozen.is_set():
                link.over.wait()
            if not self._forward(link, _name_of(frame), frame, sink):
                return

    def _forward(self, link: Link, name: str, frame: bytes, sink: socket.socket) -> bool:
        """Pass one frame on, in whatever state; False if the connection is to end."""
        self.passed[name] += 1
        if (name, self.passed[name]) != self._aim:
            sink.sendall(frame)
            return True
        self.struck.set()
        return self._wrong(link, frame, sink)

    def _wrong(self, link: Link, frame: bytes, sink: socket.socket) -> bool:
        fault = self._fault
        if fault in ("stall", "freeze"):
            if fault == "freeze":
                self._frozen.set()
            link.half_over.set()
            link.over.wait()
            return False
        if fault == "cut":
            return False
        if fault == "truncate":
            sink.sendall(frame[: len(frame) // 2])
            return False
        if fault == "delay":
            link.over.wait(self.DELAY_S)
            sink.sendall(frame)
        elif fault == "dribble":
            step = 1 + len(frame) // _DRIBBLES
            for start in range(0, len(frame), step):
                sink.sendall(frame[start : start + step])
        else:
            sink.sendall(_wronged(fault, frame))
        return True


def _wronged(fault: str, frame: bytes) -> bytes:
    """What comes in a frame's place."""
    if fault == "twice":
        return frame * 2
    if fault == "oversize":
        return native.header(native.MAX_FRAME + 1, 0) + frame[native.HEADER_SIZE :]
    damaged = bytearray(frame)
    if fault == "flip-length":
        damaged[1] ^= 8  # 2048 bytes more than will come, or less than there are
    elif fault == "flip-body":
        start = native.HEADER_SIZE if len(frame) > native.HEADER_SIZE else 0
        damaged[(start + len(frame)) // 2] ^= 1
    else:
        raise ValueError(fault)
    return bytes(damaged)


def _frame_size(buffer: bytearray) -> int:
    return native.HEADER_SIZE + int.from_bytes(buffer[:4], "little")


def _take(buffer: bytearray, count: int) -> bytes:
    taken = bytes(buffer[:count])
    del buffer[:count]
    return taken


def _name_of(frame: bytes) -> str:
    unpacker = msgpack.Unpacker()
    unpacker.feed(frame[native.HEADER_SIZE : native.HEADER_SIZE + 16])
    unpacker.read_array_header()
    return _NAMES[unpacker.unpack()]
