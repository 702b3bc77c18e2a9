"""Every command of the option matrix through a stock distccd: what is said to be kept is kept.

It takes many minutes, so it runs where MANYCC_TEST_LONG=1.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stock_daemon import DISTCCD, StockDaemon

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

MATRIX = Path(__file__).parents[1] / "e2e" / "matrix"
sys.path.append(str(MATRIX.parent))

from matrix import driver  # noqa: E402
from matrix.case import PLACE, Case  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")

TABLES = sorted(path.stem for path in MATRIX.glob("*.py") if path.name.startswith(("gcc_", "clang_", "places")))
ELSEWHERE = ("stock", "stock-columns", "stock-messages")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A client with a distccd and no node."""
    need(DISTCCD)
    stock = StockDaemon(tmp_path_factory.mktemp("d")).start()
    try:
        with Cluster(str(tmp_path_factory.mktemp("c")), nodes=0) as made:
            made.env["MANYCC_HOSTS"] = f"{stock.host}/2"
            yield made
    finally:
        stock.stop()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("table", TABLES)
def test_what_is_said_to_be_kept_is_kept(client: Cluster, tmp_path: Path, table: str) -> None:
    wrong = []
    done = 0
    for case in importlib.import_module(f"matrix.{table}").CASES:
        if not all(map(_is_there, case.needs)) or not (PLACE in case.argv[0] or shutil.which(case.argv[0])):
            continue
        reason, differs = _compare(client, tmp_path, case)
        done += reason in ELSEWHERE
        allowed = {"stock-columns": differs, "stock-messages": {"stderr"}}.get(reason, set())
        if not differs <= allowed:
            wrong.append((case.name, reason, differs))
    assert wrong == []
    assert done or table in ("clang_beside", "gcc_assembler", "gcc_errors", "gcc_outputs", "gcc_profile")


def _is_there(needed: str) -> bool:
    return os.path.exists(needed) if needed[:1] == "/" else shutil.which(needed) is not None


def _compare(client: Cluster, folder: Path, case: Case) -> tuple[str, set[str]]:
    """The reason in the job's record, and what differs from a local compile."""
    local = driver._pass(client, folder, case, [])
    mark = driver._end_of_records(client)
    remote = driver._pass(client, folder, case, [client.launcher])
    record: dict[str, Any] = driver._records_from(client, mark)[0]
    differs = set()
    for own, other in zip(local, remote, strict=True):
        here, there = driver._without_times(own, case.timed), driver._without_times(other, case.timed)
        for name in ("code", "stdout", "stderr"):
            if getattr(here, name) != getattr(there, name):
                differs.add(name)
        names = here.files.keys() | there.files.keys()
        differs |= {name for name in names if here.files.get(name) != there.files.get(name)}
    return str(record["reason"]), differs
