"""From a compiler's command line to a ``Command``, or to the reason why the job stays on this machine.

Pure: nothing is looked up on the disk but ``@files``, through ``read_file``. The command line is read by
``reading`` with the option table; here it is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from manycc.command import assembler, response, zig
from manycc.command.drivers import CLANG, GCC, ZIG, calls_cxx, compiler_kind, driver_words, is_wrapper, is_zig
from manycc.command.languages import ASSEMBLER, ASSEMBLER_WITH_CPP, MODULE, SENT, language_of, search_variable
from manycc.command.outputs import NULL, all_outputs, auxiliary_base, main_output
from manycc.command.reading import Reading
from manycc.errors import NotDistributable
from manycc.reasons import Reason

__all__ = ["Command", "compiler_kind", "parse"]

# Variables by which a driver runs other parts or options, or the parts write further files.
REFUSED_VARIABLES: Final = (
    "COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES",
    "CCC_OVERRIDE_OPTIONS", "CC_PRINT_OPTIONS", "CC_PRINT_HEADERS", "CC_PRINT_PROC_STAT", "CC_LOG_DIAGNOSTICS",
    "CC_PRINT_INTERNAL_STAT", "RC_DEBUG_OPTIONS", "FORCE_CLANG_DIAGNOSTICS_CRASH",
)  # fmt: skip

# Variables by which clang finds headers, or the release of a system, for targets that have them.
TARGET_VARIABLES: Final = (
    "SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "IPHONEOS_DEPLOYMENT_TARGET", "TVOS_DEPLOYMENT_TARGET",
    "WATCHOS_DEPLOYMENT_TARGET", "DRIVERKIT_DEPLOYMENT_TARGET", "XROS_DEPLOYMENT_TARGET", "INCLUDE", "EXTERNAL_INCLUDE",
)  # fmt: skip

# (-S, -emit-llvm) → suffix of the main output
_SUFFIX: Final = {(False, False): ".o", (True, False): ".s", (False, True): ".bc", (True, True): ".ll"}


@dataclass(frozen=True, slots=True)
class Command:
    """One compile of one source. Paths are as spelled on the command line, relative to its working folder."""

    argv: tuple[str, ...]
    """``argv[0]`` and the arguments, @files expanded: what a node would run."""
    language: str
    """As for ``-x``."""
    source: str
    output: str
    """The main output as spelled, or the name that is implied."""
    quote_dirs: tuple[str, ...]
    include_dirs: tuple[str, ...]
    """-I, then $CPATH, then the assembler's own."""
    system_dirs: tuple[str, ...]
    """-isystem, then the language's variable."""
    after_dirs: tuple[str, ...]
    probe_args: tuple[str, ...]
    """Options that change the built-in include folders, the language or the ABI."""
    forced: tuple[str, ...]
    """-include and -imacros."""
    reads: tuple[str, ...]
    """Further files that options name to be read; one may be missing."""
    defines: tuple[str, ...]
    """-D, as ``NAME=VALUE`` or ``NAME``."""
    folders: tuple[str, ...]
    """Folders of outputs, ``""`` for the working folder, each once."""
    outputs: tuple[str, ...]
    """Files it writes or may write, the main output first; never /dev/null."""
    stems: tuple[str, ...]
    """Path prefixes of further outputs (dumps)."""
    native: tuple[int, ...]
    """Indexes into ``argv`` of -march=native and its kin."""
    debug: bool
    """Whether debug information is made."""


def parse(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    read_file: Callable[[str], bytes] | None,
    kind: str | None = None,
) -> Command:
    """Read a command line; ``argv[0]`` is the compiler as spelled.

    ``read_file`` gives the bytes of an @file by its absolute path, or raises OSError; None refuses @files.
    ``kind`` ("gcc" or "clang") overrules what the name of the command says.

    Raises NotDistributable with the reason and what it was about, and nothing else.
    """
    if not argv or not argv[0] or "\0" in "".join(argv):
        raise NotDistributable(Reason.BAD_COMMAND, "an argument cannot be passed on")
    kind = kind or compiler_kind(argv[0])
    if kind not in (GCC, CLANG):
        raise NotDistributable(Reason.COMPILER_WRAPPER if is_wrapper(argv[0]) else Reason.NOT_A_COMPILER, argv[0])
    if not driver_words(argv):
        raise NotDistributable(Reason.NOT_COMPILE, "zig is asked for something else than cc or c++")
    unread = ""
    if any(argument[:1] == "@" for argument in argv[1:]):
        argv = [argv[0], *response.expand(argv[1:], cwd, read_file)]
        unread = next((argument for argument in argv[1:] if argument[:1] == "@"), "")
    reading = Reading(argv, kind)
    reading.read()
    _check_mode(reading)
    if unread:
        raise NotDistributable(Reason.BAD_COMMAND, f"{unread} cannot be read")
    if reading.refusal is not None:
        raise NotDistributable(*reading.refusal)
    for name in (*REFUSED_VARIABLES, *(TARGET_VARIABLES if _names_target(reading) else ())):
        if name in env:
            raise NotDistributable(Reason.ENVIRONMENT, name)
    if is_zig(argv[0]):
        zig.check(reading, env)
    source, language = _source(reading)
    return _conclude(reading, source, language, cwd, env)


def _names_target(reading: Reading) -> bool:
    """Whether clang is told a target: by an option, or by what stands before its name."""
    if reading.kind != CLANG:
        return False
    by_name = not reading.argv[0].rpartition("/")[2].startswith((CLANG, ZIG))
    return by_name or any(option.startswith(("--target", "-target")) for option in reading.probe_args)


def _check_mode(reading: Reading) -> None:
    if reading.preprocess:
        raise NotDistributable(Reason.PREPROCESS_ONLY, reading.preprocess)
    if reading.answer:
        raise NotDistributable(Reason.NOT_COMPILE, reading.answer)
    if not reading.compile and not reading.assembly:
        cxx = calls_cxx(reading.argv)
        languages = {named or language_of(path, reading.kind, cxx) for path, named in reading.inputs}
        at_once = not languages.isdisjoint(SENT)
        raise NotDistributable(Reason.NOT_COMPILE, "compiles and links at once" if at_once else "neither -c nor -S")


def _source(reading: Reading) -> tuple[str, str]:
    """The only source and its language."""
    cxx = calls_cxx(reading.argv)
    sources: list[tuple[str, str]] = []
    others: list[str] = []
    for path, named in reading.inputs:
        if not path:
            raise NotDistributable(Reason.BAD_COMMAND, "an input with an empty name")
        if path == "-" or path.startswith(("/dev/stdin", "/dev/fd/", "/proc/")):
            raise NotDistributable(Reason.STDIN_SOURCE, path)
        language = named or language_of(path, reading.kind, cxx)
        if language is None:
            others.append(path)
        else:
            sources.append((path, language))
    if len(sources) > 1:
        raise NotDistributable(Reason.SEVERAL_SOURCES, f"{len(sources)} sources")
    if others:
        raise NotDistributable(Reason.BAD_COMMAND, f"{others[0]} is nothing to compile")
    if not sources:
        raise NotDistributable(Reason.NO_SOURCE)
    source, language = sources[0]
    if source == "/dev/null":  # how build systems ask whether the compiler knows an option
        raise NotDistributable(Reason.NOT_COMPILE, "the source is /dev/null")
    if source.startswith("/dev/"):
        raise NotDistributable(Reason.SOURCE_UNREADABLE, f"{source} is not a plain file")
    if language.endswith("-header"):
        raise NotDistributable(Reason.PRECOMPILED_HEADER, source)
    if language == MODULE:
        raise NotDistributable(Reason.MODULES, source)
    if language not in SENT:
        raise NotDistributable(Reason.LANGUAGE, language)
    if reading.assembly and language == ASSEMBLER:
        raise NotDistributable(Reason.BAD_COMMAND, "-S with a source that is assembly")
    if reading.assembly and language == ASSEMBLER_WITH_CPP:
        raise NotDistributable(Reason.PREPROCESS_ONLY, "-S with a source that is assembly")
    return source, language


def _conclude(reading: Reading, source: str, language: str, cwd: str, env: Mapping[str, str]) -> Command:
    wanted = reading.wanted
    kind = reading.kind
    if reading.native:
        _check_native(reading)
    if reading.verbose_asm and kind == GCC and (reading.assembly or wanted.save_temps):
        raise NotDistributable(Reason.LOCAL_OPTION, "-fverbose-asm with assembly that is kept")
    output = main_output(wanted, source, _SUFFIX[reading.assembly, reading.llvm])
    if output == source:
        raise NotDistributable(Reason.BAD_COMMAND, "the output is the source")
    files, stems = all_outputs(wanted, source, language, kind, output)
    outputs = tuple(dict.fromkeys(path for path in files if _is_kept(path, cwd)))
    for stem in stems:
        _is_kept(stem, cwd)
    if reading.profiles:
        _add_profiles(reading, auxiliary_base(wanted, source, kind))
    include_dirs = reading.include_dirs
    system_dirs = reading.system_dirs
    if "CPATH" in env:
        include_dirs += _search_path(env["CPATH"])
    variable = search_variable(language)
    if variable in env:
        system_dirs += _search_path(env[variable])
    if reading.assembler_words:
        include_dirs += assembler.check(reading.assembler_words)
    return Command(
        argv=tuple(reading.argv),
        language=language,
        source=source,
        output=output,
        quote_dirs=tuple(reading.quote_dirs),
        include_dirs=tuple(include_dirs),
        system_dirs=tuple(system_dirs),
        after_dirs=tuple(reading.after_dirs),
        probe_args=tuple(reading.probe_args),
        forced=tuple(reading.forced),
        reads=tuple(reading.reads),
        defines=tuple(reading.defines),
        folders=_folders((*outputs, *stems)),
        outputs=outputs,
        stems=tuple(stems),
        native=tuple(reading.native),
        debug=reading.debug,
    )


def _check_native(reading: Reading) -> None:
    option = reading.argv[reading.native[0]]
    if reading.kind == CLANG:
        raise NotDistributable(Reason.LOCAL_OPTION, option)
    if reading.debug or reading.records_switches:
        raise NotDistributable(Reason.NATIVE_DEBUG, option)


def _is_kept(path: str, cwd: str) -> bool:
    """Whether an output is a file to bring home; False for /dev/null."""
    if path == NULL:
        return False
    if path == "-":
        raise NotDistributable(Reason.OUTPUT_SPECIAL, "standard output")
    if path.rpartition("/")[2] in ("", ".", ".."):
        raise NotDistributable(Reason.BAD_COMMAND, f"the output {path!r} is no file")
    full = path if path[0] == "/" else f"{cwd}/{path}"
    if full.startswith(("/dev/", "/proc/", "/sys/")) and not full.startswith("/dev/shm/"):  # noqa: S108
        raise NotDistributable(Reason.OUTPUT_SPECIAL, path)
    return True


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for path in paths:
        head, slash, _ = path.rpartition("/")
        found[head or slash] = None
    return tuple(found)


def _search_path(value: str) -> list[str]:
    """The folders of a search path variable; an empty one is the working folder."""
    return [folder or "." for folder in value.split(":")] if value else []


def _add_profiles(reading: Reading, base: str) -> None:
    """Put the profiles that -fprofile-use and its kin read into ``reads``, where the names are certain."""
    for option, value in reading.profiles:
        if reading.kind == CLANG:
            # A value may also be a folder, which only a look at the disk tells.
            if not option.endswith("="):
                reading.reads.append("default.profdata")
            elif value.endswith(".profdata"):
                reading.reads.append(value)
            else:
                raise NotDistributable(Reason.LOCAL_OPTION, option + value)
        elif option == "-fauto-profile":
            reading.reads.append("fbdata.afdo")
        elif option.endswith("=") or reading.profile_dir:
            # The name below such a folder is made of the whole path of the object, in ways that changed over time.
            raise NotDistributable(Reason.LOCAL_OPTION, f"{option}{value}")
        else:
            reading.reads.append(base + ".gcda")
