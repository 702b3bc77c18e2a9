"""A job made ready for a stock server: preprocessed here, and looked at for what would change its meaning.

gcc's -fdirectives-only leaves macros to the server: that costs a third less here and keeps warnings, but
twice the bytes. What such text, or preprocessed text in general, cannot keep is found in the text itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from manycc.backends.localcpp import MAX_TEXT, LocalRuns, Ran
from manycc.backends.proofs import RAW
from manycc.command.outputs import NULL
from manycc.command.stock import DEPFILE, Split
from manycc.errors import NotDistributable
from manycc.job import FILE, Input, Job
from manycc.reasons import Reason

_ASSEMBLER_READS: Final = (b".incbin", b".include")
_COLUMN_BUILTINS: Final = (b"__builtin_source_location", b"__builtin_COLUMN", b"__builtin_LINE")
_NOT_IN_RAW: Final = (b"__BASE_FILE__", b"__DATE__", b"__TIME__", b"__TIMESTAMP__")
_DEFERRED: Final = re.compile(
    rb"pragma[\s\\]+(?:GCC[\s\\]+)?(?:redefine_extname|message|poison|push_macro|pop_macro)\b"
)
MAX_REMEMBERED: Final = 50_000
_CHANGES_MACROS: Final = re.compile(rb"GCC\s+(?:target|optimize|reset_options)\b")
_MARKER: Final = re.compile(rb'\n# \d+ "[^"\n]*"([ \d]*)\n')
_FIRST_MARKER: Final = re.compile(rb'#(?:line)? \d+ "')
_WORKING_FOLDER: Final = re.compile(rb'# \d+ "[^\n]*\n# \d+ "[^"\n]*//"\n')


@dataclass(slots=True)
class Shipment:
    """What goes to the server, and what stays: the depfile, and what the preprocessor said."""

    source: bytes
    raw: bool
    columns: bool
    """Whether the object will hold columns that are not those of the source."""
    depfile: bytes
    said: bytes


async def prepare(runs: LocalRuns, job: Job, parted: Split, raw: bool) -> Shipment:
    """Preprocess a job. With ``raw``, macros are left to the server unless the text forbids it.

    Raises NotDistributable: PREPROCESS_FAILED, STOCK_CANNOT.
    """
    output = os.path.realpath(os.path.join(job.cwd, parted.output))
    if parted.output and output == os.path.realpath(os.path.join(job.cwd, parted.source)):
        raise _cannot("the output is the source")
    if not parted.preprocess:
        return Shipment(_read(job, parted), raw=False, columns=False, depfile=b"", said=b"")
    raw = raw and not _any_deferred(job)
    ran = await _preprocess(runs, job, parted, raw)
    if raw and (ran.code or _has(ran.output, _NOT_IN_RAW)):
        raw = False
        ran = await _preprocess(runs, job, parted, raw)
    if ran.code:
        raise NotDistributable(Reason.PREPROCESS_FAILED, f"exit code {ran.code}")
    _check(ran.output, job.toolchain.kind)
    columns = parted.columns or (
        not raw and (parted.unoptimized or parted.strict or _has(ran.output, _COLUMN_BUILTINS))
    )
    return Shipment(ran.output, raw, columns, ran.depfile, ran.said)


async def _preprocess(runs: LocalRuns, job: Job, parted: Split, raw: bool) -> Ran:
    arguments = [*([RAW] if raw else []), *parted.preprocess]
    if parted.depfile == NULL:
        arguments = [word.replace(DEPFILE, NULL) for word in arguments]
    return await runs.run(job.toolchain, arguments, job.cwd, dict(job.env))


def _any_deferred(job: Job) -> bool:
    """Whether a file the job may read has a pragma that gcc's -fdirectives-only leaves out without a word.

    What such a pragma does to macros, a server that expands them would not know.
    """
    return any(item.kind == FILE and _has_deferred(item) for item in job.inputs.items)


_deferred: dict[bytes, bool] = {}


def _has_deferred(item: Input) -> bool:
    found = _deferred.get(item.digest)
    if found is None:
        try:
            with open(item.path, "rb") as file:
                found = _DEFERRED.search(file.read(MAX_TEXT)) is not None
        except OSError:
            return True
        if len(_deferred) >= MAX_REMEMBERED:
            _deferred.clear()
        _deferred[item.digest] = found
    return found


def _read(job: Job, parted: Split) -> bytes:
    """A source that is preprocessed already. It names itself in its first line, or gets such a line."""
    source = parted.source
    path = os.path.join(job.cwd, source)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise NotDistributable(Reason.PREPROCESS_FAILED, f"{path}: {error.strerror}") from error
    if len(data) > MAX_TEXT:
        raise NotDistributable(Reason.PREPROCESS_FAILED, f"it has more than {MAX_TEXT} bytes")
    if _has(data.lower(), _ASSEMBLER_READS):
        raise _cannot("its assembly includes a file")
    folder = working_folder(job)
    if any(char in source + folder for char in '"\\\n'):
        raise _cannot("its name cannot be written into a line marker")
    first = b"" if _FIRST_MARKER.match(data) else b'# 1 "%s"\n' % os.fsencode(source)
    if parted.debug and job.toolchain.kind == "gcc":
        if _WORKING_FOLDER.match(data):
            return data
        # After the name comes the working folder, as the preprocessor writes it for debug information.
        marker, _, rest = (first + data).partition(b"\n")
        return b'%s\n# 1 "%s//"\n%s\n%s' % (marker, os.fsencode(folder), marker, rest)
    return first + data


def working_folder(job: Job) -> str:
    """The working folder as the compiler spells it: as the shell does, if that is true (``Job.env`` says so)."""
    return dict(job.env).get("PWD", job.cwd)


def _check(text: bytes, kind: str) -> None:
    """Raise for text from which a server makes something else than the compiler here."""
    if _has(text.lower(), _ASSEMBLER_READS):  # an assembler takes directives in capitals, too
        raise _cannot("its assembly includes a file, which a server does not get")
    if kind != "gcc":
        return
    # A preprocessor run leaves the macros as they are that such a pragma changes in a compile.
    at = text.find(b"GCC")
    while at >= 0:
        if (found := _CHANGES_MACROS.match(text, at)) and not _in_system_header(text, at):
            raise _cannot(f"#pragma {found.group().decode()} changes macros, which a preprocessor run does not see")
        at = text.find(b"GCC", at + 3)


def _in_system_header(text: bytes, at: int) -> bool:
    while (at := text.rfind(b"\n# ", 0, at)) >= 0:
        if marker := _MARKER.match(text, at):
            return b"3" in marker.group(1).split()
    return False


def _has(text: bytes, words: Iterable[bytes]) -> bool:
    return any(word in text for word in words)


def _cannot(why: str) -> NotDistributable:
    return NotDistributable(Reason.STOCK_CANNOT, why)
