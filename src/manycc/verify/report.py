"""What is kept of a result that differed: a folder with all that is needed to look into it.

::

    reports/20240501-120000-a.cc/
        difference.txt   what differs, for people
        command.json     the command, its folder, environment and umask, toolchain, host, times, inputs
        local/           what the compiler here wrote: exit-code, stdout, stderr, and files/ by their paths
        remote/          the same of the node
        inputs/          the contents of every file that the job reads, by their paths, and the links

The folder is made under another name and renamed when it is whole. The oldest reports go when there are too many.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from manycc.job import FILE, FOLDER, LINK, Input
from manycc.verify.compare import Difference, Observed

log = logging.getLogger(__name__)

MAX_REPORTS: Final = 20
MAX_BYTES: Final = 512 * 1024 * 1024
_UNFINISHED: Final = ".unfinished-"


class Reports:
    """The folder of reports."""

    def __init__(self, root: str) -> None:
        self._root = root
        for name in self._names(_UNFINISHED):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)

    def write(
        self,
        command: Mapping[str, Any],
        here: Observed,
        there: Observed,
        differences: Sequence[Difference],
        inputs: Sequence[Input],
    ) -> str:
        """Write a report; returns its path. ``command`` goes into command.json.

        Raises OSError; nothing is left behind then. An input that is not what it was any more is left out.
        """
        source = re.sub(r"[^A-Za-z0-9._-]", "_", os.path.basename(str(command.get("src", ""))))[-60:]
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{source or 'job'}"
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        work = os.path.join(self._root, f"{_UNFINISHED}{name}-{os.getpid()}")
        os.mkdir(work, 0o700)
        try:
            _write_observed(os.path.join(work, "local"), here)
            _write_observed(os.path.join(work, "remote"), there)
            missing = _copy_inputs(os.path.join(work, "inputs"), inputs)
            listed = [{"path": item.path, "sha256": item.digest.hex()} for item in inputs if item.kind == FILE]
            _write(
                os.path.join(work, "command.json"),
                json.dumps({**command, "inputs": listed, "inputs_missing": missing}, indent=1).encode(),
            )
            _write(os.path.join(work, "difference.txt"), text_of(differences).encode(errors="backslashreplace"))
            path = self._rename(work, name)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        self._bound(os.path.basename(path))
        return path

    def _rename(self, work: str, name: str) -> str:
        for number in range(1, 1000):
            path = os.path.join(self._root, name if number == 1 else f"{name}-{number}")
            try:
                os.rename(work, path)
            except OSError:
                if not os.path.exists(path):
                    raise
            else:
                return path
        raise FileExistsError(17, "too many reports of one second", name)

    def _bound(self, newest: str) -> None:
        names = [name for name in self._names("") if not name.startswith(_UNFINISHED) and name != newest]
        names.sort(key=lambda name: os.lstat(os.path.join(self._root, name)).st_mtime)
        room = MAX_BYTES - _size(os.path.join(self._root, newest))
        sizes = {name: _size(os.path.join(self._root, name)) for name in names}
        while names and (len(names) >= MAX_REPORTS or sum(sizes[name] for name in names) > room):
            log.info("the report %s goes, for there are too many", names[0])
            shutil.rmtree(os.path.join(self._root, names.pop(0)), ignore_errors=True)

    def _names(self, prefix: str) -> list[str]:
        try:
            return [name for name in os.listdir(self._root) if name.startswith(prefix)]
        except OSError:
            return []


def text_of(differences: Sequence[Difference]) -> str:
    """The differences as lines of text."""
    lines: list[str] = []
    for difference in differences:
        lines.append(f"{difference.what}:")
        lines += [f"  {line}" for line in difference.lines]
    return "".join(f"{line}\n" for line in lines)


def _write_observed(folder: str, seen: Observed) -> None:
    os.makedirs(folder, mode=0o700)
    for name, data in (("exit-code", b"%d\n" % seen.exit_code), ("stdout", seen.stdout), ("stderr", seen.stderr)):
        _write(os.path.join(folder, name), data)
    for path, (mode, data) in seen.files.items():
        place = _below(os.path.join(folder, "files"), path)
        _write(place, data)
        os.chmod(place, mode | 0o400)


def _copy_inputs(folder: str, inputs: Sequence[Input]) -> list[str]:
    """Copy what a job reads. Returns the paths of files that could not be had as they were."""
    missing: list[str] = []
    os.makedirs(folder, mode=0o700)
    for item in sorted(inputs, key=lambda item: item.kind == LINK):  # nothing is written through one of the links
        place = _below(folder, item.path)
        if item.kind == FOLDER:
            os.makedirs(place, exist_ok=True)
        elif item.kind == FILE:
            try:
                with open(item.path, "rb", opener=_without_waiting) as file:
                    data = file.read(item.size + 1) or b""
            except OSError:
                data = b""
            if hashlib.sha256(data).digest() == item.digest:
                _write(place, data)
            else:
                missing.append(item.path)
        elif not os.path.lexists(place):
            os.symlink(item.target, place)
    return missing


def _without_waiting(path: str, flags: int) -> int:
    """Open what may have become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _below(root: str, path: str) -> str:
    """The place of an absolute path below a folder, whose folder is made."""
    place = os.path.join(root, os.path.normpath(path).lstrip("/"))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    return place


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _size(folder: str) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total
