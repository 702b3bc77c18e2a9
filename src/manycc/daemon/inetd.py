"""One client that is connected to stdin and stdout already: by a super-server, or by ssh."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections import Counter
from typing import Final

from manycc import mainloop
from manycc.daemon.logs import Log
from manycc.daemon.relay import relay
from manycc.daemon.reload import Reloader
from manycc.daemon.serve import Start, default_log, give_up_root
from manycc.daemon.settings import NodeSettings
from manycc.errors import ManyccError
from manycc.inputs.fileview import FileView
from manycc.node.server import Entrance
from manycc.node.service import Node

FLUSH_S: Final = 30.0
"""For what is read at the other end to be read."""


def serve_one(settings: NodeSettings, start: Start) -> int:
    """Serve until the connection ends; the exit code. Raises ManyccError if it cannot start.

    Whoever started this decided who may come; networks that are allowed are looked at if any were named.
    """
    options = settings.options(start.env)
    log = Log(start.form)
    log_file = start.log_file or default_log(start.env)
    try:
        os.makedirs(os.path.dirname(log_file), mode=0o700, exist_ok=True)
        reloader = Reloader(start.load, settings, start.env, log, log_file)
        reloader.open_log()
        reloader.be_nice()
        give_up_root(settings, options.store, log)
        return mainloop.run(_serve(Node(options, FileView().digest_of), "allow" in settings.values))
    except OSError as error:
        raise ManyccError("the client cannot be served", str(error)) from error


async def _serve(node: Node, limited: bool) -> int:
    over = asyncio.Event()
    entrance = _OnlyEntrance(node, limited, over)
    try:
        await node.start(())
        sent = None
        if stat.S_ISSOCK(os.fstat(0).st_mode) and _same():
            connection = socket.socket(fileno=os.dup(0))
        else:
            connection, theirs = socket.socketpair()
            sent = relay(theirs)
        connection.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: entrance, connection)
        await over.wait()
        if sent is not None:
            await asyncio.to_thread(sent.join, FLUSH_S)
    finally:
        await node.stop()
    return 0


class _OnlyEntrance(Entrance):
    """The one connection there is."""

    def __init__(self, node: Node, limited: bool, over: asyncio.Event) -> None:
        super().__init__(node.options.allow if limited else None, node.speakers, Counter())
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._over.set()


def _same() -> bool:
    """Whether stdin and stdout are one socket."""
    with contextlib.suppress(OSError):
        return os.path.sameopenfile(0, 1)
    return False
