"""Languages and their standards; response files; precompiled headers and modules."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.gcc import CXX, C, Files, gcc, gxx, sh

_OBJC: Files = {
    "a.m": """\
#import "thing.h"
@implementation Thing
- (int)value { return 3; }
@end
int use(Thing *t) { return [t value]; }
""",
    "thing.h": "__attribute__((objc_root_class)) @interface Thing { Class isa; }\n- (int)value;\n@end\n",
}
_OBJCXX: Files = {
    **_OBJC,
    "a.mm": """\
#import "thing.h"
template <class T> int v(T *t) { return [t value]; }
int use(Thing *t) { return v(t); }
""",
}
_PLAIN: Files = {"a.c": "int class(int new) { return new; }\n"}

_LANGUAGES = (
    gcc("language-c-as-cxx", "-x c++ -c a.c", {"a.c": "class A {};\nint f() { return sizeof(A); }\n"}),
    gcc("language-joined", "-xc++ -c a.txt", {"a.txt": "class A {};\nA a;\n"}),
    gcc("language-none-again", "-x c++ -x none -c a.c", _PLAIN),
    gcc("language-after-source", "-c a.c -x c++", _PLAIN),
    gcc("language-cxx-by-gcc", "-c a.cc", CXX),
    gxx("language-c-is-cxx", "-c a.c", {"a.c": "class A {};\nA a;\n"}),
    gxx("language-forced-c", "-x c -c a.cc", {"a.cc": "int class(int new) { return new; }\n"}),
    gcc(
        "language-preprocessed",
        "-c a.i",
        {"a.i": '# 1 "old/a.c"\n# 1 "<built-in>"\n# 1 "old/a.c"\nint f(void) { int q; return 0; }\n'},
    ),
    gcc(
        "language-preprocessed-warned",
        "-Wall -g -c a.i",
        {"a.i": '# 1 "old/a.c"\nint f(void) { int q; return 0; }\n'},
        contains={"stderr": b"old/a.c"},
    ),
    gcc(
        "language-preprocessed-source-there",
        "-Wall -c a.i",
        {"a.i": '# 1 "old/a.c"\nint f(void) { int q; return 0; }\n', "old/a.c": "what stands there\n"},
        contains={"stderr": b"what stands there"},
    ),
    gxx("language-preprocessed", "-g -c a.ii", {"a.ii": '# 1 "old/a.cc"\nclass A {};\nA a;\n'}),
    gcc("language-preprocessed-named", "-x cpp-output -c a.c", {"a.c": '# 1 "b.c"\nint x;\n'}),
    gcc("language-preprocessed-again", "-fpreprocessed -c a.c", {"a.c": '# 1 "b.c"\nint x;\n'}),
    gcc("language-directives-only", "-fdirectives-only -c a.c", C),
    gcc("language-header-as-c", "-x c -c h.h", {"h.h": "int x;\n"}),
    gcc("language-capital-c", "-c a.C", {"a.C": "class A {};\nA a;\n"}),
    gcc("language-all-cxx-suffixes", "-c a.cxx", {"a.cxx": "class A {};\nA a;\n"}),
    gcc("language-c-plus-plus-suffix", "-c a.c++", {"a.c++": "class A {};\nA a;\n"}),
    gcc("language-ada", "-c a.adb", {"a.adb": "x"}, code=1, reason="language"),
    gcc("language-fortran", "-c a.f90", {"a.f90": "end\n"}, code=1, reason="language"),
    gcc("language-d", "-x d -c a.c", {"a.c": ""}, code=1, reason="language"),
    gcc("objc", "-c a.m -o a.o", _OBJC, needs=("/usr/lib/gcc/x86_64-linux-gnu/12/cc1obj",), contains={"a.o": b"Thing"}),
    gcc(
        "objc-gnu",
        "-g -fgnu-runtime -fobjc-exceptions -MMD -c a.m",
        _OBJC,
        needs=("/usr/lib/gcc/x86_64-linux-gnu/12/cc1obj",),
        contains={"a.d": b"thing.h"},
    ),
    gcc(
        "objc-saved",
        "-save-temps -c a.m",
        _OBJC,
        needs=("/usr/lib/gcc/x86_64-linux-gnu/12/cc1obj",),
        contains={"a.mi": b"@interface"},
    ),
    gcc(
        "objc-error",
        "-c a.m",
        {"a.m": "int f(void) { return [nobody value]; }\n"},
        code=1,
        needs=("/usr/lib/gcc/x86_64-linux-gnu/12/cc1obj",),
    ),
    gxx(
        "objcxx", "-c a.mm", _OBJCXX, needs=("/usr/lib/gcc/x86_64-linux-gnu/12/cc1objplus",), contains={"a.o": b"Thing"}
    ),
    gcc("standard-c89", "-std=c89 -c a.c", {"a.c": "int f(a) int a; { return a; }\n"}),
    gcc("standard-long-form", "--std=c99 -c a.c", C),
    gcc("standard-separate", "--std c11 -c a.c", C),
    gcc("standard-ansi", "-ansi -c a.c", {"a.c": "int asm, typeof, inline;\n"}),
    gcc(
        "standard-c2x",
        "-std=c2x -c a.c",
        {"a.c": "[[nodiscard]] int f(void);\nint x = 0b11;\n#ifndef __has_embed\nint e;\n#endif\n"},
    ),
    gcc("standard-gnu-inline", "-fgnu89-inline -std=gnu11 -c a.c", C),
    gxx("standard-98", "-std=c++98 -c a.cc", {"a.cc": "int f() { return 0; }\n"}),
    gxx(
        "standard-20",
        "-std=c++20 -fno-exceptions -fno-rtti -c a.cc",
        {
            "a.cc": """\
#include <compare>
struct A { int x; auto operator<=>(const A &) const = default; };
bool f(A a, A b) { return a < b; }
"""
        },
    ),
    gxx(
        "standard-23-coroutines",
        "-std=c++23 -fcoroutines -c a.cc",
        {"a.cc": "#include <coroutine>\nstd::suspend_always s;\n"},
    ),
    gxx("standard-abi", "-fabi-version=11 -fabi-compat-version=8 -D_GLIBCXX_USE_CXX11_ABI=0 -c a.cc"),
    gcc("hosted-not", "-ffreestanding -fno-builtin -fno-builtin-memcpy -c a.c", C),
    gcc("traits-of-types", "-funsigned-char -fshort-enums -fshort-wchar -fpack-struct=4 -fsigned-bitfields -c a.c", C),
    gcc("extended-identifiers", "-fextended-identifiers -fdollars-in-identifiers -c a.c", {"a.c": "int größe, a$b;\n"}),
    gcc(
        "openmp",
        "-fopenmp -c a.c",
        {"a.c": "void f(int *p) {\n#pragma omp parallel for\nfor (int i = 0; i < 9; i++) p[i] = i;\n}\n"},
    ),
    gcc(
        "openmp-header", "-fopenmp -c a.c", {"a.c": "#include <omp.h>\nint f(void) { return omp_get_num_threads(); }\n"}
    ),
    gcc(
        "plan9-and-ms",
        "-fms-extensions -fplan9-extensions -c a.c",
        {"a.c": "struct a { int x; };\nstruct b { struct a; };\nint f(struct b *p) { return p->x; }\n"},
    ),
)

_RESPONSES = (
    gcc("response", "@args -c a.c", {**C, "args": "-O2 -g\n-DX=1\n"}),
    gcc("response-only", "@args", {**C, "args": "-c a.c -o 'b c.o'"}, contains={"b c.o": b"\x7fELF"}),
    gcc("response-nested", "@one -c a.c", {**C, "one": "-O1 @two", "two": "-DY=2 -g3"}),
    gcc(
        "response-quoted",
        "@args -c a.c",
        {"a.c": "const char *s = S;\nint t = T;\n", "args": '-DS=\'"x y"\' "-DT=1 + 2" -DU=\\"\\ \n'},
    ),
    gcc("response-elsewhere", "@{place}/sub/args -c a.c", {**C, "sub/args": "-O2 -I."}),
    gcc("response-empty", "@args -c a.c", {**C, "args": " \n"}),
    gcc("response-missing", "@nowhere -c a.c", code=1, reason="bad-command"),
    gcc("response-missing-at-link", "a.c @nowhere", code=1, reason="not-compile"),
    gcc("response-linked", "@args -c a.c", {**C, "real": "-O2", "args": Link("real")}),
    gcc("response-of-itself", "@args -c a.c", {**C, "args": "@args"}, code=1, reason="local-option"),
    gcc("response-recorded", "@args -c a.c", {**C, "args": "-g -frecord-gcc-switches -O1"}),
)

_PCH = sh("gcc-12 -O1 -c p.h -o p.h.gch")
_PCH_FILES: Files = {"a.c": '#include "p.h"\nint x = P;\n', "p.h": "#define P 1\nstruct big { int x; };\n"}
_MODULE: Files = {
    "m.cc": "export module m;\nexport int seven() { return 7; }\n",
    "a.cc": "import m;\nint use() { return seven(); }\n",
}

_PRECOMPILED = (
    gcc("pch-made", "-c p.h", _PCH_FILES, reason="precompiled-header", timed=("p.h.gch",)),
    gcc("pch-made-named", "-x c-header p.h -o q.gch", _PCH_FILES, reason="not-compile", timed=("q.gch",)),
    gcc(
        "pch-used", "-O1 -Winvalid-pch -c a.c", _PCH_FILES, before=_PCH, reason="precompiled-header", timed=("p.h.gch",)
    ),
    gcc(
        "pch-forced",
        "-O1 -include p.h -c a.c",
        {**_PCH_FILES, "a.c": "int x = P;\n"},
        before=_PCH,
        reason="precompiled-header",
        timed=("p.h.gch",),
    ),
    gcc(
        "pch-without-header",
        "-O1 -include p.h -c a.c",
        {**_PCH_FILES, "a.c": "int x = P;\n"},
        before=(*_PCH, ("rm", "p.h")),
        reason="precompiled-header",
        timed=("p.h.gch",),
    ),
    gcc(
        "pch-does-not-fit",
        "-O1 -g -Winvalid-pch -c a.c",
        _PCH_FILES,
        before=_PCH,
        reason="precompiled-header",
        timed=("p.h.gch",),
        contains={"stderr": b"used with"},
    ),
    gcc(
        "pch-folder",
        "-O1 -c a.c",
        _PCH_FILES,
        before=sh("mkdir p.h.gch", "gcc-12 -O1 -c p.h -o p.h.gch/one"),
        reason="precompiled-header",
        timed=("p.h.gch/one",),
    ),
    gcc(
        "pch-elsewhere",
        "-O1 -Isub -c a.c",
        {**_PCH_FILES, "sub/": ""},
        before=sh("gcc-12 -O1 -c p.h -o sub/p.h.gch"),
        timed=("sub/p.h.gch",),
        reason="precompiled-header",
    ),
    gcc("pch-preprocess", "-fpch-preprocess -O1 -c a.c", _PCH_FILES, reason="precompiled-header"),
    gcc("pch-deps", "-fpch-deps -MD -O1 -c a.c", _PCH_FILES, reason="precompiled-header"),
    gxx("module-made", "-std=c++20 -fmodules-ts -c m.cc", _MODULE, reason="modules", timed=("gcm.cache/m.gcm", "m.o")),
    gxx(
        "module-used",
        "-std=c++20 -fmodules-ts -c a.cc",
        _MODULE,
        reason="modules",
        timed=("gcm.cache/m.gcm", "m.o"),
        before=sh("g++-12 -std=c++20 -fmodules-ts -c m.cc"),
    ),
    gxx(
        "module-mapper",
        "-std=c++20 -fmodules-ts -fmodule-mapper=map -c a.cc",
        {**_MODULE, "map": "m m.gcm\n"},
        reason="modules",
        code=1,
    ),
    gxx(
        "module-header-unit",
        "-std=c++20 -fmodules-ts -fmodule-header -c h.h",
        {"h.h": "int x();\n"},
        reason="modules",
        timed=("gcm.cache/,/h.h.gcm",),  # says when it was built
    ),
    gxx("module-not", "-std=c++20 -fno-modules-ts -c a.cc", {"a.cc": "int f() { return 1; }\n"}),
)

CASES: tuple[Case, ...] = (*_LANGUAGES, *_RESPONSES, *_PRECOMPILED)
