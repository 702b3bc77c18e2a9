"""One sealed process: started, watched, bounded, killed for certain, and what it used.

A child is not run through asyncio's own subprocesses: those cannot tell what a child has used, and
cost a millisecond more. Here it is a pidfd and two pipes in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

KILL_AGAIN_S: Final = 1.0
OOM_SCORE: Final = 500
"""Of 1000: added to what a process is to the kernel that looks for one to kill."""
_CHUNK: Final = 256 * 1024


@contextlib.contextmanager
def _taken_first() -> Iterator[None]:
    """What is started meanwhile is what the kernel takes where memory runs out, not the node.

    The score is inherited, so it is there before the compiler is; set afterwards it could come too late.
    """
    before = _swap_score(str(OOM_SCORE))
    try:
        yield
    finally:
        if before:
            _swap_score(before)


def _swap_score(score: str) -> str:
    """Set this process's oom_score_adj (proc(5)). Returns what it was; empty if it cannot be set."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            before = file.read().strip()
            file.seek(0)
            file.write(score)
    except OSError:
        return ""
    return before


class Finished(NamedTuple):
    """How a child ended.

    ``signal`` is the number of the one that ended it, 0 if none; ``stopped`` says why it was killed
    from here: "" (it was not), "text", "time", "disk" or "cancel". ``cpu`` and ``wall`` in seconds, ``rss``
    (of the largest process) in bytes.
    """

    exit_code: int
    signal: int
    stdout: bytes
    stderr: bytes
    cpu: float
    wall: float
    rss: int
    stopped: str


class Child:
    """A child process. ``await child.finished`` for its end; never cancel that, call ``kill``."""

    def __init__(
        self,
        line: Sequence[str],
        env: Mapping[str, str],
        umask: int,
        *,
        text_limit: int,
        time_limit: float,
        sealed: bool = True,
        cwd: str = "/",
        terminal: bool = False,
    ) -> None:
        """Start it. Raises OSError.

        ``text_limit`` in bytes for each of stdout and stderr, ``time_limit`` in seconds. ``sealed``:
        the line is bubblewrap's, whose first child holds all others in a namespace. ``terminal``: its stderr
        is one, since compilers choose colours, links and widths by that.
        """
        loop = self._loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[Finished] = loop.create_future()
        self._stopped = ""
        self._sealed = sealed
        self._text_limit = text_limit
        self._texts: dict[int, bytearray] = {}
        self._started = time.monotonic()
        ends: list[int] = []
        try:
            ends += os.pipe2(os.O_CLOEXEC)
            ends += _terminal() if terminal else os.pipe2(os.O_CLOEXEC)
            with _taken_first():
                self._process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=ends[1],
                    stderr=ends[3],
                    env=env,
                    umask=umask,
                    cwd=cwd,
                    start_new_session=True,
                )
        except OSError:
            for end in ends:
                os.close(end)
            raise
        os.close(ends[1])
        os.close(ends[3])
        self.pid = self._process.pid
        self._pipes = (ends[0], ends[2])
        for end in self._pipes:
            os.set_blocking(end, False)
            self._texts[end] = bytearray()
            loop.add_reader(end, self._readable, end)
        self._timer = loop.call_later(time_limit, self.kill, "time")
        self._insist: asyncio.TimerHandle | None = None
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._pidfd = -1  # a kernel before 5.3
            threading.Thread(target=self._wait_in_thread, daemon=True).start()
        else:
            loop.add_reader(self._pidfd, self._ended)

    def kill(self, why: str) -> None:
        """Kill it with everything it started. ``why`` goes into ``Finished.stopped``."""
        if self.finished.done():
            return
        self._stopped = self._stopped or why
        # The first process within the sandbox takes all others there with it, and is reaped by
        # bubblewrap, which then ends by itself. Before that one exists there is only our own child.
        if not self._sealed or self._insist is not None or not _kill_children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        if self._insist is None:
            self._insist = self._loop.call_later(KILL_AGAIN_S, self.kill, why)

    def _readable(self, end: int) -> None:
        try:
            data = _read(end)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(end)
            return
        text = self._texts[end]
        text += data
        if len(text) > self._text_limit:
            self._loop.remove_reader(end)
            self.kill("text")

    def _wait_in_thread(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop may be closed
            self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        self._timer.cancel()
        if self._insist is not None:
            self._insist.cancel()
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        for end in self._pipes:
            self._loop.remove_reader(end)
            text = self._texts[end]
            with contextlib.suppress(BlockingIOError):
                while len(text) <= self._text_limit and (data := _read(end)):
                    text += data
            os.close(end)
        stdout, stderr = (bytes(self._texts[end]) for end in self._pipes)
        ended_by = -code if code < 0 else code - 128 if 128 < code < 128 + signal.NSIG else 0
        if len(stdout) > self._text_limit or len(stderr) > self._text_limit:
            self._stopped = self._stopped or "text"
        self.finished.set_result(
            Finished(
                code if code >= 0 else 128 - code,
                ended_by,
                stdout,
                stderr,
                usage.ru_utime + usage.ru_stime,
                time.monotonic() - self._started,
                usage.ru_maxrss * 1024,
                self._stopped,
            )
        )


def _terminal() -> tuple[int, int]:
    """The end to read from and the child's end of a new terminal, which changes nothing of what is written."""
    ours, theirs = os.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def _read(end: int) -> bytes:
    """What is there to read; nothing at the end. Raises BlockingIOError if there is nothing yet."""
    try:
        return os.read(end, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""  # a terminal that nobody has open any more


def _kill_children(pid: int) -> bool:
    """Kill the children of a process; whether there were any."""
    killed = False
    for child in _children(pid):
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(child)
            try:
                # Between being listed and being opened the number may have come to be another's.
                if child in _children(pid):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
                    killed = True
            finally:
                os.close(fd)
    return killed


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(text) for text in file.read().split()]
    except OSError:
        return []
