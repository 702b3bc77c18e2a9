"""Which versions crosstool-NG offers, and which of them comes nearest to what is wanted.

It offers one version of each series and names them by symbols of its configuration (``GCC_V_12``). Of an installed or
bootstrapped one the lists are read; the one built in here is for those who write a recipe before they have it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from manycc.errors import ConfigError

PACKAGES: Final = ("gcc", "binutils", "glibc", "musl", "linux")
FEATURES: Final = ("CC_GCC_ENABLE_DEFAULT_PIE", "CC_GCC_LTO_ZSTD", "DEBUG_CT_SAVE_STEPS_LAST_ONLY")
"""Symbols that came late: where a crosstool-NG lacks one, another way must be taken."""

_MAX_FILE: Final = 4 * 1024 * 1024
_offered: Final = re.compile(r'^config ([A-Z0-9_]+_V_[0-9_]+)\n\s+bool "([0-9.]+)', re.MULTILINE)
_symbol: Final = re.compile(r"^(?:menu)?config ([A-Z0-9_]+)$", re.MULTILINE)
_lib_folder: Final = re.compile(r"^[^#\n]*\bCT_LIB_DIR\s*:?=\s*[\"']?([^\"'\s]+)", re.MULTILINE)
_own_version: Final = re.compile(r"^[^#\n]*\bCT_VERSION\s*:?=\s*[\"']?([\w.-]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one crosstool-NG has: by package, the version behind each symbol; the late features it knows.

    ``version`` is its own, ``revision`` what it is called in its repository, ``where`` the folder it was read from.
    """

    version: str
    revision: str
    packages: Mapping[str, Mapping[str, str]]
    features: frozenset[str]
    where: str = ""


class Choice(NamedTuple):
    """What comes nearest: the symbol, its version, and whether that is the very version that is wanted."""

    symbol: str
    version: str
    exact: bool


def key(version: str) -> tuple[int, ...]:
    """For comparing versions; what is no number is left out."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:6])


def nearest(offer: Offer, package: str, wanted: str) -> Choice | None:
    """The version itself, else the nearest of its series, else the newest that is older, else the oldest.

    None if the package is not offered at all.
    """
    choices = sorted((key(version), symbol, version) for symbol, version in offer.packages.get(package, {}).items())
    if not choices:
        return None
    goal = key(wanted)
    told = (
        2 if package == "linux" and goal >= (3,) else 3
    )  # of a kernel's headers, what comes third makes no difference
    same = [choice for choice in choices if _padded(choice[0])[:told] == _padded(goal)[:told]]
    major = 1 if package == "gcc" and goal >= (5,) else 2
    series = [choice for choice in choices if choice[0][:major] == goal[:major]]
    older = [choice for choice in choices if choice[0] < goal]
    _, symbol, version = (same or series or older[-1:] or choices)[0]
    return Choice(symbol, version, bool(same))


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version, 0, 0, 0)[:3]


def read(path: str) -> Offer:
    """What a crosstool-NG offers: the program, or the folder it is in, or that of its sources, once bootstrapped.

    Raises ConfigError.
    """
    program = os.path.join(path, "ct-ng") if os.path.isdir(path) else path
    text = _text(program) if os.path.isfile(program) else ""
    told = _lib_folder.search(text)
    parent = os.path.dirname(os.path.abspath(program))
    places = [told[1] if told else "", parent, os.path.join(os.path.dirname(parent), "share", "crosstool-ng")]
    for folder in filter(None, places):
        lists = os.path.join(folder, "config", "versions")
        if os.path.isdir(lists):
            break
    else:
        raise ConfigError(
            f"{path} is no crosstool-NG with its lists of versions",
            "there is no folder config/versions where it keeps them",
            "in its sources, run ./bootstrap first; else name the installed program ct-ng",
        )
    found = {package: dict(_offered.findall(_text(os.path.join(lists, package + ".in")))) for package in PACKAGES}
    if not found["gcc"]:
        raise ConfigError(f"{lists} names no version of gcc", "", "is this a crosstool-NG of 1.24 or later?")
    known = _symbols(os.path.join(folder, "config"))
    own = _own_version.search(text)
    version = own[1] if own else "unknown"
    return Offer(version, f"crosstool-ng-{version}", found, frozenset(known.intersection(FEATURES)), folder)


def _symbols(folder: str) -> set[str]:
    """The symbols in the .in files below a folder."""
    found: set[str] = set()
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".in"):
                found.update(_symbol.findall(_text(os.path.join(place, name))))
    return found


def _text(path: str) -> str:
    """A file's beginning; "" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def _series(prefix: str, versions: Iterable[str], fields: int) -> dict[str, str]:
    """Versions by symbols, which bear the first ``fields`` numbers of each."""
    return {f"{prefix}_V_{'_'.join(version.split('.')[:fields])}": version for version in versions}


def _run(first: int, last: int, exceptions: Mapping[int, str], form: str = "2.{}") -> Sequence[str]:
    return [exceptions.get(number, form.format(number)) for number in range(first, last + 1)]


_GCC: Final = "5.5.0 6.5.0 7.5.0 8.5.0 9.5.0 10.5.0 11.5.0 12.5.0 13.4.0 14.4.0 15.3.0 16.2.0"
_BINUTILS: Final = {26: "2.26.1", 28: "2.28.1", 29: "2.29.1", 31: "2.31.1", 33: "2.33.1", 35: "2.35.2", 36: "2.36.1"}
_LINUX: Final = "2.6.32 3.2 3.10 3.16 4.4 4.9 4.14 4.19 5.4 5.10 5.15 6.1 6.6 6.12"

BUILT_IN: Final = Offer(
    "1.29.0_rc2",
    "d7a90ff1",
    {
        "gcc": {"GCC_V_4_9": "4.9.4", **_series("GCC", _GCC.split(), 1)},
        "binutils": _series("BINUTILS", _run(26, 47, _BINUTILS), 2),
        "glibc": _series("GLIBC", ["2.17", "2.19", *_run(23, 44, {})], 2),
        "musl": _series("MUSL", ["1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.6"], 3),
        "linux": {"LINUX_V_2_6_32": "2.6.32", **_series("LINUX", _LINUX.split()[1:], 2)},
    },
    frozenset(FEATURES),
)
"""The newest that this was tried with. Of Linux and musl, those that later versions still have."""
