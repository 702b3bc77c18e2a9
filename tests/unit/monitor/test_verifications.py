"""Counting what was verified, and finding what may be wrong."""

from __future__ import annotations

from typing import Any

from manycc.monitor.live import progress_line
from manycc.monitor.stats import Stats
from manycc.monitor.verifications import last_equal, suspects, tally

RECORDS: list[dict[str, Any]] = [
    {"t": 1.0, "verdict": "equal", "host": "pi", "fingerprint": "f", "done": 0.5, "run": "a"},
    {"t": 3.0, "verdict": "equal", "host": "pi", "fingerprint": "f", "done": 2.5, "run": "b"},
    {"t": 4.0, "verdict": "equal", "host": "pi", "fingerprint": "e", "done": 3.5, "run": "b"},
    {"t": 5.0, "verdict": "void", "host": "pi", "fingerprint": "f", "done": 4.5, "run": "b"},
    {"t": 6.0, "verdict": "different", "host": "pi", "fingerprint": "f", "done": 5.5, "run": "b"},
    {"t": 7.0, "verdict": "skipped", "host": "laptop", "fingerprint": "f", "done": 6.5, "run": "b"},
    {"t": "x", "verdict": ["equal"], "host": 3},
]


def test_the_tally() -> None:
    assert tally(RECORDS) == {"verified": 4, "equal": 3, "different": 1, "void": 1, "skipped": 1}
    assert tally(RECORDS, run="a") == {"verified": 1, "equal": 1, "different": 0, "void": 0, "skipped": 0}
    assert tally(RECORDS, since=5.0) == {"verified": 1, "equal": 0, "different": 1, "void": 1, "skipped": 1}


def test_the_last_that_proved_equal() -> None:
    assert last_equal(RECORDS, "pi", "f") == 2.5
    assert last_equal(RECORDS, "laptop", "f") == 0.0


def test_suspects_are_what_the_host_wrote_since() -> None:
    jobs: list[dict[str, Any]] = [
        {"t": 2.5, "host": "pi", "out": "proved.o"},
        {"t": 2.6, "host": "pi", "out": "suspect.o"},
        {"t": 2.7, "host": "laptop", "out": "other.o"},
        {"t": 2.8, "out": "local.o"},
        {"t": 5.5, "host": "pi", "out": "wrong.o"},
        {"t": 5.6, "host": "pi", "out": "later.o"},
    ]
    assert [job["out"] for job in suspects(jobs, "pi", 2.5, 5.5)] == ["suspect.o", "wrong.o"]


def test_the_progress_line_says_it_first() -> None:
    status = {"quarantine": [{"host": "pi"}], "jobs": {"running": 3}, "hosts": []}
    assert progress_line(Stats(), status, 1.0, 80) == "manycc 1.0 s  QUARANTINED pi  0 done  3 running"
