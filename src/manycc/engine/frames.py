"""The frames of HTTP/2 (RFC 9113), and its header fields as far as they are written here (RFC 7541)."""

from __future__ import annotations

import struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
PRIORITY: Final = 32
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 1, 2, 3, 4, 5, 6
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 3, 7, 8
ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 11, 12

FRAME: Final = 16 * 1024
"""Bytes of the largest frame that either side may send by default; this one takes no larger ones."""
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1
LAST_STREAM: Final = 2**31 - 1

Headers = list[tuple[bytes, bytes]]
HEAD: Final = struct.Struct(">BHBBL")
U32: Final = struct.Struct(">L")
SETTING: Final = struct.Struct(">HL")


class Broken(Exception):
    """A connection, or one call on it, that has come to an end."""

    def __init__(self, why: str, code: int = NO_ERROR) -> None:
        super().__init__(why)
        self.why = why
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame."""
    length = len(payload)
    return HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header as HPACK writes what goes into no table, so that nothing need be kept in step with the other side."""
    return b"\x00" + _text(name) + _text(value)


def _text(data: bytes) -> bytes:
    length = len(data)
    if length < 127:
        return bytes((length,)) + data
    head = bytearray((127,))
    length -= 127
    while length >= 128:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + data


def unpadded(flags: int, payload: bytes) -> bytes:
    """What a frame holds without its padding. Raises Broken."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken("the engine sent a frame that is all padding", PROTOCOL_ERROR)
    return payload[1 : len(payload) - payload[0]]


def word(payload: bytes) -> int:
    """The number that a frame holds. Raises Broken."""
    if len(payload) != 4:
        raise Broken("the engine sent a frame of a wrong size", PROTOCOL_ERROR)
    return int(U32.unpack(payload)[0])
