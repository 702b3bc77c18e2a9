"""A node: its parts put together, its start, its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from manycc.errors import ConfigError
from manycc.node import machine
from manycc.node.executor import Executor
from manycc.node.mapped import MappedRunner
from manycc.node.options import NodeOptions
from manycc.node.runner import Runner
from manycc.node.sandbox import Sandbox, find_sandbox
from manycc.node.sealed import SealedRunner
from manycc.node.server import Entrance, Farewell, Speaker
from manycc.node.session import Session
from manycc.node.slots import Slots
from manycc.node.toolchains import ToolchainService
from manycc.node.uploads import Incoming
from manycc.store.store import Store
from manycc.wire import native

STATE_INTERVAL_S: Final = 0.1
"""Changes of state are told together, this long after the first."""
KEEPALIVE_S: Final = 5.0
_DISTCC: Final = b"DIST"
_log: Final = logging.getLogger("manycc.node")


class Node:
    """One node. ``digest_of(path)`` gives the SHA-256 of a file of this machine; raises OSError."""

    def __init__(self, options: NodeOptions, digest_of: Callable[[str], bytes]) -> None:
        self.options = options
        self.name = options.name
        self._digest_of = digest_of
        self.store = Store(options.store, options.store_size)
        self.slots = Slots(options.slots, machine.memory_available, self._changed)
        self.toolchains = ToolchainService(self.store, digest_of, os.environ.get("PATH", os.defpath))
        self.incoming = Incoming()
        self.closing = False
        self.port = 0
        self.sandbox = Sandbox("folder")
        self.executor: Executor
        self._sessions: set[Session] = set()
        self._counts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._push: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._all_idle = asyncio.Event()
        self.speakers: dict[bytes, Speaker] = {
            native.PREAMBLE: self._native,
            native.PREAMBLE_1: _too_old,
            _DISTCC: _no_distcc,
        }

    async def start(self) -> None:
        """Listen. ``port`` is then the real one. Raises ConfigError: address in use, no sandbox."""
        options = self.options
        self.sandbox = await find_sandbox(options)
        runner: Runner = (
            SealedRunner(options, self.store, self.sandbox)
            if self.sandbox.kind == "bubblewrap"
            else MappedRunner(options, self.store, self.sandbox, self._digest_of)
        )
        self.executor = Executor(self.store, self.toolchains, runner, self.slots)
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Entrance(options.allow, self.speakers, self._counts),
                options.listen,
                options.port,
                backlog=256,
                reuse_address=True,
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = f"another node may run; see who holds port {options.port}, or choose another with --port"
            elif error.errno == errno.EADDRNOTAVAIL:
                hint = "--listen takes an address of this machine, or 0.0.0.0 for all of them"
            else:
                hint = ""
            raise ConfigError(
                f"cannot listen on {options.listen} port {options.port}", os.strerror(error.errno or 0), hint
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        self._keepalive = loop.call_later(KEEPALIVE_S, self._keep_alive)
        _log.info(
            "listening on %s port %d, %d slots, store %s of at most %d MiB, sandbox: %s%s",
            options.listen,
            self.port,
            options.slots,
            self.store.root,
            self.store.limit >> 20,
            self.sandbox.kind,
            f" ({self.sandbox.why})" if self.sandbox.why else "",
        )

    async def drain(self) -> None:
        """Take no more jobs; return when those under way are done, or ``drain_time`` has passed."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        self._tell_state()
        for session in list(self._sessions):
            self._dismiss_if_idle(session)
        try:
            async with asyncio.timeout(self.options.drain_time):
                while any(session.jobs for session in self._sessions):
                    self._all_idle.clear()
                    await self._all_idle.wait()
        except TimeoutError:
            _log.warning("jobs under way did not end within %d s", self.options.drain_time)

    async def stop(self) -> None:
        """Close everything; jobs under way are killed. Return when nothing of them is left."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.close("the node is closing")
        while self._sessions:
            self._all_idle.clear()
            await self._all_idle.wait()
        for timer in (self._push, self._keepalive):
            if timer is not None:
                timer.cancel()
        self.slots.close()
        if hasattr(self, "executor"):
            self.executor.close()
        self.store.close()

    # -- for sessions

    def greeting(self) -> dict[str, Any]:
        """What a WELCOME says of this node."""
        return {
            "name": self.name,
            "slots": self.options.slots,
            "sandbox": self.sandbox.kind,
            "machine": os.uname().machine,
        }

    def state(self) -> bytes:
        """A STATE frame of this moment."""
        slots = self.slots
        return native.pack(
            [
                native.STATE,
                {
                    "slots": slots.count,
                    "busy": slots.busy,
                    "queued": slots.queued,
                    "load": machine.load(),
                    "memory_free": max(0, slots.memory_free()),
                    "closing": self.closing,
                },
            ]
        )

    def session_ended(self, session: Session) -> None:
        """A connection is closed, and none of its jobs is left."""
        self._sessions.discard(session)
        self._all_idle.set()

    def job_ended(self, session: Session) -> None:
        """A job was answered."""
        if self.closing:
            self._dismiss_if_idle(session)
            self._all_idle.set()

    # -- inside

    def _native(self, peer: str) -> asyncio.Protocol | str:
        if self.closing:
            return "not served: the node is closing"
        session = Session(self, peer)
        self._sessions.add(session)
        return session

    def _dismiss_if_idle(self, session: Session) -> None:
        if not session.jobs:
            session.close("the node is closing")

    def _changed(self) -> None:
        if self._push is None and self._sessions:
            self._push = asyncio.get_running_loop().call_later(STATE_INTERVAL_S, self._tell_state)

    def _tell_state(self) -> None:
        if self._push is not None:
            self._push.cancel()
            self._push = None
        if self._sessions:
            frame = self.state()
            for session in list(self._sessions):
                session.push_state(frame)

    def _keep_alive(self) -> None:
        self._tell_state()
        self._keepalive = asyncio.get_running_loop().call_later(KEEPALIVE_S, self._keep_alive)


def _too_old(peer: str) -> asyncio.Protocol:
    _log.warning("%s: an agent of version 1, which is too old for this node", peer)
    return Farewell(native.goodbye_1(f"this node speaks version {native.VERSION} of the protocol, not 1"))


def _no_distcc(_: str) -> str:
    return "a distcc client; this node serves manycc's own protocol only"
