"""Where headers are looked for, and all the ways in which sources ask for them."""

from __future__ import annotations

from typing import Any

from matrix.case import Case, Link
from matrix.gcc import Files, gcc, gxx

# One header name in four folders: each says which it is.
_FOUR: Files = {
    "src/a.c": '#include "h.h"\n#include <only.h>\nint where = HERE + ONLY;\n',
    "quote/h.h": "#define HERE 1\n",
    "plain/h.h": "#define HERE 2\n",
    "system/h.h": "#define HERE 3\n",
    "after/h.h": "#define HERE 4\n",
    "plain/only.h": "#define ONLY 10\n",
    "system/only.h": "#define ONLY 20\n",
    "after/only.h": "#define ONLY 30\n",
}
_NEXT: Files = {
    "a.c": "#include <n.h>\nint depth = N;\n",
    "one/n.h": "#if __has_include_next(<n.h>)\n#include_next <n.h>\n#endif\n#define N (M + 1)\n",
    "two/n.h": "#include_next <n.h>\n#define M (L + 1)\n",
    "three/n.h": "#define L 1\n",
}
_PREFIX: Files = {"a.c": "#include <p.h>\nint x = P;\n", "pre-sys/p.h": "#define P 1\n", "pre-inc/p.h": "#define P 2\n"}
_ROOT: Files = {
    "a.c": "#include <r.h>\nint x = R;\n",
    "root/usr/include/r.h": "#define R 1\n",
    "root/usr/local/include/r.h": "#define R 2\n",
    "root/opt/r.h": "#define R 3\n",
}


def _asks(name: str, source: str, options: str = "-c a.c", files: Files | None = None, **more: Any) -> Case:
    return gcc(f"include-{name}", options, {"a.c": source, **(files or {})}, **more)


_FOLDERS = (
    gcc("folders-all-four", "-iquote quote -Iplain -isystem system -idirafter after -c src/a.c", _FOUR),
    gcc("folders-joined", "-iquotequote -Iplain -isystemsystem -idirafterafter -c src/a.c", _FOUR),
    gcc("folders-quote-last", "-isystem system -iquote quote -c src/a.c", _FOUR),
    gcc("folders-after-only", "-idirafter after -c src/a.c", _FOUR),
    gcc("folders-same-twice", "-Iplain -Isystem -isystem system -Iplain -c src/a.c", _FOUR),
    gcc("folders-not-there", "-Ino -iquote nor -isystem neither -idirafter after -c src/a.c", _FOUR),
    gcc("folders-absolute", "-I{place}/plain -I{place}/src/../system -c {place}/src/a.c", _FOUR),
    gcc("folders-by-dots", "-I../plain -I.././system/. -c ../src/a.c", _FOUR, cwd="out/deep/.."),
    gcc("folders-sysroot-relative", "-I=/opt --sysroot={place}/root -c a.c", _ROOT, reason="local-option"),
    gcc(
        "folders-minus",
        "-Iplain -I- -Isystem -c src/a.c",
        _FOUR,
        reason="local-option",
        contains={"stderr": b"obsolete"},
    ),
    gcc("folders-beside-source-win", "-Iplain -c src/a.c", {**_FOUR, "src/h.h": "#define HERE 5\n"}),
    gcc("folders-linked", "-Ilink -c src/a.c", {**_FOUR, "link": Link("plain")}),
    gcc(
        "folders-linked-outside",
        "-Ilink/../plain -c src/a.c",
        {
            **_FOUR,
            "deep/in/x": "",
            "link": Link("deep/in"),
            "deep/plain/h.h": "#define HERE 6\n",
            "deep/plain/only.h": "#define ONLY 60\n",
        },
    ),
    gcc("folders-none-standard", "-nostdinc -Iplain -c src/a.c", _FOUR),
    gxx("folders-none-standard", "-nostdinc++ -c a.cc", {"a.cc": "#include <vector>\n"}, code=1, reason="remote-error"),
    gxx("folders-none-standard-unused", "-nostdinc++ -c a.cc", {"a.cc": "#include <stddef.h>\nsize_t n;\n"}),
    gcc("folders-prefix", "-iprefix pre- -iwithprefix sys -iwithprefixbefore inc -c a.c", _PREFIX),
    gcc("folders-prefix-system-only", "-iprefix pre- -iwithprefix sys -c a.c", _PREFIX),
    gcc(
        "folders-prefix-missing",
        "-iwithprefix include -c a.c",
        {"a.c": "#include <stdarg.h>\nva_list v;\n"},
        reason="local-option",
    ),
    gcc("folders-sysroot", "--sysroot={place}/root -c a.c", _ROOT),
    gcc("folders-sysroot-separate", "--sysroot {place}/root -c a.c", _ROOT),
    gcc("folders-isysroot", "-isysroot {place}/root -c a.c", _ROOT),
    gcc("folders-multilib", "-imultilib 32 -c a.c", {"a.c": "#include <stddef.h>\nsize_t n;\n"}),
    gcc("folders-multiarch", "-imultiarch x -c a.c", {"a.c": "int n;\n"}, code=1, reason="inputs-unknown"),
    gcc("folders-remapped", "-remap -Iplain -c src/a.c", _FOUR, reason="local-option"),
    gcc("folders-own-preprocessor", "-no-integrated-cpp -Iplain -c src/a.c", _FOUR, reason="local-option"),
    gcc("folders-framework", "-Fplain -c src/a.c", _FOUR, code=1, reason="local-option"),
    gxx("folders-other-library", "-stdlib=libc++ -c a.cc", {"a.cc": "int x;\n"}, code=1, reason="inputs-unknown"),
)

_NAMES = (
    gcc("include-next", "-Ione -Itwo -isystem three -c a.c", _NEXT),
    gcc("include-next-from-middle", "-Itwo -Ithree -c a.c", {**_NEXT, "a.c": "#include <n.h>\nint depth = M;\n"}),
    gcc(
        "include-next-of-none",
        "-Ione -c a.c",
        {**_NEXT, "one/n.h": "#include_next <n.h>\n"},
        code=1,
        reason="remote-error",
    ),
    _asks("macro", '#define NAME "c.h"\n#include NAME\nint x = C;\n', files={"c.h": "#define C 1\n"}),
    _asks(
        "macro-built",
        "#define Q(x) #x\n#define S(x) Q(x)\n#define N c\n#include S(N.h)\nint x = C;\n",
        files={"c.h": "#define C 1\n"},
    ),
    _asks(
        "macro-of-command",
        "#include CONFIG\nint x = C;\n",
        "-DCONFIG='\"sub/c.h\"' -c a.c",
        {"sub/c.h": "#define C 1\n"},
    ),
    _asks(
        "macro-angled-of-command",
        "#include CONFIG\nint x = C;\n",
        "-DCONFIG='<c.h>' -Isub -c a.c",
        {"sub/c.h": "#define C 1\n"},
    ),
    _asks(
        "if-there",
        '#if __has_include("o.h")\n#include "o.h"\n#else\n#define O 0\n#endif\nint x = O;\n',
        files={"o.h": "#define O 7\n"},
    ),
    _asks("if-there-not", '#if __has_include("o.h")\n#include "o.h"\n#else\n#define O 0\n#endif\nint x = O;\n'),
    # gcc remembers the question, and does not complain any more
    _asks("missing-but-asked-for", "#if !__has_include(<no.h>)\n#include <no.h>\n#endif\n"),
    _asks("if-there-computed", '#define H "o.h"\n#if __has_include(H)\nint x = 1;\n#endif\n', files={"o.h": ""}),
    _asks("dead-branch", "#if 0\n#include <never.h>\n#endif\nint x;\n"),
    _asks("import", '#import "i.h"\n#import "i.h"\nint x = I;\n', files={"i.h": "#define I 1\nstruct once {};\n"}),
    _asks(
        "once",
        '#include "i.h"\n#include "sub/../i.h"\n#include "./i.h"\n',
        files={"i.h": "#pragma once\nstruct once {};\n", "sub/": ""},
    ),
    _asks(
        "once-by-content",
        '#include "i.h"\n#include "j.h"\n',
        files={"i.h": "#pragma once\nstruct once {};\n", "j.h": "#pragma once\nstruct once {};\n"},
    ),
    _asks("spliced", '#inc\\\nlude "i\\\n.h"\nint x = I;\n', files={"i.h": "#define I 1\n"}),
    _asks("digraph", '%:include "i.h"\nint x = I;\n', files={"i.h": "#define I 1\n"}),
    _asks("trigraph", '??=include "i.h"\nint x = I;\n', "-trigraphs -c a.c", {"i.h": "#define I 1\n"}),
    _asks("trigraph-off", '??=include "i.h"\nint x = I;\n', files={"i.h": "#define I 1\n"}, code=1),
    _asks(
        "commented",
        '#/**/include/**/"i.h"/**/\n// #include "no.h"\n/*\n#include "no.h"\n*/\nint x = I;\n',
        files={"i.h": "#define I 1\n"},
    ),
    _asks("in-string", 'const char *s = "\\\n#include <no.h>\\\n";\n'),
    _asks("spaced-name", '#include "my file.h"\nint x = I;\n', files={"my file.h": "#define I 1\n"}),
    _asks(
        "deep",
        '#include "d0.h"\nint x = D;\n',
        files={**{f"d{n}.h": f'#include "d{n + 1}.h"\n' for n in range(150)}, "d150.h": "#define D 1\n"},
    ),
    _asks("of-itself", '#ifndef N\n#define N 1\n#include "a.c"\nint x = N;\n#endif\n'),
    _asks("of-file-macro", "#ifndef N\n#define N 1\n#include __FILE__\nint x = N;\n#endif\n"),
    _asks(
        "through-link",
        '#include "l/i.h"\nint x = I;\n',
        files={"real/i.h": '#include "j.h"\n', "real/j.h": "#define I 1\n", "l": Link("real")},
    ),
    _asks(
        "link-to-file",
        '#include "l.h"\nint x = J;\n',
        files={
            "real/i.h": '#include "j.h"\n',
            "real/j.h": "#define J 1\n",
            "j.h": "#define J 2\n",
            "l.h": Link("real/i.h"),
        },
    ),
    _asks("absolute", '#include "{place}/sub/i.h"\nint x = I;\n', files={"sub/i.h": "#define I 1\n"}),
    _asks("with-data", '#define X(n) n,\nint x[] = {\n#include "list.def"\n};\n', files={"list.def": "X(1)\nX(2)\n"}),
    _asks("carriage-returns", '#include "i.h"\r\nint x = I;\r\n', files={"i.h": "#define I \\\r\n 1\r\n"}),
    _asks("byte-order-mark", '\ufeff#include "i.h"\nint x = I;\n', files={"i.h": "\ufeff#define I 1\n"}),
    _asks("empty-header", '#include "i.h"\nint x;\n', files={"i.h": ""}),
    gcc(
        "include-forced",
        "-include f.h -c a.c",
        {"a.c": "int x = F;\n", "f.h": '#include "g.h"\n', "g.h": "#define F 1\n"},
    ),
    gcc(
        "include-forced-elsewhere",
        "-include sub/f.h -include f.h -Isub -c src/a.c",
        {"src/a.c": "int x = F;\n", "sub/f.h": "#ifndef F\n#define F 1\n#endif\n"},
    ),
    gcc("include-macros-only", "-imacros m.h -c a.c", {"a.c": "int x = M;\n", "m.h": "#define M 1\nthis is not C\n"}),
    gcc(
        "include-forced-both",
        "-imacros m.h -include f.h -c a.c",
        {"a.c": "int x = M;\n", "m.h": "#define M 1\n", "f.h": "int y = M;\n"},
    ),
    gxx("include-raw-string", "-c a.cc", {"a.cc": 'const char *s = R"x(\n#include "no.h"\n)x";\n'}),
    gxx(
        "include-standard",
        "-std=c++17 -c a.cc",
        {"a.cc": "#include <array>\n#include <utility>\nstd::array<int, 3> a;\n"},
    ),
)

_MACROS = (
    gcc(
        "macro-define-forms",
        "-DA -DB=2 -D C=3 '-DF(x)=x+1' -UB -DB=4 -U A -c a.c",
        {"a.c": "#ifdef A\n#error\n#endif\nint x = F(B) + C;\n"},
    ),
    gcc("macro-quoted", "-DS='\"a b\"' -c a.c", {"a.c": "const char *s = S;\n"}, contains={"a.o": b"a b"}),
    gcc("macro-none-predefined", "-undef -c a.c", {"a.c": "#ifdef __linux__\n#error\n#endif\nint x;\n"}),
    gcc("macro-assertions", "-Ahot=yes -A-machine -c a.c", {"a.c": "#if #hot(yes)\nint x;\n#else\n#error\n#endif\n"}),
    gcc(
        "macro-file-names",
        "-c src/a.c",
        {
            "src/a.c": '#include "../h.h"\nconst char *a = __FILE__, *b = __BASE_FILE__;\n',
            "h.h": "static const char *h = __FILE__;\nconst char **hp = &h;\nconst char *hb = __BASE_FILE__;\n",
        },
        contains={"a.o": b"src/../h.h"},
    ),
    gcc(
        "macro-counters",
        "-c a.c",
        {
            "a.c": '#include "h.h"\nint b[] = {__COUNTER__, __INCLUDE_LEVEL__, __LINE__};\n',
            "h.h": "int a[] = {__COUNTER__, __COUNTER__, __INCLUDE_LEVEL__};\n",
        },
    ),
    gcc(
        "macro-timestamp",
        "-c a.c",
        {"a.c": "const char *t = __TIMESTAMP__;\n"},
        reason="timestamp-macro",
        contains={"a.o": b"2020"},
    ),
    gcc("macro-date-and-time", "-c a.c", {"a.c": 'const char *t = __DATE__ " " __TIME__;\n'}, timed=("a.o",)),
    gcc(
        "macro-date-set",
        "-c a.c",
        {"a.c": 'const char *t = __DATE__ " " __TIME__;\n'},
        env={"SOURCE_DATE_EPOCH": "1234567890"},
        contains={"a.o": b"Feb 13 2009 23:31:30"},
    ),
    gcc(
        "macro-date-set-wrong",
        "-c a.c",
        {"a.c": "const char *t = __DATE__;\n"},
        env={"SOURCE_DATE_EPOCH": "soon"},
        code=1,
    ),
    gcc("macro-date-wrong-unused", "-c a.c", {"a.c": "int x;\n"}, env={"SOURCE_DATE_EPOCH": "soon"}),
    gcc(
        "macro-date-in-header",
        "-Wdate-time -c a.c",
        {"a.c": '#include "h.h"\n', "h.h": "const char *t = __TIME__;\n"},
        timed=("a.o",),
        contains={"stderr": b"h.h:1"},
    ),
    gcc("macro-traditional", "-traditional-cpp -c a.c", {"a.c": "#define cat(a,b) a/**/b\nint cat(x,y);\n"}),
    gcc("macro-kept-comments", "-CC -P -c a.c", {"a.c": "/* one */ int x;\n"}),
    gcc("macro-expansion-limit", "-fmax-include-depth=5 -c a.c", {"a.c": '#include "a.c"\n'}, code=1),
    gcc("macro-input-charset", "-finput-charset=UTF-8 -c a.c", {"a.c": 'const char *s = "ä";\n'}),
    gcc(
        "macro-input-latin",
        "-finput-charset=ISO-8859-1 -c a.c",
        {"a.c": b'const char *s = "\xe4";\n'},
        reason="local-option",
        contains={"a.o": "ä".encode()},
    ),
    gcc(
        "macro-exec-charset",
        "-fexec-charset=UTF-16LE -fwide-exec-charset=UTF-32BE -c a.c",
        {"a.c": 'const char *s = "ä";\n#include <stddef.h>\nwchar_t w[] = L"ä";\n'},
    ),
    gcc(
        "macro-exec-latin", "-fexec-charset=ISO-8859-1 -c a.c", {"a.c": 'const char *s = "ä";\n'}, reason="local-option"
    ),
    gcc(
        "macro-wide-latin",
        "-fwide-exec-charset=ISO-8859-1 -c a.c",
        {"a.c": '#include <stddef.h>\nwchar_t w[] = L"ä";\n'},
        reason="local-option",
    ),
    gcc(
        "macro-through-wp",
        "-Wp,-DA=1,-UB,-Isub -c a.c",
        {"a.c": "#include <s.h>\nint x = A + S;\n", "sub/s.h": "#define S 1\n"},
    ),
    gcc(
        "macro-through-xpreprocessor",
        "-Xpreprocessor -DA=1 -Xpreprocessor -include -Xpreprocessor f.h -c a.c",
        {"a.c": "int x = A + F;\n", "f.h": "#define F 1\n"},
    ),
    gcc("macro-through-wp-unknown", "-Wp,-fnonsense -c a.c", {"a.c": "int x;\n"}, code=1, reason="unknown-option"),
    gcc("macro-through-wp-standard", "-Wp,-std=c99 -c a.c", {"a.c": "int x;\n"}, reason="local-option"),
)

CASES: tuple[Case, ...] = (*_FOLDERS, *_NAMES, *_MACROS)
