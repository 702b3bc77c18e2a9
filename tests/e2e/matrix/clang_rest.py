"""The rows of the option table that no other table of clang cases needs: each as plainly as can be."""

from __future__ import annotations

from typing import Any

from matrix.case import REMOTE, Case
from matrix.gcc import C, named


def _each(*rows: str, reason: str = REMOTE, code: int = 0, **more: Any) -> tuple[Case, ...]:
    return tuple(
        Case(
            named("clang-row", row),
            ("clang-14", *row.split(), "-c", "a.c"),
            C,
            reason=reason,
            code=code,
            **more,
        )
        for row in rows
    )


_WITHOUT_EFFECT = _each(
    "-stdlib++-isystem inc", "-nostdlibinc", "-ibuiltininc", "--save-temps=obj", "-fsanitize-system-ignorelist=x",
    "-fsanitize-system-blacklist=x", "-fsanitize-coverage-blacklist=x", "-fxray-always-instrument=x",
    "-fxray-never-instrument=x", "-Xclang=-O2", "-Qn", "-Qy",
    "-Werror --start-no-unused-arguments -lm --end-no-unused-arguments", "-dynamic", "-fno-sanitize-blacklist",
    "-Xanalyzer -x", "-Tbss 0", "-Tdata 0", "-Ttext 0", "-rtlib=libgcc", "--rtlib=libgcc", "-unwindlib=libgcc",
    "--unwindlib=libgcc", "--ld-path=/x", "-gmlt", "-gfull", "-gused", "-g -ginline-line-tables",
)  # fmt: skip

_REFUSED = _each(
    "-c-isystem inc", "-ftime-trace=out.json", "-fmemory-profile-use=x",
    "-fsanitize-coverage=trace-pc -fsanitize-coverage-whitelist=x", "-fexperimental-sanitize-metadata-ignorelist=x",
    "-frandomize-layout-seed-file=x", "--warning-suppression-mappings=x", "-mllvm=-x86-x", "-mthread-model single",
    "-ftime-trace-verbose", "-fno-time-trace", "-frandomize-layout-seed=x",
    reason="remote-error", code=1,
)  # fmt: skip

_KEPT_HERE = _each(
    "-Xarch_host -g", "-Xarch_device -g", "-Xopenmp-target -g", "-Xoffload-linker -g", "-arch x",
    "-Xopenmp-target=x -g", "-iframeworkwithsysroot x", "-index-header-map", "-ccc-install-dir x", "-ccc-gcc-name gcc",
    "-resource-dir=x", "--config-system-dir=x", "--config-user-dir=x", "--gcc-toolchain=/usr", "--offload-arch=x",
    "--cuda-path=x", "--cuda-gpu-arch=x", "--save-stats", "-save-stats=obj", "--save-stats=obj",
    reason="local-option",
)  # fmt: skip

_KEPT_HERE_AND_REFUSED = _each(
    "-vfsoverlay x", "--config=x", "--gcc-install-dir=x", "--gcc-triple=x", "-gcc-toolchain=x",
    "--overlay-platform-toolchain=x",
    reason="local-option", code=1,
)  # fmt: skip

# clang 14 does not know the variable, and asks the clock, in the time zone of this machine.
_TIME = Case(
    "clang-row-time-of-day-set",
    ("clang-14", "-c", "a.c"),
    {"a.c": 'const char *t = __DATE__ " " __TIME__;\n'},
    env={"SOURCE_DATE_EPOCH": "1234567890", "TZ": "Asia/Tokyo"},
    timed=("a.o",),
    reason="timestamp-macro",
)

CASES: tuple[Case, ...] = (_TIME, *_WITHOUT_EFFECT, *_REFUSED, *_KEPT_HERE, *_KEPT_HERE_AND_REFUSED)
