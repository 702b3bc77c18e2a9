"""How two results differ, found out by a process of its own.

    python -m manycc.verify.explain < QUESTION > LINES      (both msgpack)

One of the two results comes from a node that is wrong already: reading it may take any time and all
memory there is. So that goes on where both are bounded, and the agent is not.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from manycc.verify.compare import Difference, Observed, lines_of

TIME_S: Final = 60
MEMORY_BYTES: Final = 2 << 30
_NOT_FOUND_OUT: Final = "how it differs could not be found out within bounds"


def explained(here: Observed, there: Observed, things: Sequence[str]) -> list[Difference]:
    """How the things that ``differing`` named differ: ``here`` on this machine, ``there`` on the node."""
    question = msgpack.packb([_only(here, things), _only(there, things), things], unicode_errors="surrogateescape")
    found: list[list[str]] = [[_NOT_FOUND_OUT]] * len(things)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "manycc.verify.explain"],
            input=question, capture_output=True, timeout=TIME_S, check=True,
        )  # fmt: skip
        found = msgpack.unpackb(done.stdout, unicode_errors="surrogateescape")
    except (OSError, subprocess.SubprocessError, ValueError):
        pass
    return [Difference(what, lines) for what, lines in zip(things, found, strict=True)]


def _only(seen: Observed, things: Sequence[str]) -> list[Any]:
    files = {path: seen.files[path] for path in things if path in seen.files}
    return [seen.exit_code, seen.stdout, seen.stderr, files]


def main() -> int:
    """Answer the question on stdin."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_S, TIME_S))
    here, there, things = msgpack.unpackb(sys.stdin.buffer.read(), use_list=False, unicode_errors="surrogateescape")
    lines = [lines_of(Observed(*here), Observed(*there), what) for what in things]
    sys.stdout.buffer.write(msgpack.packb(lines, unicode_errors="surrogateescape"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
