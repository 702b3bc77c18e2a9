"""Tokens in a jobserver's pipe: lent while jobs are elsewhere, and all of them taken back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.agent import jobserver
from manycc.agent.jobserver import Jobservers, Loan

HOLDER = "import os, sys; r, w = os.pipe(); os.write(w, b'+' * 2); print(r, w, flush=True); sys.stdin.read()"
"""Stands in for make: it has a pipe with two tokens, and ends with its standard input."""


class Make:
    """A process with a jobserver, and what it would write into MAKEFLAGS."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.reader, self.writer = self.process.stdout.readline().split()
        self.flags = f" -j3 --jobserver-auth={self.reader},{self.writer}"

    def tokens(self) -> int:
        """How many are in the pipe. Takes them out for a moment."""
        fd = os.open(f"/proc/{self.process.pid}/fd/{self.reader}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            found = os.read(fd, 100)
        except BlockingIOError:
            found = b""
        os.close(fd)
        self.put(len(found))
        return len(found)

    def put(self, count: int) -> None:
        fd = os.open(f"/proc/{self.process.pid}/fd/{self.writer}", os.O_WRONLY)
        os.write(fd, b"+" * count)
        os.close(fd)

    def take(self, count: int) -> None:
        fd = os.open(f"/proc/{self.process.pid}/fd/{self.reader}", os.O_RDONLY | os.O_NONBLOCK)
        assert len(os.read(fd, count)) == count
        os.close(fd)

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(jobserver, "LEND_AFTER_S", 0.0)
    made = Make()
    # The launcher would be a child of it.
    monkeypatch.setattr(jobserver, "_parent", lambda pid: made.process.pid if pid == -7 else 0)
    yield made
    made.end()


async def _lent(servers: Jobservers, make: Make) -> Loan:
    loan = servers.loan(make.flags, -7)
    assert loan is not None
    await asyncio.sleep(0.001)  # until its timer, which is due at once, has been served
    return loan


def test_lent_and_taken_back(make: Make) -> None:
    async def main() -> None:
        servers = Jobservers()
        loans = [await _lent(servers, make) for _ in range(3)]
        assert make.tokens() == 5
        for loan in loans:
            loan.end()
        assert make.tokens() == 2

    asyncio.run(main())


def test_what_is_owed_serves_the_next_job(make: Make) -> None:
    """make has used all tokens: those of jobs that are over are not there to be taken, and none is added."""

    async def main() -> None:
        servers = Jobservers()
        first = await _lent(servers, make)
        make.take(3)
        first.end()
        second = await _lent(servers, make)
        assert make.tokens() == 0
        make.put(3)
        assert make.tokens() == 3
        second.end()
        assert make.tokens() == 2

    asyncio.run(main())


def test_what_is_owed_is_taken_once_it_is_there(make: Make) -> None:
    async def main() -> None:
        servers = Jobservers()
        loan = await _lent(servers, make)
        make.take(3)
        loan.end()
        make.put(3)
        async with asyncio.timeout(10):
            while make.tokens() != 2:
                await asyncio.sleep(0)
        assert not servers._known, "the pipe is let go of"

    asyncio.run(main())


def test_make_ends_while_tokens_are_lent(make: Make) -> None:
    async def main() -> None:
        servers = Jobservers()
        loan = await _lent(servers, make)
        other = await _lent(servers, make)
        make.take(4)
        make.end()
        loan.end()
        other.end()
        assert not servers._known

    asyncio.run(main())


def test_the_writing_end_is_not_kept(make: Make) -> None:
    """make reads until there is no writer left: one that we held would hang it."""

    async def main() -> None:
        servers = Jobservers()
        loan = await _lent(servers, make)
        pipe = os.readlink(f"/proc/{make.process.pid}/fd/{make.writer}")
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}") == pipe:
                    flags = Path(f"/proc/self/fdinfo/{name}").read_text().split("flags:")[1].split()[0]
                    assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY
            except FileNotFoundError:
                pass  # that was the listing's own
        loan.end()

    asyncio.run(main())


def test_a_quick_job_lends_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobserver, "LEND_AFTER_S", 60.0)

    async def main() -> None:
        loan = await _lent(Jobservers(), make)
        loan.end()
        assert make.tokens() == 2

    asyncio.run(main())


def test_a_fifo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobserver, "LEND_AFTER_S", 0.0)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    async def main() -> None:
        loan = Jobservers().loan(f"-j --jobserver-auth=fifo:{path}", 1)
        assert loan is not None
        await asyncio.sleep(0.001)
        assert os.read(held, 10) == b"+"
        os.write(held, b"+")
        loan.end()
        with pytest.raises(BlockingIOError):
            os.read(held, 10)

    asyncio.run(main())
    os.close(held)


@pytest.mark.parametrize(
    "flags", ["--jobserver-auth=-2,-2", "--jobserver-auth=0,1", "--jobserver-auth=fifo:/dev/null", "--jobserver-auth="]
)
def test_what_is_no_jobserver_is_left_alone(flags: str, make: Make) -> None:
    assert Jobservers().find(flags, -7) is None


def test_no_jobserver_no_loan() -> None:
    assert Jobservers().loan("-k", 1) is None
    assert Jobservers().loan("", 1) is None
