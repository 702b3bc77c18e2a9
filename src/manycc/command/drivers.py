"""What kind of compiler a command name stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

GCC: Final = "gcc"
CLANG: Final = "clang"
ZIG: Final = "zig"
"""A program that is clang when it is called with one of ``_ZIG_DRIVERS`` as first argument."""
_ZIG_DRIVERS: Final = ("cc", "c++")

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
        return CLANG if is_zig(name) else None
    return CLANG if base.startswith(CLANG) else GCC


def is_wrapper(name: str) -> bool:
    """Whether the command is a program that runs a compiler."""
    base = name.rpartition("/")[2]
    return base in _WRAPPERS or base.partition("-")[0] in _WRAPPERS


def is_zig(name: str) -> bool:
    """Whether the command is zig, whose second word says which of its compilers is meant."""
    return name.rpartition("/")[2] == ZIG


def private_cache(folder: str) -> dict[str, str]:
    """The variables with which zig keeps what it remembers in a folder, and finds nothing that was kept elsewhere."""
    return {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}


def driver_words(argv: Sequence[str]) -> int:
    """How many words of a command name the compiler: 2 for ``zig cc``, else 1; 0 if zig is asked for something else."""
    if not is_zig(argv[0]):
        return 1
    return 2 if len(argv) > 1 and argv[1] in _ZIG_DRIVERS else 0


def words_to_ask(driver: str) -> tuple[str, ...]:
    """What stands between a driver and its options when it is tried: without a target zig answers for this machine."""
    return ("cc", "-target", "x86_64-linux-musl") if is_zig(driver) else ()


def is_cxx(name: str) -> bool:
    """Whether the command is a C++ driver, which takes ``.c`` files for C++."""
    return _base_name(name).endswith("++")


def calls_cxx(argv: Sequence[str]) -> bool:
    """Whether a command calls a C++ driver."""
    return is_cxx(argv[driver_words(argv) - 1])
