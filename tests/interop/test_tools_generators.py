"""CMake with Ninja and with Make, and Meson: how they call the compiler, and what becomes of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tools import PROJECT, SAYS, SOURCES, USE_UNIT, Workshop, change, products, report, same_products, workshop, write

from manycc.testing.requirements import need

CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(shapes C CXX)
include(CheckSymbolExists)
check_symbol_exists(qsort stdlib.h HAVE_QSORT)
check_symbol_exists(no_such_symbol stdlib.h HAVE_NOTHING)
if(NOT HAVE_QSORT OR HAVE_NOTHING)
  message(FATAL_ERROR "the compiler's answers are wrong")
endif()
include_directories(inc)
add_library(shape STATIC lib/area.c lib/name.c lib/alone.c)
add_executable(shapes app/main.cc app/count.cc)
target_link_libraries(shapes shape)
"""
MESON = """\
project('shapes', 'c', 'cpp', default_options: ['buildtype=debug'])
cc = meson.get_compiler('c')
assert(cc.has_function('qsort', prefix: '#include <stdlib.h>'))
assert(not cc.has_function('no_such_function'))
assert(cc.sizeof('int') == 4)
assert(cc.has_argument('-Wall') and not cc.has_argument('-Wno-such-thing-is-known=3'))
inc = include_directories('inc')
shape = static_library('shape', 'lib/area.c', 'lib/name.c', 'lib/alone.c', include_directories: inc)
executable('shapes', 'app/main.cc', 'app/count.cc', include_directories: inc, link_with: shape)
"""
WRAPPED = {"CC": "manycc gcc", "CXX": "manycc g++"}
LAUNCHED = ["-DCMAKE_C_COMPILER_LAUNCHER=manycc", "-DCMAKE_CXX_COMPILER_LAUNCHER=manycc"]


@dataclass(frozen=True)
class Way:
    """How a build is set up and run; the same without manycc is the same without ``options`` and ``env``."""

    tool: str
    called_as: str
    setup: list[str]
    build: list[str]
    options: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    links_here: bool = False
    """Whether links, too, come to manycc."""


def cmake(generator: str) -> list[str]:
    return ["cmake", "-S", ".", "-B", "build", "-G", generator, "-DCMAKE_BUILD_TYPE=Debug"]


NINJA = ["ninja", "-d", "keepdepfile", "-C", "build"]
MAKE = ["make", "-j4", "-C", "build"]
WAYS = {
    "cmake-launcher-ninja": Way(
        "cmake", "`CMAKE_<LANG>_COMPILER_LAUNCHER=manycc`, Ninja", cmake("Ninja"), NINJA, tuple(LAUNCHED)
    ),
    "cmake-launcher-make": Way(
        "cmake", "`CMAKE_<LANG>_COMPILER_LAUNCHER=manycc`, Make", cmake("Unix Makefiles"), MAKE, tuple(LAUNCHED)
    ),
    "cmake-wrapped": Way(
        "cmake", '`CC="manycc gcc"`, Ninja', cmake("Ninja"), NINJA, env=tuple(WRAPPED.items()), links_here=True
    ),
    "cmake-both": Way(
        "cmake", '`CC="manycc gcc"` and the launcher, Ninja', cmake("Ninja"), NINJA, tuple(LAUNCHED),
        tuple(WRAPPED.items()), links_here=True,
    ),
    "meson-wrapped": Way(
        "meson", '`CC="manycc gcc"`', ["meson", "setup", "build"], NINJA, env=tuple(WRAPPED.items()), links_here=True
    ),
    "meson-native-file": Way(
        "meson", "native file `c = ['manycc', 'gcc']`", ["meson", "setup", "build"], NINJA,
        ("--native-file", "native.ini"), links_here=True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(session_folder: str) -> Iterator[Workshop]:
    with workshop(f"{session_folder}/g") as made:
        yield made


class Project:
    """The project in one folder, written anew for each test, and what comes of it without manycc."""

    def __init__(self, folder: Path, shop: Workshop) -> None:
        self.folder = folder
        self._shop = shop
        self._wanted: dict[tuple[str, ...], dict[str, str]] = {}

    def renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        write(self.folder, {**PROJECT, "CMakeLists.txt": CMAKE, "meson.build": MESON})
        (self.folder / "native.ini").write_text("[binaries]\nc = ['manycc', 'gcc']\ncpp = ['manycc', 'g++']\n")

    def wanted(self, way: Way) -> dict[str, str]:
        """What it builds in the same way without manycc, which is done once."""
        key = (*way.setup, *way.build)
        if key not in self._wanted:
            # Meson would take ccache where it finds one: this build must not.
            alone = {"CC": "gcc", "CXX": "g++"}
            self._shop.plain(way.setup, self.folder, alone)
            self._shop.plain(way.build, self.folder, alone)
            self._wanted[key] = products(self.folder / "build")
            self.renew()
        return self._wanted[key]


@pytest.fixture(scope="module")
def project(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("p") / "shapes", shop)


@pytest.mark.parametrize("name", WAYS)
def test_set_up_build_and_rebuild(shop: Workshop, project: Project, name: str) -> None:
    way = WAYS[name]
    need(way.tool, "ninja")
    project.renew()
    wanted = project.wanted(way)
    folder, build = project.folder, project.folder / "build"
    env = dict(way.env)
    setup = shop.run([*way.setup, *way.options], folder, env)
    setup.nothing_failed_over(but=["remote-error"])  # a question to which the answer is no
    built = shop.run(way.build, folder, env)
    built.nothing_failed_over()
    assert built.remote == SOURCES
    assert built.local == ({("not-compile", "neither -c nor -S"): 1} if way.links_here else {})
    same_products(wanted, {path: digest for path, digest in products(build).items() if path in wanted})
    report(way.tool, f"{way.called_as}: set up", [setup])
    report(way.tool, f"{way.called_as}: build", [built])

    assert shop.run(way.build, folder, env).records == []
    change(folder / "inc" / "unit.h")
    assert shop.run(way.build, folder, env).remote == USE_UNIT
    assert subprocess.run([build / "shapes"], capture_output=True, text=True, check=True).stdout == SAYS
