"""Which compilers a machine has: found by their names and places, seen through, none of them run.

A name is only where to look: what a compiler is and what it makes code for is asked of the compiler itself,
by who wants to know (``identity.Identifier``).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from manycc.command.drivers import ZIG, compiler_kind, is_cxx, is_zig
from manycc.errors import NotDistributable
from manycc.toolchain import elf, machines
from manycc.toolchain.parts import admit
from manycc.toolchain.paths import DEFAULT_PATH, trusted, walk

PATH: Final = "PATH"
ADDED: Final = "added"
FOUND: Final = "found"

MAX_FOUND: Final = 512
_MAX_FOLDERS: Final = 256
_MAX_NAMES: Final = 20_000
_MAX_DEPTH: Final = 4
_MAX_SEEN: Final = 5000

_PLACES: Final = (
    "/opt/bin", "/opt/*/bin", "/opt/*/*/bin", "/usr/local/*/bin", "/usr/lib/llvm-*/bin", "/usr/lib/llvm/*/bin",
    "~/x-tools*/*/bin", "~/x-tools*/bin",
)  # fmt: skip
"""Where compilers are put that are on nobody's PATH; ``~`` is HOME."""

_COMMON: Final = ("gcc", "g++", "clang", "clang++", "cc", "c++", ZIG)
_ANY: Final = ("cc", "c++")
_NOT_DRIVERS: Final = ("c89", "c99")  # scripts of the C standard's names, in front of one that is found anyway


@dataclass(slots=True)
class Found:
    """A compiler's driver. ``path`` is what to call it by; ``aliases`` are other paths to the same.

    ``kind``: "gcc" or "clang" by its name, or ZIG. ``cxx``: it is a C++ driver. ``origin``: PATH, FOUND (in one of the
    usual places), or ADDED; ``toolchain`` is the name it was added under. ``host``: what it runs on, as
    ``machines.host_of`` says. ``refused``: the sentence why it is not to be run; empty if it may be.
    """

    path: str
    kind: str
    cxx: bool
    origin: str
    toolchain: str = ""
    host: str = ""
    refused: str = ""
    aliases: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether it may be run and asked, here and by this user."""
        return not self.refused and runs_here(self.host)


def installed(env: Mapping[str, str], folders: Sequence[str] = ()) -> list[Found]:
    """The compilers along PATH, those in ``folders`` (``added.folders``), and those in the usual places.

    Each is told once, refused ones with the reason. Reads folders and first bytes, some milliseconds; runs nothing.
    """
    known: dict[tuple[object, ...], Found] = {}
    for path, origin, toolchain in islice(_candidates(env, folders), _MAX_NAMES):
        found = look_at(path)
        key = _key(found)
        if key in known:
            if path != known[key].path and path not in known[key].aliases:
                known[key].aliases.append(path)
        elif len(known) < MAX_FOUND:
            found.origin, found.toolchain = origin, toolchain
            known[key] = found
    return list(known.values())


def look_at(path: str) -> Found:
    """What can be said of a driver without running it."""
    name = os.path.basename(path)
    kind = ZIG if is_zig(name) else compiler_kind(name) or ZIG
    found = Found(path, kind, is_cxx(name), FOUND)
    try:
        real = walk(path)[0] if kind == ZIG else admit(path)
        if kind != ZIG:
            found.kind = compiler_kind(os.path.basename(real)) or kind
        found.host = machines.host_of(real)
        if kind == ZIG and not elf.first_bytes(real, 4).startswith(elf.MAGIC):
            found.refused = f"{path} is no program"
        elif not trusted(path):
            found.refused = f"{path} lies where other users can write"
    except NotDistributable as refusal:
        found.refused = refusal.detail or str(refusal)
    except OSError as error:
        found.refused = f"{path}: {error.strerror}"
    return found


def drivers_below(root: str) -> list[str]:
    """The drivers of a toolchain's folder, whatever its layout: those in the ``bin`` folders nearest to the top."""
    drivers: list[str] = []
    ahead = [(root, 0)]
    for folder, depth in islice(ahead, _MAX_SEEN):
        here = list(_drivers_in(os.path.join(folder, "bin"))) or list(_drivers_in(folder))
        drivers += here
        if here or depth == _MAX_DEPTH:
            continue  # what lies below has the compiler's own parts: TRIPLE/bin, libexec, a sysroot
        for name in sorted(_folders_in(folder)):
            if len(ahead) < _MAX_SEEN:
                ahead.append((os.path.join(folder, name), depth + 1))
    return drivers[:MAX_FOUND]


def runs_here(host: str) -> bool:
    """Whether this machine runs programs of that kind: its own, or its own processor's older ones."""
    mine = machines.this_host()
    return host == mine or (mine, host) in (("x86-64", "x86"), ("aarch64", "arm"))


def _candidates(env: Mapping[str, str], folders: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Path, origin, name of the added toolchain."""
    along = [folder for folder in env.get("PATH", DEFAULT_PATH).split(":") if folder.startswith("/")]
    once = {os.path.realpath(folder): folder for folder in reversed(along)}  # /bin is /usr/bin in most places
    for folder in islice((folder for folder in dict.fromkeys(along) if folder in once.values()), _MAX_FOLDERS):
        # Where others can write nothing is used, so not much is looked at: WSL has dozens of Windows' folders in PATH.
        names = None if trusted(folder) else _COMMON
        for path in _drivers_in(folder, names):
            yield path, PATH, ""
    for above in folders:
        for name in sorted(_folders_in(above)):
            for path in drivers_below(os.path.join(above, name, "tree")):
                yield path, ADDED, name
    home = env.get("HOME", "")
    places = [place for place in _PLACES if place[0] == "/" or home.startswith("/")]
    patterns = [place.replace("~", glob.escape(home), 1) for place in places]
    usual = [folder for pattern in patterns for folder in sorted(islice(glob.iglob(pattern), _MAX_FOLDERS))]
    for folder in islice(usual, _MAX_FOLDERS):
        for path in _drivers_in(folder):
            yield path, FOUND, ""


def _drivers_in(folder: str, names: Sequence[str] | None = None) -> Iterator[str]:
    """The drivers in a folder, of all names or of some: the shortest first, those that could be any compiler's last."""
    if names is None:
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, _MAX_NAMES) if _is_driver(entry.name)]
        except OSError:
            return
    for name in sorted(names, key=lambda name: (name in _ANY, len(name), name)):
        path = os.path.join(folder, name)
        if os.path.islink(path) or os.path.isfile(path):
            yield path


def _is_driver(name: str) -> bool:
    return name == ZIG or (compiler_kind(name) is not None and not name.startswith(_NOT_DRIVERS))


def _folders_in(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, _MAX_NAMES):
                if not entry.name.startswith(".") and entry.name != "sysroot" and entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError:
        return


def _key(found: Found) -> tuple[object, ...]:
    """Equal for two paths to one compiler.

    gcc finds its parts from where the program lies; clang is one program for C and C++, and for each
    target that its name begins with.
    """
    try:
        status = os.stat(found.path)
    except OSError:
        return (found.path,)
    place = os.path.dirname(os.path.realpath(found.path))
    name = os.path.basename(found.path)
    prefix = name[: name.index("clang")] if "clang" in name else ""
    return (status.st_dev, status.st_ino, place, found.cxx, prefix, bool(found.refused))
