"""Disks that are full, have no inodes left, or are read-only all of a sudden: on the client and on a node.

============================ ==================== =====================================================
where                        what the record says what comes of it
============================ ==================== =====================================================
output folder                output-failed        the compiler is run here, and fails in its own words
state folder (records, log)  (cannot be written)  the job is done by a node; ``status`` says what is lost
cache folder (databases)     remote               the job is done by a node
runtime folder (socket)      agent-missing        a running agent goes on; a new one cannot start: local
node's store and work folder remote, after        another node does it, and this one heals as soon as
                             node-disk            there is room; with no other node: local, node-disk
============================ ==================== =====================================================
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import Disk, small_disk
from phases import agent_pid, nothing_left, status
from support import compile_equal, until

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

WAYS = ("full", "inodes", "readonly")
LARGE = "int table[] = {" + ",".join(str(number * 2654435761 % 2**31) for number in range(6_000)) + "};\n"
"""Its object is a few times as large as a page, so that it fills what a full disk may still have."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("gcc", "bwrap")
    with Cluster(str(tmp_path_factory.mktemp("disks") / "c"), nodes=1, jobs=2) as cluster:
        yield cluster


def compiled(cluster: Cluster, folder: Path, text: str) -> str:
    """Compile a source; the object must be the compiler's own. The reason that was recorded, if any was."""
    (folder / "a.c").write_text(text)
    before = len(cluster.records())
    compile_equal(cluster, folder, ["gcc", "-c", "a.c", "-o", "a.o"])
    until(lambda: status(cluster).get("jobs", {"running": 0})["running"] == 0)  # a local job's record comes last
    records = cluster.records()[before:]
    return str(records[-1]["reason"]) if records else ""


@pytest.mark.parametrize("old", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("way", WAYS)
def test_output_folder(shared: Cluster, tmp_path: Path, way: str, old: bool) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "a.c").write_text(LARGE)
    argv = ["gcc", "-c", "a.c", "-o", "out/a.o"]
    with small_disk(work / "out", way) as disk:

        def attempt(*front: str) -> tuple[int, bytes, list[str]]:
            if not disk.broken:
                disk.give_back()
                for name in os.listdir(disk.path):
                    (disk.path / name).unlink()
                if old:
                    (disk.path / "a.o").write_bytes(b"\x7fELF")
                disk.use_up(way)
            done = subprocess.run([*front, *argv], cwd=work, env=shared.env, capture_output=True, check=False)
            assert done.stdout == b""
            return done.returncode, re.sub(rb"/tmp/cc\w{6}", b"/tmp/cc", done.stderr), sorted(os.listdir(disk.path))

        by_itself = attempt()
        before = len(shared.records())
        assert attempt(shared.launcher) == by_itself
        (record,) = shared.wait_records(before + 1)[before:]
        assert record["reason"] == "output-failed", record
        if way != "readonly":
            disk.give_back()
            assert shared.compile(argv, str(work)).returncode == 0
            assert shared.wait_records(before + 2)[-1]["reason"] in ("remote", "cached")
    nothing_left(shared)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["state", "cache"])
def test_clients_own_folders(shared: Cluster, tmp_path: Path, place: str, way: str) -> None:
    shared.cli("agent", "stop", check=False)
    with small_disk(Path(shared.client, place), way) as disk:
        assert compiled(shared, tmp_path, "int before;\n") == "remote"
        disk.use_up(way)
        agent = agent_pid(shared)
        # A full page of records may still fit in, so more is written than that.
        reasons = [compiled(shared, tmp_path, f"int meanwhile{number};\n") for number in range(12)]
        warnings = " ".join(status(shared)["warnings"])
        if place == "cache":
            assert set(reasons) == {"remote"}
        elif way != "inodes":  # to append to a file takes none
            assert "" in reasons
            assert f"jsonl: {reasons.count('')} (" in warnings
            assert "could not be recorded" in shared.cli("status").stdout
        assert agent_pid(shared) == agent
        if way != "readonly":
            disk.give_back()
            assert compiled(shared, tmp_path, "int after;\n") == "remote"
        shared.cli("agent", "stop")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["state", "cache", "run"])
def test_agent_starts_on_a_useless_disk(shared: Cluster, tmp_path: Path, place: str, way: str) -> None:
    shared.cli("agent", "stop", check=False)
    with small_disk(Path(shared.client, place), way) as disk:
        disk.use_up(way)
        reason = compiled(shared, tmp_path, f"int {place}_{way};\n")
        if place == "state":
            assert reason == ""
            assert status(shared)["hosts"][0]["done"] == 1
        else:
            assert reason == ("remote" if place == "cache" else "agent-missing")
        shared.cli("agent", "stop", check=False)


@pytest.mark.parametrize("way", WAYS)
def test_nodes_store(shared: Cluster, tmp_path: Path, way: str) -> None:
    with small_disk(tmp_path / "disk", way, megabytes=400, inodes=20_000) as disk:
        _use_nodes_store(shared, tmp_path, disk, way)


def _use_nodes_store(shared: Cluster, tmp_path: Path, disk: Disk, way: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with Cluster(
        str(tmp_path / "c"), nodes=1, arguments=["--store-size", "1G", "--store", str(disk.path / "s")]
    ) as one:
        assert compiled(one, work, "int first;\n") == "remote"
        sound = one.env["MANYCC_HOSTS"]
        disk.use_up(way)
        assert compiled(one, work, LARGE) == "node-disk"
        one.env["MANYCC_HOSTS"] = f"{sound} {shared.nodes[0].host}"
        reason = compiled(one, work, LARGE.replace("table", "again"))
        record = one.records()[-1]
        assert reason == "remote" and record["host"] == shared.nodes[0].host.partition("/")[0], record
        if way != "readonly":
            one.env["MANYCC_HOSTS"] = sound
            disk.give_back()
            assert compiled(one, work, LARGE.replace("table", "healed")) == "remote"
        nothing_left(one)
