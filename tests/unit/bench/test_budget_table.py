"""The table of budgets: what counts as met, what the exit status is, and where the table goes."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import budgets
import check
import lab_targets
import pytest
import tables
from budgets import ABSENT, FAILED, MET, MISSED, Row
from lab.figures import Build


def _row(figure: float | None, failed: str = "") -> Row:
    return Row("what", 2.0, "ms", figure, "a note", failed)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (_row(1.99), MET),
        (_row(2.0), MET),
        (_row(2.001), MISSED),
        (_row(None), ABSENT),
        (_row(None, "it broke"), FAILED),
        (_row(1.0, "it broke"), FAILED),
        (Row("compilers run", 0, "", 0), MET),
        (Row("compilers run", 0, "", 1), MISSED),
    ],
)
def test_what_is_met(row: Row, state: str) -> None:
    assert row.state == state
    assert row.cells()[3] == state and row.told()["state"] == state


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([_row(1.0)], 0),
        ([_row(1.0), _row(None)], 0),
        ([_row(1.0), _row(3.0)], 1),
        ([_row(1.0), _row(None, "it broke")], 1),
        ([_row(None)], 1),  # nothing was measured
        ([], 1),
    ],
)
def test_exit_status(rows: list[Row], status: int) -> None:
    assert budgets.exit_status(rows) == status


def test_a_figure_is_never_shown_where_there_is_none() -> None:
    assert _row(None).cells() == ("what", "2 ms", "-", ABSENT, "a note")
    assert _row(None, "it broke").cells() == ("what", "2 ms", "-", FAILED, "it broke")
    assert _row(2.345).cells() == ("what", "2 ms", "2.35 ms", MISSED, "a note")
    assert "2 missed" in budgets.summary([_row(3.0), _row(4.0), _row(None)])


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    document = tmp_path / "RESULTS.md"
    marks = "<!-- budgets: begin -->", "<!-- budgets: end -->"
    document.write_text("before\n<!-- budgets: begin -->\nold\n<!-- budgets: end -->\nafter\n")
    tables.write_between(str(document), *marks, tables.markdown([["a", "b"], ["1|2", "3"]]))
    assert document.read_text() == (
        "before\n<!-- budgets: begin -->\n| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n<!-- budgets: end -->\nafter\n"
    )
    with pytest.raises(tables.MarksMissing):
        tables.write_between(str(document), "<!-- profile: begin -->", marks[1], "x")
    assert os.listdir(tmp_path) == ["RESULTS.md"]


def test_a_measurement_that_breaks_is_a_row_and_the_others_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(options: argparse.Namespace) -> list[Row]:
        raise OSError("no compiler")

    monkeypatch.setattr(check, "MEASURES", {"one": breaks, "two": lambda options: [_row(1.0)]})
    rows = check.check(["one", "two"], argparse.Namespace())
    assert [row.state for row in rows] == [FAILED, MET]
    assert "no compiler" in rows[0].failed


def _lab(folder: Path, *builds: Build) -> list[Row]:
    document = {"about": {}, "builds": [vars(build) for build in builds]}
    (folder / "lab-weak-client.json").write_text(json.dumps(document))
    return lab_targets.rows(str(folder))


def _build(network: str, way: str, wall: float, cpu: float, number: int = 1, failed: str = "") -> Build:
    return Build(network, "fontforge", way, number, wall=wall, user=cpu, failed=failed)


def test_without_results_of_the_lab_nothing_is_met(tmp_path: Path) -> None:
    rows = lab_targets.rows(str(tmp_path))
    assert len(rows) == 8 and {row.state for row in rows} == {ABSENT}
    # Results of manycc alone, with nothing to compare them with, say nothing either.
    assert {row.state for row in _lab(tmp_path, _build("1 Gbit/s", "manycc, warm", 50, 2))} == {ABSENT}


def test_the_labs_targets_count_the_worst_network(tmp_path: Path) -> None:
    rows = _lab(
        tmp_path,
        _build("none", "local", 200, 100),
        _build("1 Gbit/s", "manycc, warm", 52, 2),
        _build("100 Mbit/s", "manycc, warm", 60, 4),
        _build("1 Gbit/s", "distcc", 80, 10),
        _build("1 Gbit/s", "distcc, LZO", 65, 10),
        _build("100 Mbit/s", "distcc", 59, 10),
        _build("20 Mbit/s, 20 ms", "manycc, warm", 1, 1, failed="no objects"),
    )
    warm = {row.budget.rpartition(": ")[2]: row for row in rows if "weak client, warm" in row.budget}
    cpu, ideal, peer = (
        warm[name] for name in ("client CPU of a local build's", "wall / ideal", "wall / distcc's best")
    )
    assert (cpu.figure, cpu.state) == (pytest.approx(4.0), MISSED)
    assert (ideal.figure, ideal.state) == (pytest.approx(1.2), MISSED)  # 100 s of CPU on two cores are 50 s
    assert (peer.figure, peer.state) == (pytest.approx(60 / 59), MISSED)
    assert "1 Gbit/s: 2.00; 100 Mbit/s: 4.00" in cpu.note and "as measured at 20" in cpu.note
    assert {row.state for row in rows if row not in warm.values()} == {ABSENT}
