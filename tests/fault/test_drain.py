"""A node that is told to end while a real agent uses it: what runs there is finished, what comes goes elsewhere."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from support import compilers, slow_source, until

from manycc.testing.cluster import Cluster

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None or shutil.which("gcc") is None, reason="NOT TESTED: needs bwrap, gcc"
)

SLOW = slow_source(250)  # takes a second or two to compile
COUNT = 5


def test_a_node_that_ends_finishes_what_it_began(tmp_path: Path) -> None:
    work = tmp_path / "w"
    work.mkdir()
    names = [f"drained{index}" for index in range(COUNT)]
    for name in (*names, "first"):
        (work / f"{name}.cc").write_text(SLOW if name != "first" else "int x;\n")
    subprocess.run(["g++", "-c", "drained0.cc", "-o", "local.o"], cwd=work, check=True)
    with Cluster(str(tmp_path / "c"), nodes=1, jobs=2) as cluster:
        (node,) = cluster.nodes
        results: dict[str, int] = {}

        def compile_one(name: str) -> None:
            argv = ["g++", "-c", f"{name}.cc", "-o", f"{name}.o"]
            results[name] = cluster.compile(argv, str(work)).returncode

        compile_one("first")
        threads = [threading.Thread(target=compile_one, args=(name,)) for name in names]
        for thread in threads[:-1]:
            thread.start()
        until(lambda: len(compilers("drained")) >= 2)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        threads[-1].start()
        for thread in threads:
            thread.join(60)
        assert node.process.wait(30) == 0
        assert results == dict.fromkeys(("first", *names), 0)
        records = {record["src"]: record for record in cluster.wait_records(COUNT + 1)}
        reasons = [records[f"{name}.cc"]["reason"] for name in names]
        assert reasons.count("remote") >= 2, records  # those under way were finished
        assert set(reasons) - {"remote"} <= {"node-busy", "hosts-down"}, records
        assert reasons.count("remote") < COUNT, records
        assert all(
            records[f"{name}.cc"].get("detail") for name, why in zip(names, reasons, strict=True) if why != "remote"
        )
        assert "cancelled" not in Path(node.log).read_text()
        assert os.listdir(os.path.join(node.state, "cache", "store", "tmp")) == []
    wanted = (work / "local.o").read_bytes()
    assert (work / "drained0.o").read_bytes() == wanted
