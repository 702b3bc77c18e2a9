"""Running a compile here, in its place, and seeing what it did."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from manycc.errors import ManyccError
from manycc.verify.compare import Observed
from manycc.wire.launcher import Request


class LocalRun(NamedTuple):
    """What a compile did. ``rewritten``: the files that were there before and kept their permissions."""

    seen: Observed
    rewritten: frozenset[str]


def run_here(request: Request, folders: Sequence[str], env: Mapping[str, str]) -> LocalRun:
    """Run the compiler itself. ``folders`` are those it writes into, ``env`` goes before the request's.

    Raises ManyccError if it cannot be started.
    """
    before = _files_in(folders)
    try:
        done = subprocess.run(
            request.argv,
            executable=request.compiler,
            cwd=request.cwd,
            env={**request.env, **env, "MANYCC_DISABLE": "1"},
            umask=request.umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise ManyccError(f"{request.compiler} cannot be run", error.strerror or str(error)) from error
    files: dict[str, tuple[int, bytes]] = {}
    rewritten: list[str] = []
    for path, status in _files_in(folders).items():
        old = before.get(path)
        if old is not None and _signature(old) == _signature(status):
            continue
        if old is not None and old.st_ino == status.st_ino:
            rewritten.append(path)
        with open(path, "rb") as file:
            files[path] = (stat.S_IMODE(status.st_mode) & 0o777, file.read())
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return LocalRun(Observed(code, done.stdout, done.stderr, files), frozenset(rewritten))


def _files_in(folders: Sequence[str]) -> dict[str, os.stat_result]:
    """The plain files that lie directly in the folders. A compiler makes no folders."""
    found: dict[str, os.stat_result] = {}
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    found[os.path.join(folder, entry.name)] = entry.stat(follow_symlinks=False)
    return found


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
