"""Whole packages built through BuildGrid by two workers, by one agent and by two at once, and large objects.

It takes minutes, so it runs where MANYCC_TEST_LONG=1.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trees

from manycc.testing.buildgrid import Farm
from manycc.testing.cluster import Cluster
from manycc.testing.heldcompile import until_served
from manycc.testing.requirements import need

pytestmark = [
    pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it"),
    pytest.mark.timeout(1800),
]
LARGE = 200 * 1024 * 1024


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    need("g++", "bwrap", "cmake", "xz")
    with Farm(str(tmp_path_factory.mktemp("w")), keepalive=30) as made:
        yield made


def _build(farm: Farm, name: str, flags: str, state: Path) -> trees.Row:
    (state / "trees").mkdir(parents=True, exist_ok=True)
    with Cluster(str(state), nodes=0) as cluster:  # the same agent's: it remembers what the engine serves
        cluster.env["MANYCC_HOSTS"] = farm.engine.url
        until_served(cluster, state, "gcc", "g++")
    try:
        return trees.build_tree(name, str(state), [f"{farm.engine.url}?slots=4"], flags, 4)
    finally:
        subprocess.run(
            [os.path.join(trees.BIN, "manycc-cli"), "agent", "stop"],
            env={**os.environ, "MANYCC_DIR": str(state / "client")}, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["lua5.4", "re2"])
def test_tree(farm: Farm, name: str, tmp_path: Path) -> None:
    """Built twice: every file is the local build's, and the second time nothing is compiled again."""
    first = _build(farm, name, "-O2", tmp_path)
    again = _build(farm, name, "-O2", tmp_path)
    for row in (first, again):
        assert row.different == []
        assert row.build.stats.remote == row.build.compiles > 10
    assert again.build.stats.reasons["cached"] == again.build.compiles


def test_two_agents(farm: Farm, tmp_path: Path) -> None:
    """Two agents build at the same time, with the same workers."""
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(lambda flags: _build(farm, "lua5.4", flags, tmp_path / flags), ("-O0", "-O1")))
    for row in rows:
        assert row.different == []
        assert row.build.stats.remote == row.build.compiles > 10


def test_large_object(farm: Farm, tmp_path: Path, session_folder: str) -> None:
    """An object of 200 MB comes whole: in pieces, out of no worker's memory."""
    (tmp_path / "large.c").write_text(f"char large[{LARGE}] = {{1}};\n")
    with Cluster(os.path.join(session_folder, "large"), nodes=0) as cluster:
        cluster.env["MANYCC_HOSTS"] = f"{farm.engine.url}?toolchain=property"
        until_served(cluster, tmp_path, "gcc")
        argv = ["gcc", "-c", "large.c", "-o", "a.o"]
        digests = set()
        for run in (lambda: subprocess.run(argv, cwd=tmp_path, check=True), lambda: cluster.compile(argv, tmp_path)):
            assert run().returncode == 0
            with open(tmp_path / "a.o", "rb") as file:
                digests.add(hashlib.file_digest(file, "sha256").digest())
            os.unlink(tmp_path / "a.o")
        assert len(digests) == 1
        assert cluster.records()[-1]["reason"] == "remote"
