"""What kind of compiler a command name stands for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

GCC: Final = "gcc"
CLANG: Final = "clang"

_WRAPPERS: Final = frozenset(
    ("buildcache", "cachepot", "ccache", "clcache", "colorgcc", "distcc", "fastbuild", "firebuild", "gomacc", "icecc",
     "manycc", "reclient", "rewrapper", "sccache")
)  # fmt: skip

# A target triple may stand before the name, a version or a thread model after it.
_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+]*-)*"
    r"(?P<name>gcc|g\+\+|cc|c\+\+|c89|c99|clang|clang\+\+)"
    r"(?:-?\d+(?:\.\d+)*)?(?:-posix|-win32)?"
)


@lru_cache(maxsize=256)
def _base_name(name: str) -> str:
    found = _NAME.fullmatch(name.rpartition("/")[2])
    return found["name"] if found else ""


def compiler_kind(name: str) -> str | None:
    """``"gcc"`` or ``"clang"`` by the basename of a command, None if it is no compiler's name.

    ``cc``, ``c++``, ``c89`` and ``c99`` are held to be gcc: who knows better (the toolchain's identity does)
    tells ``parse`` so.
    """
    base = _base_name(name)
    if not base:
        return None
    return CLANG if base.startswith(CLANG) else GCC


def is_wrapper(name: str) -> bool:
    """Whether the command is a program that runs a compiler."""
    base = name.rpartition("/")[2]
    return base in _WRAPPERS or base.partition("-")[0] in _WRAPPERS


def is_cxx(name: str) -> bool:
    """Whether the command is a C++ driver, which takes ``.c`` files for C++."""
    return _base_name(name).endswith("++")
