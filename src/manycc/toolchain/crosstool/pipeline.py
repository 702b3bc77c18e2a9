"""The same build on a hosted runner: a pipeline that fetches crosstool-NG, follows a recipe and publishes the archive.

It needs nothing but what it installs itself. A hosted machine is gone after the run, so no steps are saved there; the
sources are kept in the service's cache, and a failed run publishes its log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from manycc.errors import ConfigError
from manycc.toolchain.crosstool import check
from manycc.toolchain.crosstool.recipe import Recipe
from manycc.toolchain.crosstool.target import HOST_PACKAGES

REPOSITORY: Final = "https://github.com/crosstool-ng/crosstool-ng"
LIMIT_MINUTES: Final = 350
"""Below the six hours after which hosted runners end a job without a word."""

_PACKAGES: Final = (
    "autoconf automake bison bzip2 curl flex g++ gawk gettext git gperf help2man libncurses-dev libtool libtool-bin"
    " make meson ninja-build patch python3-dev rsync texinfo unzip wget xz-utils"
)
_TOP: Final = "${CT_TOP_DIR}"
_UNSET: Final = "unset CC CXX CFLAGS CXXFLAGS LD_LIBRARY_PATH LIBRARY_PATH CPATH"
"""crosstool-NG refuses to work where one of these is set."""

Step = tuple[str, Sequence[str]]


def write(recipe: Recipe, service: str) -> str:
    """The pipeline's file for "azure" or "github". Raises ConfigError."""
    steps = _steps(recipe)
    return _github(recipe, steps) if service == "github" else _azure(recipe, steps)


def _steps(recipe: Recipe) -> list[Step]:
    """What both services do, as shell commands."""
    name = recipe.name
    packages = f"{_PACKAGES} {HOST_PACKAGES[recipe.host]}" if recipe.host else _PACKAGES
    fetch = [f"test -s tarballs/{one.name} || curl -fsSLo tarballs/{one.name} {one.url}" for one in recipe.sources]
    return [
        ("Install what building takes", [
            "sudo apt-get update -qq", f"sudo apt-get install -y -qq --no-install-recommends {packages}",
        ]),
        ("Build crosstool-NG", [
            f"git clone -q {REPOSITORY} crosstool-ng", "cd crosstool-ng", f"git checkout -q {recipe.offer.revision}",
            "./bootstrap", './configure --prefix="$PWD/../ct-ng"', "make", "make install",
        ]),
        ("Fetch the sources that crosstool-NG does not", ["mkdir -p tarballs", *fetch]),
        ("Write the recipe", ["cat > recipe <<'END'", *_lines(recipe), "END"]),
        ("Configure, and check that every line was taken", [
            _UNSET, 'DEFCONFIG="$PWD/recipe" ct-ng/bin/ct-ng defconfig', "cp .config config",
            "lost=0",
            "while IFS= read -r line; do",
            '  case "$line" in',
            '    CT_*) grep -qxF -- "$line" .config || { echo "not taken: $line"; lost=1; } ;;',
            '    "# CT_"*" is not set") symbol=${line#\\# }; symbol=${symbol% is not set}',
            '      ! grep -q "^$symbol=" .config || { echo "not taken: $line"; lost=1; } ;;',
            "  esac",
            "done < recipe",
            'test "$lost" = 0',
        ]),
        ("Build the toolchain", [_UNSET, "ct-ng/bin/ct-ng build"]),
        ("Pack it", [
            f"test -x x-tools/{name}/bin/{_driver(recipe)}",
            "mkdir -p out", f"chmod -R u+w x-tools/{name}", f"tar -C x-tools -cJf out/{name}.tar.xz {name}",
            f"cd out && sha256sum {name}.tar.xz | tee {name}.tar.xz.sha256",
        ]),
    ]  # fmt: skip


def _driver(recipe: Recipe) -> str:
    """What the compiler is called: by the target, in full."""
    target = recipe.probe.target
    return f"{target if target.partition('-linux')[2] else target + '-gnu'}-gcc"


def _lines(recipe: Recipe) -> list[str]:
    """The recipe with the runner's folders in it. Raises ConfigError."""
    lines = [line for line in recipe.text.splitlines() if line.startswith(("CT_", "# CT_"))]
    values = check.recipe_values("\n".join(lines), "the recipe")
    for symbol, value in values.items():
        place = (value or "").strip('"')
        if symbol.endswith("_CUSTOM_LOCATION"):
            if place.startswith("/"):
                raise ConfigError(
                    f"a hosted runner has no {place}",
                    "",
                    "name the sources by a path inside of the repository it checks out",
                )
            folder = _TOP if "/" in place else f"{_TOP}/tarballs"
            values[symbol] = f'"{folder}/{place}"'
    values |= {
        "CT_PREFIX_DIR": f'"{_TOP}/x-tools/{recipe.name}"',
        "CT_LOCAL_TARBALLS_DIR": f'"{_TOP}/tarballs"',
        "CT_SAVE_TARBALLS": "y",
        "CT_PARALLEL_JOBS": "0",
    }
    return [f"# {name} is not set" if value is None else f"{name}={value}" for name, value in values.items()]


def _head(recipe: Recipe, place: str) -> list[str]:
    runs = recipe.host or "x86-64"
    return [
        f"# {recipe.probe.label}, as a cross compiler that runs on {runs}.",
        f"# Put it into {place}, and start it by hand: it takes one to three hours.",
        *(f"# Differs: {deviation}" for deviation in recipe.deviations),
        f"# Give the archive to a node: manycc toolchain add {recipe.name}.tar.xz",
    ]


def _github(recipe: Recipe, steps: Sequence[Step]) -> str:
    name = recipe.name
    lines = [
        *_head(recipe, ".github/workflows"),
        f"name: {name}",
        '"on":',
        "  workflow_dispatch:",
        "permissions:",
        "  contents: read",
        "jobs:",
        "  toolchain:",
        "    runs-on: ubuntu-latest",
        f"    timeout-minutes: {LIMIT_MINUTES}",
        "    steps:",
        "      - uses: actions/checkout@v4",
        "      - uses: actions/cache@v4",
        "        with:",
        "          path: tarballs",
        f"          key: tarballs-{name}",
    ]
    for title, commands in steps:
        lines += [f"      - name: {title}", "        run: |", *_indented(("set -eu", *commands), 10)]
    lines += [
        "      - uses: actions/upload-artifact@v4",
        "        with:",
        f"          name: {name}",
        "          path: out",
        "          if-no-files-found: error",
        "      - uses: actions/upload-artifact@v4",
        "        if: failure()",
        "        with:",
        "          name: log",
        "          path: |",
        "            build.log",
        "            config",
    ]
    return "\n".join((*lines, ""))


def _azure(recipe: Recipe, steps: Sequence[Step]) -> str:
    name = recipe.name
    lines = [
        *_head(recipe, "azure-pipelines.yml"),
        "trigger: none",
        "pr: none",
        "jobs:",
        "  - job: toolchain",
        f"    displayName: {json.dumps(recipe.probe.label)}",
        f"    timeoutInMinutes: {LIMIT_MINUTES}",
        "    pool:",
        "      vmImage: ubuntu-latest",
        "    steps:",
        "      - task: Cache@2",
        "        displayName: Sources of an earlier run",
        "        inputs:",
        f'          key: \'"tarballs" | "{name}"\'',
        "          path: tarballs",
    ]
    for title, commands in steps:
        lines += ["      - script: |", *_indented(("set -eu", *commands), 10), f"        displayName: {title}"]
    lines += [
        "      - publish: out",
        f"        artifact: {name}",
        "      - script: mkdir -p log && cp build.log config log/",
        "        displayName: Gather the log",
        "        condition: failed()",
        "      - publish: log",
        "        artifact: log",
        "        condition: failed()",
    ]
    return "\n".join((*lines, ""))


def _indented(commands: Sequence[str], by: int) -> list[str]:
    return [" " * by + command for command in commands]
