"""The toolchains that agents have sent: a list of files each, kept beside the store that holds the contents.

``<store>/shipped/<fingerprint>.json``. The contents are the store's own, which gives up what was not used for
long; then the list is still known, and what is lacking is asked for again. A toolchain that nobody used
for a month is given up whole, and the one that was used least recently where there are too many.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from manycc.job import ToolFile
from manycc.node import tree
from manycc.node.shipped import KINDS
from manycc.store.files import translated
from manycc.store.layout import listed, open_plain, unlink
from manycc.store.store import Store
from manycc.toolchain.identity import fingerprint
from manycc.wire.native import MAX_TOOL_FILES

FOLDER: Final = "shipped"
KEEP_S: Final = 30 * 86400.0
MAX_KEPT: Final = 64
MAX_MANIFEST: Final = 4 * 1024 * 1024
NOTE_S: Final = 600.0
"""How often it is written down that a toolchain is in use."""
_NAME: Final = re.compile(r"([0-9a-f]{64})\.json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A toolchain that was sent, found sound and tried. ``driver`` is the file that is its driver."""

    fingerprint: str
    kind: str
    host: str
    driver: str
    label: str
    defaults: bytes
    files: tuple[ToolFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


class Manifests:
    """Those of one store. Others may share its folder: what is there is looked up, not remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = os.path.join(store.root, FOLDER)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._noted: dict[str, float] = {}

    def get(self, name: str) -> Manifest | None:
        """The toolchain of that fingerprint; None if it is not known."""
        if not _NAME.fullmatch(f"{name}.json"):
            return None
        path = self._path(name)
        try:
            with open_plain(path) as file:
                data = file.read(MAX_MANIFEST + 1)
        except OSError:
            return None
        manifest = _parse(data) if len(data) <= MAX_MANIFEST else None
        if manifest is None or manifest.fingerprint != name:
            unlink(path)
            return None
        return manifest

    def add(self, manifest: Manifest) -> None:
        """Keep one. Raises StoreError."""
        record = {
            "fingerprint": manifest.fingerprint, "kind": manifest.kind, "host": manifest.host,
            "driver": manifest.driver, "label": manifest.label, "defaults": manifest.defaults.hex(),
            "files": [[file.path, file.digest.hex(), file.size] for file in manifest.files],
        }  # fmt: skip
        temporary = self._store.scratch.file()
        try:
            with open(temporary, "x", encoding="ascii") as file:
                json.dump(record, file)
            os.rename(temporary, self._path(manifest.fingerprint))
        except OSError as error:
            raise translated(error) from error
        finally:
            unlink(temporary)
        self.retire(keep=manifest.fingerprint)

    def used(self, name: str) -> None:
        """Note that a toolchain is in use."""
        now = time.time()
        if now - self._noted.get(name, 0.0) > NOTE_S:
            self._noted[name] = now
            with contextlib.suppress(OSError):
                os.utime(self._path(name))

    def retire(self, keep: str = "") -> list[Manifest]:
        """Give up what was not used for long, and what is too much; what was given up."""
        kept: list[Manifest] = []
        gone: list[Manifest] = []
        room = self._store.limit // 2
        for name, used in sorted(self._known(), key=lambda known: (known[0] != keep, -known[1])):
            manifest = self.get(name)
            if manifest is None:
                continue
            room -= manifest.size
            late = time.time() - used > KEEP_S
            (gone if name != keep and (late or room < 0 or len(kept) >= MAX_KEPT) else kept).append(manifest)
        needed = {file.digest for manifest in kept for file in manifest.files}
        for manifest in gone:
            unlink(self._path(manifest.fingerprint))
            for file in manifest.files:
                if file.digest not in needed:
                    self._store.remove(file.digest, executable=True)
        return gone

    def _known(self) -> Iterator[tuple[str, float]]:
        """Fingerprint and time of the last use."""
        for entry in listed(self.folder):
            name = _NAME.fullmatch(entry.name)
            if name:
                with contextlib.suppress(OSError):
                    yield name[1], entry.stat(follow_symlinks=False).st_mtime

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, f"{name}.json")


def _parse(data: bytes) -> Manifest | None:
    """None for what is not whole: its fingerprint tells."""
    try:
        said: Mapping[str, Any] = json.loads(data)
        files = tuple(ToolFile(str(path), bytes.fromhex(digest), int(size)) for path, digest, size in said["files"])
        manifest = Manifest(
            str(said["fingerprint"]), str(said["kind"]), str(said["host"]), str(said["driver"]), str(said["label"]),
            bytes.fromhex(said["defaults"]), files,
        )  # fmt: skip
        sound = (
            manifest.kind in KINDS
            and len(files) <= MAX_TOOL_FILES
            and not any(tree.path_fault(file.path) for file in files)
            and fingerprint(files, manifest.defaults) == manifest.fingerprint
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return manifest if sound else None
