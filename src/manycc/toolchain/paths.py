"""From a path as it is spelled to the file it means, noting every symbolic link on the way."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

_MAX_LINKS: Final = 40  # as the kernel's own bound
DEFAULT_PATH: Final = "/bin:/usr/bin"
"""What execvp(3) searches when PATH is unset."""


def walk(path: str) -> tuple[str, list[tuple[str, str]]]:
    """The physical path of an absolute ``path``, and the links crossed as (physical place, target).

    ``..`` means the parent of the folder reached, as it does to the kernel. Raises OSError if the
    path leads nowhere.
    """
    links: list[tuple[str, str]] = []
    ahead = path.split("/")[::-1]
    place = ""
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            place = place.rpartition("/")[0]
            continue
        here = f"{place}/{name}"
        if not stat.S_ISLNK(os.lstat(here).st_mode):
            place = here
            continue
        if len(links) >= _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(here)
        links.append((here, target))
        ahead += target.split("/")[::-1]
        if target.startswith("/"):
            place = ""
    return place or "/", links


def find_program(name: str, env: Mapping[str, str]) -> str:
    """Where execvp(3) finds ``name`` along PATH, or "" if nowhere.

    Relative entries of PATH, which mean another folder for each job, are passed over.
    """
    for folder in env.get("PATH", DEFAULT_PATH).split(":"):
        if folder.startswith("/"):
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    return ""


def trusted(path: str) -> bool:
    """Whether only this user or root could have put a program there, and the links that lead to it.

    Others name what a node runs to ask it what it is.
    """
    mine = (0, os.geteuid())
    try:
        real, links = walk(path)
        seen: set[str] = set()
        for place in (real, *(place for place, _ in links)):
            while place not in seen:
                seen.add(place)
                status = os.lstat(place)
                open_to_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
                if status.st_uid not in mine or (open_to_all and not stat.S_ISLNK(status.st_mode)):
                    return False
                place = os.path.dirname(place)
    except OSError:
        return False
    return True
