"""What is in sources and headers, and what stands where a header should: for gcc and clang each."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.places_paths import C, both

LATIN = '/* \udce4\udcf6 */ const char s[] = "\udcfc"; int \udce4;\n'

CASES: tuple[Case, ...] = (
    *both("empty-source", ("-Wall", "-pedantic", "-c", "a.c"), {"a.c": ""}),
    *both("empty-header", ("-MMD", "-c", "a.c"), {"a.c": '#include "h.h"\nint x;\n', "h.h": ""}),
    *both("no-last-newline", ("-Wall", "-pedantic", "-c", "a.c"),
          {"a.c": '#include "h.h"\nint x = N;', "h.h": "#define N 1"}),
    *both("no-last-newline-in-directive", ("-c", "a.c"), {"a.c": 'int x;\n#include "h.h"', "h.h": "int y;"}),
    *both("last-line-continued", ("-Wall", "-c", "a.c"), {"a.c": 'int x;\n#include \\\n"h.h"\\', "h.h": "int y; //\\"}),
    *both("windows-lines", ("-g", "-MMD", "-c", "a.c"),
          {"a.c": b'#include "h.h"\r\n#define M \\\r\n  2\r\nint x = N + M;\r\n', "h.h": b"#define N 1\r\n"}),
    *both("old-macintosh-lines", ("-c", "a.c"), {"a.c": b'int x;\r#include "h.h"\rint y;\r', "h.h": b"int z;\r"}),
    *both("nul-bytes", ("-Wall", "-c", "a.c"),
          {"a.c": b'#include "h.h"\nint x\0 = N;\0\n', "h.h": b"#define N \0 1\n"}),
    *both("nul-in-a-name", ("-c", "a.c"), {"a.c": b'#include "h\0.h"\nint x;\n', "h": "", "h.h": ""}),
    *both("byte-order-mark", ("-MMD", "-c", "a.c"),
          {"a.c": b'\xef\xbb\xbf#include "h.h"\nint x = N;\n', "h.h": b"\xef\xbb\xbf#define N 1\n"}),
    *both("utf-16", ("-c", "a.c"), {"a.c": "#include <stdio.h>\nint x;\n".encode("utf-16")}, code=1),
    *both("latin-1", ("-Wall", "-c", "a.c"), {"a.c": LATIN}, code=1),
    *both("form-feeds", ("-c", "a.c"), {"a.c": '\f#\v include\f"h.h"\v\nint x = N;\n', "h.h": "#define N 1\n"}),
    *both("control-z", ("-c", "a.c"), {"a.c": b"int x;\n\x1a\n"}, code=1),
    *both("long-line", ("-g", "-c", "a.c"), {"a.c": "int x[] = {" + "1," * 50_000 + "};\n"}),
    *both("long-name-of-a-header", ("-c", "a.c"), {"a.c": f'#include "{"n" * 5000}.h"\n'}, code=1),
    *both("many-headers", ("-MMD", "-c", "a.c"),
          {"a.c": "".join(f'#include "h/{n}.h"\n' for n in range(300)) + "int x = N299;\n",
           **{f"h/{n}.h": f"#define N{n} {n}\n" for n in range(300)}}),
    *both("missing-header-in-false-branch", ("-MMD", "-c", "a.c"), {"a.c": '#if 0\n#include "no.h"\n#endif\nint x;\n'}),
    *both("header-is-folder", ("-I.", "-Iinc", "-c", "a.c"),
          {"a.c": '#include "h.h"\nint x = N;\n', "h.h/": "", "inc/h.h": "#define N 1\n"}),
    *both("header-is-empty-device", ("-MMD", "-c", "a.c"),
          {"a.c": '#include "h.h"\nint x;\n', "h.h": Link("/dev/null")}),
    *both("header-is-named-absolutely", ("-MD", "-c", "a.c"),
          {"a.c": "#include \"{place}/in c/h.h\"\nint x = N;\n", "in c/h.h": "#define N 1\n"}),
    *both("header-is-fifo-unread", ("-MMD", "-c", "a.c"), {"a.c": '#if 0\n#include "f.h"\n#endif\nint x;\n'},
          before=[("mkfifo", "f.h")], reason="inputs-unknown"),
    *both("header-is-protected", ("-c", "a.c"), C, modes={"h.h": 0o000}),
    *both("header-includes-source", ("-MMD", "-c", "a.c"),
          {"a.c": '#ifndef G\n#define G\n#include "h.h"\nint x;\n#endif\n', "h.h": '#include "a.c"\n#define N 1\n'}),
    *both("once-through-two-links", ("-c", "a.c"),
          {"a.c": '#include "one.h"\n#include "two.h"\nint x = N;\n',
           "r.h": "#pragma once\nint once;\nenum { N = 1 };\n",
           "one.h": Link("r.h"), "two.h": Link("r.h")}),
    *both("once-in-two-copies", ("-c", "a.c"),
          {"a.c": '#include "one.h"\n#include "two.h"\nint x = N;\n', "one.h": "#pragma once\nenum { N = 1 };\n",
           "two.h": "#pragma once\nenum { N = 1 };\n"}, per={"clang": {"code": 1}}),
)  # fmt: skip
