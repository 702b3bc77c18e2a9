"""The line to a host, as this machine's kernel knows it: what a connection has sent, received and could not send yet.

Asked of the socket (tcp(7), TCP_INFO) when somebody wants to know, so that no job pays for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, NamedTuple

_FROM: Final = 120
# linux/tcp.h, struct tcp_info: bytes_acked, bytes_received, segs_out, segs_in, notsent_bytes, min_rtt (µs).
_FIELDS: Final = struct.Struct("=QQIIII")
_SIZE: Final = _FROM + _FIELDS.size
_NO_ROUND_TRIP: Final = (1 << 32) - 1


class Line(NamedTuple):
    """Bytes that the other side has acknowledged, bytes it has sent, bytes that wait to be sent, the least round
    trip in seconds (0: unknown)."""

    sent: int
    received: int
    backlog: int
    round_trip: float


def look(transport: asyncio.Transport) -> Line | None:
    """A connection's line now; None if it is closed, or the kernel does not say."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except OSError:
        return None
    if len(info) < _SIZE:
        return None
    acknowledged, received, _, _, unsent, least = _FIELDS.unpack_from(info, _FROM)
    round_trip = 0.0 if least in (0, _NO_ROUND_TRIP) else least / 1e6
    return Line(acknowledged, received, unsent + transport.get_write_buffer_size(), round_trip)
