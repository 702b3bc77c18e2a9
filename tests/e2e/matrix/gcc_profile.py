"""Coverage, profiles and link-time optimisation: objects that other programs read afterwards.

gcc draws a random number for each compile with one of these, which -frandom-seed replaces. Where a case
does without, two compiles by gcc itself differ: there the object is ``timed``, and what is made of it must agree.
"""

from __future__ import annotations

from matrix.case import Case
from matrix.gcc import PROGRAM, C, gcc, gxx, sh

_SEED = "-frandom-seed=1"
_TWO = {
    "main.c": "int helper(int);\nint main(void) { return helper(1); }\n",
    "helper.c": "int helper(int n) { return n - 1; }\n",
    "out/": "",
}
_STATIC = {"a.cc": "namespace { struct S { S(); int x; }; S::S() : x(1) {} S s; }\nint f() { return s.x; }\n"}

_COVERAGE = (
    gcc("coverage", f"--coverage {_SEED} -c a.c", contains={"a.gcno": b"oncg"}),
    gcc(
        "coverage-single-dash",
        f"-coverage {_SEED} -c a.c -o out/b.o",
        {**C, "out/": ""},
        contains={"out/b.gcno": b"oncg"},
    ),
    gcc("coverage-notes-only", f"-ftest-coverage {_SEED} -c a.c", contains={"a.gcno": b"oncg"}),
    gcc("coverage-arcs-only", f"-fprofile-arcs {_SEED} -c a.c", contains={"a.o": b".gcda"}),
    gcc("coverage-not-after-all", "-ftest-coverage -fno-test-coverage -c a.c"),
    gcc(
        "coverage-notes-named",
        f"--coverage {_SEED} -fprofile-note=out/n.gcno -c a.c",
        {**C, "out/": ""},
        contains={"out/n.gcno": b"oncg"},
    ),
    gcc("coverage-absolute-path", f"--coverage {_SEED} -fprofile-abs-path -c a.c"),
    gcc("coverage-debug", f"--coverage {_SEED} -g -O1 -c a.c -o x.y.o", contains={"x.y.gcno": b"oncg"}),
    gcc("coverage-filtered", f"--coverage {_SEED} -fprofile-filter-files=shape.* -fprofile-exclude-files=a.* -c a.c"),
    gcc("coverage-atomic", f"--coverage {_SEED} -fprofile-update=atomic -c a.c"),
    gcc("coverage-null", f"--coverage {_SEED} -c a.c -o /dev/null"),
    gcc(
        "coverage-run",
        f"--coverage {_SEED} -c a.c",
        PROGRAM,
        needs=("gcov-12",),
        timed=("a.gcda",),
        after=sh("gcc-12 --coverage a.o -o a", "./a", "gcov-12 -t -b a.c"),
        contains={"stdout": b"branch  1 taken"},
    ),
    gcc(
        "coverage-run-unseeded",
        "--coverage -O1 -c a.c -o a.o",
        PROGRAM,
        needs=("gcov-12",),
        timed=("a.o", "a.gcno", "a", "a.gcda"),
        after=sh("gcc-12 --coverage a.o -o a", "./a", "gcov-12 -t a.c"),
        contains={"stdout": b"classify"},
    ),
    gcc(
        "coverage-run-elsewhere",
        f"--coverage {_SEED} -c ../src/a.c -o obj/a.o",
        {"src/a.c": PROGRAM["a.c"], "build/obj/": ""},
        cwd="build",
        needs=("gcov-12",),
        timed=("build/obj/a.gcda",),
        after=sh("gcc-12 --coverage obj/a.o -o a", "./a", "gcov-12 -t -o obj ../src/a.c"),
        contains={"stdout": b"classify"},
    ),
    gxx("coverage", f"--coverage {_SEED} -c a.cc", contains={"a.gcno": b"oncg"}),
)

_PROFILES = (
    gcc("profile-generate", f"-fprofile-generate {_SEED} -O2 -c a.c", contains={"a.o": b".gcda"}),
    gcc("profile-generate-folder", f"-fprofile-generate=prof {_SEED} -O2 -c a.c", contains={"a.o": b"prof"}),
    gcc("profile-folder", f"-fprofile-dir=prof --coverage {_SEED} -c a.c", contains={"a.o": b"prof"}),
    gcc(
        "profile-use",
        "-fprofile-use -O2 -c a.c",
        PROGRAM,
        timed=("a.gcda",),
        contains={"a.o": b".text.startup"},
        before=sh(
            f"gcc-12 -fprofile-generate {_SEED} -O2 a.c -o a.o -c",
            "gcc-12 -fprofile-generate a.o -o a",
            "./a",
            "rm a.o a",
        ),
    ),
    gcc("profile-use-missing", "-fprofile-use -O2 -Wmissing-profile -c a.c", contains={"stderr": b"not found"}),
    gcc(
        "profile-use-file",
        "-fprofile-use=a.gcda -O2 -c a.c",
        PROGRAM,
        timed=("a.gcda",),
        reason="local-option",
        before=sh(
            f"gcc-12 -fprofile-generate {_SEED} -O2 a.c -o a.o -c",
            "gcc-12 -fprofile-generate a.o -o a",
            "./a",
            "rm a.o a",
        ),
    ),
    gcc(
        "profile-use-stale",
        "-fprofile-use -O2 -c a.c",
        {**PROGRAM, "b.c": "int other(int n) { return n ? 2 : n; }\nint main(void) { return other(0); }\n"},
        before=sh(
            "cp b.c c.c",
            "mv a.c keep.c",
            "mv c.c a.c",
            f"gcc-12 -fprofile-generate {_SEED} -O2 a.c -o a.o -c",
            "gcc-12 -fprofile-generate a.o -o a",
            "./a",
            "rm a.o a a.c",
            "cp keep.c a.c",
        ),
        timed=("a.gcda",),
        code=1,
        contains={"stderr": b"does not match its profile"},
    ),
    gcc("profile-branch-probabilities", "-fbranch-probabilities -O2 -c a.c"),
    gcc("profile-not-used", "-fprofile-use -fno-profile-use -O2 -c a.c"),
    gcc("profile-auto", "-fauto-profile -O2 -c a.c", code=1),
    gcc("profile-auto-file", "-fauto-profile=no.afdo -O2 -c a.c", code=1),
    gcc("profile-counted-calls", "-pg -c a.c", contains={"a.o": b"mcount"}),
    gcc("profile-values", f"-fprofile-values -fprofile-arcs -fprofile-partial-training {_SEED} -O2 -c a.c"),
    gcc("profile-reproducible", f"-fprofile-generate -fprofile-reproducible=multithreaded {_SEED} -c a.c"),
)

_LTO = (
    gcc("lto", f"-flto {_SEED} -O2 -c a.c", contains={"a.o": b".gnu.lto_"}),
    gcc("lto-debug", f"-flto {_SEED} -O2 -g -c a.c", contains={"a.o": b".gnu.debuglto_"}),
    gcc("lto-fat", f"-flto -ffat-lto-objects {_SEED} -O2 -c a.c", contains={"a.o": b".gnu.lto_"}),
    gcc("lto-auto", f"-flto=auto -fno-fat-lto-objects {_SEED} -c a.c"),
    gcc("lto-compressed", f"-flto -flto-compression-level=9 {_SEED} -c a.c"),
    gcc("lto-assembly", f"-flto {_SEED} -S a.c", contains={"a.s": b".gnu.lto_"}),
    gcc("lto-dump", f"-flto {_SEED} -O2 -fdump-ipa-inline -fdump-noaddr -c a.c"),
    gcc(
        "lto-linked",
        f"-flto {_SEED} -O2 -c helper.c -o out/helper.o",
        _TWO,
        after=sh(
            "gcc-12 -flto -frandom-seed=2 -O2 -c main.c -o out/main.o",
            "gcc-12 -flto -O2 out/main.o out/helper.o -o out/a",
            "out/a",
        ),
    ),
    gcc(
        "lto-linked-unseeded",
        "-flto -O2 -c helper.c -o out/helper.o",
        _TWO,
        timed=("out/helper.o", "out/main.o"),
        after=sh(
            "gcc-12 -flto -O2 -c main.c -o out/main.o", "gcc-12 -flto -O2 out/main.o out/helper.o -o out/a", "out/a"
        ),
    ),
    gcc("lto-partitions", f"-flto -flto-partition=none -fno-use-linker-plugin {_SEED} -c a.c"),
    gxx("lto", f"-flto {_SEED} -O2 -g -c a.cc"),
    gxx("unseeded-statics", "-c a.cc -g", _STATIC),
)

CASES: tuple[Case, ...] = (*_COVERAGE, *_PROFILES, *_LTO)
