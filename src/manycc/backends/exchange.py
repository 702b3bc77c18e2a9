"""One question and its answer in distcc's protocol, over TCP or through ssh.

Each exchange has a connection of its own. A stock server takes the end of what we send for our end, and
hangs up on what it does not like without a word: so nothing is closed before the answer is there, and a
hang-up is a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from manycc.errors import BackendError, BackendGone, WireError
from manycc.hostlist import HostSpec
from manycc.reasons import Reason
from manycc.wire import distcc

_PIECE: Final = 256 * 1024
MAX_SSH_WORDS: Final = 12
SSH_DIED_S: Final = 5.0


class HungUp(BackendGone):
    """The server closed the connection before it said anything; ``said`` is what the way to it (ssh) says of that."""

    said = ""


class Answer(NamedTuple):
    """A reply, how many bytes went either way, and how long each part took."""

    reply: distcc.Reply
    sent: int
    received: int
    phases: dict[str, float]


class Route(Protocol):
    """A way to a server."""

    async def open(self) -> socket.socket:
        """A connection to it, as a socket that does not block. Raises BackendGone."""

    async def close(self) -> str:
        """Give up what belongs to it. What the program that made the connection had to say, if there is one."""


class TcpRoute:
    """A connection over TCP."""

    def __init__(self, address: str, port: int, connect_timeout_s: float, silence_s: float) -> None:
        self._address = address
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._silence_s = silence_s

    async def open(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        last: OSError | None = None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                found = await loop.getaddrinfo(self._address, self._port, type=socket.SOCK_STREAM)
                for family, kind, protocol, _, address in found:
                    sock = socket.socket(family, kind, protocol)
                    try:
                        sock.setblocking(False)
                        self._watch(sock)
                        await loop.sock_connect(sock, address)
                    except OSError as error:
                        sock.close()
                        last = error
                    except BaseException:
                        sock.close()
                        raise
                    else:
                        return sock
        except TimeoutError:
            raise BackendGone(Reason.NODE_LOST, "it did not answer in time") from None
        except socket.gaierror as error:
            raise BackendGone(Reason.NODE_LOST, error.strerror or str(error)) from error
        why = "it has no address" if last is None else os.strerror(last.errno) if last.errno else str(last)
        raise BackendGone(Reason.NODE_LOST, why)

    def _watch(self, sock: socket.socket) -> None:
        """Have the kernel find out whether the other side is still there: a compile may be silent for long."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        pause = max(1, int(self._silence_s / 4))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, pause)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, pause)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._silence_s * 1000))

    async def close(self) -> str:
        return ""


class SshRoute:
    """A distccd of our own, started on the other machine by ssh."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._said: int | None = None

    async def open(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._said = os.memfd_create("manycc-ssh", os.MFD_CLOEXEC)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                    start_new_session=True,
                    env=self._env,
                )
        except (OSError, ValueError) as error:
            ours.close()
            raise BackendGone(Reason.NODE_LOST, f"{self._command[0]}: {error}") from error
        return ours

    async def close(self) -> str:
        said = b""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # Killed, it is over in a moment; to wait for it in the loop would be to wait for the kernel.
            await asyncio.shield(asyncio.to_thread(process.wait))
        if self._said is not None:
            said = os.pread(self._said, 2000, 0)
            os.close(self._said)
            self._said = None
        return said.decode(errors="replace").strip()


def ssh_command(spec: HostSpec, env: Mapping[str, str]) -> list[str]:
    """How the distccd of an ssh entry is started. ``env`` may name another program, and its options."""
    try:
        program = shlex.split(env.get("DISTCC_SSH") or "ssh")[:MAX_SSH_WORDS]
    except ValueError:
        program = ["ssh"]
    user = ["-l", spec.user] if spec.user else []
    return [*program, *user, spec.address, spec.command or "distccd", "--inetd", "--enable-tcp-insecure"]


async def exchange(
    route: Route, version: int, argv: Sequence[str], source: bytes, *, silence_s: float, job_timeout_s: float
) -> Answer:
    """Send a request, wait for the reply. Cancelling closes the connection, which ends the compile there.

    ``source`` is as it is on the wire. Raises BackendGone (HungUp among them), BackendError(NODE_TIMEOUT).
    """
    begun = time.monotonic()
    sock: socket.socket | None = None
    try:
        sock = await route.open()
        connected = time.monotonic()
        try:
            request = distcc.pack_request(version, argv, source, pressed=True)
        except WireError as error:
            raise BackendError(Reason.NODE_REFUSED, str(error)) from error
        async with asyncio.timeout(job_timeout_s):
            closed = await _send(sock, request, silence_s)
            sent = time.monotonic()
            reader = distcc.ReplyReader(version)
            first = await _receive(sock, reader, silence_s, closed)
    except TimeoutError:
        raise BackendError(Reason.NODE_TIMEOUT, f"no answer for {job_timeout_s:.0f} s") from None
    except BackendGone as error:
        if sock is not None:
            sock.close()
        if said := await route.close():
            words = said.splitlines()[-1][:300]
            told = type(error)(error.reason, f"{error.detail}: {words}")
            if isinstance(told, HungUp):
                told.said = words
            raise told from error
        raise
    finally:
        if sock is not None:
            sock.close()
        await route.close()
    done = time.monotonic()
    phases = {"connect": connected - begun, "send": sent - connected, "compile": first - sent, "receive": done - first}
    assert reader.done is not None  # noqa: S101
    return Answer(reader.done, len(request), reader.received, phases)


async def _send(sock: socket.socket, request: bytes, silence_s: float) -> bool:
    """Send all of it; True if the other side hung up meanwhile (what it said before may still be read)."""
    loop = asyncio.get_running_loop()
    view = memoryview(request)
    try:
        for at in range(0, len(view), _PIECE):
            async with asyncio.timeout(silence_s):
                await loop.sock_sendall(sock, view[at : at + _PIECE])
    except TimeoutError:
        raise BackendGone(Reason.NODE_LOST, f"it took nothing for {silence_s:g} s") from None
    except OSError:
        return True
    return False


async def _receive(sock: socket.socket, reader: distcc.ReplyReader, silence_s: float, closed: bool) -> float:
    """Read the reply. Returns when its first bytes came."""
    loop = asyncio.get_running_loop()
    first = 0.0
    while reader.done is None:
        try:
            # The compile takes as long as it takes; once the answer has begun, it must go on.
            async with asyncio.timeout(silence_s if first or closed else None):
                data = await loop.sock_recv(sock, _PIECE)
        except TimeoutError:
            raise BackendGone(Reason.NODE_LOST, f"its answer stopped for {silence_s:g} s") from None
        except OSError as error:
            if not reader.received and isinstance(error, ConnectionError):
                data = b""
            else:
                raise BackendGone(Reason.NODE_LOST, os.strerror(error.errno or 0)) from error
        if not data:
            if reader.received:
                raise BackendGone(Reason.PROTOCOL, "it hung up in the middle of its answer")
            raise HungUp(Reason.NODE_LOST, "it hung up without a word")
        first = first or time.monotonic()
        try:
            reader.feed(data)
        except WireError as error:
            raise BackendGone(Reason.PROTOCOL, str(error)) from error
    return first
