"""One consistent, cached view of the files that jobs read.

A file is kept at its *physical* path (no symbolic link in it) as a ``FileEntry``: an ``Input`` with the
signature (device, inode, size, mtime, ctime) under which its content was read. A folder is a ``DirView``:
it answers what a name in it is, and remembers each answer that somebody relies on, present or absent.
A build folder gets a new object with every job; only a change of a *relied on* answer counts as a change.

Nothing is watched: entries are checked by ``stat`` when a job asks, and ``seen`` (a ``now()`` stamp) spares
a second check to jobs that asked before the first. Content read within the file system's clock
granularity of its last change is not trusted to its signature: it could change again without a trace,
so it is read again the next time. ctime decides, since a program cannot set it.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import Final

from manycc.errors import NotDistributable
from manycc.inputs.contents import Contents
from manycc.inputs.derived import forget, still_valid
from manycc.inputs.entries import (
    ABSENT,
    OTHER,
    RETIRED,
    Answer,
    DirView,
    FileEntry,
    is_settled,
    kind_of_mode,
    list_folder,
    signature_of,
)  # fmt: skip
from manycc.inputs.macros import Macros
from manycc.inputs.scan import Scan
from manycc.job import LINK, Input

_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)
_LSTAT_COST: Final = 4  # one lstat costs about as much as listing four names


class FileView:
    """All files and folders that jobs have asked about.

    ``database``: an SQLite file that keeps digests and scans over restarts; None: memory only.
    ``wall``: the clock that file times are compared with, in ns.
    """

    def __init__(self, database: str | None = None, wall: Callable[[], int] = time.time_ns) -> None:
        self.on_retired: list[Callable[[Input], None]] = []
        self.wall = wall
        self._files: dict[str, FileEntry] = {}
        self._folders: dict[str, DirView] = {}
        self.contents = Contents(database, wall)

    @property
    def warning(self) -> str:
        """A sentence if the database could not be used as it was; else empty."""
        return self.contents.shelves.warning if self.contents.shelves is not None else ""

    @staticmethod
    def now() -> int:
        """A stamp for ``since``."""
        return time.monotonic_ns()

    # -- files

    def digest_of(self, path: str) -> bytes:
        """SHA-256 of a file's content as it is now. Links are followed. Raises OSError."""
        path = os.path.realpath(path)
        entry = self.file(path, source=False)
        if not self.refresh(entry, time.monotonic_ns()):
            entry = self.file(path, source=False)
        return entry.digest

    def file(self, path: str, source: bool = True) -> FileEntry:
        """The entry of the regular file at a physical path, read if it is new but not checked again.

        ``source``: it will be scanned. Raises OSError, NotDistributable(INPUT_TOO_LARGE).
        """
        entry = self._files.get(path)
        if entry is None:
            seen = time.monotonic_ns()
            digest, size, signature, data = self.contents.read(path, source)
            entry = FileEntry(path, digest, size, signature, seen)
            if data is not None:
                self._scan(entry, data)
            self._files[path] = entry
        return entry

    def scan_of(self, entry: FileEntry) -> Scan:
        """What the entry's content may ask for. Raises OSError; FileNotFoundError too if it has just changed."""
        return entry.scan if entry.scan is not None else self._scan(entry, None)

    def macros_of(self, entry: FileEntry) -> Macros:
        """The macros that the entry's content defines. Raises as ``scan_of``."""
        return self.contents.macros(entry.digest, lambda: self._same(entry))

    def refresh(self, entry: FileEntry, now: int) -> bool:
        """Check an entry against its file. False: it is stale (and those who rely on it were told)."""
        if entry.seen == RETIRED:
            return False
        try:
            if entry.signature is not None and signature_of(os.lstat(entry.path)) == entry.signature:
                entry.seen = now
                return True
            digest, size, signature, data = self.contents.read(entry.path, entry.scan is not None, entry.digest)
        except (OSError, NotDistributable):
            self.retire(entry)
            return False
        if digest == entry.digest:
            entry.signature = signature
            entry.seen = now
            return True
        self.retire(entry)
        other = self._files.get(entry.path)  # of after ``start_anew``
        if other is not None:
            if other.digest == digest:
                return False
            self.retire(other)
        fresh = FileEntry(entry.path, digest, size, signature, now)
        if data is not None:
            self._scan(fresh, data)
        self._files[entry.path] = fresh
        return False

    def retire(self, entry: FileEntry) -> None:
        """The entry's content is no more."""
        if entry.seen == RETIRED:
            return
        if self._files.get(entry.path) is entry:
            del self._files[entry.path]
        entry.seen = RETIRED
        entry.signature = None
        forget(entry.dependents)
        self._tell(entry)

    def _tell(self, item: Input) -> None:
        for callback in self.on_retired:
            callback(item)

    def _scan(self, entry: FileEntry, data: bytes | None) -> Scan:
        result = entry.scan = self.contents.scan(entry.digest, lambda: self._same(entry) if data is None else data)
        return result

    def _same(self, entry: FileEntry) -> bytes:
        data = self.contents.again(entry.path, entry.digest)
        if data is None:
            self.retire(entry)
            raise FileNotFoundError(entry.path)
        return data

    # -- folders

    def folder(self, path: str) -> DirView:
        """The view of the folder at a physical path (which need not exist)."""
        folder = self._folders.get(path)
        if folder is None:
            folder = self._folders[path] = DirView(path)
            self.look(folder, time.monotonic_ns())
        return folder

    def parent(self, folder: DirView) -> DirView:
        """The folder that ``..`` leads to."""
        return self.folder(os.path.dirname(folder.path) or "/")

    def ask(self, folder: DirView, name: str) -> Answer:
        """What ``name`` (one component, neither ``.`` nor ``..``) is; the answer is relied on from now."""
        answer = folder.answers.get(name)
        if answer is None:
            kind, link = self._kind(folder, name, None)
            answer = folder.answers[name] = Answer(kind, link)
        return answer

    def watch(self, folder: DirView) -> None:
        """Rely on the whole list of names."""
        if not folder.watched:
            folder.watched = True
            folder.signature = None
            self.look(folder, time.monotonic_ns())

    def recheck(self, folders: Iterable[DirView], since: int) -> bool:
        """Check those folders that were last checked before ``since``. True if an answer has changed."""
        now = time.monotonic_ns()
        changed = False
        for folder in folders:
            if folder.seen >= since:
                continue
            try:
                same = folder.signature is not None and signature_of(os.lstat(folder.path)) == folder.signature
            except OSError:
                same = False
            if same:
                folder.seen = now
            else:
                version = folder.version
                self.look(folder, now)
                changed = changed or folder.version != version
        return changed

    def doubt(self, since: int) -> bool:
        """Check all that was last checked before ``since``. True if an answer or a content has changed."""
        changed = self.recheck(list(self._folders.values()), since)
        now = time.monotonic_ns()
        for entry in list(self._files.values()):
            if entry.seen < since and not self.refresh(entry, now):
                changed = True
        return changed

    def look(self, folder: DirView, now: int) -> None:
        """List a folder, or ask again for the few names that were asked for.

        If an answer that was given has changed, the folder's version grows, and those who rely on it are told.
        """
        started = self.wall()
        old_names = folder.names
        folder.names = None
        folder.signature = None
        folder.seen = now
        try:
            status = os.lstat(folder.path)
            exists = stat.S_ISDIR(status.st_mode)
        except OSError:
            exists = False
        if exists:
            by_name = folder.count > _LSTAT_COST * len(folder.answers) and folder.count > 64
            # In containers devices are mounted over plain files, and a listing tells of the files.
            by_name = by_name or folder.path == "/dev"
            if folder.watched or not by_name:
                folder.names = list_folder(folder.prefix)
                folder.count = len(folder.names) if folder.names is not None else 0
            try:
                listed = signature_of(status)
                if signature_of(os.lstat(folder.path)) == listed and is_settled(status.st_ctime_ns, started):
                    folder.signature = listed
            except OSError:
                pass
        else:
            folder.names = {}
        same = not folder.watched or old_names is None or (folder.names or {}).keys() == old_names.keys()
        for name, answer in folder.answers.items():
            kind, link = self._kind(folder, name, answer.link)
            if kind != answer.kind or link is not answer.link:
                old_link, answer.kind, answer.link = answer.link, kind, link
                same = False
                forget(answer.dependents)
                if old_link is not None:
                    self._tell(old_link)
        if not same:
            folder.version += 1

    @staticmethod
    def _kind(folder: DirView, name: str, known: Input | None) -> tuple[int, Input | None]:
        """What a name is; ``known`` is given back if it is still that very link."""
        names = folder.names
        if names is not None:
            kind = names.get(name, ABSENT)
        else:
            try:
                kind = kind_of_mode(os.lstat(folder.prefix + name).st_mode)
            except OSError as error:
                kind = ABSENT if error.errno in _NOT_THERE else OTHER
            except ValueError:
                kind = ABSENT
        if kind != LINK:
            return kind, None
        try:
            target = os.readlink(folder.prefix + name)
        except OSError:
            return ABSENT, None
        if known is not None and known.target == target:
            return LINK, known
        return LINK, Input(LINK, folder.prefix + name, target=target)

    def sweep(self) -> None:
        """Let go of results that nobody can reach any more."""
        for entry in self._files.values():
            entry.dependents = still_valid(entry.dependents)
        for folder in self._folders.values():
            for answer in folder.answers.values():
                answer.dependents = still_valid(answer.dependents)

    @property
    def size(self) -> int:
        """How many files it keeps."""
        return len(self._files)

    def start_anew(self, kept: Callable[[FileEntry | DirView], bool]) -> None:
        """Forget files and folders, but those that are ``kept``, files never scanned (a compiler's parts), and
        folders whose lists of names are relied on.

        What was worked out before must not be used together with what is asked for from now on. Manifests made
        before stay good: they look at the objects that they hold.
        """
        self._files = {path: entry for path, entry in self._files.items() if entry.scan is None or kept(entry)}
        self._folders = {path: folder for path, folder in self._folders.items() if folder.watched or kept(folder)}
        self.sweep()

    # -- the database

    @property
    def dirty(self) -> bool:
        """Whether ``flush`` has anything to write."""
        return self.contents.shelves is not None and self.contents.shelves.dirty

    def flush(self) -> None:
        """Write what was learned to the database."""
        if self.contents.shelves is not None:
            self.contents.shelves.flush()

    def close(self) -> None:
        """Flush, and let go of the database."""
        if self.contents.shelves is not None:
            self.contents.shelves.close()
