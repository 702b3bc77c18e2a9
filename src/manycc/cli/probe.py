"""A try-out of the launcher: it is given a job, and an agent that is this very process."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from typing import Final

from manycc.errors import ManyccError, WireError
from manycc.wire import launcher as wire

WAIT_S: Final = 5.0
_ANSWER: Final = b"manycc doctor\n"


def launcher_version(path: str) -> str:
    """The version a launcher says it is of, once it has carried a job and its answer.

    Raises ManyccError if it does not do so within a few seconds.
    """
    with tempfile.TemporaryDirectory(prefix="manycc-") as folder:
        os.mkdir(os.path.join(folder, "run"), 0o700)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(os.path.join(folder, "run", "agent.sock"))
            listener.listen(1)
            listener.settimeout(WAIT_S)
            env = {name: value for name, value in os.environ.items() if not name.startswith("MANYCC_")}
            # The command is never run: the answer comes from here. Should it be, it does nothing.
            process = subprocess.Popen(
                [path, "/bin/true"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=env | {"MANYCC_DIR": folder, "MANYCC_AGENT_TIMEOUT": str(WAIT_S)},
            )  # fmt: skip
            try:
                version = _serve(listener)
                output = process.communicate(timeout=WAIT_S)[0]
            except (OSError, EOFError, WireError, subprocess.TimeoutExpired) as error:
                raise ManyccError(f"{path} does not carry a job", str(error)) from error
            finally:
                if process.poll() is None:
                    process.kill()
                process.communicate()
    if output != _ANSWER or process.returncode != 0:
        raise ManyccError(f"{path} does not carry an answer", output[-200:].decode(errors="replace").strip())
    return version


def _serve(listener: socket.socket) -> str:
    """Answer one job. Returns the version in its request."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(WAIT_S)
        with connection.makefile("rb") as stream:
            magic, length, umask, flags, columns, argc = wire.JOB_HEADER.unpack(_exactly(stream.read(24), 24))
            if magic != wire.JOB_MAGIC or length > wire.MAX_PAYLOAD:
                raise WireError("what it sends is no job")
            request = wire.parse_request((umask, flags, columns, argc), _exactly(stream.read(length), length))
        connection.sendall(wire.build_result(0, _ANSWER, b""))
        return request.version


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise EOFError("it ends before its job is sent")
    return data
