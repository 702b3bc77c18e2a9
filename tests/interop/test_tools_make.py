"""Make: recursive, through a folder of compilers' names in PATH, and as the Linux kernel uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kbuild_tree
import pytest
from tools import PROJECT, SAYS, SOURCES, USE_UNIT, Workshop, change, products, report, same_products, workshop, write

CHOST = "x86_64-pc-linux-gnu"
"""As Gentoo and Arch call it; the machine's own compiler, by names that only a folder of the test has."""

TOP = """\
export CFLAGS = -g -I$(CURDIR)/inc -MMD
all: program
library: ; $(MAKE) -C lib
program: library ; $(MAKE) -C app
clean: ; $(MAKE) -C lib clean; $(MAKE) -C app clean
.PHONY: all library program clean
"""
LIB = """\
libshape.a: area.o name.o alone.o ; ar rcD $@ $^
clean: ; rm -f *.o *.d *.a
-include area.d name.d alone.d
"""
APP = """\
CXXFLAGS = $(CFLAGS)
shapes: main.o count.o ../lib/libshape.a ; $(CXX) -o $@ $^
clean: ; rm -f *.o *.d shapes
-include main.d count.d
"""


@pytest.fixture(scope="module")
def shop(session_folder: str) -> Iterator[Workshop]:
    with workshop(f"{session_folder}/k") as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "p", {**PROJECT, "Makefile": TOP, "lib/Makefile": LIB, "app/Makefile": APP})
    return tmp_path / "p"


@pytest.fixture
def chost(tmp_path: Path) -> str:
    """A folder with the compilers by their prefixed names, as on the systems that use such."""
    folder = tmp_path / "usr" / "bin"
    folder.mkdir(parents=True)
    for name in ("gcc", "g++", "cc", "c++"):
        os.symlink(os.path.realpath(shutil.which(name) or ""), folder / f"{CHOST}-{name}")
    return str(folder)


@pytest.mark.parametrize(
    ("called_as", "words"),
    [
        ('`make CC="manycc gcc"`, recursive', ["CC=manycc gcc", "CXX=manycc g++"]),
        ('`make CC="distcc gcc"`, recursive', ["CC=distcc gcc", "CXX=distcc g++"]),
        ("folder in PATH; `cc`, `g++`", []),
        (f"folder in PATH; `{CHOST}-gcc`", [f"CC={CHOST}-gcc", f"CXX={CHOST}-g++"]),
    ],
)
def test_recursive_make(shop: Workshop, project: Path, chost: str, called_as: str, words: list[str]) -> None:
    make = ["make", "-j4"]
    path = f"{chost}:{shop.env['PATH']}"
    plain = [word.replace("manycc ", "").replace("distcc ", "") for word in words]
    shop.plain([*make, *plain], project, {"PATH": path})
    wanted = products(project)
    shop.plain([*make, "clean"], project)

    if "distcc" in called_as:
        path = f"{shop.cluster.cli('compat', '--path').stdout.strip()}:{path}"
    if "folder" in called_as:
        with_chost = {**shop.env, "PATH": path}
        made = subprocess.run(["manycc", "masquerade"], env=with_chost, capture_output=True, text=True, check=True)
        path = f"{made.stdout.strip()}:{path}"
    env = {"PATH": path}
    built = shop.run([*make, *words], project, env)
    assert built.stderr == ""  # neither manycc's words nor make's "jobserver unavailable"
    assert built.remote == SOURCES
    assert built.local == {("not-compile", "neither -c nor -S"): 1}
    same_products(wanted, products(project))
    report("make", called_as, [built])

    assert shop.run([*make, *words], project, env).records == []
    change(project / "inc" / "unit.h")
    assert shop.run([*make, *words], project, env).remote == USE_UNIT
    assert subprocess.run([project / "app/shapes"], capture_output=True, text=True, check=True).stdout == SAYS


def test_kernel_style(shop: Workshop, tmp_path: Path) -> None:
    tree = tmp_path / "linux"
    kbuild_tree.make(tree)
    plain = shop.plain(["make", "-s", "-j4"], tree)
    wanted = products(tree)
    assert len(wanted) > 100 and (tree / "include/generated/asm-offsets.h").read_text().count("#define") == 2
    shutil.rmtree(tree)
    kbuild_tree.make(tree)

    words = ["make", "-s", "-j8", "CC=manycc gcc", "HOSTCC=manycc gcc"]
    built = shop.run(words, tree)
    assert (built.stdout, built.stderr) == (plain.stdout, plain.stderr)
    same_products(wanted, products(tree))
    compiles = kbuild_tree.FILES * len(kbuild_tree.SUBSYSTEMS) + 1
    assert len(built.remote) == compiles  # the C files, and head.S
    assert built.local == {
        ("not-compile", "-print-file-name=plugin"): 1,
        ("preprocess-only", "-E"): 1,
        ("not-compile", "the source is /dev/null"): 1,
        ("unknown-option", "-mno-such-option-exists"): 1,
        ("not-compile", "compiles and links at once"): 1,  # the host program
        ("local-option", "-fverbose-asm with assembly that is kept"): 1,  # it would hold the node's paths
    }
    report("make", "kernel style: `CC` and `HOSTCC`", [built])

    change(tree / "mm" / "local.h")
    assert shop.run(words, tree).remote == sorted(f"mm_{number}.c" for number in range(kbuild_tree.FILES))
    change(tree / "include" / "linux" / "sched.h")
    again = shop.run(words, tree)
    assert len(again.remote) >= compiles - 1
    assert again.reasons["local-option"] == 1
