"""How the command line tools reach the agent: ask, explain, start, stop.

The format is that of ``wire/launcher.py``; an agent is started as the launcher starts one, under the
same lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from manycc.config import Config
from manycc.errors import ManyccError
from manycc.wire import launcher as wire

ANSWER_S: Final = 15.0
CONNECT_S: Final = 5.0
START_S: Final = 20.0
STOP_S: Final = 10.0
MAX_ANSWER: Final = 16 * 1024 * 1024
_CREDENTIALS: Final = struct.Struct("3i")

Answer = dict[str, Any]


class OtherVersion(ManyccError):
    """The agent is of another version, and makes way for one of ours."""


def connect(config: Config, timeout: float = CONNECT_S) -> tuple[socket.socket, int] | None:
    """A connection to the agent and the agent's pid; None if no agent listens.

    Raises ManyccError if what listens is not this user's, or does not accept.
    """
    try:
        folder = os.open(config.runtime_dir, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(f"/proc/self/fd/{folder}/agent.sock")  # however long the real path is
        pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        why = "it accepts no connection" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise ManyccError("the agent cannot be reached", why, f"see {config.agent_log_path}") from error
    finally:
        os.close(folder)
    if uid != os.getuid():
        sock.close()
        raise ManyccError("the agent cannot be reached", f"{config.socket_path} belongs to another user")
    return sock, pid


def ask(config: Config, request: Answer, timeout: float = ANSWER_S) -> Answer | None:
    """The agent's answer to a control request; None if no agent listens. Raises ManyccError."""
    body = json.dumps(request).encode()
    if len(body) > wire.MAX_CONTROL:
        raise ManyccError("the request to the agent is too long")
    found = connect(config, min(timeout, CONNECT_S))
    if found is None:
        return None
    with found[0] as sock:
        return _converse(config, sock, wire.CONTROL_HEADER.pack(wire.CONTROL_MAGIC, len(body)) + body, timeout)


def explain(config: Config, request: wire.Request, timeout: float = 60.0) -> Answer:
    """How the agent would handle a job. Starts the agent if need be. Raises ManyccError."""
    data = wire.build_request(request, wire.EXPLAIN_MAGIC)
    if len(data) - wire.JOB_HEADER.size > wire.MAX_PAYLOAD:
        raise ManyccError("the command line and the environment are larger than the agent takes")
    refused = 0
    for _ in range(3):
        sock, pid = start(config, refused)
        with sock:
            try:
                return _converse(config, sock, data, timeout)
            except OtherVersion:
                refused = pid
    raise ManyccError("each agent that was started is of another version", "", "see manycc doctor")


def _converse(config: Config, sock: socket.socket, data: bytes, timeout: float) -> Answer:
    """Send a request, return the JSON that answers it. Closes nothing."""
    deadline = time.monotonic() + timeout
    try:
        sock.sendall(data)
        while True:
            kind, length = wire.FRAME.unpack(_receive(sock, wire.FRAME.size, deadline))
            if length > MAX_ANSWER:
                raise ManyccError("the agent's answer is not understood", "it is too long")
            payload = _receive(sock, length, deadline)
            if kind == b"V":
                raise OtherVersion("the agent is of another version")
            if kind == b"J":
                answer = json.loads(payload)
                break
            if kind != b"P":
                raise ManyccError("the agent's answer is not understood", f"a frame of kind {kind!r}")
    except TimeoutError:
        raise ManyccError("the agent does not answer", "", f"see {config.agent_log_path}") from None
    except (OSError, EOFError) as error:
        raise ManyccError("the agent went away", "", f"see {config.agent_log_path}") from error
    except ValueError as error:
        raise ManyccError("the agent's answer is not understood", str(error)) from error
    if not isinstance(answer, dict):
        raise ManyccError("the agent's answer is not understood", "it is no JSON object")
    if isinstance(answer.get("error"), str):
        raise ManyccError("the agent says", answer["error"])
    return answer


def _receive(sock: socket.socket, length: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < length:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        piece = sock.recv(min(length - len(data), 1 << 16))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def own_command() -> list[str]:
    """What starts ``manycc-cli``: the script we were started by or the one beside our Python, else the module."""
    for path in (sys.argv[0], os.path.join(os.path.dirname(sys.executable), "manycc-cli")):
        if os.path.basename(path) == "manycc-cli" and os.access(path, os.X_OK):
            return [os.path.abspath(path)]
    return [sys.executable, "-m", "manycc.cli"]


def start(config: Config, refused: int = 0) -> tuple[socket.socket, int]:
    """A connection to the agent and its pid; the agent is started if none but process ``refused`` runs.

    Raises ManyccError, ConfigError.
    """
    config.ensure_runtime_dir()
    deadline = time.monotonic() + START_S
    with _locked(config.lock_path, deadline):
        found = _connect_other(config, refused)
        if found is not None:
            return found
        problem = _spawn(config, deadline)
        if not problem:
            found = _connect_other(config, refused)
            if found is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(config.runtime_dir, "agent.failed"))
                return found
            problem = "it said that it listens, but does not"
    raise ManyccError("the agent cannot be started", problem, f"see {config.agent_log_path}")


def _connect_other(config: Config, refused: int) -> tuple[socket.socket, int] | None:
    found = connect(config)
    if found is not None and found[1] == refused:
        found[0].close()
        return None
    return found


@contextlib.contextmanager
def _locked(path: str, deadline: float) -> Iterator[None]:
    """Hold the lock that launchers hold while they start an agent. It is theirs for a moment only."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ManyccError("the agent cannot be started", "another start of it takes too long") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(lock)


def _spawn(config: Config, deadline: float) -> str:
    """Start an agent and wait until it listens. Returns what went wrong, or nothing."""
    os.makedirs(config.state_dir, mode=0o700, exist_ok=True)
    reading, writing = os.pipe()
    try:
        environment = os.environ | {"MANYCC_READY_FD": str(writing)}
        if environment.get("MANYCC_DIR"):
            environment["MANYCC_DIR"] = os.path.abspath(environment["MANYCC_DIR"])
        with open(config.agent_log_path, "ab") as log:
            process = subprocess.Popen(
                [*own_command(), "agent", "serve"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=environment,
                pass_fds=(writing,), start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        return error.strerror or str(error)
    finally:
        os.close(writing)
    # It is to outlive us: nobody waits for it, and Python need not warn about that.
    process.returncode = 0
    try:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return "it took too long to start"
        return "" if os.read(reading, 1) else "it ended before it listened"
    finally:
        os.close(reading)


def stop(config: Config) -> int | None:
    """Tell the agent to end. Returns its pid, or None if none ran. Raises ManyccError if it stays.

    It gives up its socket at once; jobs under way are finished first.
    """
    found = connect(config)
    if found is None:
        return None
    sock, pid = found
    body = b'{"op": "stop"}'
    with sock:
        _converse(config, sock, wire.CONTROL_HEADER.pack(wire.CONTROL_MAGIC, len(body)) + body, ANSWER_S)
    deadline = time.monotonic() + STOP_S
    while (same := _connect_same(config, pid)) is not None:
        same.close()
        if time.monotonic() > deadline:
            raise ManyccError("the agent does not stop", f"process {pid} still listens", f"kill {pid}")
        time.sleep(0.02)
    return pid


def _connect_same(config: Config, pid: int) -> socket.socket | None:
    found = connect(config)
    if found is not None and found[1] != pid:
        found[0].close()
        return None
    return None if found is None else found[0]
