"""What killed runs have left: processes and their groups, and with them namespaces, mounts and devices; files."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from . import groups
from .names import SCRATCH, abandoned, mine


def sweep() -> None:
    """End and remove it all. Namespaces end with the processes that hold them, and mounts and devices with those."""
    groups.sweep()
    for name in filter(abandoned, os.listdir(SCRATCH)):
        shutil.rmtree(os.path.join(SCRATCH, name), ignore_errors=True)


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder for the files of a run's hosts."""
    folder = os.path.join(SCRATCH, mine("files"))
    os.mkdir(folder, mode=0o755)  # servers that give up root's rights look into it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(folder)
