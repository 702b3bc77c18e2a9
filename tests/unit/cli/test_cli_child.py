"""A build as a child: exit codes, signals, ticks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from manycc.cli import child
from manycc.errors import ManyccError


def run(script: str, ticks: list[float] | None = None) -> int:
    ticks = [] if ticks is None else ticks
    return child.run("/bin/sh", ["sh", "-c", script], os.environ, lambda: ticks.append(time.monotonic()), 0.02)


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
def test_the_exit_code_is_a_shells(script: str, code: int) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert run(script) == code
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_ticks_while_the_child_runs(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 3:
            fifo.write_text("go")

    assert child.run("/bin/sh", ["sh", "-c", f"read x < {fifo}; exit 5"], os.environ, tick, 0.01) == 5
    assert ticks >= 3


def test_the_child_gets_signals_as_if_started_by_the_caller() -> None:
    # Python ignores SIGPIPE, and we block some: a build must not inherit that.
    # (Signals 32 and 33 are the C library's own; its posix_spawn leaves them ignored.)
    assert run("! grep -E '^Sig(Blk|Ign):' /proc/self/status | grep -vE '[08]0000000$'") == 0


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(ManyccError, match="cannot be run: No such file"):
        child.run(str(tmp_path / "none"), ["none"], os.environ, lambda: None)


DRIVER = """
import os, sys
from manycc.cli import child
sys.exit(child.run("/bin/sh", ["sh", "-c", sys.argv[1]], os.environ, lambda: None))
"""


def start(script: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", DRIVER, script], stdout=subprocess.PIPE, **options
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_sent_to_us_alone_is_passed_on(number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 9' {name}; echo up; while :; do sleep 0.01; done"
    with start(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(number)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 9


def test_ctrl_c_reaches_the_child_once_and_not_us() -> None:
    master, slave = os.openpty()
    # A session with the terminal as its own; the driver is the foreground group's leader.
    script = "trap 'n=$((n+1)); echo got $n' INT; echo up; while [ $((i+=1)) -lt 30 ]; do sleep 0.01; done; exit 4"
    driver = f"""
import fcntl, os, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.kill = lambda *_: print("passed on", flush=True)
{DRIVER}"""
    with subprocess.Popen(
        [sys.executable, "-c", driver, script], stdin=slave, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        os.close(slave)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        os.write(master, b"\x03")
        assert process.stdout.read() == b"got 1\n"
    os.close(master)
    assert process.returncode == 4
