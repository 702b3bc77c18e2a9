"""An agent's messages, from msgpack values to typed ones. Raises WireError for whatever is out of form.

Only shapes, types and sizes are looked at here; whether a job is a compile is for admission to say.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any, Final, NamedTuple

from manycc.errors import WireError
from manycc.job import FILE, FOLDER, LINK, Repair, ToolFile
from manycc.wire import native

MAX_ARGUMENT_BYTES: Final = 2 * 1024 * 1024
"""What the kernel takes for arguments and environment together."""
MAX_ENV: Final = 64
MAX_PLACES: Final = 1024
MAX_PLACE_BYTES: Final = 256 * 1024
"""Of a job's folders, of its outputs, of its stems."""
MAX_LINKS: Final = 1024
MAX_LINK_BYTES: Final = 256 * 1024
"""Of a toolchain's links."""
MAX_TEXT: Final = 1024
MAX_SILENCE: Final = 3600.0


class Hello(NamedTuple):
    """What an agent says of itself. ``silence``: seconds within which it always says something."""

    version: int
    release: str
    name: str
    silence: float


class About(NamedTuple):
    """What an agent's compiler is. ``size``: bytes of all its files; ``target`` as it spells it itself."""

    kind: str
    host: str
    facts: dict[str, str]
    size: int
    target: str = ""


class ToolchainMessage(NamedTuple):
    """A toolchain an agent would like to have served."""

    number: int
    fingerprint: str
    driver: str
    label: str
    links: tuple[tuple[str, str], ...]
    components: dict[str, bytes]
    about: About


class Announced(NamedTuple):
    """One input. ``digest`` is empty unless it is a file, ``target`` unless it is a link."""

    number: int
    kind: int
    path: str
    digest: bytes
    target: str
    size: int


class JobMessage(NamedTuple):
    """One job, as it was asked for."""

    id: int
    toolchain: int
    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]
    umask: int
    numbers: list[int]
    folders: tuple[str, ...]
    outputs: tuple[str, ...]
    stems: tuple[str, ...]
    flags: int
    expected_rss: int
    repair: Repair | None = None


class Blob(NamedTuple):
    """A piece of a content, decompressed."""

    digest: bytes
    total: int
    offset: int
    data: bytes


def parse_hello(message: list[Any]) -> Hello:
    """[HELLO, {...}]"""
    (said,) = _fields(message, 1)
    if not isinstance(said, dict) or len(said) > 64:
        raise WireError("a hello is not a small map")
    return Hello(
        _integer(said.get("version"), 0, 2**31),
        _text(said.get("release", ""), MAX_TEXT),
        _text(said.get("name", ""), MAX_TEXT),
        _seconds(said.get("silence", MAX_SILENCE)),
    )


def parse_toolchain(message: list[Any]) -> ToolchainMessage:
    """[TOOLCHAIN, tc, fingerprint, driver, label, links, components, about]"""
    number, fingerprint, driver, label, links, components, about = _fields(message, 7)
    if not isinstance(components, dict) or len(components) > MAX_LINKS:
        raise WireError("a toolchain's components are not a map of reasonable size")
    return ToolchainMessage(
        number_of(number),
        _text(fingerprint, MAX_TEXT),
        _text(driver, native.MAX_PATH),
        _text(label, MAX_TEXT),
        _pairs(links, MAX_LINKS, native.MAX_PATH, MAX_LINK_BYTES),
        {_text(name, MAX_TEXT): _digest(digest) for name, digest in components.items()},
        _about(about),
    )


def _about(said: Any) -> About:
    if not isinstance(said, dict) or len(said) > native.MAX_FACTS:
        raise WireError("what is said about a toolchain is not a small map")
    facts = said.get("facts", {})
    if not isinstance(facts, dict) or len(facts) > native.MAX_FACTS:
        raise WireError("a toolchain's facts are not a small map")
    return About(
        _text(said.get("kind"), MAX_TEXT),
        _text(said.get("host"), MAX_TEXT),
        {_text(name, native.MAX_FACT): _text(text, native.MAX_FACT) for name, text in facts.items()},
        _integer(said.get("bytes"), 0, 2**62),
        _text(said.get("target", ""), MAX_TEXT),
    )


def parse_files(message: list[Any]) -> tuple[int, tuple[ToolFile, ...]]:
    """[FILES, tc, [[path, digest, size], …]]"""
    number, listed = _fields(message, 2)
    if not isinstance(listed, list) or len(listed) > native.MAX_TOOL_FILES:
        raise WireError("a toolchain's files are not a list of reasonable size")
    files = []
    for item in listed:
        if not isinstance(item, list) or len(item) != 3:
            raise WireError("a file of a toolchain is not three values")
        path, digest, size = item
        files.append(ToolFile(_text(path, native.MAX_PATH), _digest(digest), _integer(size, 0, 2**62)))
    return number_of(number), tuple(files)


def parse_announce(message: list[Any], room: int) -> list[Announced]:
    """[ANNOUNCE, [[number, kind, path, digest | target, size], …]], at most ``room`` of them."""
    (listed,) = _fields(message, 1)
    if not isinstance(listed, list) or len(listed) > room:
        raise WireError(f"more than {native.MAX_INPUTS} inputs announced")
    announced: list[Announced] = []
    for item in listed:
        if not isinstance(item, list) or len(item) != 5:
            raise WireError("an input is not five values")
        number, kind, path, content, size = item
        number_of(number)
        _text(path, native.MAX_PATH)
        if kind == FILE:
            announced.append(Announced(number, FILE, path, _digest(content), "", _integer(size, 0, native.MAX_FILE)))
        elif kind == LINK:
            announced.append(Announced(number, LINK, path, b"", _text(content, native.MAX_PATH), 0))
        elif kind == FOLDER:
            announced.append(Announced(number, FOLDER, path, b"", "", 0))
        else:
            raise WireError(f"unknown kind of input {kind!r}"[:100])
    return announced


def parse_retract(message: list[Any]) -> list[int]:
    """[RETRACT, [number, …]]"""
    (numbers,) = _fields(message, 1)
    if not isinstance(numbers, list) or len(numbers) > native.MAX_INPUTS:
        raise WireError("retracted numbers are not a list of reasonable size")
    return [number_of(number) for number in numbers]


def parse_job(message: list[Any]) -> JobMessage:
    """[JOB, id, tc, argv, cwd, env, umask, numbers, folders, outputs, stems, flags, expected_rss, repair]"""
    number, toolchain, argv, cwd, env, umask, numbers, folders, outputs, stems, flags, expected, repair = _fields(
        message, 13
    )
    arguments = _texts(argv, native.MAX_ARGS, MAX_ARGUMENT_BYTES)
    if not arguments:
        raise WireError("a job without a command")
    if not isinstance(numbers, bytes) or len(numbers) % 4 or len(numbers) > 4 * native.MAX_INPUTS:
        raise WireError("a job's inputs are not a list of numbers of reasonable size")
    wanted = array("I", numbers)
    if sys.byteorder == "big":
        wanted.byteswap()
    return JobMessage(
        number_of(number),
        number_of(toolchain),
        arguments,
        _text(cwd, native.MAX_PATH),
        _pairs(env, MAX_ENV, MAX_ARGUMENT_BYTES, MAX_ARGUMENT_BYTES),
        _integer(umask, 0, 0o777),
        wanted.tolist(),
        _texts(folders, MAX_PLACES, MAX_PLACE_BYTES),
        _texts(outputs, native.MAX_OUTPUTS, MAX_PLACE_BYTES),
        _texts(stems, MAX_PLACES, MAX_PLACE_BYTES),
        _integer(flags, 0, 2**31),
        _integer(expected, 0, 2**62),
        None if repair is None else _repair(repair),
    )


def _repair(said: Any) -> Repair:
    if not isinstance(said, list) or len(said) != 3:
        raise WireError("a repair is not three values")
    search, options, ident = said
    return Repair(
        _texts(search, MAX_PLACES, MAX_PLACE_BYTES),
        _texts(options, native.MAX_FACTS, MAX_PLACE_BYTES),
        _text(ident, native.MAX_FACT),
    )


def parse_blob(message: list[Any]) -> Blob:
    """[BLOB, digest, total, offset, zdata]"""
    digest, total, offset, zdata = _fields(message, 4)
    if not isinstance(zdata, bytes):
        raise WireError("a piece of a blob is not bytes")
    return Blob(
        _digest(digest),
        _integer(total, 0, native.MAX_FILE),
        _integer(offset, 0, native.MAX_FILE),
        native.decompress(zdata, native.MAX_PIECE),
    )


def parse_gone(message: list[Any]) -> tuple[int, bytes]:
    """[GONE, id, digest]"""
    number, digest = _fields(message, 2)
    return number_of(number), _digest(digest)


def parse_number(message: list[Any]) -> int:
    """[CANCEL, id], [PING, n]"""
    (number,) = _fields(message, 1)
    return number_of(number)


def number_of(value: Any) -> int:
    """A number as peers give to jobs, toolchains and inputs."""
    return _integer(value, 0, 2**32 - 1)


def _fields(message: list[Any], count: int) -> list[Any]:
    if len(message) != count + 1:
        raise WireError(f"a message of {len(message) - 1} fields where {count} are due")
    return message[1:]


def _integer(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise WireError("a number is missing or out of bounds")
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0.1 <= value <= MAX_SILENCE:
        raise WireError("a time is out of bounds")
    return float(value)


def _text(value: Any, limit: int) -> str:
    if type(value) is not str or len(value) > limit or "\0" in value:
        raise WireError("a text is missing, too long or holds a NUL")
    return value


def _digest(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != 32:
        raise WireError("a digest is not 32 bytes")
    return value


def _texts(value: Any, count: int, total: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > count:
        raise WireError("a list is missing or too long")
    texts = tuple([_text(item, total) for item in value])
    if sum(map(len, texts)) + len(texts) > total:
        raise WireError("a list of texts is too large")
    return texts


def _pairs(value: Any, count: int, limit: int, total: int) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or len(value) > count:
        raise WireError("a list of pairs is missing or too long")
    pairs: list[tuple[str, str]] = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise WireError("a pair is not two texts")
        pairs.append((_text(item[0], limit), _text(item[1], limit)))
    if sum(len(name) + len(content) for name, content in pairs) > total:
        raise WireError("a list of pairs is too large")
    return tuple(pairs)
