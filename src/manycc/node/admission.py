"""Whether what an agent asks for is a compile, and nothing but one.

The sandbox alone would keep any program from doing harm; this keeps programs from being run at all.
A job must be a command that the agent's own parser takes for distributable, call the toolchain's
driver, write only where that command says it writes, and see a tree that is one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from manycc.command.drivers import is_zig, private_cache
from manycc.command.parse import Command, parse
from manycc.errors import NotDistributable
from manycc.job import FILE, FOLDER, LINK
from manycc.node import equivalent, tree
from manycc.node.messages import JobMessage
from manycc.node.outputs import Produced
from manycc.node.staging import PRIVATE
from manycc.node.toolchains import Served
from manycc.node.tree import Entry, Tree, refused
from manycc.store.actions import action_key
from manycc.wire import native

ENVIRONMENT: Final = frozenset(
    ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_COLLATE", "LC_NUMERIC", "LC_TIME", "LOCPATH", "PWD",
     "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH",
     "SOURCE_DATE_EPOCH", "GCC_COLORS", "COLUMNS", "TERM", "COLORTERM", "GCC_URLS", "TERM_URLS",
     "GCC_EXTRA_DIAGNOSTIC_OUTPUT", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")
)  # fmt: skip
"""The variables a job may set: those that change what a compiler writes, none that change what it runs."""

_ZIG_CACHE: Final = f"{PRIVATE}/.manycc-zig-cache"


class SystemFolders(NamedTuple):
    """Folders of this machine that a job sees as they are, at their own paths, and cannot write to.

    ``ways`` are the links and folders that lead to them as they are spelled. ``token`` stands for all that is in
    them; empty if that is not known, so that no result can be kept.
    """

    paths: tuple[str, ...] = ()
    ways: tuple[Entry, ...] = ()
    token: bytes = b""


NO_FOLDERS: Final = SystemFolders()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A job that was admitted. ``writable`` are the folders it may write into, ``key`` its action's.

    ``system``: folders of this machine that it sees besides its tree. ``lasting``: whether a success, given its
    files, depends on nothing but what is in the key. ``direct``: whoever asked for it is told what the compiler
    says in any case, and does not look elsewhere.
    """

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    umask: int
    served: Served
    tree: Tree
    writable: tuple[str, ...]
    key: bytes
    may_keep: bool
    may_answer: bool
    expected_rss: int
    command: Command
    terminal: bool
    system: tuple[str, ...] = ()
    lasting: Callable[[Sequence[Produced]], bool] | None = None
    direct: bool = False

    @property
    def source(self) -> str:
        """Absolute path of what is compiled, as spelled."""
        return os.path.join(self.cwd, self.command.source)

    def contents(self) -> Iterable[tuple[bytes, int]]:
        """(digest, size in bytes) of the inputs; the toolchain's own files are not among them."""
        return [
            (entry.digest, entry.size)
            for entry in self.tree.leaves.values()
            if entry.kind == FILE and not entry.executable
        ]


def admit(message: JobMessage, served: Served, entries: Sequence[Entry], system: SystemFolders = NO_FOLDERS) -> Plan:
    """Look at every field of a job. Raises BackendRefused(NODE_REFUSED) with a sentence."""
    stems = [stem.removesuffix("/") for stem in message.stems]  # a stem may end where a name begins
    for path in (message.cwd, *message.folders, *message.outputs, *stems):
        fault = tree.path_fault(path)
        if fault:
            raise refused(fault)
    env = _environment(message)
    try:
        command = parse(message.argv, message.cwd, env, None, served.own.kind)
    except NotDistributable as error:
        raise refused(str(error)) from error
    if command.native:
        raise refused(f"{message.argv[command.native[0]]} means another processor here")
    if command.argv != message.argv:
        raise refused("the command is not spelled out")
    writable = tuple(dict.fromkeys((message.cwd, *message.folders)))
    _check_parts(entries, served)
    if system.paths:
        entries = [*entries, *system.ways]
    change = equivalent.changed(served, message.repair, command, message.cwd, env)
    whole = tree.build(served.tree if change is None else change.base, entries, writable)
    links = whole.links() if any(entry.kind == LINK for entry in entries) else served.links
    _check_system(system.paths, whole, writable)
    _check_driver(message, served, links)
    equivalent.check_searched(served, message.repair, whole, message.cwd, links)
    _check_places(message, command, links)
    if tree.resolve(env.get("PWD", message.cwd), links) != message.cwd:
        raise refused("PWD does not lead to the working folder")
    for entry in served.tree.leaves.values():
        if entry.parent in writable and entry.kind == FILE:
            raise refused(f"{entry.path} of the toolchain lies in a folder that the job may write into")
    terminal = bool(message.flags & native.FLAG_TERMINAL)
    tokens = [entry.token for entry in entries]
    if system.paths:
        tokens.append(system.token)
    cached = bool(message.flags & native.FLAG_CACHE) and bool(system.token or not system.paths)
    key = action_key(
        served.key if change is None else (*served.key, *change.key),
        message.argv,
        message.cwd,
        message.env,
        message.umask,
        tokens,
        (message.folders, message.outputs, message.stems),
        terminal,
    )
    env["PATH"] = served.search_path
    if is_zig(served.real_driver):
        if PRIVATE in writable or _ZIG_CACHE in whole.folders:
            raise refused(f"zig keeps its cache at {_ZIG_CACHE}, where the job has files")
        env |= private_cache(_ZIG_CACHE)
    if change is not None:
        env |= change.env
    return Plan(
        argv=message.argv if change is None else change.argv,
        cwd=message.cwd,
        env=env,
        umask=message.umask,
        served=served,
        tree=whole,
        writable=writable,
        key=key,
        may_keep=cached,
        may_answer=cached and not message.flags & native.FLAG_NO_ANSWER,
        expected_rss=message.expected_rss,
        command=command,
        terminal=terminal,
        system=system.paths,
    )


def _check_parts(entries: Iterable[Entry], served: Served) -> None:
    """No input may be what the compiler, or the loader of programs, takes for a part of its own: it would be run."""
    for entry in entries:
        if entry.path in served.tree.leaves or entry.kind == FOLDER:
            continue
        name = entry.path.rpartition("/")[2]
        for_loader = entry.path == "/etc" or entry.path.startswith("/etc/ld.so.") or name in served.libraries
        if for_loader or name == "specs" or entry.parent in served.places:
            raise refused(f"{entry.path} would be taken for a part of the compiler")


def _check_system(folders: Iterable[str], whole: Tree, writable: Sequence[str]) -> None:
    """Nothing of a job may lie where this machine's own files will be."""
    for folder in folders:
        inside = folder + "/"
        for path in (*whole.leaves, *whole.folders, *writable):
            if path.startswith(inside) or (path == folder and path in writable):
                raise refused(f"{path} lies in {folder}, of which this node has its own")


def _environment(message: JobMessage) -> dict[str, str]:
    env = dict(message.env)
    if len(env) != len(message.env):
        raise refused("an environment variable is set twice")
    for name in env:
        if name not in ENVIRONMENT:
            raise refused(f"the environment variable {name[:100]} is not one that a job may set")
    return env


def _check_driver(message: JobMessage, served: Served, links: dict[str, str]) -> None:
    """The command's first word must be the driver's name, or a path that leads to it."""
    word = message.argv[0]
    if is_zig(word) != is_zig(served.real_driver):
        raise refused(f"{word} is not what the toolchain's driver is called")
    if "/" not in word:
        if word != os.path.basename(served.driver):
            raise refused(f"the command calls {word}, the toolchain's driver is {os.path.basename(served.driver)}")
        return
    if tree.resolve(os.path.join(message.cwd, word), links) != served.real_driver:
        raise refused(f"{word} does not lead to the toolchain's driver")


def _check_places(message: JobMessage, command: Command, links: dict[str, str]) -> None:
    """A job may write where its command says so and into its working folder, and expects nothing else."""
    named = {tree.resolve(os.path.join(message.cwd, folder), links) for folder in command.folders}
    for path in (*command.outputs, *command.stems):
        named.add(tree.resolve(os.path.join(message.cwd, os.path.dirname(path)), links))
    named.add(message.cwd)
    for folder in message.folders:
        if folder not in named:
            raise refused(f"the command does not write into {folder}")
    writable = {message.cwd, *message.folders}
    for path in (*message.outputs, *message.stems):
        if tree.parent_of(path) not in writable and path not in writable:
            raise refused(f"{path} does not lie in a folder that the job writes into")
