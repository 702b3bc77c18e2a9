"""What a build left in its folder, and what two builds differ in."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from typing import Final, NamedTuple

# Logs and stamps of build tools: times, process numbers, the order in which parallel jobs ended; and programs
# that CMake makes in a folder of a random name, which -g records.
_NOISE: Final = (
    "*/.ninja_log", "*/.ninja_deps", "*/config.log", "*/configure.log", "*/meson-logs/*", "*/meson-private/*",
    "*/CMakeFiles/CMakeOutput.log", "*/CMakeFiles/CMakeError.log",
    "*/CMakeFiles/*/CMakeDetermineCompilerABI_*.bin",
)  # fmt: skip

_ELF_OBJECT: Final = 1


class File(NamedTuple):
    """A file's content and mode, or where a link leads."""

    digest: str
    mode: int
    is_object: bool
    """Whether it is a relocatable ELF file."""


def digests(folder: str) -> dict[str, File]:
    """Every file and link below a folder, by its path in it; logs left out."""
    found: dict[str, File] = {}
    for parent, folders, names in os.walk(folder):
        for name in sorted(names + [link for link in folders if os.path.islink(os.path.join(parent, link))]):
            path = os.path.join(parent, name)
            inside = os.path.relpath(path, folder)
            if any(fnmatch.fnmatchcase(f"/{inside}", pattern) for pattern in _NOISE):
                continue
            if os.path.islink(path):
                found[inside] = File(f"leads to {os.readlink(path)}", 0, False)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    data = file.read()
                is_object = data[:4] == b"\x7fELF" and int.from_bytes(data[16:18], "little") == _ELF_OBJECT
                mode = stat.S_IMODE(os.stat(path).st_mode)
                found[inside] = File(hashlib.sha256(data).hexdigest(), mode, is_object)
    return found


def differing(wanted: dict[str, File], got: dict[str, File]) -> list[str]:
    """The paths that are not the same in both; one that is missing or too many says so."""
    found = []
    for path in sorted({*wanted, *got}):
        if path not in got:
            found.append(f"{path} (missing)")
        elif path not in wanted:
            found.append(f"{path} (too many)")
        elif wanted[path] != got[path]:
            found.append(path)
    return found
