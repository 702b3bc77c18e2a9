"""Dealing with the disk: copies, and what its errors mean."""

from __future__ import annotations

import errno
import os
from typing import Final

from manycc.errors import StoreFull

_CHUNK: Final = 1024 * 1024


def copy_content(source: int, target: int) -> None:
    """Copy one open file into another, sharing the blocks where the file system can. Raises OSError."""
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    while chunk := os.read(source, _CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(target, view) :]


def translated(error: OSError) -> Exception:
    """StoreFull where the disk or a quota is full, else the error as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull("the store's disk is full", error.strerror or "")
    return error
