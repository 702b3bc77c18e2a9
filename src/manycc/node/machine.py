"""What a node knows about the machine it runs on: processors, memory, load.

Read straight from the kernel, a few dozen microseconds a call. Within a container the memory of its
control group counts, if that is less.
"""

from __future__ import annotations

import contextlib
import os


def cpu_count() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) or 1


def memory_total() -> int:
    """Bytes of memory this machine or container has."""
    total = _meminfo(b"MemTotal:")
    limit = _number("/sys/fs/cgroup/memory.max")
    return min(total, limit) if limit is not None else total


def memory_available() -> int:
    """Bytes that new processes can take without anything being swapped out."""
    available = _meminfo(b"MemAvailable:")
    limit = _number("/sys/fs/cgroup/memory.max")
    used = _number("/sys/fs/cgroup/memory.current")
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used + _cached()))
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


def _cached() -> int:
    """Page cache charged to the control group, which the kernel gives back when it is asked to."""
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.stat", "rb") as file:
        for line in file:
            if line.startswith(b"inactive_file "):
                return int(line.split()[1])
    return 0


def _number(path: str) -> int | None:
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
