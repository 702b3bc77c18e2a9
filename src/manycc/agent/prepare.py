"""From what the launcher asked to a job ready to send.

The warm path: the same request as before, its compiler and its inputs unchanged, is answered with the
very ``Job`` object of last time after one stat per file. All else (parsing, toolchain, inputs) happens
once per request text.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Final

from manycc.command import zig
from manycc.command.parse import REFUSED_VARIABLES, TARGET_VARIABLES, Command, compiler_kind, parse
from manycc.command.response import MAX_BYTES
from manycc.errors import CompilerError, NotDistributable
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest, Steady
from manycc.job import Job, Toolchain
from manycc.reasons import Reason
from manycc.toolchain.identity import Identifier
from manycc.toolchain.locale import locale_paths
from manycc.toolchain.native import expand_native
from manycc.toolchain.objectcheck import Expected, expected_kind
from manycc.toolchain.terminal import terminal_paths
from manycc.wire.launcher import STDERR_TTY, Request

RESULT_ENV: Final = (
    "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LOCPATH", "PWD", "CPATH", "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH", "SOURCE_DATE_EPOCH", "GCC_COLORS",
    "COLUMNS", "TERM", "COLORTERM", "GCC_URLS", "TERM_URLS", "GCC_EXTRA_DIAGNOSTIC_OUTPUT", "NO_COLOR",
    "FORCE_COLOR", "CLICOLOR_FORCE",
)  # fmt: skip
"""The variables that can change what a compiler writes, and that therefore go with the job."""

_TERMINAL_ENV: Final = frozenset(("COLUMNS", "TERM", "COLORTERM"))
_WIDTH: Final = re.compile(r"\s*\+?0*[1-9]")
_KEY_ENV: Final = (*RESULT_ENV, *REFUSED_VARIABLES, *TARGET_VARIABLES, *zig.VARIABLES, "PATH")

MAX_REMEMBERED: Final = 30 * 1024 * 1024
"""Bytes, about, of what is remembered: 4,000 jobs with 350 inputs of their own each, or 6,000 that share them."""
_WEIGHT_OF_JOB: Final = 5_000
_WEIGHT_OF_INPUT: Final = 8
_RUN: Final = 64
"""Jobs that are forgotten at a time."""
_MAX_ENVIRONMENTS: Final = 1_000


class Prepared:
    """A request that can be sent: its job, and what must be unchanged for it to be used again.

    ``responses``: the digests of the response files its command line names, by path. ``places``: for each folder
    it writes to, as spelled from the root, the (device, inode) of what that led to.
    """

    __slots__ = ("command", "driver", "expected", "job", "manifest", "places", "responses", "toolchain")

    def __init__(
        self,
        command: Command,
        driver: str,
        toolchain: Toolchain,
        manifest: Manifest,
        job: Job,
        expected: Expected | None,
        responses: dict[str, bytes],
        places: dict[str, tuple[int, int]],
    ) -> None:
        self.command = command
        self.driver = driver
        self.toolchain = toolchain
        self.manifest = manifest
        self.job = job
        self.expected = expected
        self.responses = responses
        self.places = places

    def same_command(self) -> bool:
        """Whether its response files read, and its output folders lead, as when it was prepared."""
        try:
            for folder, identity in self.places.items():
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) != identity:
                    return False
            return all(_digest(_read_response(path)) == digest for path, digest in self.responses.items())
        except OSError:
            return False


class Preparer:
    """Remembers what requests came to."""

    def __init__(self, view: FileView, collector: Collector, identifier: Identifier) -> None:
        self._view = view
        self._collector = collector
        self._identifier = identifier
        self._remembered: dict[tuple[object, ...], Prepared] = {}
        self._weight = 0
        self._users: dict[Steady, int] = {}  # how many jobs share the part of their inputs that lies in watched folders
        self._environments: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}

    def key(self, request: Request) -> tuple[object, ...]:
        """What a request's result can depend on, besides files."""
        env = request.env.get
        terminal = request.flags & STDERR_TTY
        return (
            request.compiler,
            request.cwd,
            request.umask,
            terminal and request.columns,
            terminal,
            tuple(request.argv),
            self._shared(tuple([env(name) for name in _KEY_ENV])),
        )

    def _shared(self, values: tuple[str | None, ...]) -> tuple[str | None, ...]:
        """The same object for the same values: the jobs of a build differ little in them."""
        if len(self._environments) > _MAX_ENVIRONMENTS:
            self._environments.clear()
        return self._environments.setdefault(values, values)

    def warm(self, key: tuple[object, ...], request: Request, since: int) -> Prepared | None:
        """The job of last time, if nothing that matters has changed since ``since``; else None."""
        prepared = self._remembered.get(key)
        return prepared if prepared is not None and self.holds(prepared, request, since) else None

    def holds(self, prepared: Prepared, request: Request, since: int) -> bool:
        """Whether nothing that matters to a job has changed since it was prepared, as of ``since``."""
        return (
            self._identifier.current(prepared.driver, request.env) is prepared.toolchain
            and prepared.same_command()
            and self._collector.check(prepared.manifest, since)
        )

    async def still_the_same(self, prepared: Prepared, request: Request, since: int) -> bool:
        """Whether the request comes to the very same job as of ``since``: same command, compiler and input contents.

        Says so in some cases, too, in which ``holds`` does not: a file written again as it was, a name that came
        where another job looks for it.
        """
        if self.holds(prepared, request, since):
            return True
        try:
            now = await self.prepare(self.key(request), request, since)
        except (NotDistributable, CompilerError):
            return False
        before = prepared.job
        same_toolchain = now.toolchain.fingerprint == prepared.toolchain.fingerprint
        return same_toolchain and now.job.argv == before.argv and _contents(now.job) == _contents(before)

    async def prepare(self, key: tuple[object, ...], request: Request, since: int) -> Prepared:
        """Parse, identify, collect. Raises NotDistributable with the reason why it must run locally."""
        cwd = request.cwd
        env = request.env
        if not request.compiler:
            raise NotDistributable(Reason.NOT_A_COMPILER, request.argv[0])
        responses: dict[str, bytes] = {}

        def read_response(path: str) -> bytes:
            data = _read_response(path)
            responses[path] = _digest(data)
            return data

        command = parse(request.argv, cwd, env, read_response)
        toolchain = self._identifier.current(request.compiler, env)
        if toolchain is None:
            toolchain = await self._identifier.identify(request.compiler, env)
        if toolchain.kind != compiler_kind(os.path.basename(request.argv[0])):
            # cc and c++ are names for either compiler, and the two read their options differently.
            command = parse(request.argv, cwd, env, read_response, kind=toolchain.kind)
        argv = command.argv
        if command.native:
            argv = await expand_native(toolchain, argv, command.native, env)
        folders, outputs, stems, places = _places(command, cwd)
        # A node must be able to walk to these as they are spelled.
        linked = [spelled for spelled in places if os.path.realpath(spelled) != spelled.rstrip("/")]
        extra = [*locale_paths(env), *_logical_folder(request), *linked]
        if toolchain.kind == "clang" and request.flags & STDERR_TTY:
            extra += terminal_paths(env)
        manifest = await self._collector.collect(command, toolchain, cwd, env, extra, since)
        job_env, volatile_ok = _environment(request, toolchain, manifest)
        if not volatile_ok:
            raise NotDistributable(Reason.TIMESTAMP_MACRO, "__DATE__ or __TIME__")
        expected = None
        if _writes_object(command):
            expected = await expected_kind(toolchain, command.argv, env, command.language)
        job = Job(
            argv=argv,
            cwd=cwd,
            env=job_env,
            umask=request.umask,
            toolchain=toolchain,
            inputs=manifest.inputs,
            folders=folders,
            outputs=outputs,
            stems=stems,
            source=os.path.join(cwd, command.source),
            cacheable=not manifest.inputs.volatile or "SOURCE_DATE_EPOCH" in env,
            terminal=bool(request.flags & STDERR_TTY),
        )
        prepared = Prepared(command, request.compiler, toolchain, manifest, job, expected, responses, places)
        if job.cacheable:  # a job that holds the time of day is a new one each time
            self._remember(key, prepared)
        return prepared

    def _remember(self, key: tuple[object, ...], prepared: Prepared) -> None:
        self._forget(key)
        self._remembered[key] = prepared
        self._weight += _weight(prepared)
        steady = prepared.manifest.steady
        users = self._users.get(steady, 0)
        self._users[steady] = users + 1
        if not users:
            self._weight += _WEIGHT_OF_INPUT * len(steady.files)
        if self._weight > MAX_REMEMBERED:
            # Here and there, not the oldest: a build too large to be remembered comes by in the same order each
            # time, and would find none of its jobs. In runs: jobs of one folder share what is known of it.
            run = max(1, min(_RUN, len(self._remembered) // 8))
            for other in [key for at, key in enumerate(self._remembered) if at // run % 2 == 0]:
                self._forget(other)

    def _forget(self, key: tuple[object, ...]) -> None:
        old = self._remembered.pop(key, None)
        if old is None:
            return
        self._weight -= _weight(old)
        steady = old.manifest.steady
        self._users[steady] -= 1
        if not self._users[steady]:
            del self._users[steady]
            self._weight -= _WEIGHT_OF_INPUT * len(steady.files)


def _contents(job: Job) -> set[tuple[int, str, bytes, str]]:
    return {(item.kind, item.path, item.digest, item.target) for item in job.inputs.items}


def _weight(prepared: Prepared) -> int:
    return _WEIGHT_OF_JOB + _WEIGHT_OF_INPUT * len(prepared.manifest.files)


def _read_response(path: str) -> bytes:
    """The text of a response file. Raises OSError, also for a pipe, which only its reader may read, and for
    a name that means another file in each process."""
    if path.startswith(("/dev/", "/proc/")):
        raise FileNotFoundError(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(path)
        return file.read(MAX_BYTES + 1)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _writes_object(command: Command) -> bool:
    return "-S" not in command.argv and (
        command.output.endswith((".o", ".obj", ".lo", ".os"))
        or ("-c" in command.argv and command.output != "/dev/null")
    )


_Places = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], dict[str, tuple[int, int]]]


def _places(command: Command, cwd: str) -> _Places:
    """The folders to write into, the outputs and the stems, all as physical absolute paths; and the
    ``places`` of a ``Prepared``.

    Raises NotDistributable(OUTPUT_FOLDER) if a folder is missing or not writable: the compiler
    itself shall say so.
    """
    physical: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}

    def place(path: str) -> str:
        folder, name = os.path.split(path)
        real = physical.get(folder)
        if real is None:
            spelled = os.path.join(cwd, folder)
            real = physical[folder] = os.path.realpath(spelled)
            if not os.path.isdir(real) or not os.access(real, os.W_OK | os.X_OK):
                raise NotDistributable(Reason.OUTPUT_FOLDER, folder or cwd)
            status = os.stat(real)
            places[spelled] = (status.st_dev, status.st_ino)
        return os.path.join(real, name)

    outputs = tuple(dict.fromkeys(place(path) for path in command.outputs))
    stems = tuple(dict.fromkeys(place(path) for path in command.stems))
    for folder in command.folders:
        place(os.path.join(folder, ""))
    folders = tuple(dict.fromkeys((cwd, *physical.values())))
    return folders, outputs, stems, places


def _environment(
    request: Request, toolchain: Toolchain, manifest: Manifest
) -> tuple[tuple[tuple[str, str], ...], bool]:
    """The job's environment, and whether its volatile macros can be kept right."""
    env = request.env
    terminal = bool(request.flags & STDERR_TTY)
    chosen = {name: env[name] for name in RESULT_ENV if name in env and (terminal or name not in _TERMINAL_ENV)}
    if "PWD" in chosen and chosen["PWD"] != request.cwd and not _logical_folder(request):
        del chosen["PWD"]
    if request.columns and toolchain.kind == "gcc" and not _WIDTH.match(chosen.get("COLUMNS", "")):
        chosen["COLUMNS"] = str(request.columns)  # gcc would ask the terminal that its stdin is
    volatile_ok = True
    if manifest.inputs.volatile:
        if toolchain.kind != "gcc":
            volatile_ok = False  # clang reads SOURCE_DATE_EPOCH only since release 16
        elif "SOURCE_DATE_EPOCH" not in chosen:
            # gcc renders SOURCE_DATE_EPOCH in UTC; shifted by our own offset it renders our local time.
            chosen["SOURCE_DATE_EPOCH"] = str(_local_epoch(env))
    return tuple(sorted(chosen.items())), volatile_ok


def _logical_folder(request: Request) -> tuple[str, ...]:
    """The working folder as the caller's shell spells it, if it came there through links.

    Debug information names the folder so; a compiler believes it only where the links exist.
    """
    spelled = request.env.get("PWD", "")
    try:
        if spelled != request.cwd and os.path.isabs(spelled) and os.path.samefile(spelled, request.cwd):
            return (spelled,)
    except OSError:
        pass
    return ()


def _local_epoch(env: Mapping[str, str]) -> int:
    # The caller's TZ may differ from the agent's own.
    before = os.environ.get("TZ")
    try:
        if env.get("TZ") != before:
            _set_tz(env.get("TZ"))
        now = int(time.time())
        return now + time.localtime(now).tm_gmtoff
    finally:
        if env.get("TZ") != before:
            _set_tz(before)


def _set_tz(value: str | None) -> None:
    if value is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = value
    time.tzset()
