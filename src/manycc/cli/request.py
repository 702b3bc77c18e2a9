"""The request that the launcher would make of a command: for the verbs that take one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from manycc import __version__
from manycc.cli.launcher import find_compiler, find_launcher
from manycc.errors import ConfigError, ManyccError
from manycc.wire.launcher import STDERR_TTY, STDOUT_TTY, Request


def command_of(words: Sequence[str], verb: str) -> list[str]:
    """The compiler's command among a verb's words. Raises ConfigError if there is none."""
    command = list(words[1:] if words[:1] == ["--"] else words)
    while command and os.path.basename(command[0]) in ("manycc", "distcc"):
        command = command[1:]
    if not command:
        raise ConfigError(f"no command to {verb}", "", f"manycc {verb} -- g++ -O2 -c a.cc")
    return command


def build_request(command: list[str]) -> Request:
    """The request of a command, as if it were run here and now. Raises ConfigError if there is no such compiler."""
    try:
        launcher: str | None = find_launcher()
    except ManyccError:
        launcher = None  # the agent can answer without it
    cwd = os.getcwd()
    compiler = find_compiler(command[0], launcher, cwd, os.environ)
    if not compiler:
        raise ConfigError(f"{command[0]}: not found", "no compiler of this name is in PATH")
    umask = os.umask(0o077)
    os.umask(umask)
    flags = (STDERR_TTY if sys.stderr.isatty() else 0) | (STDOUT_TTY if sys.stdout.isatty() else 0)
    return Request(__version__, compiler, cwd, command, dict(os.environ), umask, flags, 0)
