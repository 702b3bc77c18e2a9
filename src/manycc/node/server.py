"""The way in: who is let in, and which protocol a connection speaks, by its first bytes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from manycc.node.access import Network, may_connect

FIRST_BYTES_TIMEOUT_S: Final = 10.0
MAX_CONNECTIONS: Final = 1024
MAX_PER_ADDRESS: Final = 256
"""An agent has one; a distcc client has one for each job, also for those that wait."""
_log: Final = logging.getLogger("manycc.node")

Speaker = Callable[[str], asyncio.Protocol | str]
"""Makes the protocol of a connection, given the peer's name; or says in a sentence why there is none."""


class Farewell(asyncio.Protocol):
    """Says one thing and hangs up."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        transport.write(self._words)
        transport.close()


class Entrance(asyncio.Protocol):
    """A connection. Once it is known what is spoken on it, everything is passed on to who speaks that.

    ``networks``: who may connect; None where that is decided already. ``speakers`` by the bytes that a connection
    of theirs begins with; those are not passed on. ``counts`` are the open connections by address, shared by all
    of a server's.
    """

    def __init__(
        self, networks: Sequence[Network] | None, speakers: Mapping[bytes, Speaker], counts: Counter[str]
    ) -> None:
        self._networks = networks
        self._speakers = speakers
        self._counts = counts
        self._address = ""
        self._peer = ""
        self._admitted = False
        self._first = b""
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        name = transport.get_extra_info("peername")
        self._address, port = (str(name[0]), name[1]) if isinstance(name, tuple) else ("", 0)
        self._peer = f"{self._address}:{port}" if self._address else "stdin"
        if self._networks is not None and not may_connect(self._address, self._networks):
            _log.warning("%s is not allowed to connect (see --allow)", self._peer)
            transport.abort()
        elif self._counts.total() >= MAX_CONNECTIONS or self._counts[self._address] >= MAX_PER_ADDRESS:
            _log.warning("%s: too many connections", self._peer)
            transport.abort()
        else:
            self._counts[self._address] += 1
            self._admitted = True
            self._timer = asyncio.get_running_loop().call_later(FIRST_BYTES_TIMEOUT_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
        elif self._admitted and self._transport is not None:
            self._first += data
            self._dispatch(self._transport)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._admitted:
            self._admitted = False
            self._counts[self._address] -= 1
            if not self._counts[self._address]:
                del self._counts[self._address]
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def _dispatch(self, transport: asyncio.Transport) -> None:
        first = self._first
        if any(start.startswith(first) and start != first for start in self._speakers):
            return  # more must come before it can be told
        start = next((start for start in self._speakers if first.startswith(start)), None)
        if start is None:
            _log.warning("%s speaks no protocol that is served here", self._peer)
            transport.abort()
            return
        if self._timer is not None:
            self._timer.cancel()
        inner = self._speakers[start](self._peer)
        self._first = b""
        if isinstance(inner, str):
            _log.warning("%s: %s", self._peer, inner)
            transport.abort()
            return
        self._inner = inner
        inner.connection_made(transport)
        if len(first) > len(start):
            inner.data_received(first[len(start) :])
