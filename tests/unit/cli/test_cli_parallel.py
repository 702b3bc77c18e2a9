"""How many jobs a build tool is told to run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from manycc.cli.parallel import fill_in, make_has_jobs, ninja_has_jobs, told_jobs


@pytest.mark.parametrize(
    "words",
    ["-j4", "-j 4", "-j", "--jobs=4", "--jobs 4", "--jobs", "-kj4", "-C sub -j4", "-l2 -j4", "-k -O -j", "-sj",
     "all -j3", "-f Makefile -j3", "--directory sub -j3", "-fMakefile -j3", "--jobserver-auth=3,4"],
)  # fmt: skip
def test_make_was_told(words: str) -> None:
    assert make_has_jobs(words.split())


@pytest.mark.parametrize(
    "words",
    ["", "all", "-C j4", "-Cj4", "-f -j", "-fj", "-Ij -I -j", "-o -j", "-Oj", "-l 4", "--directory -j", "-k -s",
     "--output-sync", "-- -j4", "CFLAGS=-j4", "-E -j"],
)  # fmt: skip
def test_make_was_not_told(words: str) -> None:
    assert not make_has_jobs(words.split())


@pytest.mark.parametrize(
    ("flags", "told"), [("kj4", True), ("k", False), ("X=j4", False), ("w -j --jobserver-auth=3,4", True)]
)
def test_makeflags_may_lack_the_first_dash(flags: str, told: bool) -> None:
    assert make_has_jobs(flags.split(), flags=True) is told


@pytest.mark.parametrize("words", ["-j4", "-j 4", "-vj4", "-C sub -j4", "-t clean"])
def test_ninja_was_told(words: str) -> None:
    assert ninja_has_jobs(words.split())


@pytest.mark.parametrize("words", ["", "-C j4", "-Cj4", "-k 0", "-k0 all", "--verbose", "-l3", "-d stats", "-- -j4"])
def test_ninja_was_not_told(words: str) -> None:
    assert not ninja_has_jobs(words.split())


def test_each_tool_is_told_in_its_own_way() -> None:
    make = fill_in(["/usr/bin/make", "all"], {}, 7)
    assert (make.argv, make.env) == (["/usr/bin/make", "all"], {"MAKEFLAGS": "-j7"})
    ninja = fill_in(["ninja", "-C", "out"], {"MAKEFLAGS": "-j1"}, 7)
    assert (ninja.argv, ninja.env) == (["ninja", "-j7", "-C", "out"], {})
    other = fill_in(["cmake", "--build", "."], {}, 7)
    assert other.argv == ["cmake", "--build", "."]
    assert other.env == {"MAKEFLAGS": "-j7", "CMAKE_BUILD_PARALLEL_LEVEL": "7"}


def test_what_the_user_said_stays() -> None:
    assert fill_in(["make", "-j2"], {}, 7).env == {}
    assert fill_in(["make"], {"MAKEFLAGS": "kj2"}, 7).env == {}
    assert fill_in(["ninja", "-j2"], {}, 7).argv == ["ninja", "-j2"]
    assert fill_in(["./build.sh"], {"MAKEFLAGS": "-j2", "CMAKE_BUILD_PARALLEL_LEVEL": "3"}, 7).env == {}


@pytest.mark.parametrize("flags", ["", "k", "-k", "--no-print-directory", "k -s", "X=1", "k -- X=a\\ b", " "])
def test_make_itself_understands_the_flags(flags: str, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo '$(MAKEFLAGS)'\n")
    added = fill_in(["make"], {"MAKEFLAGS": flags}, 7).env
    done = subprocess.run(
        ["make", "-C", str(tmp_path), "--no-print-directory"], env=os.environ | added,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "-j7" in done.stdout.split()
    assert done.stdout.startswith("k") is ("k" in flags.replace("--no-print-directory", ""))
    assert ("X=" in done.stdout) is ("X=" in flags)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("command", "env", "jobs"),
    [
        ("make -j4 all", {}, 4),
        ("make -j 4", {"MAKEFLAGS": "-j9"}, 4),
        ("make all", {"MAKEFLAGS": "-j9 -k"}, 9),
        ("/usr/bin/make --jobs=12", {}, 12),
        ("make", {}, 0),
        ("make -j", {}, 0),
        ("make -- -j4", {}, 0),
        ("ninja -C out -j7", {"MAKEFLAGS": "-j9"}, 7),
        ("ninja", {"MAKEFLAGS": "-j9"}, 0),
        ("cmake --build out", {"CMAKE_BUILD_PARALLEL_LEVEL": "5", "MAKEFLAGS": "-j9"}, 5),
        ("cmake --build out --parallel 3", {"CMAKE_BUILD_PARALLEL_LEVEL": "5"}, 3),
        ("cmake --build out -- -j6", {"CMAKE_BUILD_PARALLEL_LEVEL": "5"}, 6),
        ("make -j99999999999", {}, 0),
        ("./build.sh -j3", {"MAKEFLAGS": "-j9"}, 0),
    ],
)
def test_how_many_jobs_a_tool_was_told(command: str, env: dict[str, str], jobs: int) -> None:
    assert told_jobs(command.split(), env) == jobs
