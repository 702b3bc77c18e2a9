"""Command lines as real builds make them."""

from __future__ import annotations

import shlex

import pytest

from manycc.command.parse import parse
from manycc.errors import NotDistributable
from manycc.reasons import Reason

# (where it is from, command line, source, outputs)
SENT = [
    (
        "lua, plain make",
        "gcc -O2 -Wall -Wextra -DLUA_COMPAT_5_3 -DLUA_USE_LINUX -c -o lapi.o lapi.c",
        "lapi.c", ["lapi.o"],
    ),
    (
        "redis",
        "cc -pedantic -DREDIS_STATIC='' -std=c11 -fno-omit-frame-pointer -Wall -W -Wno-missing-field-initializers"
        " -Werror=deprecated-declarations -Wstrict-prototypes -O3 -g -ggdb -D_GNU_SOURCE -I../deps/hiredis"
        " -I../deps/linenoise -DUSE_JEMALLOC -I../deps/jemalloc/include -MMD -o server.o -c server.c",
        "server.c", ["server.o", "server.d"],
    ),
    (
        "automake with dependency tracking",
        "gcc -DHAVE_CONFIG_H -I. -I./.. -DLOCALEDIR=\\\"/usr/share/locale\\\" -Wdate-time -D_FORTIFY_SOURCE=2 -g -O2"
        " -ffile-prefix-map=/build/hello-2.10=. -fstack-protector-strong -Wformat -Werror=format-security"
        " -MT lib/basename.o -MD -MP -MF lib/.deps/basename.Tpo -c -o lib/basename.o lib/basename.c",
        "lib/basename.c", ["lib/basename.o", "lib/.deps/basename.Tpo"],
    ),
    (
        "libtool, shared half",
        "g++ -std=gnu++17 -DHAVE_CONFIG_H -I. -I../include -pthread -g -O2 -MT libx_la-a.lo -MD -MP"
        " -MF .deps/libx_la-a.Tpo -c a.cc  -fPIC -DPIC -o .libs/libx_la-a.o",
        "a.cc", [".libs/libx_la-a.o", ".deps/libx_la-a.Tpo"],
    ),
    (
        "libtool, static half",
        "g++ -g -O2 -MT libx_la-a.lo -MD -MP -MF .deps/libx_la-a.Tpo -c a.cc -o libx_la-a.o",
        "a.cc", ["libx_la-a.o", ".deps/libx_la-a.Tpo"],
    ),
    (
        "cmake, ninja",
        "/usr/bin/c++ -DNDEBUG -Dfoo_EXPORTS -I/src/include -I/build/gen -isystem /opt/boost/include -O2 -g -DNDEBUG"
        " -std=gnu++17 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -fdiagnostics-color=always -MD"
        " -MT CMakeFiles/foo.dir/src/a.cc.o -MF CMakeFiles/foo.dir/src/a.cc.o.d"
        " -o CMakeFiles/foo.dir/src/a.cc.o -c /src/src/a.cc",
        "/src/src/a.cc", ["CMakeFiles/foo.dir/src/a.cc.o", "CMakeFiles/foo.dir/src/a.cc.o.d"],
    ),
    (
        "cmake, assembler with preprocessor",
        "/usr/bin/cc -DX -I/src -o CMakeFiles/c.dir/x.S.o -c /src/x.S",
        "/src/x.S", ["CMakeFiles/c.dir/x.S.o"],
    ),
    (
        "meson",
        "cc -Isrc/libfoo.so.1.p -Isrc -I../src -Iinclude -I/usr/include/glib-2.0"
        " -I/usr/lib/x86_64-linux-gnu/glib-2.0/include -fdiagnostics-color=always -D_FILE_OFFSET_BITS=64 -Wall"
        " -Winvalid-pch -std=c11 -O2 -g -fPIC -pthread -MD -MQ src/libfoo.so.1.p/bar.c.o"
        " -MF src/libfoo.so.1.p/bar.c.o.d -o src/libfoo.so.1.p/bar.c.o -c ../src/bar.c",
        "../src/bar.c", ["src/libfoo.so.1.p/bar.c.o", "src/libfoo.so.1.p/bar.c.o.d"],
    ),
    (
        "linux, x86",
        "gcc -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include -I./arch/x86/include/generated -I./include"
        " -I./arch/x86/include/uapi -include ./include/linux/compiler-version.h -include ./include/linux/kconfig.h"
        " -include ./include/linux/compiler_types.h -D__KERNEL__ -fmacro-prefix-map=./= -Wall -Wundef"
        " -Werror=strict-prototypes -Wno-trigraphs -fno-strict-aliasing -fno-common -fshort-wchar -fno-PIE"
        " -Werror=implicit-function-declaration -std=gnu11 -mno-sse -mno-mmx -mno-sse2 -mno-3dnow -mno-avx"
        " -fcf-protection=branch -fno-jump-tables -m64 -falign-jumps=1 -falign-loops=1 -mno-80387 -mno-fp-ret-in-387"
        " -mpreferred-stack-boundary=3 -mskip-rax-setup -mtune=generic -mno-red-zone -mcmodel=kernel -Wno-sign-compare"
        " -fno-asynchronous-unwind-tables -mindirect-branch=thunk-extern -mindirect-branch-register"
        " -mindirect-branch-cs-prefix -mfunction-return=thunk-extern -mharden-sls=all -fno-delete-null-pointer-checks"
        " -O2 -fno-allow-store-data-races -fstack-protector-strong -ftrivial-auto-var-init=zero -pg -mrecord-mcount"
        " -mfentry -DCC_USING_FENTRY -falign-functions=16 -fno-strict-overflow -fno-stack-check -fconserve-stack"
        " -fno-builtin-wcslen -fpatchable-function-entry=16,16 -fzero-call-used-regs=used-gpr -fstrict-flex-arrays=3"
        " -fmin-function-alignment=16 -gdwarf-5 -gz=zlib -fsanitize=bounds -fsanitize-coverage=trace-pc"
        " --param asan-globals=1 --param=allow-store-data-races=0 -DKBUILD_MODFILE='\"kernel/fork\"'"
        " -DKBUILD_BASENAME='\"fork\"' -c -o kernel/fork.o kernel/fork.c",
        "kernel/fork.c", ["kernel/fork.o", "kernel/.fork.o.d"],
    ),
    (
        "linux, arm64 assembler",
        "aarch64-linux-gnu-gcc -Wp,-MMD,arch/arm64/kernel/.entry.o.d -nostdinc -I./include -D__ASSEMBLY__ -fno-PIE"
        " -mgeneral-regs-only -mabi=lp64 -mlittle-endian -Wa,-march=armv8.5-a -DARM64_ASM_ARCH='\"armv8.5-a\"'"
        " -fno-asynchronous-unwind-tables -fno-unwind-tables -msign-return-address=none -mbranch-protection=pac-ret"
        " -Wa,-gdwarf-2 -c -o arch/arm64/kernel/entry.o arch/arm64/kernel/entry.S",
        "arch/arm64/kernel/entry.S", ["arch/arm64/kernel/entry.o", "arch/arm64/kernel/.entry.o.d"],
    ),
    (
        "linux, clang",
        "clang -Wp,-MMD,lib/.sort.o.d -nostdinc -I./include -D__KERNEL__ --target=x86_64-linux-gnu -fintegrated-as"
        " -Werror=unknown-warning-option -Werror=ignored-optimization-argument -fshort-wchar -funsigned-char"
        " -mstack-alignment=8 -mskip-rax-setup -mretpoline-external-thunk -mspeculative-load-hardening"
        " -fsplit-lto-unit -flto=thin -fvisibility=hidden -fsanitize=kcfi -Wno-gnu -mllvm -warn-stack-size=2048"
        " -ftrivial-auto-var-init=zero -c -o lib/sort.o lib/sort.c",
        "lib/sort.c", ["lib/sort.o", "lib/.sort.o.d"],
    ),
    (
        "busybox",
        "gcc -Wp,-MD,libbb/.xfuncs.o.d -std=gnu99 -Iinclude -Ilibbb -include include/autoconf.h -D_GNU_SOURCE -DNDEBUG"
        " -DBB_VER='\"1.36.1\"' -Wall -Wshadow -Wunused -funsigned-char -static-libgcc -falign-functions=1"
        " -falign-jumps=1 -falign-labels=1 -falign-loops=1 -fno-unwind-tables -fno-builtin-strlen"
        " -finline-limit=0 -fomit-frame-pointer -ffunction-sections -fdata-sections -fno-guess-branch-probability"
        " -Oz -DKBUILD_STR=\\'s\\' -c -o libbb/xfuncs.o libbb/xfuncs.c",
        "libbb/xfuncs.c", ["libbb/xfuncs.o", "libbb/.xfuncs.o.d"],
    ),
    (
        "postgresql",
        "gcc -Wall -Wmissing-prototypes -Wpointer-arith -Wdeclaration-after-statement -Werror=vla -Wendif-labels"
        " -Wmissing-format-attribute -Wimplicit-fallthrough=3 -Wcast-function-type -Wformat-security"
        " -fno-strict-aliasing -fwrapv -fexcess-precision=standard -Wno-format-truncation -O2 -I../../src/include"
        " -D_GNU_SOURCE -I/usr/include/libxml2 -c -o xlog.o xlog.c -MMD -MP -MF .deps/xlog.Po",
        "xlog.c", ["xlog.o", ".deps/xlog.Po"],
    ),
    (
        "ffmpeg",
        "gcc -I. -I./ -D_ISOC11_SOURCE -DPIC -DZLIB_CONST -std=c17 -fomit-frame-pointer -fPIC -pthread -g -Wall"
        " -O3 -fno-math-errno -fno-signed-zeros -fno-tree-vectorize -fdiagnostics-color=auto -MMD"
        " -MF libavcodec/h264.d -MT libavcodec/h264.o -c -o libavcodec/h264.o libavcodec/h264.c",
        "libavcodec/h264.c", ["libavcodec/h264.o", "libavcodec/h264.d"],
    ),
    (
        "openssl",
        "gcc -I. -Iinclude -fPIC -pthread -m64 -Wa,--noexecstack -Wall -O3 -DL_ENDIAN -DOPENSSL_PIC"
        " -DOPENSSLDIR=\"\\\"/usr/lib/ssl\\\"\" -MMD -MF crypto/aes/a.d.tmp -c -o crypto/aes/a.o crypto/aes/a.c",
        "crypto/aes/a.c", ["crypto/aes/a.o", "crypto/aes/a.d.tmp"],
    ),
    (
        "chromium",
        "../../third_party/llvm-build/Release+Asserts/bin/clang++ -MMD -MF obj/base/base/a.o.d -DDCHECK_ALWAYS_ON=1"
        " -I../.. -Igen -fno-delete-null-pointer-checks -fno-ident -fno-strict-aliasing -fstack-protector"
        " -funwind-tables -fPIC -pthread -fcolor-diagnostics -fmerge-all-constants -fcrash-diagnostics"
        " -mllvm -instcombine-lower-dbg-declare=0 -ffp-contract=off -fcomplete-member-pointers -m64 -msse3"
        " -Wno-builtin-macro-redefined -D__DATE__= -ffile-compilation-dir=."
        " -no-canonical-prefixes -ftrivial-auto-var-init=pattern"
        " -O2 -fdata-sections -ffunction-sections -fno-unique-section-names -fno-omit-frame-pointer -g0"
        " -fsplit-machine-functions -fvisibility=hidden -Wheader-hygiene"
        " -std=c++20 -Wno-trigraphs -gsimple-template-names"
        " -fno-exceptions -fno-rtti -nostdinc++ -isystem../../third_party/libc++/include -fvisibility-inlines-hidden"
        " -c ../../base/a.cc -o obj/base/base/a.o",
        "../../base/a.cc", ["obj/base/base/a.o", "obj/base/base/a.o.d"],
    ),
    (
        "firefox",
        "/usr/bin/clang++ -std=gnu++17 -o Unified0.o -c -DNDEBUG=1 -DTRIMMED=1 -I/src -I/obj/dist/include"
        " -DMOZILLA_CLIENT -include /obj/mozilla-config.h -Qunused-arguments -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"
        " -fstack-clash-protection -Wall -Wempty-body -fno-sized-deallocation -fno-aligned-new -fno-rtti"
        " -ffunction-sections -fdata-sections -fno-exceptions -fno-math-errno -pthread -pipe -fPIC -gdwarf-4 -Xclang"
        " -O3 -O2 -fomit-frame-pointer -funwind-tables -MD -MP -MF .deps/Unified0.o.pp Unified0.cpp",
        "Unified0.cpp", ["Unified0.o", ".deps/Unified0.o.pp"],
    ),
    (
        "android ndk",
        "/ndk/toolchains/llvm/prebuilt/linux-x86_64/bin/clang++ --target=aarch64-none-linux-android21"
        " --sysroot=/ndk/sysroot -Dx_EXPORTS -g -DANDROID -fdata-sections -ffunction-sections -funwind-tables"
        " -fstack-protector-strong -no-canonical-prefixes -D_FORTIFY_SOURCE=2 -Wformat -fPIC -std=gnu++17 -MD -MT a.o"
        " -MF a.o.d -o a.o -c /p/a.cpp",
        "/p/a.cpp", ["a.o", "a.o.d"],
    ),
    (
        "qt, qmake",
        "g++ -c -pipe -O2 -std=gnu++1z -Wall -Wextra -fPIC -D_REENTRANT -DQT_NO_DEBUG -I. -isystem /usr/include/qt5"
        " -I/usr/lib/x86_64-linux-gnu/qt5/mkspecs/linux-g++ -o main.o main.cpp",
        "main.cpp", ["main.o"],
    ),
    (
        "bazel",
        "/usr/bin/gcc -U_FORTIFY_SOURCE -fstack-protector -Wall -Wunused-but-set-parameter -fno-omit-frame-pointer"
        " -fdata-sections -std=c++0x -MD -MF bazel-out/k8/bin/_objs/a/a.d -frandom-seed=bazel-out/k8/bin/_objs/a/a.o"
        " -iquote . -iquote bazel-out/k8/bin -isystem external/x/include -fno-canonical-system-headers"
        " -Wno-builtin-macro-redefined '-D__DATE__=\"redacted\"' -c a/a.cc -o bazel-out/k8/bin/_objs/a/a.o",
        "a/a.cc", ["bazel-out/k8/bin/_objs/a/a.o", "bazel-out/k8/bin/_objs/a/a.d"],
    ),
    (
        "python extension",
        "x86_64-linux-gnu-gcc -Wsign-compare -DNDEBUG -g -fwrapv -O2 -Wall -fPIC -I/usr/include/python3.11 -c ext.c -o"
        " build/temp.linux-x86_64-cpython-311/ext.o",
        "ext.c", ["build/temp.linux-x86_64-cpython-311/ext.o"],
    ),
    (
        "rust's cc crate",
        "cc -O3 -ffunction-sections -fdata-sections -fPIC -gdwarf-4 -fno-omit-frame-pointer -m64"
        " -Wall -Wextra -o /t/out/a.o -c a.c",
        "a.c", ["/t/out/a.o"],
    ),
    (
        "arm firmware",
        "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard -DSTM32F407xx -ICore/Inc -Og"
        " -Wall -fdata-sections -ffunction-sections -g -gdwarf-2 -fstack-usage -MMD -MP -MFbuild/main.d"
        " -Wa,-mimplicit-it=always -c Core/Src/main.c -o build/main.o",
        "Core/Src/main.c", ["build/main.o", "build/main.d", "build/main.su"],
    ),
    (
        "coverage build",
        "g++ -g -O0 --coverage -fprofile-abs-path -fprofile-update=atomic -c a.cc -o obj/a.o",
        "a.cc", ["obj/a.o", "obj/a.gcno"],
    ),
    (
        "split debug info, link-time optimisation",
        "g++ -O2 -flto=auto -ffat-lto-objects -gsplit-dwarf -ggnu-pubnames -fuse-ld=gold -Wl,--gdb-index -c a.cc"
        " -o a.o",
        "a.cc", ["a.o", "a.dwo"],
    ),
    (
        "sanitizers",
        "clang++ -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize-address-use-after-scope"
        " -fno-optimize-sibling-calls -c a.cc -o a.o",
        "a.cc", ["a.o"],
    ),
    (
        "debian hardening, gcc 14",
        "gcc -g -O2 -Werror=implicit-function-declaration -ffile-prefix-map=/b=. -fstack-protector-strong"
        " -fstack-clash-protection -fcf-protection -fhardened -mbranch-protection=standard -fno-plt -c a.c -o a.o",
        "a.c", ["a.o"],
    ),
    ("autoconf probe", "gcc -c -g -O2 conftest.c", "conftest.c", ["conftest.o"]),
    ("ccache, second run", "gcc -fdirectives-only -x cpp-output -c -o a.o /t/a.i", "/t/a.i", ["a.o"]),
    ("objective-c", "gcc -fobjc-exceptions -fgnu-runtime -MMD -MP -c a.m -o a.m.o", "a.m", ["a.m.o", "a.m.d"]),
    ("to assembly", "gcc -O2 -S -masm=intel -fno-dwarf2-cfi-asm a.c", "a.c", ["a.s"]),
]  # fmt: skip

# (where it is from, command line, reason)
LOCAL = [
    ("cmake probe for the compiler", "cc -v -c CMakeCCompilerABI.c", Reason.LOCAL_OPTION),
    ("meson sanity", "cc -o sanity.exe sanity.c", Reason.NOT_COMPILE),
    ("meson probe", "cc -E -dM -xc /dev/null", Reason.PREPROCESS_ONLY),
    ("autoconf link probe", "gcc -o conftest -g -O2 conftest.c -lm", Reason.NOT_COMPILE),
    ("autoconf cpp probe", "gcc -E conftest.c", Reason.PREPROCESS_ONLY),
    ("ccache behind manycc", "ccache gcc -c a.c", Reason.COMPILER_WRAPPER),
    ("libtool link", "gcc -shared -fPIC .libs/a.o -Wl,-soname -Wl,liba.so.1 -o .libs/liba.so", Reason.NOT_COMPILE),
    ("linux, cc-option", "gcc -Werror -fno-stack-protector -c -x c /dev/null -o .tmp/x.o", Reason.NOT_COMPILE),
    ("linux, linker script", "gcc -E -P -C -Ux86 -D__ASSEMBLY__ -o vmlinux.lds vmlinux.lds.S", Reason.PREPROCESS_ONLY),
    ("linux, plugins", "gcc -fplugin=./scripts/gcc-plugins/x.so -c -o a.o a.c", Reason.LOCAL_OPTION),
    ("cmake precompiled header", "c++ -x c++-header -o pch.hxx.gch -c pch.hxx.cxx", Reason.PRECOMPILED_HEADER),
    ("firmware with specs", "arm-none-eabi-gcc --specs=nano.specs -mthumb -c a.c -o a.o", Reason.LOCAL_OPTION),
    ("cmake, modules", "g++ -std=c++20 -fmodules-ts -fmodule-mapper=a.modmap -MD -fdeps-format=p1689r5 -x c++ -o a.o"
                       " -c a.cc", Reason.MODULES),
    ("gcc's own build", "xgcc -B./gcc -c a.c", Reason.NOT_A_COMPILER),
    ("make depend", "gcc -M -MG a.c", Reason.PREPROCESS_ONLY),
    ("compile on this very processor", "gcc -O3 -march=native -g -c a.c", Reason.NATIVE_DEBUG),
]  # fmt: skip


@pytest.mark.parametrize(("line", "source", "outputs"), [row[1:] for row in SENT], ids=[row[0] for row in SENT])
def test_is_sent(line: str, source: str, outputs: list[str]) -> None:
    command = parse(shlex.split(line), "/work", {}, None)
    assert command.source == source
    assert list(command.outputs) == outputs
    # A node reads what it is sent with the same code, and must come to the same.
    assert parse(command.argv, "/work", {}, None) == command


@pytest.mark.parametrize(("line", "reason"), [row[1:] for row in LOCAL], ids=[row[0] for row in LOCAL])
def test_stays_local(line: str, reason: Reason) -> None:
    with pytest.raises(NotDistributable) as caught:
        parse(shlex.split(line), "/work", {}, None)
    assert caught.value.reason is reason, caught.value.detail
