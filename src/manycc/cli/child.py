"""A build as a child process: on the caller's terminal, with the caller's signals, and its exit code.

The child stays in our process group, so that the terminal's Ctrl-C and Ctrl-Z reach it by
themselves; a signal that some process sends to us alone is passed on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from manycc.errors import ManyccError

TICK_S: Final = 0.5
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # which Python ignores, and a build must not
_WAITED_FOR: Final = frozenset((*_PASSED_ON, signal.SIGCHLD, signal.SIGWINCH))


def run(
    program: str, argv: Sequence[str], env: Mapping[str, str], tick: Callable[[], None], tick_s: float = TICK_S
) -> int:
    """Run a program to its end, calling ``tick`` now and then. Returns the exit code a shell would give.

    Raises ManyccError if the program cannot be started. A second thread must not exist.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    # Blocked signals are kept for sigtimedwait() only if they are not ignored.
    old = {number: signal.signal(number, _never) for number in (signal.SIGCHLD, signal.SIGWINCH)}
    try:
        try:
            pid = os.posix_spawn(program, list(argv), dict(env), setsigmask=before, setsigdef=_RESTORED)
        except OSError as error:
            raise ManyccError(f"{program} cannot be run", error.strerror or str(error)) from error
        return _wait(pid, tick, tick_s)
    finally:
        # What has come for us in the meantime was meant for the build, which is over.
        while signal.sigtimedwait(_WAITED_FOR, 0) is not None:
            pass
        for number, handler in old.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _never(*_: object) -> None:
    """Stands for "not ignored"; is never called, for the signal is blocked."""


def _wait(pid: int, tick: Callable[[], None], tick_s: float) -> int:
    while True:
        info = signal.sigtimedwait(_WAITED_FOR, tick_s)
        if info is not None and info.si_signo in _PASSED_ON and info.si_code <= 0:
            # Sent by a process, not by the terminal: the child has not got it.
            os.kill(pid, info.si_signo)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if info is None or info.si_signo == signal.SIGWINCH:
            tick()
