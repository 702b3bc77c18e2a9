"""From an action of an engine's to a plan that this node would run for anybody.

The command says what is compiled and the input root what it sees, each at the client's own path; the platform
property ``toolchain`` names the compiler by its fingerprint. Everything then goes through the same parser, checks and
sandbox as the jobs of the native protocol. Words that the API has no place for stand in the environment, where
workers of other kinds do not mind them:

    MANYCC_DRIVER=PATH      where the client calls the compiler, if the command has just a name
    MANYCC_TERMINAL=1       the client's stderr is a terminal
    MANYCC_OUTPUTS=all      send back whatever the compile wrote, not only the paths that are named
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from manycc.command.parse import parse
from manycc.errors import BackendRefused, NotDistributable
from manycc.job import LINK
from manycc.node import admission, tree
from manycc.node.admission import Plan
from manycc.node.messages import MAX_ARGUMENT_BYTES, MAX_ENV, JobMessage
from manycc.node.toolchains import Served
from manycc.node.tree import MAX_PATH, Entry, refused
from manycc.reapi import remote_execution_pb2
from manycc.reasons import Reason
from manycc.wire import native

TOOLCHAIN: Final = "toolchain"
DRIVER: Final = "MANYCC_DRIVER"
TERMINAL: Final = "MANYCC_TERMINAL"
OUTPUTS: Final = "MANYCC_OUTPUTS"
MAX_PROPERTIES: Final = 64
UMASK: Final = 0o022
"""Modes are the client's to set: it knows its own."""
NOT_OURS: Final = (
    "this worker compiles for manycc only, and the platform property toolchain, which names the compiler by its "
    "fingerprint, is not set: use another instance of the engine than manycc's, or a property that its workers lack"
)
_OURS: Final = (DRIVER, TERMINAL, OUTPUTS, "PATH")
"""Variables that are not the compiler's. PATH is for workers of other kinds."""

_re = remote_execution_pb2


class NotOurs(BackendRefused):
    """A job of somebody else's on a shared engine: properties that it does not name keep it from no worker."""

    def __init__(self) -> None:
        super().__init__(Reason.NODE_REFUSED, NOT_OURS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command asks for: its words, and what of the result it wants back.

    ``outputs`` are (path as the command spells it, absolute path); ``everything``: also what is not among them.
    """

    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...]
    fingerprint: str
    driver: str
    terminal: bool
    everything: bool
    outputs: tuple[tuple[str, str], ...]


def read(action: _re.Action, command: _re.Command) -> Wanted:
    """Look at every field. Raises NotOurs, BackendRefused."""
    told = command.platform, action.platform
    if sum(len(one.properties) for one in told) > MAX_PROPERTIES:
        raise refused("the job has too many platform properties")
    if len(command.arguments) > native.MAX_ARGS or len(command.environment_variables) > MAX_ENV:
        raise refused("the command has too many words or variables")
    properties = {one.name: one.value for platform in told for one in platform.properties}
    fingerprint = properties.get(TOOLCHAIN, "")
    if not fingerprint:
        raise NotOurs
    argv = tuple(command.arguments)
    env = {one.name: one.value for one in command.environment_variables}
    if not argv:
        raise refused("the command has no words")
    texts = [*argv, *env, *env.values()]
    if sum(map(len, texts)) > MAX_ARGUMENT_BYTES or any("\0" in text for text in texts):
        raise refused("the command is too long, or holds a NUL")
    folder = command.working_directory.strip("/")
    cwd = "/" + folder
    driver = env.get(DRIVER, argv[0])
    if max(len(cwd), len(driver)) > MAX_PATH:
        raise refused("the working folder, or the compiler's path, is too long")
    named = list(command.output_paths) or [*command.output_files]
    if len(named) > native.MAX_OUTPUTS or sum(map(len, named)) > MAX_ARGUMENT_BYTES:
        raise refused("the command names too many outputs")
    return Wanted(
        argv=argv,
        cwd=cwd,
        env=tuple((name, value) for name, value in env.items() if name not in _OURS),
        fingerprint=fingerprint,
        driver=driver if driver.startswith("/") else os.path.normpath(os.path.join(cwd, driver)),
        terminal=bool(env.get(TERMINAL)),
        everything=env.get(OUTPUTS) == "all",
        outputs=tuple((path, os.path.normpath(os.path.join(cwd, path))) for path in named),
    )


def plan(wanted: Wanted, served: Served, entries: Sequence[Entry], *, cached: bool) -> Plan:
    """What is to be run. Raises BackendRefused."""
    env = dict(wanted.env)
    try:
        command = parse(wanted.argv, wanted.cwd, env, None, served.own.kind)
    except NotDistributable as error:
        raise refused(f"the command {error}") from error
    links = {entry.path: entry.target for entry in entries if entry.kind == LINK} | served.links
    outputs = [_physical(path, wanted.cwd, links) for path in command.outputs]
    stems = [_physical(path, wanted.cwd, links) for path in command.stems]
    parents = [tree.parent_of(path.removesuffix("/")) for path in (*outputs, *stems)]
    message = JobMessage(
        id=0,
        toolchain=0,
        argv=wanted.argv,
        cwd=tree.resolve(wanted.cwd, links),
        env=wanted.env,
        umask=UMASK,
        numbers=[],
        folders=tuple(dict.fromkeys(parents)),
        outputs=tuple(outputs),
        stems=tuple(stems),
        flags=(native.FLAG_CACHE if cached else 0) | (native.FLAG_TERMINAL if wanted.terminal else 0),
        expected_rss=0,
    )
    return admission.admit(message, served, entries)


def _physical(path: str, cwd: str, links: Mapping[str, str]) -> str:
    """Where a file of a job lies when all links on the way to its folder are followed."""
    head, _, name = os.path.join(cwd, path).rpartition("/")
    if name in (".", ".."):
        raise BackendRefused(Reason.NODE_REFUSED, f"{path} is not a file to write")
    return os.path.join(tree.resolve(head or "/", links), name)
