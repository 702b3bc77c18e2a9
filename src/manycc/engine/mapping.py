"""Jobs for workers that run them in some folder of their own: put so that the object is the local one, and back.

The toolchain travels with the job, and of the worker nothing but its kernel has a part in what is made: gcc is started
by its own dynamic loader, told where its libraries are, and starts its parts in the same way (``-wrapper``). It finds
them from where it lies itself. The folders that it searches for headers are named to it one by one in the variable that
stands where its own would (``C_INCLUDE_PATH`` or ``CPLUS_INCLUDE_PATH``); its own are moved below the input root
(``-isysroot``) and, being the same folders, left out. None of that is recorded in debug information.

What was read is known afterwards: gcc and the assembler write down every file that they opened. A job that opened one
by any name but those it was given, hence one of the worker's, is not accepted.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from manycc.backends.searched import Searched
from manycc.command.languages import search_variable
from manycc.engine.mappable import HERE, LINK_NAME, ROOT, Words, refused, words_of
from manycc.engine.merkle import TMP
from manycc.errors import BackendRefused, CompilerError, NotDistributable
from manycc.inputs.entries import FileEntry
from manycc.inputs.includes import VARIABLES
from manycc.inputs.manifest import Items
from manycc.inputs.scan import SYSTEM
from manycc.job import LINK, Input, Inputs, Job, Outcome, OutputFile, Toolchain
from manycc.node.depfile import Rule, names_in, names_of, parsed, written
from manycc.toolchain import elf
from manycc.toolchain.identity import tool_path
from manycc.toolchain.locale import locale_paths
from manycc.wire import native

READ: Final = f"{LINK_NAME}.read"
"""Where gcc writes down what it read, if the job itself asks for no depfile."""
ASSEMBLED: Final = f"{LINK_NAME}.assembled"
"""Where the assembler does."""
MAX_KNOWN: Final = 512
MAX_DEPFILE: Final = 8 << 20
_TEMPORARY: Final = re.compile(rb"(?:/[^/]+)*/cc\w{6}\.s")
_TEXT_VARIABLES: Final = frozenset(("TERM", "COLORTERM", "COLUMNS", "GCC_COLORS"))
_SPECIAL: Final = re.compile(r"[:,\s]")
_ROOT: Final = os.fsencode(ROOT)
_HEARD: Final = re.compile(rb"\.+ (.+)")
_FOREIGN: Final = re.compile(rb"(?m)(?:^|from )(?:\x1b\[[\d;]*[mK])*/(?!" + re.escape(_ROOT[1:]) + rb"/)")
"""A message about a file with an absolute name that is not in the input root: gcc may have shown lines of it."""
_UNGUARDED: Final = b"Multiple include guards may be useful for:"
_LINK: Final = os.fsencode(LINK_NAME)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A job as it is sent (``job``), and what is needed to take its outcome back."""

    job: Job
    original: Job
    words: Words
    system: tuple[str, ...]
    """How names in system folders begin, as they are spelled here."""
    shorter: tuple[str, ...] = ()
    """Links whose real names are shorter; those that matter."""
    marked: bool = False
    """Whether a file elsewhere may say of itself that it is a system header: then what it includes is one, too."""

    def back(self, outcome: Outcome) -> Outcome:
        """The outcome as it would have been here. Raises BackendRefused if that is not certain."""
        try:
            return self._back(outcome)
        except NotDistributable as error:
            raise BackendRefused(error.reason, error.detail) from error

    def _back(self, outcome: Outcome) -> Outcome:
        job = self.original
        if outcome.exit_code:
            raise refused(f"it fails there (exit code {outcome.exit_code}), which says nothing of it here")
        made = {output.path: output for output in outcome.outputs}
        if len(made) != len(outcome.outputs) or set(made) != set(self.job.outputs):
            raise refused("it did not write there what it was told to")
        reading = job.outputs[1] if self.words.depfile else f"{job.cwd}/{READ}"
        rules = self._rules(made[reading].data)
        if self.words.partial:
            outcome = self._heard(outcome)
        if not self.words.assembly:
            self._check_assembled(made[f"{job.cwd}/{ASSEMBLED}"].data)
        outputs = []
        for path in job.outputs:
            output = made[path]
            if path == reading:
                output = OutputFile(path, output.mode, written(rules, _ROOT))
            if os.fsencode(HERE) in output.data:
                raise refused(f"{path} holds names of its folders")
            outputs.append(output)
        return replace(outcome, outputs=outputs, stdout=self._text(outcome.stdout), stderr=self._text(outcome.stderr))

    def _heard(self, outcome: Outcome) -> Outcome:
        """The outcome without what gcc says of each header that it reads (-H). Raises if it says more than that."""
        lines = iter(outcome.stderr.splitlines())
        names: set[bytes] = set()
        for line in lines:
            found = _HEARD.fullmatch(line)
            if not found:
                if line != _UNGUARDED or not names.issuperset(lines):
                    raise refused("it has more to say than what it reads")
                break
            names.add(found[1])
        if len(outcome.stderr) >= native.MAX_TEXT:
            raise refused("it reads more than can be told")
        self._check_names(list(names))
        return replace(outcome, stderr=b"")

    def _rules(self, text: bytes) -> list[Rule]:
        """What gcc read. Raises if that is a file that is not the job's, or has a name that it would not have here."""
        rules = parsed(text[:MAX_DEPFILE])
        names = names_of(rules)
        if not names or written(rules) != text:
            raise refused("its depfile is not as gcc writes them")
        self._check_names(names)
        return rules

    def _check_names(self, names: Sequence[bytes]) -> None:
        inside = _ROOT + b"/"
        for name in names:
            if name.startswith(b"/") and not name.startswith(inside):
                raise refused(f"it reads {os.fsdecode(name)}, which is the worker's own")
        for name in names:
            here = name.removeprefix(_ROOT)
            if self.shorter or b".." in here or _LINK in here:
                self._check_parts(os.fsdecode(here))

    def _check_parts(self, name: str) -> None:
        parts = name.split("/")
        if LINK_NAME in parts:
            raise refused(f"{name} leads there to another file")
        ascends = ".." in parts
        if ascends:
            check_ascent(name, self.original.cwd)
        place = os.path.join(self.original.cwd, name)
        if ascends or os.path.normpath(place).startswith(self.shorter):
            is_system = self.marked or name.startswith(self.system)
            if is_system and len(os.path.realpath(place)) < len(name):
                raise refused(f"{name} has a shorter name here, which gcc would use")

    def _check_assembled(self, text: bytes) -> None:
        names = names_in(text[:MAX_DEPFILE])
        own = [name for name in names if name.startswith(b"/")]
        foreign = [os.fsdecode(name) for name in own if not _TEMPORARY.fullmatch(name)]
        if foreign:
            raise refused(f"the assembler reads {foreign[0]}, which is the worker's own")
        if len(own) != 1 or len(text) > MAX_DEPFILE:  # what the compiler proper wrote for it is there, and once
            raise refused("what the assembler reads there is not known")
        for name in names:
            if name not in own:
                self._check_parts(os.fsdecode(name))

    def _text(self, text: bytes) -> bytes:
        if not text:
            return text
        if self.original.terminal:
            raise refused("it has something to say on a terminal, and there is none")
        if locale_paths(dict(self.original.env)):
            raise refused("it has something to say, in a language that the workers may not have")
        if _FOREIGN.search(text):  # by a #line, say
            raise refused("it has something to say of a file that is not the job's")
        text = text.replace(_ROOT + b"/", b"/")
        if os.fsencode(HERE) in text:
            raise refused("its messages hold names of the worker's folders")
        return text


class Mapper:
    """Puts jobs. For one event loop."""

    def __init__(self, searched: Searched) -> None:
        self._searched = searched
        self._starts: dict[tuple[str, str], tuple[str, str]] = {}
        self._links: dict[str, Input] = {}
        self._inputs: dict[tuple[int, str], tuple[Inputs, Inputs, tuple[str, ...], tuple[str, ...]]] = {}

    async def mapped(self, job: Job) -> Mapped:
        """The job for workers that do not keep paths. Raises NotDistributable, BackendRefused."""
        words = objection_or_words(job)
        loader, library_path = await self._start(job.toolchain)
        inputs, shorter, marks = self._with_link(job)
        own = tuple(map(_as_named, await self._searched.of(job)))
        variable = dict(job.env).get(search_variable(words.language), "")
        system = (*words.system, *filter(None, variable.split(":")), *own)
        real = tuple([_check_system(folder, job.cwd, shorter) for folder in system])
        marked = any(not path.startswith(real) for path in marks)
        for name in words.ascending:
            check_ascent(name, job.cwd)
        if len(job.outputs) != (2 if words.depfile else 1):
            raise refused("its depfile is its object")
        if any(path.startswith(f"{job.cwd}/{LINK_NAME}") for path in job.outputs):
            raise refused(f"a name in {job.cwd} begins with {LINK_NAME}")
        folder = dict(job.env).get("PWD", job.cwd)  # what debug information calls it
        if "=" in folder:
            raise refused(f"the working folder is {folder!r}")
        env = _environment(job, words, own)
        argv = [
            LINK_NAME + loader, "--library-path", library_path, ROOT + job.toolchain.driver, *words.arguments,
            "-wrapper", f"{ROOT}{loader},--library-path,{library_path}",
            "-isysroot", ROOT,
            f"-ffile-prefix-map={HERE}={folder}",
            f"-ffile-prefix-map={ROOT}/=/",  # the last one that fits is taken
        ]  # fmt: skip
        outputs = list(job.outputs)
        if not words.debug:  # it would be recorded; with debug information, ROOT is short enough or the job is refused
            argv.append("-fno-canonical-system-headers")
        if words.partial:
            argv.append("-H")
        if not words.depfile:
            argv += ["-MD", "-MF", READ]
            outputs.append(f"{job.cwd}/{READ}")
        if not words.assembly:
            argv.append(f"-Wa,--MD,{ASSEMBLED}")
            outputs.append(f"{job.cwd}/{ASSEMBLED}")
        there = Job(
            argv=tuple(argv), cwd=job.cwd, env=env, umask=job.umask, toolchain=job.toolchain, inputs=inputs,
            folders=job.folders, outputs=tuple(outputs), stems=(), source=job.source, cacheable=job.cacheable,
        )  # fmt: skip
        spelled = tuple([folder.rstrip("/") + "/" for folder in system])
        return Mapped(there, job, words, spelled, shorter if marked else (), marked)

    async def _start(self, toolchain: Toolchain) -> tuple[str, str]:
        """The loader that starts the compiler, and where it is told to find libraries. Raises NotDistributable."""
        key = (toolchain.fingerprint, toolchain.driver)
        known = self._starts.get(key)
        if known is None:
            if len(self._starts) >= MAX_KNOWN:
                self._starts.clear()
            known = self._starts[key] = await asyncio.to_thread(_find_start, toolchain)
        return known

    def _with_link(self, job: Job) -> tuple[Inputs, tuple[str, ...], tuple[str, ...]]:
        """The job's inputs and the link to the root; the links among them whose real names are shorter; and those that
        may say of themselves that they are system headers."""
        key = (id(job.inputs), job.cwd)
        known = self._inputs.get(key)
        if known is None or known[0] is not job.inputs:
            link = self._links.get(job.cwd)
            if link is None:
                if len(self._links) >= MAX_KNOWN:
                    self._links.clear()
                up = "/".join([".."] * job.cwd.count("/"))
                link = self._links[job.cwd] = Input(LINK, f"{job.cwd}/{LINK_NAME}", target=up)
            items = job.inputs.items
            if any(item.path.startswith(link.path) for item in items):
                raise refused(f"a name in {job.cwd} begins with {LINK_NAME}")
            links = [item.path for item in items if item.kind == LINK] + [place for place, _ in job.toolchain.links]
            shorter = tuple(path for path in links if len(os.path.realpath(path)) < len(path))
            if len(self._inputs) >= MAX_KNOWN:
                del self._inputs[next(iter(self._inputs))]
            marks = tuple([item.path for item in items if isinstance(item, FileEntry) and _may_be_marked(item)])
            known = self._inputs[key] = (job.inputs, replace(job.inputs, items=_with(items, link)), shorter, marks)
        return known[1:]


def _may_be_marked(entry: FileEntry) -> bool:
    """Whether a file may say of itself that it is a system header: by a pragma, or in a line marker."""
    return entry.scan is not None and bool(entry.scan.flags & SYSTEM or entry.scan.lines)


def _with(items: Sequence[Input], link: Input) -> Sequence[Input]:
    if isinstance(items, Items):
        return Items((*items.own, link), items.shared)
    return [*items, link]


def target_there(link: Input) -> str:
    """What a link is told to lead to where the input root is not the root. Raises NotDistributable.

    ``link.path`` is physical: no link leads there.
    """
    folders = link.path.count("/") - 1
    target = link.target
    if target.startswith("/"):
        names = target.lstrip("/")
        return "/".join(filter(None, [*[".."] * folders, names])) or "."
    parts = [part for part in target.split("/") if part not in ("", ".")]
    first = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    if first > folders or ".." in parts[first:]:
        raise refused(f"the link {link.path} leads to {target!r}")
    return target


def objection(job: Job) -> str:
    """The sentence why a job cannot be done by workers that do not keep paths; "" if nothing is known against it."""
    try:
        objection_or_words(job)
    except NotDistributable as error:
        return error.detail
    return ""


def objection_or_words(job: Job) -> Words:
    """The job's command as it is put there. Raises NotDistributable."""
    if job.inputs.far:
        raise refused("a source asks whether a file exists, by its absolute name or by ..")
    toolchain = job.toolchain
    return words_of(job.argv, job.cwd, toolchain.kind, toolchain.version)


def _find_start(toolchain: Toolchain) -> tuple[str, str]:
    try:
        loader = elf.loader(toolchain.driver)
    except CompilerError as error:
        raise refused(str(error)) from error
    places = [file.path for file in toolchain.files] + [place for place, _ in toolchain.links]
    folders = dict.fromkeys(os.path.dirname(path) for path in places if ".so" in os.path.basename(path))
    if not loader or not folders:
        raise refused("the compiler is linked statically")
    for path in (file.path for file in toolchain.files):
        wanted = elf.run_path(path).split(":")  # it counts before what the loader is told
        if any(folder and not folder.startswith("$ORIGIN") for folder in wanted):
            raise refused(f"{path} has its libraries looked for in {wanted[0]}, wherever it is")
    if any(_SPECIAL.search(path) for path in (loader, *folders)):
        raise refused("a folder of the compiler's libraries has a name that cannot be told")
    return loader, ":".join(ROOT + folder for folder in folders)


def _environment(job: Job, words: Words, own: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The job's variables as they are there. Raises NotDistributable."""
    env: dict[str, str] = {}
    for name, value in job.env:
        if name in VARIABLES:
            env[name] = ":".join(_put(folder) for folder in value.split(":"))
        elif name == "LOCPATH" or ("/" in value and name not in ("PWD", *_TEXT_VARIABLES)):
            raise refused(f"{name} is set to {value!r}")
        elif name != "PWD":
            env[name] = value
    variable = search_variable(words.language)
    searched = [*([env[variable]] if env.get(variable) else []), *(ROOT + folder for folder in own)]
    if searched:
        env[variable] = ":".join(searched)
    tools = ":".join(ROOT + folder for folder in tool_path(job.toolchain).split(":"))
    env |= {"PATH": tools, "COMPILER_PATH": tools, "TMPDIR": ROOT + TMP, "PWD": HERE}
    return tuple(sorted(env.items()))


def _put(folder: str) -> str:
    if not folder or ".." in folder.split("/"):
        raise refused("a variable that names folders for headers holds an empty name, or ..")
    return ROOT + folder if folder.startswith("/") else folder


def _as_named(folder: str) -> str:
    """How gcc calls a system folder of its own: by its real name, where that is shorter. Raises NotDistributable."""
    real = os.path.realpath(folder)
    named = real if len(real) < len(folder) else folder
    if not named.startswith("/") or ":" in named:
        raise refused(f"the compiler searches {folder!r} for headers")
    return named


def _check_system(folder: str, cwd: str, shorter: Sequence[str]) -> str:
    """How real names in a system folder begin. Raises if gcc would call what is there by its real name here, which it
    cannot know there."""
    place = os.path.join(cwd, folder)
    real = os.path.realpath(place)
    inside = any(path.startswith((real + "/", place.rstrip("/") + "/")) for path in shorter)
    if inside or len(real) < len(folder.rstrip("/")):
        raise refused(f"files in the system folder {folder} have shorter names, which gcc would use here")
    return real.rstrip("/") + "/"


def check_ascent(name: str, cwd: str) -> None:
    """Raise if a name leads above the root by "..": here it would end there, and there it would go on."""
    here = "/" if name.startswith("/") else cwd
    for part in name.split("/"):
        if part == "..":
            here = os.path.realpath(here)
            if here == "/":
                raise refused(f"{name} leads above the root")
            here = os.path.dirname(here)
        elif part not in ("", "."):
            here = os.path.join(here, part)
