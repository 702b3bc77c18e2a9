"""clang-14: warnings, errors and remarks, in all the ways they can be shown."""

from __future__ import annotations

from typing import Any

from matrix.case import Case

C = {
    "a.c": """#include <stdio.h>
#include "w.h"
#define UNUSED_MACRO 1
#define INNER(p) ((p)->missing_paren + 0)
#define OUTER(p) (p) == 0 ? 1 : 2.5
struct s { char tag; int value; };
int f(struct s *p, unsigned n) {
  int shadowed = 1, i;
  { int shadowed = 2; i = shadowed; }
  if (i = n) printf("%d %s\\n", p->tag, n);
  for (i = 0; i < n; i++) ;
  return OUTER(p);
}
""",
    "w.h": "static int never_used(void) { char c = 300; return c; }\n",
    "sys/sys.h": "static int system_unused(int a) { int b; return a / 0; }\n"
    "#define SYSTEM(x) (char)(x), 1000 * (char)x\n",
    "s.c": "#include <sys.h>\nchar g(void) { return SYSTEM(3000); }\n",
}
BAD = {
    "e.c": "".join(f"int v{n} = undeclared{n};\n" for n in range(30)) + "int main(void) { return v1 +; }\n",
    "m.c": "".join(f"#define M{n}(x) M{n + 1}(x)\n" for n in range(12))
    + "#define M12(x) (x).field\nint f(int a) { return M0(a); }\n",
    "t.cc": "#include <map>\n#include <string>\n"
    "template <int n> struct deep { static const int v = deep<n - 1>::v; };\n"
    "template <> struct deep<0> { static const int v = sizeof(nothing); };\nint i = deep<20>::v;\n"
    "std::map<int, std::string> a; std::map<long, std::string> &b = a;\n",
    "u.c": 'int f(void) { char *s = "\u00fcml\u00e4ut \u4e2d\u6587"; return s + undeclared_\u00fc; }\n',
    "tab.c": 'int f(void)\n{\n\t\tint\tx = "a"\t+ y;\n}\n',
}
LOOP = {
    "l.c": "int helper(int);\nstatic inline int sq(int n) { return n * n; }\n"
    "int f(int *v, int n) { int s = 0; for (int i = 0; i < n; i++) s += sq(v[i]); return s + helper(s); }\n"
}


def w(name: str, *options: str, source: str = "a.c", **more: Any) -> Case:
    return Case(f"clang-says-{name}", ("clang-14", "-Wall", *options, "-c", source, "-o", "a.o"), C, **more)


def e(name: str, source: str, *options: str, driver: str = "clang-14", **more: Any) -> Case:
    argv = (driver, *options, "-c", source, "-o", "a.o")
    return Case(f"clang-fails-{name}", argv, BAD, **{"code": 1, **more})


def r(name: str, *options: str, **more: Any) -> Case:
    return Case(f"clang-remarks-{name}", ("clang-14", "-O2", *options, "-c", "l.c", "-o", "l.o"), LOOP, **more)


CASES: tuple[Case, ...] = (
    w("all", contains={"stderr": b"warning:"}),
    w("everything", "-Weverything", contains={"stderr": b"-Wshadow"}),
    w("extra-pedantic", "-Wextra", "-pedantic", "-std=c89", contains={"stderr": b"warning:"}),
    w("pedantic-errors", "-pedantic-errors", "-std=c89"),
    w("none", "-w"),
    w("error", "-Werror", code=1, contains={"stderr": b"-Werror"}),
    w("error-of-one", "-Werror=parentheses", "-Wno-error=format", code=1,
      contains={"stderr": b"-Werror,-Wparentheses"}),
    w("error-not-of-one", "-Werror", "-Wno-error", contains={"stderr": b"warning:"}),
    w("fatal-errors", "-Werror", "-Wfatal-errors", code=1, contains={"stderr": b"fatal error"}),
    w("unused-macros", "-Wunused-macros", contains={"stderr": b"UNUSED_MACRO"}),
    w("unknown-warning", "-Wno-such-warning", "-Wsuch-neither", contains={"stderr": b"such-neither"}),
    w("unused-argument", "-L/nowhere", "-lm", "-Wl,-O1", contains={"stderr": b"unused"}),
    w("unused-argument-quiet", "-L/nowhere", "-Qunused-arguments"),
    w("in-system-header", "-isystem", "sys", "-Wextra", source="s.c"),
    w("in-system-header-shown", "-isystem", "sys", "-Wsystem-headers", "-Wextra", source="s.c",
      contains={"stderr": b"sys.h"}),
    w("in-prefixed-header", "-I.", "-Isys", "--system-header-prefix=sys", source="s.c"),
    w("in-prefixed-header-not", "-isystem", "sys", "--no-system-header-prefix=sys.h", source="s.c",
      contains={"stderr": b"warning:"}),
    w("no-caret", "-fno-caret-diagnostics"),
    w("colours", "-fcolor-diagnostics", contains={"stderr": b"\x1b["}),
    w("colours-always", "-fdiagnostics-color=always", contains={"stderr": b"\x1b["}),
    w("colours-never", "-fno-color-diagnostics", tty=True),
    w("colours-ansi", "-fansi-escape-codes", "-fcolor-diagnostics", contains={"stderr": b"\x1b["}),
    w("terminal", tty=True, contains={"stderr": b"\x1b["}),
    w("terminal-dumb", tty=True, env={"TERM": "dumb"}),
    w("terminal-unnamed", tty=True, env={"TERM": ""}),
    w("terminal-without-colours", tty=True, env={"TERM": "vt100"}),
    w("terminal-unknown", tty=True, env={"TERM": "no-such-terminal"}),
    w("terminal-with-colours", tty=True, env={"TERM": "linux"}, contains={"stderr": b"\x1b["}),
    w("terminal-of-gcc", tty=True, env={"GCC_COLORS": ""}),
    w("terminal-no-color", tty=True, env={"NO_COLOR": "1"}),
    w("terminal-forced-colours", env={"CLICOLOR_FORCE": "1"}),
    w("terminal-colours-of-clang", "-fansi-escape-codes", tty=True),
    w("terminal-columns", tty=True, env={"COLUMNS": "50"}),
    w("message-length", "-fmessage-length=40"),
    w("format-msvc", "-fdiagnostics-format=msvc", contains={"stderr": b"a.c(1"}),
    w("format-vi", "-fdiagnostics-format=vi", contains={"stderr": b"a.c +"}),
    w("format-unknown", "-fdiagnostics-format=sarif", code=1),
    w("absolute-paths", "-fdiagnostics-absolute-paths", contains={"stderr": b"/tree/a.c:"}),
    w("parseable-fixits", "-fdiagnostics-parseable-fixits", contains={"stderr": b"fix-it:"}),
    w("source-ranges", "-fdiagnostics-print-source-range-info", contains={"stderr": b"}: warning"}),
    w("categories", "-fdiagnostics-show-category=name", "-fno-diagnostics-show-option"),
    w("no-column", "-fno-show-column", "-fno-show-source-location"),
    w("include-stack", "-fdiagnostics-show-note-include-stack", "-Wextra"),
    w("locale", env={"LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"}),
    w("locale-c", env={"LC_ALL": "C"}),
    w("response-file", "@flags", before=[("sh", "-c", "echo '-Wextra -Werror=unused-function \"-DX=a b\"' > flags")],
      code=1),
    w("stack-size", "-Wframe-larger-than=1", "-O1"),
    w("verifier", "-Wno-everything", "-Wformat"),
    e("limit", "e.c", "-ferror-limit=3", contains={"stderr": b"too many errors"}),
    e("limit-default", "e.c", contains={"stderr": b"20 errors"}),
    e("limit-none", "e.c", "-ferror-limit=0"),
    e("macro-limit", "m.c", "-fmacro-backtrace-limit=3", contains={"stderr": b"skipping"}),
    e("macro-limit-none", "m.c", "-fmacro-backtrace-limit=0"),
    e("templates", "t.cc", driver="clang++-14"),
    e("templates-limit", "t.cc", "-ftemplate-backtrace-limit=2", driver="clang++-14"),
    e("templates-tree", "t.cc", "-fdiagnostics-show-template-tree", "-fno-elide-type", driver="clang++-14"),
    e("template-depth", "t.cc", "-ftemplate-depth=5", driver="clang++-14", contains={"stderr": b"recursive"}),
    e("unicode", "u.c", contains={"stderr": "中文".encode()}),
    e("unicode-locale-c", "u.c", env={"LC_ALL": "C"}),
    e("tabs", "tab.c", "-ftabstop=3"),
    e("coloured", "u.c", tty=True, contains={"stderr": b"\x1b["}),
    e("with-old-output", "tab.c", "-MMD", before=[("sh", "-c", "echo old | tee a.o a.d")]),
    e("no-such-source", "none.c", reason="source-unreadable", contains={"stderr": b"no such file"}),
    e("source-is-folder", ".", reason="bad-command", code=0),
    r("passed", "-Rpass=inline", contains={"stderr": b"inlined into"}),
    r("missed", "-Rpass-missed=.*", contains={"stderr": b"remark:"}),
    r("analysis", "-Rpass-analysis=loop-vectorize", "-g"),
    r("all", "-Rpass=.*", "-Rpass-missed=.*", "-Rpass-analysis=.*", "-Reverything", contains={"stderr": b"remark:"}),
    r("invalid", "-Rpass=[", code=1),
    r("context", "-Rpass=.*", "-fdiagnostics-show-hotness", "-fdiagnostics-hotness-threshold=1"),
)  # fmt: skip
