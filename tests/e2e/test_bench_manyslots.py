"""The bench with many slots, with a few: every job is done by a node, light or real, and what is measured is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from manycc.testing.requirements import need

BENCH = os.path.join(os.path.dirname(__file__), "../../bench/manyslots.py")


LONG = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(["--ask"], id="ask"), pytest.param([], id="light", marks=LONG),
     pytest.param(["--real"], id="real", marks=LONG)],
)  # fmt: skip
def test_each_job_is_done_by_a_node(tmp_path: Path, kind: list[str]) -> None:
    need("gcc", "g++")
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, BENCH, "--slots", "4", "--per-node", "2", "--jobs", "8", "--seconds", "0.2", *kind,
         "--json", str(figures)],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(figures.read_text())
    assert [run["kind"] for run in runs] == (["new"] if "--real" in kind else ["new", "known"])
    for run in runs:
        assert run["jobs"] == 8 and run["nodes"] == 2
        assert run["wall"] >= run["ideal"] and run["agent"] > 0 and run["nodes_cpu"] > 0
        assert (run["launchers"] > 0) == ("--ask" not in kind)
    assert os.listdir(tmp_path) == ["figures.json"]  # nothing is left
