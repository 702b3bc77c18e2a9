"""The rows of the option table that no other table of gcc cases needs: each as plainly as can be.

A build tool asks a compiler whether it has an option by trying it, so an option that only clang has, or only a
later gcc, must be refused as gcc refuses it.
"""

from __future__ import annotations

from typing import Any

from matrix.case import REMOTE, Case
from matrix.gcc import C, gcc, named


def _each(*rows: str, reason: str = REMOTE, code: int = 0, **more: Any) -> tuple[Case, ...]:
    return tuple(gcc(named("row", row), f"{row} -c a.c", C, reason=reason, code=code, **more) for row in rows)


_WITHOUT_EFFECT = _each(
    "-C", "-fname-mangling-version-1", "-fno-verbose-asm", "-g -gas-loc-support -gas-locview-support",
    "-g -O2 -gno-inline-points -gno-variable-location-views -gno-internal-reset-location-views",
    "-g -gno-describe-dies -gno-pubnames", "-g -gno-gnu-pubnames", "-fno-save-optimization-record", "-fno-auto-profile",
    "-fno-branch-probabilities", "--pedantic-errors", "-static-libstdc++", "-static-libasan", "-static-libubsan",
    "-static-libtsan", "-static-liblsan", "-static-libgfortran", "-nolibc", "-export-dynamic", "-fno-modules",
    "-fno-module-lazy", "-fno-builtin-module-map",
)  # fmt: skip

# cc1 refuses these: its words are shown as the node's compiler said them.
_REFUSED_BY_COMPILER = _each("-fbuiltin-abs", "-gxcoff", "-gxcoff+", "-gvms", code=1)

# The driver refuses these: asked again here, since a driver also speaks of what is wrong with its machine.
_REFUSED_BY_DRIVER = _each(
    "-traditional", "-fcrash-diagnostics", "-fno-crash-diagnostics", "-fno-record-command-line",
    "-gno-record-command-line", "-gno-embed-source", "-gno-simple-template-names", "-gcodeview-ghash",
    "-gno-codeview-ghash", "-gcodeview-command-line", "-gno-codeview-command-line", "-ginline-line-tables",
    "-gomit-unreferenced-methods", "-gno-omit-unreferenced-methods", "-gtemplate-alias", "-gno-template-alias",
    "-gkey-instructions", "-gno-key-instructions", "-gstructor-decl-linkage-names", "-gno-structor-decl-linkage-names",
    "-gno-modules", "-gsimple-template-names=simple", "-gsrc-hash=md5", "-fno-stack-usage", "-fno-profile-instr-use",
    "-fno-profile-sample-use", "-fno-color-diagnostics", "-fansi-escape-codes", "-fno-ansi-escape-codes", "-nopie",
    "-nostdlib++", "-fno-cxx-modules", "-fno-implicit-modules", "-fno-implicit-module-maps", "-gmlt", "-gfull",
    "-gused", "-gdbx",
    reason="remote-error", code=1,
)  # fmt: skip

_KEPT_HERE = _each(
    "--prefix parts/", "-ftime-report-details", "-fmem-report-wpa", "-fstats", reason="local-option"
)  # fmt: skip

# They tell how long this took, how much memory, and the names of temporary files.
_ABOUT_THIS_RUN = (
    *_each("-v", "--verbose", "-time", "-Q", "-ftime-report", "-fmem-report", "-fpre-ipa-mem-report",
           "-fpost-ipa-mem-report", reason="local-option", timed=("stderr",)),
    *_each("-time=x", reason="local-option", timed=("x",)),
)  # fmt: skip

_KEPT_HERE_AND_REFUSED = _each(
    "-iframeworkwithsysroot x", "-vfsoverlay x", "-index-header-map", "-ccc-install-dir x", "-ccc-gcc-name x",
    "-resource-dir=x", "--config=x", "--config-system-dir=x", "--config-user-dir=x", "--gcc-toolchain=x",
    "--gcc-install-dir=x", "--gcc-triple=x", "-gcc-toolchain=x", "--offload-arch=x", "--cuda-path=x",
    "--cuda-gpu-arch=x", "--overlay-platform-toolchain=x", "-foffload-objects=x", "-fapinotes", "-fapinotes-modules",
    "-fself-test", "-save-stats=obj", "--save-stats=obj", "--save-stats", "-frewrite-map-file=x",
    "-gen-cdb-fragment-path x", "-fproc-stat-report", "-gen-reproducer", "-print-stats", "-ftime-report=x",
    "--specs no.specs",
    reason="local-option", code=1,
)  # fmt: skip

_OTHERS_FORMATS = (
    *_each("-emit-pch", reason="precompiled-header"),
    *_each("-relocatable-pch", "--relocatable-pch -c", reason="precompiled-header", code=1),
    *_each("-fcxx-modules", "-fimplicit-modules", "-fsystem-module", "-fbuiltin-module-map", "-fdeps-format=p1689r5",
           "-fexperimental-modules-x", reason="modules", code=1),
)  # fmt: skip

CASES: tuple[Case, ...] = (
    *_WITHOUT_EFFECT,
    *_REFUSED_BY_COMPILER,
    *_REFUSED_BY_DRIVER,
    *_KEPT_HERE,
    *_ABOUT_THIS_RUN,
    *_KEPT_HERE_AND_REFUSED,
    *_OTHERS_FORMATS,
)
