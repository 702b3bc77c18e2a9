"""A bound on how much of the processors a process may have, by a control group of its own. Root only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

V1 = "/sys/fs/cgroup/cpu"
V2 = "/sys/fs/cgroup"
PERIOD_US = 20_000


class NoGroups(Exception):
    """This machine, or this user, has no control groups for processors."""


@contextlib.contextmanager
def cpu_shares(name: str, percent: float) -> Iterator[CpuShares]:
    """Bounds for processes that are put under it; its groups are removed when it ends. Raises NoGroups."""
    shares = CpuShares(name, percent)
    try:
        yield shares
    finally:
        shares.remove()


class CpuShares:
    """Groups of one process each; each has so many percent of one core."""

    def __init__(self, name: str, percent: float) -> None:
        self._name = f"{name}-{os.getpid()}"
        self._quota = str(max(1000, round(PERIOD_US * percent / 100)))
        self._made: list[str] = []

    def bind(self, pid: int) -> None:
        """Put a process into a group of its own. Raises NoGroups."""
        old = os.path.exists(f"{V1}/cpu.cfs_quota_us") or os.path.exists(f"{V1}/cgroup.procs")
        group = os.path.join(V1 if old else V2, f"{self._name}-{len(self._made)}")
        try:
            if not old:
                self._write(f"{V2}/cgroup.subtree_control", "+cpu")
            os.mkdir(group)
            self._made.append(group)
            if old:
                self._write(f"{group}/cpu.cfs_period_us", str(PERIOD_US))
                self._write(f"{group}/cpu.cfs_quota_us", self._quota)
            else:
                self._write(f"{group}/cpu.max", f"{self._quota} {PERIOD_US}")
            self._write(f"{group}/cgroup.procs", str(pid))
        except OSError as error:
            raise NoGroups(f"{error.filename}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove the groups: their processes must have ended."""
        for group in self._made:
            with contextlib.suppress(OSError):
                os.rmdir(group)

    @staticmethod
    def _write(path: str, text: str) -> None:
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
