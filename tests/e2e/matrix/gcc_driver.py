"""What the driver itself does: links, several sources, questions, other parts, environment, plugins."""

from __future__ import annotations

from typing import Any

from matrix.case import Case, Link
from matrix.gcc import PROGRAM, C, Files, gcc, gxx, sh

_PLUGIN_FOLDER = "/usr/lib/gcc/x86_64-linux-gnu/12/plugin"
_PLUGIN: Files = {
    **C,
    "plugin.cc": """\
#include "gcc-plugin.h"
#include "plugin-version.h"
int plugin_is_GPL_compatible;
static void finish(void *, void *) { fprintf(stderr, "plugin: done\\n"); }
int plugin_init(plugin_name_args *info, plugin_gcc_version *version)
{
    if (!plugin_default_version_check(version, &gcc_version)) return 1;
    for (int i = 0; i < info->argc; i++) fprintf(stderr, "plugin: %s\\n", info->argv[i].key);
    register_callback(info->base_name, PLUGIN_FINISH, finish, nullptr);
    return 0;
}
""",
}
_BUILD_PLUGIN = sh(f"g++-12 -shared -fPIC -fno-rtti -O0 -I{_PLUGIN_FOLDER}/include plugin.cc -o plugin.so")
_HEADERS: Files = {"a.c": "#include <e.h>\nint x = E;\n", "one/e.h": "#define E 1\n", "two/e.h": "#define E 2\n"}
_HEADERS_CXX: Files = {"a.cc": "#include <e.h>\nint x = E;\n", "one/e.h": "#define E 1\n", "two/e.h": "#define E 2\n"}
_GERMAN: Files = {"a.c": "int f(void) { int unused; return x; }\n"}
_CATALOGUE = "/usr/share/locale/de/LC_MESSAGES/gcc-12.mo"
_LOCALE = sh("mkdir -p locale", "localedef -i de_DE -f UTF-8 {place}/locale/de_DE.UTF-8")
_LATIN = sh("mkdir -p locale", "localedef -i de_DE -f ISO-8859-1 {place}/locale/de_DE.ISO-8859-1")
_LOCALE_TOOLS = ("localedef", "/usr/share/i18n/locales/de_DE")


def _asks(name: str, options: str, **more: Any) -> Case:
    return gcc(f"asks-{name}", options, reason="not-compile", **more)


_LINKS = (
    gcc("link-at-once", "-O2 a.c -o a", PROGRAM, reason="not-compile", after=sh("./a")),
    gcc("link-implied-name", "a.c", PROGRAM, reason="not-compile", contains={"a.out": b"\x7fELF"}),
    gcc("link-objects", "a.o -o a", PROGRAM, before=sh("gcc-12 -c a.c"), reason="not-compile"),
    gcc("link-shared", "-shared -fPIC a.c -o liba.so", reason="not-compile"),
    gcc("link-with-depfile", "-MMD a.c -o a", PROGRAM, reason="not-compile", contains={"a.d": b"a.c"}),
    gcc(
        "link-several",
        "main.c b.c -o a",
        {"main.c": "int b(void);\nint main(void) { return b(); }\n", "b.c": "int b(void) { return 0; }\n"},
        reason="not-compile",
        after=sh("./a"),
    ),
    gcc(
        "link-options-idle",
        "-Wl,-O1,--as-needed -Xlinker -z -Xlinker now -lm -L. -shared -static -s -rdynamic -nostdlib -nodefaultlibs"
        " -nostartfiles -c a.c",
    ),
    gcc("link-options-separate", "-L . -l m -u start -z relro -e begin -T script.ld -c a.c", {**C, "script.ld": ""}),
    gcc("link-options-letters", "-r -n -N -t -symbolic -static-pie -pie -shared-libgcc -static-libgcc -c a.c"),
    gcc(
        "several-sources",
        "-c a.c b.c",
        {**C, "b.c": "int b;\n"},
        reason="several-sources",
        contains={"b.o": b"\x7fELF"},
    ),
    gcc(
        "several-with-object",
        "-c a.c b.o",
        {**C, "b.o": ""},
        reason="bad-command",
        contains={"a.o": b"\x7fELF", "stderr": b"b.o"},
    ),
    gcc("preprocess", "-E a.c", reason="preprocess-only", contains={"stdout": b"struct shape"}),
    gcc("preprocess-macros", "-dM -E -o macros a.c", reason="preprocess-only", contains={"macros": b"__GNUC__"}),
    gcc("stdin", "-x c -c - -o a.o", {}, stdin=b"int x;\n", reason="stdin-source", contains={"a.o": b"\x7fELF"}),
    gcc("stdin-device", "-x c -c /dev/stdin -o a.o", {}, stdin=b"int x;\n", reason="stdin-source"),
    gcc("stdin-preprocess", "-E -", {}, stdin=b"#define A 1\nA\n", reason="preprocess-only", contains={"stdout": b"1"}),
    gcc("stdin-not-read", "-c a.c", stdin=b"not for the compiler\n"),
    gcc("driver-pass-codes", "-pass-exit-codes -c a.c"),
    Case("gcc-driver-absolute", ("/usr/bin/gcc-12", "-g", "-c", "a.c"), C),
    Case("gcc-driver-by-target", ("x86_64-linux-gnu-gcc-12", "-g", "-c", "a.c"), C),
    Case("gcc-driver-cc", ("cc", "-g", "-c", "a.c"), C),
    Case("gcc-driver-c99", ("c99", "-c", "a.c"), C, reason="compiler-wrapper"),
    Case("gcc-driver-through-link", ("{place}/bin/gcc", "-g", "-c", "a.c"), {**C, "bin/gcc": Link("/usr/bin/gcc-12")}),
    Case(
        "gcc-driver-script",
        ("{place}/bin/gcc", "-c", "a.c"),
        {**C, "bin/gcc": '#!/bin/sh\nexec gcc-12 -DX "$@"\n'},
        modes={"bin/gcc": 0o755},
        reason="compiler-wrapper",
    ),
)

_QUESTIONS = (
    _asks("version", "--version", contains={"stdout": b"gcc-12"}),
    _asks("help", "--help"),
    _asks("help-of", "--help=common"),
    _asks("target-help", "--target-help"),
    _asks("machine", "-dumpmachine"),
    _asks("short-version", "-dumpversion"),
    _asks("full-version", "-dumpfullversion"),
    _asks("specs", "-dumpspecs"),
    _asks("library", "-print-libgcc-file-name"),
    _asks("search-folders", "--print-search-dirs"),
    _asks("dry-run", "-### -pipe -S a.c", contains={"stderr": b"cc1"}),
    _asks("syntax", "-fsyntax-only -Wall a.c"),
    _asks("syntax-with-c", "-fsyntax-only -c a.c"),
    _asks("by-clang-analyze", "--analyze a.c", code=1),
    _asks("by-clang-ast", "-emit-ast a.c", code=1),
    _asks("nothing", "", code=1),
    _asks("verbosely", "-v"),
)

_PARTS = (
    gcc(
        "plugin",
        "-fplugin={place}/plugin.so -fplugin-arg-plugin-word=1 -c a.c",
        _PLUGIN,
        before=_BUILD_PLUGIN,
        reason="local-option",
        needs=(f"{_PLUGIN_FOLDER}/include/gcc-plugin.h",),
        contains={"stderr": b"plugin: done"},
    ),
    gcc("plugin-missing", "-fplugin=no.so -c a.c", code=1, reason="local-option"),
    gcc("plugin-folder", "-iplugindir=. -c a.c", reason="local-option"),
    gcc("parts-specs", "-specs=my.specs -c a.c", {**C, "my.specs": "*cc1:\n+ -DSPEC\n"}, reason="local-option"),
    gcc(
        "parts-specs-separate", "-specs my.specs -c a.c", {**C, "my.specs": "*cc1:\n+ -DSPEC\n"}, reason="local-option"
    ),
    gcc("parts-specs-long", "--specs=my.specs -c a.c", {**C, "my.specs": "*cc1:\n+ -DSPEC\n"}, reason="local-option"),
    gcc(
        "parts-folder",
        "-Bparts/ -c a.c",
        {**C, "parts/as": '#!/bin/sh\necho "my as" >&2\nexec as "$@"\n'},
        modes={"parts/as": 0o755},
        reason="local-option",
        contains={"stderr": b"my as"},
    ),
    gcc("parts-prefix", "--prefix=parts/ -c a.c", reason="local-option"),
    gcc("parts-wrapper", "-wrapper env,X=1 -c a.c", reason="local-option"),
    gcc("parts-compare-twice", "-fcompare-debug=-g3 -frandom-seed=1 -c a.c", reason="local-option"),
    gcc("parts-bug-report", "-freport-bug -c a.c", reason="local-option"),
    gcc("parts-offload", "-fopenmp -foffload=disable -c a.c"),
    gcc("parts-self-test", "-fself-test=. -c a.c", reason="unknown-option"),
    gcc("parts-old-templates", "-frepo -c a.c", reason="local-option", contains={"stderr": b"no longer supported"}),
    gcc("parts-diagnostics-folder", "-fcrash-diagnostics-dir=. -c a.c", code=1, reason="local-option"),
    gcc("parts-integrated", "-fintegrated-as -c a.c", code=1, reason="remote-error"),
)

_ENVIRONMENT = (
    gcc("env-cpath", "-c a.c", _HEADERS, env={"CPATH": "one:two"}),
    gcc("env-cpath-here", "-c a.c", {**_HEADERS, "e.h": "#define E 0\n"}, env={"CPATH": ":two"}),
    gcc("env-cpath-after-option", "-Itwo -c a.c", _HEADERS, env={"CPATH": "one"}),
    gcc("env-c-include-path", "-c a.c", _HEADERS, env={"C_INCLUDE_PATH": "{place}/two"}),
    gcc(
        "env-c-include-path-in-depfile",
        "-MD -c a.c",
        _HEADERS,
        env={"C_INCLUDE_PATH": "two"},
        contains={"a.d": b"two/e.h"},
    ),
    gxx(
        "env-cplus-include-path", "-c a.cc", _HEADERS_CXX, env={"CPLUS_INCLUDE_PATH": "no:one", "C_INCLUDE_PATH": "two"}
    ),
    gcc("env-not-for-c", "-c a.c", _HEADERS, env={"CPLUS_INCLUDE_PATH": "one"}, code=1, reason="remote-error"),
    gcc(
        "env-cpath-empty",
        "-c a.c",
        {**_HEADERS, "e.h": "#define E 0\n"},
        env={"CPATH": ""},
        code=1,
        reason="remote-error",
    ),
    gcc("env-exec-prefix", "-c a.c", env={"GCC_EXEC_PREFIX": "/usr/lib/gcc/"}, reason="environment"),
    gcc(
        "env-compiler-path",
        "-c a.c",
        {**C, "parts/as": '#!/bin/sh\necho "my as" >&2\nexec /usr/bin/as "$@"\n'},
        env={"COMPILER_PATH": "{place}/parts"},
        modes={"parts/as": 0o755},
        reason="environment",
        contains={"stderr": b"my as"},
    ),
    gcc("env-compare-debug", "-frandom-seed=1 -c a.c", env={"GCC_COMPARE_DEBUG": "-g"}, reason="environment"),
    gcc("env-library-path", "-c a.c", env={"LIBRARY_PATH": "{place}", "LD_RUN_PATH": "/x"}),
    gcc("env-temporary-folder-missing", "-c a.c", env={"TMPDIR": "{place}/no"}),
    gcc(
        "env-path-with-other-as",
        "-c a.c",
        {**C, "parts/as": '#!/bin/sh\necho "my as" >&2\nexec /usr/bin/as "$@"\n'},
        env={"PATH": "{place}/parts:/usr/bin:/bin"},
        modes={"parts/as": 0o755},
        contains={"stderr": b"my as"},
        reason="not-a-compiler",
    ),
    gcc("env-locale-c", "-Wall -c a.c", _GERMAN, env={"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, code=1),
    gcc(
        "env-locale-utf8",
        "-Wall -c a.c",
        _GERMAN,
        env={"LC_ALL": "C.UTF-8"},
        code=1,
        contains={"stderr": "\u2018unused\u2019".encode()},
    ),
    gcc("env-locale-by-lang", "-Wall -c a.c", _GERMAN, env={"LANG": "C.UTF-8", "LC_MESSAGES": "C"}, code=1),
    gcc("env-locale-unknown", "-Wall -c a.c", _GERMAN, env={"LC_ALL": "xx_YY.UTF-8"}, code=1, reason="remote-error"),
    gcc(
        "env-language",
        "-Wall -c a.c",
        _GERMAN,
        env={"LANG": "C.UTF-8", "LANGUAGE": "de"},
        code=1,
        reason="remote-error",
        needs=(_CATALOGUE,),
        contains={"stderr": b"Warnung"},
    ),
    gcc(
        "env-language-list",
        "-Wall -c a.c",
        _GERMAN,
        env={"LANG": "C.UTF-8", "LANGUAGE": "xx:fr:de"},
        code=1,
        reason="remote-error",
        needs=(_CATALOGUE,),
        contains={"stderr": b"erreur"},
    ),
    gcc(
        "env-language-on-terminal",
        "-Wall -c a.c",
        _GERMAN,
        env={"LANG": "C.UTF-8", "LANGUAGE": "de"},
        code=1,
        reason="remote-error",
        tty=True,
        needs=(_CATALOGUE,),
        contains={"stderr": b"Warnung"},
    ),
    gcc(
        "env-language-of-cpp",
        "-c a.c",
        {"a.c": "#include <no.h>\n"},
        env={"LANG": "C.UTF-8", "LANGUAGE": "de"},
        code=1,
        needs=(_CATALOGUE,),
        reason="remote-error",
    ),
    gcc(
        "env-locale-german",
        "-Wall -c a.c",
        _GERMAN,
        env={"LANG": "de_DE.UTF-8", "LOCPATH": "{place}/locale"},
        before=_LOCALE,
        code=1,
        reason="remote-error",
        needs=(*_LOCALE_TOOLS, _CATALOGUE),
        contains={"stderr": b"Warnung"},
    ),
    gcc(
        "env-locale-latin",
        "-Wall -c a.c",
        {"a.c": "int f(void) { int gr\u00f6\u00dfe; return x; }\n"},
        env={"LC_ALL": "de_DE.ISO-8859-1", "LOCPATH": "{place}/locale"},
        before=_LATIN,
        code=1,
        reason="remote-error",
        needs=(*_LOCALE_TOOLS, _CATALOGUE),
        contains={"stderr": b"Warnung"},
    ),
    gcc(
        "env-locale-of-assembler",
        "-c a.s",
        {"a.s": "nonsense\n"},
        env={"LANG": "C.UTF-8", "LANGUAGE": "de"},
        code=1,
        reason="remote-error",
    ),
)

CASES: tuple[Case, ...] = (*_LINKS, *_QUESTIONS, *_PARTS, *_ENVIRONMENT)
