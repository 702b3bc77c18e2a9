"""The life of a node's process: what it takes with it, who it becomes, what it is told, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from manycc import mainloop
from manycc.config import folders
from manycc.daemon import systemd
from manycc.daemon.background import PidFile, Report, detach, die_with_parent
from manycc.daemon.logs import Log, plain_form
from manycc.daemon.reload import Reloader
from manycc.daemon.settings import NodeSettings
from manycc.daemon.stats import StatsServer
from manycc.engine.address import parse_engine
from manycc.engine.extra import importing
from manycc.errors import ConfigError, ManyccError
from manycc.hostlist import MAX_SLOTS
from manycc.inputs.fileview import FileView
from manycc.node.listening import open_sockets
from manycc.node.privileges import account, drop_root
from manycc.node.service import Node

if TYPE_CHECKING:
    from manycc.engine.worker import Worker

MAX_OPEN_FILES: Final = 65536
_log: Final = logging.getLogger("manycc.node")


@dataclass(slots=True)
class Start:
    """How a node is to be started, besides its settings.

    ``load`` reads the settings, now and at each reload. ``lifetime`` in seconds, 0 for ever.
    ``ready_fd`` is where the port is written once it listens.
    """

    load: Callable[[], NodeSettings]
    env: Mapping[str, str]
    program: str = "manycc node"
    detach: bool = False
    ready_fd: int | None = None
    die_with_parent: bool = False
    announce: bool = True
    lifetime: int = 0
    form: logging.Formatter = field(default_factory=plain_form)
    log_file: str = ""
    """Where the log goes unless a setting says otherwise; empty for stderr."""
    failed: int = 1
    """The exit code of one that cannot start."""


def run(start: Start, settings: NodeSettings) -> int:
    """Serve until told to end; the exit code. Raises ManyccError if it cannot start."""
    env = start.env
    options = settings.options(env)
    log = Log(start.form)
    log_file = start.log_file
    if start.detach and not log_file and "log_file" not in settings.values:
        log_file = default_log(env)
    reloader = Reloader(start.load, settings, env, log, log_file)
    report = Report()
    pid_file: PidFile | None = None
    sockets: list[socket.socket] = []
    stats: list[socket.socket] = []
    try:
        _check_temporary(settings, options.store)
        if log_file:
            os.makedirs(os.path.dirname(log_file), mode=0o700, exist_ok=True)
        reloader.open_log()
        for note in settings.notes:
            _log.warning("%s", note)
        reloader.be_nice()
        _adjust(settings)
        # Before root's rights are given up, which some ports take, and while somebody reads what goes wrong.
        if not options.join:
            sockets += systemd.sockets_passed(env) or open_sockets(options.listen, options.port)
        if "stats_port" in settings.values:
            stats += open_sockets(options.listen, settings.get("stats_port"))
        if start.detach:
            report = detach(start.program, start.failed)
        if "pid_file" in settings.values:
            pid_file = PidFile(settings.get("pid_file"))
        give_up_root(settings, options.store, log)
        if start.die_with_parent:
            die_with_parent()  # last: the kernel forgets it when the user changes
        node = Node(options, FileView().digest_of)
        served = StatsServer(node, stats)
        return mainloop.run(_Life(start, node, reloader, report).serve(sockets, served))
    except ManyccError as error:
        if report.awaited:
            _log.error("%s", error)
            report.tell(str(error))
            return start.failed
        raise
    except OSError as error:
        _log.error("the node cannot run: %s", error)
        report.tell(str(error))
        raise ManyccError("the node cannot run", str(error)) from error
    finally:
        for one in (*sockets, *stats):
            one.close()
        log.close()
        if pid_file is not None:
            pid_file.remove()


def default_log(env: Mapping[str, str]) -> str:
    """Where a node in the background logs, unless it is told."""
    if os.geteuid() == 0 and not env.get("MANYCC_DIR") and not env.get("XDG_STATE_HOME"):
        return "/var/log/manycc-node.log"
    return os.path.join(folders(env)["state_dir"], "node.log")


def _adjust(settings: NodeSettings) -> None:
    """Raises ManyccError."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What is usual serves a shell; agents, jobs and large outputs each take some.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, MAX_OPEN_FILES), files))
    if "oom_score_adj" in settings.values:
        try:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(settings.get("oom_score_adj")))
        except OSError as error:
            raise ManyccError("oom_score_adj cannot be set", error.strerror or "", "below 0 takes root") from error


def _check_temporary(settings: NodeSettings, store: str) -> None:
    """Anybody can make a folder in a temporary one: a store there must be ours. Raises ConfigError, OSError."""
    if "tmpdir" not in settings.values or "store" in settings.values:
        return
    with contextlib.suppress(FileExistsError):
        os.mkdir(store, 0o700)
    found = os.lstat(store)
    owners = {os.geteuid()}
    if os.geteuid() == 0:
        with contextlib.suppress(ConfigError):
            owners.add(account(settings.get("user")).pw_uid)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o022:
        raise ConfigError(
            f"the store {store} is not to be trusted",
            "it is no folder of this node's user alone",
            "name another --store",
        )


def give_up_root(settings: NodeSettings, store: str, log: Log) -> None:
    user = settings.get("user")
    if os.geteuid() == 0 and user != "root":
        with contextlib.suppress(ConfigError):
            owner = account(user)
            log.give(owner.pw_uid, owner.pw_gid)
    why_root = drop_root(user, store)
    if why_root:
        _log.warning("running as root, so processes of jobs are not counted: %s", why_root)


def _join(node: Node) -> Worker:
    """Make a node an engine's worker. Raises ManyccError."""
    with importing():
        from manycc.engine.worker import Worker  # takes long to import, and few nodes need it
    worker = Worker(node, parse_engine(node.options.join, MAX_SLOTS))
    node.attach(worker)
    return worker


class _Life:
    """A node that serves, and listens to signals."""

    def __init__(self, start: Start, node: Node, reloader: Reloader, report: Report) -> None:
        self._start = start
        self._node = node
        self._reloader = reloader
        self._report = report
        self._asked: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def serve(self, sockets: list[socket.socket], stats: StatsServer) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked.put_nowait, number)
        node, env = self._node, self._start.env
        worker: Worker | None = None
        try:
            await node.start(sockets)
            await stats.start()
            if node.options.join:
                worker = _join(node)
            # What lives now lives for good: keep the collector from looking at it again and again.
            gc.collect()
            gc.freeze()
            if self._start.lifetime:
                loop.call_later(self._start.lifetime, self._asked.put_nowait, signal.SIGINT)
            self._announce(sockets)
            await self._until_told()
        finally:
            systemd.notify(env, "STOPPING=1", "STATUS=ending")
            stats.close()
            await node.stop()
        # One that lost its engine for a fault of its own is to be started again by whoever looks after it.
        return 1 if worker is not None and worker.broken else 0

    def _announce(self, sockets: list[socket.socket]) -> None:
        node = self._node
        where = " and ".join(dict.fromkeys(one.getsockname()[0] for one in sockets))
        systemd.notify(self._start.env, "READY=1", self._status())
        if self._start.ready_fd is not None:
            with contextlib.suppress(OSError), open(self._start.ready_fd, "w", encoding="ascii") as ready:
                ready.write(f"{node.port}\n")
        elif self._start.announce and not self._report.awaited:
            print(self._doing(where), flush=True)
        self._report.tell()

    def _status(self) -> str:
        return f"STATUS={self._doing('')}, {self._node.options.slots} slots"

    def _doing(self, where: str) -> str:
        if self._node.options.join:
            return f"taking jobs from {parse_engine(self._node.options.join, MAX_SLOTS).name}"
        return f"listening on {where + ' ' if where else ''}port {self._node.port}"

    async def _until_told(self) -> None:
        """Wait for SIGTERM, then for the jobs; or for SIGINT, or a second signal, and for nothing more."""
        while (told := await self._asked.get()) is signal.SIGHUP:
            systemd.notify(self._start.env, *systemd.reloading())
            self._reloader.reload(self._node)
            systemd.notify(self._start.env, "READY=1", self._status())
        if told is signal.SIGINT:
            _log.info("interrupted")
            return
        _log.info("asked to end: finishing the jobs under way")
        systemd.notify(self._start.env, "STOPPING=1", "STATUS=finishing the jobs under way")
        drained = asyncio.create_task(self._node.drain())
        again = asyncio.create_task(self._again())
        await asyncio.wait((drained, again), return_when=asyncio.FIRST_COMPLETED)
        for task in (drained, again):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _again(self) -> None:
        while await self._asked.get() is signal.SIGHUP:
            pass
