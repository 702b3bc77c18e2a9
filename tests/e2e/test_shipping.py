"""Toolchains sent to a node without any compiler: whole builds there, to the same bytes, and nothing sent twice."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import shipping
import sources

from manycc.testing.bare import make_bare, sent, wait_decided
from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need


def clang() -> str:
    """A clang on PATH; "" if there is none."""
    names = ("clang", *(f"clang-{number}" for number in range(25, 10, -1)))
    return next((found for name in names if (found := shutil.which(name))), "")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A client with its compilers, and a node on a machine that has none."""
    need("gcc", "g++", "make")
    folder = str(tmp_path_factory.mktemp("bare"))
    cluster = Cluster(folder, nodes=1)
    try:
        env = make_bare(cluster.nodes[0], f"{folder}/machine")
        cluster.nodes[0].start(env)
        cluster.env["MANYCC_HOSTS"] = cluster.nodes[0].host
        yield cluster
    finally:
        cluster.close()


def wait_sent(cluster: Cluster, driver: str) -> None:
    """Wait until the node serves a compiler."""
    assert wait_decided(cluster, driver) == "can: the compiler of this machine was sent there"


def objects(folder: str) -> dict[str, str]:
    """The digest of each object below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).rglob("*.o")
    }


def test_jobs_are_done_here_until_the_compiler_has_come(bare: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#include <stdio.h>\nint f(void) { return puts(__FILE__); }\n")
    done = bare.compile(["gcc", "-g", "-c", "a.c"], str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    (first,) = bare.wait_records(1)
    assert first["reason"] == "no-toolchain" and "its compiler is" in first["detail"] and "way" not in first
    wait_sent(bare, "gcc")
    here = (tmp_path / "a.o").read_bytes()
    assert bare.compile(["gcc", "-g", "-c", "a.c"], str(tmp_path)).returncode == 0
    second = bare.wait_records(2)[-1]
    assert (second["reason"], second["way"]) == ("remote", "shipped")
    assert (tmp_path / "a.o").read_bytes() == here
    status = bare.cli("status").stdout
    assert "(shipped)" in status
    log = Path(bare.client, "state", "agent.log").read_text()
    assert re.search(r"serves gcc .* which was sent there in [\d.]+ s: \d+ MiB, \d+ MiB on the wire", log)


def test_a_second_driver_brings_only_what_is_new(bare: Cluster, tmp_path: Path) -> None:
    wait_sent(bare, "gcc")
    wait_sent(bare, "g++")
    (tmp_path / "a.cc").write_text("#include <vector>\nint g(std::vector<int> v) { return v.at(1); }\n")
    subprocess.run(["g++", "-g", "-c", "a.cc", "-o", "here.o"], cwd=tmp_path, check=True)
    before = len(bare.records())
    assert bare.compile(["g++", "-g", "-c", "a.cc", "-o", "there.o"], str(tmp_path)).returncode == 0
    assert bare.wait_records(before + 1)[-1]["way"] == "shipped"
    assert (tmp_path / "here.o").read_bytes() == (tmp_path / "there.o").read_bytes()
    (_, files, _, size, whole) = sent(bare)[-1]
    assert files == 1 and size < whole // 10


def test_lua_is_built_by_a_machine_without_a_compiler(bare: Cluster, tmp_path: Path) -> None:
    folder = str(Path(sources.unpack("lua5.4", str(tmp_path / "lua")), "src"))
    make = ["make", "-C", folder, "-j2", "linux", "MYCFLAGS=-g -O0"]
    subprocess.run([*make, "CC=gcc -std=gnu99"], check=True, capture_output=True)
    here = objects(folder)
    subprocess.run(["make", "-C", folder, "clean"], check=True, capture_output=True)
    wait_sent(bare, "gcc")
    before = len(bare.records())
    subprocess.run([*make, f"CC={bare.launcher} gcc -std=gnu99"], env=bare.env, check=True, capture_output=True)
    assert len(here) > 30 and objects(folder) == here
    records = [record for record in bare.wait_records(before + len(here))[before:] if record.get("out")]
    assert {(record["reason"], record["way"]) for record in records} == {("remote", "shipped")}
    assert len(records) == len(here)


def test_clang_is_sent_with_its_resources(bare: Cluster, tmp_path: Path) -> None:
    compiler = clang()
    need(compiler or "clang")
    (tmp_path / "a.c").write_text("#include <string.h>\nint f(char *a) { return (int)strlen(a); }\n")
    wait_sent(bare, compiler)
    command = [compiler, "-g", "-O1", "-fsanitize=undefined", "-c", "a.c", "-o"]
    before = len(bare.records())
    done = bare.compile([*command, "there.o"], str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    record = bare.wait_records(before + 1)[-1]
    assert (record["reason"], record["way"]) == ("remote", "shipped")
    subprocess.run([*command, "here.o"], cwd=tmp_path, check=True)
    assert (tmp_path / "here.o").read_bytes() == (tmp_path / "there.o").read_bytes()


def test_what_was_sent_serves_others_and_outlives_the_node(bare: Cluster, tmp_path: Path) -> None:
    wait_sent(bare, "gcc")
    node = bare.nodes[0]
    assert node.stop() == 0
    node.start({"PATH": f"{bare.folder}/machine/bin", "HOME": "/nonexistent"})
    other = Cluster(str(tmp_path / "other"), nodes=0, env={"MANYCC_HOSTS": node.host})
    try:
        os.makedirs(other.folder, exist_ok=True)
        wait_sent(other, "gcc")
        assert sent(other) == []
        (tmp_path / "a.c").write_text("int served_at_once;\n")
        assert other.compile(["gcc", "-c", "a.c"], str(tmp_path)).returncode == 0
        assert other.records()[-1]["way"] == "shipped"
    finally:
        other.close()


@pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
@pytest.mark.timeout(1200)
def test_whole_trees(tmp_path: Path) -> None:
    need("gcc", "g++", "make")
    for name, _, made, different, share in shipping.build(str(tmp_path / "trees"), ["re2", "redis"]):
        assert (made > 20, different, share) == (True, 0, "100 %"), name


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--toolchains", "installed-only"], "this node serves installed compilers only (toolchains = installed-only)"),
        (["--sandbox", "off"], "toolchains are only sent to nodes that can seal jobs, and this one cannot"),
    ],
    ids=["forbidden", "unsealed"],
)
def test_nodes_that_take_none(tmp_path: Path, arguments: list[str], why: str) -> None:
    need("gcc")
    folder = str(tmp_path / "c")
    cluster = Cluster(folder, nodes=1, arguments=arguments)
    try:
        cluster.nodes[0].start(make_bare(cluster.nodes[0], f"{folder}/machine"))
        cluster.env["MANYCC_HOSTS"] = cluster.nodes[0].host
        (tmp_path / "a.c").write_text("int forbidden;\n")
        assert cluster.compile(["gcc", "-c", "a.c"], str(tmp_path)).returncode == 0
        (record,) = cluster.wait_records(1)
        assert record["reason"] == "no-toolchain" and why in record["detail"], record
        assert why in cluster.cli("explain", "--", "gcc", "-c", str(tmp_path / "a.c"), check=False).stdout
        assert sent(cluster) == []
    finally:
        cluster.close()
