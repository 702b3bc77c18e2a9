"""clang through a real node: the files and words of a local compile, whatever format the object has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need


def find(name: str) -> str:
    """A clang on PATH, the plain name first; "" if there is none."""
    return next((found for found in (name, *(f"{name}-{n}" for n in range(25, 10, -1))) if shutil.which(found)), "")


CLANG, CLANGXX = find("clang"), find("clang++")
pytestmark = pytest.mark.skipif(
    not (CLANG and CLANGXX and shutil.which("bwrap")), reason="NOT TESTED: needs clang, bwrap"
)

C = """#include <stdio.h>
#include <string.h>
static int unused;
int counted(int *n) { return __atomic_fetch_add(n, 5, __ATOMIC_SEQ_CST); }
int f(int n) { char a[9]; memset(a, n, 9); printf("%d %s", a[n], __FILE__); return n; }
"""
CXX = """#include <vector>
#include <string>
int counted(int *n) { return __atomic_fetch_add(n, 5, __ATOMIC_SEQ_CST); }
int g(std::vector<std::string> v) { int unused; for (auto &s : v) s += "x"; return v.at(1).size(); }
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(str(tmp_path_factory.mktemp("c") / "c"), nodes=1) as made:
        yield made


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        os.path.relpath(path, folder): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("language", ["c", "c++"])
def test_another_target_leans_on_its_own_gcc(cluster: Cluster, tmp_path: Path, language: str) -> None:
    """Whether it is installed tells clang where C++ headers are, and whether libgcc has the atomic functions."""
    need("aarch64-linux-gnu-g++")
    test_the_files_and_words_of_a_local_compile(cluster, tmp_path, language, "--target=aarch64-linux-gnu -O2 -g")


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize(
    "flags",
    ["-O2 -g -Wall", "-flto", "-flto=thin -O2 -g", "-g -gsplit-dwarf", "-fsanitize=address -g", "-fsanitize=undefined",
     "-fsanitize=thread -O1", "--coverage", "-MMD -MP", "-save-temps", "-emit-llvm", "-fcolor-diagnostics -Wall"],
)  # fmt: skip
def test_the_files_and_words_of_a_local_compile(cluster: Cluster, tmp_path: Path, language: str, flags: str) -> None:
    driver, name = (CLANG, "a.c") if language == "c" else (CLANGXX, "a.cc")
    (tmp_path / name).write_text(C if language == "c" else CXX)
    (tmp_path / "obj").mkdir()
    argv = [driver, *flags.split(), "-c", name, "-o", "obj/a.o"]
    given = set(files(tmp_path))
    local = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=True)
    wanted = files(tmp_path)
    for path in set(wanted) - given:
        (tmp_path / path).unlink()
    before = len(cluster.records())
    done = cluster.compile(argv, str(tmp_path))
    record = cluster.wait_records(before + 1)[-1]
    assert record["reason"] == "remote", record
    assert (done.returncode, done.stdout, done.stderr) == (0, local.stdout, local.stderr)
    assert files(tmp_path) == wanted
