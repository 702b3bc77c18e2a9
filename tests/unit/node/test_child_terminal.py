"""A child whose stderr is a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from manycc.node.process import Child, Finished

_SAYS = "import os, sys; os.write(1, b'%d%d' % (os.isatty(1), os.isatty(2)))\n"


def _run(program: str, *, terminal: bool, text_limit: int = 1_000_000) -> Finished:
    async def body() -> Finished:
        line = [sys.executable, "-c", _SAYS + program]
        environment = {"PATH": os.defpath}
        child = Child(
            line, environment, 0o22, text_limit=text_limit, time_limit=60, sealed=False, terminal=terminal
        )  # fmt: skip
        return await child.finished

    return asyncio.run(body())


def test_only_stderr_is_one_and_only_if_asked_for() -> None:
    assert _run("", terminal=True).stdout == b"01"
    assert _run("", terminal=False).stdout == b"00"


def test_what_is_written_arrives_as_it_was_written() -> None:
    done = _run("os.write(2, bytes(range(256)) + b'\\n\\t\\r\\n')", terminal=True)
    assert done.exit_code == 0 and done.stderr == bytes(range(256)) + b"\n\t\r\n"


def test_nothing_is_lost_of_much_text() -> None:
    done = _run("sys.stderr.write('0123456789abcde\\n' * 20_000)", terminal=True)
    assert done.stderr == b"0123456789abcde\n" * 20_000


def test_too_much_text_ends_it() -> None:
    done = _run("\nwhile True: os.write(2, b'x' * 4096)", terminal=True, text_limit=100_000)
    assert done.stopped == "text"


def test_what_a_grandchild_still_holds_open_does_not_keep_it_waiting() -> None:
    program = "child = os.fork()\nif child == 0: signal.pause()\nos.write(1, b' %d' % child); os.write(2, b'said')"
    done = _run("import signal\n" + program, terminal=True)
    os.kill(int(done.stdout.split()[1]), signal.SIGKILL)
    assert done.exit_code == 0 and done.stderr == b"said"
