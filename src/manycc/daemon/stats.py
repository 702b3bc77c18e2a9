"""Counters of a node as distccd serves them: text over HTTP, on a port of its own, to those who may connect.

One answer whatever is asked; lines of ``name value`` that tools made for distccd read. Jobs of both
protocols count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections import deque
from typing import Final

from manycc.node import machine
from manycc.node.access import may_connect
from manycc.node.service import Node

SAMPLE_S: Final = 1.0
MINUTES: Final = (1, 5, 15)
REQUEST_S: Final = 5.0
MAX_REQUEST: Final = 16 * 1024
MAX_OPEN: Final = 32
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class StatsServer:
    """Serves a node's counters on sockets that listen already; none, and it does nothing."""

    def __init__(self, node: Node, sockets: list[socket.socket]) -> None:
        self._node = node
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._samples: deque[tuple[int, int]] = deque(maxlen=int(60 * MINUTES[-1] / SAMPLE_S))
        """Busy slots, and compiles done so far, each ``SAMPLE_S``."""
        self._timer: asyncio.TimerHandle | None = None
        self._open = 0

    async def start(self) -> None:
        """Begin to serve, and to look at the node."""
        for one in self._sockets:
            self._servers.append(await asyncio.start_server(self._answer, sock=one, limit=MAX_REQUEST))
        if self._sockets:
            self._sample()

    def close(self) -> None:
        """End it."""
        for server in self._servers:
            server.close()
        if self._timer is not None:
            self._timer.cancel()

    def text(self) -> str:
        """All counters of this moment."""
        node, counts = self._node, self._node.counts
        done = counts.compiled + counts.compile_errors
        longest = counts.longest or "none"
        lines: list[tuple[str, object]] = [
            ("dcc_tcp_accept", counts.accepted),
            ("dcc_rej_bad_req", counts.bad_requests),
            ("dcc_rej_overload", 0),
            ("dcc_compile_ok", counts.compiled),
            ("dcc_compile_error", counts.compile_errors),
            ("dcc_compile_timeout", counts.timeouts),
            ("dcc_cli_disconnect", counts.disconnects),
            ("dcc_other", counts.others + counts.refused),
            ("dcc_longest_job", _word(longest)),
            ("dcc_longest_job_compiler", _word(counts.longest_compiler or "none")),
            ("dcc_longest_job_time_msecs", int(counts.longest_s * 1000) if counts.longest else -1),
            ("dcc_max_kids", node.slots.count),
        ]
        windows = [list(self._samples)[-int(60 * minutes / SAMPLE_S) :] for minutes in MINUTES]
        for number, window in enumerate(windows, 1):
            lines.append((f"dcc_avg_kids{number}", round(sum(busy for busy, _ in window) / max(1, len(window)))))
        lines.append(("dcc_current_load", node.slots.busy))
        lines += [(f"dcc_load{number}", f"{load:.2f}") for number, load in enumerate(os.getloadavg(), 1)]
        for number, window in enumerate(windows, 1):
            lines.append((f"dcc_num_compiles{number}", done - (window[0][1] if window else 0)))
        largest, name = _largest_process()
        lines += [
            ("dcc_num_procstate_D", _waiting_for_disks()),
            ("dcc_max_RSS", largest),
            ("dcc_max_RSS_name", name),
            ("dcc_io_rate", -1),
            ("dcc_free_space", f"{shutil.disk_usage(node.store.root).free >> 20} MB"),
            ("dcc_free_mem", f"{machine.memory_available() >> 20} MB"),
        ]
        body = "".join(f"{name} {value}\n" for name, value in lines)
        return f"argv /distccd\n<distccstats>\n{body}</distccstats>\n"

    def _sample(self) -> None:
        counts = self._node.counts
        self._samples.append((self._node.slots.busy, counts.compiled + counts.compile_errors))
        self._timer = asyncio.get_running_loop().call_later(SAMPLE_S, self._sample)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("peername")
        if not may_connect(str(name[0]) if name else "", self._node.options.allow) or self._open >= MAX_OPEN:
            writer.transport.abort()
            return
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                # The request is read for its end only: with bytes unread the kernel would take the answer back.
                with contextlib.suppress(asyncio.IncompleteReadError):
                    await reader.readuntil(b"\n")
                head = "HTTP/1.0 200 OK\nContent-Type: text/plain\nConnection: close\n\n"
                writer.write((head + self.text()).encode("utf-8", "backslashreplace"))
                writer.write_eof()
                while await reader.read(MAX_REQUEST):
                    pass
        except (TimeoutError, OSError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open -= 1
            writer.transport.abort()


def _word(text: str) -> str:
    """A peer's text as one word of printable characters."""
    return "".join(char if char.isprintable() and not char.isspace() else "?" for char in text[:200])


def _largest_process() -> tuple[int, str]:
    """The resident KiB of this machine's largest process, and its name in brackets."""
    largest, name = 0, "(none)"
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    with open(f"{entry.path}/statm", "rb") as file:
                        size = int(file.read().split()[1]) * _PAGE >> 10
                    if size > largest:
                        with open(f"{entry.path}/comm", encoding="utf-8", errors="replace") as text:
                            largest, name = size, f"({_word(text.read().strip())})"
    return largest, name


def _waiting_for_disks() -> int:
    """How many of this user's processes wait for a disk."""
    count = 0
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    with open(f"{entry.path}/stat", "rb") as file:
                        state = file.read().rpartition(b")")[2].split()[0]
                    count += state == b"D" and entry.stat().st_uid == os.geteuid()
    return count
