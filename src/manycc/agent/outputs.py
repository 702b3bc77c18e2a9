"""Outputs come to lie where the compiler would have put them: whole, or not at all.

A file is written under no name (O_TMPFILE), then linked into its final folder, so that a killed agent
leaves neither half a file nor a stray one. What was there before is removed first, as an assembler does
it: a link cannot replace a file, and a second name for a rename would be what a killed agent leaves. Where a
file system has no unnamed files (NFS, for one) there is such a name; it is noted (``unfinished.py``).
The main output goes last: who sees it, sees the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import Final

from manycc.agent.replaced import adapt
from manycc.agent.unfinished import PREFIX, Unfinished
from manycc.errors import BackendError
from manycc.job import Job, OutputFile
from manycc.reasons import Reason
from manycc.toolchain import elf
from manycc.toolchain.objectcheck import Expected, check, check_beside

REPLACINGS: Final = 10
"""How often a name is taken back from others who write the same output at the same time."""

_counter: Final = itertools.count()


def verify(job: Job, outputs: list[OutputFile], expected: Expected | None, exit_code: int) -> None:
    """Refuse whatever the command would not have written.

    Raises BackendError: UNEXPECTED_OUTPUT for a path that is not the job's, permissions that no
    compiler gives, a main output that is missing, or an object of a compile that failed;
    WRONG_OBJECT for an object of another kind, or another file beside it that is for another machine.
    """
    allowed = set(job.outputs)
    seen: set[str] = set()
    for output in outputs:
        path = output.path
        if path in seen:
            raise BackendError(Reason.UNEXPECTED_OUTPUT, f"{path} twice")
        seen.add(path)
        if path not in allowed and not _auxiliary(path, job):
            raise BackendError(Reason.UNEXPECTED_OUTPUT, path)
        if output.mode != 0o666 & ~job.umask:
            raise BackendError(Reason.UNEXPECTED_OUTPUT, f"{path} with mode {output.mode:o}")
    if exit_code == 0 and job.outputs:
        main = job.outputs[0]
        if main not in seen:
            raise BackendError(Reason.UNEXPECTED_OUTPUT, f"{main} is missing")
        sentences = [check(main_of(job, outputs), expected)]
        sentences += [check_beside(output.data, expected) for output in outputs if output.path != main]
        if sentence := next(filter(None, sentences), ""):
            raise BackendError(Reason.WRONG_OBJECT, sentence)
    elif exit_code != 0 and any(output.data.startswith(elf.MAGIC) for output in outputs):
        raise BackendError(Reason.UNEXPECTED_OUTPUT, f"an object, with exit code {exit_code}")


def main_of(job: Job, outputs: list[OutputFile]) -> bytes:
    """The contents of the main output; nothing if it is not there."""
    return next((output.data for output in outputs if output.path == job.outputs[0]), b"")


def _auxiliary(path: str, job: Job) -> bool:
    folder, name = os.path.split(path)
    if folder not in job.folders or not name or name in (".", "..") or "\0" in name:
        return False
    return any(path.startswith(stem) for stem in job.stems)


def place(job: Job, outputs: list[OutputFile], unfinished: Unfinished) -> None:
    """Put all outputs into place, the main one last.

    Raises BackendError(OUTPUT_SPECIAL) if one would replace something that is no plain file, and
    BackendError(OUTPUT_FAILED) if the disk refuses; nothing half-written is left in either case.
    """
    main = job.outputs[0] if job.outputs else ""
    ordered = sorted(outputs, key=lambda output: output.path == main)
    for output in ordered:
        adapt(job, output)
    try:
        for output in ordered:
            _write(output.path, output.mode, output.data, unfinished)
    except OSError as error:
        raise BackendError(Reason.OUTPUT_FAILED, f"{error.filename or ''}: {error.strerror}") from error


def _write(path: str, mode: int, data: bytes, unfinished: Unfinished) -> None:
    folder = os.path.dirname(path)
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        name = f"{folder}/{PREFIX}{os.getpid()}-{next(_counter)}.tmp"
        with unfinished.name(name):
            _write_named(name, path, mode, data)
        return
    try:
        _write_all(fd, data)
        os.fchmod(fd, mode)
        _give_name(fd, path)
    finally:
        os.close(fd)


def _give_name(fd: int, path: str) -> None:
    for attempt in range(REPLACINGS):
        try:
            # Only with a folder's descriptor does os.link follow the link in /proc; an absolute path ignores which.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        except FileExistsError:
            if attempt == REPLACINGS - 1:
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            return


def _write_named(name: str, path: str, mode: int, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_all(fd, data)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        os.rename(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _write_all(fd: int, data: bytes) -> None:
    written = os.write(fd, data)
    if written < len(data):
        view = memoryview(data)
        while written < len(view):
            written += os.write(fd, view[written:])
