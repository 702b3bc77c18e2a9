"""How busy this machine's processors are: a counter of CPU seconds, and how many processors there are to use.

Within a container, or a service with a quota, the quota is all there is to use, and what counts is the CPU time of
its control group: cgroups(7), versions 1 and 2. Else it is the time of all processes on the processors that this one
may run on, proc_stat(5).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

_CGROUPS: Final = "/sys/fs/cgroup"
_OWN_GROUPS: Final = "/proc/self/cgroup"
_STAT: Final = "/proc/stat"
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_IDLE: Final = (3, 4)
"""Of the numbers after a processor's name: idle, and idle because a disk is waited for."""
_COUNTED: Final = 8
"""The time of guests, which comes after these, is part of the user's."""


class CpuTime(NamedTuple):
    """CPU seconds used so far, of so many processors. Only differences within one ``source`` mean something."""

    used: float
    processors: float
    source: str


class CpuMeter:
    """Reads it. What it costs is one file of the kernel's, some dozen microseconds."""

    def __init__(self, groups: str = _CGROUPS, own: str = _OWN_GROUPS, stat: str = _STAT) -> None:
        self._stat = stat
        allowed = os.sched_getaffinity(0)
        self._names = (
            None if len(allowed) == (os.cpu_count() or 0) else frozenset(f"cpu{number}".encode() for number in allowed)
        )
        self._processors = float(len(allowed) or 1)
        self._group: Callable[[], float] | None = None
        self._source = "machine"
        found = _least_quota(groups, own)
        if found is not None and found[0] <= self._processors:
            self._processors, self._group, self._source = found

    def read(self) -> CpuTime:
        """The counter now. Raises OSError."""
        used = self._group() if self._group is not None else self._of_machine()
        return CpuTime(used, self._processors, self._source)

    def _of_machine(self) -> float:
        used = 0
        with open(self._stat, "rb") as file:
            for line in file:
                if not line.startswith(b"cpu"):
                    break
                name, *numbers = line.split()
                if (name == b"cpu") if self._names is None else (name in self._names):
                    ticks = list(map(int, numbers[:_COUNTED]))
                    used += sum(ticks) - sum(ticks[index] for index in _IDLE)
                    if self._names is None:
                        break
        return used * _TICK_S


def _least_quota(root: str, own: str) -> tuple[float, Callable[[], float], str] | None:
    """The tightest quota of the groups this process is in: processors, what reads its CPU seconds, its folder."""
    best: tuple[float, Callable[[], float], str] | None = None
    paths = _own_paths(own)
    first = os.path.isdir(os.path.join(root, "cpu"))
    of_quota, of_usage = ("cpu", "cpuacct") if first else ("", "")
    for below in _upwards(os.path.join(root, of_quota), paths.get(of_quota, "")):
        folder = os.path.join(root, of_quota, below).rstrip("/")
        quota = _quota_1(folder) if first else _quota_2(folder)
        if quota is None or (best is not None and quota >= best[0]):
            continue
        usage = os.path.join(root, of_usage, below).rstrip("/")
        read = partial(_used_1, f"{usage}/cpuacct.usage") if first else partial(_used_2, f"{usage}/cpu.stat")
        with contextlib.suppress(OSError, ValueError, KeyError):
            read()
            best = quota, read, folder
    return best


def _own_paths(own: str) -> dict[str, str]:
    """The process's group by controller; "" is that of version 2."""
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError), open(own, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


def _upwards(root: str, path: str) -> list[str]:
    """A group and those around it, as paths below the root."""
    # In a container the path may be the one outside; what is mounted then is the group itself.
    below = path.strip("/") if os.path.isdir(root + path) else ""
    parts = below.split("/") if below else []
    return ["/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_1(folder: str) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (int(_text(f"{folder}/cpu.cfs_{name}_us")) for name in ("quota", "period"))
        return quota / period if quota > 0 else None
    return None


def _quota_2(folder: str) -> float | None:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = _text(f"{folder}/cpu.max").split()
        return None if quota == "max" else int(quota) / int(period)
    return None


def _used_1(path: str) -> float:
    return int(_text(path)) / 1e9


def _used_2(path: str) -> float:
    for line in _text(path).splitlines():
        name, _, number = line.partition(" ")
        if name == "usage_usec":
            return int(number) / 1e6
    raise KeyError("usage_usec")


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
