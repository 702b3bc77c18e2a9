"""clang-14: depfiles, and the other lists of what was read."""

from __future__ import annotations

from typing import Any

from matrix.case import Case

C = {
    "a.c": '#include <stddef.h>\n#include "one.h"\n#include "in/two.h"\nint x = ONE + TWO;\n',
    "one.h": "#define ONE 1\n",
    "in/two.h": '#include "../one.h"\n#define TWO 2\n',
}
ODD = {
    "my $ource #1.c": '#include "he ad$er#.h"\n#include "back\\\\slash.h"\nint x = N;\n',
    "he ad$er#.h": "#define N 1\n",
    "back\\\\slash.h": "/* two of them */\n",
    "back\\slash.h": "/* one */\n",
}


def c(name: str, *options: str, **more: Any) -> Case:
    return Case(f"clang-deps-{name}", ("clang-14", *options, "-c", "a.c", "-o", "a.o"), C, **more)


CASES: tuple[Case, ...] = (
    c("md", "-MD", contains={"a.d": b"stddef.h"}),
    c("mmd", "-MMD", contains={"a.d": b"in/two.h"}),
    c("mp", "-MD", "-MP", contains={"a.d": b"\none.h:\n"}),
    c("mf", "-MMD", "-MF", "list.d", contains={"list.d": b"a.o:"}),
    c("mf-joined", "-MMD", "-MFlist.d", contains={"list.d": b"a.o:"}),
    c("mf-twice", "-MMD", "-MF", "one.d", "-MF", "two.d", contains={"two.d": b"a.o:"}),
    c("mf-alone", "-MF", "list.d"),
    c("mf-null", "-MMD", "-MF", "/dev/null"),
    c("mf-stdout", "-MMD", "-MF", "-", reason="output-special"),
    c("mf-same-as-output", "-MMD", "-MF", "a.o"),
    c("mt", "-MMD", "-MT", "x/y z.o", "-MT", "second", contains={"a.d": b"second"}),
    c("mq", "-MMD", "-MQ", "a b$c.o", contains={"a.d": b"a\\ b$$c.o"}),
    c("mt-and-mq", "-MD", "-MQ", "$@", "-MT", "$(OBJ)", "-MP", contains={"a.d": b"$$@"}),
    c("mv", "-MMD", "-MV", "-MP"),
    c("mg", "-MMD", "-MG", reason="bad-command", code=1),
    c("md-and-mmd", "-MD", "-MMD", contains={"a.d": b"one.h"}),
    c("missing-folder", "-MMD", "-MF", "no/a.d", reason="output-folder", code=1),
    c("wp-md", "-Wp,-MD,list.d", contains={"list.d": b"stddef.h"}),
    c("wp-mmd-mt", "-Wp,-MMD,list.d,-MT,target"),
    c("entry", "-MMD", "-fdepfile-entry=made/by/hand", contains={"stderr": b"depfile-entry"}),
    c("entry-of-cc1", "-MMD", "-Xclang", "-fdepfile-entry=by/hand", contains={"a.d": b"by/hand"},
      reason="local-option"),
    c("system-headers-of-isystem", "-MMD", "-isystem", "in", contains={"a.d": b"in/two.h"}),
    c("macro-prefix-map", "-MD", "-fmacro-prefix-map=in=out", contains={"a.d": b"in/two.h"}),
    c("compilation-database", "-MJ", "a.json", contains={"a.json": b'"file": "a.c"'}),
    c("include-list", "-H", contains={"stderr": b"one.h"}),
    c("of-an-error", "-MMD", "-DONE=", "-Werror", code=1, contains={"stderr": b"redefined"}),
    Case("clang-deps-no-o", ("clang-14", "-MD", "-c", "a.c"), C, contains={"a.d": b"a.o: a.c"}),
    Case("clang-deps-assembly", ("clang-14", "-MD", "-S", "a.c"), C, contains={"a.d": b"a.o: a.c"}),
    Case("clang-deps-dots", ("clang-14", "-MD", "-c", "a.c", "-o", "lib.so.1"), C, contains={"lib.so.d": b"lib.so.1:"}),
    Case("clang-deps-odd-names", ("clang-14", "-MMD", "-MP", "-c", "my $ource #1.c", "-o", "my $ource #1.o"), ODD,
         contains={"my $ource #1.d": b"he\\ ad$$er\\#.h"}),
    Case("clang-deps-odd-names-mv", ("clang-14", "-MMD", "-MV", "-c", "my $ource #1.c", "-o", "x.o"), ODD,
         contains={"x.d": b'"he ad$er#.h"'}),
    Case("clang-deps-odd-names-mj", ("clang-14", "-MJ", "x.json", "-c", "my $ource #1.c", "-o", 'a"b.o'), ODD,
         contains={"x.json": b'a\\"b.o'}),
    Case("clang-deps-below", ("clang-14", "-MMD", "-I.", "-c", "../src/b.c", "-o", "../obj/b.o"),
         {"src/b.c": '#include "b.h"\nint x = N;\n', "inc/b.h": "#define N 1\n", "inc/sub/": "", "obj/": ""},
         cwd="inc", contains={"obj/b.d": b"../src/b.c"}),
    Case("clang-deps-cxx-modules-map", ("clang++-14", "-MD", "-std=c++20", "-c", "b.cc", "-o", "b.o"),
         {"b.cc": "#if __has_include(<version>)\n#include <version>\n#endif\n"
          '#if __has_include("no.h")\n#error\n#endif\n'},
         contains={"b.d": b"version"}),
    Case("clang-deps-assembler", ("clang-14", "-MD", "-c", "b.S", "-o", "b.o"),
         {"b.S": '#include "b.inc"\n.globl f\nf: ret\n', "b.inc": ".data\n.text\n"}, contains={"b.d": b"b.inc"}),
    Case("clang-deps-sanitizer-list",
         ("clang-14", "-MD", "-fsanitize=address", "-fsanitize-ignorelist=list.txt", "-c", "a.c", "-o", "a.o"),
         {**C, "list.txt": "src:*/one.h\n"}, contains={"a.d": b"list.txt"}),
)  # fmt: skip
