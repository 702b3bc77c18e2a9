"""The search for one job's inputs: the closure of its source, and what is behind computed operands.

Computed operands are read off the macros of the closure where that is safe; each that becomes known may
bring new files with new macros, until nothing is new. Where it is not safe, the compiler's own ``-M`` says
what it opened, and every other candidate for these names is added.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgpack

from manycc.command.drivers import CLANG, is_zig
from manycc.errors import NotDistributable
from manycc.inputs import includes
from manycc.inputs.closure import Closure, Closures, absolute
from manycc.inputs.computed import MacroIndex, Operands
from manycc.inputs.macros import QUOTED, Body
from manycc.inputs.manifest import Manifest
from manycc.inputs.opened import Opened, OpenedMemory
from manycc.inputs.preprocess import opened_files
from manycc.inputs.resolve import Node
from manycc.inputs.scan import FAR, INCBIN, OPTIONS, PCH, TIMESTAMP, is_far, sets_options
from manycc.inputs.twins import Twins
from manycc.job import Toolchain
from manycc.reasons import Reason

if TYPE_CHECKING:
    from manycc.command.parse import Command

_PREDEFINED: Final = "stdc-predef.h"  # gcc includes it before all else where the system has it
_GRANULE_NS: Final = 20_000_000
_clangs_headers: Final = re.compile(r"/lib(?:32|64)?/clang/[^/]+/include/")


class Search:
    """The search for one job's inputs. ``since``: nothing older than this may be relied on."""

    def __init__(
        self, closures: Closures, index: MacroIndex, opened: OpenedMemory, command: Command, toolchain: Toolchain,
        cwd: str, env: Mapping[str, str], extra: Sequence[str],
    ) -> None:  # fmt: skip
        self.closures = closures
        self.resolver = closures.resolver
        self.since = 0
        self.complete = True
        self.how = "scan"
        self.twins: Twins | None = None
        self.volatile = any("__DATE__" in text or "__TIME__" in text for text in command.defines)
        self._options = any(sets_options(os.fsencode(text)) for text in command.defines)
        self._index = index
        self._opened = opened
        self._command = command
        self._toolchain = toolchain
        self._cwd = cwd
        self._env = env
        self._leaves = [absolute(cwd, name) for name in command.reads]
        self._leaves += extra
        self._source = absolute(cwd, command.source)
        if any("__has_" in text for text in command.defines):
            raise NotDistributable(Reason.INPUTS_UNKNOWN, "a macro of the command line asks which files exist")
        if toolchain.kind == CLANG and any("msvc" in word for word in (toolchain.target, *command.probe_args)):
            raise NotDistributable(Reason.INPUTS_UNKNOWN, "for this target clang also looks beside each includer")
        self._asked_at = 0  # wall clock, ns, when -M was started
        self._fresh: Opened | None = None

    async def closure(self) -> Closure:
        """All that the job may read. Raises OSError if the view has to be refreshed, NotDistributable."""
        # What an assembler includes can be put together by its own macros: its errors are not taken as final.
        # zig tells of its cache's troubles as it tells of errors in a source.
        zig = is_zig(self._toolchain.driver)
        self.complete = not zig and not self._command.language.startswith("assembler")
        self.how = "scan"
        self._asked_at = 0
        closure = self._start()
        if self._fill_in(closure) and not self._twins_of(closure).differing():
            return self._judged(closure)
        self.complete = False
        self.how = "scan+M"
        key = self._key()
        known = self._opened.get(key)
        if known is not None:
            self._add_opened(closure, known.names)
            if _state(closure, self._twins_of(closure)) == known.state:
                self._check_twins(known.names)
                return self._judged(closure)
            closure = self._start()
            self._fill_in(closure)
        self._asked_at = self.resolver.view.wall()
        names = await opened_files(self._toolchain, self._command.argv, self._cwd, self._env)
        self._opened.asked += 1
        self.since = time.monotonic_ns()
        closure = self._start()
        self._fill_in(closure)
        self._add_opened(closure, names)
        self._fresh = Opened(names, _state(closure, self._twins_of(closure)))
        self._check_twins(names)
        return self._judged(closure)

    def sets_options(self, closure: Closure) -> bool:
        """Whether a source may set options for its own code; the compiler's own headers may, they are part of it."""
        if self._options or not closure.flags & OPTIONS:
            return self._options
        parts = tuple(
            os.path.dirname(file.path) + "/include"
            for file in self._toolchain.files
            if os.path.basename(file.path) in ("cc1", "cc1plus")
        )
        return any(
            node.flags & OPTIONS
            and not node.entry.path.startswith(parts)
            and not (self._toolchain.kind == CLANG and _clangs_headers.search(node.entry.path))
            for node in closure.nodes
        )

    def recheck_source(self, since: int) -> bool:
        """Check the folders on the way to the source again; whether it is there after all."""
        resolver = self.resolver
        try:
            lookup = resolver.lookup(self._source)
            resolver.view.recheck((*lookup.folders, *resolver.folders), since)
            return bool(resolver.lookup(self._source).hits)
        except (OSError, NotDistributable):
            return False

    def is_settled(self, manifest: Manifest) -> bool:
        """Whether the compiler, if it was asked, saw the very inputs of the manifest; if so, they are kept."""
        if not self._asked_at or self._fresh is None:
            return True
        limit = self._asked_at - _GRANULE_NS
        if any(entry.signature is None or entry.signature[1] >= limit for entry in manifest.all_files):
            return False
        self._opened.keep(self._key(), self._fresh)
        return True

    def _extend(self, closure: Closure, names: Iterable[str], scanned: bool = True) -> bool:
        return self.closures.extend(closure, self._cwd, names, scanned)

    def _start(self) -> Closure:
        resolver = self.resolver
        command = self._command
        try:
            source = resolver.lookup(self._source)
        except NotDistributable as error:
            if error.reason is Reason.INPUTS_UNKNOWN:
                raise NotDistributable(Reason.SOURCE_UNREADABLE, error.detail) from error
            raise
        if not source.hits and self._source != os.devnull:
            raise NotDistributable(Reason.SOURCE_UNREADABLE, command.source)
        closure = self.closures.begin(self._cwd)
        if resolver.no_folder:
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"{resolver.no_folder} is no folder, or cannot be searched")
        self._extend(closure, (self._source,))
        if not resolver.preprocessed:
            forced = list(command.forced)
            forced += [absolute(self._cwd, name) for name in command.forced]
            forced += [os.path.join(os.path.dirname(self._source), name) for name in command.forced]
            self._extend(closure, (_PREDEFINED, *forced))
            if self._toolchain.kind == "clang":
                for name in command.forced:
                    beside = absolute(self._cwd, name) + ".pch"  # a file, or a folder of several
                    self._extend(closure, (beside,), scanned=False)
                    if resolver.lookup(beside).leads:
                        raise NotDistributable(Reason.PRECOMPILED_HEADER, beside)
        self._extend(closure, self._leaves, scanned=False)
        return closure

    def _fill_in(self, closure: Closure) -> bool:
        """Add what computed operands may mean; False if the compiler has to be asked."""
        if not closure.open_ended:
            return True
        resolver = self.resolver
        index = self._index
        view = resolver.view
        while True:
            understood = True
            size = len(closure.nodes)
            entries = {node.entry for node in closure.nodes}
            index.load(entries)
            operands = Operands(index, entries, self._command.defines)
            for node in list(closure.open_ended):
                scan = view.scan_of(node.entry)
                for operand in scan.computed:
                    bodies = operands.included(operand)
                    if bodies is None or (bodies and not self._extend(closure, _spelled(node, bodies))):
                        understood = False
                for kind, text in scan.exists:
                    bodies = operands.tested(kind, text)
                    if bodies is None:
                        raise NotDistributable(
                            Reason.INPUTS_UNKNOWN, f"computed __has_include({text}) in {node.entry.path}"
                        )
                    if any(is_far(name) for _, name in bodies):
                        closure.flags |= FAR
                    self._extend(closure, _spelled(node, bodies))
            if len(closure.nodes) == size:
                return understood

    def _add_opened(self, closure: Closure, names: Sequence[str]) -> None:
        """Add the files that -M named, and what else their names could have meant."""
        resolver = self.resolver
        homes = [node.home.prefix for node in closure.open_ended]
        prefixes = [_plain(folder) + "/" for folder in resolver.search]
        wanted: dict[str, None] = {}
        for name in names:
            path = absolute(self._cwd, name)
            wanted[path] = None
            plain = _plain(path)
            for prefix in prefixes:
                if plain.startswith(prefix):
                    wanted[plain[len(prefix) :]] = None
            relative = [plain[len(home) :] for home in homes if plain.startswith(home)]
            for tail in relative:
                wanted.update(dict.fromkeys([home + tail for home in homes]))
                wanted[tail] = None
        self._extend(closure, wanted)
        self._fill_in(closure)

    def _twins_of(self, closure: Closure) -> Twins:
        self.twins = Twins([node.entry for node in closure.nodes], closure.flags, self._toolchain.kind)
        return self.twins

    def _check_twins(self, names: Sequence[str]) -> None:
        """Keep the job here if more than one of some files is opened that a node's compiler would not treat alike."""
        if self.twins is None or not (groups := self.twins.differing()):
            return
        lookup = self.resolver.lookup
        opened = {node.entry for name in names for node in lookup(absolute(self._cwd, name)).hits}
        for group in groups:
            if self._toolchain.kind == "clang" or len(opened.intersection(group)) > 1:
                raise NotDistributable(
                    Reason.INPUTS_UNKNOWN, f"{group[0].path} and {group[1].path} have the same content"
                )

    def _judged(self, closure: Closure) -> Closure:
        """The closure, unless something in it keeps the job here."""
        flags = closure.flags
        if closure.pch or flags & PCH:
            raise NotDistributable(Reason.PRECOMPILED_HEADER, closure.pch)
        if flags & TIMESTAMP:
            raise NotDistributable(Reason.TIMESTAMP_MACRO)
        if flags & INCBIN:
            raise NotDistributable(Reason.COMPUTED_INCBIN)
        return closure

    def _key(self) -> bytes:
        variables = [self._env.get(name) for name in includes.VARIABLES]
        command = self._command
        job = (self._toolchain.fingerprint, command.argv, command.language, self._cwd, variables)
        return hashlib.sha256(msgpack.packb(job, unicode_errors="surrogateescape")).digest()


def _spelled(node: Node, bodies: Iterable[Body]) -> list[str]:
    """Names to look up for literal operands in the file of a node."""
    names: list[str] = []
    for kind, name in bodies:
        names.append(name)
        if kind == QUOTED and not name.startswith("/"):
            names.append(node.home.prefix + name)
    return names


def _plain(path: str) -> str:
    """A path without empty and ``.`` components; ``..`` is kept: it may follow a link."""
    return "/" + "/".join([part for part in path.split("/") if part not in ("", ".")])


def _state(closure: Closure, twins: Twins) -> bytes:
    """One digest over all that a closure holds, in whatever order it came together."""
    files = {node.entry: None for node in closure.nodes} | closure.leaves
    lines = [f"{entry.path}\0{entry.digest.hex()}" for entry in files]
    lines += [f"{item.path}\0{item.kind}\0{item.target}" for item in closure.items]
    lines.sort()
    lines.append(repr(twins.identities))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).digest()
