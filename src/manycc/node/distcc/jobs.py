"""From a request of distcc's to a plan that this node would run for anybody.

The same parser, the same checks and the same sandbox as for manycc's own jobs decide what becomes of it; here
a request is only put into their terms.

Versions 1 and 2 bring preprocessed text and no working folder. The text lies in a neutral folder under the
source's own name, with the suffix that preprocessed text has: compilers take the name of the unit from the
text's line markers, as clang does only if the file is in its working folder. So nothing of this machine
is in an object, and equal requests have equal results.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from manycc.command.languages import PREPROCESSED_SUFFIX
from manycc.command.options import Action
from manycc.command.outputs import NULL, without_suffix
from manycc.command.parse import Command, parse
from manycc.command.table import TABLES
from manycc.errors import BackendRefused, NotDistributable
from manycc.job import FILE
from manycc.node import admission, tree
from manycc.node.admission import Plan
from manycc.node.messages import JobMessage
from manycc.node.sandbox import Sandbox
from manycc.node.toolchains import Served
from manycc.node.tree import Entry, refused
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.wire import distcc, native

WORKING_FOLDER: Final = "/build"
ENVIRONMENT: Final = (("LC_ALL", "C"),)
"""A request brings none."""
UMASK: Final = 0o022
MAX_SOURCE: Final = 256 * 1024**2
"""Of one preprocessed source, or of all files of a request together."""

_PREPROCESSED: Final = {
    "c": "cpp-output",
    "c++": "c++-cpp-output",
    "objective-c": "objective-c-cpp-output",
    "objective-c++": "objective-c++-cpp-output",
    "assembler-with-cpp": "assembler",
}
_MARKER: Final = re.compile(rb"#(?:line)?[ \t]+[0-9]")


class Job(NamedTuple):
    """A request that became a plan, and which of the files that it writes are sent back.

    ``source`` is what the client calls it; ``depfile`` is empty where none is wanted.
    """

    plan: Plan
    source: str
    output: str
    depfile: str = ""


def from_text(request: distcc.Request, served: Served, store: Store, room: int = MAX_SOURCE) -> Job:
    """The job of a request of version 1 or 2; its source, of at most ``room`` bytes, is put into the store.

    Raises BackendRefused, WireError, StoreError.
    """
    command = command_of(request.argv, WORKING_FOLDER, served)
    if len(command.outputs) > 1 or command.stems:
        more = (*command.outputs[1:], *command.stems)[0]
        raise refused(f"it also writes {more}, and this version of distcc's protocol brings back one file")
    if command.reads:
        raise refused(f"it reads {command.reads[0]}, which this version of distcc's protocol does not bring")
    source = os.path.basename(command.source)
    suffix = PREPROCESSED_SUFFIX.get(command.language, "")
    name = without_suffix(source) + suffix if suffix else source
    output = os.path.basename(command.output) if command.outputs else NULL
    argv = _respelled(request.argv, served, {Action.OUTPUT: output}, name)
    text = distcc.expand(request.version, request.body, room_for(store, room))
    if suffix and not _MARKER.match(text):
        # Without line markers (-P) the unit would be called after this file.
        text = b'# 1 "%s"\n' % _quoted(command.source) + text
    source = f"{WORKING_FOLDER}/{name}"
    entry = Entry(FILE, source, store.add_bytes(text), len(text))
    plan = admit(argv, WORKING_FOLDER, served, [entry], command_of(argv, WORKING_FOLDER, served))
    return Job(plan, command.source, f"{WORKING_FOLDER}/{output}")


def admit(
    argv: Sequence[str],
    cwd: str,
    served: Served,
    entries: Sequence[Entry],
    command: Command,
    system: admission.SystemFolders = admission.NO_FOLDERS,
    *,
    cached: bool = True,
) -> Plan:
    """The plan of a command that sees these entries. Raises BackendRefused."""
    links = {entry.path: entry.target for entry in (*entries, *system.ways) if entry.target} | served.links
    outputs = [physical(path, cwd, links) for path in command.outputs]
    message = JobMessage(
        id=0,
        toolchain=0,
        argv=tuple(argv),
        cwd=cwd,
        env=ENVIRONMENT,
        umask=UMASK,
        numbers=[],
        folders=tuple(dict.fromkeys(tree.parent_of(path) for path in outputs)),
        outputs=tuple(outputs),
        stems=(),
        flags=native.FLAG_CACHE if cached else 0,
        expected_rss=0,
    )
    plan = admission.admit(message, served, entries, system)
    return dataclasses.replace(plan, direct=True)


def command_of(argv: Sequence[str], cwd: str, served: Served) -> Command:
    """What the parser says of a command. Raises BackendRefused for what is no compile, or more than one."""
    try:
        return parse(argv, cwd, dict(ENVIRONMENT), None, served.own.kind)
    except NotDistributable as error:
        raise refused(f"the command {error}") from error


def driver_word(word: str, served: Served) -> str:
    """How the compiler is called here: as the client calls it, unless this machine has it at another place."""
    return word if word == served.driver else os.path.basename(served.driver)


def room_for(store: Store, room: int) -> int:
    """How many bytes a request may bring."""
    return min(MAX_SOURCE, room, store.limit // 2)


def check_served(version: int, sandbox: Sandbox, lzo: bool) -> None:
    """Raise BackendRefused where this node lacks what a request takes. ``lzo``: whether the library is there.

    Unsealed, what a compile reads can only be told where it preprocesses a source itself, with headers of its own.
    """
    if sandbox.kind != "bubblewrap":
        raise BackendRefused(
            Reason.NODE_REFUSED,
            f"this node serves distcc's clients only with a sandbox, and has none, since {sandbox.why}: install "
            "bubblewrap there and allow user namespaces (manycc doctor on the node says more)",
        )
    if version != distcc.PLAIN and not lzo:
        raise BackendRefused(
            Reason.NODE_REFUSED,
            "the Python package lzokay is not installed here: install it (pip install lzokay), "
            "or leave out ,lzo and ,cpp behind this host's name",
        )


def _respelled(argv: Sequence[str], served: Served, values: dict[Action, str], source: str) -> list[str]:
    """A command with the values of some options replaced, and its source; the language becomes that of its text."""
    line = [driver_word(argv[0], served)]
    find = TABLES[served.own.kind].find
    rest = iter(argv[1:])
    for argument in rest:
        match = find(argument) if argument.startswith("-") else None
        if match is None:
            line.append(source)
            continue
        option, joined = match
        value = next(rest) if joined is None else joined
        if option.action is Action.LANGUAGE:
            value = _PREPROCESSED.get(value, value)
        value = values.get(option.action, value)
        if joined is None:
            line += (argument, value)
        else:
            line.append(argument if value == joined else option.name + value)
    return line


def physical(path: str, cwd: str, links: Mapping[str, str]) -> str:
    """Where a file of a job lies when all links on the way to its folder are followed."""
    head, _, name = os.path.join(cwd, path).rpartition("/")
    return os.path.join(tree.resolve(head or "/", links), name)


def _quoted(name: str) -> bytes:
    """A file's name as a line marker has it."""
    return os.fsencode(name.replace("\\", "\\\\").replace('"', '\\"'))
