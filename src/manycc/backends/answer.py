"""What a node answers to a job, checked before anybody relies on it."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from manycc.backends.connection import Pending, Pieces
from manycc.errors import BackendError, BackendRefused, WireError
from manycc.job import Outcome, OutputFile
from manycc.reasons import BY_CODE, Kind, Reason
from manycc.wire import native

TIMES: Final = ("fetch", "wait", "stage", "wall", "took")
"""What a node says of where a job's time went; older ones say nothing of the first and the last."""


def outcome_of(message: list[Any], pending: Pending, host: str) -> Outcome:
    """A job's outcome, from the message RESULT and the pieces that came before it.

    Raises WireError, ValueError, TypeError and their like if it breaks the protocol or is not what its digests say.
    """
    _, _, exit_code, stdout, stderr, listed, info = message
    if type(exit_code) is not int or not 0 <= exit_code <= 255 or len(listed) > native.MAX_OUTPUTS:
        raise ValueError("result out of bounds")
    outputs = []
    room = native.MAX_FILE
    for index, (path, mode, size, digest, zdata) in enumerate(listed):
        if not isinstance(path, str) or len(path) > native.MAX_PATH or not 0 <= size <= room:
            raise ValueError("output out of bounds")
        room -= size
        if zdata is None:
            pieces = pending.pieces.pop(index, None) or Pieces()
            data, found = b"".join(pieces.data), pieces.hashed.digest()
        else:
            data = native.decompress(zdata, size)
            found = hashlib.sha256(data).digest()
        if len(data) != size:
            raise ValueError(f"output of {len(data)} bytes where {size} were promised")
        if found != digest:
            raise ValueError(f"{path} is not what its digest says")
        outputs.append(OutputFile(path, mode & 0o7777, data, digest))
    cached = bool(info.get("cached"))
    return Outcome(
        reason=Reason.CACHED if cached else Reason.REMOTE,
        host=host,
        exit_code=exit_code,
        stdout=native.decompress(stdout, native.MAX_TEXT) if stdout else b"",
        stderr=native.decompress(stderr, native.MAX_TEXT) if stderr else b"",
        outputs=outputs,
        phases={name: _seconds(info, name) for name in TIMES if name in info},
        cpu_s=_seconds(info, "cpu"),
        peak_rss=count(info, "rss"),
        sent=pending.sent,
        received=pending.received,
    )


def refusal_of(message: list[Any]) -> BackendError:
    """The error that the message REFUSED is for a job."""
    code, sentence = str(message[2]), str(message[3])[:2000]
    reason = BY_CODE.get(code, Reason.NODE_REFUSED)
    if reason.kind is not Kind.FAILED_OVER:
        reason = Reason.NODE_REFUSED
    return BackendRefused(reason, sentence)


def count(said: dict[str, Any], name: str) -> int:
    """A number of things or bytes that a node says, 0 if it does not. Raises WireError if it is none."""
    value = said.get(name, 0)
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise WireError(f"{name} is out of form")
    return value


def _seconds(said: dict[str, Any], name: str) -> float:
    value = float(said.get(name, 0.0))
    if not 0 <= value < 1e9:
        raise WireError(f"{name} is out of form")
    return value
