"""Control groups, of either version: how much CPU and memory a host may use, and how much it did."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from .names import LabError, abandoned, mine

ROOT: Final = "/sys/fs/cgroup"
_CONTROLLERS: Final = ("cpu", "cpuacct", "memory")
_PERIOD_US: Final = 100_000
_ENTER: Final = 'until [ "$1" = -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@"'
_GONE_S: Final = 10.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Cpu(NamedTuple):
    """Seconds of user and system time."""

    user: float
    system: float

    def since(self, earlier: Cpu) -> Cpu:
        """What was used after an earlier reading."""
        return Cpu(self.user - earlier.user, self.system - earlier.system)

    def plus(self, other: Cpu) -> Cpu:
        """Both together."""
        return Cpu(self.user + other.user, self.system + other.system)

    @property
    def total(self) -> float:
        """User and system together."""
        return self.user + self.system


class Group:
    """Processes with all that they start: bounded and counted together.

    ``quota`` is in cores, ``memory`` in bytes; none is no bound.
    """

    def __init__(self, role: str, quota: float | None = None, memory: int | None = None) -> None:
        self._unified = not os.path.isdir(os.path.join(ROOT, "cpuacct"))
        self._folders = {name: os.path.join(parent, mine(role)) for name, parent in _parents(self._unified).items()}
        made: list[str] = []
        try:
            for folder in {*self._folders.values()}:
                os.mkdir(folder)
                made.append(folder)
            if self._unified:  # without its controllers, a group bounds and counts nothing
                os.stat(os.path.join(self._folders["cpu"], "cpu.max"))
                os.stat(os.path.join(self._folders["memory"], "memory.max"))
            self._bound(quota, memory)
        except OSError as error:
            for folder in made:
                os.rmdir(folder)
            raise LabError(f"no control group can be made: {error}; the lab needs root and writable {ROOT}") from error

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program in the group."""
        files = sorted({os.path.join(folder, "cgroup.procs") for folder in self._folders.values()})
        return ["sh", "-c", _ENTER, "sh", *files, "--", *words]

    def cpu(self) -> Cpu:
        """User and system time so far."""
        if self._unified:
            stat = self._table("cpu", "cpu.stat")
            return Cpu(stat["user_usec"] / 1e6, stat["system_usec"] / 1e6)
        # The whole is exact. How it divides is known by sampling, in hundredths of a second.
        total = self._number("cpuacct", "cpuacct.usage") / 1e9
        user = min(total, self._table("cpuacct", "cpuacct.stat")["user"] / _TICKS)
        return Cpu(user, total - user)

    def memory(self) -> int:
        """Bytes that its processes hold now, files' pages in the kernel's cache left out."""
        return self._table("memory", "memory.stat")["anon" if self._unified else "total_rss"]

    def killed(self) -> int:
        """Processes that the kernel killed because memory ran out."""
        name = "memory.events" if self._unified else "memory.oom_control"
        return self._table("memory", name).get("oom_kill", 0)

    def pids(self) -> list[int]:
        """Who is in it."""
        return _members(self._folders["cpu"])

    def close(self) -> None:
        """End whoever is still in it, and remove it."""
        for folder in {*self._folders.values()}:
            _remove(folder)

    def _bound(self, quota: float | None, memory: int | None) -> None:
        if quota is not None:
            allowed = round(quota * _PERIOD_US)
            if self._unified:
                self._write("cpu", "cpu.max", f"{allowed} {_PERIOD_US}")
            else:
                self._write("cpu", "cpu.cfs_period_us", str(_PERIOD_US))
                self._write("cpu", "cpu.cfs_quota_us", str(allowed))
        if memory is not None:
            self._write("memory", "memory.max" if self._unified else "memory.limit_in_bytes", str(memory))

    def _write(self, controller: str, name: str, text: str) -> None:
        with open(os.path.join(self._folders[controller], name), "w", encoding="ascii") as file:
            file.write(text)

    def _number(self, controller: str, name: str) -> int:
        with open(os.path.join(self._folders[controller], name), encoding="ascii") as file:
            return int(file.read())

    def _table(self, controller: str, name: str) -> dict[str, int]:
        with open(os.path.join(self._folders[controller], name), encoding="ascii") as file:
            return {key: int(value) for key, value in map(str.split, file)}


def sweep() -> None:
    """End and remove what runs that were killed have left."""
    for parent in {ROOT, *_parents(False).values()}:
        with contextlib.suppress(FileNotFoundError):
            for name in filter(abandoned, os.listdir(parent)):
                _remove(os.path.join(parent, name))


def _parents(unified: bool) -> dict[str, str]:
    """Where each controller's groups are made."""
    if not unified:
        return {name: os.path.realpath(os.path.join(ROOT, name)) for name in _CONTROLLERS}
    for name in ("cpu", "memory"):
        # What cannot be had is seen when a limit is written.
        with contextlib.suppress(OSError), open(f"{ROOT}/cgroup.subtree_control", "w", encoding="ascii") as file:
            file.write(f"+{name}")
    return dict.fromkeys(_CONTROLLERS, ROOT)


def _members(folder: str) -> list[int]:
    try:
        with open(os.path.join(folder, "cgroup.procs"), encoding="ascii") as file:
            return [int(line) for line in file]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):  # another run has just swept it
            return []
        raise


def _remove(folder: str) -> None:
    _end(lambda: _members(folder))
    end = time.monotonic() + _GONE_S
    while True:  # a process that has just ended is counted for a moment
        try:
            os.rmdir(folder)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > end:
                raise LabError(f"{folder} cannot be removed: {error}") from error
            time.sleep(0.01)


def _end(pids: Callable[[], list[int]]) -> None:
    """Terminate processes, kill those that stay: servers get the chance to take down what they made."""
    end = time.monotonic() + _GONE_S
    asked: set[int] = set()
    while found := pids():
        late = time.monotonic() > end
        for pid in found:
            if late or pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked.add(pid)
        if time.monotonic() > end + _GONE_S:
            raise LabError(f"processes {found} do not end")
        time.sleep(0.01)
