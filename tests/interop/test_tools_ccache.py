"""ccache before manycc, behind it, and both as folders in PATH: what is sent, what is cached, and that it ends."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools import PROJECT, SAYS, SOURCES, USE_UNIT, Workshop, change, products, report, same_products, workshop, write

from manycc.testing.requirements import need

MESON = """\
project('shapes', 'c', 'cpp')
inc = include_directories('inc')
shape = static_library('shape', 'lib/area.c', 'lib/name.c', 'lib/alone.c', include_directories: inc)
executable('shapes', 'app/main.cc', 'app/count.cc', include_directories: inc, link_with: shape)
"""
MAKEFILE = """\
LIB = lib/area.o lib/name.o lib/alone.o
APP = app/main.o app/count.o
CC = gcc
CXX = g++
CFLAGS = -g -Iinc -MMD -MP
shapes: $(LIB) $(APP)
\t$(CXX) -o $@ $(APP) $(LIB)
%.o: %.c
\t$(CC) $(CFLAGS) -c $< -o $@
%.o: %.cc
\t$(CXX) $(CFLAGS) -c $< -o $@
clean:
\trm -f $(LIB) $(APP) shapes
-include $(LIB:.o=.d) $(APP:.o=.d)
"""


@pytest.fixture(scope="module")
def shop(session_folder: str) -> Iterator[Workshop]:
    need("ccache", "/usr/lib/ccache/gcc")
    with workshop(f"{session_folder}/h") as made:
        yield made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "p", {**PROJECT, "Makefile": MAKEFILE})
    return tmp_path / "p"


def folders(shop: Workshop, *order: str) -> str:
    """A PATH that begins with these folders."""
    known = {"manycc": shop.cluster.cli("masquerade").stdout.strip(), "ccache": "/usr/lib/ccache"}
    return ":".join([*(known[name] for name in order), shop.env["PATH"]])


WRAPPED = ["CC=ccache gcc", "CXX=ccache g++"]
LINK = {"not-compile": 1}
WAYS = {
    "CCACHE_PREFIX": (WRAPPED, (), "manycc", LINK, LINK),
    "prefix_command": (WRAPPED, (), "file", LINK, LINK),
    "cached-by-folder": ([], ("ccache",), "manycc", LINK, LINK),
    "behind-with-prefix": (
        ["CC=manycc ccache gcc", "CXX=manycc ccache g++"], (), "manycc",
        {**LINK, "compiler-wrapper": 6}, {**LINK, "compiler-wrapper": 6},
    ),
    "folders-ccache-first": ([], ("ccache", "manycc"), "", {**LINK, "preprocess-only": 5}, LINK),
    "folders-manycc-first": (
        [], ("manycc", "ccache"), "",
        {"preprocess-only": 5, "compiler-wrapper": 5, "not-compile": 2}, {"compiler-wrapper": 5, "not-compile": 2},
    ),
}  # fmt: skip
"""Words for make; folders first in PATH; the prefix; why what stays here does, in a build and in one from cache."""


@pytest.mark.parametrize("name", WAYS)
def test_misses_are_sent_and_hits_are_not(shop: Workshop, project: Path, name: str) -> None:
    words, order, prefix, misses, hits = WAYS[name]
    make = ["make", "-s", "-j4"]
    shop.plain(make, project)
    wanted = products(project)
    shop.plain([*make, "clean"], project)

    env = {"CCACHE_DIR": str(project.parent / "ccache"), "PATH": folders(shop, *order)}
    if prefix == "file":
        write(project.parent / "ccache", {"ccache.conf": "prefix_command = manycc\n"})
    elif prefix:
        env["CCACHE_PREFIX"] = prefix
    built = shop.run([*make, *words], project, env)
    assert built.stderr == ""
    assert built.remote == SOURCES
    assert built.reasons == misses
    same_products(wanted, products(project))
    report("ccache", f"{CALLED[name]}", [built])

    shop.run([*make, "clean"], project, env)
    again = shop.run([*make, *words], project, env)
    assert again.remote == []
    assert again.reasons == hits
    same_products(wanted, products(project))

    change(project / "inc" / "unit.h")
    assert shop.run([*make, *words], project, env).remote == USE_UNIT
    assert subprocess.run(["./shapes"], cwd=project, capture_output=True, text=True, check=True).stdout == SAYS


CALLED = {
    "CCACHE_PREFIX": '`CC="ccache gcc"`, `CCACHE_PREFIX=manycc`',
    "prefix_command": '`CC="ccache gcc"`, `prefix_command = manycc`',
    "cached-by-folder": "`/usr/lib/ccache` first in PATH, `CCACHE_PREFIX=manycc`",
    "behind-with-prefix": '`CC="manycc ccache gcc"`, `CCACHE_PREFIX=manycc`',
    "folders-ccache-first": "ccache's folder, then manycc's in PATH",
    "folders-manycc-first": "manycc's folder, then ccache's in PATH",
}


def test_behind_manycc_without_a_prefix_all_is_done_here(shop: Workshop, project: Path) -> None:
    """Then ccache runs the compiler itself: right, cached, and the reason's hint says what to set."""
    env = {"CCACHE_DIR": str(project.parent / "ccache")}
    words = ["make", "-s", "-j4", "CC=manycc ccache gcc", "CXX=manycc ccache g++"]
    built = shop.run(words, project, env)
    assert (built.remote, built.reasons) == ([], {"compiler-wrapper": 6})
    report("ccache", '`CC="manycc ccache gcc"`, no prefix', [built])
    for record in built.records:
        assert record["detail"] == "ccache"
    explained = shop.cluster.cli("explain", "--", "ccache", "gcc", "-c", "lib/alone.c", check=False, cwd=project)
    assert "CCACHE_PREFIX=manycc" in explained.stdout


def test_a_wrapper_holds_no_slot_while_its_compile_is_elsewhere(shop: Workshop, tmp_path: Path) -> None:
    """One local slot, four compiles that wait for each other, each asked for by a ccache that runs here."""
    count = 4
    gate = tmp_path / "gate"
    gate.mkdir()
    (tmp_path / "Makefile").write_text(f"all: {' '.join(f'{n}.o' for n in range(count))}\n")
    wrapper = tmp_path / "sccache"  # by its name; it waits until all others have come as far
    wrapper.write_text(
        f'#!/bin/bash\nfor word; do source=$word; done\nmanycc "$@" || exit\ntouch {gate}/$source\n'
        f"until [ $(ls {gate} | wc -l) = {count} ]; do read -t 0.1 nothing <>{gate}/../fifo; done\nexit 0\n"
    )
    wrapper.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    for number in range(count):
        (tmp_path / f"{number}.c").write_text(f"int waited_{number};\n")
    env = {"MANYCC_DIR": str(tmp_path / "m"), "MANYCC_LOCAL_SLOTS": "1", "PATH": f"{tmp_path}:{shop.env['PATH']}"}
    try:
        done = subprocess.run(
            ["make", "-s", f"-j{count}", "CC=manycc sccache gcc"], cwd=tmp_path, env={**shop.env, **env},
            capture_output=True, timeout=100, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    finally:
        subprocess.run(["manycc", "agent", "stop"], env={**shop.env, **env}, stdout=subprocess.DEVNULL, check=False)
    lines = (tmp_path / "m" / "state" / "jobs.jsonl").read_text().splitlines()
    reasons = Counter(line.partition('"reason":"')[2].partition('"')[0] for line in lines)
    assert reasons == {"remote": count, "compiler-wrapper": count}


def test_meson_takes_ccache_by_itself(shop: Workshop, tmp_path: Path) -> None:
    """Where no compiler is named. It looks for no distcc: a prefix of ccache's is the way."""
    need("meson", "ninja", "distcc")
    write(tmp_path, {**PROJECT, "meson.build": MESON})
    setup = shop.run(["meson", "setup", "-Dbuildtype=debug", "build"], tmp_path)
    assert setup.records == []
    commands = (tmp_path / "build" / "compile_commands.json").read_text()
    assert commands.count('"command": "ccache c') == len(SOURCES) and "distcc" not in commands
    shop.plain(["ninja", "-C", "build"], tmp_path, {"CCACHE_DISABLE": "1"})
    wanted = products(tmp_path / "build")
    shop.plain(["ninja", "-C", "build", "-t", "clean"], tmp_path)
    env = {"CCACHE_DIR": str(tmp_path / "ccache"), "CCACHE_PREFIX": "manycc"}
    built = shop.run(["ninja", "-d", "keepdepfile", "-C", "build"], tmp_path, env)
    assert (built.remote, built.reasons) == (SOURCES, {})
    same_products(wanted, {path: digest for path, digest in products(tmp_path / "build").items() if path in wanted})
    report("meson", "no `CC`: takes ccache by itself, `CCACHE_PREFIX=manycc`", [built])
    shop.plain(["ninja", "-C", "build", "-t", "clean"], tmp_path)
    assert shop.run(["ninja", "-C", "build"], tmp_path, env).records == []
