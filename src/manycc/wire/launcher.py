"""The conversation between a launcher and the agent, on a Unix stream socket.

The launcher is C (``launcher/manycc.c``); this module is the other half of the same format. All
integers are little-endian 32 bit unsigned. One request a connection.

Request::

    magic    "MCL1"   a job           (or "MCX1": explain this job, do not run it)
    length   bytes of payload that follow the 24-byte header; at most 16 MiB
    umask
    flags    bit 0: stderr is a terminal; bit 1: stdout is a terminal; bit 2: it was called as distcc
    columns  width of the terminal that stdin is, 0 if it is none or stderr is none
    argc     how many of the strings are arguments
    payload  NUL-terminated strings: launcher version, compiler (absolute path after the PATH
             look-up, or empty if none was found), cwd, argv[0] … argv[argc-1], then NAME=VALUE
             environment strings to the end

    magic    "MCC1"   a control request from the command line tools
    length   bytes of JSON that follow; at most 1 MiB
    JSON     {"op": "status" | "stop" | "hosts" | "version" | …}

Reply: frames of kind (1 byte), length (4 bytes), payload.

    "P"  ping: the agent lives and the job is under way (length 0), at least every 3 s
    "L"  run it yourself: exec the compiler and leave this socket open (length 0)
    "E"  bytes for stderr, now, or for the descriptor UNCACHED_ERR_FD names; at most 65536, any number of times
    "R"  result: exit code (4), length of stdout (4), stdout, stderr
    "V"  the agent is of another version and is about to leave: start a new one (length 0)
    "J"  JSON: answer to a control or explain request

After "L" the agent holds a local slot for the launcher until the socket closes. Closing the socket
before the result cancels the job. A launcher that gave up waiting sends "X" before it closes: it has
written the job's record itself.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from manycc.errors import WireError

JOB_MAGIC: Final = b"MCL1"
EXPLAIN_MAGIC: Final = b"MCX1"
CONTROL_MAGIC: Final = b"MCC1"
JOB_HEADER: Final = struct.Struct("<4s5I")
CONTROL_HEADER: Final = struct.Struct("<4sI")
FRAME: Final = struct.Struct("<cI")
RESULT: Final = struct.Struct("<cIII")
MAX_PAYLOAD: Final = 16 * 1024 * 1024
MAX_CONTROL: Final = 1024 * 1024
STDERR_TTY: Final = 1
STDOUT_TTY: Final = 2
DISTCC: Final = 4
MAX_NOTE: Final = 65536

PING: Final = FRAME.pack(b"P", 0)
LOCAL: Final = FRAME.pack(b"L", 0)
OTHER_VERSION: Final = FRAME.pack(b"V", 0)
GAVE_UP: Final = b"X"


class Request(NamedTuple):
    """One job as the launcher asked for it."""

    version: str
    compiler: str
    cwd: str
    argv: list[str]
    env: dict[str, str]
    umask: int
    flags: int
    columns: int


def parse_request(header: tuple[int, int, int, int], payload: bytes) -> Request:
    """Make a request of (umask, flags, columns, argc) and the payload's bytes.

    Raises WireError if the payload is not what the header promises.
    """
    umask, flags, columns, argc = header
    strings = payload.decode("utf-8", "surrogateescape").split("\0")
    if len(strings) < argc + 4 or strings[-1] or argc == 0:
        raise WireError("launcher request is cut short")
    env: dict[str, str] = {}
    for item in strings[3 + argc : -1]:
        name, _, value = item.partition("=")
        env[name] = value
    return Request(strings[0], strings[1], strings[2], strings[3 : 3 + argc], env, umask & 0o777, flags, columns)


def build_request(request: Request, magic: bytes = JOB_MAGIC) -> bytes:
    """The bytes of a request (what the C launcher sends; used by ``explain`` and by tests)."""
    strings = [request.version, request.compiler, request.cwd, *request.argv]
    strings += [f"{name}={value}" for name, value in request.env.items()]
    payload = "".join(text + "\0" for text in strings).encode("utf-8", "surrogateescape")
    return (
        JOB_HEADER.pack(magic, len(payload), request.umask, request.flags, request.columns, len(request.argv)) + payload
    )


def build_result(exit_code: int, stdout: bytes, stderr: bytes) -> bytes:
    """An "R" frame."""
    return RESULT.pack(b"R", 8 + len(stdout) + len(stderr), exit_code, len(stdout)) + stdout + stderr


def build_note(text: bytes) -> bytes:
    """An "E" frame; what is too long for one is cut off."""
    text = text[:MAX_NOTE]
    return FRAME.pack(b"E", len(text)) + text


def build_json(text: bytes) -> bytes:
    """A "J" frame."""
    return FRAME.pack(b"J", len(text)) + text
