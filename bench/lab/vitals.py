"""A host's own processor statistics, for servers that read the machine's and would take other hosts' work for load.

What /proc/stat and /proc/loadavg tell is the whole machine's in every namespace. A server started with ``command``
reads files instead that are written here several times a second, from the host's control group: busy is what the host
has used of its quota, idle is the rest. (Not for whole hosts: where something is mounted within /proc, no sandbox gets
a /proc of its own.)
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from .groups import Cpu, Group

_INTERVAL_S: Final = 0.25
_MINUTES: Final = (1, 5, 15)
_COVER: Final = 'mount --bind "$1" /proc/stat && mount --bind "$2" /proc/loadavg && shift 2 && exec "$@"'


class Vitals:
    """The files of one host, kept up to date until ``close``."""

    def __init__(self, group: Group, cores: float, folder: str, seen: str) -> None:
        self._group = group
        self._cores = cores
        self._stat = os.path.join(folder, "stat")
        self._load = os.path.join(folder, "loadavg")
        self._seen = seen
        self._begun = time.monotonic()
        self._first = group.cpu()
        self._averages = [0.0 for _ in _MINUTES]
        self._done = threading.Event()
        os.makedirs(folder)
        self._write(Cpu(0, 0), 0)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line, on the host, of a server that reads them."""
        files = [os.path.join(self._seen, os.path.basename(path)) for path in (self._stat, self._load)]
        return ["unshare", "--mount", "sh", "-c", _COVER, "sh", *files, *words]

    def close(self) -> None:
        """Write no more."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        last, then = self._first, self._begun
        while not self._done.wait(_INTERVAL_S):
            used, now = self._group.cpu(), time.monotonic()
            busy = used.since(last).total / (now - then)
            for number, minutes in enumerate(_MINUTES):
                weight = min(1.0, (now - then) / (60 * minutes))
                self._averages[number] += weight * (busy - self._averages[number])
            self._write(used.since(self._first), now - self._begun)
            last, then = used, now

    def _write(self, used: Cpu, elapsed: float) -> None:
        idle = max(0.0, elapsed * self._cores - used.total)
        _overwrite(self._stat, stat_text(used, idle, os.cpu_count() or 1))
        _overwrite(self._load, f"{' '.join(f'{average:5.2f}' for average in self._averages)} 1/100 {os.getpid():10d}\n")


def stat_text(used: Cpu, idle: float, cpus: int) -> str:
    """As proc(5) has it: user, nice, system, idle, … in hundredths of a second. Always of the same length."""
    lines = []
    for name, share in (("cpu ", 1), *((f"cpu{number}", cpus) for number in range(cpus))):
        figures = [used.user, 0, used.system, idle, 0, 0, 0, 0, 0, 0]
        lines.append(" ".join([name, *(f"{round(figure * 100 / share):012d}" for figure in figures)]) + "\n")
    return "".join(lines)


def _overwrite(path: str, text: str) -> None:
    """In place and at once: the file is mounted, and is read at any moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, text.encode("ascii"), 0)
    finally:
        os.close(descriptor)
