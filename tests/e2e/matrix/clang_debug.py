"""clang-14: debug information in all its forms."""

from __future__ import annotations

from typing import Any

from matrix.case import Case

C = {
    "a.c": """#include <stdint.h>
#include "a.h"
struct point { int x, y; uint8_t tag; };
static inline int twice(struct point *p) { return DOUBLE(p->x) + p->y; }
int f(struct point *p, int n) { for (int i = 0; i < n; i++) p->y += twice(p); return p->y; }
""",
    "a.h": "#define DOUBLE(v) ((v) * 2)\nstruct unused { long member; };\n",
}
CXX = {
    "a.cc": """#include <string>
#include <vector>
template <typename T> struct box { T value; virtual ~box() = default; T get() const { return value; } };
template struct box<std::string>;
namespace one { inline namespace two { enum class color { red, green }; } }
int g(std::vector<box<int>> &v, one::color c) { for (auto &b : v) b.value++; return v.at(0).get() + int(c); }
""",
}


def c(name: str, *options: str, output: str = "a.o", **more: Any) -> Case:
    return Case(f"clang-debug-{name}", ("clang-14", *options, "-c", "a.c", "-o", output), C, **more)


def cxx(name: str, *options: str, output: str = "a.o", **more: Any) -> Case:
    return Case(f"clang-debug-{name}", ("clang++-14", *options, "-c", "a.cc", "-o", output), CXX, **more)


CASES: tuple[Case, ...] = (
    c("g", "-g", contains={"a.o": b".debug_info"}),
    c("g0", "-g", "-g0"),
    c("g1", "-g1", "-O2"),
    c("g2", "-g2", "-O1"),
    c("g3-macros", "-g3", "-fdebug-macro", contains={"a.o": b".debug_macro"}),
    c("ggdb3", "-ggdb3", "-O2"),
    c("glldb", "-glldb"),
    c("line-tables-only", "-gline-tables-only", "-O2"),
    c("line-directives-only", "-gline-directives-only"),
    c("dwarf-2", "-gdwarf-2"),
    c("dwarf-3", "-gdwarf-3"),
    c("dwarf-4", "-gdwarf-4", "-O2"),
    c("dwarf-5", "-gdwarf-5", "-O2", contains={"a.o": b".debug_line_str"}),
    c("default-version", "-g", "-fdebug-default-version=4"),
    c("dwarf64", "-g", "-gdwarf64"),
    c("strict-dwarf", "-g", "-gstrict-dwarf", "-gdwarf-3"),
    c("compressed", "-g", "-gz"),
    c("compressed-zlib", "-g", "-gz=zlib"),
    c("embedded-source", "-gdwarf-5", "-gembed-source", contains={"a.o": b"DOUBLE(p->x)"}),
    c("embedded-source-needs-dwarf-5", "-g", "-gdwarf-4", "-gembed-source", code=1, reason="remote-error"),
    c("column-info", "-g", "-gno-column-info"),
    c("inline-line-tables", "-g", "-O2", "-gno-inline-line-tables"),
    c("recorded-command-line", "-g", "-grecord-command-line", "-O1", contains={"a.o": b"-grecord-command-line"}),
    c("recorded-switches", "-g", "-grecord-gcc-switches", "-DX=a b"),
    c("command-line-section", "-frecord-command-line", contains={"a.o": b".GCC.command.line"}),
    c("ranges-base-address", "-g", "-ffunction-sections", "-fdebug-ranges-base-address"),
    c("aranges", "-g", "-gdwarf-aranges"),
    c("pubnames", "-g", "-ggnu-pubnames", contains={"a.o": b".debug_gnu_pubnames"}),
    c("profiling", "-gline-tables-only", "-fdebug-info-for-profiling", "-O2"),
    c("codeview", "-gcodeview"),
    c("sce", "-gsce"),
    c("compilation-dir", "-g", "-fdebug-compilation-dir=/somewhere", contains={"a.o": b"/somewhere"}),
    c("compilation-dir-separate", "-g", "-fdebug-compilation-dir", "/somewhere", contains={"a.o": b"/somewhere"}),
    c("file-compilation-dir", "-g", "-ffile-compilation-dir=/elsewhere", contains={"a.o": b"/elsewhere"}),
    c("prefix-map-of-the-name", "-g", "-fdebug-prefix-map=a.h=mapped.h", contains={"a.o": b"a.c"}),
    c("prefix-map-of-the-root", "-g", "-fdebug-prefix-map=/=/sources/", contains={"a.o": b"/sources/"}),
    c("file-prefix-map", "-g", "-ffile-prefix-map=/usr=/mapped", contains={"a.o": b"/mapped"}),
    c("split", "-g", "-gsplit-dwarf", contains={"a.dwo": b".debug_info.dwo"}),
    c("split-o-elsewhere", "-g", "-gsplit-dwarf", output="obj/sub.name/a.o", before=[("mkdir", "-p", "obj/sub.name")]),
    c("split-single", "-g", "-gsplit-dwarf=single", contains={"a.o": b".debug_info.dwo"}),
    c("split-is-split", "-g", "-gsplit-dwarf=split"),
    c("split-compressed", "-g", "-gsplit-dwarf", "-gz", "-gdwarf-5"),
    c("split-inlining", "-g", "-O2", "-gsplit-dwarf", "-fsplit-dwarf-inlining"),
    c("split-without-o-suffix", "-g", "-gsplit-dwarf", output="object"),
    Case("clang-debug-split-no-o", ("clang-14", "-g", "-gsplit-dwarf", "-c", "a.c"), C),
    Case("clang-debug-split-assembly", ("clang-14", "-g", "-gsplit-dwarf", "-S", "a.c"), C),
    c("modules", "-g", "-gmodules", reason="modules"),
    cxx("cxx", "-g", "-std=c++17"),
    cxx("cxx-optimised", "-g", "-O2", "-std=c++20"),
    cxx("types-section", "-g", "-fdebug-types-section", contains={"a.o": b".debug_"}),
    cxx("types-section-dwarf-4", "-gdwarf-4", "-fdebug-types-section", contains={"a.o": b".debug_types"}),
    cxx("standalone", "-g", "-fstandalone-debug"),
    cxx("simple-template-names", "-g", "-gsimple-template-names"),
    cxx("limited", "-g", "-fno-standalone-debug", "-fno-eliminate-unused-debug-types"),
    cxx("cxx-split", "-g", "-gsplit-dwarf", "-O1"),
    cxx("cxx-macros", "-g", "-fdebug-macro"),
)
