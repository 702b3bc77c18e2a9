"""A job in the engine's terms, and its result back in ours."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any, Final

from manycc.engine.address import EngineAddress
from manycc.engine.cas import Content, broken
from manycc.engine.merkle import NO_TOOLS, Folder, Trees
from manycc.errors import BackendError, NotDistributable
from manycc.job import Job
from manycc.reapi.remote_execution_pb2 import Action, Command, Digest, Platform
from manycc.reasons import Reason
from manycc.wire import native

TOOLCHAIN: Final = "toolchain"
"""The platform property by which workers are found that have the compiler; its value is the fingerprint."""
OURS: Final = "manycc:"
"""How the names of our workers begin in what they say of a result: they heed that property."""
_NOWHERE: Final = ("/dev/", "/proc/")
_COLOUR_WORDS: Final = ("diagnostics-color", "color-diagnostics", "record-command-line", "record-gcc-switches")
"""Options that decide about colours, or have the whole command written into the object."""


@dataclass(slots=True)
class Prepared:
    """A job, ready to be sent. ``paths`` leads from an output's name there to its path here."""

    action: Content
    command: Content
    root: Folder
    paths: dict[str, str]
    cacheable: bool

    @property
    def digest(self) -> Digest:
        """What the engine calls it."""
        return Digest(hash=self.action.digest.hex(), size_bytes=self.action.size)


def prepare(
    job: Job, trees: Trees, address: EngineAddress, by_property: bool, paths_known: bool, limit_s: float
) -> Prepared:
    """Make the action. ``paths_known``: the engine knows ``output_paths`` (API 2.1), and no older field is needed.

    Raises NotDistributable if an engine cannot be told of the job.
    """
    tools = trees.tools(job.toolchain)
    root = trees.root(job.inputs.items, (*job.folders, job.cwd), NO_TOOLS if by_property else tools)
    platform = _platform(job, address, by_property)
    paths = {_relative(path, job.cwd): path for path in job.outputs if not path.startswith(_NOWHERE)}
    env = {"PATH": tools.search_path, **dict(job.env)}
    if by_property:  # words that workers of other kinds do not mind (``leasedjob.py``)
        env |= {"MANYCC_DRIVER": job.toolchain.driver}
        env |= {"MANYCC_TERMINAL": "1"} if job.terminal else {}
        env |= {"MANYCC_OUTPUTS": "all"} if job.stems else {}
    try:
        command = Command(
            arguments=job.argv if by_property else _arguments(job),
            environment_variables=[Command.EnvironmentVariable(name=name, value=env[name]) for name in sorted(env)],
            working_directory=job.cwd.strip("/"),
            platform=platform,
        )
        (command.output_paths if paths_known else command.output_files).extend(sorted(paths))
    except (UnicodeEncodeError, ValueError) as error:
        raise NotDistributable(
            Reason.LOCAL_OPTION, "its command holds bytes that are not UTF-8, which an engine cannot be told"
        ) from error
    said = _content(command)
    action = Action(
        command_digest=Digest(hash=said.digest.hex(), size_bytes=said.size),
        input_root_digest=Digest(hash=root.digest.hex(), size_bytes=root.size),
        do_not_cache=not job.cacheable,
        platform=platform,
    )
    action.timeout.FromSeconds(int(limit_s))
    return Prepared(_content(action), said, root, paths, job.cacheable)


def _arguments(job: Job) -> list[str]:
    """The command. Its first word must lead somewhere without a search along PATH."""
    words = list(job.argv)
    if "/" not in words[0]:
        words[0] = job.toolchain.driver
    if job.terminal and _wants_colours(job):
        words.insert(1, "-fdiagnostics-color=always")
    return words


def _wants_colours(job: Job) -> bool:
    """Whether the compiler would write colours here, and may be told to without a trace of that in the object."""
    env = dict(job.env)
    if env.get("TERM", "dumb") == "dumb" or (job.toolchain.kind == "clang" and "NO_COLOR" in env):
        return False
    return not any(word in argument for argument in job.argv for word in _COLOUR_WORDS)


def _platform(job: Job, address: EngineAddress, by_property: bool) -> Platform:
    wanted = list(address.properties)
    if by_property:
        wanted.append((TOOLCHAIN, job.toolchain.fingerprint))
    return Platform(properties=[Platform.Property(name=name, value=value) for name, value in sorted(wanted)])


def _relative(path: str, cwd: str) -> str:
    if path.startswith(cwd + "/"):
        return path[len(cwd) + 1 :]
    return os.path.relpath(path, cwd)


def _content(message: Any) -> Content:
    data: bytes = message.SerializeToString(deterministic=True)
    return Content(hashlib.sha256(data).digest(), len(data), data)


def named_outputs(result: Any, paths: dict[str, str], job: Job) -> list[tuple[str, Any]]:
    """(path here, the engine's words) of each file it says was written. Raises BackendError for any other file."""
    if len(result.output_files) > native.MAX_OUTPUTS:
        raise broken("a result has too many files")
    if result.output_directories:
        raise BackendError(Reason.UNEXPECTED_OUTPUT, "a folder")
    for link in (*result.output_symlinks, *result.output_file_symlinks, *result.output_directory_symlinks):
        raise BackendError(Reason.UNEXPECTED_OUTPUT, f"a link {link.path[:200]!r}")
    found: dict[str, Any] = {}
    for file in result.output_files:
        path = paths.get(file.path) or _auxiliary(file.path, job)
        if not path or path in found:
            raise BackendError(Reason.UNEXPECTED_OUTPUT, f"{file.path[:200]!r}")
        found[path] = file
    return list(found.items())


def _auxiliary(spelled: str, job: Job) -> str:
    """Where an output belongs of which only the beginning of the name was known; "" if it is none of those."""
    path = os.path.normpath(os.path.join(job.cwd, spelled))
    known = os.path.dirname(path) in job.folders and any(path.startswith(stem) for stem in job.stems)
    return path if known else ""


def times_of(metadata: Any) -> dict[str, float]:
    """Where a job's time went, as far as the engine says.

    The time in its queue is not called "wait", as that for a node's slots is: who else queues there cannot be seen, so
    it counts as what a job takes there beside its compile.
    """
    spans = {
        "queued": ("queued_timestamp", "worker_start_timestamp"),
        "stage": ("input_fetch_start_timestamp", "input_fetch_completed_timestamp"),
        "wall": ("execution_start_timestamp", "execution_completed_timestamp"),
    }
    phases = {}
    for name, (start, end) in spans.items():
        if metadata.HasField(start) and metadata.HasField(end):
            begun, over = getattr(metadata, start), getattr(metadata, end)
            seconds = over.seconds - begun.seconds + (over.nanos - begun.nanos) / 1e9
            if 0 <= seconds < 1e6:
                phases[name] = round(seconds, 6)
    return phases
