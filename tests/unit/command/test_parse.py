"""What one option or another does to a Command, and each reason to stay local."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping

import pytest

from manycc.command.options import OPTIONS, Attach
from manycc.command.parse import Command, compiler_kind, parse
from manycc.command.table import TABLES
from manycc.errors import NotDistributable
from manycc.reasons import Reason


def command(line: str, env: Mapping[str, str] | None = None, kind: str | None = None) -> Command:
    return parse(shlex.split(line), "/work", env or {}, None, kind)


def refusal(line: str, env: Mapping[str, str] | None = None, kind: str | None = None) -> tuple[Reason, str]:
    with pytest.raises(NotDistributable) as caught:
        command(line, env, kind)
    return caught.value.reason, caught.value.detail


def test_a_plain_compile() -> None:
    assert command("gcc -O2 -c src/a.c -o obj/a.o") == Command(
        argv=("gcc", "-O2", "-c", "src/a.c", "-o", "obj/a.o"),
        language="c",
        source="src/a.c",
        output="obj/a.o",
        quote_dirs=(),
        include_dirs=(),
        system_dirs=(),
        after_dirs=(),
        probe_args=(),
        forced=(),
        reads=(),
        defines=(),
        folders=("obj",),
        outputs=("obj/a.o",),
        stems=(),
        native=(),
        debug=False,
    )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gcc a.c", Reason.NOT_COMPILE),
        ("gcc a.o b.o -o prog", Reason.NOT_COMPILE),
        ("gcc -shared -Wl,--version-script=x a.o -o liba.so", Reason.NOT_COMPILE),
        ("gcc -B. -Qstrange a.o", Reason.NOT_COMPILE),
        ("gcc --version", Reason.NOT_COMPILE),
        ("gcc -v", Reason.NOT_COMPILE),
        ("gcc", Reason.NOT_COMPILE),
        ("gcc -dumpmachine", Reason.NOT_COMPILE),
        ("gcc -print-search-dirs", Reason.NOT_COMPILE),
        ("gcc -print-file-name=libc.so", Reason.NOT_COMPILE),
        ("gcc --help=common -c a.c", Reason.NOT_COMPILE),
        ("gcc -### -c a.c", Reason.NOT_COMPILE),
        ("gcc -fsyntax-only -c a.c", Reason.NOT_COMPILE),
        ("clang --analyze a.c", Reason.NOT_COMPILE),
        ("gcc -E a.c", Reason.PREPROCESS_ONLY),
        ("gcc -c -E a.c -o a.i", Reason.PREPROCESS_ONLY),
        ("gcc -M a.c", Reason.PREPROCESS_ONLY),
        ("gcc -MM -MF a.d a.c -c", Reason.PREPROCESS_ONLY),
        ("gcc -S a.S", Reason.PREPROCESS_ONLY),
        ("gcc -c", Reason.NO_SOURCE),
        ("gcc -c a.c b.c", Reason.SEVERAL_SOURCES),
        ("gcc -c a.c b.c c.o", Reason.SEVERAL_SOURCES),
        ("gcc -c -xc -", Reason.STDIN_SOURCE),
        ("gcc -c -xc /dev/stdin", Reason.STDIN_SOURCE),
        ("gcc -c -xc /dev/null", Reason.NOT_COMPILE),
        ("gcc -c a.f90", Reason.LANGUAGE),
        ("gcc -c a.go", Reason.LANGUAGE),
        ("clang -c a.cu", Reason.LANGUAGE),
        ("clang -c a.ll", Reason.LANGUAGE),
        ("gcc -c -x ada a.c", Reason.LANGUAGE),
        ("gcc -c -fstrange a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -mstrange a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -gstrange a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c --strange a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -strange=x a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -dz a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -fdump-strange a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -fopt-infox a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -target x a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -Xclang -x a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c -ftime-trace a.c", Reason.UNKNOWN_OPTION),
        ("clang -c -aux-info x a.c", Reason.UNKNOWN_OPTION),
        ("gcc -c a.c -o", Reason.BAD_COMMAND),
        ("gcc -c a.c -I", Reason.BAD_COMMAND),
        ("gcc -c a.c -I ''", Reason.BAD_COMMAND),
        ("gcc -c a.c -o ''", Reason.BAD_COMMAND),
        ("gcc -c ''", Reason.BAD_COMMAND),
        ("gcc -c a.c -o obj/", Reason.BAD_COMMAND),
        ("gcc -c a.c -o ..", Reason.BAD_COMMAND),
        ("gcc -c a.c -o a.c", Reason.BAD_COMMAND),
        ("gcc -c a.c b.o", Reason.BAD_COMMAND),
        ("gcc -c b.o", Reason.BAD_COMMAND),
        ("gcc -c README", Reason.BAD_COMMAND),
        ("gcc -S a.s", Reason.BAD_COMMAND),
        ("gcc -c -MD -MG a.c", Reason.BAD_COMMAND),
        ("gcc -c -save-temps=here a.c", Reason.BAD_COMMAND),
        ("gcc -c -Wp,-MD a.c", Reason.BAD_COMMAND),
        ("gcc -c -Wp,-include a.c", Reason.BAD_COMMAND),
        ("gcc -c -Wa,-I a.c", Reason.BAD_COMMAND),
        ("gcc -c a.c -o -", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.c -o /dev/stdout", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.c -MD -MF - -o a.o", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.c -MD -MF /dev/stdout -o a.o", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.c -MD -o /dev/null", Reason.OUTPUT_SPECIAL),  # it would write /dev/null.d
        ("gcc -c a.c -gsplit-dwarf -o /dev/null", Reason.OUTPUT_SPECIAL),
        ("clang -c a.c --coverage -o /dev/null", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.c -MD -o obj/.o", Reason.OUTPUT_SPECIAL),
        ("gcc -c a.h", Reason.PRECOMPILED_HEADER),
        ("g++ -c a.hpp -o a.hpp.gch", Reason.PRECOMPILED_HEADER),
        ("g++ -c -x c++-header a.cc", Reason.PRECOMPILED_HEADER),
        ("clang -c -include-pch a.pch a.c", Reason.PRECOMPILED_HEADER),
        ("gcc -c -fpch-deps a.c", Reason.PRECOMPILED_HEADER),
        ("g++ -c -fmodules-ts a.cc", Reason.MODULES),
        ("g++ -c -fmodules-ts -fmodule-mapper=a.modmap -fdeps-format=p1689r5 a.cc", Reason.MODULES),
        ("clang++ -c -fmodule-file=a=a.pcm a.cc", Reason.MODULES),
        ("clang -c -fmodules a.c", Reason.MODULES),
        ("clang++ -c a.cppm", Reason.MODULES),
        ("g++ -c -x c++-module a.cc", Reason.MODULES),
        ("gcc -c -v a.c", Reason.LOCAL_OPTION),
        ("gcc -c -time a.c", Reason.LOCAL_OPTION),
        ("gcc -c -ftime-report a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fmem-report a.c", Reason.LOCAL_OPTION),
        ("gcc -c -wrapper /bin/echo a.c", Reason.LOCAL_OPTION),
        ("gcc -c -B/tmp a.c", Reason.LOCAL_OPTION),
        ("gcc -c -B /tmp a.c", Reason.LOCAL_OPTION),
        ("gcc -c -specs x a.c", Reason.LOCAL_OPTION),
        ("gcc -c -specs=x a.c", Reason.LOCAL_OPTION),
        ("gcc -c --specs=x a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fplugin=x.so a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fplugin-arg-x-y=z a.c", Reason.LOCAL_OPTION),
        ("clang -c -fpass-plugin=x.so a.c", Reason.LOCAL_OPTION),
        ("gcc -c -no-integrated-cpp a.c", Reason.LOCAL_OPTION),
        ("gcc -c -I- a.c", Reason.LOCAL_OPTION),
        ("gcc -c -I=inc a.c", Reason.LOCAL_OPTION),
        ("gcc -c -isystem '$SYSROOT/inc' a.c", Reason.LOCAL_OPTION),
        ("gcc -c -iwithprefix inc a.c", Reason.LOCAL_OPTION),
        ("gcc -c -remap a.c", Reason.LOCAL_OPTION),
        ("gcc -c -finput-charset=latin1 a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fexec-charset=UTF-16 a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fwide-exec-charset=utf-32 a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fprofile-use=prof a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fprofile-use -fprofile-dir=x a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fprofile-generate=x -fprofile-use a.c", Reason.LOCAL_OPTION),
        ("clang -c -fprofile-use=prof a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fcompare-debug a.c", Reason.LOCAL_OPTION),
        ("gcc -c -dumpbase x a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fdump-ada-spec a.c", Reason.LOCAL_OPTION),
        ("gcc -c -fdiagnostics-format=sarif-file a.c", Reason.LOCAL_OPTION),
        ("gcc -S -fverbose-asm a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wa,-adhln=a.lst a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wa,-a a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wa,--MD,x.d a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wa,-o,x.o a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wa,@/etc/passwd a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Xassembler --statistics a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-v a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,b.c a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-MD,x,b.c a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-o,x a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-M a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp, a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-nostdinc a.c", Reason.LOCAL_OPTION),
        ("gcc -c -Wp,-fstrange a.c", Reason.UNKNOWN_OPTION),
        ("clang -c -Xclang -load -Xclang x.so a.c", Reason.LOCAL_OPTION),
        ("clang -c -mllvm -stats a.c", Reason.LOCAL_OPTION),
        ("clang -c -march=native a.c", Reason.LOCAL_OPTION),
        ("clang -c -resource-dir /x a.c", Reason.LOCAL_OPTION),
        ("clang -c -ftime-trace=folder a.c", Reason.LOCAL_OPTION),
        ("clang -c -fno-integrated-as a.c", Reason.LOCAL_OPTION),
        ("gcc -c @args a.c", Reason.LOCAL_OPTION),  # nobody to read it
        ("gcc -c -march=native -g a.c", Reason.NATIVE_DEBUG),
        ("gcc -c -mcpu=native -ggdb3 a.c", Reason.NATIVE_DEBUG),
        ("gcc -c -mtune=native -gsplit-dwarf a.c", Reason.NATIVE_DEBUG),
        ("gcc -c -march=native -frecord-gcc-switches a.c", Reason.NATIVE_DEBUG),
        ("ld -c a.c", Reason.NOT_A_COMPILER),
        ("gcc-ar -c a.c", Reason.NOT_A_COMPILER),
    ],
)
def test_reasons_to_stay_local(line: str, reason: Reason) -> None:
    assert refusal(line)[0] is reason


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("gcc -O2 a.c b.o -lm -o prog", "compiles and links at once"),
        ("gcc -xc a.txt -o prog", "compiles and links at once"),
        ("gcc a.o b.o -o prog", "neither -c nor -S"),
        ("gcc -Werror -xc -S /dev/null -o /dev/null", "the source is /dev/null"),
    ],
)
def test_what_is_no_compile_says_what_it_is(line: str, detail: str) -> None:
    assert refusal(line) == (Reason.NOT_COMPILE, detail)


@pytest.mark.parametrize("option", ["-fstrange", "-mstrange=1", "--strange", "-Wp,-strange", "-fnew-thing=/etc/x"])
def test_an_unknown_option_is_named(option: str) -> None:
    assert refusal(f"gcc -c a.c {option} -O2") == (Reason.UNKNOWN_OPTION, option)


def test_nothing_at_all() -> None:
    for argv in ([], [""], ["gcc", "-c", "a\0.c"]):
        with pytest.raises(NotDistributable) as caught:
            parse(argv, "/work", {}, None)
        assert caught.value.reason is Reason.BAD_COMMAND


@pytest.mark.parametrize(
    "name",
    ["COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES",
     "CCC_OVERRIDE_OPTIONS"],
)  # fmt: skip
def test_environment_that_changes_the_parts(name: str) -> None:
    assert refusal("gcc -c a.c", {name: "x"}) == (Reason.ENVIRONMENT, name)
    assert refusal("gcc a.o", {name: "x"})[0] is Reason.NOT_COMPILE


def test_environment_that_adds_folders() -> None:
    env = {"CPATH": "/p:", "C_INCLUDE_PATH": "/c", "CPLUS_INCLUDE_PATH": "/cc", "LIBRARY_PATH": "/l"}
    found = command("gcc -c a.c -I/i -isystem /s", env)
    assert (found.include_dirs, found.system_dirs) == (("/i", "/p", "."), ("/s", "/c"))
    assert command("g++ -c a.cc", env).system_dirs == ("/cc",)


def test_where_headers_are() -> None:
    found = command(
        "gcc -c a.c -iquote q1 -iquoteq2 -I i1 -Ii2 -isystem s1 -isystems2 -idirafter a1 -idiraftera2"
        " -iprefix p/ -iwithprefix x -iwithprefixbefore y -include f1 -imacrosf2 -nostdinc --sysroot=/r -isysroot /r2"
    )
    assert found.quote_dirs == ("q1", "q2")
    assert found.include_dirs == ("i1", "i2", "p/y")
    assert found.system_dirs == ("s1", "s2", "p/x")
    assert found.after_dirs == ("a1", "a2")
    assert found.forced == ("f1", "f2")
    assert found.probe_args == ("-iprefix", "p/", "-nostdinc", "--sysroot=/r", "-isysroot", "/r2")


def test_an_empty_variable_eats_the_next_argument_as_in_the_compiler() -> None:
    assert command("gcc -c a.c -I -Wall -O2").include_dirs == ("-Wall",)


def test_probe_args() -> None:
    line = "gcc -c a.c -m32 -std=gnu11 -nostdinc++ -O2 -mfloat-abi=hard -march=armv7-a -DX"
    assert command(line).probe_args == ("-m32", "-std=gnu11", "-nostdinc++", "-mfloat-abi=hard", "-march=armv7-a")
    # A gcc for ARM that is told a processor without a floating-point unit refuses to say anything without -mfpu=.
    old_pi = ("-march=armv6", "-mfpu=vfp")
    assert command(f"arm-linux-gnueabihf-gcc -O2 {' '.join(old_pi)} -c a.c").probe_args == old_pi
    assert command("clang -c a.c -target arm-none-eabi -stdlib=libc++").probe_args == (
        "-target",
        "arm-none-eabi",
        "-stdlib=libc++",
    )


def test_defines() -> None:
    assert command("gcc -c a.c -DA -D B=1 '-DC=\"x y\"' -UA").defines == ("A", "B=1", 'C="x y"')


def test_options_for_the_preprocessor_come_last() -> None:
    found = command("gcc -Wp,-DA=1,-Ip1,-MMD,obj/.a.o.d -Xpreprocessor -include -Xpreprocessor f -DB -Ii -c a.c")
    assert found.defines == ("B", "A=1")
    assert found.include_dirs == ("i", "p1")
    assert found.forced == ("f",)
    assert found.outputs == ("a.o", "obj/.a.o.d")


def test_options_for_the_assembler() -> None:
    found = command("gcc -c a.S -Ii -Wa,--noexecstack,-Iw,--defsym,X=1 -Xassembler -I -Xassembler x -Wa,-march=armv8-a")
    assert found.include_dirs == ("i", "w", "x")


def test_options_for_clang() -> None:
    line = "clang -c a.c -Xclang -target-feature -Xclang +crc -mllvm -inline-threshold=9 -Xclang -disable-llvm-passes"
    assert command(line).outputs == ("a.o",)


@pytest.mark.parametrize(
    ("line", "outputs"),
    [
        ("gcc -c src/a.b.c", ("a.b.o",)),
        ("gcc -S src/a.c", ("a.s",)),
        ("gcc -c -S src/a.c", ("a.s",)),
        ("gcc -c a.c -ox.o", ("x.o",)),
        ("gcc -c a.c -o x.o -o y.o", ("y.o",)),
        ("gcc -c a.c -o /dev/null", ()),
        ("gcc -c a.c -o a.o -MD -MF /dev/null", ("a.o",)),
        ("gcc -c a.c -MD", ("a.o", "a.d")),
        ("gcc -c a.c -MD -o obj/x.lo", ("obj/x.lo", "obj/x.d")),
        ("gcc -c a.c -MD -o obj.d/x", ("obj.d/x", "obj.d/x.d")),
        ("gcc -c a.c -MMD -MFdeps/x.d", ("a.o", "deps/x.d")),
        ("gcc -c a.c -Wp,-MD,x.d", ("a.o", "x.d")),
        ("gcc -c a.c -aux-info a.X -fdump-go-spec=a.go", ("a.o", "a.X", "a.go")),
        ("gcc -c a.c -fopt-info-vec-missed=v.txt -fopt-info", ("a.o", "v.txt")),
        ("gcc -c a.c -fopt-info=stderr", ("a.o",)),
        ("gcc -c a.c -fprofile-note=x.gcno --coverage", ("a.o", "x.gcno", "a.gcno")),
        ("clang -c -emit-llvm a.c", ("a.bc",)),
        ("clang -S -emit-llvm a.c", ("a.ll",)),
        ("clang -c a.c -MJ x.json --serialize-diagnostics x.dia", ("a.o", "x.json", "x.dia")),
        ("clang -c a.c -ftime-trace=t.json", ("a.o", "t.json")),
    ],
)
def test_outputs(line: str, outputs: tuple[str, ...]) -> None:
    assert command(line).outputs == outputs


def test_null_output_is_still_a_compile() -> None:
    found = command("gcc -c a.c -o /dev/null")
    assert (found.output, found.outputs, found.folders) == ("/dev/null", (), ())


def test_folders_hold_every_output_once() -> None:
    found = command("gcc -c a.c -o obj/a.o -MD -MF .deps/a.d -fstack-usage -fdump-tree-optimized -aux-info /x.X")
    assert found.folders == ("obj", "/", ".deps")
    assert found.stems == ("obj/a.c.",)
    assert command("gcc -c a.c").folders == ("",)


def test_what_options_read() -> None:
    assert command("gcc -c a.c -o obj/a.o -fprofile-use").reads == ("obj/a.gcda",)
    assert command("gcc -c a.c -fauto-profile").reads == ("fbdata.afdo",)
    assert command("gcc -c a.c -fauto-profile=x.afdo").reads == ("x.afdo",)
    assert command("clang -c a.c -fprofile-instr-use=x.profdata").reads == ("x.profdata",)
    assert command("clang -c a.c -fprofile-use").reads == ("default.profdata",)
    assert command("clang -c a.c -fsanitize-ignorelist=x.txt -fsanitize=address").reads == ("x.txt",)
    assert command("clang -c a.c -fbasic-block-sections=list=x.txt").reads == ("x.txt",)
    assert command("clang -c a.c -fbasic-block-sections=all").reads == ()


def test_native() -> None:
    found = command("gcc -c a.c -march=native -O2 -mtune=native -mcpu=native+crypto -march=x86-64 -g -g0")
    assert found.native == (3, 5, 6)
    assert not found.debug


@pytest.mark.parametrize(
    ("options", "debug"),
    [("", False), ("-g", True), ("-ggdb3", True), ("-gdwarf-5", True), ("-g -g0", False), ("-g0 -g1", True),
     ("-gz -gpubnames", False), ("-gsplit-dwarf", True), ("-gline-tables-only", True)],
)  # fmt: skip
def test_debug(options: str, debug: bool) -> None:
    assert command(f"gcc -c a.c {options}").debug is debug


def test_kind_given_from_outside_overrules_the_name() -> None:
    assert refusal("cc -c a.c -march=native", kind="clang")[0] is Reason.LOCAL_OPTION
    assert command("strange-name -c a.c", kind="gcc").source == "a.c"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gcc", "gcc"), ("/usr/bin/g++", "gcc"), ("cc", "gcc"), ("c++", "gcc"), ("c89", "gcc"), ("c99-gcc", "gcc"),
        ("gcc-12", "gcc"), ("gcc-4.9.4", "gcc"), ("g++12", "gcc"), ("x86_64-linux-gnu-g++-12", "gcc"),
        ("arm-none-eabi-gcc", "gcc"), ("x86_64-w64-mingw32-gcc-posix", "gcc"), ("x86_64-w64-mingw32-g++-win32", "gcc"),
        ("clang", "clang"), ("clang++-14", "clang"), ("aarch64-linux-gnu-clang", "clang"), ("clang-19.1", "clang"),
        ("gcc-ar", None), ("clang-cpp", None), ("clang-format", None), ("ld", None), ("", None), ("gcc/", None),
        ("ccache", None), ("zig", "clang"), ("zig-0.15", None), ("nvcc", None), ("gcc.py", None),
    ],
)  # fmt: skip
def test_compiler_kind(name: str, kind: str | None) -> None:
    assert compiler_kind(name) == kind


def test_non_utf8_names_survive() -> None:
    name = b"src/\xe9\xff.c".decode("utf-8", "surrogateescape")
    found = parse(["gcc", "-c", name, "-I\udcff"], "/work", {}, None)
    assert found.source == name
    assert found.include_dirs == ("\udcff",)
    assert found.outputs == ("\udce9\udcff.o",)


def test_the_table_has_each_option_once_for_each_compiler() -> None:
    for kind in TABLES:
        seen = [option.name for option in OPTIONS if option.only in ("", kind)]
        twice = {name for name in seen if seen.count(name) > 1}
        assert not twice


def test_every_row_is_found() -> None:
    """No row is hidden by a list of names or by a row that begins alike."""
    for kind, table in TABLES.items():
        for option in OPTIONS:
            if option.only in ("", kind):
                match = table.find(option.name + ("x" if option.attach is Attach.JOINED else ""))
                assert match is not None and match.option is option


def test_the_table_is_consistent() -> None:
    for option in OPTIONS:
        assert option.name.startswith("-")
        assert dataclasses.replace(option) == option
        if option.name.endswith("="):
            assert option.attach in (Attach.JOINED, Attach.JOINED_OR_NONE), option.name
        if option.path:
            assert option.attach is not Attach.NONE, option.name
