"""Options that change nothing but the code."""

from __future__ import annotations

from matrix.case import Case
from matrix.gcc import CXX, PROGRAM, Files, gcc, gxx, sh

_LOOP: Files = {
    "a.c": """\
void scale(float *p, const float *q, int n) { for (int i = 0; i < n; i++) p[i] = q[i] * 2.5f + p[i]; }
int sum(int *p) { int s = 0; for (int i = 0; i < 64; i++) s += p[i]; return s; }
"""
}
_STACK: Files = {
    "a.c": '#include <string.h>\nvoid f(const char *s) { char b[64]; strcpy(b, s); __asm__ volatile("" :: "r"(b)); }\n'
}
_SHIFT: Files = {"a.c": "int f(int a, int b, int *p) { return (a << b) + a / b + p[a]; }\n"}

_LEVELS = tuple(
    gcc(f"optimise-{level}", f"-O{level} -c a.c", _LOOP) for level in ("0", "1", "2", "3", "s", "g", "fast", "z")
)

_GENERAL = (
    gcc("optimise-plain", "-O -c a.c", _LOOP),
    gcc("optimise-long", "--optimize -c a.c", _LOOP),
    gcc("optimise-last-wins", "-O3 -O0 -c a.c", _LOOP),
    gcc(
        "optimise-parameters",
        "-O3 --param max-unroll-times=2 --param=inline-unit-growth=5 -finline-limit-30 -c a.c",
        _LOOP,
    ),
    gcc("optimise-limit", "-O2 -finline-limit=30 --param max-unroll-times=2 -c a.c", _LOOP),
    gcc("optimise-passes", "-O2 -fno-tree-vectorize -funroll-loops -fno-ivopts -fira-algorithm=CB -c a.c", _LOOP),
    gcc("optimise-pass-disabled", "-O2 -fdisable-tree-cunroll -fenable-rtl-pro_and_epilogue -c a.c", _LOOP),
    gcc("pic", "-fPIC -c a.c"),
    gcc("pic-small", "-fpic -fvisibility=hidden -fno-semantic-interposition -O2 -c a.c"),
    gcc("pie-not", "-fno-pie -no-pie -c a.c"),
    gcc("pie-and-no-plt", "-fPIE -fno-plt -c a.c"),
    gcc("sections", "-ffunction-sections -fdata-sections -c a.c", contains={"a.o": b".text.area"}),
    gcc(
        "sections-and-common",
        "-fcommon -fno-zero-initialized-in-bss -c a.c",
        {"a.c": "int tentative;\nint zero = 0;\n"},
    ),
    gcc("protector", "-fstack-protector-strong -O2 -c a.c", _STACK, contains={"a.o": b"__stack_chk_fail"}),
    gcc(
        "protector-all-and-clash", "-fstack-protector-all -fstack-clash-protection -fcf-protection=full -c a.c", _STACK
    ),
    gcc("fortified", "-O2 -D_FORTIFY_SOURCE=2 -c a.c", _STACK, contains={"a.o": b"__strcpy_chk"}),
    gcc("frame-kept", "-O2 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -fno-optimize-sibling-calls -c a.c"),
    gcc(
        "kernel-like",
        "-O2 -nostdinc -std=gnu11 -fno-strict-aliasing -fno-common -fshort-wchar -fno-PIE -mno-sse -mno-mmx -mno-sse2"
        " -mno-80387 -m64 -mno-red-zone -mcmodel=kernel -fno-asynchronous-unwind-tables -fno-jump-tables"
        " -fno-delete-null-pointer-checks -fno-allow-store-data-races -fno-stack-protector"
        " -mindirect-branch=thunk-extern -mindirect-branch-register -c a.c",
        {"a.c": "int f(int (*g)(int), int x) { return g(x); }\n"},
        contains={"a.o": b"__x86_indirect_thunk"},
    ),
    gcc("instrumented", "-finstrument-functions -c a.c", contains={"a.o": b"__cyg_profile_func_enter"}),
    gcc("patchable", "-fpatchable-function-entry=4,2 -c a.c", contains={"a.o": b"__patchable_function_entries"}),
    gcc("profiled-by-prof", "-p -c a.c", contains={"a.o": b"mcount"}),
    gcc("profiled-at-entry", "-pg -mfentry -mrecord-mcount -fno-pie -c a.c", contains={"a.o": b"__fentry__"}),
    gcc(
        "threads",
        "-pthread -ftls-model=initial-exec -c a.c",
        {"a.c": "#ifndef _REENTRANT\n#error\n#endif\n__thread int t;\nint f(void) { return t; }\n"},
    ),
    gcc("overflow-trapped", "-ftrapv -c a.c", _SHIFT),
    gcc("overflow-wraps", "-fwrapv -fwrapv-pointer -O2 -c a.c", _SHIFT),
    gcc("registers-fixed", "-O2 -ffixed-r12 -fcall-used-rbx -fcall-saved-r8 -fzero-call-used-regs=used -c a.c", _SHIFT),
    gcc("identity-none", "-fno-ident -fno-asynchronous-unwind-tables -c a.c"),
    gcc("split-stack", "-fsplit-stack -c a.c", contains={"a.o": b"__morestack"}),
    gcc(
        "transactional",
        "-fgnu-tm -c a.c",
        {"a.c": "int x;\nvoid f(void) { __transaction_atomic { x++; } }\n"},
        contains={"a.o": b"_ITM_"},
    ),
    gcc("switches-in-object", "-frecord-gcc-switches -O2 -c a.c", contains={"a.o": b"GNU C17"}),
    gcc("switches-not-in-object", "-fno-record-gcc-switches -c a.c"),
    gcc("switches-long-form", "-grecord-command-line -c a.c", code=1, reason="remote-error"),
    gcc("switches-long-form-object", "-frecord-command-line -c a.c", code=1, reason="remote-error"),
    gcc("whole-program", "-O2 -fwhole-program -fipa-pta -c a.c", PROGRAM),
    gcc("seeded", "-frandom-seed=abc -O2 -c a.c"),
    gxx("visibility", "-fvisibility=hidden -fvisibility-inlines-hidden -O2 -c a.cc"),
    gxx("templates-depth", "-ftemplate-depth=40 -ftemplate-depth-30 -c a.cc"),
    gxx(
        "no-exceptions",
        "-fno-exceptions -fno-rtti -fno-threadsafe-statics -c a.cc",
        {"a.cc": "struct A { A(); };\nA &f() { static A a; return a; }\n"},
    ),
    gxx("implicit-templates-not", "-fno-implicit-templates -fno-implicit-inline-templates -c a.cc"),
    gxx("devirtualised", "-O3 -fdevirtualize-speculatively -c a.cc"),
    gxx("vtable-verify", "-fvtable-verify=none -O2 -c a.cc"),
    gxx("vtable-counts", "-fvtv-counts -c a.cc", reason="local-option"),
    gcc("assembly-linked-and-run", "-O2 -march=x86-64-v2 -c a.c", PROGRAM, after=sh("gcc-12 a.o -o a", "./a")),
)

_MACHINE = (
    gcc("machine-v3", "-O3 -march=x86-64-v3 -mtune=znver3 -c a.c", _LOOP),
    gcc("machine-named", "-O3 -march=haswell -mno-avx2 -mprefer-vector-width=128 -c a.c", _LOOP),
    gcc(
        "machine-features",
        "-O2 -msse4.2 -mavx -maes -mpopcnt -mbmi2 -c a.c",
        {"a.c": "#ifndef __AVX__\n#error\n#endif\nint f(unsigned x) { return __builtin_popcount(x); }\n"},
    ),
    gcc("machine-native", "-O3 -march=native -c a.c", _LOOP),
    gcc("machine-native-tuned", "-O3 -mtune=native -c a.c", _LOOP),
    gcc(
        "machine-native-cpu",
        "-O3 -mcpu=native -c a.c",
        _LOOP,
        reason="local-option",
        contains={"stderr": b"deprecated"},
    ),
    gcc("machine-native-twice", "-O3 -march=native -mtune=generic -march=x86-64 -c a.c", _LOOP),
    gcc("machine-native-debug", "-g -march=native -c a.c", _LOOP, reason="native-debug"),
    gcc("machine-native-recorded", "-march=native -frecord-gcc-switches -c a.c", _LOOP, reason="native-debug"),
    gcc("machine-native-assembly", "-march=native -S a.c", _LOOP),
    gcc("machine-general-registers", "-mgeneral-regs-only -mno-red-zone -mlong-double-64 -c a.c", _SHIFT),
    gcc("machine-large-model", "-mcmodel=large -fno-pic -c a.c"),
    gcc("machine-32", "-m32 -msse2 -mfpmath=sse -c a.c", {"a.c": "int f(long x) { return sizeof x == 4 ? 1 : -1; }\n"}),
    gcc(
        "machine-32-headers",
        "-m32 -O2 -c a.c",
        {"a.c": '#include <stdio.h>\nvoid f(void) { puts("x"); }\n'},
        needs=("/usr/include/gnu/stubs-32.h",),
    ),
    gcc("machine-32-regparm", "-m32 -mregparm=3 -mpreferred-stack-boundary=2 -c a.c", _SHIFT),
    gcc("machine-64", "-m64 -c a.c"),
    gcc("machine-x32", "-mx32 -c a.c", {"a.c": '_Static_assert(sizeof(void *) == 4, "");\nint x;\n'}),
    gcc("machine-16", "-m16 -c a.c", _SHIFT),
    gcc("machine-abi", "-mabi=ms -c a.c", _SHIFT),
    gcc("machine-intel", "-masm=intel -O2 -c a.c"),
    gcc("machine-of-arm-marm", "-marm -c a.c", code=1, reason="inputs-unknown"),
    gcc("machine-of-arm-float", "-mfloat-abi=hard -c a.c", code=1, reason="inputs-unknown"),
    gcc("machine-of-others-order", "-EB -EL -mbig-endian -mlittle-endian -c a.c", code=1, reason="inputs-unknown"),
)

_SANITIZERS = (
    gcc("sanitize-address", "-g -fsanitize=address -c a.c", _STACK, contains={"a.o": b"__asan_"}),
    gcc(
        "sanitize-address-kernel",
        "-fsanitize=kernel-address --param asan-stack=0 -fasan-shadow-offset=0xdffffc0000000000 -c a.c",
        _STACK,
    ),
    gcc("sanitize-undefined", "-fsanitize=undefined -c a.c", _SHIFT, contains={"a.o": b"__ubsan_handle"}),
    gcc(
        "sanitize-undefined-paths",
        "-fsanitize=undefined -c {place}/sub/a.c -o a.o",
        {"sub/a.c": _SHIFT["a.c"]},
        contains={"a.o": b"sub/a.c"},
    ),
    gcc(
        "sanitize-parts",
        "-fsanitize=shift,integer-divide-by-zero -fno-sanitize=shift-base -fno-sanitize-recover=shift -c a.c",
        _SHIFT,
    ),
    gcc("sanitize-trap", "-fsanitize=undefined -fsanitize-undefined-trap-on-error -c a.c", _SHIFT),
    gcc("sanitize-thread", "-fsanitize=thread -O1 -c a.c", _SHIFT, contains={"a.o": b"__tsan_"}),
    gcc("sanitize-leak", "-fsanitize=leak -c a.c", _SHIFT),
    gcc(
        "sanitize-coverage",
        "-fsanitize-coverage=trace-pc,trace-cmp -c a.c",
        _SHIFT,
        contains={"a.o": b"__sanitizer_cov_trace_pc"},
    ),
    gcc("sanitize-sections", "-fsanitize=address -fsanitize-sections=.mine* -c a.c", _STACK),
    gxx("sanitize-vptr", "-fsanitize=vptr,null,address -O1 -c a.cc", CXX, contains={"a.o": b"__ubsan_handle"}),
    gcc("sanitize-unknown", "-fsanitize=everything -c a.c", code=1, reason="remote-error"),
)

CASES: tuple[Case, ...] = (*_LEVELS, *_GENERAL, *_MACHINE, *_SANITIZERS)
