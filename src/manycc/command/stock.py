"""A compile split in two for a stock distccd: what is preprocessed here, and what the server is told.

Such a server gets preprocessed source and sends one object back. So the depfile is written by the
preprocessor here, and a job that writes anything else, or whose object depends on more than the source and
the options that are left, is not for it. Pure: nothing is looked up on the disk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from manycc.command.drivers import GCC, is_cxx, is_zig
from manycc.command.languages import suffix_of
from manycc.command.options import Action, Effect, Option
from manycc.command.outputs import NULL
from manycc.command.parse import Command, parse
from manycc.command.reading import Reading
from manycc.command.table import options_of
from manycc.errors import NotDistributable
from manycc.reasons import Reason

DEPFILE: Final = "\0depfile"
"""Stands for the name under which the preprocessor here reaches the depfile."""

_PREPROCESSED: Final = {"c": "c", "c++": "c++", "cpp-output": "c", "c++-cpp-output": "c++"}
_SUFFIXES: Final = {"c": ".c", "c++": ".cc", "cpp-output": ".i", "c++-cpp-output": ".ii"}
_KNOWN_SUFFIXES: Final = {
    "c": (".c",), "c++": (".cc", ".cpp", ".cxx"), "cpp-output": (".i",), "c++-cpp-output": (".ii",),
}  # fmt: skip
"""By what suffix a server tells the language, whatever its version."""

_NAMED_AFTER_OUTPUT: Final = re.compile(r"-(?:fprofile|fauto-profile|fcs-profile|ftest-cov|fbranch-prob|-?coverage)")
_EMBEDS: Final = re.compile(r"-f(?:embed-bitcode|coverage-mapping)")
_PREPROCESSED_ALREADY: Final = re.compile(r"-f(?:preprocessed|no-directives-only)$")
_COLUMNS: Final = re.compile(r"-fsanitize=")
"""Options with which an object holds the columns of the source, as debug information does."""
_NOT_RAW: Final = re.compile(
    r"-Wunused-macros|-Wtraditional|-traditional|-f\w*-?\w*-charset|-fdirectives-only|-undef$|-fgnu-tm|-fopen"
    r"|-fextended-identifiers|-fno-extended"
)
"""Options that forbid to leave macros to the server: with -fopenmp and the like, gcc forgets the pragmas."""
_NOT_PROVEN: Final = re.compile(
    r"-g|--debug|-fsanitize|-f(?:\w+-prefix-map|random-seed|debug-compilation-dir|file-compilation-dir)\b"
)
"""Code options with which canaries are not tried: they put columns and names of folders into objects."""
_ONLY_WITH_E: Final = frozenset(("-C", "-CC", "-P"))
"""What a compile ignores, and a preprocessor run does not."""
_WARNINGS_AS_ERRORS: Final = ("-Werror", "-pedantic-errors", "--pedantic-errors")


@dataclass(frozen=True, slots=True)
class Split:
    """One compile for a stock server. ``flags`` are the options that choose code: what must be proven."""

    source: str
    output: str
    """The main output as spelled; empty for /dev/null."""
    language: str
    """"c" or "c++"."""
    preprocess: tuple[str, ...]
    """Arguments of the run here, DEPFILE in one of them if ``depfile``; none if the source is preprocessed."""
    server: tuple[str, ...]
    """Arguments for the server, without the compiler's name and "-fdirectives-only"."""
    flags: tuple[str, ...]
    options: tuple[str, ...]
    """What ``server`` begins with: all that is not about this very source."""
    depfile: str
    """The depfile as spelled, if one is to be written."""
    debug: bool
    """Whether there is debug information, which names the working folder."""
    columns: bool
    """Whether the object holds columns of the source, which preprocessing changes."""
    raw: bool
    """Whether macros may be left to the server (gcc's -fdirectives-only)."""
    unoptimized: bool
    """Whether columns steer the code itself: gcc without -O keeps a nop for each place that has one of its own."""
    strict: bool
    """Whether warnings are errors: then it matters that gcc has fewer of them where it sees no macros."""


@dataclass(slots=True)
class _Parts:
    kind: str
    preprocess: list[str] = field(default_factory=list)
    server: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    targets: bool = False  # -MT or -MQ
    deps: bool = False  # -MD or -MMD
    placed: bool = False  # whether DEPFILE stands somewhere already
    unused: list[str] = field(default_factory=list)  # -MF, which is idle if nothing asks for a depfile


@lru_cache(maxsize=4096)
def split(argv: tuple[str, ...], cwd: str, kind: str) -> Split:
    """Split a command, as ``Job.argv`` has it.

    Raises NotDistributable(STOCK_CANNOT) with a sentence saying what stock servers cannot do.
    """
    if is_zig(argv[0]):
        raise _refuse("a server takes the name of a compiler, and zig cc is two words")
    command = parse(argv, cwd, {}, None, kind=kind)
    reading = Reading(argv, kind)
    reading.read()
    _check(command, reading, argv)
    parts = _Parts(kind)
    for option, words, value in options_of(argv, kind):
        _sort(parts, option, words, value)
    depfile = _depfile(command, reading, parts)
    spelled = _spelling(argv)
    source = command.source
    done = command.language not in ("c", "c++")
    if not done:
        named = next(language for path, language in reading.inputs if path == source)
        parts.preprocess += [*(["-x", named] if named else []), "-E", source]
        if reading.language != named:
            parts.preprocess += ["-x", reading.language or "none"]  # idle behind the source, as the driver says
    suffix = suffix_of(source) if suffix_of(source) in _KNOWN_SUFFIXES[command.language] else ""
    plain_name = source.rpartition("/")[2]
    sent_name = plain_name if suffix else plain_name + _SUFFIXES[command.language]
    if sent_name.startswith(("-", "@")):
        sent_name = "source" + _SUFFIXES[command.language]
    assembly = reading.assembly
    options = tuple(parts.server)
    parts.server += ["-S" if assembly else "-c", sent_name, "-o", "output.s" if assembly else "output.o"]
    columns = command.debug or any(_COLUMNS.match(argument) for argument in argv)
    strict = kind == GCC and not done and any(argument.startswith(_WARNINGS_AS_ERRORS) for argument in argv)
    return Split(
        source=source,
        output="" if command.output == NULL else command.output,
        language=_PREPROCESSED[command.language],
        preprocess=() if done else tuple(parts.preprocess),
        server=tuple(parts.server),
        flags=tuple(parts.flags),
        options=options,
        depfile="" if done else depfile,
        debug=command.debug,
        columns=columns and not done,
        # With debug information gcc would record it among the options, which is less bad than a warning not seen.
        raw=kind == GCC and not done and (not columns or strict) and not any(map(_NOT_RAW.match, spelled)),
        unoptimized=kind == GCC and not done and _level(parts.flags) in ("", "-O0"),
        strict=strict,
    )


def _level(flags: Sequence[str]) -> str:
    """The option that sets how much is optimized: the last one counts."""
    return next((flag for flag in reversed(flags) if flag.startswith("-O")), "")


def _spelling(argv: Sequence[str]) -> list[str]:
    """All options, those for the preprocessor proper among them."""
    words: list[str] = []
    for argument in argv[1:]:
        words += argument.split(",")[1:] if argument.startswith("-Wp,") else [argument]
    return words


def _refuse(why: str) -> NotDistributable:
    return NotDistributable(Reason.STOCK_CANNOT, why)


def _check(command: Command, reading: Reading, argv: Sequence[str]) -> None:
    """Raise for what a stock server cannot do, or not to the same bytes."""
    if command.language not in _PREPROCESSED:
        raise _refuse(f"it is not asked to compile {command.language}")
    if command.source.startswith("-"):
        raise _refuse("the source's name begins with a -")
    if any(argument.startswith("-frecord-") for argument in argv):
        raise _refuse("the object would record another command line")
    if reading.llvm:
        raise _refuse("-emit-llvm is not in its protocol")
    for argument in argv[1:]:
        if _NAMED_AFTER_OUTPUT.match(argument):
            raise _refuse(f"with {argument} the object names files after itself, which has another name there")
        if argument.startswith("-traditional"):
            raise _refuse(f"{argument}: its preprocessor is another one")
        if argument.startswith(("-fexec-charset", "-fwide-exec-charset")):
            raise _refuse(f"{argument}: strings are converted by preprocessor and compiler in other ways")
        if argument.startswith("-flto"):
            raise _refuse(f"{argument}: code for the linker cannot be compared, and distccd 3.4 refuses it")
        if _EMBEDS.match(argument):
            raise _refuse(f"with {argument} the object holds the command line")
        if _PREPROCESSED_ALREADY.match(argument):
            raise _refuse(argument)
    if command.reads:
        raise _refuse(f"it does not get {command.reads[0]}, which the compile reads")
    if command.stems:
        raise _refuse("it sends the object back, and no dumps")
    others = [path for path in command.outputs if path != command.output]
    named = set(reading.wanted.depfiles)
    if command.output in named:
        raise _refuse("the depfile is the output")
    if len(named) > 1 or (named and _deps_by_words(reading) and reading.wanted.depfile):
        raise _refuse("more than one depfile is asked for")
    if len(others) > (1 if reading.wanted.depfile or named else 0):
        raise _refuse(f"it sends the object back, and not {others[0]}")


def _deps_by_words(reading: Reading) -> bool:
    return any(word in ("-MD", "-MMD") for word in reading.preprocessor_words)


def _sort(parts: _Parts, option: Option, words: list[str], value: str) -> None:
    """Put one option where it belongs: to the run here, to the server, to what must be proven."""
    action = option.action
    if action in (Action.COMPILE, Action.ASSEMBLY, Action.OUTPUT, Action.LANGUAGE):
        return
    if action is Action.DEPS_FILE:
        parts.unused += words
        return
    if option.effect is Effect.LINK:
        parts.preprocess += words  # for what the driver says of options that are idle
        return
    if action is Action.DEPS:
        parts.deps = True
        parts.preprocess += words
    elif option.name in ("-MT", "-MQ"):
        parts.targets = True
        parts.preprocess += words
    elif action is Action.FOR_PREPROCESSOR:
        parts.preprocess.append(_for_preprocessor(parts, value))
    elif action is Action.TO_PREPROCESSOR:
        if value.startswith("-M"):
            raise _refuse(f"-Xpreprocessor {value}")
        parts.preprocess += words
    elif action is Action.DEBUG_LETTERS:
        parts.server += words
        parts.flags += words
    elif option.effect is Effect.PREPROCESS:
        if words[0] not in _ONLY_WITH_E:
            parts.preprocess += words
    else:
        parts.preprocess += words
        if option.name == "-no-canonical-prefixes":
            return
        parts.server += words
        proven = option.effect is Effect.CODE or option.probe or option.name in ("-Qn", "-Qy")
        if proven and not _NOT_PROVEN.match(words[0]):
            parts.flags += words


def _for_preprocessor(parts: _Parts, value: str) -> str:
    """-Wp,: with the depfile it may name replaced."""
    words = value.split(",")
    if parts.kind != GCC and words[0] in ("-MD", "-MMD") and len(words) > 2:
        raise _refuse(f"-Wp,{value}")  # read by clang in a way of its own
    for at, word in enumerate(words):
        if word in ("-MD", "-MMD", "-MF") and at + 1 < len(words):
            words[at + 1] = DEPFILE
            parts.placed = True
        elif word.startswith("-MF") and len(word) > 3:
            words[at] = f"-MF{DEPFILE}"
            parts.placed = True
        elif word.startswith(("-MT", "-MQ")):
            parts.targets = True
    return "-Wp," + ",".join(words)


def _depfile(command: Command, reading: Reading, parts: _Parts) -> str:
    """The depfile's name; the run here is told to write it as the compile would."""
    if not parts.deps and not parts.placed:
        parts.preprocess += parts.unused
        return ""
    named = reading.wanted.depfiles
    others = [path for path in command.outputs if path != command.output]
    if not parts.placed:
        parts.preprocess += ["-MF", DEPFILE]
    if parts.deps and not parts.targets and reading.wanted.output is not None:
        parts.preprocess += ["-MQ", reading.wanted.output]  # what the driver tells its preprocessor
    if others:
        return others[0]
    return named[0] if named else NULL


def compiler_names(driver: str, kind: str, version: str, target: str, language: str) -> tuple[str, ...]:
    """What the compiler may be called on another machine, the most certain name first.

    A server takes a name, no path, and looks for it in a list of its own.
    """
    cxx = language == "c++"
    base = ("g++" if cxx else "gcc") if kind == GCC else ("clang++" if cxx else "clang")
    major = version.partition(".")[0]
    called = driver.rpartition("/")[2]
    names = [f"{base}-{major}", base]
    if kind == GCC:
        names = [f"{target}-{base}-{major}", f"{target}-{base}", *names]
    if is_cxx(called) == cxx:
        names.append(called)
    return tuple(dict.fromkeys(names))
