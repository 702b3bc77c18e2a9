"""What the fault tests share: waiting for events, looking for processes, one compile looked at closely."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from manycc.testing.cluster import Cluster

SMALL = "int f(int x) { return x + 1; }\n"
ARGV = ["gcc", "-g", "-c", "a.c", "-o", "a.o"]
_PROPER = (b"cc1", b"cc1plus")


def slow_source(depth: int) -> str:
    """A C++ source that takes g++ a second (250) to a few (420); deep ones need -ftemplate-depth=1000."""
    return (
        "template <int N, int M> struct T {\n"
        "  static constexpr unsigned long v = T<N - 1, M>::v + T<N - 1, M + 1>::v;\n"
        "};\n"
        "template <int M> struct T<0, M> { static constexpr unsigned long v = M; };\n"
        f"long f() {{ return T<{depth}, 0>::v; }}\n"
    )


SLOW = slow_source(420)
"""Takes a few seconds to compile: long enough to be killed in the middle."""
SLOW_NAME = f"slow{os.getpid()}.cc"
"""No other test's compiler is taken for ours."""


def until(what: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """The first true answer of ``what``. Raises TimeoutError."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if answer := what():
            return answer
        threading.Event().wait(0.005)
    raise TimeoutError(what.__name__)


def _command_lines() -> Iterator[tuple[int, list[bytes]]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                yield int(entry), Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")


def compilers(marker: str) -> list[int]:
    """Compiler processes (the compiler proper) whose arguments name the marker."""
    return [
        pid
        for pid, words in _command_lines()
        if os.path.basename(words[0]) in _PROPER and any(marker.encode() in word for word in words)
    ]


def any_process(marker: str) -> list[int]:
    """Every process, of whatever kind, whose arguments name the marker."""
    return [pid for pid, words in _command_lines() if any(marker.encode() in word for word in words)]


def local_object(work: Path, argv: list[str] | None = None) -> bytes:
    """What the compiler itself writes to ``a.o``; nothing is left of it."""
    subprocess.run(argv or ARGV, cwd=work, check=True)
    data = (work / "a.o").read_bytes()
    (work / "a.o").unlink()
    return data


def compile_equal(cluster: Cluster, work: Path, argv: list[str] | None = None) -> None:
    """Compile once; the object must be the compiler's own, and nothing else there. Nothing is left of it."""
    wanted = local_object(work, argv)
    files = sorted(os.listdir(work))
    done = cluster.compile(argv or ARGV, str(work))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (work / "a.o").read_bytes() == wanted
    assert sorted(os.listdir(work)) == sorted([*files, "a.o"])
    (work / "a.o").unlink()


def check(cluster: Cluster, work: Path, argv: list[str] | None = None) -> dict[str, Any]:
    """``compile_equal``. Returns the record."""
    before = len(cluster.records())
    compile_equal(cluster, work, argv)
    return cluster.wait_records(before + 1)[-1]
