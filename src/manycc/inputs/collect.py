"""Finding out all that a job reads, and whether it is still so.

The way: the search folders (the compiler's own are asked of it once), the closure of all that the source may
ask for (``search``), and at last a check that nothing changed meanwhile; if something did, it is all done
again, which is cheap since only what rests on the change is worked out anew.

What is kept over restarts is what cannot be had for a ``stat``: digests, scans and macros by content (in the
file view's database), the compiler's include folders and what ``-M`` said (in this module's). The closure
itself is not: from these it is made again about as fast as it could be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from manycc.errors import NotDistributable
from manycc.inputs import includes, opened
from manycc.inputs.closure import Closure, Closures, absolute
from manycc.inputs.computed import MacroIndex
from manycc.inputs.derived import Derived
from manycc.inputs.entries import DirView, FileEntry
from manycc.inputs.fileview import FileView
from manycc.inputs.includes import DefaultFolders
from manycc.inputs.manifest import Items, Manifest, SteadyParts, unchanged
from manycc.inputs.opened import OpenedMemory
from manycc.inputs.resolve import Resolver
from manycc.inputs.scan import FAR, VOLATILE
from manycc.inputs.search import Search
from manycc.inputs.shelf import Shelves
from manycc.inputs.watch import Watcher
from manycc.job import Input, Inputs, Toolchain
from manycc.reasons import Reason
from manycc.wire.native import MAX_INPUTS

if TYPE_CHECKING:
    from manycc.command.parse import Command

_BOUNDS: Final = {includes.SHELF: 10_000, opened.SHELF: 50_000}
_ATTEMPTS: Final = 20
_FLUSH_AFTER_S: Final = 0.5
_MAX_SETS: Final = 512
_MAX_RESULTS: Final = 30_000
"""Look-ups and nodes of all sets of search folders but the largest, of 0.7 KB each."""
_MAX_ANSWERS: Final = 2_000
_ROOM: Final = 4_000
"""Files that may come: with all that is worked out from them, 2 KB each."""
_SWEEP_AFTER: Final = 50_000
"""Results that edits made invalid: each is noted with what it rested on, some 0.1 KB."""
_PREPROCESSED: Final = "cpp-output"


class Collector:
    """Finds and re-checks the inputs of jobs.

    ``database``: an SQLite file that keeps the compiler's answers over restarts; None: memory only.
    """

    def __init__(self, view: FileView, database: str | None) -> None:
        self._view = view
        self._shelves = Shelves(database, _BOUNDS) if database is not None else None
        self._defaults = DefaultFolders(view, self._shelves)
        self._index = MacroIndex(view)
        self._closures: dict[tuple[tuple[str, ...], bool], Closures] = {}
        self._opened = OpenedMemory(self._shelves)
        self._watcher = Watcher(view)
        self._steady = SteadyParts(self._watcher)
        self._flush_timer: asyncio.TimerHandle | None = None
        self._jobs = 0
        """Jobs since files were last forgotten."""
        self._room = _ROOM
        self._most = _ROOM
        self._swept = Derived.forgotten
        view.on_retired.append(self._retired)

    @property
    def warning(self) -> str:
        """A sentence if the database could not be used as it was; else empty."""
        return self._shelves.warning if self._shelves is not None else ""

    @property
    def asked(self) -> int:
        """How often a compiler's -M was run."""
        return self._opened.asked

    def check(self, manifest: Manifest, since: int) -> bool:
        """Whether nothing that matters to a job has changed; ``since``: a stamp of when the job was asked for."""
        return unchanged(self._view, manifest, since, self._watcher)

    async def collect(
        self, command: Command, toolchain: Toolchain, cwd: str, env: Mapping[str, str], extra: Sequence[str], since: int
    ) -> Manifest:
        """Find a job's inputs. ``extra``: absolute names of further files, taken if they exist.

        Raises NotDistributable.
        """
        try:
            self._make_room()
            closures, watched, marks = await self._set_of(command, toolchain, cwd, env)
            extra = (*extra, *marks)
            search = Search(closures, self._index, self._opened, command, toolchain, cwd, env, extra)
            for _ in range(_ATTEMPTS):
                try:
                    closure = await search.closure()
                    manifest = self._manifest(closure, search, watched)
                except OSError:  # a file is no longer what its folder's listing said
                    self._view.doubt(self._view.now())
                    continue
                except NotDistributable as error:
                    # It was judged by what was known before the job was asked for. For a new source, no
                    # more than the folders that lead to it is behind the times.
                    is_new = error.reason is Reason.SOURCE_UNREADABLE and search.recheck_source(since)
                    if not is_new and not self._view.doubt(since):
                        raise
                    continue
                if unchanged(self._view, manifest, max(since, search.since), self._watcher) and search.is_settled(
                    manifest
                ):
                    return manifest
            raise NotDistributable(Reason.INPUTS_UNKNOWN, "an input keeps changing")
        finally:
            self._flush_later()

    def flush(self) -> None:
        """Write what was learned to the databases."""
        self._flush_timer = None
        self._view.flush()
        if self._shelves is not None:
            self._shelves.flush()

    def close(self) -> None:
        """Flush, and let go of the database (not of the view)."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self.flush()
        self._view.on_retired.remove(self._retired)
        self._watcher.close()
        if self._shelves is not None:
            self._shelves.close()

    def _flush_later(self) -> None:
        """Write soon, many jobs at a time."""
        dirty = self._view.dirty or (self._shelves is not None and self._shelves.dirty)
        if dirty and self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_FLUSH_AFTER_S, self.flush)

    def _forget(self, sets: int) -> None:
        """Let go of what was worked out for the sets of search folders that were not used for longest."""
        for old in list(self._closures)[:sets]:
            self._closures.pop(old).drop()
        self._sweep()

    def _sweep(self) -> None:
        """Let go of what rested on facts that have changed since."""
        self._swept = Derived.forgotten
        self._view.sweep()
        for closures in self._closures.values():
            closures.sweep()

    def _make_room(self) -> None:
        """Start anew if more files are known than jobs still under way can need.

        Every source is one more, and nothing says when a build is over. What is needed again comes back at the
        cost of a look; if it has to soon, the build is larger than was thought.
        """
        self._jobs += 1
        if Derived.forgotten - self._swept > _SWEEP_AFTER:
            self._sweep()
        if self._view.size <= self._most:
            return
        if self._jobs < _ROOM // 8:
            self._room *= 2
        self._jobs = 0
        self._forget(len(self._closures))
        self._index.clear()
        self._view.start_anew(self._lasts)
        self._most = self._view.size + self._room

    def _lasts(self, item: FileEntry | DirView) -> bool:
        """Whether it is the system's: few, and all builds use them. But each name of a build is asked for there."""
        return self._watcher.knows(item) and (isinstance(item, FileEntry) or len(item.answers) <= _MAX_ANSWERS)

    def _retired(self, item: Input) -> None:
        self._index.retired(item)
        for closures in self._closures.values():
            closures.retired(item)

    def _manifest(self, closure: Closure, search: Search, watched: Iterable[DirView]) -> Manifest:
        files = {node.entry: None for node in closure.nodes}
        files.update(closure.leaves)
        if len(files) + len(closure.items) > MAX_INPUTS:
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"more than {MAX_INPUTS} inputs")
        closure.folders.update(dict.fromkeys(watched))
        steady = self._steady.of(files, closure.folders)
        for entry in steady.files:
            del files[entry]
        for folder in steady.folders:
            del closure.folders[folder]
        items = Items((*files, *closure.items), steady.files)
        volatile = search.volatile or bool(closure.flags & VOLATILE)
        twins = bool(search.twins)
        far = bool(closure.flags & FAR)
        inputs = Inputs(items, search.how, search.complete, volatile, search.sets_options(closure), twins, far)
        return Manifest(inputs, tuple(files), tuple(closure.folders), steady, search.twins)

    async def _set_of(
        self, command: Command, toolchain: Toolchain, cwd: str, env: Mapping[str, str]
    ) -> tuple[Closures, tuple[DirView, ...], tuple[str, ...]]:
        """The closures of jobs with this one's search folders; and what ``DefaultFolders.ask`` says besides."""
        language = command.language
        if toolchain.kind == "clang" and language.endswith(_PREPROCESSED):  # it follows #include there, too
            language = language.removesuffix(_PREPROCESSED).removesuffix("-") or "c"
        preprocessed = language == "assembler" or language.endswith(_PREPROCESSED)
        given = (*command.quote_dirs, *command.include_dirs, *command.system_dirs, *command.after_dirs)
        defaults: tuple[str, ...] = ()
        watched: tuple[DirView, ...] = ()
        marks: tuple[str, ...] = ()
        if not preprocessed:
            defaults, watched, marks = await self._defaults.ask(toolchain, language, command.probe_args, cwd, env)
        search = tuple(dict.fromkeys([absolute(cwd, name) for name in (*given, *defaults)]))
        key = (search, preprocessed)
        closures = self._closures.pop(key, None)
        if closures is None:
            closures = Closures(Resolver(self._view, search, preprocessed))
            sizes = [kept.size for kept in self._closures.values()]
            # To let go of small ones beside one that is too large would make no room.
            if len(sizes) >= _MAX_SETS or sum(sizes) - max(sizes, default=0) > _MAX_RESULTS:
                self._forget(len(sizes) // 2)
        self._closures[key] = closures  # the last used is the last to go
        return closures, watched, marks
