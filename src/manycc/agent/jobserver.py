"""Tokens lent to GNU make's jobserver while jobs are elsewhere, so that its -j need only fit this machine.

make counts all it has started against -j, and a job that a node does keeps its place though it costs
nothing here. So while a job is on a host, the agent puts one token more into the jobserver's pipe, from
which make, and whatever else speaks the protocol below it, starts one thing more; when the job is over a
token is taken out again. Links and whatever else is done here stay within -j.

The protocol is in GNU make's manual ("Sharing Job Slots with GNU make", "POSIX Jobserver Interaction"):
MAKEFLAGS names the pipe, by two descriptors of make itself or, from 4.4 on and for ninja from 1.13 on, by the
path of a fifo. Each byte in it is the right to run one thing besides the one that everybody has.

When make is through, it closes the pipe's writing end and reads until there are no writers (and says so if the
number is not what it was). That is why the writing end is never held open here, and why tokens are taken
back before the last launcher is answered.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

LEND_AFTER_S: Final = 0.01
"""A job that is over sooner is not worth a token."""
MAX_ANCESTORS: Final = 12
MAX_SERVERS: Final = 64
_TOKEN: Final = b"+"
_auth: Final = re.compile(r"--jobserver-(?:auth|fds)=(?:(\d{1,9}),(\d{1,9})|fifo:(\S+))")


class Jobserver:
    """One pipe: how many tokens are lent, and how many of them are owed back by whoever has them."""

    def __init__(self, fd: int, on_close: Callable[[], None]) -> None:
        """``fd``: its reading end, which does not block. It is this object's from now on."""
        self._fd = fd
        self._on_close = on_close
        self._lent = 0
        self._wanted = 0
        self._watched = False
        self.closed = False

    @property
    def lent(self) -> int:
        """Tokens in circulation that were not make's."""
        return self._lent

    def lend(self, end: str) -> None:
        """One job more is elsewhere. ``end``: a path that leads to the writing end."""
        self._wanted += 1
        if self.closed or self._lent >= self._wanted:
            return  # one that is owed is left instead
        try:
            writer = os.open(end, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # make has gone
        try:
            self._lent += os.write(writer, _TOKEN)
        except OSError as error:
            log.info("the jobserver takes no token: %s", error.strerror)
        finally:
            os.close(writer)

    def take_back(self) -> None:
        """One job less is elsewhere."""
        self._wanted -= 1
        self._collect()

    def close(self) -> None:
        """Let go of the pipe."""
        if not self.closed:
            self.closed = True
            self._unwatch()
            os.close(self._fd)
            self._on_close()

    def _collect(self) -> None:
        """Take out what is owed, as far as it is there; wait for the rest as long as the pipe lives."""
        while not self.closed and self._lent > self._wanted:
            try:
                token = os.read(self._fd, 1)
            except BlockingIOError:
                break
            except OSError:
                token = b""
            if not token:  # no writer is left: the build is over
                self.close()
                return
            self._lent -= 1
        if self.closed:
            return
        if self._lent > self._wanted:
            if not self._watched:
                self._watched = True
                asyncio.get_running_loop().add_reader(self._fd, self._collect)
        elif self._wanted:
            self._unwatch()
        else:
            self.close()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._fd)


class Loan:
    """A job's token, from the moment it is elsewhere until ``end``."""

    __slots__ = ("_auth", "_jobservers", "_pid", "_server", "_timer")

    def __init__(self, jobservers: Jobservers, auth: str, pid: int) -> None:
        self._jobservers = jobservers
        self._auth = auth
        self._pid = pid
        self._server: Jobserver | None = None
        self._timer = asyncio.get_running_loop().call_later(LEND_AFTER_S, self._begin)

    def _begin(self) -> None:
        found = self._jobservers.find(self._auth, self._pid)
        if found is not None:
            self._server, end = found
            self._server.lend(end)

    def end(self) -> None:
        """The job is over, or comes back here."""
        self._timer.cancel()
        if self._server is not None:
            self._server.take_back()
            self._server = None


class Jobservers:
    """The pipes of the builds that are under way."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Jobserver] = {}

    def loan(self, makeflags: str, pid: int) -> Loan | None:
        """Begin to lend for a job of launcher ``pid``; None if no jobserver is named in its MAKEFLAGS."""
        return Loan(self, makeflags, pid) if "--jobserver-" in makeflags else None

    def find(self, makeflags: str, pid: int) -> tuple[Jobserver, str] | None:
        """The jobserver that MAKEFLAGS names, and a path to its writing end; None if it cannot be had.

        Who names a pipe need not have it: make closes its descriptors for what it does not take for a make. It is
        looked for among the launcher's ancestors, for as long as they are this user's.
        """
        named = _auth.findall(makeflags)
        if not named:
            return None
        reader, writer, fifo = named[-1]
        if fifo:
            return self._open(fifo, fifo, fifo=True)
        for _ in range(MAX_ANCESTORS):
            pid = _parent(pid)
            if pid <= 1:
                return None
            ends = f"/proc/{pid}/fd/{reader}", f"/proc/{pid}/fd/{writer}"
            try:
                pipe = os.readlink(ends[0])
                if not pipe.startswith("pipe:[") or os.readlink(ends[1]) != pipe:
                    continue
            except FileNotFoundError:
                continue
            except OSError:
                return None
            return self._open(*ends, fifo=False)
        return None

    def close(self) -> None:
        """Let go of all pipes."""
        for server in list(self._known.values()):
            server.close()

    def _open(self, reader: str, writer: str, *, fifo: bool) -> tuple[Jobserver, str] | None:
        try:
            before = os.stat(reader)
            if not stat.S_ISFIFO(before.st_mode) or (fifo and before.st_uid != os.getuid()):
                return None
            key = before.st_dev, before.st_ino
            server = self._known.get(key)
            if server is not None:
                return server, writer
            if len(self._known) >= MAX_SERVERS:
                return None
            fd = os.open(reader, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        opened = os.fstat(fd)
        if (opened.st_dev, opened.st_ino) != key:
            os.close(fd)
            return None

        def forget() -> None:
            self._known.pop(key, None)

        server = self._known[key] = Jobserver(fd, forget)
        return server, writer


def _parent(pid: int) -> int:
    """The parent's process number, proc(5); 0 if there is none to be seen."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read(1024).rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
