"""Debug information of all kinds, whose bytes name paths, options and lines."""

from __future__ import annotations

from matrix.case import Case, Link
from matrix.gcc import C, gcc, gxx

_DEEP = {"src/lib/a.c": C["a.c"], "src/include/shape.h": C["shape.h"], "build/": ""}

# gcc orders the functions of CTF and BTF by their addresses in its own memory, so that two would do.
_ONE = {"a.c": "struct pair { int a; const char *b; };\nint f(struct pair *p) { return p->a + p->b[0]; }\n"}

_LEVELS = (
    gcc("debug", "-g -c a.c", contains={"a.o": b"tree"}),
    gcc("debug-0", "-g -g0 -c a.c"),
    gcc("debug-1", "-g1 -c a.c -o a.o"),
    gcc("debug-2", "-g2 -O2 -c a.c -o a.o"),
    gcc("debug-3", "-g3 -c a.c -o a.o", contains={"a.o": b".debug_macro"}),
    gxx("debug-3", "-g3 -O1 -c a.cc -o a.o", contains={"a.o": b"twice<int>"}),
    gcc("debug-gdb", "-ggdb -c a.c"),
    gcc("debug-gdb-0", "-g -ggdb0 -c a.c"),
    gcc("debug-gdb-1", "-ggdb1 -c a.c"),
    gcc("debug-gdb-2", "-ggdb2 -c a.c"),
    gcc("debug-gdb-3", "-ggdb3 -c a.c", contains={"a.o": b".debug_macro"}),
    gcc("debug-long-form", "--debug -c a.c", contains={"a.o": b".debug_info"}),
    gcc("debug-toggle", "-gtoggle -c a.c", contains={"a.o": b".debug_info"}),
    gcc("debug-dwarf", "-gdwarf -c a.c"),
    gcc("debug-dwarf-2", "-gdwarf-2 -gstrict-dwarf -c a.c"),
    gcc("debug-dwarf-3", "-gdwarf-3 -c a.c"),
    gcc("debug-dwarf-4", "-gdwarf-4 -c a.c"),
    gcc("debug-dwarf-5", "-gdwarf-5 -gno-strict-dwarf -c a.c"),
    gcc("debug-dwarf64", "-g -gdwarf64 -c a.c"),
    gcc("debug-dwarf32-aranges", "-g -gdwarf32 -c a.c -O2"),
    gcc("debug-stabs", "-gstabs -c a.c", contains={"a.o": b".stabstr", "stderr": b"obsolete"}),
    gcc("debug-stabs-0", "-g -gstabs0 -c a.c"),
    gcc("debug-stabs-plus", "-gstabs+ -c a.c"),
    gcc("debug-stabs-levels", "-gstabs1 -gstabs2 -gstabs3 -c a.c"),
    gcc("debug-ctf", "-gctf -c a.c", _ONE, contains={"a.o": b".ctf"}),
    gcc("debug-ctf-1", "-gctf1 -c a.c", _ONE),
    gcc("debug-ctf-2", "-gctf2 -c a.c", _ONE),
    gcc("debug-btf", "-gbtf -c a.c", _ONE, contains={"a.o": b".BTF"}),
    gcc("debug-coff-is-no-more", "-gcoff -c a.c", contains={"stderr": b"no longer supported"}),
)

_FORMS = (
    gcc("debug-compressed", "-g -gz -c a.c"),
    gcc("debug-compressed-none", "-g -gz=none -c a.c"),
    gcc("debug-compressed-zlib", "-g3 -gz=zlib -c a.c"),
    gcc("debug-compressed-gnu", "-g3 -gz=zlib-gnu -c a.c", contains={"a.o": b".zdebug_info"}),
    gcc("debug-split", "-g -gsplit-dwarf -c a.c -o out/a.o", {**C, "out/": ""}, contains={"out/a.dwo": b".dwo"}),
    gcc("debug-split-unnamed", "-gsplit-dwarf -g1 -c a.c", contains={"a.dwo": b".dwo"}),
    gcc("debug-split-not", "-g -gsplit-dwarf -gno-split-dwarf -c a.c"),
    gxx("debug-split", "-g -gsplit-dwarf -O2 -fdebug-types-section -c a.cc -o x.y.o", contains={"x.y.dwo": b".dwo"}),
    gcc(
        "debug-split-linked",
        "-g -gsplit-dwarf -c a.c -o a.o",
        contains={"a.o": b"a.dwo"},
        after=(("ld", "-r", "a.o", "-o", "b.o"),),
    ),
    gcc("debug-pubnames", "-g -gpubnames -c a.c"),
    gcc("debug-gnu-pubnames", "-g -ggnu-pubnames -c a.c", contains={"a.o": b".debug_gnu_pubnames"}),
    gxx("debug-types-section", "-g -fdebug-types-section -c a.cc"),
    gcc("debug-no-columns", "-g -gno-column-info -c a.c"),
    gcc("debug-columns", "-g -gcolumn-info -c a.c"),
    gcc("debug-statement-frontiers", "-g -O2 -gstatement-frontiers -c a.c"),
    gcc("debug-no-statement-frontiers", "-g -O2 -gno-statement-frontiers -c a.c"),
    gcc("debug-var-tracking", "-g -O2 -fvar-tracking -fvar-tracking-assignments -c a.c"),
    gcc("debug-no-var-tracking", "-g -O2 -fno-var-tracking -c a.c"),
    gcc("debug-location-views", "-g -O2 -gvariable-location-views -c a.c"),
    gcc("debug-location-views-old", "-g -O2 -gvariable-location-views=incompat5 -c a.c"),
    gcc("debug-views-reset", "-g -O2 -ginternal-reset-location-views -c a.c"),
    gcc("debug-no-assembler-locations", "-g -gno-as-loc-support -gno-as-locview-support -c a.c"),
    gcc("debug-inline-points", "-g -O2 -ginline-points -c a.c"),
    gcc("debug-describe-dies", "-g -gdescribe-dies -c a.c"),
    gxx("debug-keep-unused", "-g -fno-eliminate-unused-debug-symbols -fno-eliminate-unused-debug-types -c a.cc"),
    gxx("debug-baseonly", "-g -femit-struct-debug-baseonly -c a.cc"),
    gxx("debug-struct-detailed", "-g -femit-struct-debug-detailed=none -c a.cc"),
    gcc("debug-no-cfi-asm", "-g -fno-dwarf2-cfi-asm -fno-merge-debug-strings -c a.c"),
    gcc("debug-assembly", "-g -S a.c -o -g.s", contains={"-g.s": b".file 1"}),
)

_PATHS = (
    gcc("debug-map-here", "-g -fdebug-prefix-map={place}=/usr/src/x -c a.c", contains={"a.o": b"/usr/src/x"}),
    gcc(
        "debug-map-two",
        "-g -fdebug-prefix-map={place}=X -fdebug-prefix-map={place}/build=Y -c ../src/lib/a.c -I../src/include",
        _DEEP,
        cwd="build",
    ),
    gcc("debug-file-map", "-g -ffile-prefix-map={place}=. -c {place}/a.c", contains={"a.o": b"./a.c"}),
    gcc("debug-macro-map", "-g -fmacro-prefix-map={place}/=M: -c {place}/a.c", contains={"a.o": b"M:a.c"}),
    gcc("debug-profile-map", "-fprofile-prefix-map={place}=/p --coverage -frandom-seed=1 -g -c a.c"),
    gcc(
        "debug-from-elsewhere",
        "-g -I../src/include -c ../src/lib/a.c -o a.o",
        _DEEP,
        cwd="build",
        contains={"build/a.o": b"../src/lib"},
    ),
    gcc("debug-absolute", "-g -I{place}/src/include -c {place}/src/lib/a.c -o {place}/build/a.o", _DEEP, cwd="build"),
    gcc(
        "debug-pwd-linked",
        "-g -c a.c",
        {"real/a.c": C["a.c"], "real/shape.h": C["shape.h"], "named": Link("real")},
        cwd="named",
        env={"PWD": "{place}/named"},
        contains={"real/a.o": b"/named"},
    ),
    gcc("debug-pwd-wrong", "-g -c a.c", env={"PWD": "/usr"}),
    gcc(
        "debug-header-by-link",
        "-g -Ilinked -c a.c",
        {"a.c": C["a.c"], "headers/shape.h": C["shape.h"], "linked": Link("headers")},
        contains={"a.o": b"linked"},
    ),
    gcc("debug-switches-recorded", "-g -grecord-gcc-switches -O2 -fno-inline -c a.c", contains={"a.o": b"-fno-inline"}),
    gcc("debug-switches-not-recorded", "-g -gno-record-gcc-switches -O2 -fno-inline -c a.c"),
    gcc("debug-no-canonical", "-g -no-canonical-prefixes -fno-canonical-system-headers -c a.c"),
    gcc("debug-compared", "-g -fcompare-debug -frandom-seed=1 -O2 -c a.c", reason="local-option"),
)

CASES: tuple[Case, ...] = (*_LEVELS, *_FORMS, *_PATHS)
