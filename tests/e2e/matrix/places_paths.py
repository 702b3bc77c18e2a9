"""Where sources, headers and the working folder are, and how they are spelled: for gcc and clang each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matrix.case import PLACE, Case, Link

COMPILERS = {"gcc": "gcc-12", "clang": "clang-14"}
C = {"a.c": '#include "h.h"\nint x = N; const char *file = __FILE__;\n', "h.h": "#define N 1\n"}
SPLIT = {
    "src/a.c": '#include "h.h"\n#include <s.h>\nint x = N + S; const char *file = __FILE__;\n',
    "src/h.h": "#define N 1\n",
    "inc/s.h": "#define S 2\n",
    "build/": "",
}
LINKED = {
    "real/a.c": '#include "h.h"\nint x = N; const char *file = __FILE__;\n',
    "real/h.h": '#define N 1\n#include "deep/d.h"\n',
    "real/deep/d.h": '#include "../e.h"\n',
    "real/e.h": "int e;\n",
    "h.h": "#define N 2\n",
    "link": Link("real"),
    "chain": Link("second"),
    "second": Link("./link"),
    "absolute": Link(f"{PLACE}/real"),
    "a.c": Link("real/a.c"),
    "b.c": Link("chain/a.c"),
}
LONG = "n" * 252
DEEP = "/".join(["d" * 200] * 17)
DEEPER = "/".join(["d" * 133] * 30)
ODD = {
    "dollar": "d$o$$l.c",
    "hash": "#ha#sh.c",
    "colon": "c:\\o:l.c",
    "percent": "p%c%%.c",
    "backslash": "b\\\\a\\c\\ k.c",
    "spaces": " s p  a .c",
    "tab": "t\ta\tb.c",
    "quotes": "q'u\"o`te.c",
    "brackets": "[b](r){a}<c>&|;*?!~.c",
    "newline": "n\new\nline.c",
    "control": "c\x01\x1b[31m\x7f.c",
    "latin-1": "\udce4\udcf6\udcfc.c",
    "broken-utf-8": "\u4e2d\udce4\udcb8.c",
    "unicode": "\u4e2d\u6587 \U0001f600 e\u0301.c",
    "dots": "...c..c",
    "at": "x@y,z=.c",
    "equals-and-commas": "-Wl,=x.c",
}


def both(
    name: str,
    arguments: Sequence[str],
    files: Mapping[str, Any],
    per: Mapping[str, Mapping[str, Any]] = {},
    **more: Any,
) -> Iterator[Case]:
    """The case by each compiler; ``per`` says what is different for one."""
    for kind, driver in COMPILERS.items():
        yield Case(f"place-{name}-{kind}", (driver, *arguments), files, **{**more, **per.get(kind, {})})


def odd(name: str, file: str) -> Iterator[Case]:
    stem = file.removesuffix(".c")
    files = {f"./{file}": f'#include "{stem}.h"\nint x = N;\n', f"./{stem}.h": "#define N 1\n"}
    arguments = ("-g", "-MMD", "-MP", "-fstack-usage", "-c", f"./{file}", "-o", f"./{stem}.o")
    if "\n" in file or '"' in file:  # such a name cannot be included
        files = {f"./{file}": "int x;\n"}
    yield from both(f"odd-{name}", arguments, files)


CASES: tuple[Case, ...] = (
    *both("relative", ("-g", "-MMD", "-I../inc", "-c", "../src/a.c", "-o", "a.o"), SPLIT, cwd="build"),
    *both("absolute", ("-g", "-MMD", f"-I{PLACE}/inc", "-c", f"{PLACE}/src/a.c", "-o", f"{PLACE}/build/a.o"), SPLIT),
    *both("dots", ("-g", "-MMD", "-I./../build/.././inc//", "-c", "..//src/./../src/a.c", "-o", "./../build/./a.o"),
          SPLIT, cwd="build"),
    *both("above-the-root", ("-g", "-Iinc", "-c", "/../../.." + f"{PLACE}/src/a.c", "-o", "a.o"), SPLIT),
    *both("linked-source", ("-g", "-MMD", "-c", "a.c", "-o", "x.o"), LINKED),
    *both("linked-source-of-a-chain", ("-g", "-MMD", "-c", "b.c", "-o", "x.o"), LINKED),
    *both("linked-folder", ("-g", "-MMD", "-c", "link/a.c", "-o", "x.o"), LINKED),
    *both("linked-folder-of-a-chain", ("-g", "-MMD", "-c", "chain/a.c", "-o", "chain/x.o"), LINKED),
    *both("linked-folder-absolutely", ("-g", "-MMD", "-Iabsolute", "-c", "absolute/a.c", "-o", "x.o"), LINKED),
    *both("linked-folder-and-back", ("-g", "-MMD", "-c", "link/../real/a.c", "-o", "x.o"), LINKED),
    *both("linked-search-folder", ("-g", "-MMD", "-Ichain", "-c", "c.c"),
          {**LINKED, "c.c": "#include <deep/d.h>\nint x;\n"}),
    *both("linked-system-folder", ("-g", "-MD", "-isystem", "chain", "-c", "c.c"),
          {**LINKED, "c.c": "#include <deep/d.h>\nint x;\n"}),
    *both("linked-header", ("-g", "-MMD", "-c", "c.c"),
          {"c.c": '#include "l.h"\nint x = D;\n', "l.h": Link("sub/r.h"), "sub/r.h": '#include "d.h"\n',
           "sub/d.h": "#define D 1\n",
           "d.h": "#define D 2\n"}),
    *both("linked-header-to-nothing", ("-Iinc", "-c", "c.c"),
          {"c.c": '#include "l.h"\nint x = D;\n', "l.h": Link("no"), "inc/l.h": "#define D 1\n"}),
    *both("linked-header-in-a-circle", ("-Iinc", "-c", "c.c"),
          {"c.c": '#include "l.h"\nint x = D;\n', "l.h": Link("m.h"), "m.h": Link("l.h"), "inc/l.h": "#define D 1\n"},
          code=1),
    *both("linked-source-to-nothing", ("-c", "c.c"), {"c.c": Link("no.c")}, code=1, reason="source-unreadable"),
    *both("linked-output-folder", ("-g", "-gsplit-dwarf", "-MMD", "-c", "a.c", "-o", "obj/a.o"),
          {**C, "obj": Link("out/now"), "out/now/": ""}),
    *both("working-folder-is-a-link", ("-g", "-MMD", "-c", "a.c", "-o", "x.o"), {**LINKED, "real/": ""}, cwd="link"),
    *both("working-folder-is-a-link-and-pwd-too", ("-g", "-MMD", "-c", "a.c", "-o", "x.o"), LINKED, cwd="link",
          env={"PWD": f"{PLACE}/link"}),
    *both("pwd-through-a-chain", ("-g", "-MMD", "-c", "a.c", "-o", "x.o"), LINKED, cwd="real",
          env={"PWD": f"{PLACE}/chain"}),
    *both("pwd-elsewhere", ("-g", "-c", "a.c", "-o", "x.o"), LINKED, cwd="real", env={"PWD": "/usr"}),
    *both("pwd-with-dots", ("-g", "-c", "a.c", "-o", "x.o"), LINKED, cwd="real",
          env={"PWD": f"{PLACE}/link/../real/."}),
    *both("pwd-relative", ("-g", "-c", "a.c", "-o", "x.o"), LINKED, cwd="real", env={"PWD": "."}),
    *both("pwd-empty", ("-g", "-c", "a.c", "-o", "x.o"), LINKED, cwd="real", env={"PWD": ""}),
    *both("case", ("-g", "-MMD", "-c", "c.c"),
          {"c.c": '#include "X.h"\n#include "x.h"\nint x = A + B;\n', "X.h": "#define A 1\n", "x.h": "#define B 2\n"}),
    *both("case-of-source", ("-g", "-c", "A.c"), {"A.c": "int big;\n", "a.c": "int small;\n"}),
    *both("name-of-255-bytes", ("-g", "-c", f"{LONG}b.c", "-o", "x.o"), {f"{LONG}b.c": "int x;\n"}),
    *both("output-of-255-bytes", ("-MMD", "-c", "a.c", "-o", f"{LONG}b.o"), C),
    *both("output-of-256-bytes", ("-c", "a.c", "-o", f"{LONG}bb.o"), C, code=1, reason="node-refused"),
    *both("path-of-3400-bytes", ("-g", "-MMD", "-c", "a.c", "-o", "a.o"),
          {f"{DEEP}/a.c": '#include "h.h"\nint x = N;\n', f"{DEEP}/h.h": "#define N 1\n"}, cwd=DEEP),
    *both("path-near-the-limit", ("-g", "-MMD", "-c", "a.c", "-o", "a.o"),
          {f"{DEEPER}/a.c": '#include "h.h"\nint x = N;\n', f"{DEEPER}/h.h": "#define N 1\n"}, cwd=DEEPER,
          reason="node-refused"),
    *both("source-with-leading-dash", ("-c", "./-x.c", "-o", "./-o.o"), {"-x.c": "int x;\n"}),
    *both("source-from-stdin", ("-x", "c", "-c", "/dev/stdin", "-o", "x.o"), {}, stdin=b"int x;\n",
          reason="stdin-source"),
    *both("source-from-descriptor", ("-x", "c", "-c", "/proc/self/fd/0", "-o", "x.o"), {}, stdin=b"int x;\n",
          reason="stdin-source"),
    *both("source-from-dash", ("-x", "c", "-c", "-", "-o", "x.o"), {}, stdin=b"int x;\n", reason="stdin-source"),
    *both("source-linked-to-stdin", ("-x", "c", "-c", "in.c", "-o", "x.o"), {"in.c": Link("/dev/stdin")},
          stdin=b"int x;\n", reason="source-unreadable"),
    *both("source-is-dev-null", ("-x", "c", "-c", "/dev/null", "-o", "x.o"), {}, reason="not-compile"),
    *both("source-in-the-future", ("-c", "a.c"), C, before=[("touch", "-d", "2099-01-01", "a.c", "h.h")]),
    *both("source-of-1970", ("-c", "a.c"), C, before=[("touch", "-d", "@0", "a.c", "h.h")]),
    *both("source-before-1970", ("-c", "a.c"), C, before=[("touch", "-d", "1905-01-01", "a.c", "h.h")]),
    *(case for name, file in ODD.items() for case in odd(name, file)),
)  # fmt: skip
