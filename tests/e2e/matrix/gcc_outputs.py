"""The files gcc writes besides the object, and the ways to name the object itself."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.gcc import C, gcc, gxx

_OUT = {**C, "out/": ""}

_LOOP = {"a.c": "void f(int *p, int n) { while (n != 7) { p[n] += p[n - 1]; n = p[n]; } }\n", "out/": ""}

_NAMES = (
    gcc("output-implied", "-c a.c"),
    gcc("output-named", "-c a.c -o b.o"),
    gcc("output-joined", "-c a.c -ob.o"),
    gcc("output-elsewhere", "-c a.c -o out/b.o", _OUT),
    gcc("output-absolute", "-c {place}/a.c -o {place}/out/b.o", _OUT),
    gcc("output-odd-suffix", "-c a.c -o b.x.y", contains={"b.x.y": b"\x7fELF"}),
    gcc("output-no-suffix", "-c a.c -o b", contains={"b": b"\x7fELF"}),
    gcc("output-first", "-o b.o a.c -c -O2"),
    gcc("output-twice", "-c a.c -o b.o -o c.o"),
    gcc("output-is-source", "-c a.c -o a.c", code=1, reason="bad-command"),
    gcc("output-folder-missing", "-c a.c -o no/b.o", code=1, reason="output-folder"),
    gcc("output-is-folder", "-c a.c -o out", _OUT, code=1, reason="output-special"),
    gcc("output-through-link", "-c a.c -o b.o", {**_OUT, "b.o": Link("out/real.o")}, reason="output-special"),
    gcc(
        "output-folder-through-link",
        "-c a.c -o way/b.o",
        {**_OUT, "way": Link("out")},
        contains={"out/b.o": b"\x7fELF"},
    ),
    gcc("output-null", "-c a.c -o /dev/null"),
    gcc("output-stdout", "-S a.c -o -", reason="output-special", contains={"stdout": b"area:"}),
    gcc("output-stdout-object", "-c a.c -o -", code=1, reason="output-special", contains={"stderr": b"bfd on stdout"}),
    gcc("output-stdout-device", "-S a.c -o /dev/stdout", reason="output-special", contains={"stdout": b"area:"}),
    gcc("output-umask", "-c a.c -g -gsplit-dwarf -MMD", umask=0o027),
    gcc("output-umask-open", "-c a.c -MMD -fstack-usage", umask=0),
    gcc(
        "output-over-executable",
        "-S a.c -MMD",
        {**C, "a.s": "old\n", "a.d": "old\n"},
        modes={"a.s": 0o755, "a.d": 0o600},
    ),
    gcc("output-over-object", "-c a.c", {**C, "a.o": "old\n"}, modes={"a.o": 0o600}),
    gcc("output-over-read-only", "-c a.c -o a.o", {**C, "a.o": "old\n"}, modes={"a.o": 0o444}),
    gcc("output-assembly", "-S a.c", contains={"a.s": b"area:"}),
    gcc("output-assembly-named", "-S -O2 a.c -o out/x", _OUT, contains={"out/x": b"area:"}),
    gcc("output-assembly-and-object", "-c -S a.c", contains={"a.s": b"area:"}),
    gcc("output-assembly-intel", "-S -masm=intel -fno-asynchronous-unwind-tables a.c", contains={"a.s": b"intel"}),
    gcc("output-assembly-verbose", "-S -fverbose-asm a.c", reason="local-option", contains={"a.s": b"options passed"}),
    gcc("output-verbose-object", "-c -fverbose-asm a.c"),
    gcc("output-pipe", "-pipe -O2 -c a.c"),
    gcc("output-pipe-kept", "-pipe -save-temps -c a.c"),
    gcc("output-none-left-by-error", "-c a.c", {**C, "a.c": "int f( {\n", "a.o": "old\n"}, code=1),
    gcc(
        "output-source-suffixes",
        "-c a.b.c",
        {"a.b.c": C["a.c"], "shape.h": C["shape.h"]},
        contains={"a.b.o": b"\x7fELF"},
    ),
    gcc("output-hidden-source", "-c .c", {".c": "int x;\n"}, reason="bad-command"),
    gcc("output-dash-source", "-c ./-a.c -o ./-a.o", {"-a.c": "int x;\n"}),
)

_BESIDE = (
    gcc("stack-usage", "-fstack-usage -c a.c -o out/b.o", _OUT, contains={"out/b.su": b"area"}),
    gxx("stack-usage", "-fstack-usage -O2 -c a.cc", contains={"a.su": b"use()"}),
    gcc("callgraph", "-fcallgraph-info -c a.c", contains={"a.ci": b"graph:"}),
    gcc("callgraph-full", "-fcallgraph-info=su,da -O2 -c a.c -o out/b.o", _OUT, contains={"out/b.ci": b"graph:"}),
    gcc("prototypes", "-aux-info protos -c a.c", contains={"protos": b"area"}),
    gcc("prototypes-joined", "-aux-info=out/protos -c a.c", _OUT, contains={"out/protos": b"area"}),
    gcc("optimisations-said", "-O3 -fopt-info -c a.c", contains={"stderr": b"optimized:"}),
    gcc("optimisations-all-to-file", "-O3 -fopt-info-all=said.txt -c a.c", contains={"said.txt": b"note:"}),
    gcc("optimisations-missed", "-O3 -fopt-info-vec-missed=out/said -c a.c", _LOOP, contains={"out/said": b"missed:"}),
    gcc("optimisations-to-stdout", "-O3 -fopt-info-inline=stdout -c a.c", contains={"stdout": b"Inlin"}),
    gcc("optimisations-two-files", "-O3 -fopt-info-vec=one -fopt-info-inline=two -c a.c"),
    gcc("optimisation-record", "-O2 -fsave-optimization-record -c a.c", timed=("a.c.opt-record.json.gz",)),
    gcc("go-declarations", "-fdump-go-spec=decls.go -c a.c", contains={"decls.go": b"SCALE"}),
    gcc("ada-declarations", "-fdump-ada-spec -c a.c", reason="local-option"),
    gcc("ada-declarations-slim", "-fdump-ada-spec-slim -c a.c", reason="local-option"),
)

_TEMPORARIES = (
    gcc("save-temps", "-save-temps -c a.c", contains={"a.i": b"shape.h", "a.s": b"area:"}),
    gcc("save-temps-long", "--save-temps -g -c a.c -o b.o", contains={"b.i": b"shape.h"}),
    gcc("save-temps-beside", "-save-temps=obj -c a.c -o out/b.o", _OUT, contains={"out/b.i": b"shape.h"}),
    gcc("save-temps-long-beside", "--save-temps=obj -c a.c -o out/b.o", _OUT, code=1, reason="unknown-option"),
    gcc("save-temps-here", "-save-temps=cwd -c a.c -o out/b.o -MMD -fstack-usage", _OUT, contains={"b.s": b"area:"}),
    gcc("save-temps-wrong", "-save-temps=where -c a.c", code=1, reason="bad-command"),
    gcc("save-temps-assembly", "-save-temps -S a.c"),
    gxx("save-temps", "-save-temps -g -O2 -c a.cc", contains={"a.ii": b"Base"}),
    gcc(
        "save-temps-assembler",
        "-save-temps -c a.S -o b.o",
        {"a.S": "#define N 1\n.long N\n"},
        contains={"b.s": b".long 1"},
    ),
    gcc("save-temps-verbose", "-save-temps -fverbose-asm -c a.c", reason="local-option"),
)

# Dumps name things by their addresses unless told not to.
_PLAIN = "-fdump-noaddr"

_DUMPS = (
    gcc("dump-tree-all", f"{_PLAIN} -O2 -fdump-tree-all -c a.c", contains={"a.c.005t.original": b"hidden"}),
    gcc(
        "dump-tree-original",
        "-fdump-tree-original -c a.c -o out/b.o",
        _OUT,
        contains={"out/b.c.005t.original": b"hidden"},
    ),
    gcc("dump-tree-raw-slim", f"{_PLAIN} -fdump-tree-gimple-raw-lineno -fdump-tree-cfg-slim -c a.c"),
    gcc("dump-tree-to-file", "-fdump-tree-optimized=opt.txt -O2 -c a.c", contains={"opt.txt": b"area"}),
    gcc("dump-tree-to-stderr", "-fdump-tree-optimized=stderr -O2 -c a.c", contains={"stderr": b"area"}),
    gcc("dump-tree-to-stdout", "-fdump-tree-optimized=stdout -O2 -c a.c", contains={"stdout": b"area"}),
    gcc("dump-tree-unknown", "-fdump-tree-nonsense -c a.c", code=1),
    gcc("dump-rtl-all", f"{_PLAIN} -fdump-unnumbered -O1 -fdump-rtl-all -c a.c"),
    gcc("dump-rtl-one", f"{_PLAIN} -fdump-rtl-expand -c a.c"),
    gcc("dump-ipa-all", f"{_PLAIN} -O2 -fdump-ipa-all -c a.c"),
    gcc("dump-ipa-inline", f"{_PLAIN} -O2 -fdump-ipa-inline -c a.c -o b.o"),
    gxx("dump-lang-all", f"{_PLAIN} -fdump-lang-all -c a.cc", timed=("a.cc.001l.class",)),
    gcc("dump-letters", f"{_PLAIN} -da -O1 -c a.c"),
    gcc("dump-letters-pass-by", f"{_PLAIN} -dA -dP -dp -S a.c", contains={"a.s": b"# 4"}),
    gcc("dump-letters-macros", "-dM -c a.c"),
    gcc("dump-letters-unknown", f"{_PLAIN} -dynamic -c a.c", reason="unknown-option"),
    gcc("dump-statistics", "-O2 -fdump-statistics -c a.c"),
    gcc("dump-analyzer", f"{_PLAIN} -fanalyzer -fdump-analyzer -c a.c"),
    gcc("dump-debug", "-g -fdump-debug -fdump-noaddr -c a.c"),
    gcc("dump-early-debug", "-g -fdump-earlydebug -fdump-noaddr -c a.c"),
    gcc("dump-final-insns", "-fdump-final-insns -c a.c"),
    gcc("dump-class-hierarchy-is-no-more", "-fdump-class-hierarchy -c a.c", code=1),
    gcc("dump-translation-unit-is-no-more", "-fdump-translation-unit -c a.c", code=1),
    gcc("dump-passes", "-fdump-passes -O2 -c a.c", contains={"stderr": b"ON"}),
    gcc("dump-locations", "-fdump-internal-locations -c a.c"),
    gcc("dump-unnumbered-links", "-fdump-unnumbered-links -fdump-noaddr -fdump-rtl-final -c a.c"),
    gcc("dump-base", "-fdump-tree-original -dumpbase named.c -c a.c", reason="local-option"),
    gcc("dump-base-ext", "-fdump-tree-original -dumpbase named.c -dumpbase-ext .c -c a.c", reason="local-option"),
    gcc("dump-folder", "-fdump-tree-original -dumpdir out/x- -c a.c", _OUT, reason="local-option"),
)

CASES: tuple[Case, ...] = (*_NAMES, *_BESIDE, *_TEMPORARIES, *_DUMPS)
