"""What ``manycc toolchain`` shows of compilers: all of them in a table, one in full."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any, Final

from manycc.cli.launcher import find_compiler, find_launcher
from manycc.cli.output import print_json, print_table, say
from manycc.command.drivers import ZIG
from manycc.errors import CompilerError, ManyccError, NotDistributable, ToolchainError
from manycc.inputs.fileview import FileView
from manycc.monitor.units import amount, size
from manycc.toolchain import added, machines, probe
from manycc.toolchain.identity import Identifier
from manycc.toolchain.installed import ADDED, Found, installed, runs_here
from manycc.toolchain.parts import Driver, examine

_AT_ONCE: Final = 4


class Seen:
    """A driver that was found, and what it says of itself; ``why`` it says nothing."""

    __slots__ = ("driver", "found", "why")

    def __init__(self, found: Found) -> None:
        self.found = found
        self.driver: Driver | None = None
        self.why = found.refused
        if not self.why and not runs_here(found.host):
            self.why = f"runs on {found.host or 'an unknown processor'}, not on this machine"

    @property
    def target(self) -> str:
        """As the compiler calls it."""
        return self.driver.target if self.driver is not None else ""


async def look_around() -> list[Seen]:
    """Every compiler of this machine, each asked who it is."""
    seen = [Seen(found) for found in installed(os.environ, added.folders(os.environ))]
    gate = asyncio.Semaphore(_AT_ONCE)
    env = probe.environment(os.environ)

    async def ask(one: Seen) -> None:
        if one.why:
            return
        async with gate:
            try:
                one.driver = await examine(one.found.path, env)
            except (CompilerError, NotDistributable) as error:
                one.why = error.why or error.what

    await asyncio.gather(*map(ask, seen))
    return seen


def run_list(options: argparse.Namespace) -> int:
    """All compilers. 1 if there is none that can be used."""
    seen = asyncio.run(look_around())
    kept = added.added(os.environ)
    usable = [one for one in seen if not one.why]
    if options.json:
        print_json(
            {
                "host": machines.this_host(),
                "folders": added.folders(os.environ),
                "compilers": [_as_json(one) for one in seen],
                "added": [
                    {
                        "name": one.name,
                        "folder": one.folder,
                        "source": one.source,
                        "added": one.since,
                        "linked": one.linked,
                    }
                    for one in kept
                ],
            }
        )
        return 0 if usable else 1
    if usable:
        rows = _rows(usable)
        columns = ["compiler", "what it is", "target", "languages", "from"]
        print_table(columns, rows)
    else:
        say("no compiler that can be used was found")
    refused = {one.why: one.found.path for one in reversed(seen) if one.why}
    for why, path in reversed(refused.items()):
        say(f"not used: {why if why.startswith('/') else f'{path}: {why}'}")
    for each in kept:
        day = time.strftime("%Y-%m-%d", time.localtime(each.since)) if each.since else "?"
        where = f"uses {each.linked}" if each.linked else f"from {each.source}"
        say(f"added: {each.name}, {where}, {day} ({each.folder})")
    return 0 if usable else 1


def _rows(usable: Sequence[Seen]) -> list[list[str]]:
    """A row for the drivers of one compiler: gcc and g++ beside each other."""
    rows: dict[tuple[object, ...], tuple[list[Seen], str]] = {}
    for one in usable:
        driver, found = one.driver, one.found
        folder = os.path.dirname(found.path)
        key: tuple[object, ...] = (folder, found.path)
        label = ""
        if driver is not None:
            key = (folder, driver.kind, driver.version, driver.package, driver.target)
            label = f"{driver.kind} {driver.version}" + (f" ({driver.package})" if driver.package else "")
        rows.setdefault(key, ([], label))[0].append(one)
    drawn = []
    for several, label in rows.values():
        several.sort(key=lambda one: one.found.cxx)
        first = several[0]
        host = first.found.host
        foreign = "" if host == machines.this_host() else f" (runs on {host})"
        languages = ", ".join("C, C++" if _is_zig(one) else "C++" if one.found.cxx else "C" for one in several)
        origin = f"added: {first.found.toolchain}" if first.found.origin == ADDED else first.found.origin
        drawn.append([first.found.path, label + foreign, first.target, languages, origin])
    return drawn


def _is_zig(one: Seen) -> bool:
    """Whether it is one program for both languages and all targets."""
    return one.found.kind == ZIG


def _as_json(one: Seen) -> dict[str, Any]:
    driver, found = one.driver, one.found
    return {
        "path": found.path,
        "aliases": found.aliases,
        "kind": driver.kind if driver and not _is_zig(one) else found.kind,
        "version": driver.version if driver else "",
        "package": driver.package if driver else "",
        "target": one.target,
        "host": found.host,
        "language": "" if _is_zig(one) else "c++" if found.cxx else "c",
        "origin": found.origin,
        "toolchain": found.toolchain,
        "refused": one.why,
    }


def find(name: str) -> str:
    """The path of a compiler by its name or path, past manycc's own names for it. Raises ToolchainError."""
    try:
        launcher: str | None = find_launcher()
    except ManyccError:
        launcher = None
    for word in (name,) if name else ("gcc", "clang", "cc"):
        path = find_compiler(word, launcher, os.getcwd(), os.environ)
        if path and os.path.exists(path):
            return os.path.abspath(path)
    one = next((one for one in installed(os.environ, added.folders(os.environ)) if _is_called(one, name)), None)
    if one is None or not name:
        what = f"no compiler {name} was found" if name else "there is no gcc and no clang in PATH"
        raise ToolchainError(what, "", "manycc toolchain list shows those that are")
    return one.path


def _is_called(one: Found, name: str) -> bool:
    return any(os.path.basename(path) == name for path in (one.path, *one.aliases)) or one.toolchain == name


def _for_recipe(path: str, kind: str) -> dict[str, Any] | None:
    """What ``manycc toolchain recipe --from-probe`` reads on another machine; None where no recipe is possible."""
    from manycc.toolchain.crosstool import ask
    from manycc.toolchain.crosstool.probe import to_json

    if kind != "gcc":
        return None
    try:
        return to_json(asyncio.run(ask.ask(path, os.environ)))
    except CompilerError:
        return None


def run_probe(options: argparse.Namespace) -> int:
    """One compiler in full."""
    path = find(options.compiler)
    try:
        one = asyncio.run(Identifier(FileView().digest_of).identify(path, os.environ))
    except NotDistributable as error:
        raise ToolchainError(f"{path} is not a compiler that can be used", error.detail or error.what) from error
    whole = sum(file.size for file in one.files)
    if options.json:
        print_json(
            {
                "path": one.driver, "kind": one.kind, "version": one.version, "target": one.target, "label": one.label,
                "host": one.host, "fingerprint": one.fingerprint, "facts": dict(one.facts), "size": whole,
                "parts": {name: digest.hex() for name, digest in one.components.items()},
                "files": [{"path": file.path, "digest": file.digest.hex(), "size": file.size} for file in one.files],
                "crosstool": _for_recipe(path, one.kind),
            }
        )  # fmt: skip
        return 0
    say(f"{one.driver}: {one.label}")
    say(f"  runs on:     {one.host}")
    say(f"  fingerprint: {one.fingerprint}")
    say(f"  files:       {amount(len(one.files), 'file')}, {size(whole)}: what a node of this kind would need")
    for file in one.files:
        say(f"    {size(file.size):>9}  {file.path}")
    say("  facts:")
    width = max(map(len, one.facts), default=0)
    for name, value in one.facts.items():
        say(f"    {name:{width}}  {value}")
    return 0
