"""Which compiler a driver's path stands for: its toolchain, found once and watched from then on.

What is watched on each job is the state of every file of the toolchain, through the names that the
compiler itself uses, so that a link that leads elsewhere is noticed as well. What costs more than a
stat and changes hardly ever, a new assembler that comes earlier along PATH or a part that was not
installed before, is looked for once a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from manycc.errors import CompilerError, NotDistributable
from manycc.job import Toolchain, ToolFile
from manycc.reasons import Reason
from manycc.toolchain import elf, facts, machines, probe
from manycc.toolchain.parts import Driver, Parts, examine, find_parts, find_tools
from manycc.toolchain.paths import walk

RECHECK: Final = 1.0
"""Seconds between two looks for files that would become parts if they appeared."""

REFUSAL_LASTS: Final = 10.0
"""Seconds for which a refusal is repeated without another examination."""

MAX_REMEMBERED: Final = 512
_ATTEMPTS: Final = 3

_KEY_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "HOME")
_REFUSED_VARIABLES: Final = (
    "GCC_EXEC_PREFIX", "COMPILER_PATH", "LD_PRELOAD", "LD_AUDIT", "CCC_OVERRIDE_OPTIONS", "CLANG_NO_DEFAULT_CONFIG",
)  # fmt: skip
_HARMLESS_PRELOADS: Final = ("libfakeroot", "libeatmydata")

_Key = tuple[str | None, ...]
_State = tuple[int, int, int, int, int]


class _Known:
    """A driver that was identified, or refused: what came of it and what that rests on."""

    __slots__ = ("absent", "refusal", "states", "toolchain", "tools")

    def __init__(self, states: list[tuple[str, _State]]) -> None:
        self.states = states
        self.toolchain: Toolchain | None = None
        self.refusal: NotDistributable | None = None
        self.tools: dict[str, str] = {}
        self.absent: list[str] = []

    def unchanged(self) -> bool:
        """Every file is as it was (false where there was none). The hot path: one stat a file."""
        stat = os.stat
        try:
            for path, (inode, modified, changed, size, device) in self.states:
                now = stat(path)
                if (
                    now.st_ino != inode
                    or now.st_mtime_ns != modified
                    or now.st_ctime_ns != changed
                    or now.st_size != size
                    or now.st_dev != device
                ):
                    return False
        except OSError:
            return False
        return bool(self.states)

    def still_complete(self, env: Mapping[str, str]) -> bool:
        """No other file has come to be a part of it."""
        return not any(map(os.path.exists, self.absent)) and find_tools(self.tools, env) == self.tools


class _Use:
    """A driver in an environment, and when it was last looked at more closely."""

    __slots__ = ("checked", "known")

    def __init__(self, known: _Known) -> None:
        self.known = known
        self.checked = time.monotonic()

    def holds(self, env: Mapping[str, str]) -> bool:
        """What is known is true still: by all that can be looked at, and for a refusal not for long."""
        known = self.known
        if known.refusal is not None and time.monotonic() - self.checked > REFUSAL_LASTS:
            return False
        return known.unchanged() and known.still_complete(env)


class Identifier:
    """Identifies compilers and remembers them. For one event loop.

    ``digest_of(path)`` gives the SHA-256 of a file's content and raises OSError; the caller caches.
    """

    def __init__(self, digest_of: Callable[[str], bytes]) -> None:
        self._digest_of = digest_of
        self._uses: dict[_Key, _Use] = {}
        self._running: dict[_Key, asyncio.Task[_Known]] = {}

    def current(self, driver: str, env: Mapping[str, str]) -> Toolchain | None:
        """The toolchain identified before, always the same object, if its files are unchanged.

        None if it must be identified, or identified again. Costs a stat per file.
        """
        use = self._uses.get(_key(driver, env))
        if use is None or use.known.toolchain is None or not use.known.unchanged():
            return None
        now = time.monotonic()
        if now - use.checked > RECHECK:
            if not use.known.still_complete(env):
                return None
            use.checked = now
        return use.known.toolchain

    async def identify(self, driver: str, env: Mapping[str, str]) -> Toolchain:
        """The toolchain behind a driver's absolute path, in an environment (PATH matters: it leads to
        the assembler). Callers that ask for the same at the same time share one examination.

        Raises NotDistributable (NOT_A_COMPILER, COMPILER_WRAPPER, ENVIRONMENT); CompilerError if the
        compiler cannot be examined.
        """
        if not driver.startswith("/") or "\0" in driver:
            raise NotDistributable(Reason.NOT_A_COMPILER, "not an absolute path")
        _refuse_environment(env)
        key = _key(driver, env)
        use = self._uses.get(key)
        if use is None or not use.holds(env):
            task = self._running.get(key)
            if task is None:
                task = self._running[key] = asyncio.create_task(self._examine(key, driver, dict(env)))
                task.add_done_callback(lambda done: self._finished(key, done))
            # One caller that is cancelled must not take the examination from the others.
            known = await asyncio.shield(task)
        else:
            known = use.known
        if known.toolchain is None:
            assert known.refusal is not None  # noqa: S101 (one of the two is always set)
            raise NotDistributable(known.refusal.reason, known.refusal.detail)
        return known.toolchain

    def _finished(self, key: _Key, task: asyncio.Task[_Known]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # every caller may have gone: the failure is then nobody's

    async def _examine(self, key: _Key, driver: str, env: Mapping[str, str]) -> _Known:
        known = self._same_elsewhere(key, env)
        attempts = 0
        while known is None:
            attempts += 1
            if attempts > _ATTEMPTS:
                raise CompilerError(f"{driver} keeps changing", "", "is it being upgraded?")
            known = await self._identify_now(driver, env)
        if len(self._uses) >= MAX_REMEMBERED:
            for old in list(self._uses)[: MAX_REMEMBERED // 2]:
                del self._uses[old]
        self._uses[key] = _Use(known)
        return known

    def _same_elsewhere(self, key: _Key, env: Mapping[str, str]) -> _Known | None:
        """What is known of the driver under another PATH, if this one leads to the same programs."""
        for other, use in self._uses.items():
            if other[0] == key[0] and other[2:] == key[2:] and other != key:
                known = use.known
                if known.toolchain is not None and known.unchanged() and known.still_complete(env):
                    return known
        return None

    async def _identify_now(self, driver: str, env: Mapping[str, str]) -> _Known | None:
        """None if a file changed meanwhile."""
        asked = probe.environment(env)
        known = _Known([])
        try:
            known.states.append((driver, _state(driver)))
            examined = await examine(driver, asked)
            parts = await find_parts(examined, asked)
            spelled = await _spelled_files(parts, env.get("LD_LIBRARY_PATH"))
            known.states = [(path, _state(path)) for path in spelled]
            known.tools = parts.tools
            known.absent = parts.absent
            said = await facts.find(examined, parts, asked)
            known.toolchain = await self._assemble(examined, parts, spelled, said)
        except NotDistributable as refusal:
            known.refusal = refusal
        except OSError as error:
            if not known.states:
                known.refusal = NotDistributable(Reason.NOT_A_COMPILER, f"{driver}: {error.strerror}")
            else:
                raise CompilerError(f"{driver} cannot be examined", str(error)) from error
        return known if not known.states or known.unchanged() else None

    async def _assemble(
        self, driver: Driver, parts: Parts, spelled: Mapping[str, str], said: Mapping[str, str]
    ) -> Toolchain:
        """Digest all files. ``spelled``: component by path as spelled."""
        files: dict[str, ToolFile] = {}
        links: dict[str, str] = {}
        members: dict[str, set[str]] = {}
        for path, component in spelled.items():
            real, crossed = walk(path)
            links.update(crossed)
            members.setdefault(component, set()).add(real)
            if real not in files:
                files[real] = ToolFile(real, self._digest_of(real), os.stat(real).st_size)
                await asyncio.sleep(0)  # the next 30 MB can wait for whoever else has something to do
        ordered = tuple(files[path] for path in sorted(files))
        components = {name: _digest_contents(files, paths) for name, paths in members.items()}
        components["places"] = _sha256("\0".join(sorted(files)))
        components["defaults"] = _sha256(parts.defaults)
        package = f" ({driver.package})" if driver.package else ""
        return Toolchain(
            fingerprint=fingerprint(ordered, components["defaults"]),
            driver=driver.path,
            kind=driver.kind,
            version=driver.version,
            target=driver.target,
            label=f"{driver.kind} {driver.version}{package} {driver.target}".rstrip(),
            files=ordered,
            links=tuple(sorted(links.items())),
            components=components,
            host=machines.host_of(driver.real),
            facts=said,
        )


def fingerprint(files: Iterable[ToolFile], defaults: bytes) -> str:
    """What names a toolchain: of its files, in the order of their paths, and its component "defaults".

    Whoever has the files can check it.
    """
    whole = hashlib.sha256()
    for file in files:
        whole.update(os.fsencode(file.path) + b"\0" + file.digest)
    whole.update(defaults)
    return whole.hexdigest()


def tool_path(toolchain: Toolchain) -> str:
    """The PATH under which the driver finds itself and the tools it looks up by name."""
    folders = [os.path.dirname(toolchain.driver)]
    for path in [file.path for file in toolchain.files] + [place for place, _ in toolchain.links]:
        if os.path.basename(path) in ("as", "objcopy"):
            folders.append(os.path.dirname(path))
    return ":".join(dict.fromkeys(folders))


async def _spelled_files(parts: Parts, library_path: str | None) -> dict[str, str]:
    """Every file of the toolchain by its spelled path, with the component it belongs to.

    Raises NotDistributable(ENVIRONMENT) if LD_LIBRARY_PATH brings other libraries into the compiler.
    """
    spelled = {path: name for name, path in parts.programs.items()}
    for name, paths in parts.data.items():
        spelled.update(dict.fromkeys(paths, name))
    for path in dict.fromkeys(walk(path)[0] for path in parts.programs.values()):
        found, needs_cache = await elf.libraries(path)
        if library_path is not None and await elf.libraries_under(path, library_path) != found:
            raise NotDistributable(Reason.ENVIRONMENT, f"LD_LIBRARY_PATH changes the libraries of {path}")
        for library in sorted(found):
            spelled.setdefault(library, "libraries")
        if needs_cache:
            spelled[elf.CACHE] = "loader cache"
    return spelled


def _key(driver: str, env: Mapping[str, str]) -> _Key:
    get = env.get
    return (driver, *[get(name) for name in _KEY_VARIABLES], *[get(name) for name in _REFUSED_VARIABLES])


def _refuse_environment(env: Mapping[str, str]) -> None:
    """Raise NotDistributable if a variable puts other programs or libraries into the compiler."""
    for name in _REFUSED_VARIABLES:
        value = env.get(name)
        if value is None or (not value and name.startswith("LD_")):
            continue
        if name == "LD_PRELOAD" and all(
            os.path.basename(item).startswith(_HARMLESS_PRELOADS) for item in value.replace(":", " ").split()
        ):
            continue
        raise NotDistributable(Reason.ENVIRONMENT, name)


def _state(path: str) -> _State:
    found = os.stat(path)
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_dev)


def _digest_contents(files: Mapping[str, ToolFile], paths: set[str]) -> bytes:
    """One file's own digest; for several, a digest over their names and digests."""
    if len(paths) == 1:
        return files[next(iter(paths))].digest
    return hashlib.sha256(
        b"".join(os.fsencode(os.path.basename(path)) + b"\0" + files[path].digest for path in sorted(paths))
    ).digest()


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
