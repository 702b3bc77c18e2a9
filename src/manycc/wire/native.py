"""The native protocol between an agent and a node: messages, bounds, framing. No I/O.

One TCP connection per agent and node carries many jobs. The agent speaks first: the eight bytes
``MANYCC2\\n`` (so that the port can serve other protocols too), then frames both ways. A frame is three
little-endian 32 bit unsigned numbers and a body: the body's length, the body's CRC-32, and the CRC-32 of
these eight bytes, so that a length that was damaged on its way is not waited for. The body is msgpack: an
array whose first element is the message's type. Strings are UTF-8 with surrogate escapes; digests are
32 raw bytes; times seconds.

agent → node::

    [HELLO, {"version": int, "release": str, "name": str, "silence": seconds}]
          silence: the agent sends something, if only a PING, well before this time has passed
    [TOOLCHAIN, tc, fingerprint, driver, label, links, components, about]
          tc: number the agent gives it; links: [[path, target], …]; components: {name: digest};
          about: {"kind", "host": what it runs on, "target", "facts": {name: text}, "bytes": of all its files}
    [FILES, tc, [[path, digest, size], …]]     answer to a WANTED: all files of that toolchain
    [ANNOUNCE, [[number, kind, path, digest | target, size], …]]
          inputs by number, once per connection; kind as in job.py; size 0 unless a file
    [RETRACT, [number, …]]                     the node may forget these
    [JOB, id, tc, argv, cwd, env, umask, numbers, folders, outputs, stems, flags, expected_rss, repair]
          env: [[name, value], …]; numbers: little-endian uint32 array as bytes, order free;
          flags: bit 0: the result may be cached, bit 1: do not answer from the cache,
          bit 2: stderr is a terminal;
          repair: nil, or for an equivalent compiler [search, options, ident]: the folders that the agent's
          compiler searches by itself, in order; options that state its defaults; its .ident string
    [BLOB, digest, total, offset, zdata]       contents asked for, in pieces of at most 1 MiB raw,
                                               each piece a zstd frame of its own, in order from
                                               the offset that was asked for
    [GONE, id, digest]                         asked for, but no longer had: the job is over
    [CANCEL, id]
    [PING, n]

node → agent::

    [WELCOME, {"version", "release", "name", "slots", "sandbox", "machine"}]
    [PROVEN, tc, sentence, way, about]         empty sentence: will serve it; else refused, and why;
          way: "same", "shipped", "equivalent" or "" (refused); about: {}, or of an equivalent compiler
          {"fingerprint", "label", "driver", "facts": {name: text}}: the agent proves it by canaries
    [WANTED, tc]                               send its FILES: it can be served if it is shipped
    [STATE, {"slots", "busy", "queued", "load", "memory_free", "closing"}]     pushed
    [MISSING, id, [digest, …]]                 send these contents, of a job (asked once per connection)
    [MISSING, SHIPPED | tc, [digest, …], [offset, …]]     send these files of a toolchain, each from an offset on
    [OUTPUT, id, index, zdata]                 a piece of a large output, before RESULT, in order
    [RESULT, id, exit_code, stdout, stderr, outputs, info]
          outputs: [[path, mode, size, digest, zdata | None], …], None where OUTPUT pieces came;
          stdout and stderr: zstd frames, empty for empty;
          info: {"cached": bool, "cpu", "wall", "wait", "stage", "fetch", "took", "rss", "signal"}: took is the
          time from the JOB to its answer; fetch, that in which contents came; wait, that for a slot
    [REFUSED, id, code, sentence]              code: a Reason's code; the job did not run, or not to its end
    [PONG, n]
    [BYE, sentence, code]                      the node closes the connection: no job on it will be answered any more
          code: why, as a Reason's code: node-busy (the node is closing), protocol (what the agent sent broke
          the protocol, or is of another version), node-lost (all else; also if the code is another or missing)

TCP's own checksum lets one damaged packet in 65536 pass. A bit that flips in a command line or in an exit
code would give a wrong object, or fail a build: hence the CRCs (1 µs for a warm job's frame).

Every length, count and ratio is bounded by the constants below; a peer that breaks one is cut off.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final
from zlib import crc32

import msgpack
import zstandard

from manycc.errors import WireError
from manycc.reasons import Reason

PREAMBLE: Final = b"MANYCC2\n"
"""Names the form of the frames; the version of the messages is in the greeting."""
PREAMBLE_1: Final = b"MANYCC1\n"
VERSION: Final = 3

HELLO: Final = 1
TOOLCHAIN: Final = 2
ANNOUNCE: Final = 3
RETRACT: Final = 4
JOB: Final = 5
BLOB: Final = 6
GONE: Final = 7
CANCEL: Final = 8
PING: Final = 9
FILES: Final = 10
WELCOME: Final = 17
PROVEN: Final = 18
STATE: Final = 19
MISSING: Final = 20
OUTPUT: Final = 21
RESULT: Final = 22
REFUSED: Final = 23
PONG: Final = 24
BYE: Final = 25
WANTED: Final = 26

MAX_FRAME: Final = 16 * 1024 * 1024
MAX_VALUES: Final = 1_000_000
"""Values in one frame: those of a byte each would take a hundred times as much memory."""
MAX_PIECE: Final = 1024 * 1024
MAX_FILE: Final = 512 * 1024 * 1024
MAX_PATH: Final = 4096
MAX_ARGS: Final = 16384
MAX_INPUTS: Final = 100_000
MAX_OUTPUTS: Final = 1024
MAX_FACTS: Final = 64
MAX_FACT: Final = 1024
"""Characters of what a compiler says of itself, each."""
MAX_TOOL_FILES: Final = 4096
MAX_TEXT: Final = 8 * 1024 * 1024

GOODBYES: Final = frozenset(reason.code for reason in (Reason.NODE_BUSY, Reason.PROTOCOL, Reason.NODE_LOST))
"""The codes that a BYE may have."""

SHIPPED: Final = 1 << 31
"""What a MISSING's number has besides, if it asks for files of a toolchain: jobs have lower numbers."""

FLAG_CACHE: Final = 1
FLAG_NO_ANSWER: Final = 2
FLAG_TERMINAL: Final = 4

_HEADER: Final = struct.Struct("<III")
_CHECKED: Final = struct.Struct("<II")
HEADER_SIZE: Final = _HEADER.size


def pack(message: list[Any]) -> bytes:
    """One frame. Raises WireError if it would exceed MAX_FRAME."""
    body: bytes = msgpack.packb(message, unicode_errors="surrogateescape")
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body)} bytes is larger than a frame may be")
    return header(len(body), crc32(body)) + body


def header(length: int, check: int) -> bytes:
    """What comes before a body of that length and CRC-32."""
    start = _CHECKED.pack(length, check)
    return start + crc32(start).to_bytes(4, "little")


def goodbye_1(sentence: str) -> bytes:
    """A BYE that an agent of version 1 understands, whose frames were a length and a body."""
    body: bytes = msgpack.packb([BYE, sentence])
    return len(body).to_bytes(4, "little") + body


class Framer:
    """Turns a stream of bytes into messages. Bounded: raises WireError on anything out of form.

    ``limit`` bounds a frame's bytes; ``length`` is the size in bytes on the wire of the message yielded last.
    """

    __slots__ = ("_buffer", "length", "limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self.limit = limit
        self.length = 0

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Add received bytes; yield each whole message."""
        buffer = self._buffer
        buffer += data
        start = 0
        size = len(buffer)
        try:
            while size - start >= HEADER_SIZE:
                length, check, header_check = _HEADER.unpack_from(buffer, start)
                if crc32(buffer[start : start + _CHECKED.size]) != header_check:
                    raise WireError("what should be a frame's header is none, or was damaged on its way")
                if length > self.limit:
                    raise WireError(f"a frame of {length} bytes is larger than allowed")
                end = start + HEADER_SIZE + length
                if size < end:
                    break
                body = bytes(memoryview(buffer)[start + HEADER_SIZE : end])
                start = end
                self.length = HEADER_SIZE + length
                if crc32(body) != check:
                    raise WireError("a frame was damaged on its way")
                yield _unpack(body)
        finally:
            del buffer[:start]


def _unpack(body: bytes) -> list[Any]:
    values = 0

    def count(container: Any) -> Any:
        nonlocal values
        values += 1 + len(container)
        if values > MAX_VALUES:
            raise ValueError("more values than a frame may hold")
        return container

    try:
        message = msgpack.unpackb(
            body,
            unicode_errors="surrogateescape",
            strict_map_key=True,
            use_list=True,
            max_array_len=MAX_INPUTS,
            max_map_len=MAX_INPUTS,
            list_hook=count,
            object_hook=count,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError("a frame is not msgpack", str(error)[:200]) from error
    if not isinstance(message, list) or not message or type(message[0]) is not int:
        raise WireError("a frame is not a message")
    return message


_compressor: Final = zstandard.ZstdCompressor(level=1, write_checksum=True)
_decompressor: Final = zstandard.ZstdDecompressor()


def compress(data: bytes) -> bytes:
    """A zstd frame that states its content size."""
    return _compressor.compress(data)


def decompress(data: bytes, limit: int) -> bytes:
    """Undo ``compress``. Raises WireError if the content is, or claims to be, over ``limit`` bytes."""
    try:
        size = zstandard.frame_content_size(data)
        if size < 0 or size > limit:
            raise WireError(f"compressed data would hold {size} bytes, over its bound of {limit}")
        return _decompressor.decompress(data, max_output_size=limit)
    except zstandard.ZstdError as error:
        raise WireError("compressed data is damaged", str(error)) from error
