"""Whole builds: real trees, far more jobs than slots. For each tool that calls compilers see ``tests/interop``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import many
import pytest
import sources
import trees

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import lacking, need


def test_many_more_jobs_than_slots(tmp_path: Path) -> None:
    need("ninja")
    figures = many.run(str(tmp_path), files=250, parallel=200, nodes=2, jobs=2)
    reasons = figures["reasons"]
    assert isinstance(reasons, dict)
    assert set(reasons) <= {"remote", "cached"}
    assert sum(reasons.values()) == 500


LONG = (
    [("re2", "-g"), ("redis", "-g"), ("fontforge", ""), ("fontforge", "-g")]
    if os.environ.get("MANYCC_TEST_LONG")
    else []
)


@pytest.mark.parametrize(("name", "flags"), [("lua5.4", ""), ("lua5.4", "-g"), ("re2", "-O1 -g"), *LONG])
def test_real_tree_is_identical(tmp_path: Path, name: str, flags: str) -> None:
    try:
        sources.fetch(trees.TREES[name].package)
    except sources.SourceError as error:
        lacking(str(error))
    with trees.nodes(2, str(tmp_path), 2) as hosts:
        row = trees.build_tree(name, str(tmp_path), hosts, flags, 4)
        subprocess.run(
            [os.path.join(trees.BIN, "manycc-cli"), "agent", "stop"],
            env={**os.environ, "MANYCC_DIR": str(tmp_path / "client")}, check=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert row.different == [] and row.unsteady == []
    assert row.objects >= 20
    assert row.build.stats.failed_over == 0
    assert row.build.stats.remote >= row.objects


test_real_tree_is_identical = pytest.mark.timeout(400)(test_real_tree_is_identical)


def test_run_without_hosts_starts_a_node_here(tmp_path: Path, session_folder: str) -> None:
    (tmp_path / "Makefile").write_text("all: a.o b.o\n%.o: %.c\n\t$(CC) -c $< -o $@\n")
    for name in "ab":
        (tmp_path / f"{name}.c").write_text(f"int {name};\n")
    cluster = Cluster(os.path.join(session_folder, "embedded"), nodes=0)
    try:
        done = subprocess.run(
            [cluster.launcher, "run", "--", "make"],
            cwd=tmp_path,
            env=cluster.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        stats = json.loads(cluster.cli("stats", "--json", "--last").stdout)
    finally:
        cluster.close()
    assert stats["jobs"]["total"] == 2
    assert stats["jobs"]["remote"] == 2
    assert "2" in done.stderr


def test_compiles_below_a_build_tool_that_was_put_behind_manycc(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all: a.o b.o\n%.o: %.c\n\t$(CC) -c $< -o $@\n")
    for name in "ab":
        (tmp_path / f"{name}.c").write_text(f"int below_make_{name};\n")
    before = len(cluster.records())
    done = cluster.compile(["make", "-s", "-j2", f"CC={cluster.launcher} gcc"], str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    reasons = [record["reason"] for record in cluster.wait_records(before + 3)[before:]]
    assert sorted(reasons) == ["not-a-compiler", "remote", "remote"]


def test_compiler_that_is_a_script_around_manycc(cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "gcc"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {cluster.launcher} /usr/bin/gcc "$@"\n')
    script.chmod(0o755)
    (tmp_path / "a.c").write_text("int below_a_script;\n")
    before = len(cluster.records())
    done = cluster.compile([str(script), "-c", "a.c"], str(tmp_path))
    assert (done.returncode, done.stderr) == (0, b"")
    reasons = [record["reason"] for record in cluster.wait_records(before + 2)[before:]]
    assert sorted(reasons) == ["compiler-wrapper", "remote"]


def test_sixty_four_launchers_start_one_agent(tmp_path: Path, session_folder: str) -> None:
    with Cluster(os.path.join(session_folder, "herd"), nodes=1, jobs=4) as cluster:
        rules = "".join(f"f{number}.o: f{number}.c\n" for number in range(64))
        (tmp_path / "Makefile").write_text(
            "all: "
            + " ".join(f"f{number}.o" for number in range(64))
            + f"\n{rules}%.o: %.c\n\tmanycc gcc -c $< -o $@\n"
        )
        for number in range(64):
            (tmp_path / f"f{number}.c").write_text(f"int f{number};\n")
        env = {**cluster.env, "PATH": f"{os.path.dirname(cluster.launcher)}:{cluster.env['PATH']}"}
        subprocess.run(["make", "-j64"], cwd=tmp_path, env=env, check=True, capture_output=True)
        reasons = {record["reason"] for record in cluster.wait_records(64)}
        assert reasons == {"remote"}
        with open(os.path.join(cluster.client, "state", "agent.log"), encoding="utf-8") as file:
            assert file.read().count(" listens in ") == 1
