"""A node: its parts put together, its start, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from manycc.node import machine
from manycc.node.access import may_connect
from manycc.node.distcc.budget import LEAST as LEAST_BUDGET
from manycc.node.distcc.budget import SHARE, Budget
from manycc.node.distcc.session import Session as DistccSession
from manycc.node.distcc.session import Shared
from manycc.node.distcc.system import SystemHeaders
from manycc.node.equivalent import Equivalents
from manycc.node.executor import Executor
from manycc.node.listening import BACKLOG, open_sockets
from manycc.node.mapped import MappedRunner
from manycc.node.options import NodeOptions
from manycc.node.owner import SAMPLE_S, Owner
from manycc.node.runner import Runner
from manycc.node.sandbox import Sandbox, find_sandbox
from manycc.node.sealed import SealedRunner
from manycc.node.server import Entrance, Farewell, Speaker
from manycc.node.session import Session
from manycc.node.shipping import INSTALLED_ONLY, UNSEALED, Shipping
from manycc.node.slots import Slots
from manycc.node.toolchains import ToolchainService
from manycc.node.uploads import Incoming
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.toolchain import added
from manycc.wire import distcc, native

STATE_INTERVAL_S: Final = 0.1
"""Changes of state are told together, this long after the first."""
KEEPALIVE_S: Final = 5.0
_log: Final = logging.getLogger("manycc.node")


class Connection(Protocol):
    """A peer's connection, whatever it speaks. ``jobs``: how many are under way."""

    @property
    def peer(self) -> str: ...

    @property
    def jobs(self) -> int: ...

    def push_state(self, frame: bytes) -> None:
        """Pass on a STATE frame, if that is spoken there."""

    def close(self, sentence: str, reason: Reason = ...) -> None:
        """Say why, and hang up; all its jobs are killed."""


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
        self._sessions: set[Connection] = set()
        self._joined: set[Connection] = set()
        self.distcc = Shared(Budget(max(LEAST_BUDGET, machine.memory_total() // SHARE)), SystemHeaders())
        self.counts = self.distcc.counts  # of both protocols
        self._counts: Counter[str] = Counter()
        self._runner: Runner
        self._servers: list[asyncio.Server] = []
        self._push: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._owner: Owner | None = None
        self._look: asyncio.TimerHandle | None = None
        self._all_idle = asyncio.Event()
        self.speakers: dict[bytes, Speaker] = {
            native.PREAMBLE: self._native,
            native.PREAMBLE_1: _too_old,
            distcc.PREAMBLE: self._distcc,
        }

    async def start(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Listen, on ``sockets`` if there are some already. ``port`` is then the real one.

        Raises ListenError, e.g. for a port in use; ConfigError if there is no sandbox though one is required.
        """
        options = self.options
        self.sandbox = await find_sandbox(options)
        runner: Runner = (
            SealedRunner(options, self.store, self.sandbox)
            if self.sandbox.kind == "bubblewrap"
            else MappedRunner(options, self.store, self.sandbox, self._digest_of)
        )
        self.executor = Executor(self.store, self.toolchains, runner, self.slots)
        if self.sandbox.kind == "bubblewrap":
            env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.path.expanduser("~")}
            folders = added.folders(os.environ)
            self.toolchains.equivalents = Equivalents(self.toolchains.identify, env, folders, self._digest_of)
        self.toolchains.shipping = Shipping(self.store, self.executor, self._no_shipping())
        self._runner = runner
        loop = asyncio.get_running_loop()
        if sockets is None:
            sockets = open_sockets(options.listen, options.port)
        for one in sockets:
            self._servers.append(await loop.create_server(self._entrance, sock=one, backlog=BACKLOG))
        self.port = sockets[0].getsockname()[1] if sockets else 0
        self._keepalive = loop.call_later(KEEPALIVE_S, self._keep_alive)
        self._give_way()
        _log.info(
            "%s, %d slots, store %s of at most %d MiB, sandbox: %s%s",
            f"listening on {' and '.join(sorted({one.getsockname()[0] for one in sockets}))} port {self.port}"
            if sockets
            else f"taking jobs from {options.join.partition('?')[0]}"
            if options.join
            else "serving one client",
            options.slots,
            self.store.root,
            self.store.limit >> 20,
            self.sandbox.kind,
            f" ({self.sandbox.why})" if self.sandbox.why else "",
        )

    def attach(self, session: Connection) -> None:
        """Have a connection that this node made itself, to take jobs from there."""
        self._joined.add(session)
        self._sessions.add(session)

    def reconfigure(self, options: NodeOptions) -> None:
        """Go by other options from now on: who may connect, the slots, and what bounds a job.

        What a node is built on (its addresses, store, sandbox and name) stays as it was at the start.
        """
        self.options = options
        self._runner.reconfigure(options)
        if self.toolchains.shipping is not None:
            self.toolchains.shipping.forbid(self._no_shipping())
        if not options.when_idle:
            self.slots.resize(options.slots)
        self._give_way()
        for session in list(self._sessions):
            if session not in self._joined and not may_connect(session.peer.rpartition(":")[0], options.allow):
                _log.warning("%s is not allowed to connect any more", session.peer)
                session.close("you are not allowed to connect any more")
        self._tell_state()

    async def drain(self) -> None:
        """Take no more jobs; return when those under way are done, or ``drain_time`` has passed."""
        self.closing = True
        self._close_servers()
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
        """Close everything; jobs under way are killed. Return when nothing of them is left.

        Agents are waited for until they have hung up, too: what they sent in that moment and nobody has read would
        make the kernel reset the connection, and the goodbye could be lost.
        """
        self.closing = True
        self._close_servers()
        for session in list(self._sessions):
            session.close("the node is closing", Reason.NODE_BUSY)
        while self._sessions:
            self._all_idle.clear()
            await self._all_idle.wait()
        for timer in (self._push, self._keepalive, self._look):
            if timer is not None:
                timer.cancel()
        self.slots.close()
        if hasattr(self, "executor"):
            self.executor.close()
        if self.toolchains.shipping is not None:
            self.toolchains.shipping.close()
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

    def session_ended(self, session: Connection) -> None:
        """Both sides have hung up, and none of its jobs is left."""
        self._sessions.discard(session)
        self._joined.discard(session)
        self._all_idle.set()

    def job_ended(self, session: Connection) -> None:
        """A job was answered."""
        if self.closing:
            self._dismiss_if_idle(session)
            self._all_idle.set()

    # -- inside

    def _no_shipping(self) -> str:
        """Why no toolchains are taken that agents send; "" if they are."""
        if self.options.toolchains == "installed-only":
            return INSTALLED_ONLY
        return "" if self.sandbox.kind == "bubblewrap" else UNSEALED

    def _give_way(self) -> None:
        """Offer what others leave of the machine, from now on, if that is how it is to be."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if not self.options.when_idle:
            self._owner = None
            return
        if self._owner is None:
            self._owner = Owner(os.cpu_count() or 1)
        count = self._owner.slots(self.options.slots)
        if count != self.slots.count:
            _log.info("%d of %d slots: others use the rest of the machine", count, self.options.slots)
            self.slots.resize(count)
            self._changed()
        self._look = asyncio.get_running_loop().call_later(SAMPLE_S, self._give_way)

    def _entrance(self) -> Entrance:
        return Entrance(self.options.allow, self.speakers, self._counts)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()

    def _native(self, peer: str) -> asyncio.Protocol | str:
        if self.closing:
            return "not served: the node is closing"
        session = Session(self, peer)
        self._sessions.add(session)
        return session

    def _distcc(self, peer: str) -> asyncio.Protocol | str:
        session = DistccSession(self, peer)
        self._sessions.add(session)
        return session

    def _dismiss_if_idle(self, session: Connection) -> None:
        if not session.jobs:
            session.close("the node is closing", Reason.NODE_BUSY)

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
