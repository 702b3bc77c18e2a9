"""clang-14: options that name files to read: lists of the sanitizers, profiles, plugins."""

from __future__ import annotations

from typing import Any

from matrix.case import PLACE, Case

C = {
    "a.c": """#include "in/h.h"
int global[4];
__attribute__((noinline)) int risky(int *p, int n) { return p[n] << n; }
int f(int *p, int n) { int a[9]; a[n] = risky(p, n); return a[n] + global[n] + inlined(n); }
""",
    "in/h.h": "static int inlined(int n) { int b[3]; b[n] = n; return b[n] / n; }\n",
}
LIST = "fun:risky\nsrc:*/h.h\n[address]\nglobal:global\n"
CXX = {
    "a.cc": "struct base { virtual ~base(); virtual int f(); };\nstruct derived : base { int f() override; };\n"
    "int g(base *b) { return static_cast<derived *>(b)->f(); }\n"
}
PROFILED = {
    "p.c": "int odd(int n) { if (n % 2) return n; return 0; }\n"
    "int main(void) { int s = 0; for (int i = 0; i < 999; i++) s += odd(i); return s == 0; }\n"
}
SAMPLES = "main:5000:0\n 1: 999\n 1.1: 999 odd:900\nodd:900:900\n 0: 900\n 0.1: 450\n"
PROFILING = "/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.profile-x86_64.a"
PROFILE = (
    ("clang-14", "-fprofile-instr-generate", "p.c", "-o", "p"),
    ("sh", "-c", "./p && llvm-profdata-14 merge default.profraw -o my.profdata && rm p default.profraw"),
)
IR_PROFILE = (
    ("clang-14", "-O1", "-fprofile-generate", "p.c", "-o", "p"),
    ("sh", "-c", "./p && llvm-profdata-14 merge default_*.profraw -o my.profdata && rm p default_*.profraw"),
)


def c(name: str, *options: str, **more: Any) -> Case:
    files = {**C, "list.txt": LIST}
    argv = ("clang-14", "-O1", *options, "-c", "a.c", "-o", "a.o")
    return Case(f"clang-reads-{name}", argv, files, **more)


def profiled(name: str, *options: str, **more: Any) -> Case:
    argv = ("clang-14", "-O2", *options, "-c", "p.c", "-o", "p.o")
    more = {"before": PROFILE, "needs": ("llvm-profdata-14", PROFILING), **more}
    return Case(f"clang-profile-{name}", argv, PROFILED, **more)


CASES: tuple[Case, ...] = (
    c("address", "-fsanitize=address", "-g", contains={"a.o": b"__asan_"}),
    c("address-options", "-fsanitize=address", "-fsanitize-address-use-after-scope", "-fno-common",
      "-fsanitize-address-use-odr-indicator", "-mllvm", "-asan-globals=0"),
    c("undefined", "-fsanitize=undefined", "-fno-sanitize-recover=all", contains={"a.o": b"__ubsan_"}),
    c("undefined-trap", "-fsanitize=undefined,integer", "-fsanitize-trap=shift", "-fsanitize-minimal-runtime"),
    c("undefined-path", "-fsanitize=undefined", "-fsanitize-undefined-strip-path-components=-1"),
    c("thread", "-fsanitize=thread", contains={"a.o": b"__tsan_"}),
    c("memory", "-fsanitize=memory", "-fsanitize-memory-track-origins=2", "-fPIE", contains={"a.o": b"__msan_"}),
    c("leak-and-stack", "-fsanitize=safe-stack"),
    c("hwaddress", "-fsanitize=hwaddress", "--target=aarch64-linux-gnu", contains={"a.o": b"__hwasan"}),
    c("kernel-address", "-fsanitize=kernel-address", "-mllvm", "-asan-mapping-offset=0xdffffc0000000000"),
    c("fuzzer", "-fsanitize=fuzzer-no-link,address", contains={"a.o": b"__sanitizer_cov"}),
    c("contradiction", "-fsanitize=address,thread", code=1, reason="remote-error"),
    c("ignorelist", "-fsanitize=address,undefined", "-fsanitize-ignorelist=list.txt", contains={"a.o": b"__ubsan_"}),
    c("blacklist", "-fsanitize=undefined", "-fsanitize-blacklist=list.txt"),
    c("ignorelist-absolute", "-fsanitize=address", f"-fsanitize-ignorelist={PLACE}/list.txt"),
    c("ignorelists-two", "-fsanitize=address", "-fsanitize-ignorelist=list.txt", "-fsanitize-ignorelist=in/h.h",
      code=1, reason="remote-error"),
    c("ignorelist-none", "-fsanitize=address", "-fno-sanitize-ignorelist"),
    c("ignorelist-missing", "-fsanitize=address", "-fsanitize-ignorelist=no.txt", code=1, reason="remote-error"),
    c("ignorelist-without-sanitizer", "-fsanitize-ignorelist=list.txt"),
    c("coverage-allowlist", "-fsanitize-coverage=trace-pc-guard,trace-cmp", "-fsanitize-coverage-allowlist=list.txt"),
    c("coverage-ignorelist", "-fsanitize-coverage=trace-pc-guard", "-fsanitize-coverage-ignorelist=list.txt"),
    c("coverage-tables", "-fsanitize-coverage=inline-8bit-counters,pc-table", contains={"a.o": b"__sancov"}),
    c("xray", "-fxray-instrument", "-fxray-instruction-threshold=1", contains={"a.o": b"xray_instr_map"}),
    Case("clang-reads-xray-list",
         ("clang-14", "-fxray-instrument", "-fxray-attr-list=x.txt", "-c", "a.c", "-o", "a.o"),
         {**C, "x.txt": "[always]\nfun:risky\n[never]\nfun:f\n"}),
    Case("clang-reads-cfi", ("clang++-14", "-fsanitize=cfi", "-flto", "-fvisibility=hidden", "-c", "a.cc", "-o", "a.o"),
         CXX, needs=("/usr/lib/llvm-14/lib/clang/14.0.6/share/cfi_ignorelist.txt",)),
    c("plugin", "-fplugin=./no.so", code=1, reason="local-option"),
    c("pass-plugin", "-fpass-plugin=./no.so", code=1, reason="local-option"),
    c("plugin-loaded", "-Xclang", "-load", "-Xclang", "./no.so", code=1, reason="local-option"),
    c("plugin-of-cc1", "-Xclang", "-add-plugin", "-Xclang", "none", code=1, reason="local-option"),
    c("plugin-of-llvm", "-mllvm", "-load=./no.so", code=1, reason="local-option"),
    profiled("instr-use", "-fprofile-instr-use=my.profdata"),
    profiled("instr-use-folder", "-fprofile-instr-use=."  , reason="local-option", code=1),
    profiled("instr-use-default", "-fprofile-instr-use", before=(*PROFILE, ("mv", "my.profdata", "default.profdata"))),
    profiled("use", "-fprofile-use=my.profdata", before=IR_PROFILE),
    profiled("use-folder", "-fprofile-use=.", before=(*IR_PROFILE, ("mv", "my.profdata", "default.profdata")),
             reason="local-option"),
    profiled("use-default", "-fprofile-use", before=(*IR_PROFILE, ("mv", "my.profdata", "default.profdata"))),
    profiled("use-missing", "-fprofile-use=no.profdata", code=1, reason="remote-error"),
    profiled("use-remapped", "-fprofile-use=my.profdata", "-fprofile-remapping-file=remap.txt",
             before=(*IR_PROFILE, ("sh", "-c", "echo 'name 3odd 4even' > remap.txt"))),
    profiled("use-stale", "-fprofile-instr-use=my.profdata", "-Wprofile-instr-out-of-date",
             before=(*PROFILE, ("sh", "-c", "echo 'int more(int n) { return n ? 1 : 2; }' >> p.c"))),
    profiled("use-partial", "-fprofile-instr-use=my.profdata", "-Wprofile-instr-missing"),
    profiled("context-sensitive", "-fcs-profile-generate", "-fprofile-use=my.profdata", before=IR_PROFILE),
    profiled("record-with-hotness", "-fprofile-use=my.profdata", "-fsave-optimization-record",
             "-fdiagnostics-show-hotness", before=IR_PROFILE),
    Case("clang-profile-samples",
         ("clang-14", "-O2", "-gline-tables-only", "-fprofile-sample-use=p.prof", "-c", "p.c", "-o", "p.o"),
         {**PROFILED, "p.prof": SAMPLES}),
    Case("clang-profile-samples-malformed",
         ("clang-14", "-O2", "-fprofile-sample-use=p.prof", "-c", "p.c", "-o", "p.o"),
         {**PROFILED, "p.prof": "no profile\n"}, code=1),
    Case("clang-profile-samples-missing", ("clang-14", "-O2", "-fprofile-sample-use=no.prof", "-c", "p.c", "-o", "p.o"),
         PROFILED, code=1, reason="remote-error"),
    Case("clang-profile-list",
         ("clang-14", "-fprofile-instr-generate", "-fprofile-list=which.txt", "-c", "p.c", "-o", "p.o"),
         {**PROFILED, "which.txt": "fun:main\n"}),
)  # fmt: skip
