"""Running a job without a sandbox: in a folder that the compiler takes for the root of the system.

This is for machines where user namespaces are forbidden. The staged compiler is told that its system
lies in the job's folder (``--sysroot``), that this folder's name is to be left out of everything
(``-ffile-prefix-map``), and to run with its absolute paths put below it. Messages and depfiles are
mapped back. That leaves the bytes of a plain object as they are; whatever else a command asks for is
refused, and so is a result in which the folder's name still shows.

Nothing keeps a compiler from opening another file of this machine here. Where it will write is looked
at before it runs, through all links. What it will read is asked of its front end first, and of the
assembler afterwards (not of the preprocessor alone: pragmas change macros only where something is
compiled); and since messages quote the lines of whatever file ``#line`` names, they are asked for once
more in a form that tells the files. A job that reads anything outside of its folder gets neither outputs
nor messages.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from manycc.command.options import Action
from manycc.command.table import TABLES
from manycc.errors import BackendRefused
from manycc.job import FILE, LINK
from manycc.node import outputs, tree
from manycc.node.admission import Plan
from manycc.node.depfile import names_in, without_prefix
from manycc.node.options import NodeOptions
from manycc.node.outputs import Produced, close_all
from manycc.node.process import Child, Finished
from manycc.node.runner import Keep, ProcessLimit, Ran, finish, output_limit, time_limit
from manycc.node.sandbox import Sandbox
from manycc.node.staging import Root
from manycc.node.tree import Tree, refused
from manycc.node.verdict import judge
from manycc.store.store import Store
from manycc.toolchain.locale import locale_paths
from manycc.toolchain.paths import walk
from manycc.wire import native

LANGUAGES: Final = frozenset(("c", "c++"))
_UNDERSTOOD: Final = frozenset(
    (Action.NOTHING, Action.COMPILE, Action.ASSEMBLY, Action.LANGUAGE, Action.OUTPUT, Action.QUOTE_DIR,
     Action.INCLUDE_DIR, Action.SYSTEM_DIR, Action.AFTER_DIR, Action.FORCED, Action.DEFINE, Action.DEPS,
     Action.DEPS_FILE, Action.NO_DEBUG)
)  # fmt: skip
_REFUSED: Final = re.compile(
    r"-f(?:no-)?(?:lto|profile|auto-profile|random-seed|\w+-prefix-map|fat-lto|canonical-system)|-iprefix|-nostdinc"
    r"|-no-canonical-prefixes|-isysroot|--sysroot|-imulti|-f(?:no-)?working-directory|-g(?!0)"
)
"""What puts paths or the whole command into an object, or changes how the system's folders are found."""
_PATH_VARIABLES: Final = ("CPATH", "LOCPATH")
_LOCALES: Final = "/usr/lib/locale/"
_PLAIN: Final = re.compile(r"[\w/.+@-]+")
_TEMPORARY: Final = "/.tmp"


class MappedRunner:
    """Satisfies ``runner.Runner``, for gcc and for jobs that this leaves as they are."""

    def __init__(self, options: NodeOptions, store: Store, sandbox: Sandbox, digest_of: Callable[[str], bytes]) -> None:
        self._options = options
        self._store = store
        self._sandbox = sandbox
        self._digest_of = digest_of
        self._processes = ProcessLimit(options)

    def reconfigure(self, options: NodeOptions) -> None:
        self._options = options
        self._processes = ProcessLimit(options)

    async def run(self, plan: Plan, keep: Keep) -> Ran:
        began = time.monotonic()
        _check(plan)
        self._check_language(plan)
        root = Root(self._store)
        produced: list[Produced] = []
        try:
            place = _Place(root, self._store, plan)
            staged = time.monotonic() - began
            arguments = _mapped(plan, place.path)
            place.check_writes(plan)
            await self._check_reads(plan, place, arguments)
            finished = await self._compile(plan, place, arguments)
            judge(finished, place.driver, self._store.root)
            if finished.stdout or finished.stderr:
                await self._check_messages(plan, place, arguments)
            produced = outputs.collect(place.folders, place.given, output_limit(self._options))
            finished = _map_back(plan, place, finished, produced)
            keep(plan, finished, produced)
        except BaseException:
            close_all(produced)
            raise
        finally:
            root.remove()
        return Ran(finished, produced, staged)

    def close(self) -> None:
        pass

    def _check_language(self, plan: Plan) -> None:
        """Refuse a job whose messages would be in another language or character set here."""
        own = {walk(path)[0] for path in locale_paths(plan.env)}
        sent = plan.tree.leaves
        same = all(path in sent and sent[path].digest == self._digest_of(path) for path in own)
        if not same or any(path.startswith(_LOCALES) and path not in own for path in sent):
            raise refused("there is no sandbox here, and the files of its language are others")

    async def _check_reads(self, plan: Plan, place: _Place, arguments: list[str]) -> None:
        """Refuse a job whose front end would leave the folder. Whatever it says here stays here."""
        line = [arguments[0], *_without_outputs(arguments[1:]), "-fsyntax-only", f"-Wp,-MD,{place.dependencies}"]
        asked = await self._start(plan, place, line)
        if asked.stopped or not os.path.exists(place.dependencies):
            raise refused("what it reads cannot be told, and there is no sandbox here")
        place.check_names()

    async def _check_messages(self, plan: Plan, place: _Place, arguments: list[str]) -> None:
        """Refuse a job whose messages quote a file that lies outside of the folder."""
        line = [arguments[0], *_without_outputs(arguments[1:]), "-S", "-o", place.assembly]
        asked = await self._start(plan, place, [*line, "-fdiagnostics-format=json"])
        try:
            said = [json.loads(text) for text in asked.stderr.splitlines() if text.strip()]
        except ValueError:
            said = []
        if asked.stopped or asked.stdout or not said:
            raise refused("what its messages quote cannot be told, and there is no sandbox here")
        for name in _files_in(said):
            place.check_name(os.fsencode(name))

    async def _compile(self, plan: Plan, place: _Place, arguments: list[str]) -> Finished:
        assembles = "-S" not in plan.argv
        if assembles:
            arguments = [*arguments, f"-Wa,--MD,{place.dependencies}"]
        finished = await self._start(plan, place, arguments)
        if not assembles or finished.stopped:
            return finished
        if finished.exit_code == 0:
            place.check_names()
            return finished
        # The assembler's complaints may quote any file. Only what the compiler proper says is passed on.
        line = [arguments[0], "-S", "-o", place.assembly, *_without_outputs(arguments[1:-1])]
        again = await self._start(plan, place, line)
        if again.exit_code == 0:
            raise refused("the assembler failed, and there is no sandbox here")
        return again

    async def _start(self, plan: Plan, place: _Place, arguments: list[str]) -> Finished:
        line = [*self._sandbox.limits(self._options, self._processes.now()), *arguments]
        path = ":".join(place.path + folder for folder in plan.served.search_path.split(":"))
        env = {**plan.env, "PATH": path, "TMPDIR": place.path + _TEMPORARY}
        child = Child(
            line,
            env,
            plan.umask,
            text_limit=native.MAX_TEXT,
            time_limit=time_limit(self._options),
            sealed=False,
            cwd=place.path + plan.cwd,
            terminal=plan.terminal,
        )
        return await finish(child, lambda: outputs.bytes_in(place.folders), output_limit(self._options))


class _Place:
    """A job's folder. Attributes as ``outputs.collect`` takes them; ``driver`` is the compiler to start."""

    def __init__(self, root: Root, store: Store, plan: Plan) -> None:
        self.path = os.path.realpath(root.path)
        if not _PLAIN.fullmatch(self.path):
            raise refused(
                "the store's folder has a name that depfiles and options cannot hold as it is; choose another --store"
            )
        self._cwd = plan.cwd
        self.driver = self.path + plan.served.real_driver
        self.dependencies = f"{self.path}{_TEMPORARY}/dependencies"
        self.assembly = f"{self.path}{_TEMPORARY}/assembly"
        self.folders: list[tuple[str, str]] = []
        self.given: dict[str, tuple[int, int]] = {}
        writable = set(plan.writable)
        shared = {
            path: entry
            for path, entry in plan.tree.leaves.items()
            if entry.kind == FILE and entry.parent not in writable
        }
        root.become(Tree(shared, plan.tree.folders))
        os.mkdir(self.path + _TEMPORARY, 0o700)
        for folder in plan.writable:
            self.folders.append((folder, self.path + folder.rstrip("/")))
        for path, entry in plan.tree.leaves.items():
            place = self.path + path
            if entry.kind == LINK:
                os.symlink(self._target(entry.target, path), place)
            elif entry.parent in writable:
                store.copy_into(entry.digest, place, 0o644)
            if entry.parent in writable:
                status = os.lstat(place)
                self.given[place] = (status.st_ino, status.st_mtime_ns)
        for folder in plan.tree.folders:
            if tree.parent_of(folder) in writable:
                self.given[self.path + folder] = (0, 0)

    def check_names(self) -> None:
        """Refuse the job if the depfile names anything outside of the folder. Raises OSError if there is none."""
        with open(self.dependencies, "rb") as file:
            names = names_in(file.read())
        os.unlink(self.dependencies)
        for name in names:
            self.check_name(name)

    def check_name(self, name: bytes) -> None:
        """Refuse the job if a file's name, as the compiler spells it, leads out of the folder."""
        if not self._is_inside(os.fsdecode(name)):
            raise refused("it reads a file that it did not send")

    def check_writes(self, plan: Plan) -> None:
        """Refuse the job if a link or an output leads out of the folder."""
        for path, entry in plan.tree.leaves.items():
            if entry.kind == LINK and not self._is_inside(self.path + path):
                raise refused(f"the link {path} leads above the root")
        for output in plan.command.outputs:
            if not self._is_inside(_path(output, self._cwd, self.path)):
                raise refused(f"{output} leads above the root")

    def _is_inside(self, path: str) -> bool:
        real = os.path.realpath(os.path.join(self.path + self._cwd, path))
        return real == self.path or real.startswith(self.path + "/")

    def _target(self, target: str, path: str) -> str:
        if target.startswith("/"):
            return self.path + target
        depth = path.count("/") - 1
        for name in target.split("/"):
            depth += -1 if name == ".." else 0 if name in ("", ".") else 1
            if depth < 0:
                raise refused(f"the link {path} leads above the root")
        return target


def _check(plan: Plan) -> None:
    """Refuse what comes out otherwise than on the agent's machine."""
    command = plan.command
    if plan.served.own.kind != "gcc":
        raise refused("there is no sandbox here, and only gcc is served without one")
    if command.language not in LANGUAGES:
        raise refused(f"there is no sandbox here, and {command.language} is not served without one")
    if command.debug or command.stems or command.reads or plan.cwd == "/":
        raise refused("there is no sandbox here, and paths would show in what it writes")
    if plan.system:
        raise refused("there is no sandbox here, and only jobs that bring all their headers are served without one")
    if any(name in _PATH_VARIABLES or name.endswith("_INCLUDE_PATH") for name in plan.env):
        raise refused("there is no sandbox here, and its environment holds paths")


def _mapped(plan: Plan, root: str) -> list[str]:
    """The command with its absolute paths put below ``root``. Raises BackendRefused for what is not understood."""
    argv = plan.argv
    line = [root + plan.served.real_driver]
    find = TABLES["gcc"].find
    rest = iter(argv[1:])
    for argument in rest:
        if not argument.startswith("-"):
            line.append(_path(argument, plan.cwd, root))
            continue
        match = find(argument)
        if match is None or match.option.action not in _UNDERSTOOD or _REFUSED.match(argument):
            raise refused(f"there is no sandbox here, and {argument} is not served without one")
        option, value = match
        convert: Callable[[str], str] = (
            (lambda text: _path(text, plan.cwd, root)) if option.path else (lambda text: text)
        )
        if value is None:
            line += (argument, convert(next(rest)))
        elif value:
            line.append(option.name + convert(value) if option.name else argument)
        else:
            line.append(argument)
    return [*line, f"--sysroot={root}", f"-ffile-prefix-map={root}="]


def _path(text: str, cwd: str, root: str) -> str:
    if text.startswith(("=", "$SYSROOT")):
        raise refused(f"there is no sandbox here, and {text} is not served without one")
    depth = 0 if text.startswith("/") else cwd.count("/")
    for name in text.split("/"):
        depth += -1 if name == ".." else 0 if name in ("", ".") else 1
        if depth < 0:
            raise refused(f"{text} leads above the root")
    return root + text if text.startswith("/") else text


def _without_outputs(arguments: list[str]) -> Iterator[str]:
    """What is left of mapped arguments when nothing is to be compiled."""
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-MD", "-MMD", "-MP", "-c", "-S"):
            continue
        if argument.startswith(("-o", "-MF", "-MT", "-MQ")):
            if argument in ("-o", "-MF", "-MT", "-MQ"):
                next(rest)
            continue
        yield argument


def _files_in(value: Any) -> Iterator[str]:
    """All that is called "file" in gcc's own description of its messages."""
    if isinstance(value, list):
        for item in value:
            yield from _files_in(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "file" and isinstance(item, str):
                yield item
            else:
                yield from _files_in(item)


def _map_back(plan: Plan, place: _Place, finished: Finished, produced: list[Produced]) -> Finished:
    """Take the folder's name out of messages and depfiles. Raises BackendRefused if it shows anywhere else."""
    prefix = os.fsencode(place.path)
    links = plan.tree.links()
    depfiles = {tree.resolve(os.path.join(plan.cwd, path), links) for path in plan.command.outputs[1:]}
    for one in produced:
        if one.path in depfiles and one.data is not None:
            outputs.replace(one, without_prefix(one.data, prefix))
    for one in produced:
        if outputs.holds(one, prefix):
            raise BackendRefused(refused("").reason, f"there is no sandbox here, and paths show in {one.path}")
    return finished._replace(stdout=finished.stdout.replace(prefix, b""), stderr=finished.stderr.replace(prefix, b""))
