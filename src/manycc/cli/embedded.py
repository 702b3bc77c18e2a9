"""A node on this machine for the length of one run, where no hosts are configured."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Final

from manycc.cli.client import own_command
from manycc.errors import ManyccError

START_S: Final = 20.0
STOP_S: Final = 10.0


@contextlib.contextmanager
def embedded_node(jobs: int) -> Iterator[str]:
    """Run a node that serves this machine only; gives its entry for a host list.

    It ends with the block, or with this process, however that ends. Raises ManyccError.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log, os.fdopen(reading, "rb") as ready:
        try:
            process = subprocess.Popen(
                [*own_command(), "node", "--listen", "127.0.0.1", "--port", "0", "--jobs", str(jobs), "--no-config",
                 "--ready-fd", str(writing), "--die-with-parent"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(writing,), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writing)
        try:
            port = _read_port(ready.fileno())
            if not port:
                log.seek(0)
                said = log.read(65536).decode(errors="replace").strip().splitlines()
                raise ManyccError(
                    "the node on this machine did not start", said[-1] if said else "it says nothing",
                    "see manycc doctor",
                )  # fmt: skip
            yield f"127.0.0.1:{port}/{jobs}"
        finally:
            _end(process)


def _read_port(fd: int) -> int:
    """The port the node writes once it listens; 0 if it ends or takes too long."""
    deadline = time.monotonic() + START_S
    text = b""
    while not text.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(fd, 16) if readable else b""
        if not piece or len(text) > 16:
            return 0
        text += piece
    return int(text) if text.strip().isdigit() else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
