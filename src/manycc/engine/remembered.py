"""On which terms engines served toolchains, over restarts of the agent.

Nobody is believed for it: a trial comes first in any case, for another engine may stand at the same address. But the
trial begins with the terms that were right before, and need not find out again, at fifteen seconds a time, that
nobody takes jobs on the other ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from typing import Final

log = logging.getLogger(__name__)

MAX_REMEMBERED: Final = 1000
MAX_FILE: Final = 1 << 20


class Remembered:
    """By what asked for it, the name of the terms; kept in a file. One that cannot be read or written is done without.

    ``path``: the file; "": nowhere.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._names: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            if path:
                with open(path, "rb") as file:
                    found = json.loads(file.read(MAX_FILE))
                self._names = {str(key): str(name) for key, name in list(found.items())[-MAX_REMEMBERED:]}

    def get(self, *key: str) -> str:
        """The name of the terms; "" if there are none."""
        return self._names.get(_digest(key), "")

    def put(self, name: str, *key: str) -> None:
        """These are right; "" if none are any more."""
        digest = _digest(key)
        if self._names.get(digest, "") == name:
            return
        self._names.pop(digest, None)
        if name:
            self._names[digest] = name
        while len(self._names) > MAX_REMEMBERED:
            del self._names[next(iter(self._names))]
        self._save()

    def _save(self) -> None:
        if not self._path:
            return
        new = f"{self._path}.new"
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(new, "w", encoding="ascii") as file:
                json.dump(self._names, file, indent=1)
            os.replace(new, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


def _digest(key: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()
