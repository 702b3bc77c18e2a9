"""What is built: real trees, prepared once a run, and the objects a local build of them gives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import sources
import tree_files
from tree_list import TREES, Tree

FOLDER: Final = "/tmp/build"
"""Where every host builds every tree: paths are part of what a compiler writes."""
EPOCH: Final = "1700000000"
_HOLE: Final = "/opt/the-lab-puts-a-launcher-here"
"""Stands in what CMake wrote where a launcher will be; nothing, where there is to be none."""


@dataclass(frozen=True)
class Workload:
    """A tree of ``tree_list``, and how its build is told what to put before the compiler."""

    name: str
    tree: Tree
    build: Sequence[str]
    """``{jobs}`` stands for how many at once, ``{launcher}`` for the launcher and a blank, or nothing."""
    rules: str = ""
    """The file that CMake wrote the launcher into."""
    configure: Sequence[Sequence[str]] = ()

    def command(self, jobs: int, launcher: str) -> list[str]:
        """The command that builds it."""
        before = f"{launcher} " * bool(launcher)
        return [word.format(jobs=jobs, launcher=before) for word in self.build]

    def place(self, prepared: str, folder: str, launcher: str) -> None:
        """Put a prepared tree, ready to be built with a launcher, into a folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared, folder, symlinks=True)
        if self.rules:
            path = os.path.join(folder, self.rules)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            stat = os.stat(path)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace(f"{_HOLE} ", f"{launcher} " * bool(launcher)))
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _cmake(words: Sequence[str]) -> list[str]:
    return [word.format(flags="", manycc=_HOLE) for word in words if "BUILD_TYPE" not in word and "_FLAGS" not in word]


_FONTFORGE: Final = TREES["fontforge"]
WORKLOADS: Final = {
    each.name: each
    for each in (
        Workload("lua", TREES["lua5.4"], ["make", "-C", "src", "-j{jobs}", "linux", "CC={launcher}gcc -std=gnu99"]),
        Workload(
            "re2",
            TREES["re2"],
            ["make", "-j{jobs}", "obj/libre2.a", "REBUILD_TABLES=1", "CXXFLAGS=-O3", "CXX={launcher}g++"],
            configure=TREES["re2"].configure,
        ),
        # Its own flags: -O2 -g.
        Workload("redis", TREES["redis"], ["make", "-j{jobs}", "MALLOC=libc", "V=1", "CC={launcher}gcc"]),
        Workload(
            "fontforge",
            _FONTFORGE,
            ["ninja", "-C", "build", "-j{jobs}"],
            "build/CMakeFiles/rules.ninja",
            # Its own flags: -O2 -g, as CMake is given no build type.
            [_cmake(words) for words in _FONTFORGE.configure],
        ),
    )
}


def lacking(workload: Workload) -> list[str]:
    """What the machine has not, and the tree needs."""
    needs = workload.tree.needs
    return [need for need in needs if not (os.path.exists(need) if "/" in need else shutil.which(need))]


def prepare(workload: Workload, folder: str, run: Callable[[Sequence[str]], object]) -> None:
    """Unpack and configure a tree. ``run`` runs a command there as a host sees it."""
    sources.unpack(workload.tree.package, folder)
    for words in workload.configure:
        run(words)


def objects(folder: str) -> dict[str, str]:
    """The objects in a built tree and their digests."""
    return {path: file.digest for path, file in tree_files.digests(folder).items() if file.is_object}
