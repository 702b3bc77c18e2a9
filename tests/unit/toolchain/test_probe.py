"""Runs are bounded and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from manycc.errors import CompilerError
from manycc.toolchain import elf, probe

ENV = {"PATH": "/usr/bin:/bin"}


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_answer() -> None:
    answer = asyncio.run(probe.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], ENV))
    assert answer == (3, "out\n", "err\n")


def test_time_limit_ends_the_children_too(tmp_path: Path) -> None:
    script = f"sleep 100 & echo $! > {tmp_path}/pid; wait"
    started = time.monotonic()
    with pytest.raises(CompilerError, match="did not answer"):
        asyncio.run(probe.run(["/bin/sh", "-c", script], ENV, time_limit=0.5))
    assert time.monotonic() - started < 20
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not alive(pid)


def test_endless_output() -> None:
    with pytest.raises(CompilerError, match="more than can be an answer"):
        asyncio.run(probe.run(["/bin/sh", "-c", "yes"], ENV))


def test_no_program() -> None:
    with pytest.raises(CompilerError, match="cannot be run"):
        asyncio.run(probe.run(["/nonexistent/gcc"], ENV))


def test_several_in_their_order() -> None:
    answers = asyncio.run(probe.run_all([["/bin/sh", "-c", f"echo {n}"] for n in range(9)], ENV))
    assert [answer.stdout for answer in answers] == [f"{n}\n" for n in range(9)]
    with pytest.raises(CompilerError):
        asyncio.run(probe.run_all([["/bin/true"], ["/nonexistent"]], ENV))


def test_environment_is_clean() -> None:
    env = probe.environment({"PATH": "/bin", "LANG": "de_DE.UTF-8", "CPATH": "/x", "HOME": "/root"})
    assert env == {"PATH": "/bin", "HOME": "/root", "LC_ALL": "C"}


def test_libraries_of_a_program() -> None:
    found, _ = asyncio.run(elf.libraries(os.path.realpath("/bin/sh")))
    assert elf.loader(os.path.realpath("/bin/sh")) in found
    assert any("libc.so" in path or "musl" in path for path in found)
    assert all(os.path.exists(path) for path in found)


def test_not_a_program(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(elf.MAGIC + bytes(10))
    with pytest.raises(CompilerError, match="cannot be read as a program"):
        asyncio.run(elf.libraries(str(tmp_path / "x")))
