"""clang-14: what is written beside the object."""

from __future__ import annotations

from typing import Any

from matrix.case import Case

C = {
    "a.c": """#include "a.h"
int helper(int);
static int square(int n) { return n * n; }
int f(int *v, int n) {
  int sum = 0;
  for (int i = 0; i < n; i++)
    sum += v[i] > LIMIT ? square(v[i]) : helper(v[i]);
  return sum;
}
""",
    "a.h": "#define LIMIT 3\n",
}
PROFILING = "/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.profile-x86_64.a"
MAIN = {
    "m.c": """#include <stdio.h>
static int odd(int n) { if (n % 2) return 1; return 0; }
int main(void) { int count = 0; for (int i = 0; i < 9; i++) count += odd(i); printf("%d\\n", count); return 0; }
""",
}
CXX = {
    "a.cc": "#include <vector>\nstruct s { ~s(); int n; };\nint g(std::vector<s> &v) { int n = 0; for (auto &x : v) "
    "n += x.n; return n; }\n",
}


def c(name: str, *options: str, output: str = "a.o", **more: Any) -> Case:
    return Case(f"clang-beside-{name}", ("clang-14", *options, "-c", "a.c", "-o", output), C, **more)


CASES: tuple[Case, ...] = (
    c("coverage", "--coverage", contains={"a.gcno": b"oncg"}),
    c("coverage-test-only", "-ftest-coverage", contains={"a.gcno": b"oncg"}),
    c("coverage-arcs-only", "-fprofile-arcs", "-g"),
    c("coverage-options", "--coverage", "-fprofile-filter-files=.*a\\.c", "-fprofile-update=atomic"),
    c("coverage-in-folder", "--coverage", output="obj/a.o", before=[("mkdir", "obj")]),
    c("coverage-odd-suffix", "--coverage", output="a.b.c"),
    c("coverage-version", "--coverage", "-Xclang", "-coverage-version=409*", reason="local-option"),
    c("coverage-notes-file", "--coverage", "-Xclang", "-coverage-notes-file", "-Xclang", "x.gcno",
      reason="local-option"),
    Case("clang-beside-coverage-no-o", ("clang-14", "--coverage", "-c", "a.c"), C, contains={"a.gcno": b"oncg"}),
    Case("clang-beside-coverage-run", ("clang-14", "--coverage", "-c", "m.c", "-o", "m.o"), MAIN,
         after=[("clang-14", "--coverage", "m.o", "-o", "m"), ("./m",), ("llvm-cov-14", "gcov", "-t", "m.gcda")],
         needs=("llvm-cov-14", PROFILING), contains={"stdout": b"10:    3:"}),
    Case("clang-beside-profile-mapping-run",
         ("clang-14", "-fprofile-instr-generate", "-fcoverage-mapping", "-c", "m.c", "-o", "m.o"), MAIN,
         after=[("clang-14", "-fprofile-instr-generate", "m.o", "-o", "m"),
                # the raw profile holds addresses
                ("sh", "-c", "./m && llvm-profdata-14 merge default.profraw -o m.profdata && rm default.profraw"),
                ("llvm-cov-14", "report", "./m", "-instr-profile=m.profdata")],
         needs=("llvm-cov-14", "llvm-profdata-14", PROFILING), contains={"stdout": b"TOTAL"}),
    c("coverage-compilation-dir", "-fprofile-instr-generate", "-fcoverage-mapping", "-fcoverage-compilation-dir=/x"),
    c("coverage-prefix-map", "-fprofile-instr-generate", "-fcoverage-mapping", "-fcoverage-prefix-map=/=/root/"),
    c("profile-generate", "-fprofile-generate", "-O2"),
    c("profile-generate-folder", "-fprofile-generate=profiles", "-O2", contains={"a.o": b"profiles/default_"}),
    c("profile-instr-generate-file", "-fprofile-instr-generate=x-%p.profraw", contains={"a.o": b"x-%p.profraw"}),
    c("time-trace", "-ftime-trace", timed=("a.json",)),
    c("time-trace-granularity", "-ftime-trace", "-ftime-trace-granularity=0", output="x.o", timed=("x.json",)),
    c("time-trace-over-a-folder", "-ftime-trace", before=[("mkdir", "a.json")], reason="output-special"),
    c("stack-usage", "-fstack-usage", "-O1", contains={"a.su": b"a.c:4:f"}),
    Case("clang-beside-stack-usage-cxx", ("clang++-14", "-fstack-usage", "-c", "a.cc", "-o", "x.y.o"), CXX,
         contains={"x.y.su": b"a.cc:3"}),
    Case("clang-beside-stack-usage-assembly", ("clang-14", "-fstack-usage", "-S", "a.c", "-o", "x.s"), C),
    c("save-temps", "-save-temps", contains={"a.i": b"# 1 ", "a.s": b".text", "a.bc": b"BC"}),
    c("save-temps-cwd", "-save-temps=cwd", output="obj/b.o", before=[("mkdir", "obj")], contains={"a.i": b"# 1 "}),
    c("save-temps-obj", "-save-temps=obj", "-g", output="obj/b.o", before=[("mkdir", "obj")],
      contains={"obj/a.i": b"# 1 "}),
    c("save-temps-depfile", "-save-temps=obj", "-MMD", "-MP"),
    Case("clang-beside-save-temps-cxx", ("clang++-14", "-save-temps", "-O1", "-c", "a.cc"), CXX,
         contains={"a.ii": b"# 1 "}),
    c("save-temps-invalid", "-save-temps=somewhere", reason="bad-command"),
    c("save-stats", "-save-stats", reason="local-option"),
    c("optimization-record", "-O2", "-fsave-optimization-record", contains={"a.opt.yaml": b"--- !"}),
    c("optimization-record-yaml", "-O2", "-fsave-optimization-record=yaml", output="obj/a.o",
      before=[("mkdir", "obj")], contains={"obj/a.opt.yaml": b"--- !"}),
    c("optimization-record-file", "-O2", "-foptimization-record-file=rec/ord.yaml", before=[("mkdir", "rec")],
      contains={"rec/ord.yaml": b"--- !"}),
    c("optimization-record-passes", "-O2", "-fsave-optimization-record", "-foptimization-record-passes=inline",
      contains={"a.opt.yaml": b"inline"}),
    Case("clang-beside-optimization-record-no-o", ("clang-14", "-O2", "-fsave-optimization-record", "-c", "a.c"), C,
         contains={"a.opt.yaml": b"--- !"}),
    c("diagnostics-file", "-Weverything", "--serialize-diagnostics", "a.dia", contains={"a.dia": b"DIAG"}),
    c("diagnostics-file-of-error", "-DLIMIT=", "-Werror", "-serialize-diagnostics", "x.dia", code=1,
      contains={"x.dia": b"DIAG"}),
    c("process-report", "-fproc-stat-report=report.csv", reason="local-option", timed=("report.csv",)),
    c("index-store", "-index-store-path", "index", reason="unknown-option", code=1),
    c("module-hash-of-nothing", "-fbuild-session-timestamp=1", reason="modules"),
)  # fmt: skip
