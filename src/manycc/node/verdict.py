"""Whether a compiler that failed has said something about the source, or about this machine.

Only the former may be shown to a user as a compile error. The rest ends in a refusal, and the job is
done elsewhere. Where it cannot be told, it is a refusal: doing a job twice costs time, a build that
fails for a reason that is not its own costs trust. Messages may be in any language, so the signs are
chosen from what is never translated: exit codes, the names at the beginnings of lines, and paths.
"""

from __future__ import annotations

import os
import re
import signal
from typing import Final

from manycc.errors import BackendRefused
from manycc.node.process import Finished
from manycc.reasons import Reason

LOW_DISK: Final = 16 * 1024**2
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*[mK]")
TOO_LONG: Final = "it took longer than a job may"
_STOPPED: Final = {
    "text": "it wrote more messages than may be sent",
    "time": TOO_LONG,
    "disk": "it wrote more than a job may",
}
_SANDBOX: Final = re.compile(rb"^(?:bwrap|prlimit): ", re.MULTILINE)
_DISK: Final = re.compile(rb"No space left on device|Disk quota exceeded")
_DIED: Final = re.compile(
    rb"internal compiler error|README\.Bugs|gnu\.org/bugs|PLEASE submit a bug report"  # it crashed
    rb"|out of memory|virtual memory exhausted|[Cc]annot allocate memory|std::bad_alloc|LLVM ERROR"
    rb"|signal terminated program|terminated by signal|unable to execute command|frontend command failed"
    rb"|File size limit exceeded|File too large|Resource temporarily unavailable"
)
_TEMPORARY: Final = re.compile(rb"/tmp/cc\w{6}")  # the assembler on the compiler's output, or trouble with that file


def judge(finished: Finished, driver: str, disk: str, *, final: bool = False) -> None:
    """Raise BackendRefused unless the compiler came to an end of its own that depends on nothing here.

    ``driver`` is the command's first word, ``disk`` a path on the file system that jobs write to. ``final``: what
    may be said about this machine is passed on as well, since nobody else will be asked.
    """
    if finished.stopped:
        raise _killed(_STOPPED.get(finished.stopped, "it was cancelled"))
    if finished.signal:
        raise _killed(f"it was ended by {_signal_name(finished.signal)}")
    if finished.exit_code == 0:
        # gcc does not look whether its depfile, notes or dumps could be written to the end.
        if _is_full(disk):
            raise BackendRefused(Reason.NODE_DISK, "the disk is full")
        return
    text = _COLOUR.sub(b"", finished.stderr)
    if _SANDBOX.search(text):
        raise BackendRefused(Reason.NODE_FAULT, f"the sandbox failed: {_first_line(text)}")
    if _DISK.search(text) or _is_full(disk):
        raise BackendRefused(Reason.NODE_DISK, "the disk is full")
    if _DIED.search(text):
        raise _killed(f"it said: {_first_line(text)}")
    if final:
        return
    # What the driver itself says is about options, missing programs and programs that were killed.
    # clang calls itself so, whatever its file is called.
    name = rb"(?:clang|" + re.escape(os.fsencode(os.path.basename(driver))) + rb")"
    if _TEMPORARY.search(text) or re.search(rb"^(?:\S*/)?" + name + rb": ", text, re.MULTILINE):
        raise BackendRefused(Reason.REMOTE_ERROR, f"it said: {_first_line(text)}")


def _killed(sentence: str) -> BackendRefused:
    return BackendRefused(Reason.COMPILER_KILLED, sentence)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _first_line(text: bytes) -> str:
    return text.lstrip().partition(b"\n")[0][:300].decode("utf-8", "replace")


def _is_full(disk: str) -> bool:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize < LOW_DISK or (state.f_files > 0 and state.f_favail == 0)
