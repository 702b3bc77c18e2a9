"""The system's headers, as this node's own compilers find them.

A request of version 3 brings the user's files and leaves it to the server to have the system's. A job
then sees the folders that its compiler searches by itself, as they are on this machine, and nothing else of it.

What is in them is part of what a result depends on. It is summed up in a digest over the status of every
file there; inotify tells when that must be made anew (``inputs/watch.py``). Where it cannot tell, there is no
digest, and no result is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Final

from manycc.errors import BackendRefused, CompilerError
from manycc.inputs.fileview import FileView
from manycc.inputs.includes import parse_search_list
from manycc.inputs.watch import BLIND, SWEEP_S, Watcher
from manycc.job import FOLDER, LINK, Toolchain
from manycc.node.admission import SystemFolders
from manycc.node.toolchains import Served
from manycc.node.tree import Entry, path_fault
from manycc.reasons import Reason
from manycc.toolchain import probe
from manycc.toolchain.paths import walk

MAX_FILES: Final = 500_000
MAX_REMEMBERED: Final = 64
RETRY_S: Final = 10.0
"""Watching begins anew after it ended, at most this often."""
_TIME: Final = re.compile(rb"__(?:DATE|TIME|TIMESTAMP)__")
_LIBRARY: Final = "-stdlib=libc++"


class SystemHeaders:
    """The system folders of toolchains, and what they hold. For one event loop."""

    def __init__(self) -> None:
        self._found: dict[str, SystemFolders] = {}
        self._digests: dict[tuple[str, ...], _Digest] = {}
        self._timeless: dict[str, tuple[tuple[int, int, int], bool]] = {}

    async def of(self, served: Served) -> SystemFolders:
        """What a job of this toolchain may see. Raises BackendRefused if the compiler does not tell."""
        own = served.own
        key = own.fingerprint + own.driver
        found = self._found.get(key)
        if found is None:
            found = await _find(own)
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            self._found[key] = found
        digest = self._digests.get(found.paths)
        if digest is None:
            digest = self._digests[found.paths] = _Digest(found.paths)
        return found._replace(token=await digest.now())

    def are_timeless(self, paths: Iterable[str]) -> bool:
        """Whether no time or date of the compile can come from these files. To be asked in one thread."""
        return all(map(self._is_timeless, paths))

    def _is_timeless(self, path: str) -> bool:
        try:
            status = os.stat(path)
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._timeless.get(path)
            if known is None or known[0] != state:
                with open(path, "rb") as file:
                    known = (state, is_timeless(file.read()))
                if len(self._timeless) >= MAX_FILES:
                    self._timeless.clear()
                self._timeless[path] = known
        except OSError:
            return False
        return known[1]


def is_timeless(text: bytes) -> bool:
    """Whether a source's text does not ask for the time or the date."""
    return _TIME.search(text) is None


async def _find(own: Toolchain) -> SystemFolders:
    spelled: dict[str, None] = {}
    asked = [["-x", "c"], ["-x", "c++"]]
    if own.kind == "clang":
        asked.append(["-x", "c++", _LIBRARY])
    try:
        commands = [[own.driver, *options, "-E", "-v", os.devnull] for options in asked]
        for answer in await probe.run_all(commands, probe.environment(os.environ)):
            spelled.update(dict.fromkeys(parse_search_list(answer.stderr) or () if answer.code == 0 else ()))
    except CompilerError as error:
        raise BackendRefused(Reason.NO_TOOLCHAIN, f"its include folders are not known: {error}") from error
    return await asyncio.to_thread(_on_disk, own, tuple(spelled))


def _on_disk(own: Toolchain, spelled: tuple[str, ...]) -> SystemFolders:
    found: set[str] = set()
    links: dict[str, str] = {}
    passed: set[str] = set()
    for path in spelled:
        try:
            real, crossed = walk(path)
            steps = [walk(prefix)[0] for prefix in _before_parents(path)]
        except OSError:
            continue  # it would be searched if it existed
        holds_parts = any(file.path.startswith(real + "/") for file in own.files)
        if os.path.isdir(real) and not path_fault(real) and real != "/" and not holds_parts:
            found.add(real)
            links.update(crossed)
            passed.update(steps)
    paths = tuple(sorted(path for path in found if not _is_below(path, found)))
    ways = [Entry(FOLDER, path) for path in sorted({*passed, *paths}) if not _is_below(path, paths)]
    ways += [Entry(LINK, path, target=target) for path, target in links.items() if not _is_below(path, paths)]
    return SystemFolders(paths, tuple(ways))


def _before_parents(path: str) -> Iterator[str]:
    """What stands before each ``..`` of a path: folders that must exist."""
    parts = path.split("/")
    for index, name in enumerate(parts):
        if name == "..":
            yield "/".join(parts[:index])


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(folder + "/") for folder in folders)


class _Digest:
    """The digest over some folders, kept fresh."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths
        self._lock = asyncio.Lock()
        self._watcher: Watcher | None = None
        self._epoch = BLIND
        self._made = 0.0
        self._value = b""

    async def now(self) -> bytes:
        """The digest; empty if it cannot be known."""
        async with self._lock:
            watcher = self._watcher
            now = time.monotonic()
            if watcher is None or watcher.drain() == BLIND:
                if self._made and now - self._made < RETRY_S:
                    return b""
                watcher = self._watcher = Watcher(FileView())
            elif watcher.epoch == self._epoch and now - self._made < SWEEP_S:
                return self._value
            self._epoch = watcher.epoch
            self._made = now
            value = await asyncio.to_thread(_digest, self._paths, watcher)
            self._value = value if watcher.epoch != BLIND else b""
            return self._value


def _digest(paths: Iterable[str], watcher: Watcher) -> bytes:
    """Over name and status of all that lies in these folders; empty if some of it cannot be watched."""
    whole = hashlib.sha256()
    waiting = list(paths)
    count = 0
    while waiting:
        folder = waiting.pop()
        if not watcher.covers(folder):  # before it is looked into
            return b""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                facts = (
                    entry.path,
                    status.st_mode,
                    status.st_ino,
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                )
                whole.update(repr(facts).encode("utf-8", "surrogateescape"))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        except OSError:  # it is being changed
            return b""
        count += len(entries)
        if count > MAX_FILES:
            return b""
    return whole.digest()
