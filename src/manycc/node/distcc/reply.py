"""What distcc's clients are answered: results, and sentences in their place."""

from __future__ import annotations

from typing import Final, Protocol

from manycc.errors import BackendRefused, ManyccError, StoreFull, WireError
from manycc.node.distcc.jobs import Job
from manycc.node.executor import Result
from manycc.node.outputs import Produced
from manycc.node.tree import refused
from manycc.node.verdict import TOO_LONG
from manycc.reasons import Reason
from manycc.wire import distcc

# distcc's own exit codes, for what keeps a job from being done.
REFUSED: Final = 101
CRASHED: Final = 104
FAULT: Final = 107
PROTOCOL: Final = 109
NO_COMPILER: Final = 110
BUSY: Final = 114
TIMEOUT: Final = 118

_CODES: Final = {
    Reason.NO_TOOLCHAIN: NO_COMPILER,
    Reason.NODE_REFUSED: REFUSED,
    Reason.NODE_BUSY: BUSY,
    Reason.COMPILER_KILLED: CRASHED,
}
_OUR_WORDS: Final = (REFUSED, NO_COMPILER, BUSY)
"""Their sentences are whole ones."""

WORDS: Final = {REFUSED: "REJ_BAD_REQ", PROTOCOL: "REJ_BAD_REQ", BUSY: "REJ_OVERLOAD", TIMEOUT: "COMPILE_TIMEOUT"}
"""How distccd's log calls what ended with an exit code of its own; all else is OTHER."""


class Named(Protocol):
    """A node, by name."""

    name: str


def refusal(node: Named, version: int, code: int, sentence: str) -> bytes:
    """A reply that says in a sentence why the job was not done."""
    text = f"manycc node {node.name}: {sentence}\n"
    return distcc.pack_refusal(version or distcc.PLAIN, code << 8, text.encode("utf-8", "replace"))


def code_of(error: ManyccError | OSError) -> tuple[int, str]:
    """The exit code and the sentence for what went wrong."""
    if isinstance(error, BackendRefused):
        if error.detail == TOO_LONG:
            return TIMEOUT, str(error)
        code = _CODES.get(error.reason, FAULT)
        return code, error.detail if code in _OUR_WORDS and error.detail else str(error)
    if isinstance(error, WireError):
        return PROTOCOL, str(error)
    if isinstance(error, StoreFull):
        return FAULT, f"the store has no room: {error}"
    return FAULT, f"the disk failed: {error}"


def result(version: int, job: Job, done: Result, room: int) -> bytes:
    """The reply for a compile that came to its end, with files of at most ``room`` bytes each.

    Reads them. Raises BackendRefused, OSError.
    """
    output = depfile = b""
    if done.exit_code == 0:
        by_path = {one.path: one for one in done.produced}
        output = _content(by_path.get(job.output), room)
        depfile = _content(by_path.get(job.depfile), room)
    return distcc.pack_reply(version, done.exit_code << 8, done.stderr, done.stdout, output, depfile)


def size_of(done: Result) -> int:
    """Bytes that a reply will take in memory, more or less."""
    return 2 * sum(one.size for one in done.produced) + len(done.stdout) + len(done.stderr)


def _content(one: Produced | None, room: int) -> bytes:
    if one is None:
        return b""
    if one.size > min(room, distcc.MAX_BODY):
        raise refused(f"{one.path} has {one.size} bytes, more than this node can send to distcc's clients")
    if one.file is not None:
        return one.file.read(one.size)
    return one.data or b""
