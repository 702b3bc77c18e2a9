"""The agent's process: its socket, its connections, its life and end.

One process a user (and a MANYCC_DIR). It holds none of its starter's descriptors, answers only its
own user, ends itself when nothing has happened for a while, and makes way for another version.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from manycc import __version__, mainloop
from manycc.agent.control import Control
from manycc.agent.copies import Copies
from manycc.agent.flow import JobRunner, cancel_all
from manycc.agent.handed import Handed
from manycc.agent.hosts import Hosts
from manycc.agent.listener import Listener, listen
from manycc.agent.prepare import Preparer
from manycc.agent.sampler import Sampler as LoadSampler
from manycc.agent.unfinished import Unfinished
from manycc.config import ON, Config, load
from manycc.errors import WireError
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.monitor import samples
from manycc.monitor.records import RecordLog
from manycc.schedule.dispatch import Dispatcher
from manycc.schedule.learned import Learned
from manycc.schedule.local import LocalSlots
from manycc.toolchain.identity import Identifier
from manycc.verify.field import Verifier
from manycc.verify.quarantine import Quarantine
from manycc.verify.recompile import Recompiler
from manycc.verify.report import Reports
from manycc.verify.sample import Sample, Sampler
from manycc.wire import launcher as wire

log = logging.getLogger(__name__)

PING_S: Final = 3.0
IDLE_CHECK_S: Final = 5.0
REQUEST_S: Final = 10.0
DRAIN_S: Final = 3600.0
_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_READ: Final = 262_144


class Agent:
    """All that launcher connections share."""

    def __init__(self, config: Config) -> None:
        with contextlib.suppress(OSError):  # whatever is kept there is done without
            os.makedirs(config.cache_dir, exist_ok=True)
        self.config = config
        self.view = FileView(os.path.join(config.cache_dir, "files.sqlite"))
        self.collector = Collector(self.view, os.path.join(config.cache_dir, "manifests.sqlite"))
        self.identifier = Identifier(self.view.digest_of)
        self.preparer = Preparer(self.view, self.collector, self.identifier)
        self.local = LocalSlots(config.local_slots)
        self.quarantine = Quarantine(config.quarantine_path, self.view.digest_of)
        self.learned = Learned(config.learned_path)
        self.hosts = Hosts(config, self.view, self.local, self.quarantine, self.learned)
        self.records = RecordLog(config.records_path, config.record_log_bytes)
        self.unfinished = Unfinished(config.runtime_dir)
        self.handed = Handed(config.runtime_dir, self.records)
        recompiler = Recompiler(config.recompile_dir)
        self.dispatcher = Dispatcher(self.learned, self.local, config.race == ON)
        self.verifier = Verifier(
            Sampler(config.verify),
            recompiler,
            self.quarantine,
            Reports(config.reports_dir),
            RecordLog(config.verifications_path, config.record_log_bytes),
            config.records_path,
            self._holds,
            lambda: (self.runner.started, self.runner.running > 0),
        )
        self.runner = JobRunner(
            self.preparer,
            self.local,
            self.hosts.pool_for,
            self.records,
            self.view.now,
            self.unfinished,
            self.handed,
            self.verifier,
            self.quarantine.sentence,
            self.hosts.exact_for,
            self.dispatcher,
            Copies(recompiler),
        )
        self.sampler = LoadSampler(
            self.runner, self.local, self.hosts, RecordLog(config.samples_path, samples.LOG_BYTES)
        )
        self.control = Control(self)
        self.connections: set[LauncherConnection] = set()
        self.started = time.monotonic()
        self.last_activity = self.started
        self.stopping = asyncio.Event()
        self.drained = asyncio.Event()
        self.on_closed: Callable[[], None] | None = None

    async def _holds(self, sample: Sample) -> bool:
        return await self.preparer.still_the_same(sample.prepared, sample.request, self.view.now())

    def closed(self, connection: LauncherConnection) -> None:
        self.connections.discard(connection)
        self.last_activity = time.monotonic()
        if self.on_closed is not None:
            self.on_closed()
        if not self.connections:
            self.drained.set()

    def ping_all(self) -> None:
        """Tell every waiting launcher that the agent lives."""
        for connection in tuple(self.connections):
            connection.ping()


class LauncherConnection:
    """One launcher: one request, one answer, and its end.

    On a plain socket, not an asyncio transport: at one request a connection, a transport's set-up and
    the extra turns of the loop would be a sixth of the agent's work for a warm job.
    """

    def __init__(self, agent: Agent, sock: socket.socket) -> None:
        self._agent = agent
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._need = 8
        self._unsent = b""
        self._task: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._open = True
        self.gave_up = False
        self._answered = False
        self._came = self._loop.time()
        self.pid, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if uid != os.getuid():
            log.warning("refused a connection of user %d", uid)
            self._open = False
            sock.close()
            return
        agent.connections.add(self)
        agent.drained.clear()
        self._loop.add_reader(sock.fileno(), self._readable)
        self._readable()  # the request is mostly there already

    def _readable(self) -> None:
        if not self._open:
            return
        try:
            data = self._socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._ended()
        elif self._task is not None:
            self.gave_up |= data == wire.GAVE_UP
        else:
            if self._buffer:
                data = self._buffer + data
            if len(data) < self._need:
                self._buffer = data
                return
            try:
                self._parse(data)
            except WireError as error:
                log.warning("a launcher's request is damaged: %s", error)
                self._close()

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
        self.gave_up = data[self._need :] == wire.GAVE_UP
        agent = self._agent
        self._buffer = b""
        if control:
            self._run(self._answer_json(agent.control.answer(data[header : self._need])))
            return
        _, _, umask, flags, columns, argc = wire.JOB_HEADER.unpack_from(data)
        request = wire.parse_request((umask, flags, columns, argc), data[header : self._need])
        if request.version != __version__:
            log.info("a launcher of version %s arrived: making way", request.version)
            agent.stopping.set()
        if agent.stopping.is_set():
            self.answer(wire.OTHER_VERSION)
            self._close()
            return
        since = agent.view.now()
        if magic == wire.EXPLAIN_MAGIC:
            self._run(self._answer_json(agent.control.explain(request)))
        else:
            self._run(agent.runner.run(request, self, since))
            agent.sampler.wake()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._done)

    async def _answer_json(self, answer: Awaitable[dict[str, Any]]) -> None:
        reply = await answer
        self.answer(wire.build_json(json.dumps(reply).encode()))

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("a request failed inside the agent", exc_info=task.exception())
        if not self._unsent:
            self._close()

    def _ended(self) -> None:
        """The launcher, or the compiler it became, has closed its end."""
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        elif self._task is not None and not self._task.done():
            self._task.cancel()
        self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            if self._unsent:
                self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._agent.closed(self)

    def _writable(self) -> None:
        data, self._unsent = self._unsent, b""
        self._loop.remove_writer(self._socket.fileno())
        self._send(data)
        if not self._unsent and self._task is not None and self._task.done():
            self._close()

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # it is gone, as the next read will show
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket.fileno(), self._writable)

    # -- flow.Caller

    def answer(self, data: bytes) -> None:
        if self._open:
            self._answered = True
            if self._unsent:
                self._unsent += data
            else:
                self._send(data)

    def gone(self) -> bool:
        if not self._open:
            return True
        try:
            self.gave_up |= self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == wire.GAVE_UP
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            pass
        return True

    async def wait_closed(self) -> None:
        if self._open:
            self._closed = self._loop.create_future()
            await self._closed

    def ping(self) -> None:
        """A sign of life to a launcher that waits for its answer; the end of one that does not ask."""
        if self._task is None and self._loop.time() - self._came > REQUEST_S:
            self._close()
        elif self._open and not self._answered and not self._unsent:
            self._send(wire.PING)


async def _run(config: Config) -> int:
    try:
        listener, lock = listen(config)
    except BlockingIOError:
        log.warning("another agent is running for %s", config.runtime_dir)
        return 0
    loop = asyncio.get_running_loop()
    agent = Agent(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stopping.set)
    server = Listener(listener, lambda sock: LauncherConnection(agent, sock), lambda: len(agent.connections))
    agent.on_closed = server.closed
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
    await agent.verifier.close()  # it writes what a successor reads when it begins
    os.close(lock)  # a successor may begin; what runs here is finished first
    if agent.connections:
        agent.drained.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await agent.drained.wait()
    await cancel_all([housekeeping])
    await agent.verifier.close()
    agent.sampler.close()
    agent.dispatcher.close()
    agent.learned.save()
    await agent.hosts.close()
    agent.collector.close()
    agent.view.close()
    agent.unfinished.close()
    agent.handed.close()
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
            if not agent.connections and time.monotonic() - agent.last_activity > IDLE_CHECK_S:
                agent.learned.save()  # a hundred thousand sources take a moment
            await agent.hosts.retire_unused()
            at_work = agent.connections or agent.verifier.busy or agent.hosts.sending()
            if not at_work and time.monotonic() - agent.last_activity > idle and not agent.stopping.is_set():
                log.info("idle for %d s", idle)
                agent.stopping.set()


def _open_log(path: str) -> None:
    """An agent without a log is better than none: its folder may be full, or read-only."""
    handler: logging.Handler = logging.NullHandler()
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path) and os.path.getsize(path) > 4 * 1024 * 1024:
            os.replace(path, path + ".1")
        handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def serve(config: Config) -> int:
    """Be the agent until told to stop or idle. Returns the exit code."""
    config.ensure_runtime_dir()
    _open_log(config.agent_log_path)
    with contextlib.suppress(OSError):
        os.setsid()
    os.chdir("/")
    # One descriptor a launcher: a build with -j2000 needs more than the customary 1024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The environment is that of whoever started the agent; each job brings its own.
    of_jobs = ("MANYCC_HOSTS", "MANYCC_VERIFY", "MANYCC_SAME_BYTES")
    kept = {name: value for name, value in os.environ.items() if name not in of_jobs}
    others = load(kept, distcc=False)
    config = dataclasses.replace(
        config, hosts=others.hosts, verify=others.verify, same_bytes=others.same_bytes, origins=others.origins
    )
    try:
        return mainloop.run(_run(config))
    except Exception:  # the process's boundary: the log is the only place left to say it
        log.exception("the agent failed")
        return 1
    finally:
        sys.stdout.flush()
