"""Debian's distccd on a port of the test's choice, with compilers of the test's choice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

DISTCCD = "/usr/bin/distccd"
START_S = 60.0


class StockDaemon:
    """One distccd. ``path``: where it looks for compilers, before the system's folders."""

    def __init__(self, folder: Path, port: int = 0, path: str = "", arguments: tuple[str, ...] = ()) -> None:
        self.port = port or _free_port()
        self._folder = folder
        self._path = path
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """As an entry of a host list."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it has to say."""
        return self._folder / f"distccd-{self.port}.log"

    def start(self) -> StockDaemon:
        """Start it and wait until it listens."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [
            DISTCCD, "--daemon", "--no-detach", "--allow", "127.0.0.1", "--listen", "127.0.0.1",
            "--port", str(self.port), "--jobs", "4", "--log-stderr", "--log-level", "info",
            *(["--user", "nobody"] if os.geteuid() == 0 else []), *self._arguments,
        ]  # fmt: skip
        env = {**os.environ, "PATH": f"{self._path}:/usr/bin:/bin" if self._path else "/usr/bin:/bin"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, cwd="/", env=env, start_new_session=True
            )
        end = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                threading.Event().wait(0.01)
            else:
                return self
        raise AssertionError(self.log.read_text())

    def jobs(self) -> int:
        """How many compiles it was asked for that went well."""
        return self.log.read_text().count("COMPILE_OK")

    def stop(self) -> None:
        """End it and its children."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
