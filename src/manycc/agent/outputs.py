"""Outputs come to lie where the compiler would have put them: whole, or not at all.

A file is written under no name (O_TMPFILE), then linked or renamed into its final folder, so that a
killed agent leaves neither half a file nor a stray one. The main output goes last: who sees it, sees
the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from typing import Final

from manycc.errors import BackendError
from manycc.job import Job, OutputFile
from manycc.reasons import Reason
from manycc.toolchain.objectcheck import ObjectKind, check

_counter: Final = itertools.count()


def verify(job: Job, outputs: list[OutputFile], expected: ObjectKind | None, exit_code: int) -> None:
    """Refuse whatever the command would not have written.

    Raises BackendError: UNEXPECTED_OUTPUT for a path that is not the job's or a main output that is
    missing, WRONG_OBJECT for an object of another kind.
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
    if exit_code == 0 and job.outputs:
        main = job.outputs[0]
        if main not in seen:
            raise BackendError(Reason.UNEXPECTED_OUTPUT, f"{main} is missing")
        if expected is not None:
            data = next(output.data for output in outputs if output.path == main)
            sentence = check(data, expected)
            if sentence:
                raise BackendError(Reason.WRONG_OBJECT, sentence)


def _auxiliary(path: str, job: Job) -> bool:
    folder, name = os.path.split(path)
    if folder not in job.folders or not name or name in (".", "..") or "\0" in name:
        return False
    return any(path.startswith(stem) for stem in job.stems)


def place(job: Job, outputs: list[OutputFile]) -> None:
    """Put all outputs into place, the main one last.

    Raises BackendError(OUTPUT_SPECIAL) if one would replace something that is no plain file, and
    BackendError(OUTPUT_FAILED) if the disk refuses; nothing half-written is left in either case.
    """
    main = job.outputs[0] if job.outputs else ""
    ordered = sorted(outputs, key=lambda output: output.path == main)
    for output in ordered:
        try:
            mode = os.lstat(output.path).st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise BackendError(Reason.OUTPUT_SPECIAL, output.path)
        if not output.data.startswith(b"\x7fELF"):
            # An assembler makes a new object; text outputs are written over what was there, which
            # keeps its permissions.
            output.mode = stat.S_IMODE(mode)
    try:
        for output in ordered:
            _write(output.path, output.mode, output.data)
    except OSError as error:
        raise BackendError(Reason.OUTPUT_FAILED, f"{error.filename or ''}: {error.strerror}") from error


def _write(path: str, mode: int, data: bytes) -> None:
    folder = os.path.dirname(path)
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        _write_named(path, mode, data)  # a file system without unnamed files
        return
    try:
        _write_all(fd, data)
        os.fchmod(fd, mode)
        try:
            _give_name(fd, path)
        except FileExistsError:
            name = _temporary(folder)
            _give_name(fd, name)
            try:
                os.rename(name, path)
            except OSError:
                os.unlink(name)
                raise
    finally:
        os.close(fd)


def _give_name(fd: int, path: str) -> None:
    # Only with a folder's descriptor does os.link follow the link in /proc; an absolute path ignores which.
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def _write_named(path: str, mode: int, data: bytes) -> None:
    name = _temporary(os.path.dirname(path))
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


def _temporary(folder: str) -> str:
    return f"{folder}/.manycc-{os.getpid()}-{next(_counter)}.tmp"
