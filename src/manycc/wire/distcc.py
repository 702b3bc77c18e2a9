"""The protocol of distcc, versions 1 to 3: packets, requests, replies, bounds. No I/O.

One TCP connection carries one job: the client sends a request and keeps its side open, the server answers
and closes. There is no greeting. A packet is four letters and eight hexadecimal digits, ``ARGC00000007``;
where the letters are those of a body, the number is its length in bytes, and the body follows.

Request::

    DIST version
    CDIR body                   version 3: the client's working folder
    ARGC count                  of arguments, the compiler among them
    ARGV body                   as many times
    DOTI body                   versions 1 and 2: the preprocessed source
    NFIL count                  version 3: files and links, then for each
    NAME body                     its absolute path, and either
    FILE body                     what it holds, or
    LINK body                     where it leads

Reply::

    DONE version
    STAT status                 as wait() gives it: exit code times 256, or the signal
    SERR body                   what the compiler wrote to stderr
    SOUT body                   and to stdout
    DOTO body                   what it made; empty unless the status is 0
    DOTD body                   version 3 and status 0 only: the depfile

In versions 2 and 3 the bodies of DOTI, FILE, SERR, SOUT, DOTO and DOTD are LZO blocks (``wire/lzo.py``); an
empty one has no block. All other bodies are plain bytes, without a character set. Bodies are kept here as
they are on the wire: who uses one expands it with ``expand``, within a limit of its own.

Facts from observation of distcc 3.4 and its documentation; no version negotiates, a server that does not
like what it reads hangs up.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from manycc.errors import WireError
from manycc.wire import lzo

PREAMBLE: Final = b"DIST"
PLAIN: Final = 1
LZO: Final = 2
PUMP: Final = 3
VERSIONS: Final = (PLAIN, LZO, PUMP)

MAX_ARGS: Final = 16_384
MAX_ARGUMENT_BYTES: Final = 2 * 1024**2
"""Of all arguments together: what a kernel takes."""
MAX_PATH: Final = 4096
MAX_FILES: Final = 20_000
MAX_NAME_BYTES: Final = 8 * 1024**2
"""Of the paths of a pump request's files, and of its links' targets."""
MAX_BODY: Final = 256 * 1024**2
"""Of one source, file or output, as it is on the wire."""
MAX_REQUEST: Final = 384 * 1024**2
MAX_PRESSED: Final = 1024**2
"""Larger outputs are sent as they are: the library takes as long for them as a network of 100 Mbit/s does, and
lets nothing else be done meanwhile."""
MAX_TEXT: Final = 16 * 1024**2
"""Of what a compiler has to say."""

_HEADER: Final = 12
_NUMBER: Final = re.compile(rb"[0-9a-fA-F]{8}")
_T = TypeVar("_T")
_Parser = Generator[int, bytes, _T]


class PumpEntry(NamedTuple):
    """A file of a pump request, with its content as it is on the wire; or a link, with a ``target``."""

    path: str
    body: bytes
    target: str | None = None


class Request(NamedTuple):
    """One job. ``cwd`` and ``entries`` only in version 3, ``body`` (the source, as on the wire) only before it."""

    version: int
    argv: tuple[str, ...]
    body: bytes = b""
    cwd: str = ""
    entries: tuple[PumpEntry, ...] = ()


class Reply(NamedTuple):
    """One answer, its bodies as they are on the wire. ``status`` is as ``wait`` gives it; ``depfile`` may be absent."""

    version: int
    status: int
    stderr: bytes
    stdout: bytes
    output: bytes
    depfile: bytes | None = None


def expand(version: int, body: bytes, limit: int) -> bytes:
    """What a body holds, at most ``limit`` bytes. Raises WireError."""
    if version != PLAIN:
        return lzo.decompress(body, limit)
    if len(body) > limit:
        raise WireError(f"a body of more than {limit} bytes")
    return body


def pack_request(version: int, argv: Sequence[str], source: bytes, *, pressed: bool = False) -> bytes:
    """A request of version 1 or 2 for a preprocessed source. Raises WireError (see ``lzo.compress``).

    ``pressed``: the source is given as it is on the wire.
    """
    parts = [_number(b"DIST", version), _number(b"ARGC", len(argv))]
    for argument in argv:
        _add(parts, b"ARGV", argument.encode("utf-8", "surrogateescape"))
    _add(parts, b"DOTI", source if pressed else _pressed(version, source))
    return b"".join(parts)


def pack_reply(
    version: int, status: int, stderr: bytes, stdout: bytes = b"", output: bytes = b"", depfile: bytes = b""
) -> bytes:
    """A reply, given what the bodies are to hold. Raises WireError (see ``lzo.compress``).

    ``output`` and ``depfile`` are left out as the protocol has it: of a job that failed, before version 3.
    """
    parts = [_number(b"DONE", version), _number(b"STAT", status)]
    _add(parts, b"SERR", _pressed(version, stderr))
    _add(parts, b"SOUT", _pressed(version, stdout))
    pressed = _pressed if len(output) <= MAX_PRESSED else _stored
    _add(parts, b"DOTO", pressed(version, output) if status == 0 else b"")
    if version == PUMP and status == 0:
        _add(parts, b"DOTD", _pressed(version, depfile))
    return b"".join(parts)


def pack_refusal(version: int, status: int, text: bytes) -> bytes:
    """A reply with nothing but a text, that needs no library. ``status`` is not 0."""
    parts = [_number(b"DONE", version), _number(b"STAT", status)]
    _add(parts, b"SERR", _stored(version, text))
    _add(parts, b"SOUT", b"")
    _add(parts, b"DOTO", b"")
    return b"".join(parts)


class Reader(Generic[_T]):
    """Takes bytes as they come and makes one message of them.

    ``done`` is the message once it is whole; ``received`` counts its bytes so far, ``extra`` what came behind it.
    """

    def __init__(self, parser: _Parser[_T]) -> None:
        self._parser = parser
        self._buffer = bytearray()
        self._wanted = next(parser)
        self.done: _T | None = None
        self.received = 0

    @property
    def extra(self) -> int:
        """Bytes that came after the message's end."""
        return len(self._buffer) if self.done is not None else 0

    def feed(self, data: bytes) -> None:
        """Take what came. Raises WireError for what is no such message, or breaks a bound."""
        self.received += len(data)
        buffer = self._buffer
        buffer += data
        while self.done is None and len(buffer) >= self._wanted:
            piece = bytes(buffer[: self._wanted])
            del buffer[: self._wanted]
            try:
                self._wanted = self._parser.send(piece)
            except StopIteration as end:
                self.done = end.value


class RequestReader(Reader[Request]):
    """Reads a client's request. ``version`` is 0 until it is known: then a refusal can be worded in it."""

    def __init__(self) -> None:
        self.version = 0
        super().__init__(self._request())

    def _request(self) -> _Parser[Request]:
        version = yield from _take_number(b"DIST")
        if version not in VERSIONS:
            raise WireError(f"version {version} of distcc's protocol is not spoken here")
        self.version = version
        cwd = (yield from _take_text(b"CDIR", MAX_PATH)) if version == PUMP else ""
        count = yield from _take_number(b"ARGC")
        if not 0 < count <= MAX_ARGS:
            raise WireError(f"a command of {count} arguments")
        argv: list[str] = []
        room = MAX_ARGUMENT_BYTES
        for _ in range(count):
            argument = yield from _take_text(b"ARGV", room)
            room -= len(argument) + 1
            argv.append(argument)
        if version != PUMP:
            body = yield from _take_body(b"DOTI", MAX_BODY)
            return Request(version, tuple(argv), body)
        return Request(version, tuple(argv), cwd=cwd, entries=(yield from _take_entries()))


class ReplyReader(Reader[Reply]):
    """Reads a server's reply to a request of ``version``."""

    def __init__(self, version: int) -> None:
        super().__init__(_reply(version))


def _reply(version: int) -> _Parser[Reply]:
    answered = yield from _take_number(b"DONE")
    if answered != version:
        raise WireError(f"an answer of version {answered} to a question of version {version}")
    status = yield from _take_number(b"STAT")
    stderr = yield from _take_body(b"SERR", MAX_TEXT)
    stdout = yield from _take_body(b"SOUT", MAX_TEXT)
    output = yield from _take_body(b"DOTO", MAX_BODY)
    depfile = (yield from _take_body(b"DOTD", MAX_BODY)) if version == PUMP and status == 0 else None
    return Reply(version, status, stderr, stdout, output, depfile)


def _take_entries() -> _Parser[tuple[PumpEntry, ...]]:
    count = yield from _take_number(b"NFIL")
    if count > MAX_FILES:
        raise WireError(f"a request of {count} files")
    entries: list[PumpEntry] = []
    names = MAX_NAME_BYTES
    bodies = MAX_REQUEST
    for _ in range(count):
        path = yield from _take_text(b"NAME", MAX_PATH)
        names -= len(path)
        token, length = yield from _take_header()
        if token == b"LINK":
            target = _text((yield from _take(length, token, MAX_PATH)))
            names -= len(target)
            entries.append(PumpEntry(path, b"", target))
        elif token == b"FILE":
            body = yield from _take(length, token, min(bodies, MAX_BODY))
            bodies -= length
            entries.append(PumpEntry(path, body))
        else:
            raise WireError(f"{_shown(token)} where FILE or LINK is due")
        if names < 0:
            raise WireError(f"the names of its files take more than {MAX_NAME_BYTES} bytes")
    return tuple(entries)


def _take_header() -> _Parser[tuple[bytes, int]]:
    header = yield _HEADER
    if not _NUMBER.fullmatch(header, 4):
        raise WireError(f"{_shown(header)} is no packet of distcc's protocol")
    return header[:4], int(header[4:], 16)


def _take_number(token: bytes) -> _Parser[int]:
    found, number = yield from _take_header()
    if found != token:
        raise WireError(f"{_shown(found)} where {token.decode()} is due")
    return number


def _take_body(token: bytes, limit: int) -> _Parser[bytes]:
    length = yield from _take_number(token)
    return (yield from _take(length, token, limit))


def _take(length: int, token: bytes, limit: int) -> _Parser[bytes]:
    if length > limit:
        raise WireError(f"{token.decode()} of {length} bytes, where at most {limit} are taken")
    return (yield length) if length else b""


def _take_text(token: bytes, limit: int) -> _Parser[str]:
    return _text((yield from _take_body(token, limit)))


def _text(body: bytes) -> str:
    if b"\0" in body:
        raise WireError("a text that holds a NUL")
    return body.decode("utf-8", "surrogateescape")


def _shown(data: bytes) -> str:
    """A peer's bytes, fit for a message."""
    return repr(data[:_HEADER])[1:]


def _pressed(version: int, data: bytes) -> bytes:
    return data if version == PLAIN else lzo.compress(data)


def _stored(version: int, data: bytes) -> bytes:
    return data if version == PLAIN else lzo.stored(data)


def _number(token: bytes, number: int) -> bytes:
    return b"%s%08x" % (token, number)


def _add(parts: list[bytes], token: bytes, body: bytes) -> None:
    parts.append(_number(token, len(body)))
    parts.append(body)
