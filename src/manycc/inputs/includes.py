"""The include folders that are built into a compiler, asked of that very compiler.

They depend on the language, on options (``--sysroot``, ``-nostdinc``, ``-m32``, …), on variables (``CPATH`` and
its kin, which end up in the same list) and, where any of these is relative, on the working folder.
Folders that do not exist now are kept: the compiler names them, and one may appear.
"""

from __future__ import annotations

import asyncio
import glob
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgpack

from manycc.command.drivers import is_zig
from manycc.errors import NotDistributable
from manycc.inputs.entries import DirView
from manycc.inputs.fileview import FileView
from manycc.inputs.preprocess import run_compiler
from manycc.inputs.shelf import Shelves
from manycc.job import Toolchain
from manycc.reasons import Reason

VARIABLES: Final = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH")
SHELF: Final = "searches"

_TIMEOUT_S: Final = 30.0
_MAX_OUTPUT: Final = 1 << 20
TAKES_PATH: Final = re.compile(r"-[IB]|.*(?:sysroot|prefix|toolchain|resource-dir|isystem|idirafter|multilib)")
_UNUSED: Final = re.compile(r'ignoring (?:nonexistent|duplicate|non-directory) (?:directory|path) "(.*)"')
_ABSENT: Final = re.compile(r'^ignoring nonexistent directory "(.*)"$', re.MULTILINE)
_FRAMEWORK: Final = " (framework directory)"
_GCC_USED: Final = re.compile(r"^Selected GCC installation: (/.*)$", re.MULTILINE)
_INSTALLATIONS: Final = ("/usr/lib/gcc", "/usr/lib/gcc-cross", "/usr/include/c++")


class DefaultFolders:
    """Asks once for each (toolchain, language, options, variables), and remembers over restarts."""

    def __init__(self, view: FileView, shelves: Shelves | None) -> None:
        self._view = view
        self._shelves = shelves
        self._known: dict[bytes, tuple[str, ...]] = {}
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._watched: dict[bytes, list[tuple[DirView, int]]] = {}
        self._marks: dict[bytes, tuple[str, ...]] = {}

    async def ask(
        self, toolchain: Toolchain, language: str, arguments: Sequence[str], cwd: str, env: Mapping[str, str]
    ) -> tuple[tuple[str, ...], tuple[DirView, ...], tuple[str, ...]]:
        """Folder names as the compiler spells them (relative ones from ``cwd``); the folders whose list
        of names the answer rests on; and the files by which clang knows the gcc that it leans on.

        Raises NotDistributable(INPUTS_UNKNOWN) if the compiler does not answer.
        """
        variables = tuple([env.get(name) for name in VARIABLES])
        relative = is_zig(toolchain.driver) or any(variables) or any(map(TAKES_PATH.match, arguments))
        place = cwd if relative else ""
        key: bytes = msgpack.packb(
            (toolchain.fingerprint, language, tuple(arguments), variables, place), unicode_errors="surrogateescape"
        )
        known = self._current(key)
        if known is None:
            async with self._locks.setdefault(key, asyncio.Lock()):
                known = self._current(key)
                if known is None:
                    known = await self._find_out(key, toolchain, language, arguments, cwd, env)
            self._locks.pop(key, None)
        return known, tuple([folder for folder, _ in self._watched.get(key, ())]), self._marks.get(key, ())

    def _current(self, key: bytes) -> tuple[str, ...] | None:
        known = self._known.get(key)
        if known is None or any(folder.version != version for folder, version in self._watched.get(key, ())):
            return None
        return known

    async def _find_out(
        self, key: bytes, toolchain: Toolchain, language: str, arguments: Sequence[str], cwd: str,
        env: Mapping[str, str],
    ) -> tuple[str, ...]:  # fmt: skip
        # clang looks round for installed gcc's, so that its answer is not a matter of its own files alone.
        settled = toolchain.kind == "gcc"
        if settled and self._shelves is not None and key not in self._known:
            stored = self._shelves.get(SHELF, key)
            if stored is not None:
                fields: Any = msgpack.unpackb(stored, unicode_errors="surrogateescape", use_list=False)
                self._known[key] = fields
                return self._known[key]
        if not settled:
            self._watched[key], self._marks[key] = [], ()
            self._watch(key, self._installations(toolchain))
        command = [*arguments, "-x", language, "-E", "-v", os.devnull]
        code, _, stderr = await run_compiler(toolchain.driver, command, cwd, env, _TIMEOUT_S, _MAX_OUTPUT)
        text = os.fsdecode(stderr)
        folders = parse_search_list(text)
        if code != 0 or folders is None:
            detail = next((line for line in text.splitlines() if "error:" in line), "no search list")
            raise NotDistributable(Reason.INPUTS_UNKNOWN, f"asked for its include folders: {detail}"[:300])
        self._known[key] = folders
        if not settled and (used := _GCC_USED.search(text)) is not None:
            self._watch(key, [os.path.dirname(used[1]), used[1]])
            self._marks[key] = _marks(toolchain, used[1])
        if settled and self._shelves is not None:
            self._shelves.put(SHELF, key, msgpack.packb(folders, unicode_errors="surrogateescape"))
        return folders

    def _installations(self, toolchain: Toolchain) -> list[str]:
        triple = toolchain.target
        names = list(_INSTALLATIONS)
        for base in _INSTALLATIONS[:2]:
            names += [f"{base}/{triple}", f"{base}/{triple.replace('-pc-', '-').replace('-unknown-', '-')}"]
        return names

    def _watch(self, key: bytes, names: Sequence[str]) -> None:
        watched = dict(self._watched.get(key, ()))
        for real in map(os.path.realpath, names):
            if os.path.isdir(real):
                folder = self._view.folder(real)
                self._view.watch(folder)
                watched.setdefault(folder, folder.version)
        self._watched[key] = list(watched.items())


def _marks(toolchain: Toolchain, installation: str) -> tuple[str, ...]:
    """What clang knows a gcc by, and with it the headers of C++ and whether libgcc has atomics: for another target
    than its own, for which its files have it."""
    known = {file.path for file in toolchain.files}
    folder = glob.escape(installation)
    found = (*glob.glob(f"{folder}/crtbegin.o"), *glob.glob(f"{folder}/*/crtbegin.o"))
    return tuple(sorted(path for path in found if os.path.realpath(path) not in known))


def parse_searched(text: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The folders that are searched, in their order, out of the compiler's ``-v`` output; and those that it left out
    because they are not there. None if there is no list."""
    absent = tuple(dict.fromkeys(_ABSENT.findall(text)))
    searched: list[str] = []
    inside = False
    for line in text.split("\n"):
        if line.startswith("#include <...>"):
            inside = True
        elif line.startswith("End of search list"):
            return tuple(searched), absent
        elif inside and line.startswith(" ") and not line.endswith(_FRAMEWORK):
            searched.append(line[1:])
    return None


def parse_search_list(text: str) -> tuple[str, ...] | None:
    """The folders in the compiler's ``-v`` output, those it left out too; None if there is no list."""
    folders: dict[str, None] = {}
    inside = complete = False
    for line in text.split("\n"):
        unused = _UNUSED.match(line)
        if unused is not None:
            folders[unused[1]] = None
        elif line.startswith(('#include "..."', "#include <...>")):
            inside = True
        elif line.startswith("End of search list"):
            inside = False
            complete = True
        elif inside and line.startswith(" ") and not line.endswith(_FRAMEWORK):
            folders[line[1:]] = None
    return tuple(folders) if complete else None
