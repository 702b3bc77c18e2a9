"""The names of all files a compile writes, as gcc (11 and later) and clang choose them.

gcc names auxiliary files after the output, without its last suffix, in the output's folder; with no
``-o``, or ``-o /dev/null``, after the source in the working folder. ``-save-temps=cwd`` moves all but the
depfile to the working folder. Dumps keep the source's suffix: ``obj/x.c.005t.original``. clang does
the same, except that intermediate files and optimisation records have names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from manycc.command.drivers import CLANG
from manycc.command.languages import PREPROCESSED_SUFFIX, suffix_of
from manycc.errors import NotDistributable
from manycc.reasons import Reason

NULL: Final = "/dev/null"


@dataclass(slots=True)
class Wanted:
    """What a command line asks to have written."""

    output: str | None = None  # -o
    depfile: bool = False  # -MD or -MMD
    depfiles: list[str] = field(default_factory=list)  # named ones
    files: list[str] = field(default_factory=list)  # others that are named
    beside: list[str] = field(default_factory=list)  # suffixes
    stems: list[str] = field(default_factory=list)  # further path prefixes
    dumps: bool = False
    record: str | None = None  # format of clang's optimisation record; "" for the usual one
    save_temps: str | None = None  # "obj" or "cwd"


def without_suffix(path: str) -> str:
    """A path without the last suffix of its file name."""
    suffix = suffix_of(path)
    return path[: -len(suffix)] if suffix else path


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]


def main_output(wanted: Wanted, source: str, suffix: str) -> str:
    """The object or assembly file as spelled or as implied by the source."""
    if wanted.output is not None:
        return wanted.output
    return without_suffix(_base_name(source)) + suffix


def auxiliary_base(wanted: Wanted, source: str, kind: str) -> str:
    """What files beside the object are named after, without suffix."""
    output = wanted.output
    if output is None or (output == NULL and kind != CLANG):
        return without_suffix(_base_name(source))
    base = without_suffix(output)
    if kind != CLANG and wanted.save_temps == "cwd":
        return _base_name(base)
    return base


def all_outputs(wanted: Wanted, source: str, language: str, kind: str, output: str) -> tuple[list[str], list[str]]:
    """(files, path prefixes) that the compile writes or may write, as spelled, ``/dev/null`` among them.

    Raises NotDistributable: OUTPUT_SPECIAL for an output that others cannot be named after.
    """
    if output == NULL and ".dwo" in wanted.beside:
        raise NotDistributable(Reason.OUTPUT_SPECIAL, f"debug information is split off from {NULL}")
    files = [output, *wanted.files]
    stems = list(wanted.stems)
    if wanted.depfiles:
        files += wanted.depfiles
    elif wanted.depfile:
        files.append(without_suffix(wanted.output or _base_name(source)) + ".d")
    if wanted.beside or wanted.dumps or wanted.record is not None or wanted.save_temps or wanted.depfile:
        base = auxiliary_base(wanted, source, kind)
        if not _base_name(base):
            raise NotDistributable(Reason.OUTPUT_SPECIAL, f"{output} has no name to name other outputs after")
        _add_beside(wanted, source, language, kind, base, files, stems)
    return files, stems


def _add_beside(
    wanted: Wanted, source: str, language: str, kind: str, base: str, files: list[str], stems: list[str]
) -> None:
    source_base = without_suffix(_base_name(source))
    for suffix in wanted.beside:
        files.append(base + suffix)
        if kind == CLANG and suffix == ".dwo" and base != source_base:
            files.append(source_base + suffix)  # with -S
    if wanted.record is not None:
        if kind == CLANG:
            suffix = f".opt.{wanted.record or 'yaml'}"
            files.append(base + suffix)
            if wanted.output is None:
                files.append(without_suffix(base) + suffix)
        else:
            files.append(f"{base}{suffix_of(source)}.opt-record.json.gz")
    if wanted.dumps:
        stems.append(f"{base}{suffix_of(source)}.")
    if wanted.save_temps:
        suffixes = [PREPROCESSED_SUFFIX.get(language, ".s"), ".s"]
        if kind == CLANG:
            folder = (wanted.output or "").rpartition("/")
            base = source_base if wanted.save_temps == "cwd" else folder[0] + folder[1] + source_base
            suffixes.append(".bc")
        files += [base + suffix for suffix in suffixes]
