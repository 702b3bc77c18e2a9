"""clang-14: what goes in and comes out: languages, targets, LLVM's own formats."""

from __future__ import annotations

from typing import Any

from matrix.case import PLACE, Case

C = {
    "a.c": """#include "a.h"
int helper(int);
int values[] = {1, 2, 3};
static int sum(int n) { int s = 0; for (int i = 0; i < n; i++) s += values[i] * FACTOR; return s; }
int f(int n) { return helper(sum(n)); }
""",
    "a.h": "#define FACTOR 7\n",
}
PROGRAM = {
    "m.c": "int f(int);\nint helper(int n) { return n + 1; }\nint main(void) { return f(2) == 22 ? 0 : 1; }\n",
    **C,
}
IR = """target triple = "x86_64-pc-linux-gnu"
define i32 @f(i32 %n) {
  %r = mul i32 %n, 3
  ret i32 %r
}
"""
OBJC = {
    "a.m": '#import "a.h"\n#import "a.h"\n@implementation Point\n- (int)x { return X; }\n@end\n',
    "a.h": "#define X 3\n__attribute__((objc_root_class)) @interface Point\n- (int)x;\n@end\n",
    "a.mm": '#import "a.h"\nnamespace n { template <class T> T twice(T v) { return v + v; } }\n'
    "@implementation Point\n- (int)x { return n::twice(X); }\n@end\n",
}
OPENMP = {
    "a.c": "double f(double *v, int n) { double s = 0;\n#pragma omp parallel for reduction(+ : s)\n"
    "for (int i = 0; i < n; i++) s += v[i]; return s; }\n"
}
NAKED = {"a.c": "typedef unsigned long size; size f(size *p, int n) { size s = 0; while (n--) s += p[n]; return s; }\n"}


def c(name: str, *options: str, output: str = "a.o", **more: Any) -> Case:
    return Case(f"clang-format-{name}", ("clang-14", *options, "-c", "a.c", "-o", output), C, **more)


def target(name: str, *options: str, **more: Any) -> Case:
    argv = ("clang-14", *options, "-O2", "-g", "-c", "a.c", "-o", "a.o")
    return Case(f"clang-target-{name}", argv, NAKED, **more)


CASES: tuple[Case, ...] = (
    c("plain", contains={"a.o": b"\x7fELF"}),
    c("emit-llvm", "-O1", "-emit-llvm", output="a.bc", contains={"a.bc": b"BC\xc0\xde"}),
    c("emit-llvm-named-object", "-emit-llvm", "-g", contains={"a.o": b"BC\xc0\xde"}),
    Case("clang-format-emit-llvm-no-o", ("clang-14", "-emit-llvm", "-c", "a.c"), C, contains={"a.bc": b"BC\xc0\xde"}),
    Case("clang-format-emit-llvm-text", ("clang-14", "-O2", "-g", "-emit-llvm", "-S", "a.c"), C,
         contains={"a.ll": b"define"}),
    Case("clang-format-assembly", ("clang-14", "-O2", "-g", "-S", "a.c"), C, contains={"a.s": b".globl\tf"}),
    Case("clang-format-assembly-verbose", ("clang-14", "-fverbose-asm", "-S", "a.c", "-o", "x.s"), C),
    Case("clang-format-assembly-intel", ("clang-14", "-masm=intel", "-S", "a.c", "-o", "x.s"), C,
         contains={"x.s": b".intel_syntax"}),
    c("lto", "-flto", "-O2", contains={"a.o": b"BC\xc0\xde"}),
    c("lto-full", "-flto=full", "-g", contains={"a.o": b"BC\xc0\xde"}),
    c("lto-thin", "-flto=thin", "-O2", "-g", contains={"a.o": b"BC\xc0\xde"}),
    c("lto-split-unit", "-flto=thin", "-fsplit-lto-unit", "-fwhole-program-vtables", "-fvisibility=hidden"),
    Case("clang-format-lto-linked", ("clang-14", "-flto", "-O2", "-c", "a.c", "-o", "a.o"), PROGRAM,
         after=[("clang-14", "-flto", "-O2", "-c", "m.c", "-o", "m.o"),
                ("clang-14", "-flto", "-fuse-ld=gold", "-O2", "m.o", "a.o", "-o", "m"), ("./m",)],
         needs=("ld.gold", "/usr/lib/llvm-14/lib/LLVMgold.so"), contains={"m": b"\x7fELF"}),
    Case("clang-format-lto-thin-linked", ("clang-14", "-flto=thin", "-O2", "-c", "a.c", "-o", "a.o"), PROGRAM,
         after=[("clang-14", "-flto=thin", "-O2", "-c", "m.c", "-o", "m.o"),
                ("clang-14", "-flto=thin", "-fuse-ld=gold", "-O2", "m.o", "a.o", "-o", "m"), ("./m",)],
         needs=("ld.gold", "/usr/lib/llvm-14/lib/LLVMgold.so"), contains={"m": b"\x7fELF"}),
    Case("clang-format-lto-thin-back-end",
         ("clang-14", "-O2", "-fthinlto-index=a.idx", "-x", "ir", "-c", "a.bc", "-o", "a.o"),
         {**C, "a.idx": ""}, before=[("clang-14", "-flto=thin", "-O2", "-c", "a.c", "-o", "a.bc")], reason="language"),
    c("embed-bitcode", "-fembed-bitcode", contains={"a.o": b".llvmbc"}),
    c("embed-bitcode-all-marker", "-fembed-bitcode-marker"),
    c("discard-value-names", "-fno-discard-value-names", "-emit-llvm", output="a.bc"),
    c("integrated-as", "-fintegrated-as"),
    c("other-as", "-fno-integrated-as", reason="local-option"),
    c("other-as-short", "-no-integrated-as", reason="local-option"),
    c("as-options", "-Wa,--noexecstack", "-Wa,-g", "-Wa,--compress-debug-sections", code=1,
      reason="remote-error"),
    c("as-options-known", "-Wa,--noexecstack", "-Wa,--compress-debug-sections=zlib", "-g"),
    c("as-options-unknown", "-Wa,-L", code=0),
    c("no-addrsig", "-fno-addrsig"),
    c("sections", "-ffunction-sections", "-fdata-sections", "-fno-unique-section-names"),
    c("sections-list", "-fbasic-block-sections=list=list.txt", before=[("sh", "-c", "echo '!f' > list.txt")]),
    c("sections-list-missing", "-fbasic-block-sections=list=list.txt", code=1, reason="remote-error"),
    c("stack-protector", "-fstack-protector-all", "-O2", "-D_FORTIFY_SOURCE=2"),
    c("pic-and-tls", "-fPIC", "-ftls-model=initial-exec", "-fvisibility=hidden", "-fno-plt"),
    c("pie", "-fPIE", "-mcmodel=medium"),
    c("patchable", "-fpatchable-function-entry=3,1", "-fcf-protection=full", "-mretpoline"),
    c("polly-free-vectors", "-O3", "-mavx2", "-ffast-math", "-fveclib=libmvec", "-fno-unroll-loops"),
    c("march-native", "-march=native", "-O2", reason="local-option"),
    c("march-named", "-march=haswell", "-mtune=skylake", "-O2"),
    c("openmp-simd", "-fopenmp-simd"),
    Case("clang-format-openmp", ("clang-14", "-fopenmp", "-O2", "-c", "a.c", "-o", "a.o"), OPENMP,
         contains={"a.o": b"__kmpc_fork_call"}),
    Case("clang-format-openmp-irbuilder", ("clang-14", "-fopenmp", "-fopenmp-enable-irbuilder", "-c", "a.c"), OPENMP),
    Case("clang-format-openmp-targets", ("clang-14", "-fopenmp", "-fopenmp-targets=x86_64-pc-linux-gnu", "-c", "a.c"),
         OPENMP, reason="local-option", code=1),  # its bundler has another name here
    Case("clang-format-ir-text", ("clang-14", "-O2", "-c", "a.ll", "-o", "a.o"), {"a.ll": IR}, reason="language"),
    Case("clang-format-ir-bitcode", ("clang-14", "-c", "a.bc", "-o", "a.o"), C, reason="language",
         before=[("clang-14", "-emit-llvm", "-c", "a.c", "-o", "a.bc")]),
    Case("clang-format-asm", ("clang-14", "-g", "-c", "a.s", "-o", "a.o"),
         {"a.s": '.include "b.inc"\n.globl f\nf: ret\n.data\n.incbin "blob", 2, 3\n', "b.inc": ".text\n",
          "blob": "0123456"}),
    Case("clang-format-asm-cpp", ("clang-14", "-g", "-I", "inc", "-DZERO=0", "-c", "a.S", "-o", "a.o"),
         {"a.S": '#include "b.h"\n.globl f\nf: VALUE\n.include "c.inc"\n.incbin "blob"\n',
          "inc/b.h": "#define VALUE ret\n", "inc/c.inc": ".data\n.long 3\n", "inc/blob": b"\x00\x01\xff"}),
    Case("clang-format-asm-wa-include", ("clang-14", "-Wa,-Iinc", "-c", "a.s", "-o", "a.o"),
         {"a.s": '.include "c.inc"\n', "inc/c.inc": ".data\n.long 3\n"}),
    Case("clang-format-asm-error", ("clang-14", "-c", "a.s", "-o", "a.o"), {"a.s": "nonsense %eax\n"}, code=1,
         contains={"stderr": b"invalid instruction"}, reason="remote-error"),
    Case("clang-format-asm-inline-incbin", ("clang-14", "-c", "a.c", "-o", "a.o"),
         {"a.c": '__asm__(".data\\nblob: .incbin \\"blob\\"\\n"); int x;\n', "blob": b"\xff\x00data"},
         contains={"a.o": b"\xff\x00data"}),
    Case("clang-format-asm-in-cc1as",
         ("clang-14", "-cc1as", "-filetype", "obj", "-triple", "x86_64", "a.s", "-o", "a.o"),
         {"a.s": "f: ret\n"}, reason="not-compile"),
    Case("clang-format-preprocessed", ("clang-14", "-g", "-c", "a.i", "-o", "a.o"),
         {"a.i": '# 1 "first.c"\n# 1 "second.h" 1\nint x;\n# 2 "first.c" 2\nint f(void) { return x; }\n'},
         contains={"a.o": b"first.c"}),
    Case("clang-format-preprocessed-cxx", ("clang++-14", "-g", "-c", "a.ii", "-o", "a.o"),
         {"a.ii": '# 1 "first.cc"\ntemplate <class T> T id(T v) { return v; } int x = id(3);\n'}),
    Case("clang-format-objc", ("clang-14", "-g", "-c", "a.m", "-o", "a.o"), OBJC, contains={"a.o": b"Point"}),
    Case("clang-format-objc-gnustep", ("clang-14", "-fobjc-runtime=gnustep-2.0", "-c", "a.m", "-o", "a.o"), OBJC),
    Case("clang-format-objcxx", ("clang++-14", "-std=c++17", "-c", "a.mm", "-o", "a.o"), OBJC),
    Case("clang-format-objc-as-language", ("clang-14", "-x", "objective-c", "-c", "a.txt", "-o", "a.o"),
         {"a.txt": OBJC["a.m"], "a.h": OBJC["a.h"]}),
    Case("clang-format-c-as-cxx", ("clang++-14", "-c", "a.c", "-o", "a.o"), C, contains={"a.o": b"_Z1fi",
                                                                                       "stderr": b"deprecated"}),
    Case("clang-format-language-none", ("clang-14", "-x", "c++", "-x", "none", "-c", "a.c"), C),
    Case("clang-format-cuda",
         ("clang++-14", "-x", "cuda", "--cuda-host-only", "-nocudainc", "-nocudalib", "-c", "a.cu"),
         {"a.cu": "int x;\n"}, reason="unknown-option"),
    Case("clang-format-opencl",
         ("clang-14", "-x", "cl", "-cl-std=CL2.0", "-target", "spir64", "-emit-llvm", "-c", "a.cl"),
         {"a.cl": "kernel void f(global int *p) { p[get_global_id(0)] = 1; }\n"}, reason="unknown-option"),
    Case("clang-format-opencl-by-suffix", ("clang-14", "-target", "spir64", "-emit-llvm", "-c", "a.cl"),
         {"a.cl": "kernel void f(global int *p) { p[0] = 1; }\n"}, reason="language"),
    Case("clang-format-unknown-suffix", ("clang-14", "-c", "a.xyz", "-o", "a.o"), {"a.xyz": "int x;\n"},
         reason="bad-command"),
    target("i386", "-target", "i386-linux-gnu", contains={"a.o": b"\x7fELF\x01"}),
    target("i386-m32", "-m32", contains={"a.o": b"\x7fELF\x01"}),
    target("x32", "-mx32", contains={"a.o": b"\x7fELF\x01"}),
    target("aarch64", "--target=aarch64-linux-gnu", contains={"a.o": b"\x7fELF\x02"}),
    target("aarch64-cpu", "--target=aarch64-linux-gnu", "-mcpu=cortex-a72", "-mbranch-protection=standard",
           "-moutline-atomics"),
    target("armhf", "--target=arm-linux-gnueabihf", "-mfpu=neon", "-mthumb"),
    target("riscv", "--target=riscv64-linux-gnu", "-march=rv64gc", "-mabi=lp64d"),
    target("powerpc", "--target=powerpc64le-linux-gnu", "-mcpu=power9"),
    target("wasm", "--target=wasm32-unknown-unknown", contains={"a.o": b"\0asm"}),
    target("mingw", "--target=x86_64-w64-windows-gnu", contains={"a.o": b".text"}),
    target("msvc", "--target=x86_64-pc-windows-msvc", "-gcodeview", "-mno-incremental-linker-compatible",
           contains={"a.o": b".debug$S"}, reason="inputs-unknown"),
    target("macos", "--target=x86_64-apple-macos12", contains={"a.o": b"\xcf\xfa\xed\xfe"}),
    target("bpf", "--target=bpf"),
    target("unknown", "--target=nonsense-unknown-none", code=1, reason="inputs-unknown"),
    target("sysroot", f"--sysroot={PLACE}/root"),
)  # fmt: skip
