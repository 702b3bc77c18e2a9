"""Where distcc's users have their host lists: $DISTCC_HOSTS, and three files.

The first of these that is there counts, as with distcc: ``$DISTCC_HOSTS`` (empty means: no hosts), the file
``hosts`` in ``$DISTCC_DIR`` or in ``~/.distcc``, ``/etc/distcc/hosts``.

One difference: a list for the whole system that names nothing but this machine is passed over. Debian
installs such a file as a test; for manycc it would mean "use the node here", when nobody has said so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final, NamedTuple

from manycc.errors import ConfigError
from manycc.hostlist import parse_hosts

SYSTEM_HOSTS: Final = "/etc/distcc/hosts"
MAX_BYTES: Final = 1024 * 1024


class _Read(NamedTuple):
    """A file's text, and which state of the file it is of."""

    state: tuple[int, int, int]
    text: str | None


class DistccHosts:
    """Finds the list; remembers what it read for as long as the file stays as it is."""

    def __init__(self, system_file: str = SYSTEM_HOSTS) -> None:
        self._system_file = system_file
        self._read: dict[str, _Read] = {}

    def find(self, env: Mapping[str, str]) -> tuple[str, str] | None:
        """The list for an environment, and where it came from; None if there is none."""
        text = env.get("DISTCC_HOSTS")
        if text is not None:
            return text, "DISTCC_HOSTS (environment)"
        folder = env.get("DISTCC_DIR")
        if not folder:
            home = env.get("HOME")
            folder = f"{home}/.distcc" if home else None
        for path in (folder and f"{folder}/hosts", self._system_file):
            text = self._text(path) if path else None
            if text is not None:
                return text, path or ""
        return None

    def _text(self, path: str) -> str | None:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        state = (found.st_ino, found.st_size, found.st_mtime_ns)
        known = self._read.get(path)
        if known is None or known.state != state:
            if len(self._read) > 64:  # each user has one; an environment can name any number
                self._read.clear()
            known = self._read[path] = _Read(state, self._load(path))
        return known.text

    def _load(self, path: str) -> str | None:
        try:
            with open(path, "rb") as file:
                text = file.read(MAX_BYTES).decode("utf-8", "surrogateescape")
        except OSError:
            return None
        return None if path == self._system_file and _only_here(text) else text


def _only_here(text: str) -> bool:
    try:
        specs = parse_hosts(text)
    except ConfigError:
        return False
    return all(spec.local or spec.address.startswith("127.") or spec.address in ("localhost", "::1") for spec in specs)
