"""Sums over records, and their texts."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manycc.monitor.live import progress_line
from manycc.monitor.stats import Stats, aggregate, last_run
from manycc.monitor.summary import body, headline, on_this_machine
from manycc.monitor.units import amount, share, size, span
from manycc.reasons import BY_CODE


def remote(host: str = "pi:3632", **more: Any) -> dict[str, Any]:
    record = {
        "t": 100.0, "run": "r1", "reason": "remote", "host": host, "sent": 10, "received": 20, "how": "scan",
        "node": {"cpu": 1.5}, "phases": {"remote": 2.0, "total": 2.5}, "cached": False,
    }  # fmt: skip
    return record | more


RECORDS = [
    remote(),
    remote(reason="cached", cached=True, how="manifest", t=101.0),
    remote("127.0.0.1:4000", t=102.0),
    {"t": 103.0, "run": "r1", "by": "agent", "reason": "not-compile", "phases": {"local": 1.0, "total": 1.0}},
    {"t": 104.0, "run": "r2", "by": "agent", "reason": "node-lost", "detail": "cut \x1b[2J", "how": "manifest",
     "sent": 5, "phases": {"total": 0.5}},
    {"t": 105.0, "run": "", "by": "launcher", "reason": "agent-missing", "detail": "no cli", "cwd": "/", "argv": []},
]  # fmt: skip


def test_the_documented_shape() -> None:
    assert aggregate(RECORDS).as_json() == {
        "jobs": {"total": 6, "remote": 3, "cached": 1, "local": 1, "failed_over": 2},
        "reasons": {"remote": 2, "cached": 1, "not-compile": 1, "node-lost": 1, "agent-missing": 1},
        "bytes": {"sent": 35, "received": 60},
        "hosts": {
            "127.0.0.1:4000": {"jobs": 1, "cached": 0, "cpu_s": 1.5},
            "pi:3632": {"jobs": 2, "cached": 1, "cpu_s": 1.5},
        },
        "time": {
            "first": 97.5,
            "last": 105.0,
            "wall_s": 7.5,
            "node_cpu_s": 3.0,
            "phases_s": {"prepare": 0.0, "queue": 0.0, "remote": 6.0, "write": 0.0, "local": 1.0, "total": 9.0},
        },
        "inputs": {"manifest": 2, "scan": 2},
    }


def test_nothing_is_zeros() -> None:
    answer = aggregate([]).as_json()
    assert answer["jobs"] == {"total": 0, "remote": 0, "cached": 0, "local": 0, "failed_over": 0}
    assert answer["time"]["wall_s"] == 0


def test_records_can_be_chosen() -> None:
    assert aggregate(RECORDS, run="r1").total == 4
    assert aggregate(RECORDS, since=104.0).total == 2
    assert aggregate(RECORDS, run="r2", since=200.0).total == 0
    assert last_run(RECORDS) == "r2"
    assert last_run([]) == ""


def test_every_reason_is_counted_once_by_its_kind() -> None:
    stats = aggregate({"reason": code} for code in BY_CODE)
    assert stats.total == stats.remote + stats.local + stats.failed_over == len(BY_CODE)
    assert stats.cached == 1


def test_a_reason_of_a_later_version_counts_by_its_host() -> None:
    stats = aggregate([{"reason": "moon"}, {"reason": "mars", "host": "pi"}])
    assert (stats.total, stats.remote, stats.local) == (2, 1, 1)
    assert "here 1: moon" in body(stats)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["cpu", "total"]), inner, max_size=2),
    max_leaves=5,
)
keys = st.sampled_from(["t", "run", "reason", "detail", "host", "how", "sent", "received", "node", "phases", "cached"])


@given(st.lists(st.dictionaries(keys, anything), max_size=5))
def test_records_out_of_form_break_nothing(records: list[dict[str, Any]]) -> None:
    stats = aggregate(records)
    assert stats.total == len(records) == stats.remote + stats.local + stats.failed_over
    assert stats.sent >= 0
    headline(stats, 1.0)
    body(stats)


def test_the_summary_says_where_and_why() -> None:
    stats = aggregate(RECORDS)
    assert headline(stats, 12.34) == (
        "6 jobs in 12.3 s: 3 on nodes (50 %), 1 of them from result caches, 1 here, 2 failed over"
    )
    lines = body(stats)
    assert lines[0] == "sent 35 B, received 60 B; about 1.5 s of compiler CPU time spared here"
    assert "pi:3632         2 jobs, 1.5 s CPU, 1 cached" in lines
    assert "here 1: links, or does nothing that can be sent [not-compile]" in lines
    missing = lines.index("failed over 1: the agent could not be started [agent-missing] (such as: no cli)")
    assert lines[missing + 1] == "    hint: see manycc doctor"
    assert headline(Stats(), 0.5) == "no compile jobs in 0.50 s"


def test_a_node_on_this_machine_spares_nothing() -> None:
    assert on_this_machine("127.0.0.1:4000")
    assert on_this_machine("[::1]:3632")
    assert on_this_machine("localhost:3632")
    assert not on_this_machine("pi")
    assert not on_this_machine("not a host")


def test_the_progress_line_leaves_out_what_does_not_fit() -> None:
    stats = aggregate(RECORDS)
    status = {
        "jobs": {"running": 7, "waiting": 1, "local": 2},
        "hosts": [
            {"name": "pi", "state": "ready", "slots": 4, "busy": 2},
            {"name": "big", "state": "ready", "slots": 8, "busy": 5},
            {"name": "gone", "state": "down", "slots": 0, "busy": 0},
        ],
    }
    line = progress_line(stats, status, 3.0, 200)
    assert line == (
        "manycc 3.0 s  6 done  50 % on nodes  2 failed over  7 running  2 here  1 waiting  big 5/8  pi 2/4  gone down"
    )
    assert progress_line(stats, status, 3.0, 40) == "manycc 3.0 s  6 done  50 % on nodes"
    assert progress_line(stats, None, 3.0, 5) == ""


def test_units() -> None:
    assert [size(count) for count in (0, 999, 1000, 999_949, 999_950, 5e9, 2e12)] == [
        "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "5.0 GB", "2.0 TB",
    ]  # fmt: skip
    assert [span(seconds) for seconds in (0.004, 1, 59.96, 3599, 3600, 90000)] == [
        "0.00 s", "1.0 s", "1 min 00 s", "59 min 59 s", "1 h 00 min", "1 d 1 h",
    ]  # fmt: skip
    assert [share(part, 1000) for part in (0, 1, 500, 999, 1000)] == ["0 %", "<1 %", "50 %", "99 %", "100 %"]
    assert [amount(count, "job") for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
