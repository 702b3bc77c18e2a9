"""Following one path as the kernel would, component by component.

So each symbolic link on the way, and each folder crossed by ``..``, is known: they are inputs, too. What a walk
asked for is recorded as a dependency of its result: see ``derived``.
"""

from __future__ import annotations

from typing import Final

from manycc.inputs.derived import Derived
from manycc.inputs.entries import ABSENT, OTHER, DirView
from manycc.inputs.fileview import FileView
from manycc.job import FILE, FOLDER, LINK, Input

_MAX_LINKS: Final = 40  # as the kernel


class Trail:
    """What a walk relied on and came through."""

    __slots__ = ("dependent", "folders", "items")

    def __init__(self, dependent: Derived) -> None:
        self.dependent = dependent
        self.folders: dict[DirView, None] = {}
        self.items: dict[Input, None] = {}


def walk(view: FileView, start: DirView, path: str, trail: Trail) -> tuple[int, DirView, str, DirView | None]:
    """Follow ``path`` from ``start`` as the kernel would.

    Returns (kind, folder, name, home): kind FILE with the folder and the name in it, FOLDER with the folder
    itself, OTHER as FILE, or ABSENT (also links that lead nowhere or in circles). ``home`` is the folder
    that holds the path's last component, or would hold it, before its own links are followed; None if the
    walk did not get that far.
    """
    folder = start
    home: DirView | None = None
    dependent = trail.dependent
    if path.startswith("/"):
        folder = view.folder("/")
    pending = path.split("/")
    pending.reverse()
    trail.folders[folder] = None
    links = 0
    while pending:
        name = pending.pop()
        if not name or name == ".":
            continue
        if name == "..":
            trail.items[folder.item] = None
            folder = view.parent(folder)
            trail.folders[folder] = None
            continue
        if home is None and not any(pending):
            home = folder
        answer = view.ask(folder, name)
        answer.dependents.append(dependent)
        kind = answer.kind
        if kind == FOLDER:
            folder = view.folder(folder.prefix + name)
            trail.folders[folder] = None
        elif kind == FILE:
            if pending:
                break  # a file where a folder is needed, or with a slash behind it
            return FILE, folder, name, home
        elif kind == LINK:
            link = answer.link
            links += 1
            if link is None or links > _MAX_LINKS:
                break
            trail.items[link] = None
            pending.extend(reversed(link.target.split("/")))
            if link.target.startswith("/"):
                folder = view.folder("/")
                trail.folders[folder] = None
        elif kind == OTHER:
            return OTHER, folder, name, home
        else:
            break
    else:
        return FOLDER, folder, "", home
    return ABSENT, folder, "", home
