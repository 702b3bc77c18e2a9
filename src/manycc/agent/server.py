"""The agent's process: its socket, its connections, its life and end.

One process a user (and a MANYCC_DIR). It holds none of its starter's descriptors, answers only its
own user, ends itself when nothing has happened for a while, and makes way for another version.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import logging
import os
import signal
import socket
import struct
import sys
import time
from typing import Any, Final

from manycc import __version__
from manycc.agent.control import Control
from manycc.agent.flow import JobRunner, cancel_all
from manycc.agent.hosts import Hosts
from manycc.agent.prepare import Preparer
from manycc.config import Config
from manycc.errors import WireError
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.monitor.records import RecordLog
from manycc.schedule.local import LocalSlots
from manycc.toolchain.identity import Identifier
from manycc.wire import launcher as wire

log = logging.getLogger(__name__)

PING_S: Final = 3.0
IDLE_CHECK_S: Final = 5.0
REQUEST_S: Final = 10.0
DRAIN_S: Final = 3600.0


class Agent:
    """All that launcher connections share."""

    def __init__(self, config: Config) -> None:
        os.makedirs(config.cache_dir, exist_ok=True)
        os.makedirs(config.state_dir, exist_ok=True)
        self.config = config
        self.view = FileView(os.path.join(config.cache_dir, "files.sqlite"))
        self.collector = Collector(self.view, os.path.join(config.cache_dir, "manifests.sqlite"))
        self.identifier = Identifier(self.view.digest_of)
        self.preparer = Preparer(self.view, self.collector, self.identifier)
        self.local = LocalSlots(config.local_slots)
        self.hosts = Hosts(config, self.view, self.local)
        self.records = RecordLog(config.records_path, config.record_log_bytes)
        self.runner = JobRunner(self.preparer, self.local, self.hosts.pool_for, self.records, self.view.now)
        self.control = Control(self)
        self.connections: set[LauncherConnection] = set()
        self.started = time.monotonic()
        self.last_activity = self.started
        self.stopping = asyncio.Event()
        self.drained = asyncio.Event()

    def closed(self, connection: LauncherConnection) -> None:
        self.connections.discard(connection)
        self.last_activity = time.monotonic()
        if not self.connections:
            self.drained.set()

    def ping_all(self) -> None:
        """Tell every waiting launcher that the agent lives."""
        for connection in self.connections:
            connection.ping()


class LauncherConnection(asyncio.Protocol):
    """One launcher: one request, one answer, and its end."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._buffer = b""
        self._need = 0
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._lost = False
        self._answered = False
        self._arrived = 0
        self.pid = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        peer = transport.get_extra_info("socket")
        pid, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            log.warning("refused a connection of user %d", uid)
            transport.abort()
            return
        self.pid = pid
        self._agent.connections.add(self)
        self._agent.drained.clear()

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            return
        if self._buffer:
            data = self._buffer + data
        if len(data) < self._need or len(data) < 8:
            self._buffer = data
            return
        try:
            self._parse(data)
        except WireError as error:
            log.warning("a launcher's request is damaged: %s", error)
            if self._transport is not None:
                self._transport.abort()

    def _parse(self, data: bytes) -> None:
        magic = data[:4]
        length = int.from_bytes(data[4:8], "little")
        control = magic == wire.CONTROL_MAGIC
        if magic not in (wire.JOB_MAGIC, wire.EXPLAIN_MAGIC, wire.CONTROL_MAGIC):
            raise WireError("unknown magic")
        if length > (wire.MAX_CONTROL if control else wire.MAX_PAYLOAD):
            raise WireError("request too large")
        header = wire.CONTROL_HEADER.size if control else wire.JOB_HEADER.size
        self._need = header + length
        if len(data) < self._need:
            self._buffer = data
            return
        agent = self._agent
        self._buffer = b""
        loop = asyncio.get_running_loop()
        if control:
            self._task = loop.create_task(self._answer_json(agent.control.answer(data[header : self._need])))
        else:
            _, _, umask, flags, columns, argc = wire.JOB_HEADER.unpack_from(data)
            request = wire.parse_request((umask, flags, columns, argc), data[header : self._need])
            if request.version != __version__:
                self.answer(wire.OTHER_VERSION)
                log.info("a launcher of version %s arrived: making way", request.version)
                agent.stopping.set()
                return
            if agent.stopping.is_set():
                self.answer(wire.OTHER_VERSION)
                return
            self._arrived = agent.view.now()
            if magic == wire.EXPLAIN_MAGIC:
                self._task = loop.create_task(self._answer_json(agent.control.explain(request)))
            else:
                self._task = loop.create_task(agent.runner.run(request, self, self._arrived))
        self._task.add_done_callback(self._done)

    async def _answer_json(self, answer: Any) -> None:
        reply = await answer
        self.answer(wire.build_json(json.dumps(reply).encode()))

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed inside the agent", exc_info=task.exception())
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        elif self._task is not None and not self._task.done():
            self._task.cancel()
        self._agent.closed(self)

    # -- flow.Caller

    def answer(self, data: bytes) -> None:
        if self._transport is not None and not self._lost:
            self._answered = True
            self._transport.write(data)

    def gone(self) -> bool:
        if self._lost or self._transport is None:
            return True
        peer = self._transport.get_extra_info("socket")
        try:
            # The transport reads for us; an EOF it has not come to yet shows by peeking.
            fd = os.dup(peer.fileno())
        except OSError:
            return True
        with socket.socket(fileno=fd) as probe:
            try:
                return probe.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True

    async def wait_closed(self) -> None:
        if self._lost:
            return
        self._closed = asyncio.get_running_loop().create_future()
        await self._closed

    def ping(self) -> None:
        """A sign of life to a launcher that waits for its answer."""
        if self._transport is not None and not self._answered:
            self._transport.write(wire.PING)


def _listen(config: Config) -> tuple[socket.socket, int]:
    """The listening socket and the descriptor of the lock that makes this agent the only one."""
    runtime = config.ensure_runtime_dir()
    lock = os.open(os.path.join(runtime, "agent.run"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = os.open(runtime, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink("agent.sock", dir_fd=folder)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"/proc/self/fd/{folder}/agent.sock")  # however long the real path is
    finally:
        os.close(folder)
    listener.listen(1024)
    listener.setblocking(False)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return listener, lock


async def _run(config: Config) -> int:
    try:
        listener, lock = _listen(config)
    except BlockingIOError:
        log.warning("another agent is running for %s", config.runtime_dir)
        return 0
    loop = asyncio.get_running_loop()
    agent = Agent(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stopping.set)
    server = await loop.create_unix_server(lambda: LauncherConnection(agent), sock=listener)
    ready = os.environ.pop("MANYCC_READY_FD", "")
    if ready.isdigit():
        with contextlib.suppress(OSError):
            os.write(int(ready), b"1")
            os.close(int(ready))
    log.info("agent %s listens in %s (pid %d)", __version__, config.runtime_dir, os.getpid())
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    housekeeping = loop.create_task(_housekeeping(agent))
    await agent.stopping.wait()
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(config.runtime_dir, "agent.sock"))
    server.close()
    os.close(lock)  # a successor may begin; what runs here is finished first
    if agent.connections:
        agent.drained.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await agent.drained.wait()
    await cancel_all([housekeeping])
    await agent.hosts.close()
    agent.collector.close()
    agent.view.close()
    log.info("agent ends")
    return 0


async def _housekeeping(agent: Agent) -> None:
    idle = agent.config.idle_s
    waited = 0.0
    while True:
        await asyncio.sleep(PING_S)
        agent.ping_all()
        waited += PING_S
        if waited >= IDLE_CHECK_S or idle < IDLE_CHECK_S:
            waited = 0.0
            agent.view.flush()
            agent.collector.flush()
            await agent.hosts.retire_unused()
            if not agent.connections and time.monotonic() - agent.last_activity > idle:
                log.info("idle for %d s", idle)
                agent.stopping.set()
                return


def serve(config: Config) -> int:
    """Be the agent until told to stop or idle. Returns the exit code."""
    os.makedirs(config.state_dir, exist_ok=True)
    config.ensure_runtime_dir()
    path = os.path.join(config.state_dir, "agent.log")
    with contextlib.suppress(OSError):
        if os.path.getsize(path) > 4 * 1024 * 1024:
            os.replace(path, path + ".1")
    logging.basicConfig(
        filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    with contextlib.suppress(OSError):
        os.setsid()
    os.chdir("/")
    try:
        return asyncio.run(_run(config))
    except Exception:  # the process's boundary: the log is the only place left to say it
        log.exception("the agent failed")
        return 1
    finally:
        sys.stdout.flush()
