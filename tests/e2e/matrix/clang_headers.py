"""clang-14: the ways to headers: folders, overlays, precompiled headers, modules."""

from __future__ import annotations

from typing import Any

from matrix.case import PLACE, Case, Link

C = {"a.c": '#include "h.h"\nint x = N;\n', "h.h": "#define N 1\n"}
PCH = {"a.c": '#include "p.h"\nint x = N + sizeof(struct s);\n', "p.h": "#define N 1\nstruct s { long a; };\n"}
MODULE = {
    "a.c": '#include "m.h"\nint x = M;\n',
    "m.h": "#define M 4\n",
    "module.modulemap": 'module m { header "m.h" export * }\n',
}
CXX20 = {
    "m.cppm": "export module m;\nexport int twice(int n) { return 2 * n; }\n",
    "a.cc": "import m;\nint f(int n) { return twice(n); }\n",
}
FOLDERS = {
    "src/a.c": '#include "n.h"\n#include <n.h>\nconst char *where = N;\n',
    "src/n.h": "#include_next <n.h>\n",
    **{f"{name}/n.h": f'#ifndef N\n#define N "{name}"\n#endif\n' for name in ("one", "two", "three", "four")},
}
OVERLAY = """{ "version": 0, "case-sensitive": "true", "roots": [ { "type": "directory", "name": "%s/virtual",
  "contents": [ { "type": "file", "name": "v.h", "external-contents": "%s/real.h" } ] } ] }
"""


def c(name: str, *options: str, **more: Any) -> Case:
    return Case(f"clang-headers-{name}", ("clang-14", *options, "-c", "a.c", "-o", "a.o"), C, **more)


def folders(name: str, *options: str, **more: Any) -> Case:
    argv = ("clang-14", *options, "-g", "-c", "src/a.c", "-o", "a.o")
    return Case(f"clang-headers-{name}", argv, FOLDERS, **more)


def _header_map(target: str) -> bytes:
    """A header map that leads h.h to ``target``, a prefix and a name."""
    prefix, name = target.rsplit("/", 1)
    strings = b"\0h.h\0" + prefix.encode() + b"/\0" + name.encode() + b"\0"
    places = [1, 5, 5 + len(prefix) + 2]
    slots = 4  # a power of two; clang's hash of a name is 13 times the sum of its characters
    buckets = [b"\0" * 12] * slots
    buckets[sum(b"h.h") * 13 % slots] = b"".join(place.to_bytes(4, "little") for place in places)
    head = b"pamh" + (1).to_bytes(2, "little") + bytes(2)
    numbers = (24 + 12 * slots, 1, slots, 20)
    return head + b"".join(number.to_bytes(4, "little") for number in numbers) + b"".join(buckets) + strings


CASES: tuple[Case, ...] = (
    folders("order", "-Ione", "-Itwo", contains={"a.o": b"one"}),
    folders("order-of-kinds", "-idirafter", "one", "-isystem", "two", "-iquote", "three", "-Ifour",
            contains={"a.o": b"four"}),
    folders("duplicate-system", "-Ione", "-Itwo", "-isystem", "one", contains={"a.o": b"two"}),
    folders("after", "-isystem", "four", "-isystem-after", "one", contains={"stderr": b"isystem-after"}),
    folders("cxx-isystem-of-c", "-cxx-isystem", "one", "-isystem", "two", contains={"a.o": b"two"}),
    folders("prefixed", "-iprefix", "th", "-iwithprefixbefore", "ree", contains={"a.o": b"three"}),
    folders("missing-folder", "-Inone", "-Weverything", "-Itwo"),
    folders("a-file", "-Isrc/a.c", "-Itwo", reason="inputs-unknown"),
    folders("environment", env={"CPATH": "one:two", "C_INCLUDE_PATH": "three"}, contains={"a.o": b"one"}),
    folders("environment-of-c", env={"C_INCLUDE_PATH": ":three", "CPLUS_INCLUDE_PATH": "one"},
            contains={"a.o": b"three"}),
    folders("environment-empty", "-Itwo", env={"CPATH": ""}, contains={"a.o": b"two"}),
    folders("absolute", f"-I{PLACE}/one", f"-I{PLACE}/src/../two", contains={"a.o": b"one"}),
    folders("sysroot", "--sysroot=one", "-isystem", "=/two", "-Ithree", reason="local-option"),
    folders("with-sysroot", "-iwithsysroot", "/two", "-Ithree", reason="local-option"),
    folders("resource-dir", "-resource-dir", "one", "-Itwo", reason="local-option"),
    folders("nostdinc", "-nostdinc", "-Itwo"),
    folders("nobuiltininc", "-nobuiltininc", "-Itwo"),
    folders("i-minus", "-I-", "-Itwo", code=1, reason="local-option"),
    Case("clang-headers-include",
         ("clang-14", "-include", "h.h", "-include", "sub/i.h", "-imacros", "m.h", "-MMD", "-c", "b.c", "-o", "b.o"),
         {**C, "b.c": "int x = N + M + I;\n", "m.h": "#define M 2\nint not_seen;\n", "sub/i.h": "#define I 3\n"},
         contains={"b.d": b"sub/i.h"}),
    Case("clang-headers-include-twice-of-one", ("clang-14", "-include", "g.h", "-include", "g.h", "-c", "b.c"),
         {"g.h": "#pragma once\nint g;\n", "b.c": "int x;\n"}),
    Case("clang-headers-framework", ("clang-14", "-F.", "-c", "a.m", "-o", "a.o"),
         {"a.m": "#import <Kit/Kit.h>\nint x = KIT;\n", "Kit.framework/Headers/Kit.h": "#define KIT 3\n"},
         reason="local-option"),
    Case("clang-headers-framework-system", ("clang-14", "-iframework", ".", "-c", "a.m", "-o", "a.o"),
         {"a.m": "#import <Kit/Kit.h>\nint x = KIT;\n", "Kit.framework/Headers/Kit.h": "#define KIT 3\n"},
         reason="local-option"),
    Case("clang-headers-overlay", ("clang-14", "-ivfsoverlay", "map.yaml", f"-I{PLACE}/virtual", "-MMD", "-c", "a.c"),
         {"a.c": '#include "v.h"\nint x = V;\n', "real.h": "#define V 8\n", "map.yaml": OVERLAY % (PLACE, PLACE)},
         reason="local-option"),
    Case("clang-headers-header-map", ("clang-14", "-Imap.hmap", "-I.", "-c", "a.c", "-o", "a.o"),
         {"a.c": "#include <h.h>\nint x = N;\n", "hidden/real.h": "#define N 5\n",
          "map.hmap": _header_map("hidden/real.h")},
         reason="inputs-unknown"),
    Case("clang-headers-header-map-of-no-such-name", ("clang-14", "-Imap", "-Iinc", "-I.", "-c", "a.c", "-o", "a.o"),
         {"a.c": "#include <h.h>\nint x = N;\n", "hidden/real.h": "#define N 5\n",
          "map": _header_map("hidden/real.h"), "inc/h.h": "#define N 6\n"},
         reason="inputs-unknown"),
    Case("clang-headers-linked-folder", ("clang-14", "-Ilink", "-MMD", "-g", "-c", "a.c", "-o", "a.o"),
         {"a.c": "#include <n.h>\n#include <deep/m.h>\nint x = N + M;\n", "real/v1/n.h": "#define N 1\n",
          "real/v1/deep/m.h": '#include "../n.h"\n#define M 2\n', "link": Link("current"), "current": Link("real/v1")},
         contains={"a.d": b"link/deep/m.h"}),
    Case("clang-headers-has-include", ("clang++-14", "-std=c++20", "-Ione", "-Itwo", "-c", "a.cc"),
         {"a.cc": "#include <n.h>\n#if __has_include(<only.h>) && !__has_include(<never.h>)\nint x = N;\n#endif\n",
          "one/n.h": "#if __has_include_next(<n.h>)\n#include_next <n.h>\n#endif\n", "two/n.h": "#define N 2\n",
          "two/only.h": "#error\n"}, contains={"a.o": b"x"}),
    Case("clang-headers-has-embed", ("clang-14", "-c", "a.c"),
         {"a.c": '#ifdef __has_embed\n#error\n#endif\nint x;\n'}),
    Case("clang-headers-embed", ("clang-14", "-c", "a.c"), {"a.c": 'char x[] = {\n#embed "data"\n};\n', "data": "abc"},
         code=1, contains={"stderr": b"embed"}),
    Case("clang-headers-import", ("clang-14", "-c", "a.c"),
         {"a.c": '#import "i.h"\n#import "i.h"\n#include "i.h"\nint x = N;\n', "i.h": "int one;\n#define N 1\n"}),
    Case("clang-headers-computed", ("clang-14", "-Iinc", "-DCONFIG=<c1.h>", "-c", "a.c"),
         {"a.c": "#define STR(x) #x\n#define NAME(n) STR(n.h)\n#include NAME(inc/two)\n#include CONFIG\n"
          "int x = TWO + C;\n",
          "inc/two.h": "#define TWO 2\n", "inc/c1.h": "#define C 1\n"}),
    Case("clang-headers-case", ("clang-14", "-I.", "-Wnonportable-include-path", "-c", "a.c"),
         {"a.c": '#include "X.h"\n#include "x.h"\nint x = UPPER + LOWER;\n', "X.h": "#define UPPER 1\n",
          "x.h": "#define LOWER 2\n"}),
    Case("clang-headers-missing", ("clang-14", "-MMD", "-c", "a.c"), {"a.c": '#include "no.h"\n'}, code=1,
         reason="remote-error", contains={"stderr": b"'no.h' file not found"}),
    # precompiled headers
    Case("clang-pch-made", ("clang-14", "-x", "c-header", "p.h", "-o", "p.h.pch"), PCH, reason="not-compile"),
    Case("clang-pch-made-by-c", ("clang-14", "-c", "p.h", "-o", "p.h.pch"), PCH, reason="precompiled-header"),
    Case("clang-pch-beside", ("clang-14", "-include", "p.h", "-c", "a.c", "-o", "a.o"),
         {**PCH, "a.c": "int x = N + sizeof(struct s);\n"}, before=[("clang-14", "p.h", "-o", "p.h.pch")],
         reason="precompiled-header"),
    Case("clang-pch-beside-but-not-used", ("clang-14", "-MMD", "-c", "a.c", "-o", "a.o"), PCH,
         before=[("clang-14", "p.h", "-o", "p.h.pch")]),
    Case("clang-pch-named", ("clang-14", "-include-pch", "p.pch", "-c", "a.c", "-o", "a.o"),
         {**PCH, "a.c": "int x = N + sizeof(struct s);\n"}, before=[("clang-14", "p.h", "-o", "p.pch")],
         reason="precompiled-header"),
    Case("clang-pch-stale", ("clang-14", "-include-pch", "p.pch", "-c", "a.c", "-o", "a.o"),
         {**PCH, "a.c": "int x = N + sizeof(struct s);\n"},
         before=[("clang-14", "p.h", "-o", "p.pch"), ("sh", "-c", "echo 'int more;' >> p.h")],
         reason="precompiled-header", code=1, contains={"stderr": b"has been modified"}),
    Case("clang-pch-folder", ("clang-14", "-include", "p.h", "-c", "a.c", "-o", "a.o"),
         {**PCH, "a.c": "int x = N + sizeof(struct s);\n", "p.h.pch/": ""},
         before=[("clang-14", "p.h", "-o", "p.h.pch/one")], reason="precompiled-header"),
    Case("clang-pch-of-gcc-beside", ("clang-14", "-include", "p.h", "-c", "a.c", "-o", "a.o"),
         {**PCH, "p.h.gch": "not clang's"}, reason="precompiled-header", code=1),
    Case("clang-pch-instantiates", ("clang-14", "-fpch-instantiate-templates", "-c", "a.c", "-o", "a.o"), PCH,
         reason="precompiled-header"),
    # modules
    Case("clang-module-implicit",
         ("clang-14", "-fmodules", f"-fmodules-cache-path={PLACE}/../cache", "-c", "a.c", "-o", "a.o"),
         MODULE, reason="modules"),
    Case("clang-module-maps-only", ("clang-14", "-fimplicit-module-maps", "-c", "a.c", "-o", "a.o"), MODULE,
         reason="modules"),
    Case("clang-module-map-unused", ("clang-14", "-c", "a.c", "-o", "a.o"), MODULE),
    Case("clang-module-map-file", ("clang-14", "-fmodule-map-file=module.modulemap", "-c", "a.c", "-o", "a.o"), MODULE,
         reason="modules"),
    Case("clang-module-name", ("clang-14", "-fmodule-name=m", "-c", "a.c", "-o", "a.o"), MODULE, reason="modules"),
    Case("clang-module-pragma", ("clang-14", "-c", "a.c", "-o", "a.o"),
         {"a.c": "#pragma clang module import m\nint x;\n"}, code=1),
    Case("clang-module-precompiled", ("clang++-14", "-std=c++20", "--precompile", "m.cppm", "-o", "m.pcm"), CXX20,
         reason="not-compile"),
    Case("clang-module-interface", ("clang++-14", "-std=c++20", "-c", "m.cppm", "-o", "m.o"), CXX20, reason="modules",
         timed=("m.o",)),  # it holds the name of a temporary file
    Case("clang-module-from-pcm", ("clang++-14", "-c", "m.pcm", "-o", "m.o"), CXX20, reason="language",
         before=[("clang++-14", "-std=c++20", "--precompile", "m.cppm", "-o", "m.pcm")]),
    Case("clang-module-used", ("clang++-14", "-std=c++20", "-fmodule-file=m.pcm", "-c", "a.cc", "-o", "a.o"), CXX20,
         before=[("clang++-14", "-std=c++20", "--precompile", "m.cppm", "-o", "m.pcm")], reason="modules"),
    Case("clang-module-used-prebuilt", ("clang++-14", "-std=c++20", "-fprebuilt-module-path=.", "-c", "a.cc"), CXX20,
         before=[("clang++-14", "-std=c++20", "--precompile", "m.cppm", "-o", "m.pcm")], reason="modules"),
    Case("clang-module-missing", ("clang++-14", "-std=c++20", "-c", "a.cc", "-o", "a.o"), CXX20, code=1,
         contains={"stderr": b"module 'm' not found"}),
    Case("clang-module-import-header", ("clang++-14", "-std=c++20", "-c", "b.cc", "-o", "b.o"),
         {"b.cc": 'import "h.h";\nint x;\n', "h.h": "int y;\n"}, code=1, reason="remote-error"),
)  # fmt: skip
