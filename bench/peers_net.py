"""A small network of hosts on one machine: namespaces joined by a bridge, each line with a bandwidth, CPU by group.

All names hold the number of the process that made them. What a killed run has left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType

_PREFIX = "manycc-peers-"
_NAME = re.compile(re.escape(_PREFIX) + r"(\d+)-\w+")
_RUN_DIR = "/run/netns"
_ENTER = 'echo $$ >"$1" && shift && exec "$@"'
_CPUACCT = "/sys/fs/cgroup/cpuacct"
_UNIFIED = "/sys/fs/cgroup"
GONE_S = 10.0


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class CpuGroup:
    """Processes whose CPU time is counted together, with all that they start (a control group, of either version)."""

    def __init__(self, role: str) -> None:
        self._unified = not os.path.isdir(_CPUACCT)
        self.folder = os.path.join(_UNIFIED if self._unified else _CPUACCT, f"{_PREFIX}{os.getpid()}-{role}")
        os.mkdir(self.folder)

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program in the group."""
        return ["sh", "-c", _ENTER, "sh", os.path.join(self.folder, "cgroup.procs"), *words]

    def seconds(self) -> float:
        """User and system time so far."""
        if not self._unified:
            with open(os.path.join(self.folder, "cpuacct.usage"), encoding="ascii") as file:
                return int(file.read()) / 1e9
        with open(os.path.join(self.folder, "cpu.stat"), encoding="ascii") as file:
            return int(dict(line.split() for line in file)["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        """Who is in it."""
        return _members(self.folder)

    def close(self) -> None:
        """End whoever is still in it, and remove it."""
        _remove_group(self.folder)


class Network:
    """Hosts by name, the first of them 10.0.0.1, each on a line of so many Mbit/s in each direction."""

    def __init__(self, names: Iterable[str], megabits: float) -> None:
        self._names = list(names)
        self._megabits = megabits
        self._switch = f"{_PREFIX}{os.getpid()}-switch"

    def __enter__(self) -> Network:
        sweep()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def address(self, name: str) -> str:
        """A host's address."""
        return f"10.0.0.{self._names.index(name) + 1}"

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """The command line that runs a program on a host. (``ip netns exec`` would hide the control groups from it.)"""
        return ["nsenter", f"--net={_RUN_DIR}/{self._space(name)}", *words]

    def counters(self, name: str) -> tuple[int, int]:
        """Bytes that a host has sent and received, headers included."""
        (link,) = json.loads(_ip("-n", self._space(name), "-j", "-s", "link", "show", "dev", "eth0"))
        return int(link["stats64"]["tx"]["bytes"]), int(link["stats64"]["rx"]["bytes"])

    def close(self) -> None:
        """Remove it, and whoever still runs in it."""
        for name in [*self._names, ""]:
            _remove_space(self._space(name) if name else self._switch)

    def _space(self, name: str) -> str:
        return f"{_PREFIX}{os.getpid()}-{name}"

    def _make(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "up", "type", "bridge")
        for number, name in enumerate(self._names):
            space, port = self._space(name), f"port{number}"
            _ip("netns", "add", space)
            _ip("-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("-n", self._switch, "link", "set", port, "up", "master", "bridge")
            _ip("-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "set", "eth0", "up")
            for where, device in ((space, "eth0"), (self._switch, port)):
                subprocess.run(
                    ["tc", "-n", where, "qdisc", "add", "dev", device, "root", "tbf",
                     "rate", f"{self._megabits}mbit", "burst", "32kb", "latency", "50ms"],
                    check=True,
                )  # fmt: skip


def sweep() -> None:
    """Remove what runs that were killed have left."""
    with contextlib.suppress(FileNotFoundError):
        for name in filter(_abandoned, os.listdir(_RUN_DIR)):
            _remove_space(name)
    for parent in (_CPUACCT, _UNIFIED):
        with contextlib.suppress(FileNotFoundError):
            for name in filter(_abandoned, os.listdir(parent)):
                _remove_group(os.path.join(parent, name))


def _abandoned(name: str) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and not os.path.exists(f"/proc/{found.group(1)}")


def _remove_space(name: str) -> None:
    if os.path.exists(os.path.join(_RUN_DIR, name)):
        _end(lambda: [int(line) for line in _ip("netns", "pids", name).split()])
        _ip("netns", "delete", name)


def _members(folder: str) -> list[int]:
    with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
        return [int(line) for line in file]


def _remove_group(folder: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        _end(lambda: _members(folder))
    end = time.monotonic() + GONE_S
    while True:  # a process that has just ended is counted for a moment
        try:
            os.rmdir(folder)
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _end(pids: Callable[[], list[int]]) -> None:
    """Terminate processes, kill those that stay."""
    end = time.monotonic() + GONE_S
    asked: set[int] = set()
    while found := pids():
        late = time.monotonic() > end
        for pid in found:
            if late or pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked.add(pid)
        if time.monotonic() > end + GONE_S:
            raise TimeoutError(f"processes {found} do not end")
        time.sleep(0.01)
