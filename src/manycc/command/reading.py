"""Reading a command line option by option, before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from manycc.command.drivers import CLANG, driver_words
from manycc.command.languages import named_language
from manycc.command.options import LLVM_SAFE, XCLANG_SAFE, XCLANG_WITH_VALUE, Action, Effect, Option
from manycc.command.outputs import Wanted
from manycc.command.table import TABLES
from manycc.reasons import Reason

# The conversions that gcc does without the C library's modules.
_BUILT_IN_CHARSETS: Final = frozenset({"UTF-8", "UTF8"})
_BUILT_IN_TARGETS: Final = _BUILT_IN_CHARSETS | {"UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"}
"""What gcc converts to by itself; UTF-16 and UTF-32 of no said byte order are left to the C library."""

_STREAMS: Final = frozenset({"stderr", "stdout", "-"})


class Reading:
    """What a command line says. ``refusal`` is the first thing in it that keeps the job on this machine.

    All attributes hold names as spelled, in order.
    """

    def __init__(self, argv: Sequence[str], kind: str) -> None:
        self.argv = argv
        self.kind = kind
        self.wanted = Wanted()
        self.refusal: tuple[Reason, str] | None = None
        self.compile = False
        self.assembly = False
        self.llvm = False
        self.preprocess = ""  # the option that asks for it
        self.answer = ""
        self.language = ""
        self.inputs: list[tuple[str, str]] = []  # (path, language of the -x before it)
        self.quote_dirs: list[str] = []
        self.include_dirs: list[str] = []
        self.system_dirs: list[str] = []
        self.after_dirs: list[str] = []
        self.prefix: str | None = None
        self.probe_args: list[str] = []
        self.forced: list[str] = []
        self.reads: list[str] = []
        self.defines: list[str] = []
        self.native: list[int] = []
        self.debug = False
        self.verbose_asm = False
        self.records_switches = False
        self.profiles: list[tuple[str, str]] = []  # (option, value)
        self.profile_dir = ""
        self.preprocessor_words: list[str] = []
        self.assembler_words: list[str] = []
        self._clang_value = ""  # the -Xclang option whose value the next -Xclang gives
        self._inputs_only = False

    def read(self) -> None:
        """Read all arguments, and those for the preprocessor among them."""
        argv = self.argv
        end = len(argv)
        find = TABLES[self.kind].find
        at = driver_words(argv)
        if at > 1:
            self.probe_args += argv[1:at]
        while at < end:
            argument = argv[at]
            here = at
            at += 1
            if argument[:1] != "-" or argument == "-" or self._inputs_only:
                self.inputs.append((argument, self.language))
                continue
            match = find(argument)
            if match is None:
                self.refuse(Reason.UNKNOWN_OPTION, argument)
                continue
            option, value = match
            if value is None:
                if at == end:
                    self.refuse(Reason.BAD_COMMAND, f"{argument} has no value")
                    return
                value = argv[at]
                at += 1
            if option.probe:
                self.probe_args += argv[here:at]
            self._take(option, value, here)
        if self.preprocessor_words:
            self._read_preprocessor_words()

    def refuse(self, reason: Reason, detail: str) -> None:
        """Note why the job must stay here; only the first time counts."""
        if self.refusal is None:
            self.refusal = (reason, detail)

    def _take(self, option: Option, value: str, at: int) -> None:
        if option.reason is not None:
            self.refuse(option.reason, self.argv[at] if at else option.name)
        if option.path and not value:
            self.refuse(Reason.BAD_COMMAND, f"{option.name} has an empty value")
        action = option.action
        if action is not Action.NOTHING:
            _HANDLERS[action](self, option, value, at)

    def _read_preprocessor_words(self) -> None:
        # The preprocessor proper is spoken to here, not the driver: its -MD and -MMD take a file name.
        find = TABLES[self.kind].find
        remaining = iter(self.preprocessor_words)
        for word in remaining:
            if word in ("-MD", "-MMD"):
                path = next(remaining, "")
                if not path:
                    self.refuse(Reason.BAD_COMMAND, f"-Wp,{word} names no file")
                self.wanted.depfiles.append(path)
                continue
            if word[:1] != "-" or word == "-":
                self.refuse(Reason.LOCAL_OPTION, f"-Wp,{word}")
                return
            match = find(word)
            if match is None:
                self.refuse(Reason.UNKNOWN_OPTION, f"-Wp,{word}")
                return
            option, value = match
            if value is None:
                value = next(remaining, None)
                if value is None:
                    self.refuse(Reason.BAD_COMMAND, f"-Wp,{word} has no value")
                    return
            # Built-in folders are asked of the driver, with its own options: these would be forgotten.
            harmless = (
                option.action is Action.NOTHING
                and option.effect in (Effect.PREPROCESS, Effect.DIAGNOSTICS)
                and not option.probe
            )
            if option.reason is None and not harmless and option.action not in _FOR_PREPROCESSOR:
                self.refuse(Reason.LOCAL_OPTION, f"-Wp,{word}")
            else:
                self._take(option, value, 0)

    # -- one method for each action ---------------------------------------------------------------------------------

    def _compile(self, option: Option, value: str, at: int) -> None:
        self.compile = True

    def _assembly(self, option: Option, value: str, at: int) -> None:
        self.assembly = True

    def _preprocess(self, option: Option, value: str, at: int) -> None:
        self.preprocess = option.name

    def _answer(self, option: Option, value: str, at: int) -> None:
        self.answer = self.argv[at]

    def _language(self, option: Option, value: str, at: int) -> None:
        self.language = named_language(value)

    def _output(self, option: Option, value: str, at: int) -> None:
        self.wanted.output = value

    def _emit_llvm(self, option: Option, value: str, at: int) -> None:
        self.llvm = True

    def _inputs_follow(self, option: Option, value: str, at: int) -> None:
        self._inputs_only = True

    def _folder(self, folders: list[str], option: Option, value: str) -> None:
        # Such a name is completed with the sysroot, which the compiler alone knows.
        if value[:1] == "=" or value.startswith("$SYSROOT"):
            self.refuse(Reason.LOCAL_OPTION, f"{option.name} {value}")
        folders.append(value)

    def _quote_dir(self, option: Option, value: str, at: int) -> None:
        self._folder(self.quote_dirs, option, value)

    def _include_dir(self, option: Option, value: str, at: int) -> None:
        self._folder(self.include_dirs, option, value)

    def _system_dir(self, option: Option, value: str, at: int) -> None:
        self._folder(self.system_dirs, option, value)

    def _after_dir(self, option: Option, value: str, at: int) -> None:
        self._folder(self.after_dirs, option, value)

    def _prefix(self, option: Option, value: str, at: int) -> None:
        self.prefix = value

    def _prefixed(self, folders: list[str], option: Option, value: str) -> None:
        if self.prefix is None:
            self.refuse(Reason.LOCAL_OPTION, f"{option.name} without -iprefix")
        else:
            self._folder(folders, option, self.prefix + value)

    def _prefixed_system(self, option: Option, value: str, at: int) -> None:
        self._prefixed(self.system_dirs, option, value)

    def _prefixed_include(self, option: Option, value: str, at: int) -> None:
        self._prefixed(self.include_dirs, option, value)

    def _forced(self, option: Option, value: str, at: int) -> None:
        self.forced.append(value)

    def _define(self, option: Option, value: str, at: int) -> None:
        self.defines.append(value)

    def _deps(self, option: Option, value: str, at: int) -> None:
        self.wanted.depfile = True

    def _deps_file(self, option: Option, value: str, at: int) -> None:
        self.wanted.depfiles.append(value)

    def _read(self, option: Option, value: str, at: int) -> None:
        self.reads.append(value)

    def _write(self, option: Option, value: str, at: int) -> None:
        self.wanted.files.append(value)

    def _beside(self, option: Option, value: str, at: int) -> None:
        self.wanted.beside.append(option.suffix)

    def _dump(self, option: Option, value: str, at: int) -> None:
        flags, equals, path = value.partition("=")
        if flags and flags[0] != "-" and not option.name.endswith("-"):
            self.refuse(Reason.UNKNOWN_OPTION, self.argv[at])
        elif not equals or path == ".":
            self.wanted.dumps = True
        elif path not in _STREAMS:
            self.wanted.files.append(path)

    def _messages(self, option: Option, value: str, at: int) -> None:
        flags, equals, path = value.partition("=")
        if flags and flags[0] != "-":
            self.refuse(Reason.UNKNOWN_OPTION, self.argv[at])
        elif equals and path not in _STREAMS:
            self.wanted.files.append(path)

    def _record(self, option: Option, value: str, at: int) -> None:
        self.wanted.record = value

    def _trace(self, option: Option, value: str, at: int) -> None:
        if not value:
            self.wanted.beside.append(option.suffix)
        elif value.endswith(option.suffix):
            self.wanted.files.append(value)
        else:  # a folder, or a file: only a look at the disk tells
            self.refuse(Reason.LOCAL_OPTION, self.argv[at])

    def _save_temps(self, option: Option, value: str, at: int) -> None:
        if not option.name.endswith("="):
            value = "cwd" if self.kind == CLANG else "obj"
        if value not in ("obj", "cwd"):
            self.refuse(Reason.BAD_COMMAND, self.argv[at])
        self.wanted.save_temps = value

    def _diagnostics_format(self, option: Option, value: str, at: int) -> None:
        if value.endswith("-file"):
            self.refuse(Reason.LOCAL_OPTION, self.argv[at])

    def _debug(self, option: Option, value: str, at: int) -> None:
        self.debug = True

    def _no_debug(self, option: Option, value: str, at: int) -> None:
        self.debug = False

    def _split_debug(self, option: Option, value: str, at: int) -> None:
        self.debug = True
        self.wanted.beside.append(option.suffix)

    def _machine(self, option: Option, value: str, at: int) -> None:
        if value == "native" or value.startswith("native+"):
            self.native.append(at)

    def _charset(self, option: Option, value: str, at: int) -> None:
        known = _BUILT_IN_CHARSETS if option.name == "-finput-charset=" else _BUILT_IN_TARGETS
        if value.upper() not in known:
            self.refuse(Reason.LOCAL_OPTION, self.argv[at])

    def _profile_use(self, option: Option, value: str, at: int) -> None:
        self.profiles.append((option.name, value))

    def _profile_dir(self, option: Option, value: str, at: int) -> None:
        self.profile_dir = self.argv[at]

    def _sections_list(self, option: Option, value: str, at: int) -> None:
        if value.startswith("list="):
            self.reads.append(value[5:])

    def _debug_letters(self, option: Option, value: str, at: int) -> None:
        letters = set(value)
        if not letters <= set("ADIMNPUap"):
            self.refuse(Reason.UNKNOWN_OPTION, self.argv[at])
        elif "a" in letters:
            self.wanted.dumps = True

    def _verbose_asm(self, option: Option, value: str, at: int) -> None:
        self.verbose_asm = True

    def _record_switches(self, option: Option, value: str, at: int) -> None:
        self.records_switches = True

    def _for_preprocessor(self, option: Option, value: str, at: int) -> None:
        words = value.split(",")
        if self.kind == CLANG and words[0] in ("-MD", "-MMD"):
            # clang's driver takes it for its own option; the file's name counts only if nothing follows it.
            self.wanted.depfile = True
            if len(words) == 2:
                self.wanted.depfiles.append(words[1])
        else:
            self.preprocessor_words += words

    def _to_preprocessor(self, option: Option, value: str, at: int) -> None:
        self.preprocessor_words.append(value)

    def _for_assembler(self, option: Option, value: str, at: int) -> None:
        self.assembler_words += value.split(",")

    def _to_assembler(self, option: Option, value: str, at: int) -> None:
        self.assembler_words.append(value)

    def _to_clang(self, option: Option, value: str, at: int) -> None:
        if self._clang_value:
            self._clang_value = ""
        elif value in XCLANG_WITH_VALUE:
            self._clang_value = value
        elif value not in XCLANG_SAFE:
            self.refuse(Reason.LOCAL_OPTION, f"-Xclang {value}")

    def _to_llvm(self, option: Option, value: str, at: int) -> None:
        if not value.startswith(LLVM_SAFE):
            self.refuse(Reason.LOCAL_OPTION, f"-mllvm {value}")


_Handler = Callable[[Reading, Option, str, int], None]

_HANDLERS: Final[dict[Action, _Handler]] = {
    action: getattr(Reading, f"_{action.name.lower()}") for action in Action if action is not Action.NOTHING
}

_FOR_PREPROCESSOR: Final = frozenset(
    {
        Action.QUOTE_DIR, Action.INCLUDE_DIR, Action.SYSTEM_DIR, Action.AFTER_DIR, Action.FORCED, Action.DEFINE,
        Action.DEPS_FILE,
    }
)  # fmt: skip
