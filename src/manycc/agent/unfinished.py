"""The one name that an agent may leave behind when it is killed, noted so that the next one can remove it.

Needed only where a file system has no unnamed files (``outputs.py``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from manycc.agent.notes import Note, take_over

PREFIX: Final = ".manycc-"
"""How the names begin that may be noted; no other file is ever removed."""
_NOTE: Final = "unfinished"
_MAX: Final = 8192


class Unfinished:
    """This agent's note; what dead agents noted is removed."""

    def __init__(self, folder: str) -> None:
        for left in take_over(folder, _NOTE, _MAX):
            path = os.fsdecode(left)
            if os.path.basename(path).startswith(PREFIX):
                with contextlib.suppress(OSError, ValueError):
                    os.unlink(path)
        self._note = Note(folder, _NOTE)

    @contextlib.contextmanager
    def name(self, path: str) -> Iterator[None]:
        """Meanwhile ``path`` is noted. Raises OSError if it cannot be: then nothing may be begun."""
        self._note.add(os.fsencode(path))
        try:
            yield
        finally:
            self._note.clear()

    def close(self) -> None:
        """Nothing is under way any more."""
        self._note.close()
