"""Files of equal content under several names, which compilers sometimes take for one.

clang goes by the inode: two names of one file are one header to it. gcc goes by content and modification time
(in seconds), but only for ``#pragma once`` and ``#import``. On a node each input is a file of its own, and
those of equal content are equally old.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from manycc.inputs.entries import FileEntry
from manycc.inputs.scan import IMPORT, ONCE

_SECOND_NS: Final = 1_000_000_000
_path: Final = attrgetter("path")


class Twins:
    """The groups of equal files among those a job may include. They are few: each is looked at each time.

    Raises OSError if one is gone.
    """

    __slots__ = ("_by_inode", "_groups", "identities")

    def __init__(self, entries: Iterable[FileEntry], flags: int, kind: str) -> None:
        self._by_inode = kind == "clang"
        groups = _equal(list(dict.fromkeys(entries)))
        if not self._by_inode and not flags & IMPORT:
            groups = [group for group in groups if group[0].scan is not None and group[0].scan.flags & ONCE]
        self._groups = groups
        self.identities = self._look()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._groups)

    def unchanged(self) -> bool:
        """Whether those are still the same that were the same."""
        try:
            return not self._groups or self._look() == self.identities
        except OSError:
            return False

    def differing(self) -> list[list[FileEntry]]:
        """The groups in which a node's compiler would tell apart, or take for one, what the one here does not."""
        found: list[list[FileEntry]] = []
        for group, identities in zip(self._groups, self.identities, strict=True):
            distinct = len(set(identities))
            if (distinct < len(group)) if self._by_inode else (distinct > 1):
                found.append(group)
        return found

    def _look(self) -> list[list[tuple[int, int]]]:
        return [[self._identity(os.lstat(entry.path)) for entry in group] for group in self._groups]

    def _identity(self, status: os.stat_result) -> tuple[int, int]:
        return (status.st_dev, status.st_ino) if self._by_inode else (0, status.st_mtime_ns // _SECOND_NS)


def _equal(entries: list[FileEntry]) -> list[list[FileEntry]]:
    """Those that are not the only ones with their content, by content, in the order of paths. Mostly there are none."""
    if len({entry.digest for entry in entries}) == len(entries):
        return []
    by_digest: dict[bytes, list[FileEntry]] = {}
    for entry in entries:
        by_digest.setdefault(entry.digest, []).append(entry)
    groups = [sorted(group, key=_path) for group in by_digest.values() if len(group) > 1]
    return sorted(groups, key=lambda group: group[0].path)
