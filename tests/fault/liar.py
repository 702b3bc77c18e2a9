"""A node that lies: a real one behind a proxy which alters what it says, or speaks in its place.

A lie is a function of a message and of all that was said before it in the same direction, the message included. For
what the node says (``Says``) it gives what the agent hears instead; for what the agent says (``Answers``) it
gives what the agent hears in return, and the node never learns of it; or None, to let the message pass. While an
answer is an iterator, the node is not heard at all.
"""

from __future__ import annotations

import hashlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from proxy import Link, Proxy

from manycc.job import FILE
from manycc.wire import native

Message = list[Any]
Said = Iterable[Message | bytes]
"""Messages, and bytes that are none; ``END`` closes the connection."""
Says = Callable[[Message, Sequence[Message]], Said]
Answers = Callable[[Message, Sequence[Message]], Said | None]
END: Final = b""
PONG: Final[Message] = [native.PONG, 0]


class Liar(Proxy):
    """Stands between an agent and a node. ``heard`` is what the agent said on its last connection."""

    def __init__(self, port: int, says: Says | None = None, answers: Answers | None = None) -> None:
        self._says = says
        self._answers = answers
        self.heard: list[Message] = []
        self._alone = threading.Event()
        super().__init__(port)

    def contents(self) -> set[bytes]:
        """The digests of what the agent has uploaded."""
        return {message[1] for message in self.heard if message[0] == native.BLOB}

    def pump(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction, message by message."""
        if source is link.ends[0]:
            self._upwards(source, sink)
            return
        said: list[Message] = []
        for message in _messages(source, b""):
            said.append(message)
            if not self._alone.is_set():
                _say(self._says(message, said) if self._says else (message,), sink)
        if self._alone.is_set():  # the node has had enough of this silence; the agent is not to know
            link.over.wait()
        raise EOFError

    def _upwards(self, agent: socket.socket, node: socket.socket) -> None:
        first = b""
        while len(first) < len(native.PREAMBLE):
            data = agent.recv(65536)
            if not data:
                return
            first += data
        node.sendall(first[: len(native.PREAMBLE)])
        self.heard = []
        for message in _messages(agent, first[len(native.PREAMBLE) :]):
            self.heard.append(message)
            answer = self._answers(message, self.heard) if self._answers else None
            if answer is None:
                node.sendall(native.pack(message))
            elif isinstance(answer, Iterator):
                self._alone.set()
                _say(answer, agent)
            else:
                _say(answer, agent)


def _messages(source: socket.socket, first: bytes) -> Iterator[Message]:
    framer = native.Framer()
    yield from framer.feed(first)
    while data := source.recv(65536):
        yield from framer.feed(data)


def _say(said: Said, sink: socket.socket) -> None:
    for one in said:
        if one == END:
            raise ConnectionAbortedError
        sink.sendall(one if isinstance(one, bytes) else native.pack(one))


# -- what the node says


def instead_of(kind: int, *said: Message | bytes) -> Says:
    """Something else than the messages of one kind."""
    return lambda message, _: said if message[0] == kind else (message,)


def after(kind: int, *said: Message | bytes) -> Says:
    """Something more after the messages of one kind."""
    return lambda message, _: (message, *said) if message[0] == kind else (message,)


def result(alter: Callable[[Message], Message | None]) -> Says:
    """Results are altered in place by ``alter``, or are what it returns."""
    return lambda message, _: (alter(message) or message,) if message[0] == native.RESULT else (message,)


def field(index: int, value: object) -> Says:
    """Another value in a result."""
    return result(lambda message: message.__setitem__(index, value))


def took(**values: object) -> Says:
    """Something else about what a job took."""
    return result(lambda message: message[6].update(values))


def failed(code: object, stderr: bytes = b"", files: bool = False) -> Says:
    """The compiler has failed, it says; ``files``: and has written what it should."""

    def alter(message: Message) -> None:
        message[2] = code
        message[4] = native.compress(stderr) if stderr else b""
        if not files:
            message[5] = []

    return result(alter)


def files(alter: Callable[[list[list[Any]]], object]) -> Says:
    """Another list of files: [path, mode, size, digest, compressed content] each."""

    def listed(message: Message) -> None:
        alter(message[5])

    return result(listed)


def file(index: int, value: object) -> Says:
    """Another value of the object in that list."""
    return files(lambda listed: listed[0].__setitem__(index, value))


def more(path: Callable[[str], str], data: bytes = b"x") -> Says:
    """One more file, whose path is made of the object's."""
    return files(
        lambda listed: listed.append(
            [path(listed[0][0]), 0o644, len(data), hashlib.sha256(data).digest(), native.compress(data)]
        )
    )


def content(alter: Callable[[bytes], bytes], honest: bool = True) -> Says:
    """Another object. ``honest``: with the digest of what is sent."""

    def replace(listed: list[list[Any]]) -> None:
        one = listed[0]
        data = alter(native.decompress(one[4], native.MAX_FILE))
        one[2], one[4] = len(data), native.compress(data)
        if honest:
            one[3] = hashlib.sha256(data).digest()

    return files(replace)


def swapped(kind: int) -> Says:
    """Each two messages of one kind come in the wrong order."""

    def says(message: Message, said: Sequence[Message]) -> Said:
        if message[0] != kind:
            return (message,)
        same = [one for one in said if one[0] == kind]
        return () if len(same) % 2 else (message, same[-2])

    return says


def silent_after(kind: int) -> Says:
    """Nothing is said any more, from the first message of a kind on."""
    return lambda message, said: () if any(one[0] == kind for one in said) else (message,)


# -- what it answers


def to_the_job(*said: Message | bytes) -> Answers:
    """The job is answered so. A None in a message stands for the job's number."""
    return lambda message, _: [_numbered(one, message[1]) for one in said] if message[0] == native.JOB else None


def for_ever(said: Message, pause_s: float = 0.0) -> Answers:
    """From the job on, this is said again and again, and nothing is read."""
    return lambda message, _: _again(_numbered(said, message[1]), pause_s) if message[0] == native.JOB else None


def never(*kinds: int) -> Answers:
    """Messages of these kinds are lost."""
    return lambda message, _: () if message[0] in kinds else None


def deaf_after(kind: int) -> Answers:
    """All messages are lost from the first of a kind on."""
    return lambda _, heard: () if any(one[0] == kind for one in heard) else None


def insatiable(message: Message, heard: Sequence[Message]) -> Said | None:
    """Whenever something comes after the job, all contents are asked for again."""
    jobs = [one[1] for one in heard if one[0] == native.JOB]
    return ([native.MISSING, jobs[0], _announced(heard)],) if jobs else None


def choking(message: Message, heard: Sequence[Message]) -> Said | None:
    """All contents are asked for, and not read; but the node says that it lives."""
    if message[0] != native.JOB:
        return None
    return itertools.chain(([native.MISSING, message[1], _announced(heard)],), _again(PONG, 0.1))


def _announced(heard: Sequence[Message]) -> list[bytes]:
    announced = [item for one in heard if one[0] == native.ANNOUNCE for item in one[1]]
    return [item[3] for item in announced if item[1] == FILE]


def _numbered(said: Message | bytes, job: int) -> Any:
    return said if isinstance(said, bytes) else [job if part is None else part for part in said]


def _again(said: Message | bytes, pause_s: float) -> Iterator[Message | bytes]:
    pause = threading.Event()
    while True:
        yield said
        if pause_s:
            pause.wait(pause_s)
