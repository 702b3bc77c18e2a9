"""Compiles that fail, each in its own way."""

from __future__ import annotations

from typing import Any

from matrix.case import Case, Link
from matrix.gcc import C, gcc, gxx


def _wrong(name: str, source: str, said: bytes, options: str = "-c a.c", **more: Any) -> Case:
    return gcc(f"error-{name}", options, {"a.c": source}, code=1, contains={"stderr": said}, **more)


_SOURCE = (
    _wrong("syntax", "int f( {\n", b"expected"),
    _wrong("undeclared", "int f(void) { return x; }\n", b"undeclared"),
    _wrong("types", "struct a {} s; int *p = s;\n", b"incompatible types"),
    _wrong("redefinition", "int f(void) {}\nint f(void) {}\n", b"redefinition"),
    _wrong("many", "\n".join(f"undefined{n} x{n};" for n in range(40)) + "\n", b"undefined39"),
    _wrong("first-only", "a b;\nc d;\n", b"terminated due to", "-fmax-errors=1 -c a.c"),
    _wrong("fatal-flag", "a b;\nc d;\n", b"terminated due to", "-Wfatal-errors -c a.c"),
    _wrong("directive", "#error not here\nint x;\n", b"#error not here"),
    _wrong("directive-unknown", "#nonsense\n", b"invalid preprocessing"),
    _wrong("unterminated-comment", "int x; /* \n", b"unterminated comment"),
    _wrong("unterminated-if", "#if 1\nint x;\n", b"unterminated #if"),
    _wrong("unterminated-string", 'char *x = "abc\n;\n', b"missing terminating"),
    _wrong("bad-bytes", "int \udcff\udcfe;\n", b"stray"),
    _wrong("null-byte", "int x\0y;\n", b"error"),
    _wrong("static-assert", '_Static_assert(sizeof(int) == 3, "odd machine");\n', b"odd machine"),
    _wrong("macro-arguments", "#define F(a) a\nint x = F(1, 2);\n", b"passed 2 arguments"),
    _wrong("condition", "#if 1 +\n#endif\n", b"no right operand"),
    _wrong("assembler", '__asm__("no_such_instruction %eax");\n', b"no such instruction", "-pipe -c a.c"),
    _wrong("before-assembler", 'void f(void) { __asm__(""); }\n#error before it\n', b"before it"),
    _wrong("constraint", 'int f(int x) { __asm__("" : "=q9"(x)); return x; }\n', b"constraint"),
    _wrong("embed-is-newer", 'char x[] = {\n#embed "data"\n};\n', b"invalid preprocessing directive #embed"),
    _wrong("include-empty", '#include ""\n', b"empty filename"),
    _wrong("include-bare", "#include\n", b"#include expects"),
    _wrong("include-missing", '#include "no.h"\n', b"no.h: No such file", reason="remote-error"),
    _wrong("include-missing-angled", "#include <no.h>\n", b"no.h: No such file", reason="remote-error"),
    _wrong("include-nested", '#include "a.c"\n', b"nested depth"),
    _wrong("warning-to-error", "#warning soft\n", b"soft", "-Werror -c a.c"),
    gcc("error-include-folder", "-c a.c", {"a.c": '#include "sub"\n', "sub/": ""}, code=1, reason="remote-error"),
    gcc(
        "error-include-dangling",
        "-c a.c",
        {"a.c": '#include "x.h"\n', "x.h": Link("gone.h")},
        code=1,
        reason="remote-error",
    ),
    gcc(
        "error-include-loop",
        "-c a.c",
        {"a.c": '#include "x.h"\n', "x.h": Link("x.h")},
        code=1,
        contains={"stderr": b"symbolic links"},
    ),
    gcc(
        "error-in-header",
        "-Iinc -c a.c",
        {"a.c": "#include <e.h>\nint y;\n", "inc/e.h": "int x\n"},
        code=1,
        contains={"stderr": b"inc/e.h:1:6"},
    ),
    gcc(
        "error-in-macro-of-header",
        "-c a.c",
        {"a.c": '#include "m.h"\nint y = M(q);\n', "m.h": "#define M(x) (x + undeclared)\n"},
        code=1,
        contains={"stderr": b"note: in expansion"},
    ),
    gcc("error-twice-the-same", "-c a.c", {"a.c": '#include "e.h"\n#include "e.h"\n', "e.h": "int x = 1;\n"}, code=1),
    gxx(
        "error-template",
        "-c a.cc",
        {"a.cc": "template <class T> struct A { typename T::type x; };\nA<int> a;\n"},
        code=1,
        contains={"stderr": b"required from here"},
    ),
    gxx(
        "error-overload",
        "-c a.cc",
        {"a.cc": "void f(int*);\nvoid f(char*);\nint main() { f(1.0); }\n"},
        code=1,
        contains={"stderr": b"candidate"},
    ),
    gxx(
        "error-concept",
        "-std=c++20 -c a.cc",
        {"a.cc": "template <class T> concept C = sizeof(T) > 8;\nvoid f(C auto);\nvoid g() { f(1); }\n"},
        code=1,
        contains={"stderr": b"constraints not satisfied"},
    ),
    gxx(
        "error-constexpr",
        "-fconstexpr-depth=20 -c a.cc",
        {"a.cc": "constexpr int f(int n) { return n ? f(n - 1) : 0; }\nconstexpr int x = f(30);\n"},
        code=1,
        contains={"stderr": b"depth"},
    ),
    gxx(
        "error-standard",
        "-std=c++98 -c a.cc",
        {"a.cc": "#include <array>\n"},
        code=1,
        contains={"stderr": b"-std=c++11"},
    ),
)

_COMMAND = (
    gcc("error-no-source", "-c", {}, code=1, reason="no-source"),
    gcc("error-source-missing", "-c no.c", {}, code=1, reason="source-unreadable", contains={"stderr": b"no.c"}),
    gcc("error-source-folder", "-c sub.c", {"sub.c/": ""}, code=1, reason="source-unreadable"),
    gcc("error-source-dangling", "-c a.c", {"a.c": Link("gone.c")}, code=1, reason="source-unreadable"),
    gcc("error-source-empty-name", "-c ''", {}, code=1, reason="bad-command"),
    gcc(
        "error-source-is-object",
        "-c a.o",
        {"a.o": "x"},
        reason="bad-command",
        contains={"stderr": b"linker input file unused"},
    ),
    gcc("error-source-null", "-c /dev/null -o a.o", {}, reason="bad-command"),
    gcc("error-source-null-as-c", "-x c -c /dev/null -o a.o", {}, reason="not-compile"),
    gcc("error-option-unknown", "-fno-such-option-at-all -c a.c", code=1, reason="unknown-option"),
    gcc("error-option-of-other-machine", "-mthumb -c a.c", code=1, reason="inputs-unknown"),
    gcc("error-option-value", "-march=nonsense -c a.c", code=1, reason="inputs-unknown"),
    gcc("error-option-no-value", "-c a.c -o", code=1, reason="bad-command"),
    gcc("error-option-include-no-value", "-c a.c -include", code=1, reason="bad-command"),
    gcc("error-language-unknown", "-x klingon -c a.c", code=1, reason="language"),
    gcc("error-standard-unknown", "-std=c77 -c a.c", code=1, reason="inputs-unknown"),
    gcc("error-parameter-unknown", "--param no-such=1 -c a.c", code=1, reason="remote-error"),
    gcc("error-forced-missing", "-include no.h -c a.c", code=1, reason="remote-error", contains={"stderr": b"no.h"}),
    gcc("error-sanitizer-pair", "-fsanitize=address -fsanitize=thread -c a.c", code=1),
    gcc("error-two-outputs", "-c a.c b.c -o x.o", {**C, "b.c": "int b;\n"}, code=1, reason="several-sources"),
    gcc("error-plain-file", "-c notes.txt", {"notes.txt": "x"}, reason="bad-command"),
)

CASES: tuple[Case, ...] = (*_SOURCE, *_COMMAND)
