"""Builds whose -j fits this machine alone: the hosts' slots are used all the same, and the jobserver left as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.testing.cluster import BIN, Cluster

SOURCES = 14
SLOTS = 4


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(str(tmp_path_factory.mktemp("jobserver")), nodes=2, jobs=SLOTS) as made:
        made.env["PATH"] = f"{BIN}:{made.env['PATH']}"
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number in range(SOURCES):
        # A number of its own in each: what a node has in its cache is over too soon.
        text = f"#include <map>\n#include <string>\nint f{number}() {{ return std::map<std::string, int>().size(); }}\n"
        (tmp_path / f"f{number}.cc").write_text(text + f"// {tmp_path}\n")
    return tmp_path


def most_at_once(records: list[dict[str, object]]) -> int:
    """How many jobs were under way at the same time, at most."""
    changes = []
    for record in records:
        end, phases = record["t"], record["phases"]
        assert isinstance(end, float) and isinstance(phases, dict)
        changes += [(end, -1), (end - phases["total"], 1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def records_of(client: Cluster, tree: Path, count: int) -> list[dict[str, object]]:
    return [record for record in client.wait_records(count) if record["cwd"] == str(tree)]


def test_make(client: Cluster, tree: Path) -> None:
    (tree / "Makefile").write_text(
        "lib.a: $(patsubst %.cc,%.o,$(wildcard *.cc))\n\tar cr $@ $^\n%.o: %.cc\n\tmanycc g++ -c $< -o $@\n"
    )
    before = len(client.records())
    ran = subprocess.run(["make", "-j2"], cwd=tree, env=client.env, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")  # make says so if a token too many is left, or one is missing
    records = records_of(client, tree, before + SOURCES)
    assert {record["reason"] for record in records} == {"remote"}
    assert 4 < most_at_once(records) <= 2 * SLOTS + 2
    assert len(list(tree.glob("*.o"))) == SOURCES


def test_a_make_below_make(client: Cluster, tree: Path) -> None:
    (tree / "Makefile").write_text(
        "all:\n\t$(MAKE) objects\nobjects: $(patsubst %.cc,%.o,$(wildcard *.cc))\n"
        "%.o: %.cc\n\t@: ; manycc g++ -c $< -o $@\n"
    )
    before = len(client.records())
    ran = subprocess.run(["make", "-j2"], cwd=tree, env=client.env, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert 4 < most_at_once(records_of(client, tree, before + SOURCES)) <= 2 * SLOTS + 2


def test_the_agent_ends_in_the_middle(client: Cluster, tree: Path) -> None:
    """Tokens that were lent stay: make says so, and the build is done."""
    (tree / "Makefile").write_text(
        "all: $(patsubst %.cc,%.o,$(wildcard *.cc))\n%.o: %.cc\n\tmanycc g++ -c $< -o $@\n"
        "f9.o: f9.cc\n\tmanycc-cli agent stop >/dev/null 2>&1; manycc g++ -c $< -o $@\n"
    )
    ran = subprocess.run(["make", "-j3"], cwd=tree, env=client.env, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    assert len(list(tree.glob("*.o"))) == SOURCES


def test_ninja_at_a_fifo(client: Cluster, tree: Path) -> None:
    ninja = shutil.which("ninja", path=os.path.dirname(sys.executable))
    assert ninja, "the test environment has one that speaks the protocol"
    rules = ["rule cc", "  command = manycc g++ -c $in -o $out"]
    (tree / "build.ninja").write_text(
        "\n".join([*rules, *(f"build f{number}.o: cc f{number}.cc" for number in range(SOURCES)), ""])
    )
    fifo = tree / "fifo"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(held, b"+")
        env = client.env | {"MAKEFLAGS": f"-j2 --jobserver-auth=fifo:{fifo}"}
        before = len(client.records())
        ran = subprocess.run([ninja], cwd=tree, env=env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert 4 < most_at_once(records_of(client, tree, before + SOURCES)) <= 2 * SLOTS + 2
        assert os.read(held, 100) == b"+"
    finally:
        os.close(held)
