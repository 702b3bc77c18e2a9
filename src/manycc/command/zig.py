"""Which jobs of ``zig cc`` and ``zig c++`` another machine can do.

zig is clang in one program, with headers of its own for each target that is named. It is left alone with all
for which it asks the machine: without ``-target`` it takes the processor, the kernel's version, the C library and the
system's headers that are there. It compiles into a cache and under random names, which some options put into the
object: with these, two compiles on one machine differ. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from manycc.command.outputs import NULL, Wanted
from manycc.command.reading import Reading
from manycc.errors import NotDistributable
from manycc.reasons import Reason

VARIABLES: Final = (
    "ZIG_LIB_DIR", "ZIG_LIBC", "ZIG_VERBOSE_CC", "ZIG_VERBOSE_CMD", "ZIG_VERBOSE_LINK", "ZIG_DEBUG_CMD",
    "ZIG_LLVM_TIME_TRACE_FILE",
)  # fmt: skip
"""Variables that lead zig to other headers, or make it say or write more."""

# Objects of other systems than Linux name the cache (COFF), or are of a kind that is not checked.
_TARGET: Final = re.compile(r"(?!native)[a-z0-9_]+-linux(?:\.[0-9.]+)?(?:-(?!native)[a-z0-9]+(?:\.[0-9.]+)?)?")
_WRONG: Final = ("-m32", "-m64", "-mx32")
"""Options after which zig still links for the target, and fails with the names of files in its cache."""


def check(reading: Reading, env: Mapping[str, str]) -> None:
    """Raise NotDistributable for what only this machine can do."""
    for name in VARIABLES:
        if name in env:
            raise NotDistributable(Reason.ENVIRONMENT, name)
    targets = _targets(reading.probe_args)
    if not targets:
        raise NotDistributable(Reason.NATIVE_TARGET)
    for target in targets:
        if not _TARGET.fullmatch(target):
            raise NotDistributable(Reason.LOCAL_OPTION, f"-target {target}")
    if reading.assembly:
        raise NotDistributable(Reason.LOCAL_OPTION, "-S with zig")
    if _more_than_an_object(reading.wanted) or reading.profiles:
        raise NotDistributable(Reason.LOCAL_OPTION, "what zig writes besides the object lies in its cache")
    if reading.records_switches:
        raise NotDistributable(Reason.LOCAL_OPTION, "recording the options, among which are files of zig's cache")
    for option in reading.argv:
        if option in _WRONG:
            raise NotDistributable(Reason.LOCAL_OPTION, option)


def _targets(words: Sequence[str]) -> list[str]:
    """All targets that are named."""
    behind = [following for word, following in pairwise(words) if word == "-target"]
    return behind + [word.partition("=")[2] for word in words if word.startswith("--target=")]


def _more_than_an_object(wanted: Wanted) -> bool:
    more = wanted.files or wanted.beside or wanted.stems or wanted.dumps
    return bool(more) or wanted.record is not None or wanted.save_temps is not None or wanted.output == NULL
