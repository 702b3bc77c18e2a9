"""The real source trees that ``trees`` builds, as data.

Every command is an argument vector. In its words, and in the values of ``env``, ``{flags}`` stands for the
variant's compiler options, ``{manycc}`` for the launcher, ``{python}`` for this Python.
"""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tree:
    """How a package is built: ``configure``, then ``build``, each command in the unpacked folder."""

    package: str
    """A source package of Debian's, or ``pypi:NAME==VERSION``."""
    kind: str
    """Language and build system, for the table."""
    build: list[list[str]]
    configure: list[list[str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    configure_remotely: bool = False
    """Whether the configure step, too, runs through manycc: its trial compiles must come out as they do here."""
    needs: tuple[str, ...] = ()
    """Programs and files without which it cannot be built."""
    also: tuple[str, ...] = ()
    """Further variants worth building when all are: compiler options that write files beside the objects."""


_AUTOCONF = {"CC": "{manycc} gcc", "CXX": "{manycc} g++", "CFLAGS": "-O2 {flags}", "CXXFLAGS": "-O2 {flags}"}
_NINJA = ["ninja", "-d", "keepdepfile", "-C", "build"]
_CMAKE = ["cmake", "-S", ".", "-B", "build", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_C_FLAGS={flags}",
          "-DCMAKE_CXX_FLAGS={flags}"]  # fmt: skip
_LAUNCHER = ["-DCMAKE_C_COMPILER_LAUNCHER={manycc}", "-DCMAKE_CXX_COMPILER_LAUNCHER={manycc}"]
_NO_GIT_EXTRAS = ["NO_OPENSSL=1", "NO_CURL=1", "NO_EXPAT=1", "NO_GETTEXT=1", "NO_TCLTK=1", "NO_PERL=1", "NO_PYTHON=1"]
_RE2_TABLES = [
    # Debian's archive leaves the generated tables out; they are made from Debian's unicode-data.
    "sed", "-i", "-e", 's#https://www.unicode.org[^"]*#/usr/share/unicode#',
    "-e", "s#from six.moves import urllib#import urllib.request#", "re2/unicode.py",
]  # fmt: skip

# The small ones first: whoever runs them all sees a fault early.
TREES = {
    "lua5.4": Tree(
        "lua5.4", "C, make", [["make", "-C", "src", "linux", "MYCFLAGS={flags}"]], also=("-g3 -fstack-usage",)
    ),
    "zlib": Tree(
        "zlib",
        "C, own configure",
        [["make"]],
        configure=[["./configure"]],
        env={"CC": "{manycc} gcc", "CFLAGS": "-O3 {flags}"},
        configure_remotely=True,
    ),
    "jsoncpp": Tree(
        "libjsoncpp",
        "C++, Meson",
        [_NINJA],
        configure=[["meson", "setup", "build", "--buildtype=plain"]],
        env={"CXX": "{manycc} g++", "CXXFLAGS": "-O2 {flags}"},
        configure_remotely=True,
        needs=("meson", "ninja"),
    ),
    "libpng": Tree(
        "libpng1.6",
        "C, autotools, libtool",
        [["make"]],
        configure=[["./configure"]],
        env=_AUTOCONF,
        configure_remotely=True,
        needs=("/usr/include/zlib.h",),
    ),
    "sed": Tree(
        "sed",
        "C, autotools",
        [["make"]],
        configure=[["./configure", "--disable-nls"]],
        env={**_AUTOCONF, "FORCE_UNSAFE_CONFIGURE": "1"},
        configure_remotely=True,
    ),
    "re2": Tree(
        "re2",
        "C++, make",
        [["make", "obj/libre2.a", "REBUILD_TABLES=1", "CXXFLAGS=-O3 {flags}"]],
        configure=[_RE2_TABLES],
        needs=("perl", "/usr/share/unicode/Scripts.txt"),
        also=("--coverage -frandom-seed=1",),  # else each .gcno holds a random number
    ),
    "pycryptodome": Tree(
        "pypi:pycryptodome==3.20.0",
        "C, setup.py",
        [["{python}", "setup.py", "-q", "build_ext", "-j", "4"]],
        env={"CC": "{manycc} gcc", "CFLAGS": "{flags}"},
        needs=(os.path.join(sysconfig.get_path("include"), "Python.h"),),
    ),
    "leveldb": Tree(
        "leveldb",
        "C++, CMake, make, clang",
        [["make", "-C", "build"]],
        configure=[[*_CMAKE, "-DLEVELDB_BUILD_TESTS=OFF", "-DLEVELDB_BUILD_BENCHMARKS=OFF"]],
        env={"CC": "{manycc} clang-14", "CXX": "{manycc} clang++-14"},
        configure_remotely=True,
        needs=("cmake", "clang-14"),
        # gcc 12's own are not reproducible: their ids depend on the addresses its memory happens to have.
        also=("-g -gsplit-dwarf",),
    ),
    "fontforge": Tree(
        "fontforge",
        "C, CMake, ninja",
        [_NINJA],
        configure=[
            [
                *_CMAKE,
                *_LAUNCHER,
                "-G",
                "Ninja",
                "-DENABLE_GUI=OFF",
                "-DENABLE_PYTHON_SCRIPTING=OFF",
                "-DENABLE_PYTHON_EXTENSION=OFF",
                "-DENABLE_DOCS=OFF",
            ]
        ],
        needs=("cmake", "ninja", "pkg-config"),
    ),
    "gmp": Tree(
        "gmp",
        "C, C++ and assembler by m4, autotools, libtool",
        [["make"]],
        # Debian's archive leaves the manual out.
        configure=[["sh", "-c", "mkdir doc && echo all: >doc/Makefile.in"], ["./configure", "--enable-cxx"]],
        env=_AUTOCONF,
        configure_remotely=True,
        needs=("m4",),
    ),
    "libzstd": Tree(
        "libzstd",
        "C and assembler, make",
        [["make", "-C", "programs", "zstd", "V=1"]],
        env={"CC": "{manycc} gcc", "MOREFLAGS": "{flags}"},
    ),
    "redis": Tree(
        "redis",
        "C, make",
        [["make", "MALLOC=libc", "OPTIMIZATION=-O2", "DEBUG={flags}", "REDIS_CFLAGS=", "V=1"]],
    ),
    "busybox": Tree(
        "busybox",
        "C, kbuild",
        [["make", "V=1", "EXTRA_CFLAGS={flags}", "busybox"]],
        configure=[["make", "defconfig"]],
        configure_remotely=True,
    ),
    "git": Tree(
        "git",
        "C, make",
        [["make", "V=1", *_NO_GIT_EXTRAS, "CFLAGS=-O0 {flags}", "git"]],
        needs=("/usr/include/zlib.h",),
    ),
    "musl": Tree(
        "musl",
        "C and assembler, own configure",
        [["make"]],
        configure=[["./configure"]],
        env={"CC": "{manycc} gcc", "CFLAGS": "{flags}"},
        configure_remotely=True,
    ),
    "harfbuzz": Tree(
        "harfbuzz",
        "C++, Meson",
        [_NINJA],
        configure=[["meson", "setup", "build", "--buildtype=plain", "--auto-features=disabled", "-Dtests=disabled"]],
        env={"CC": "{manycc} gcc", "CXX": "{manycc} g++", "CFLAGS": "-O0 {flags}", "CXXFLAGS": "-O0 {flags}"},
        configure_remotely=True,
        needs=("meson", "ninja"),
    ),
}
