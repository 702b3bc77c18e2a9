"""The toolchains that were given to manycc: kept below one folder, found by every node and client of the machine.

::

    <folder>/<name>/record.json     where it came from, when, and which compilers it has
    <folder>/<name>/tree            its files, or a link to the folder where they are

Root's are for all nodes of the machine, and lie where a service can read them; a user's are for what this user runs.
Whatever is added is looked at first: it must have a compiler, for this machine, that compiles.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from manycc.command.drivers import ZIG
from manycc.config import data_dir
from manycc.errors import CompilerError, ManyccError, NotDistributable, ToolchainError, shown
from manycc.inputs.fileview import FileView
from manycc.job import Toolchain
from manycc.toolchain import archive, machines, planting, probe, proving
from manycc.toolchain.identity import Identifier
from manycc.toolchain.installed import Found, drivers_below, look_at, runs_here
from manycc.toolchain.paths import trusted

SYSTEM: Final = "/var/lib/manycc/toolchains"
TREE: Final = "tree"
RECORD: Final = "record.json"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_STAGING: Final = ".adding-"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_RECORD: Final = 65536
_MAX_ADDED: Final = 256


@dataclass(frozen=True, slots=True)
class Added:
    """A toolchain that was added. ``source`` is what was given; ``linked`` the folder where its files stayed."""

    name: str
    folder: str
    source: str
    since: float
    labels: tuple[str, ...]
    linked: str

    @property
    def tree(self) -> str:
        """Where its files are."""
        return os.path.join(self.folder, TREE)


def own_folder(env: Mapping[str, str]) -> str:
    """Where this user's toolchains are put: root's where every node of the machine finds them."""
    if os.geteuid() == 0 and not env.get("MANYCC_DIR"):
        return SYSTEM
    return os.path.join(data_dir(env), "toolchains")


def folders(env: Mapping[str, str]) -> tuple[str, ...]:
    """Where toolchains are looked for: this user's, then those for the whole machine."""
    return tuple(dict.fromkeys((own_folder(env), SYSTEM)))


def added(env: Mapping[str, str]) -> list[Added]:
    """What was added, by this user and for the machine."""
    return [one for folder in folders(env) for one in _in(folder)]


async def add(
    source: str, env: Mapping[str, str], *, name: str = "", copy: bool = False
) -> tuple[Added, list[Toolchain]]:
    """Add an archive, or a folder that stays where it is unless it is to be copied.

    Its compilers are run to be asked. Raises ToolchainError; nothing is left then of what was begun.
    """
    _check_name(name)
    source = os.path.abspath(source)
    whole = archive.Bounds()

    def bring(tree: str) -> None:
        if not os.path.isdir(source):
            archive.unpack(source, tree, whole)
        elif copy:
            os.mkdir(tree, 0o700)
            planting.copy(source, tree, whole.entries, whole.size)
        else:
            os.symlink(source, tree)

    if os.path.isdir(source) and not copy:
        _check_linked(source)
    return await put(source, bring, env, name=name)


async def put(
    source: str, bring: Callable[[str], None], env: Mapping[str, str], *, name: str = ""
) -> tuple[Added, list[Toolchain]]:
    """Add what ``bring(tree)`` makes at the path ``tree``, all or nothing. Raises ToolchainError."""
    above = own_folder(env)
    try:
        with _staged(above) as staging:
            tree = os.path.join(staging, TREE)
            bring(tree)
            toolchains = await check(tree, source, env)
            name = name or _name_for(toolchains, source)
            record = {"source": source, "added": time.time(), "compilers": sorted({one.label for one in toolchains})}
            with open(os.path.join(staging, RECORD), "w", encoding="ascii") as file:
                json.dump(record, file)
                os.fchmod(file.fileno(), 0o644)
            folder = os.path.join(above, name)
            if os.path.lexists(folder):
                raise _taken(name)
            os.sync()  # or a power cut leaves a toolchain of empty files
            os.chmod(staging, 0o755)  # noqa: S103 (nodes of other users read it)
            os.rename(staging, folder)
        # They are asked once more: the names they had while they were brought are gone.
        identifier = Identifier(FileView().digest_of)
        toolchains = [await identifier.identify(folder + one.driver[len(staging) :], env) for one in toolchains]
    except ToolchainError as error:
        raise ToolchainError(error.what or f"{source} is not added", error.why, error.hint) from error
    except OSError as error:
        raise ToolchainError(f"{source} is not added", f"{error.filename or above}: {error.strerror}") from error
    return _read(folder, name), toolchains


def remove(name: str, env: Mapping[str, str]) -> Added:
    """Remove what was added; a folder that was only pointed to stays. Raises ToolchainError."""
    _check_name(name)
    one = next((one for one in added(env) if one.name == name), None)
    if one is None:
        known = ", ".join(one.name for one in added(env)) or "none"
        raise ToolchainError(f"no toolchain {shown(name)} was added", f"those that were: {known}")
    try:
        with _staged(os.path.dirname(one.folder)) as staging:
            away = os.path.join(staging, TREE)
            os.mkdir(away)
            os.rename(one.folder, os.path.join(away, name))  # out of sight first: a node never sees half of it
            shutil.rmtree(away)
    except OSError as error:
        hint = f"sudo manycc toolchain remove {name}" if isinstance(error, PermissionError) else ""
        raise ToolchainError(f"{one.folder} cannot be removed", error.strerror or str(error), hint) from error
    return one


async def check(tree: str, source: str, env: Mapping[str, str]) -> list[Toolchain]:
    """The compilers of a toolchain, one a driver, each tried. Raises ToolchainError if none is for this machine."""
    found = [look_at(path) for path in drivers_below(tree)]
    if not found:
        raise ToolchainError(
            f"{source} has no compiler", "there is no folder bin in it with gcc, TRIPLE-gcc or clang, nor zig"
        )
    sound = [one for one in found if not one.refused]
    if not sound:
        raise ToolchainError(f"{source} has no compiler that can be used", found[0].refused.replace(tree, source))
    here = [one for one in sound if runs_here(one.host)]
    if not here:
        raise ToolchainError(
            f"{source} is for another machine",
            f"its programs run on {sound[0].host or 'an unknown processor'}, this machine is {machines.this_host()}",
            "add it on the machine where it is to run",
        )
    return await _identified(here, tree, source, env)


async def _identified(here: Sequence[Found], tree: str, source: str, env: Mapping[str, str]) -> list[Toolchain]:
    identifier = Identifier(FileView().digest_of)
    toolchains: list[Toolchain] = []
    first: ManyccError | None = None
    asked: set[tuple[object, ...]] = set()
    for one in here:
        status = os.stat(one.path)
        key = (status.st_dev, status.st_ino, one.cxx)
        if key in asked:
            continue
        asked.add(key)
        try:
            if one.kind == ZIG:
                await _try_zig(one.path, env)
                continue
            toolchain = await identifier.identify(one.path, env)
            await proving.compiles(toolchain)
            toolchains.append(toolchain)
        except (CompilerError, NotDistributable) as error:
            first = first or error
    if first is not None and not toolchains:
        why = f"{first.what}: {first.why}" if first.why else first.what
        raise ToolchainError(f"{source} has no compiler that can be used", why.replace(tree, source))
    return toolchains


async def _try_zig(path: str, env: Mapping[str, str]) -> None:
    """Raises CompilerError."""
    answer = await probe.run([path, "version"], probe.environment(env))
    if answer.code or not answer.stdout[:1].isdigit():
        raise CompilerError(f"{path} does not say its version", answer.stderr[:200].strip())


def _check_linked(source: str) -> None:
    """A folder that stays where it is: can nodes run what is there?"""
    if not trusted(source):
        who = "root" if os.geteuid() == 0 else "you or root"
        raise ToolchainError(
            f"{source} is not added",
            f"others than {who} can write there",
            f"manycc toolchain add --copy {shlex.quote(source)}",
        )


def _name_for(toolchains: Sequence[Toolchain], source: str) -> str:
    """What it is, if it is one thing; else what it came as."""
    names = {f"{one.kind}-{one.version}-{one.target}" for one in toolchains}
    name = names.pop() if len(names) == 1 else re.sub(r"\.(?:t?(?:ar|gz|bz2|xz|zst))+$", "", os.path.basename(source))
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).lstrip(".-_+")[:100]
    return name or "toolchain"


def _check_name(name: str) -> None:
    if name and _NAME.fullmatch(name) is None:
        raise ToolchainError(f"{shown(name)} cannot be the name of a toolchain", "letters, digits and ._+- can be used")


def _taken(name: str) -> ToolchainError:
    return ToolchainError(
        f"a toolchain {name} is there already", "", f"manycc toolchain remove {name}, or give another with --name"
    )


@contextlib.contextmanager
def _staged(above: str) -> Iterator[str]:
    """A new folder beside those that were added; what is left of it at the end goes. Raises OSError."""
    _make(above)
    with _locked(above, 0):
        for name in os.listdir(above):
            if name.startswith(_STAGING):
                _clear(os.path.join(above, name))
        staging = tempfile.mkdtemp(prefix=_STAGING, dir=above)
        lock = os.open(staging, _FOLDER)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield staging
    finally:
        os.close(lock)
        shutil.rmtree(staging, ignore_errors=True)


def _make(folder: str) -> None:
    """Make a folder and those above it, so that nodes of other users can enter what root makes."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
            os.chmod(path, 0o755)  # noqa: S103 (see above)


def _clear(path: str) -> None:
    """Remove what a process left behind that was ended while it added something."""
    with contextlib.suppress(OSError), _locked(path, fcntl.LOCK_NB):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str, how: int) -> Iterator[None]:
    lock = os.open(folder, _FOLDER)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(lock)


def _in(folder: str) -> Iterator[Added]:
    try:
        names = sorted(os.listdir(folder))[:_MAX_ADDED]
    except OSError:
        return
    for name in names:
        if _NAME.fullmatch(name) and os.path.isdir(os.path.join(folder, name)):
            yield _read(os.path.join(folder, name), name)


def _read(folder: str, name: str) -> Added:
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, RECORD), "rb") as file:
        read = json.loads(file.read(_MAX_RECORD))
        record = read if isinstance(read, dict) else {}
    since, labels = record.get("added"), record.get("compilers")
    tree = os.path.join(folder, TREE)
    return Added(
        name,
        folder,
        str(record.get("source", "")),
        float(since) if isinstance(since, int | float) else 0.0,
        tuple(map(str, labels)) if isinstance(labels, list) else (),
        os.readlink(tree) if os.path.islink(tree) else "",
    )
