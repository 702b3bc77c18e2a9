"""Which file tells a compiler what the user's terminal can do, so that a node's compiler knows it too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

_FOLDERS: Final = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo")


def terminal_paths(env: Mapping[str, str]) -> list[str]:
    """The existing files that terminfo(5) looks for where the user has none of his own."""
    name = env.get("TERM", "")
    if not name or "/" in name:
        return []
    candidates = [f"{folder}/{first}/{name}" for folder in _FOLDERS for first in (name[0], f"{ord(name[0]):02x}")]
    return [path for path in candidates if os.path.isfile(path)]
