"""A compile through the launcher that is held while something is broken: its compiler is stopped as soon as it runs.

So that the fault comes in the middle of a job, on a machine of any speed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from manycc.testing.cluster import Cluster
from manycc.testing.engineclient import compilers, slow_source

LIMIT_S: Final = 60.0
"""Only for what never comes: a machine that is busy takes its time."""
ARGV: Final = ("g++", "-ftemplate-depth=1000")
Answer = TypeVar("Answer")
_numbers = itertools.count(1)


def wait_for(what: Callable[[], Answer], limit_s: float = LIMIT_S) -> Answer:
    """The first true answer of ``what``. Raises TimeoutError."""
    end = time.monotonic() + limit_s
    while not (answer := what()):
        if time.monotonic() > end:
            raise TimeoutError(getattr(what, "__name__", "what was waited for"))
        time.sleep(0.03)
    return answer


def until_served(cluster: Cluster, folder: Path, *compilers: str) -> None:
    """Compile until a host has done one with each compiler: while one is tried there, jobs are done here.

    Raises TimeoutError.
    """
    (folder / "served.c").write_text("int served;\n")
    for compiler in compilers:

        def served(compiler: str = compiler) -> bool:
            seen = len(cluster.records())
            done = cluster.compile([compiler, "-c", "served.c"], str(folder))
            return not done.returncode and cluster.wait_records(seen + 1)[seen]["reason"] in ("remote", "cached")

        wait_for(served)


def strangers_compiler(folder: Path) -> str:
    """A g++ that works, and that no other machine has: the one here and a byte more."""
    driver = folder / "bin" / "g++"
    driver.parent.mkdir(parents=True)
    driver.write_bytes(Path("/usr/bin/g++").read_bytes() + b"\0")
    driver.chmod(0o755)
    (folder / "lib").symlink_to(os.path.relpath("/usr/lib", os.path.realpath(folder)))  # where its parts are
    return str(driver)


def hold_all(some: Sequence[HeldCompile]) -> None:
    """Hold the compilers of several, in whatever order they begin. Raises TimeoutError."""
    wait_for(lambda: all([one.pid or one.try_to_hold() for one in some]))  # noqa: C419 - each is tried each time


class HeldCompile:
    """One source of its own, the object that the compiler here makes of it, and a launcher."""

    def __init__(self, cluster: Cluster, folder: Path, depth: int = 100) -> None:
        self.cluster = cluster
        self.folder = folder
        self.name = f"held{os.getpid()}x{next(_numbers)}"
        self.source = f"{self.name}.cc"
        self.argv = [*ARGV, "-c", self.source, "-o", f"{self.name}.o"]
        (folder / self.source).write_text(slow_source(depth, next(_numbers)))
        begun = time.monotonic()
        subprocess.run(self.argv, cwd=folder, check=True)
        self.own_s = time.monotonic() - begun
        """What the compile takes here."""
        self._object = folder / f"{self.name}.o"
        self._expected = self._object.read_bytes()
        self._object.unlink()
        self._said = folder / f"{self.name}.said"
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """The compiler's process number; it stays stopped until ``go``."""

    def start(self) -> None:
        """Start the launcher."""
        with open(self._said, "wb") as said:
            self.process = subprocess.Popen(
                [self.cluster.launcher, *self.argv], cwd=self.folder, env=self.cluster.env, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def hold(self, besides: int = 0) -> int:
        """Wait for the compiler, another one than ``besides``, and stop it; its process number."""
        return wait_for(lambda: self.try_to_hold(besides))

    def try_to_hold(self, besides: int = 0) -> int:
        """The same without waiting; 0 if there is no compiler yet."""
        self.pid = next((pid for pid in self.running() if pid != besides), 0)
        if self.pid:
            os.kill(self.pid, signal.SIGSTOP)
        return self.pid

    def go(self) -> None:
        """Have the held compiler go on."""
        os.kill(self.pid, signal.SIGCONT)

    def abandon(self) -> None:
        """End it, in whatever state it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pid in self.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def running(self) -> list[int]:
        """The compilers that run for it, wherever."""
        return compilers(self.name)

    def end(self) -> dict[str, Any]:
        """Wait for the launcher. All must be as if the compiler had run here; the job's record.

        Raises AssertionError, TimeoutExpired, TimeoutError.
        """
        assert self.process is not None  # noqa: S101 - a test's own mistake
        code = self.process.wait(LIMIT_S)
        said = self._said.read_bytes()
        if (code, said) != (0, b"") or not self.identical():
            same = "the same object" if self.identical() else "another object, or none"
            raise AssertionError(f"exit code {code}, {same}: {said.decode(errors='replace')}")
        return self.record()

    def identical(self) -> bool:
        """Whether the object is the one that the compiler here writes."""
        return self._object.exists() and self._object.read_bytes() == self._expected

    def record(self) -> dict[str, Any]:
        """The job's last record, once it is there. Raises TimeoutError."""
        assert self.process is not None  # noqa: S101 - a test's own mistake
        own = self.process.pid
        return wait_for(lambda: [one for one in self.cluster.records() if one.get("pid") == own][-1:])[0]
