"""What a job came to, as an engine takes it: an action's result, or a status that says why there is none."""

from __future__ import annotations

import os
import time
from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2, error_details_pb2, status_pb2

from manycc.engine.action import OURS
from manycc.engine.contents import Contents, ContentsMissing, Named, name_of
from manycc.engine.leasedjob import NotOurs, Wanted
from manycc.errors import BackendError
from manycc.node.executor import Result
from manycc.node.outputs import Produced, close_all
from manycc.reapi import remote_execution_pb2
from manycc.reasons import Reason

RAW: Final = 64 * 1024
"""A text up to this size stands in the result itself, besides being a content."""
INLINE: Final = 64 * 1024
"""Files of up to so many bytes together stand in the result as well: that saves clients a question."""
_CODES: Final = {
    Reason.NODE_REFUSED: code_pb2.INVALID_ARGUMENT,
    Reason.PROTOCOL: code_pb2.INVALID_ARGUMENT,
    Reason.NO_TOOLCHAIN: code_pb2.UNIMPLEMENTED,
    Reason.NODE_LOST: code_pb2.UNAVAILABLE,
    Reason.NODE_TIMEOUT: code_pb2.UNAVAILABLE,
    Reason.NODE_BUSY: code_pb2.UNAVAILABLE,
    Reason.NODE_MEMORY: code_pb2.UNAVAILABLE,
    Reason.NODE_DISK: code_pb2.UNAVAILABLE,
    Reason.NODE_FAULT: code_pb2.INTERNAL,
}
"""BuildGrid gives UNAVAILABLE and INTERNAL to another worker, and tells the client all others. FAILED_PRECONDITION is
not among them: it says that inputs are missing, and makes clients send them again."""

_re = remote_execution_pb2


async def result_of(
    result: Result, wanted: Wanted, contents: Contents, worker: str, started: float, fetched: float
) -> _re.ActionResult:
    """Hand the outputs over and say what they are. ``started``, ``fetched``: when, in seconds since the epoch.

    Raises BackendError.
    """
    made = _re.ActionResult(exit_code=result.exit_code)
    blobs: list[tuple[Named, bytes | Produced]] = []
    try:
        by_path = {one.path: one for one in result.produced}
        spelled = {place: path for path, place in wanted.outputs}
        if wanted.everything:
            for place in by_path:
                spelled.setdefault(place, os.path.relpath(place, wanted.cwd))
        room = INLINE
        for place, path in spelled.items():
            one = by_path.get(place)
            if one is None:
                continue
            content = Named(one.digest, one.size)
            blobs.append((content, one))
            file = made.output_files.add(path=path, digest=content.message(), is_executable=bool(one.mode & 0o100))
            file.node_properties.unix_mode.value = one.mode
            if one.data is not None and one.size <= room:
                file.contents = one.data
                room -= one.size
        for name, text in (("stdout", result.stdout), ("stderr", result.stderr)):
            if text:
                content = name_of(text)
                blobs.append((content, text))
                getattr(made, name + "_digest").CopyFrom(content.message())
                if len(text) <= RAW:
                    setattr(made, name + "_raw", text)
        await contents.put(blobs)
    finally:
        close_all(result.produced)
    about = made.execution_metadata
    about.worker = OURS + worker
    ended = time.time()
    for stamp, moment in (
        (about.worker_start_timestamp, started),
        (about.input_fetch_start_timestamp, started),
        (about.input_fetch_completed_timestamp, fetched),
        (about.execution_start_timestamp, max(fetched, ended - float(result.info.get("wall", 0.0)))),
        (about.execution_completed_timestamp, ended),
        (about.worker_completed_timestamp, ended),
    ):
        _set(stamp, moment)
    return made


def refusal(error: BackendError) -> status_pb2.Status:
    """The status of a job that this node did not do."""
    if isinstance(error, NotOurs):
        return unavailable(error.detail)  # another worker may be for such jobs
    code = _CODES.get(error.reason, code_pb2.RESOURCE_EXHAUSTED)
    return status_pb2.Status(code=code, message=f"{error.reason.sentence}: {error.detail}"[:2000])


def missing(error: ContentsMissing) -> status_pb2.Status:
    """The status of a job whose inputs the engine lost; the form is the API's, so that clients send them again."""
    failure = error_details_pb2.PreconditionFailure()
    for one in error.missing[:1000]:
        failure.violations.add(type="MISSING", subject=f"blobs/{one.digest.hex()}/{one.size}")
    detail = AnyMessage()
    detail.Pack(failure)
    status = status_pb2.Status(code=code_pb2.FAILED_PRECONDITION, message=str(error))
    status.details.append(detail)
    return status


def unavailable(sentence: str) -> status_pb2.Status:
    """The status of a job that another worker should do."""
    return status_pb2.Status(code=code_pb2.UNAVAILABLE, message=sentence)


def _set(stamp: Timestamp, moment: float) -> None:
    stamp.FromNanoseconds(int(moment * 1e9))
