"""zig cc and zig c++ through a node that has no zig: it is sent there, and the objects are those of a compile here.

"Here" is zig with an empty cache: what it takes out of its cache need not be what it would write (0.13 takes an object
of the same source in another folder, with that folder's name in its debug information).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import sources

from manycc.testing.bare import make_bare, wait_decided
from manycc.testing.cluster import Cluster
from manycc.testing.requirements import lacking, need

GNU = ("-target", "x86_64-linux-gnu")
MUSL = ("-target", "aarch64-linux-musl")


class Made(NamedTuple):
    """All that a compile came to. ``files``: content and permissions by name."""

    code: int
    stderr: bytes
    files: dict[str, tuple[bytes, int]]


@pytest.fixture(scope="module")
def zig() -> str:
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        lacking("ziglang of PyPI not installed")
    return os.path.join(found.submodule_search_locations[0], "zig")


@pytest.fixture(scope="module")
def cluster(zig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = str(tmp_path_factory.mktemp("zig"))
    own = {"PATH": f"{os.path.dirname(zig)}:{os.environ['PATH']}", "MANYCC_VERIFY": "1/1"}
    one = Cluster(folder, nodes=1, env=own)
    try:
        env = make_bare(one.nodes[0], f"{folder}/machine", [os.path.dirname(zig)])
        one.nodes[0].start(env)
        one.env["MANYCC_HOSTS"] = one.nodes[0].host
        yield one
    finally:
        one.close()


@pytest.fixture
def ready(cluster: Cluster, tmp_path: Path) -> Cluster:
    """Once the node has been sent zig."""
    assert wait_decided(cluster, "zig") == "can: the compiler of this machine was sent there"
    (tmp_path / "a.h").write_text("#define A 3\n")
    (tmp_path / "a.c").write_text('#include <stdio.h>\n#include "a.h"\nint f(void) { return printf("%ld\\n", A); }\n')
    (tmp_path / "b.cc").write_text("#include <vector>\nint g(int n) { return (int)std::vector<int>(n, 1).size(); }\n")
    return cluster


def taken(folder: Path, names: Sequence[str]) -> dict[str, tuple[bytes, int]]:
    """The files of these names, which are removed."""
    found = {}
    for name in names:
        path = folder / name
        if path.exists():
            found[name] = (path.read_bytes(), path.stat().st_mode)
            path.unlink()
    return found


def here(cluster: Cluster, argv: Sequence[str], folder: Path, names: Sequence[str], cache: Path) -> Made:
    env = {**cluster.env, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(cache)}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, timeout=100, check=False)
    return Made(done.returncode, done.stderr, taken(folder, names))


def through(
    cluster: Cluster, argv: Sequence[str], folder: Path, names: Sequence[str]
) -> tuple[Made, dict[str, object]]:
    count = len(cluster.records())
    done = cluster.compile(argv, str(folder))
    record = cluster.wait_records(count + 1)[-1]
    return Made(done.returncode, done.stderr, taken(folder, names)), record


@pytest.mark.parametrize(
    "argv",
    [
        ("zig", "cc", *GNU, "-g", "-O2", "-MD", "-Wall", "-c", "a.c", "-o", "a.o"),
        ("zig", "cc", *MUSL, "-g", "-c", "a.c", "-o", "a.o", "-MMD", "-MF", "a.d", "-MT", "x"),
        ("zig", "c++", *GNU, "-g", "-O1", "-c", "b.cc", "-o", "a.o"),
        ("zig", "cc", *GNU, "-flto", "-O2", "-c", "a.c", "-o", "a.o"),
        ("zig", "cc", *GNU, "-mcpu=x86_64_v3", "-O2", "-c", "a.c", "-o", "a.o"),
    ],
    ids=lambda argv: " ".join(argv[1:]),
)
def test_same_bytes(ready: Cluster, tmp_path: Path, argv: tuple[str, ...]) -> None:
    names = ("a.o", "a.d")
    made, record = through(ready, argv, tmp_path, names)
    assert (record["reason"], record["way"]) == ("remote", "shipped")
    assert "a.o" in made.files and made == here(ready, argv, tmp_path, names, tmp_path / "cache")
    assert through(ready, argv, tmp_path, names)[1]["reason"] == "cached"


def test_verified_in_an_empty_cache(ready: Cluster, tmp_path: Path) -> None:
    argv = ("zig", "cc", *GNU, "-DVERIFIED", "-g", "-c", "a.c", "-o", "a.o")
    made, record = through(ready, argv, tmp_path, ())
    assert made.code == 0 and record["reason"] == "remote"
    said = ready.cli("verify", "--waiting").stdout
    assert " 0 different" in said and " 0 equal" not in said, said


def test_whole_sources(ready: Cluster, tmp_path: Path) -> None:
    folder = Path(sources.unpack("lua5.4", str(tmp_path / "lua")), "src")
    names = sorted(path.name for path in folder.glob("*.c"))
    if not os.environ.get("MANYCC_TEST_LONG"):
        names = names[::12]
    for name in names:
        argv, made = ("zig", "cc", *GNU, "-O1", "-g", "-c", name), (name[:-1] + "o",)
        got, record = through(ready, argv, folder, made)
        assert (record["reason"], record["way"]) == ("remote", "shipped")
        assert got.files and got == here(ready, argv, folder, made, tmp_path / "cache"), name


def test_an_error_is_told_by_the_zig_here(ready: Cluster, tmp_path: Path) -> None:
    """zig tells of troubles with its cache as it tells of those with a source."""
    (tmp_path / "a.c").write_text("int f( {\n")
    argv = ("zig", "cc", *GNU, "-c", "a.c", "-o", "a.o")
    made, record = through(ready, argv, tmp_path, ("a.o",))
    assert record["reason"] == "remote-error"
    assert made.code == 1 and made == here(ready, argv, tmp_path, ("a.o",), tmp_path / "cache")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("cc", "-c", "a.c"), "native-target"),
        (("cc", "-target", "x86_64-windows-gnu", "-c", "a.c"), "local-option"),
        (("version",), "not-compile"),
    ],
)
def test_what_stays(ready: Cluster, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    made, record = through(ready, ("zig", *words), tmp_path, ("a.o",))
    assert made.code == 0 and record["reason"] == reason
    if reason == "native-target":
        said = ready.cli("explain", "--", "zig", *words, cwd=str(tmp_path), check=False).stdout
        assert "name the target, such as -target x86_64-linux-gnu" in said


def test_other_names(ready: Cluster, zig: str, tmp_path: Path) -> None:
    """What takes its first word for a driver's name is told by its own name; a link that hides it is not followed."""
    need("gcc")
    os.symlink(zig, tmp_path / "clang")
    os.symlink(str(shutil.which("gcc")), tmp_path / "zig")
    for name in ("clang", "zig"):
        record = through(ready, (f"./{name}", "cc", *GNU, "-c", "a.c"), tmp_path, ("a.o",))[1]
        assert record["reason"] in ("not-a-compiler", "bad-command"), record


def test_what_the_tools_say(ready: Cluster, zig: str) -> None:
    table = ready.cli("toolchain", "match", ready.nodes[0].host, "zig").stdout
    assert zig in table and "sent there" in table
    assert "(zig 0." in ready.cli("toolchain", "list").stdout
    assert "it compiles" in ready.cli("toolchain", "verify", "zig", check=False).stdout
