"""What a node knows about the machine it runs on: processors, memory, load.

Read straight from the kernel, a few dozen microseconds a call. Within a container, or a service with a
limit, the memory of its control groups counts, if that is less.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Final, NamedTuple

_CGROUPS: Final = "/sys/fs/cgroup"
_OWN_GROUPS: Final = "/proc/self/cgroup"


class _Group(NamedTuple):
    """The files of one control group: cgroups(7), versions 1 and 2."""

    limit: str
    used: str
    stat: str
    cache: bytes
    """In ``stat``: page cache that the kernel gives back when it is asked to."""


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def memory_total() -> int:
    """Bytes of memory this machine or container has."""
    limits = (_number(group.limit) for group in _groups())
    return min(_meminfo(b"MemTotal:"), *(limit for limit in limits if limit is not None), 1 << 62)


def memory_available() -> int:
    """Bytes that new processes can take without anything being swapped out."""
    available = _meminfo(b"MemAvailable:")
    for group in _groups():
        limit = _number(group.limit)
        used = _number(group.used)
        if limit is not None and used is not None and limit - used < available:
            available = min(available, max(0, limit - used + _cached(group)))
    return available


def load() -> float:
    """Average number of runnable processes over the last minute."""
    return os.getloadavg()[0]


def processes_of_user(uid: int) -> int:
    """How many threads the user has now; the kernel counts these against the limit of processes."""
    count = 0
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if entry.stat().st_uid == uid:
                        count += os.stat(f"{entry.path}/task").st_nlink - 2
    return count


def _meminfo(name: bytes) -> int:
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


@functools.cache
def _groups() -> tuple[_Group, ...]:
    """The memory groups this process is in, as far as they have a limit: each file read costs time."""
    found: list[_Group] = []
    total = _meminfo(b"MemTotal:")
    with contextlib.suppress(OSError), open(_OWN_GROUPS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            first = "memory" in controllers.split(",")
            root = f"{_CGROUPS}/memory" if first else _CGROUPS
            if not first and controllers:
                continue
            # In a container the path may be the one outside; what is mounted then is the group itself.
            below = path.strip("/") if os.path.isdir(root + path) else ""
            parts = below.split("/") if below else []
            for depth in range(len(parts), -1, -1):
                folder = "/".join([root, *parts[:depth]])
                if first:
                    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
                    cache = b"total_inactive_file "
                else:
                    names = ("memory.max", "memory.current")
                    cache = b"inactive_file "
                limit, used = (f"{folder}/{name}" for name in names)
                value = _number(limit)
                if value is not None and value < total:
                    found.append(_Group(limit, used, f"{folder}/memory.stat", cache))
    return tuple(found)


def _cached(group: _Group) -> int:
    with contextlib.suppress(OSError, ValueError), open(group.stat, "rb") as file:
        for line in file:
            if line.startswith(group.cache):
                return int(line.split()[1])
    return 0


def _number(path: str) -> int | None:
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
