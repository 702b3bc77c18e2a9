"""What an engine's result of a job is here. Whatever it says is looked at before it counts."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from manycc.engine.action import OURS, Prepared, named_outputs, times_of
from manycc.engine.cas import Cas, broken
from manycc.errors import BackendError, BackendRefused
from manycc.job import Job, Outcome, OutputFile
from manycc.node.text import plain
from manycc.reasons import Reason
from manycc.wire import native


def is_ours(result: Any) -> bool:
    """Whether a worker of manycc's says that it made a result."""
    return bool(result.execution_metadata.worker.startswith(OURS))


def check_worker(result: Any, ours: bool) -> None:
    """``ours``: it must be from a worker of manycc's. Raises BackendRefused.

    An engine that does not heed properties runs a job anywhere, with whatever compiler is there.
    """
    if ours and not is_ours(result):
        raise BackendRefused(Reason.NO_TOOLCHAIN, "its workers are not manycc's")


async def outcome_of(
    job: Job, prepared: Prepared, result: Any, cas: Cas, cached: bool, phases: dict[str, float]
) -> Outcome:
    """Fetch what a result names. ``host``, ``way`` and ``sent`` are the caller's to tell. Raises BackendError."""
    if not 0 <= result.exit_code <= 255:
        raise BackendError(Reason.COMPILER_KILLED, f"exit code {result.exit_code}")
    files = named_outputs(result, prepared.paths, job)
    wanted = []
    texts: dict[str, bytes] = {}
    for name in ("stdout", "stderr"):
        raw = getattr(result, f"{name}_raw")
        digest = getattr(result, f"{name}_digest")
        if not raw and digest.size_bytes:
            if digest.size_bytes > native.MAX_TEXT:
                raise BackendError(Reason.NODE_FAULT, f"a {name} of {digest.size_bytes} bytes")
            wanted.append(digest)
        texts[name] = raw[: native.MAX_TEXT]
    inline = {path: file.contents for path, file in files if file.contents}
    wanted += [file.digest for path, file in files if path not in inline]
    mark = time.monotonic()
    received = int(result.ByteSize())
    if wanted:
        data, fetched = await cas.fetch(wanted, native.MAX_FILE)
        received += fetched
    else:
        data = []
    phases["fetch"] = time.monotonic() - mark
    for name in ("stdout", "stderr"):
        if not texts[name] and getattr(result, f"{name}_digest").size_bytes:
            texts[name] = data.pop(0)
    if result.exit_code and not is_ours(result):
        # Our own workers tell a compiler's verdict from what befell it (``node/verdict.py``); others do not.
        line = plain(next(iter(texts["stderr"].decode(errors="replace").strip().splitlines()), ""))
        raise BackendError(Reason.REMOTE_ERROR, f"exit code {result.exit_code}" + (f": {line}" if line else ""))
    mode = 0o666 & ~job.umask
    outputs = []
    for path, file in files:
        content = inline.get(path)
        if content is None:
            content = data.pop(0)
        elif len(content) != file.digest.size_bytes or hashlib.sha256(content).hexdigest() != file.digest.hash:
            raise broken("a file is not what its digest says")
        outputs.append(OutputFile(path, mode, content, bytes.fromhex(file.digest.hash)))
    times = {} if cached else times_of(result.execution_metadata)
    return Outcome(
        reason=Reason.CACHED if cached else Reason.REMOTE,
        host="",
        exit_code=result.exit_code,
        stdout=texts["stdout"],
        stderr=texts["stderr"],
        outputs=outputs,
        phases={name: round(seconds, 6) for name, seconds in {**phases, **times}.items()},
        received=received,
    )
