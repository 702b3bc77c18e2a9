"""What a worker is called by an engine: its node's name, and a word of chance that is kept in the store's folder.

An engine takes two workers of one name for the same one, started anew, and ends the session of the first. Names of
machines are no help: those that are made from one image have one name, one path of the store, and one machine-id.
The word is kept over restarts, so that the engine gives up at once what the node's last life had.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from typing import Final

from manycc.node.text import plain

FILE: Final = "worker-id"
_WORD: Final = re.compile(r"[0-9a-f]{16}")


class WorkerId:
    """One worker's name. ``folder`` is where its word is kept, or not, if it cannot be written."""

    def __init__(self, name: str, folder: str) -> None:
        self._name = plain(name)
        self._path = os.path.join(folder, FILE)
        self._word = self._kept()
        if not self._word:
            self.renew()

    def __str__(self) -> str:
        return f"{self._name}-{self._word}"

    def renew(self) -> None:
        """Take another name: somebody has the same, as after a disk was copied."""
        self._word = secrets.token_hex(8)
        new = f"{self._path}.{self._word}"
        with contextlib.suppress(OSError):
            with open(new, "x", encoding="ascii") as file:
                file.write(self._word + "\n")
            os.replace(new, self._path)

    def _kept(self) -> str:
        try:
            with open(self._path, encoding="ascii", errors="replace") as file:
                word = file.read(100).strip()
        except OSError:
            return ""
        return word if _WORD.fullmatch(word) else ""
