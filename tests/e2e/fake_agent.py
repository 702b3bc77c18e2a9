"""A stand-in for the agent, which does what a test tells it, for tests of the launcher.

``FakeAgent`` is one in a thread of the test; ``main`` is a stand-in for ``manycc-cli``, which a
launcher starts as its agent.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from manycc.wire import launcher as wire

Answer = Callable[[socket.socket], None]


def listen(runtime: str, backlog: int = 1024) -> socket.socket:
    """A socket that listens as the agent's, however long the path is."""
    folder = os.open(runtime, os.O_PATH)
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"/proc/self/fd/{folder}/agent.sock")
        listener.listen(backlog)
    finally:
        os.close(folder)
    return listener


def read_exactly(sock: socket.socket, length: int) -> bytes:
    """Raises EOFError if the other side ends before."""
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(min(length - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def read_request(sock: socket.socket) -> wire.Request:
    """The job a launcher asks for."""
    magic, length, *rest = wire.JOB_HEADER.unpack(read_exactly(sock, wire.JOB_HEADER.size))
    assert magic == wire.JOB_MAGIC and length <= wire.MAX_PAYLOAD
    umask, flags, columns, argc = rest
    return wire.parse_request((umask, flags, columns, argc), read_exactly(sock, length))


def saying(*frames: bytes) -> Answer:
    """Answers with these bytes and closes."""
    return lambda sock: sock.sendall(b"".join(frames))


def wait_for_end(sock: socket.socket) -> None:
    """Returns when the other side has closed, in whatever way."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


class FakeAgent:
    """Listens in ``runtime`` (made if missing) until the ``with`` block ends.

    Each connection is given to the next of ``answers``, the last of them over and over, after its
    request has been read, unless ``read`` is false. What goes wrong in there is raised at the end.
    """

    def __init__(self, runtime: str, *answers: Answer, read: bool = True) -> None:
        self.requests: queue.SimpleQueue[wire.Request] = queue.SimpleQueue()
        self.connections = 0
        self._answers = list(answers)
        self._read = read
        self._error: BaseException | None = None
        os.makedirs(runtime, mode=0o700, exist_ok=True)
        self.listener = listen(runtime)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeAgent:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.listener.close()
        if self._error is not None and error is None:
            raise self._error

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:  # shut down
                return
            with sock:
                self.connections += 1
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                try:
                    if self._read:
                        self.requests.put(read_request(sock))
                    answer(sock)
                except (EOFError, BrokenPipeError):
                    continue  # a launcher that only looked who listens
                except BaseException as problem:  # noqa: BLE001  # raised again at the end
                    self._error = problem
                    return


def _note(line: dict[str, object]) -> None:
    log = os.open(os.environ["FAKE_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(log, json.dumps(line).encode() + b"\n")
    os.close(log)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that lists
            continue
    return found


def main() -> None:
    """As ``manycc-cli``: prints its arguments, or for ``agent serve`` is what FAKE_CLI says."""
    if sys.argv[1:] != ["agent", "serve"]:
        called = os.environ.get("MANYCC_CALLED")
        print("cli", *(["as", called] if called else []), *sys.argv[1:])
        sys.exit(7)
    _note({"pid": os.getpid(), "session": os.getsid(0), "fds": _descriptors(), "ready": os.environ["MANYCC_READY_FD"]})
    mode = os.environ["FAKE_CLI"]
    if mode == "fail":
        sys.exit(1)
    if mode == "hang":
        signal.pause()
    runtime = os.path.join(os.environ["MANYCC_DIR"], "run")
    try:
        os.unlink(os.path.join(runtime, "agent.sock"))
    except FileNotFoundError:
        pass
    listener = listen(runtime)
    os.write(int(os.environ["MANYCC_READY_FD"]), b"1")
    os.close(int(os.environ["MANYCC_READY_FD"]))
    while True:
        sock, _ = listener.accept()
        with sock:
            try:
                read_request(sock)
                sock.sendall(wire.OTHER_VERSION if mode == "other" else wire.build_result(0, b"by the agent\n", b""))
            except (EOFError, BrokenPipeError):
                continue
