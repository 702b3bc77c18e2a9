"""A compiler of this node that stands in for an agent's: found, offered, and made to write what that one would.

An agent whose compiler neither is here nor can be brought here is offered an installed one of the same kind and
target; whether it makes the same bytes, canaries tell the agent (``backends/equivalent.py``). A job then runs in a
tree that has this node's compiler at its own paths and all else at the agent's, with three changes:

- the agent's driver, where the agent has it, is a link to the one here: the command's first word stays what it is,
  and so do the messages that begin with it;
- what the agent's compiler searches by itself stands in the variable that names system folders for the language.
  There it comes where the built-in folders would, and no option is added that could be written down. The
  compiler's own folders are not there;
- options that state the agent's defaults come last, and where the .ident string is another, ``manycc-ident`` stands
  in the place of the assembler.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from manycc.command.drivers import CLANG, GCC, is_cxx
from manycc.command.languages import search_variable
from manycc.command.parse import Command, parse
from manycc.errors import BackendRefused, CompilerError, NotDistributable
from manycc.inputs.includes import parse_search_list
from manycc.job import FILE, Repair, Toolchain, ToolFile, Way
from manycc.node import tree
from manycc.node.messages import ToolchainMessage
from manycc.node.text import plain
from manycc.node.toolchains import Served
from manycc.node.tree import Entry, Tree, refused
from manycc.reasons import Reason
from manycc.toolchain import elf, facts, machines, probe
from manycc.toolchain.installed import Found, installed
from manycc.toolchain.paths import walk

IDENT_PROGRAM: Final = "manycc-ident"
MAX_LOOKED_AT: Final = 64
"""Compilers that are asked what they are, for one question of an agent."""
MAX_REMEMBERED: Final = 512
_ASIDE: Final = ".manycc"
"""What the assembler's name ends in where ``manycc-ident`` has its place."""
_ident: Final = re.compile(r"[ !#-\[\]-~]{1,200}")
_target: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")
_ASSEMBLY: Final = ("assembler", "assembler-with-cpp")


class StandIn(Served):
    """An installed compiler in an agent's place. ``said`` are its facts, for the agent's target.

    ``searched``: the folders that it would search by itself. ``ident_tree``: as ``tree``, with ``manycc-ident`` in
    place of the assembler, which is at ``assembler``; None where that cannot be.
    """

    __slots__ = ("assembler", "ident_tree", "said", "searched")

    def __init__(
        self,
        own: Toolchain,
        message: ToolchainMessage,
        said: Mapping[str, str],
        searched: frozenset[str],
        ident: ToolFile | None,
    ) -> None:
        """Raises BackendRefused if the agent's driver cannot be where the agent has it."""
        real = walk(own.driver)[0]
        super().__init__(own, _in_place(own, message, real), real, Way.EQUIVALENT)
        self.said = dict(said)
        self.about = {
            "fingerprint": own.fingerprint, "label": own.label, "driver": real, "facts": self.said,
            "host": own.host,
        }  # fmt: skip
        self.searched = searched
        self.assembler = ""
        self.ident_tree: Tree | None = None
        self.key = ("equivalent", ident.digest.hex() if ident else "", *self.key)
        place = _assembler(own)
        if ident is not None and place is not None and own.kind == GCC:
            self.assembler = place.path + _ASIDE
            leaves = dict(self.tree.leaves)
            leaves[place.path] = Entry(FILE, place.path, ident.digest, ident.size, executable=True)
            leaves[self.assembler] = Entry(FILE, self.assembler, place.digest, place.size, executable=True)
            self.ident_tree = Tree(leaves, self.tree.folders)
            self.more = (ident,)


class Change(NamedTuple):
    """What is changed of a job so that this node's compiler does it. ``key`` goes into the action's key."""

    argv: tuple[str, ...]
    env: dict[str, str]
    base: Tree
    key: tuple[str, ...]


def changed(served: Served, repair: Repair | None, command: Command, cwd: str, env: Mapping[str, str]) -> Change | None:
    """The change for a job on a compiler that stands in; None on any other. Raises BackendRefused."""
    if not isinstance(served, StandIn):
        if repair is not None:
            raise refused("a job for the very compiler needs no repair")
        return None
    if repair is None:
        raise refused("a job for an equivalent compiler says what that one must be told")
    # Behind, where a driver puts its defaults: -g records their order.
    end = command.argv.index("--") if "--" in command.argv else len(command.argv)
    argv = (*command.argv[:end], *repair.options, *command.argv[end:])
    _check_options(argv, command, cwd, env, served)
    variables: dict[str, str] = {}
    for folder in repair.search:
        if not folder or ":" in folder:
            raise refused(f"{plain(folder)} cannot be a folder that is searched")
    if repair.search:
        name = search_variable(command.language)
        variables[name] = ":".join(filter(None, (env.get(name, ""), *repair.search)))
    base = served.tree
    wanted = repair.ident if _names_itself(argv, command.language) else ""
    if wanted and wanted != served.said.get("ident"):
        if served.ident_tree is None or not _ident.fullmatch(wanted):
            raise refused("the compiler here cannot be made to call itself as yours does")
        base = served.ident_tree
        variables["MANYCC_AS"] = served.assembler
        variables["MANYCC_IDENT_FROM"] = served.said.get("ident", "")
        variables["MANYCC_IDENT_TO"] = wanted
    return Change(argv, variables, base, ("\0".join(repair.search), "\0".join(repair.options), wanted))


def check_searched(served: Served, repair: Repair | None, whole: Tree, cwd: str, links: Mapping[str, str]) -> None:
    """Raise BackendRefused if the compiler here would find headers where the agent's does not look."""
    if not isinstance(served, StandIn) or repair is None:
        return
    found = served.searched & whole.folders
    if found:
        found -= {tree.resolve(os.path.join(cwd, folder), links) for folder in repair.search}
    if found:
        raise refused(f"{min(found)} is searched by the compiler here, and not by yours")


class Equivalents:
    """Finds compilers that can stand in. For one event loop.

    ``identify`` tells what is behind a driver's path; ``env`` and ``folders`` say where this machine's compilers are
    (``installed``).
    """

    def __init__(
        self,
        identify: Callable[[str], Awaitable[Toolchain]],
        env: Mapping[str, str],
        folders: Sequence[str],
        digest_of: Callable[[str], bytes],
        ident_program: str | None = None,
    ) -> None:
        self._identify = identify
        self._env = dict(env)
        self._folders = tuple(folders)
        self._digest_of = digest_of
        self._ident_program = find_ident_program() if ident_program is None else ident_program
        self._asking = asyncio.Lock()  # agents ask as often as they like
        self._targets: dict[tuple[str, int, int], str] = {}
        self._places: dict[tuple[str, ...], frozenset[str]] = {}

    async def find(self, message: ToolchainMessage) -> StandIn:
        """The installed compiler that is nearest to an agent's. Raises BackendRefused with the sentence why there is
        none."""
        async with self._asking:
            return await self._find(message)

    async def _find(self, message: ToolchainMessage) -> StandIn:
        about = message.about
        wanted = about.facts
        if about.kind not in (GCC, CLANG) or not wanted.get("triple"):
            raise BackendRefused(Reason.NO_TOOLCHAIN, "what it makes code for is not known")
        best: tuple[tuple[object, ...], Toolchain, dict[str, str]] | None = None
        for found in await self._candidates(message):
            try:
                own = await self._identify(found.path)
                said = await self._facts(own, message)
            except (NotDistributable, CompilerError):
                continue
            if own.kind != about.kind or said.get("triple") != wanted["triple"]:
                continue
            rank = (_far(said.get("version", ""), wanted.get("version", "")), said.get("ident") != wanted.get("ident"))
            if best is None or rank < best[0]:
                best = (rank, own, said)
        if best is None:
            sentence = f"no {plain(about.kind)} for {plain(wanted['triple'])} here"
            raise BackendRefused(Reason.NO_TOOLCHAIN, sentence)
        _, own, said = best
        if said.get("version") != wanted.get("version"):
            raise BackendRefused(Reason.NO_TOOLCHAIN, facts.difference(said, wanted))
        return await self._stand_in(own, said, message)

    async def _stand_in(self, own: Toolchain, said: dict[str, str], message: ToolchainMessage) -> StandIn:
        ident = self._ident_file()
        if own.kind == GCC and said.get("ident") != message.about.facts.get("ident") and ident is None:
            why = f"its own name would stand in the objects, for {IDENT_PROGRAM} is not built here"
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"{own.label} might do, but {why}")
        try:
            searched = await self._searched(own, message)
        except CompilerError as error:
            raise BackendRefused(Reason.NO_TOOLCHAIN, str(error)) from error
        return StandIn(own, message, said, searched, ident)

    async def _candidates(self, message: ToolchainMessage) -> list[Found]:
        """Compilers of the right kind, and by what a gcc says itself for the right processor."""
        cxx = is_cxx(os.path.basename(message.driver))
        kind = message.about.kind
        arch = message.about.facts["triple"].partition("-")[0]
        found = [
            one for one in installed(self._env, self._folders) if one.usable and one.kind == kind and one.cxx == cxx
        ][:MAX_LOOKED_AT]
        if kind == CLANG:
            return found
        return [
            one for one in found if machines.triple_of(await self._target(one.path), {}).partition("-")[0] in (arch, "")
        ]

    async def _target(self, path: str) -> str:
        """The target of a gcc as it says itself; asked once for each file."""
        try:
            status = os.stat(path)
            key = (path, status.st_ino, status.st_mtime_ns)
            if key not in self._targets:
                if len(self._targets) >= MAX_REMEMBERED:
                    self._targets.clear()
                answer = await probe.run([path, "-dumpmachine"], probe.environment(self._env))
                self._targets[key] = answer.stdout.strip()
            return self._targets[key]
        except (CompilerError, OSError):
            return "none"

    async def _facts(self, own: Toolchain, message: ToolchainMessage) -> dict[str, str]:
        """What a compiler says of itself for the agent's target."""
        if own.kind != CLANG or own.facts.get("triple") == message.about.facts["triple"]:
            return dict(own.facts)
        return await facts.under(own, _target_options(message), self._env)

    async def _searched(self, own: Toolchain, message: ToolchainMessage) -> frozenset[str]:
        """The folders that the compiler searches by itself, for any language, plain."""
        options = _target_options(message) if own.kind == CLANG else ()
        key = (own.fingerprint, *options)
        if key in self._places:
            return self._places[key]
        env = probe.environment(self._env)
        places: set[str] = set()
        for language in ("c", "c++"):
            if language == "c++" and own.kind == GCC and "cc1plus" not in own.components:
                continue
            answer = await probe.run([own.driver, *options, "-x", language, "-E", "-v", os.devnull], env)
            folders = parse_search_list(answer.stderr) if answer.code == 0 else None
            if folders is None:
                raise CompilerError(f"{own.driver} does not tell where it looks for headers")
            places.update(os.path.normpath(folder) for folder in folders)
            places.update(os.path.realpath(folder) for folder in folders)
        if len(self._places) >= MAX_REMEMBERED:
            self._places.clear()
        self._places[key] = frozenset(places)
        return self._places[key]

    def _ident_file(self) -> ToolFile | None:
        """The program that is put in the assembler's place, if it is there and can run in any tree."""
        path = self._ident_program
        try:
            if not path or elf.loader(path):
                return None
            return ToolFile(path, self._digest_of(path), os.stat(path).st_size)
        except (OSError, CompilerError):
            return None


def find_ident_program() -> str:
    """Where ``manycc-ident`` is: beside this program, or beside its Python. Empty if it was not built."""
    for place in (os.path.abspath(sys.argv[0]), os.path.realpath(sys.argv[0]), sys.executable):
        path = os.path.join(os.path.dirname(place), IDENT_PROGRAM)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _in_place(own: Toolchain, message: ToolchainMessage, mine: str) -> ToolchainMessage:
    """The agent's question as if the agent's driver were a link to the one here."""
    crossed: list[tuple[str, str]] = []
    theirs = tree.resolve(message.driver, dict(message.links), crossed)
    links = dict(own.links)
    if theirs != mine:
        crossed.append((theirs, mine))
    for path, target in crossed:
        if tree.path_fault(path):
            raise refused(tree.path_fault(path))
        if links.setdefault(path, target) != target:
            raise refused(f"{plain(path)} leads elsewhere here")
    return message._replace(links=tuple(sorted(links.items())))


def _assembler(own: Toolchain) -> ToolFile | None:
    digest = own.components.get("as")
    for file in own.files:
        if file.digest == digest and os.path.basename(file.path).endswith("as"):
            return file
    return None


def _check_options(argv: Sequence[str], command: Command, cwd: str, env: Mapping[str, str], served: StandIn) -> None:
    """What states defaults must be nothing but options, and change nothing of what a job reads and writes."""
    try:
        stated = parse(argv, cwd, env, None, served.own.kind)
    except NotDistributable as error:
        raise refused(str(error)) from error
    if stated.native or stated.argv != tuple(argv) or _named(stated) != _named(command):
        raise refused("the options that state defaults do more than that")


def _names_itself(argv: Sequence[str], language: str) -> bool:
    """Whether a compiler writes an .ident string: without one of its own the last of the assembly is the source's."""
    said = [word for word in argv if word in ("-fident", "-fno-ident")]
    return language not in _ASSEMBLY and said[-1:] != ["-fno-ident"]


def _named(command: Command) -> tuple[object, ...]:
    return (
        command.source, command.language, command.output, command.outputs, command.stems, command.folders,
        command.reads, command.forced, command.include_dirs, command.system_dirs, command.quote_dirs,
        command.after_dirs,
    )  # fmt: skip


def _target_options(message: ToolchainMessage) -> tuple[str, ...]:
    """What tells a clang to make code for the agent's target."""
    return (f"--target={message.about.target}",) if _target.fullmatch(message.about.target) else ()


def _far(here: str, there: str) -> tuple[int, ...]:
    """How far a version is from another: 0 for the same, and the first of its numbers weighs most."""
    mine, theirs = (_numbers(version) for version in (here, there))
    return tuple(abs(one - other) for one, other in zip(mine, theirs, strict=True))


def _numbers(version: str) -> list[int]:
    found = [int(number[:9]) for number in re.findall(r"\d+", version)[:4]]
    return found + [0] * (4 - len(found))
