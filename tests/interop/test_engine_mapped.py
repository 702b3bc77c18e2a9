"""The agent as a client of a real engine whose workers run a job in some folder, not at the root."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.testing.casd import Casd
from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

pytest.importorskip("hpack", reason="NOT TESTED: hpack is not installed")

LIMIT_S = 120.0
WORKER = """#!/bin/sh
exec '{python}' -m manycc.testing.folderrun --cache='{folder}/cache' --rooms='{folder}/rooms' "$@"
"""
C_SOURCE = r"""
#include <assert.h>
#include <stdio.h>
#include "part.h"
static const char *const here = __FILE__;
int f(int x)
{
    assert(x > 1);
    return printf("%s %s %s %s", here, __BASE_FILE__, __builtin_FILE(), where()) + (int)sizeof(struct part);
}
"""
CXX_SOURCE = r"""
#include <algorithm>
#include <cassert>
#include <map>
#include <source_location>
#include <string>
#include <vector>
#include "part.h"
std::map<std::string, int> all;
const char *f(std::vector<int> &v, std::source_location at)
{
    assert(!v.empty());
    std::sort(v.begin(), v.end());
    all[where()] += v.at(3);
    return at.file_name() ? std::source_location::current().file_name() : "";
}
"""
HEADER = "struct part { int one; };\nstatic inline const char *where(void) { return __FILE__; }\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("gcc", "g++")
    folder = tmp_path_factory.mktemp("engine-without-paths")
    for name in ("cache", "rooms", "first"):
        (folder / name).mkdir()
    worker = folder / "worker"
    worker.write_text(WORKER.format(python=sys.executable, folder=folder))
    worker.chmod(0o755)
    with Casd(str(folder / "casd"), runner=str(worker)) as casd, Cluster(str(folder / "c"), nodes=0) as cluster:
        cluster.env |= {"MANYCC_HOSTS": f"{casd.host}&toolchain=input", "LC_ALL": "C"}
        for name, suffix in (("gcc", ".c"), ("g++", ".cc")):
            (folder / "first" / f"a{suffix}").write_text("int first;\n")
            end = time.monotonic() + LIMIT_S
            while time.monotonic() < end:  # while the trial is under way, jobs are done here
                if done(cluster, folder / "first", [name, "-c", f"a{suffix}"])["reason"] == "remote":
                    break
        yield cluster


def done(client: Cluster, folder: Path, argv: list[str]) -> dict[str, Any]:
    """Have a job done, and compare all that it writes and says with what the compiler does; its record."""
    seen = len(client.records())
    before = set(folder.rglob("*"))
    there = client.compile(argv, str(folder))
    new = [path for path in folder.rglob("*") if path not in before and path.is_file()]
    made = {path: path.read_bytes() for path in new}
    for path in new:
        path.unlink()
    here = subprocess.run(argv, cwd=folder, env=client.env, capture_output=True, check=False)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert made == {path: path.read_bytes() for path in folder.rglob("*") if path not in before and path.is_file()}
    for path in new:
        path.unlink()
    record: dict[str, Any] = client.wait_records(seen + 1)[seen]
    return record


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("include", "src", "build"):
        (tmp_path / name).mkdir()
    (tmp_path / "include" / "part.h").write_text(HEADER)
    (tmp_path / "src" / "a.c").write_text(C_SOURCE)
    (tmp_path / "src" / "b.cc").write_text(CXX_SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "source"),
    [
        ("gcc -O2", "a.c"),
        ("gcc -g3 -O0 -S", "a.c"),
        ("g++ -O1 -std=c++20", "b.cc"),
        ("g++ -g -O1 -ffunction-sections -std=c++20", "b.cc"),
    ],
)
def test_sources_by_absolute_names(client: Cluster, tree: Path, command: str, source: str) -> None:
    """As CMake calls compilers: every name is absolute, and so are those in debug information."""
    command += f" -I{tree}/include -MD -MT x.o -MF x.d -o x.o -c {tree}/src/{source}"
    record = done(client, tree / "build", command.split())
    assert (record["reason"], record["way"]) == ("remote", "shipped"), record


@pytest.mark.parametrize(
    ("command", "source"),
    [
        ("gcc -gdwarf-4 -I../include", "a.c"),
        ("gcc -isystem ../include -MD -MP", "a.c"),
        ("g++ -std=c++20 -I../include -MMD -MP", "b.cc"),
        ("g++ -g -gz -std=c++20 -pipe -iquote../include", "b.cc"),
        ("g++ -g -std=c++20 -isystem {tree}/include", "b.cc"),
    ],
)
def test_sources_by_relative_names(client: Cluster, tree: Path, command: str, source: str) -> None:
    """As Makefiles call them, with all kinds of folders for headers."""
    command = command.format(tree=tree) + f" -c ../src/{source} -o {tree}/build/x.o"
    record = done(client, tree / "build", command.split())
    assert record["reason"] == "remote", record


def test_messages(client: Cluster, tree: Path) -> None:
    (tree / "include" / "part.h").write_text(HEADER + "static int unused(void) { return 1; }\n")
    record = done(client, tree / "build", ["gcc", "-Wall", f"-I{tree}/include", "-c", f"{tree}/src/a.c"])
    assert record["reason"] == "remote", record


def test_what_cannot_be_the_same_is_done_here(client: Cluster, tree: Path) -> None:
    for option in ("-fsanitize=undefined", "-fstack-usage"):
        record = done(client, tree / "src", ["gcc", option, "-I../include", "-c", "a.c"])
        assert record["reason"] == "node-refused" and "its workers do not keep paths" in record["detail"], record


def test_a_file_of_the_workers_own_is_not_taken(client: Cluster, tree: Path) -> None:
    """Absolute names in a source lead to the worker's own files: what they lead to here counts."""
    part = tree / "include" / "part.h"
    (tree / "src" / "c.c").write_text(f'#include "{part}"\nstruct part p;\n')
    record = done(client, tree / "src", ["gcc", "-c", "c.c"])
    assert record["reason"] == "node-refused" and f"{part}, which is the worker's own" in record["detail"], record
    (tree / "src" / "d.c").write_text(f'__asm__(".incbin \\"{part}\\"");\n')
    record = done(client, tree / "src", ["gcc", "-c", "d.c"])
    assert record["reason"] == "node-refused" and f"{part}, which is the worker's own" in record["detail"], record


def test_questions_and_names_that_workers_would_answer_otherwise(client: Cluster, tree: Path) -> None:
    """Whether a file exists by its absolute name; what a header that calls itself a system header includes by ".."."""
    (tree / "src" / "f.c").write_text(f'#if __has_include("{tree}/include/part.h")\nint there;\n#endif\n')
    record = done(client, tree / "src", ["gcc", "-c", "f.c"])
    assert record["reason"] == "node-refused" and "whether a file exists" in record["detail"], record
    deep = tree / "src" / "d" / ("e" * 80 + str(tree).replace("/", "e"))
    deep.mkdir(parents=True)
    (deep / "g.h").write_text('#pragma GCC system_header\n#include "../../../include/part.h"\n')
    (tree / "src" / "g.c").write_text("#include <g.h>\nconst char *g(void) { return where(); }\n")
    record = done(client, tree / "src", ["gcc", f"-Id/{deep.name}", "-c", "g.c"])
    assert record["reason"] == "node-refused" and "shorter name" in record["detail"], record


def test_a_compile_that_fails(client: Cluster, tree: Path) -> None:
    (tree / "src" / "e.c").write_text("int e = missing;\n")
    record = done(client, tree / "src", ["gcc", "-c", "e.c"])
    assert record["reason"] == "remote-error", record
