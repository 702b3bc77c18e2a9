"""``manycc engine``: set up a remote execution engine, and find out what one can do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from manycc.cli.output import say

_HELP: Final = """\
usage: manycc engine init DIR     write a BuildGrid for a team: server, database, TLS, services
       manycc engine check URL    what an engine can do, a trial compile, latency and throughput

An engine takes the jobs of many clients and gives them to many workers. A client names it in MANYCC_HOSTS,
reapi://HOST:PORT/INSTANCE (reapis:// with TLS); a node becomes its worker by manycc node --join URL."""


def main(argv: Sequence[str]) -> int:
    """Run a verb of its own; the exit code."""
    verb, rest = (argv[0], argv[1:]) if argv else ("--help", ())
    if verb == "init":
        from manycc.cli import engineinit

        return engineinit.main(rest)
    if verb == "check":
        from manycc.cli import enginecheck

        return enginecheck.main(rest)
    if verb in ("--help", "-h", "help"):
        say_lines(_HELP)
        return 0
    say(f"manycc: engine has no verb {verb!r}: see manycc engine --help", sys.stderr)
    return 2


def say_lines(text: str) -> None:
    """Print several lines."""
    for line in text.splitlines():
        say(line)
