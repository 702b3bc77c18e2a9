"""Warnings, and the shapes gcc gives them."""

from __future__ import annotations

from matrix.case import Case
from matrix.gcc import C, Files, gcc, gxx

_WARNS: Files = {
    "a.c": """\
#include "mac.h"
#define UNUSED_MACRO 1
int f(unsigned n, int m)
{
    int spare;
    if (n < m)
        return CHECK(n, m);
    switch (m) { case 1: m++; case 2: return m; }
    return "text" == 0 ? n : m / 0;
}
static void never(void) {}
""",
    "mac.h": "#define INNER(a, b) ((a) < (b))\n#define CHECK(a, b) (INNER(a, b) ? -1 : (a))\n",
}
_SYSTEM: Files = {
    "a.c": "#include <sys.h>\nint g(int *p) { return MIX(p); }\n",
    "sys/sys.h": "#define MIX(p) ((p) == 1)\nstatic int idle(int x) { int y = x; if (y = 1) return 1; return 0; }\n",
}
_LONG: Files = {"a.c": "int f(void) { int " + ", ".join(f"variable_number_{n}" for n in range(12)) + "; return 0; }\n"}
_FIXIT: Files = {"a.c": "struct s { int colour; };\nint f(struct s *p) { return p.color; }\n"}
_WIDE: Files = {"a.c": "int f(void) { /* äöü */ int é; return 0; }\nint g = /* \\u202e \u202e */ 'ab';\n"}
_TEMPLATES: Files = {
    "a.cc": """\
template <typename A, typename B> struct Pair {};
void take(Pair<int, Pair<char, long>>);
template <typename T> void call(T t) { take(t); }
void use() { call(Pair<int, Pair<short, long>>()); }
""",
}
_NEWER: Files = {"a.c": "long long f(int n) { return n; }\n"}
_ANALYZED: Files = {
    "a.c": "#include <stdlib.h>\nint f(int n) { char *p = malloc(n); free(p); if (n) free(p); return *p; }\n"
}
_ALL = "-Wall -Wextra"

_CHOSEN = (
    gcc("warn-all", f"{_ALL} -c a.c", _WARNS, contains={"stderr": b"in expansion of macro"}),
    gcc("warn-none", "-w -c a.c", _WARNS),
    gcc("warn-by-default", "-c a.c", _WARNS, contains={"stderr": b"division by zero"}),
    gcc("warn-not-one", f"{_ALL} -Wno-sign-compare -c a.c", _WARNS),
    gcc("warn-unused-macros", "-Wunused-macros -c a.c", _WARNS, contains={"stderr": b"UNUSED_MACRO"}),
    gcc("warn-error", f"{_ALL} -Werror -c a.c", _WARNS, code=1, contains={"stderr": b"treated as errors"}),
    gcc("warn-error-one", f"{_ALL} -Werror=unused-variable -c a.c", _WARNS, code=1),
    gcc("warn-error-not-one", f"{_ALL} -Werror -Wno-error=div-by-zero -Wno-error -c a.c", _WARNS),
    gcc("warn-fatal", f"{_ALL} -Werror -Wfatal-errors -c a.c", _WARNS, code=1, contains={"stderr": b"terminated"}),
    gcc(
        "warn-max-errors", f"{_ALL} -Werror -fmax-errors=2 -c a.c", _WARNS, code=1, contains={"stderr": b"-fmax-errors"}
    ),
    gcc("warn-unknown", "-Wno-such-warning -Wall -c a.c", _WARNS, contains={"stderr": b"unrecognized"}),
    gcc("warn-unknown-quiet", "-Wno-such-warning -c a.c"),
    gcc("warn-unknown-error", "-Wsuch-warning -c a.c", code=1, reason="remote-error"),
    gcc("warn-pedantic", "-std=c89 -pedantic -c a.c", _NEWER, contains={"stderr": b"ISO C90"}),
    gcc("warn-pedantic-long", "-std=c89 --pedantic -c a.c", _NEWER, contains={"stderr": b"ISO C90"}),
    gcc("warn-pedantic-errors", "-std=c89 -pedantic-errors -c a.c", _NEWER, code=1, contains={"stderr": b"ISO C90"}),
    gcc("warn-system-quiet", f"{_ALL} -isystem sys -c a.c", _SYSTEM),
    gcc("warn-system-loud", f"{_ALL} -Wsystem-headers -isystem sys -c a.c", _SYSTEM, contains={"stderr": b"idle"}),
    gcc("warn-not-system", f"{_ALL} -Isys -c a.c", _SYSTEM, contains={"stderr": b"idle"}),
    gcc(
        "warn-missing-folders",
        "-Wmissing-include-dirs -Ino-such -isystem nor-such -c a.c",
        contains={"stderr": b"no-such"},
    ),
    gcc(
        "warn-folder-is-file",
        "-Wmissing-include-dirs -Ishape.h -c a.c",
        reason="inputs-unknown",
        contains={"stderr": b"not a directory"},
    ),
    gcc(
        "warn-pragma",
        "-Wall -Wunknown-pragmas -c a.c",
        {
            "a.c": """\
#pragma nonsense
#pragma GCC diagnostic ignored "-Wunused-function"
static void f(void) {}
#pragma message "said"
"""
        },
        contains={"stderr": b"said"},
    ),
    gcc("warn-directive", "-c a.c", {"a.c": "#warning watch out\nint x;\n"}, contains={"stderr": b"watch out"}),
    gcc(
        "warn-directive-in-header",
        "-c a.c",
        {"a.c": '#include "one.h"\n', "one.h": '#include "two.h"\n', "two.h": "#warning deep\n"},
        contains={"stderr": b"In file included from one.h:1"},
    ),
    gcc(
        "warn-line-directive",
        "-Wall -c a.c",
        {"a.c": '#line 100 "other.y"\nint f(void) { int q; return 0; }\n'},
        contains={"stderr": b"other.y:100"},
    ),
    gcc(
        "warn-line-of-existing",
        "-Wall -c a.c",
        {"a.c": '#line 1 "gram.y"\nint f(void) { int q; return 0; }\n', "gram.y": "the grammar's own line\n"},
        contains={"stderr": b"grammar"},
    ),
    gcc(
        "warn-everything-optimised",
        "-O2 -Wall -Wstringop-overflow=4 -Wmaybe-uninitialized -c a.c",
        {
            "a.c": """\
#include <string.h>
char b[4];
int f(int n) { int x; if (n) x = 1; strcpy(b, "toolong"); return x; }
"""
        },
        contains={"stderr": b"out of the bounds"},
    ),
    gcc(
        "warn-date",
        "-Wdate-time -c a.c",
        {"a.c": "const char *d = __DATE__;\n"},
        env={"SOURCE_DATE_EPOCH": "1000000000"},
        contains={"stderr": b"reproducible", "a.o": b"Sep  9 2001"},
    ),
    gcc("warn-stack-usage", "-Wstack-usage=16 -Wframe-larger-than=16 -c a.c", contains={"stderr": b"stack usage"}),
    gcc(
        "warn-normalized",
        "-Wnormalized=nfc -Wbidi-chars=any -c a.c",
        {"a.c": "int e\u0301; /* \u202e */\n"},
        contains={"stderr": b"RIGHT-TO-LEFT"},
    ),
    gcc("warn-abi-tree", "-Waggregate-return -Wpadded -Winline -Wlong-long -c a.c", _FIXIT, code=1),
    gxx("warn-effc", "-Weffc++ -Wall -Wextra -Wsuggest-override -c a.cc"),
)

_SHAPES = (
    gcc("shape-json", f"{_ALL} -fdiagnostics-format=json -c a.c", _WARNS, contains={"stderr": b'"kind"'}),
    gcc("shape-json-error", "-fdiagnostics-format=json -c a.c", _FIXIT, code=1, contains={"stderr": b"fixits"}),
    gcc("shape-json-file-is-newer", "-fdiagnostics-format=json-file -c a.c", code=1, reason="local-option"),
    gcc("shape-sarif-is-newer", "-fdiagnostics-format=sarif-stderr -c a.c", code=1, reason="remote-error"),
    gcc("shape-sarif-file-is-newer", "-fdiagnostics-format=sarif-file -c a.c", code=1, reason="local-option"),
    gcc("shape-more-outputs-are-newer", "-fdiagnostics-add-output=sarif -c a.c", code=1, reason="local-option"),
    gcc("shape-other-output-is-newer", "-fdiagnostics-set-output=sarif -c a.c", code=1, reason="local-option"),
    gcc("shape-color", f"{_ALL} -fdiagnostics-color=always -c a.c", _WARNS, contains={"stderr": b"\x1b[01;35m"}),
    gcc("shape-color-plain", f"{_ALL} -fdiagnostics-color -c a.c", _WARNS, contains={"stderr": b"\x1b["}),
    gcc("shape-color-auto", f"{_ALL} -fdiagnostics-color=auto -c a.c", _WARNS),
    gcc("shape-color-never", f"{_ALL} -fno-diagnostics-color -c a.c", _WARNS, tty=True),
    gcc("shape-color-wrong", "-fdiagnostics-color=perhaps -c a.c", code=1, reason="remote-error"),
    gcc("shape-color-by-clang", "-fcolor-diagnostics -c a.c", code=1, reason="remote-error"),
    gcc(
        "shape-colors-chosen",
        f"{_ALL} -fdiagnostics-color=always -c a.c",
        _WARNS,
        env={"GCC_COLORS": "warning=04;33"},
        contains={"stderr": b"\x1b[04;33m"},
    ),
    gcc("shape-plain", f"{_ALL} -fdiagnostics-plain-output -c a.c", _WARNS),
    gcc("shape-urls", f"{_ALL} -fdiagnostics-urls=always -c a.c", _WARNS, contains={"stderr": b"gnu.org"}),
    gcc("shape-no-caret", f"{_ALL} -fno-diagnostics-show-caret -c a.c", _WARNS),
    gcc("shape-no-option", f"{_ALL} -fno-diagnostics-show-option -c a.c", _WARNS),
    gcc("shape-no-numbers", f"{_ALL} -fno-diagnostics-show-line-numbers -fno-diagnostics-show-labels -c a.c", _WARNS),
    gcc("shape-no-column", f"{_ALL} -fno-show-column -c a.c", _WARNS),
    gcc("shape-untracked-macros", f"{_ALL} -ftrack-macro-expansion=0 -c a.c", _WARNS),
    gcc("shape-short-lines", f"{_ALL} -fmessage-length=40 -c a.c", _WARNS),
    gcc("shape-every-line", f"{_ALL} -fmessage-length=40 -fdiagnostics-show-location=every-line -c a.c", _WARNS),
    gcc("shape-margin", f"{_ALL} -fdiagnostics-minimum-margin-width=12 -c a.c", _WARNS),
    gcc("shape-fixits", "-fdiagnostics-parseable-fixits -c a.c", _FIXIT, code=1, contains={"stderr": b"fix-it:"}),
    gcc("shape-patch", "-fdiagnostics-generate-patch -c a.c", _FIXIT, code=1, contains={"stderr": b"+++ a.c"}),
    gcc(
        "shape-extra-output",
        "-c a.c",
        _FIXIT,
        code=1,
        env={"GCC_EXTRA_DIAGNOSTIC_OUTPUT": "fixits-v2"},
        contains={"stderr": b"fix-it:"},
    ),
    gcc("shape-column-bytes", "-Wall -fdiagnostics-column-unit=byte -fdiagnostics-column-origin=0 -c a.c", _WIDE),
    gcc(
        "shape-escaped-bytes",
        "-Wall -fdiagnostics-escape-format=bytes -c a.c",
        _WIDE,
        contains={"stderr": b"<e2><80><ae>"},
    ),
    gcc("shape-tabs", "-ftabstop=3 -Wall -c a.c", {"a.c": "int f(void)\n{\n\tint\tx;\n\treturn 0;\n}\n"}),
    gcc(
        "shape-path-separate",
        "-fanalyzer -fdiagnostics-path-format=separate-events -c a.c",
        _ANALYZED,
        contains={"stderr": b"CWE-415"},
    ),
    gcc("shape-path-inline", "-fanalyzer -fdiagnostics-show-path-depths -fno-diagnostics-show-cwe -c a.c", _ANALYZED),
    gcc(
        "shape-analyzer-json", "-fanalyzer -fdiagnostics-format=json -c a.c", _ANALYZED, contains={"stderr": b'"path"'}
    ),
    gcc("shape-long-line", "-Wall -c a.c", _LONG),
    gcc("shape-columns-of-no-terminal", "-Wall -c a.c", _LONG, env={"COLUMNS": "50"}),
    gxx(
        "shape-template-tree",
        "-fdiagnostics-show-template-tree -c a.cc",
        _TEMPLATES,
        code=1,
        contains={"stderr": b"[...]"},
    ),
    gxx("shape-no-elision", "-fno-elide-type -ftemplate-backtrace-limit=1 -c a.cc", _TEMPLATES, code=1),
    gxx(
        "shape-no-pretty-templates",
        "-fno-pretty-templates -fconcepts-diagnostics-depth=2 -std=c++20 -c a.cc",
        _TEMPLATES,
        code=1,
    ),
)

_TERMINAL = (
    gcc("terminal", f"{_ALL} -c a.c", _WARNS, tty=True, contains={"stderr": b"https://gcc.gnu.org"}),
    gcc("terminal-long-line", "-Wall -c a.c", _LONG, tty=True),
    gcc("terminal-columns-set", "-Wall -c a.c", _LONG, tty=True, env={"COLUMNS": "50"}),
    gcc("terminal-columns-wrong", "-Wall -c a.c", _LONG, tty=True, env={"COLUMNS": "-3"}),
    gcc("terminal-no-colors", f"{_ALL} -c a.c", _WARNS, tty=True, env={"GCC_COLORS": ""}),
    gcc(
        "terminal-own-colors",
        f"{_ALL} -c a.c",
        _WARNS,
        tty=True,
        env={"GCC_COLORS": "warning=01;33:quote=03"},
        contains={"stderr": b"\x1b[01;33m"},
    ),
    gcc("terminal-urls-off", f"{_ALL} -c a.c", _WARNS, tty=True, env={"GCC_URLS": "no"}),
    gcc("terminal-urls-bel", f"{_ALL} -c a.c", _WARNS, tty=True, env={"TERM_URLS": "bel"}),
    gcc("terminal-color-off", f"{_ALL} -fdiagnostics-color=never -c a.c", _WARNS, tty=True),
    gcc(
        "terminal-color-auto",
        f"{_ALL} -fdiagnostics-color=auto -c a.c",
        _WARNS,
        tty=True,
        contains={"stderr": b"\x1b[01;35m"},
    ),
    gcc("terminal-plain", f"{_ALL} -fdiagnostics-plain-output -c a.c", _WARNS, tty=True),
    gcc("terminal-debug-switches", "-g -grecord-gcc-switches -c a.c", tty=True),
    gcc("terminal-error", "-c a.c", _FIXIT, tty=True, code=1, contains={"stderr": b"\x1b[01;31m"}),
    gcc("terminal-xterm", f"{_ALL} -c a.c", _WARNS, tty=True, env={"TERM": "xterm"}),
    gcc("terminal-dumb", f"{_ALL} -c a.c", _WARNS, tty=True, env={"TERM": "dumb"}),
    gcc("terminal-of-xfce", f"{_ALL} -c a.c", _WARNS, tty=True, env={"COLORTERM": "xfce4-terminal"}),
    gcc("terminal-driver-error", "-fcolor-diagnostics -c a.c", tty=True, code=1, reason="remote-error"),
    gcc("terminal-missing-include", "-c a.c", {"a.c": "#include <no.h>\n"}, tty=True, code=1, reason="remote-error"),
    gcc("terminal-quiet", "-c a.c", C, tty=True),
    gxx("terminal-templates", "-c a.cc", _TEMPLATES, tty=True, code=1),
)

CASES: tuple[Case, ...] = (*_CHOSEN, *_SHAPES, *_TERMINAL)
