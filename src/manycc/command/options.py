"""The options of gcc and clang, as data.

A row says how the option's value is attached, whether the value is a path, what the option has an effect
on, whether it reads or writes a file, and what the parser has to do about it. A row with a ``reason``
keeps the job on this machine. The many -f and -m options that only change code are in ``names``.

A row that is missing here is never guessed: the job stays local and names the option.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from manycc.command.drivers import CLANG, GCC
from manycc.reasons import Reason


class Attach(Enum):
    """How a value is attached to its option."""

    NONE = "none"
    JOINED = "joined"  # -std=c11
    SEPARATE = "separate"  # -Xlinker x
    EITHER = "either"  # -Idir, -I dir
    JOINED_OR_NONE = "joined-or-none"  # -O, -O2


class Effect(Enum):
    """What an option has an effect on."""

    PREPROCESS = "preprocessing"
    CODE = "code"
    DRIVER = "driver"
    DIAGNOSTICS = "diagnostics"
    LINK = "link"


class Action(Enum):
    """What the parser does about an option besides passing it on."""

    NOTHING = "nothing"
    # what is asked for
    COMPILE = "-c"
    ASSEMBLY = "-S"
    PREPROCESS = "stops after preprocessing"
    ANSWER = "answers a question, compiles nothing"
    LANGUAGE = "-x"
    OUTPUT = "-o"
    EMIT_LLVM = "writes LLVM's own formats"
    INPUTS_FOLLOW = "--"
    # where headers are
    QUOTE_DIR = "-iquote"
    INCLUDE_DIR = "-I"
    SYSTEM_DIR = "-isystem"
    AFTER_DIR = "-idirafter"
    PREFIX = "-iprefix"
    PREFIXED_SYSTEM = "-iwithprefix"
    PREFIXED_INCLUDE = "-iwithprefixbefore"
    FORCED = "-include"
    DEFINE = "-D"
    # files beside the object
    DEPS = "writes a depfile"
    DEPS_FILE = "names the depfile"
    READ = "reads the file it names"
    WRITE = "writes the file it names"
    BESIDE = "writes a file beside the object"
    DUMP = "writes dumps beside the object, or to the file it names"
    MESSAGES = "writes messages to the file it names, if it names one"
    RECORD = "writes an optimisation record"
    TRACE = "writes a time trace"
    SAVE_TEMPS = "keeps intermediate files"
    DIAGNOSTICS_FORMAT = "may write messages to a file"
    # what needs a look at the value
    DEBUG = "makes debug information"
    NO_DEBUG = "makes none"
    SPLIT_DEBUG = "makes debug information in a file of its own"
    MACHINE = "may be native"
    CHARSET = "may need a conversion module of the C library"
    PROFILE_USE = "reads a profile"
    PROFILE_DIR = "says where profiles are"
    SECTIONS_LIST = "may name a list to read"
    DEBUG_LETTERS = "-d"
    VERBOSE_ASM = "writes the memory limits of this machine into assembly"
    RECORD_SWITCHES = "records the command line in the object"
    # options for a part
    FOR_PREPROCESSOR = "-Wp,"
    TO_PREPROCESSOR = "-Xpreprocessor"
    FOR_ASSEMBLER = "-Wa,"
    TO_ASSEMBLER = "-Xassembler"
    TO_CLANG = "-Xclang"
    TO_LLVM = "-mllvm"


@dataclass(frozen=True, slots=True)
class Option:
    """One row. ``only`` names the one compiler that has the option, ``suffix`` what a BESIDE file ends in.

    ``probe`` marks options that change the built-in include folders, the language or the ABI.
    """

    name: str
    attach: Attach = Attach.NONE
    effect: Effect = Effect.CODE
    action: Action = Action.NOTHING
    path: bool = False
    reads: bool = False
    writes: bool = False
    reason: Reason | None = None
    probe: bool = False
    only: str = ""
    suffix: str = ""


def _rows(names: str, attach: Attach = Attach.NONE, effect: Effect = Effect.CODE, **more: Any) -> tuple[Option, ...]:
    return tuple(Option(name, attach, effect, **more) for name in names.split())


_NONE, _JOINED, _SEPARATE = Attach.NONE, Attach.JOINED, Attach.SEPARATE
_EITHER, _OPTIONAL = Attach.EITHER, Attach.JOINED_OR_NONE
_CPP, _CODE, _DRIVER = Effect.PREPROCESS, Effect.CODE, Effect.DRIVER
_TEXT, _LINK = Effect.DIAGNOSTICS, Effect.LINK
_LOCAL, _PCH, _MODULES = Reason.LOCAL_OPTION, Reason.PRECOMPILED_HEADER, Reason.MODULES

_MODE: Final = (
    *_rows("-c", effect=_DRIVER, action=Action.COMPILE),
    *_rows("-S", effect=_DRIVER, action=Action.ASSEMBLY),
    *_rows("-E -M -MM", effect=_DRIVER, action=Action.PREPROCESS),
    *_rows("--help --version --target-help -dumpmachine -dumpversion -dumpfullversion -dumpspecs", _NONE, _DRIVER,
           action=Action.ANSWER),
    *_rows("--help= --print- -print-", _OPTIONAL, _DRIVER, action=Action.ANSWER),
    *_rows("-### -fsyntax-only --analyze -emit-ast", _NONE, _DRIVER, action=Action.ANSWER),
    *_rows("-x", _EITHER, _DRIVER, action=Action.LANGUAGE),
    *_rows("-o", _EITHER, _DRIVER, action=Action.OUTPUT, path=True, writes=True),
    *_rows("-emit-llvm", _NONE, _CODE, action=Action.EMIT_LLVM, only=CLANG),
    *_rows("--", _NONE, _DRIVER, action=Action.INPUTS_FOLLOW, only=CLANG),
    *_rows("-pipe -pass-exit-codes", _NONE, _DRIVER),
    *_rows("-no-canonical-prefixes", _NONE, _DRIVER, probe=True),
    *_rows("-Qunused-arguments -Qn -Qy", _NONE, _DRIVER, only=CLANG),
    *_rows("--start-no-unused-arguments --end-no-unused-arguments", _NONE, _DRIVER, only=CLANG),
    *_rows("-target", _SEPARATE, _DRIVER, probe=True, only=CLANG),
    *_rows("--target= --driver-mode=", _JOINED, _DRIVER, probe=True, only=CLANG),
)  # fmt: skip

_HEADERS: Final = (
    *_rows("-iquote", _EITHER, _CPP, action=Action.QUOTE_DIR, path=True),
    *_rows("-I", _EITHER, _CPP, action=Action.INCLUDE_DIR, path=True),
    *_rows("-isystem", _EITHER, _CPP, action=Action.SYSTEM_DIR, path=True),
    *_rows("-cxx-isystem -stdlib++-isystem", _EITHER, _CPP, action=Action.SYSTEM_DIR, path=True, only=CLANG),
    *_rows("-c-isystem", _EITHER, _CPP, action=Action.SYSTEM_DIR, path=True, only=CLANG),
    *_rows("-idirafter", _EITHER, _CPP, action=Action.AFTER_DIR, path=True),
    *_rows("-isystem-after", _EITHER, _CPP, action=Action.AFTER_DIR, path=True, only=CLANG),
    *_rows("-iprefix", _EITHER, _CPP, action=Action.PREFIX, path=True, probe=True),
    *_rows("-iwithprefix", _EITHER, _CPP, action=Action.PREFIXED_SYSTEM, path=True),
    *_rows("-iwithprefixbefore", _EITHER, _CPP, action=Action.PREFIXED_INCLUDE, path=True),
    *_rows("-isysroot --sysroot", _EITHER, _CPP, path=True, probe=True),
    *_rows("--sysroot=", _JOINED, _CPP, path=True, probe=True),
    *_rows("-imultilib -imultiarch", _EITHER, _CPP, probe=True),
    *_rows("-nostdinc -nostdinc++", _NONE, _CPP, probe=True),
    *_rows("-nostdlibinc -nobuiltininc -ibuiltininc", _NONE, _CPP, probe=True, only=CLANG),
    *_rows("-stdlib=", _JOINED, _CPP, probe=True),
    *_rows("-include -imacros", _EITHER, _CPP, action=Action.FORCED, path=True, reads=True),
    *_rows("-D", _EITHER, _CPP, action=Action.DEFINE),
    *_rows("-U -A", _EITHER, _CPP),
    *_rows("-C -CC -P -H -undef -trigraphs -traditional -traditional-cpp", _NONE, _CPP),
    *_rows("--system-header-prefix= --no-system-header-prefix=", _JOINED, _CPP, only=CLANG),
    # folders that are looked up in other ways than the four kinds above
    *_rows("-I-", _NONE, _CPP, reason=_LOCAL),
    *_rows("-remap", _NONE, _CPP, reason=_LOCAL),
    *_rows("-F -iframework -iframeworkwithsysroot -iwithsysroot -ivfsoverlay -vfsoverlay", _EITHER, _CPP,
           path=True, reads=True, reason=_LOCAL),
    *_rows("-index-header-map -no-integrated-cpp", _NONE, _CPP, reason=_LOCAL),
    *_rows("-working-directory", _SEPARATE, _DRIVER, path=True, reason=_LOCAL, only=CLANG),
    *_rows("-working-directory=", _JOINED, _DRIVER, path=True, reason=_LOCAL, only=CLANG),
)  # fmt: skip

_DEPFILES: Final = (
    *_rows("-MD -MMD", _NONE, _CPP, action=Action.DEPS, writes=True),
    *_rows("-MF", _EITHER, _CPP, action=Action.DEPS_FILE, path=True, writes=True),
    *_rows("-MT -MQ", _EITHER, _CPP),
    *_rows("-MP", _NONE, _CPP),
    *_rows("-MV", _NONE, _CPP, only=CLANG),
    *_rows("-MJ", _EITHER, _CPP, action=Action.WRITE, path=True, writes=True, only=CLANG),
    # the compilers accept it only where nothing is compiled
    *_rows("-MG", _NONE, _CPP, reason=Reason.BAD_COMMAND),
)

_CODE_ROWS: Final = (
    *_rows("-std= --std=", _JOINED, _CODE, probe=True),
    *_rows("--std", _SEPARATE, _CODE, probe=True),
    *_rows("-ansi -m32 -m64 -mx32 -m16 -mthumb -marm -EB -EL -mbig-endian -mlittle-endian", _NONE, _CODE, probe=True),
    # -mfpu= finds no folders, but without it a gcc may refuse what -march= and -mfloat-abi= say together.
    *_rows("-mabi= -mfloat-abi= -mfpu=", _JOINED, _CODE, probe=True),
    *_rows("-march= -mcpu=", _JOINED, _CODE, action=Action.MACHINE, probe=True),
    *_rows("-mtune=", _JOINED, _CODE, action=Action.MACHINE),
    *_rows("-mthread-model", _SEPARATE, _CODE, only=CLANG),
    *_rows("-O", _OPTIONAL, _CODE),
    *_rows("--optimize -p -pg -pthread", _NONE, _CODE),
    *_rows("--param", _SEPARATE, _CODE),
    *_rows("--param=", _JOINED, _CODE),
    *_rows("-ftemplate-depth- -finline-limit- -fname-mangling-version- -fbuiltin- -fno-builtin- -fcall-saved-"
           " -fcall-used- -ffixed- -fdisable- -fenable-", _JOINED, _CODE),
    *_rows("-fdebug-compilation-dir", _SEPARATE, _CODE, only=CLANG),
    *_rows("-fdebug-compilation-dir=", _JOINED, _CODE, only=CLANG),
    *_rows("-fcrash-diagnostics", _NONE, _TEXT),
    *_rows("-fno-crash-diagnostics -fno-integrated-cc1 -fintegrated-as", _NONE, _DRIVER),
    *_rows("-finput-charset= -fexec-charset= -fwide-exec-charset=", _JOINED, _CPP, action=Action.CHARSET),
    *_rows("-frecord-gcc-switches -frecord-command-line -grecord-gcc-switches -grecord-command-line", _NONE, _CODE,
           action=Action.RECORD_SWITCHES),
    *_rows("-fverbose-asm", _NONE, _CODE, action=Action.VERBOSE_ASM),
    *_rows("-fno-verbose-asm -fno-record-gcc-switches -fno-record-command-line", _NONE, _CODE),
    *_rows("-d", _JOINED, _CODE, action=Action.DEBUG_LETTERS),
    *_rows("-dynamic", _NONE, _LINK, only=CLANG),  # gcc reads it as -d with letters
)  # fmt: skip

_DEBUG: Final = (
    *_rows("-g -g1 -g2 -g3 -ggdb -ggdb1 -ggdb2 -ggdb3 -gdwarf -gstabs -gstabs+ -gstabs1 -gstabs2 -gstabs3 -gctf"
           " -gctf1 -gctf2 -gbtf -gcoff -gxcoff -gxcoff+ -gvms -gtoggle -gcodeview -gline-tables-only"
           " -gline-directives-only -gmlt -gfull -gused -glldb -gsce -gdbx --debug", _NONE, _CODE, action=Action.DEBUG),
    *_rows("-gdwarf-", _JOINED, _CODE, action=Action.DEBUG),
    *_rows("-g0 -ggdb0 -gstabs0", _NONE, _CODE, action=Action.NO_DEBUG),
    *_rows("-gsplit-dwarf", _NONE, _CODE, action=Action.SPLIT_DEBUG, writes=True, suffix=".dwo"),
    *_rows("-gsplit-dwarf=", _JOINED, _CODE, action=Action.SPLIT_DEBUG, writes=True, suffix=".dwo", only=CLANG),
    *_rows("-gz -gno-split-dwarf -gcolumn-info -gno-column-info -gstrict-dwarf -gno-strict-dwarf -gdwarf32 -gdwarf64"
           " -gno-record-gcc-switches -gno-record-command-line -gas-loc-support -gno-as-loc-support"
           " -gas-locview-support -gno-as-locview-support -ginline-points -gno-inline-points -gstatement-frontiers"
           " -gno-statement-frontiers -gvariable-location-views -gno-variable-location-views"
           " -gvariable-location-views=incompat5 -ginternal-reset-location-views -gno-internal-reset-location-views"
           " -gdescribe-dies -gno-describe-dies -gpubnames -gno-pubnames -ggnu-pubnames -gno-gnu-pubnames"
           " -gembed-source -gno-embed-source -gsimple-template-names -gno-simple-template-names -gcodeview-ghash"
           " -gno-codeview-ghash -gcodeview-command-line -gno-codeview-command-line -gdwarf-aranges"
           " -ginline-line-tables -gno-inline-line-tables -gomit-unreferenced-methods"
           " -gno-omit-unreferenced-methods -gtemplate-alias -gno-template-alias -gkey-instructions"
           " -gno-key-instructions -gstructor-decl-linkage-names -gno-structor-decl-linkage-names -gno-modules", _NONE),
    *_rows("-gz= -gsimple-template-names= -gsrc-hash=", _JOINED),
    *_rows("-gmodules", _NONE, reason=_MODULES),
)  # fmt: skip

_BESIDE: Final = (
    *_rows("-ftest-coverage --coverage -coverage", action=Action.BESIDE, writes=True, suffix=".gcno"),
    *_rows("-fno-test-coverage -fno-stack-usage -fno-save-optimization-record"),
    *_rows("-fprofile-note=", _JOINED, action=Action.WRITE, path=True, writes=True, only=GCC),
    *_rows("-fstack-usage", action=Action.BESIDE, writes=True, suffix=".su"),
    *_rows("-fcallgraph-info", action=Action.BESIDE, writes=True, suffix=".ci", only=GCC),
    *_rows("-fcallgraph-info=", _JOINED, action=Action.BESIDE, writes=True, suffix=".ci", only=GCC),
    *_rows("-ftime-trace", action=Action.TRACE, writes=True, suffix=".json", only=CLANG),
    *_rows("-ftime-trace=", _JOINED, action=Action.TRACE, path=True, writes=True, suffix=".json", only=CLANG),
    *_rows("-ftime-trace-granularity=", _JOINED, only=CLANG),
    *_rows("-ftime-trace-verbose -fno-time-trace", only=CLANG),
    *_rows("-fsave-optimization-record", action=Action.RECORD, writes=True),
    *_rows("-fsave-optimization-record=", _JOINED, action=Action.RECORD, writes=True, only=CLANG),
    *_rows("-foptimization-record-file=", _JOINED, action=Action.WRITE, path=True, writes=True, only=CLANG),
    *_rows("-serialize-diagnostics --serialize-diagnostics", _SEPARATE, _TEXT, action=Action.WRITE, path=True,
           writes=True, only=CLANG),
    *_rows("-aux-info", _SEPARATE, action=Action.WRITE, path=True, writes=True, only=GCC),
    *_rows("-aux-info=", _JOINED, action=Action.WRITE, path=True, writes=True, only=GCC),
    *_rows("-fopt-info", _OPTIONAL, _TEXT, action=Action.MESSAGES, writes=True, only=GCC),
    *_rows("-fdump-tree- -fdump-ipa- -fdump-rtl- -fdump-lang-", _JOINED, action=Action.DUMP, writes=True, only=GCC),
    *_rows("-fdump-analyzer -fdump-statistics -fdump-debug -fdump-earlydebug -fdump-class-hierarchy -fdump-final-insns"
           " -fdump-translation-unit", _OPTIONAL, action=Action.DUMP, writes=True, only=GCC),
    *_rows("-fdump-go-spec=", _JOINED, action=Action.WRITE, path=True, writes=True, only=GCC),
    *_rows("-fdump-noaddr -fdump-unnumbered -fdump-unnumbered-links -fdump-passes -fdump-internal-locations", _NONE,
           _TEXT, only=GCC),
    *_rows("-fdump-ada-spec -fdump-ada-spec-slim", writes=True, reason=_LOCAL, only=GCC),
    *_rows("-save-temps --save-temps", _NONE, _DRIVER, action=Action.SAVE_TEMPS, writes=True),
    *_rows("-save-temps=", _JOINED, _DRIVER, action=Action.SAVE_TEMPS, writes=True),
    *_rows("--save-temps=", _JOINED, _DRIVER, action=Action.SAVE_TEMPS, writes=True, only=CLANG),
    *_rows("-fdiagnostics-format=", _JOINED, _TEXT, action=Action.DIAGNOSTICS_FORMAT),
    *_rows("-fdiagnostics-add-output= -fdiagnostics-set-output=", _JOINED, _TEXT, writes=True, reason=_LOCAL, only=GCC),
    *_rows("-dumpbase -dumpbase-ext -dumpdir", _SEPARATE, _DRIVER, path=True, reason=_LOCAL, only=GCC),
)  # fmt: skip

_READERS: Final = (
    *_rows("-fprofile-use -fbranch-probabilities", action=Action.PROFILE_USE, reads=True),
    *_rows("-fprofile-use= -fprofile-instr-use=", _JOINED, action=Action.PROFILE_USE, path=True, reads=True),
    *_rows("-fprofile-instr-use", action=Action.PROFILE_USE, reads=True, only=CLANG),
    *_rows("-fauto-profile", action=Action.PROFILE_USE, reads=True, only=GCC),
    *_rows("-fprofile-dir= -fprofile-generate=", _JOINED, action=Action.PROFILE_DIR),
    *_rows("-fno-profile-use -fno-profile-instr-use -fno-auto-profile -fno-profile-sample-use"
           " -fno-branch-probabilities"),
    *_rows("-fauto-profile=", _JOINED, action=Action.READ, path=True, reads=True),
    *_rows("-fprofile-sample-use= -fmemory-profile-use= -fprofile-list= -fprofile-remapping-file= -fthinlto-index="
           " -fsanitize-ignorelist= -fsanitize-blacklist= -fsanitize-system-ignorelist= -fsanitize-system-blacklist="
           " -fsanitize-coverage-allowlist= -fsanitize-coverage-ignorelist= -fsanitize-coverage-whitelist="
           " -fsanitize-coverage-blacklist= -fexperimental-sanitize-metadata-ignorelist= -fxray-attr-list="
           " -fxray-always-instrument= -fxray-never-instrument= -frandomize-layout-seed-file="
           " --warning-suppression-mappings=", _JOINED, action=Action.READ, path=True, reads=True, only=CLANG),
    *_rows("-fno-sanitize-ignorelist -fno-sanitize-blacklist", only=CLANG),
    *_rows("-frandomize-layout-seed=", _JOINED, only=CLANG),
    *_rows("-fbasic-block-sections=", _JOINED, action=Action.SECTIONS_LIST, reads=True, only=CLANG),
)  # fmt: skip

_MESSAGES: Final = (
    *_rows("-W", _OPTIONAL, _TEXT),
    *_rows("-R", _JOINED, _TEXT, only=CLANG),
    *_rows("-w -pedantic -pedantic-errors --pedantic --pedantic-errors", _NONE, _TEXT),
    *_rows("-fdiagnostics-color -fno-diagnostics-color -fcolor-diagnostics -fno-color-diagnostics -fansi-escape-codes"
           " -fno-ansi-escape-codes -fdiagnostics-plain-output", _NONE, _TEXT),
    *_rows("-fdiagnostics-color=", _JOINED, _TEXT),
)  # fmt: skip

_PARTS: Final = (
    *_rows("-Wp,", _JOINED, _CPP, action=Action.FOR_PREPROCESSOR),
    *_rows("-Xpreprocessor", _SEPARATE, _CPP, action=Action.TO_PREPROCESSOR),
    *_rows("-Wa,", _JOINED, _CODE, action=Action.FOR_ASSEMBLER),
    *_rows("-Xassembler", _SEPARATE, _CODE, action=Action.TO_ASSEMBLER),
    *_rows("-Wl,", _JOINED, _LINK),
    *_rows("-Xlinker", _SEPARATE, _LINK),
    *_rows("-Xclang", _SEPARATE, _CODE, action=Action.TO_CLANG, only=CLANG),
    *_rows("-Xclang=", _JOINED, _CODE, action=Action.TO_CLANG, only=CLANG),
    *_rows("-mllvm", _SEPARATE, _CODE, action=Action.TO_LLVM, only=CLANG),
    *_rows("-mllvm=", _JOINED, _CODE, action=Action.TO_LLVM, only=CLANG),
    *_rows("-Xanalyzer", _SEPARATE, _TEXT, only=CLANG),
)

# On a command that does not link they are idle.
_LINKER: Final = (
    *_rows("-L -l -T -u -z -e", _EITHER, _LINK),
    *_rows("-Tbss -Tdata -Ttext", _EITHER, _LINK, only=CLANG),
    *_rows("-shared -shared-libgcc -static -static-pie -static-libgcc -static-libstdc++ -static-libasan"
           " -static-libubsan -static-libtsan -static-liblsan -static-libgfortran -pie -no-pie -nopie -rdynamic"
           " -symbolic -s -r -t -n -N -nostdlib -nostdlib++ -nodefaultlibs -nostartfiles -nolibc -export-dynamic",
           _NONE, _LINK),
    *_rows("-rtlib= --rtlib= -unwindlib= --unwindlib= --ld-path=", _JOINED, _LINK, only=CLANG),
)  # fmt: skip

_LOCAL_ROWS: Final = (
    # other programs, other parts, other set-ups than the toolchain's own
    *_rows("-wrapper", _SEPARATE, _DRIVER, reason=_LOCAL),
    *_rows("-B", _EITHER, _DRIVER, path=True, reads=True, reason=_LOCAL),
    *_rows("-specs --specs -resource-dir --config --prefix -ccc-install-dir -ccc-gcc-name", _SEPARATE, _DRIVER,
           path=True, reads=True, reason=_LOCAL),
    *_rows("-specs= --specs= -resource-dir= --config= --prefix= --config-system-dir= --config-user-dir= -iplugindir="
           " --gcc-toolchain= --gcc-install-dir= --gcc-triple= -gcc-toolchain= --offload-arch= --cuda-path="
           " --cuda-gpu-arch= --overlay-platform-toolchain=", _JOINED, _DRIVER, path=True, reads=True, reason=_LOCAL),
    *_rows("-fplugin= -fplugin-arg- -fpass-plugin= -fopenmp-targets= -foffload-objects=", _JOINED, _CODE, reads=True,
           reason=_LOCAL),
    *_rows("-Xarch_host -Xarch_device -Xopenmp-target -Xoffload-linker -arch", _SEPARATE, _DRIVER,
           reason=_LOCAL, only=CLANG),
    *_rows("-Xopenmp-target=", _JOINED, _DRIVER, reason=_LOCAL, only=CLANG),
    *_rows("-fno-integrated-as -no-integrated-as", _NONE, _DRIVER, reason=_LOCAL),
    # a quoted name is then also looked for beside every file that led to the one that asks
    *_rows("-fms-compatibility", _NONE, _CPP, reason=_LOCAL, only=CLANG),
    *_rows("-fapinotes -fapinotes-modules -frepo -fself-test", _NONE, _CODE, reads=True, reason=_LOCAL),
    *_rows("-fcrash-diagnostics-dir= -fproc-stat-report= -save-stats= --save-stats= -frewrite-map-file="
           " -fvtv- -gen-cdb-fragment-path", _JOINED, _CODE, writes=True, reason=_LOCAL),
    *_rows("-fproc-stat-report -gen-reproducer -save-stats --save-stats", _NONE, _TEXT, writes=True, reason=_LOCAL),
    *_rows("-fcompare-debug", _OPTIONAL, _CODE, reason=_LOCAL),
    *_rows("-freport-bug", _NONE, _TEXT, reason=_LOCAL),
    # messages that hold times, memory sizes or names of temporary files of the machine
    *_rows("-v --verbose -time -Q -ftime-report -ftime-report-details -fmem-report -fmem-report-wpa"
           " -fpre-ipa-mem-report -fpost-ipa-mem-report -fstats -print-stats", _NONE, _TEXT, reason=_LOCAL),
    *_rows("-time= -ftime-report=", _JOINED, _TEXT, writes=True, reason=_LOCAL),
    # precompiled headers and modules: whole trees of files made by other commands
    *_rows("-include-pch", _SEPARATE, _CPP, path=True, reads=True, reason=_PCH),
    *_rows("-fpch-", _JOINED, _CPP, reads=True, reason=_PCH),
    *_rows("-emit-pch -relocatable-pch --relocatable-pch", _NONE, _CPP, reason=_PCH),
    *_rows("-fmodules -fmodules-ts -fcxx-modules -fimplicit-modules -fimplicit-module-maps -fsystem-module"
           " -fbuiltin-module-map --precompile", _NONE, _CPP, reads=True, reason=_MODULES),
    *_rows("-fmodule -fmodules- -fprebuilt- -fdeps- -fbuild-session- -fexperimental-modules-", _OPTIONAL, _CPP,
           reads=True, reason=_MODULES),
    *_rows("-fno-modules -fno-modules-ts -fno-cxx-modules -fno-implicit-modules -fno-implicit-module-maps"
           " -fno-module-lazy -fno-builtin-module-map", _NONE, _CPP),
)  # fmt: skip

OPTIONS: Final[tuple[Option, ...]] = (
    *_MODE, *_HEADERS, *_DEPFILES, *_CODE_ROWS, *_DEBUG, *_BESIDE, *_READERS, *_MESSAGES, *_PARTS, *_LINKER,
    *_LOCAL_ROWS,
)  # fmt: skip

XCLANG_SAFE: Final = frozenset(
    {"-disable-llvm-passes", "-disable-O0-optnone", "-disable-lifetime-markers", "-disable-llvm-verifier", "-O3", "-O2",
     "-fallow-half-arguments-and-returns", "-fnative-half-type", "-fdenormal-fp-math=ieee", "-fno-legacy-pass-manager",
     "-mrelax-all", "-vectorize-loops", "-vectorize-slp", "-Wno-unused-command-line-argument", "-fdebug-macro"}
)  # fmt: skip
"""What -Xclang may hand to clang's own front end."""

XCLANG_WITH_VALUE: Final = frozenset({"-target-feature", "-target-abi"})
"""The same, where the next -Xclang gives the value."""

LLVM_SAFE: Final = (
    "-inline-threshold=", "-inlinehint-threshold=", "-unroll-threshold=", "-unroll-max-count=", "-force-vector-width=",
    "-force-vector-interleave=", "-align-all-functions=", "-align-all-nofallthru-blocks=", "-warn-stack-size=",
    "-instcombine-lower-dbg-declare=", "-treat-scalable-fixed-error-as-warning", "-disable-binop-extract-shuffle",
    "-enable-misched", "-enable-dfa-jump-thread", "-split-machine-functions", "-generate-arange-section", "-asan-",
    "-hwasan-", "-msan-", "-tsan-", "-sanitizer-coverage-", "-x86-", "-aarch64-", "-arm-", "-riscv-", "-ppc-",
    "-import-instr-limit=", "-enable-jmc-instrument", "-polly-vectorizer=",
)  # fmt: skip
"""Beginnings of the LLVM options that -mllvm may set."""
