"""Stopping or killing a process at one system call, by strace: at an exact point, without a guess at times."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from support import until


class Trap:
    """While this is entered, the ``when``-th ``call`` of a process sends it ``signal``.

    SIGKILL strikes before the call is carried out, SIGSTOP right after it. With ``paths`` only calls that
    name one of them count. ``faults`` are more of strace's expressions, such as ``openat:error=ENOSPC``.
    """

    def __init__(
        self, pid: int, log: Path, call: str, signal: str = "SIGSTOP", when: int = 1,
        paths: tuple[str, ...] = (), faults: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        calls = ",".join([call, *(fault.partition(":")[0] for fault in faults)])
        self._command = ["strace", "-p", str(pid), "-o", str(log), "-e", f"trace={calls}"]
        for path in paths:
            self._command += ("-P", path)
        for expression in (f"{call}:signal={signal}:when={when}", *faults):
            self._command += ("-e", f"inject={expression}")
        self._log = log
        self._pid = pid
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Trap:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "attached" in line, line
        return self

    def sprung(self, limit_s: float = 30.0) -> None:
        """Wait until it has happened."""
        until(lambda: not alive(self._pid) or "--- stopped by SIGSTOP" in self._log.read_text(), limit_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the process; one that was stopped stays so."""
        assert self._process is not None and self._process.stderr is not None
        self._process.terminate()
        self._process.wait(30)
        self._process.stderr.close()


def state(pid: int) -> str:
    """A process's state as proc(5) has it: R, S, D, T, t, Z; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether a process is there, and not a zombie."""
    return state(pid) not in ("", "Z")


def waits_in(pid: int, call: int) -> bool:
    """Whether a process is blocked in a system call, given by its number."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[0] == str(call)
    except OSError:
        return False


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
