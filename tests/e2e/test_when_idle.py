"""A node that gives way to its own user: while that one works, it offers nothing, and builds go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.testing.cluster import Cluster

WAIT_S = 120.0


@pytest.fixture
def user_at_work() -> Iterator[None]:
    """Every processor is used by something that is not nice."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    yield
    for process in busy:
        process.kill()
        process.wait()


def test_the_user_is_at_work(tmp_path: Path, user_at_work: None) -> None:
    (tmp_path / "a.c").write_text("int a(void) { return 1; }\n")
    with Cluster(str(tmp_path / "c"), nodes=1, arguments=["--when-idle"]) as client:
        node = client.nodes[0]
        assert node.process is not None
        assert os.getpriority(os.PRIO_PROCESS, node.process.pid) == 19
        end = time.monotonic() + WAIT_S
        while ": others use the rest of the machine" not in Path(node.log).read_text() or _offered(node.log) != 0:
            assert time.monotonic() < end, Path(node.log).read_text()
            time.sleep(0.1)
        ran = client.compile(["gcc", "-c", "a.c", "-o", "a.o"], str(tmp_path))
        assert ran.returncode == 0, ran.stderr
        (record,) = client.wait_records(1)
        assert (record["reason"], "gives way to its own user" in record["detail"]) == ("node-busy", True), record
    local = subprocess.run(["gcc", "-c", "a.c", "-o", "b.o"], cwd=tmp_path)
    assert local.returncode == 0
    assert (tmp_path / "a.o").read_bytes() == (tmp_path / "b.o").read_bytes()


def _offered(log: str) -> int:
    """The slots of the last line that tells them."""
    told = [line for line in Path(log).read_text().splitlines() if ": others use the rest" in line]
    return int(told[-1].split(" of ")[0].rsplit(" ", 1)[1])
