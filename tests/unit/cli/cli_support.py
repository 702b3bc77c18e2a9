"""For tests of the command line tools: an agent's socket with prepared answers, requests kept."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from manycc.wire import launcher as wire

Cli = Callable[..., subprocess.CompletedProcess[str]]
"""Runs ``manycc-cli`` with arguments."""

Reply = Callable[[dict[str, Any] | wire.Request], bytes]


def as_json(value: Any) -> bytes:
    """The frame of a JSON answer."""
    return wire.build_json(json.dumps(value).encode())


STATUS: dict[str, Any] = {
    "agent": {"pid": 4711, "version": "0.1.0", "uptime_s": 75.0, "rss": 40_000_000},
    "hosts": [
        {"name": "pi:3636", "state": "ready", "slots": 4, "busy": 1, "why": ""},
        {"name": "old", "state": "down", "slots": 0, "busy": 0, "why": "no route \x1b]0;owned\x07"},
    ],
    "jobs": {"running": 3, "waiting": 2, "local": 1},
}


class ControlAgent:
    """Listens below ``folder`` (a MANYCC_DIR) and answers each request by ``reply``."""

    def __init__(self, folder: str, reply: Reply | None = None) -> None:
        runtime = os.path.join(folder, "run")
        os.makedirs(runtime, mode=0o700, exist_ok=True)
        self.path = os.path.join(runtime, "agent.sock")
        self.requests: list[dict[str, Any] | wire.Request] = []
        self.reply: Reply = reply or self.usual
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        here = os.open(runtime, os.O_PATH)
        self._listener.bind(f"/proc/self/fd/{here}/agent.sock")
        os.close(here)
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve)

    def usual(self, request: dict[str, Any] | wire.Request) -> bytes:
        """What an agent says that has nothing special to say."""
        if isinstance(request, dict) and request["op"] == "stop":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            return as_json({"stopping": True})
        if isinstance(request, dict) and request["op"] == "version":
            return as_json({"version": "0.1.0"})
        return as_json(STATUS)

    def __enter__(self) -> ControlAgent:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, EOFError):
                request = self._read(connection)
                self.requests.append(request)
                connection.sendall(self.reply(request))

    @staticmethod
    def _read(connection: socket.socket) -> dict[str, Any] | wire.Request:
        connection.settimeout(10)
        with connection.makefile("rb") as stream:
            magic = stream.read(4)
            if not magic:
                raise EOFError
            if magic == wire.CONTROL_MAGIC:
                length = int.from_bytes(stream.read(4), "little")
                request: dict[str, Any] = json.loads(stream.read(length))
                return request
            header = magic + stream.read(wire.JOB_HEADER.size - 4)
            _, length, umask, flags, columns, argc = wire.JOB_HEADER.unpack(header)
            return wire.parse_request((umask, flags, columns, argc), stream.read(length))
