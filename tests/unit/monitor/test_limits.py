"""What limited a build, told from timelines made to have each limit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manycc.monitor import timeline
from manycc.monitor.limits import Limit, Verdict, judge
from manycc.monitor.limittext import as_json, sentence
from manycc.monitor.records import Record
from manycc.monitor.samples import Sample
from manycc.monitor.summary import on_this_machine

T0 = 1_700_000_000.0


def compiled(begin: float, end: float, queue: float = 0.0, source: str = "a.cc", **more: Any) -> Record:
    """A job that a node did; ``begin`` and ``end`` in seconds from the build's begin."""
    remote = end - begin - queue
    node: dict[str, float] = {"cpu": remote, "wall": remote, "wait": 0.0, "stage": 0.0, "took": remote, "fetch": 0.0}
    node |= more.pop("node", {})
    return {
        "t": T0 + end, "run": "r", "reason": "remote", "host": "pi", "src": source, "sent": 1000, "received": 5000,
        "phases": {"prepare": 0.0, "queue": queue, "remote": remote, "write": 0.0, "total": end - begin},
        "node": node,
    } | more  # fmt: skip


def linked(begin: float, end: float, output: str = "prog", reason: str = "not-compile", wait: float = 0.0) -> Record:
    """A job that was done here, after ``wait`` seconds in which it had no place."""
    return {
        "t": T0 + end, "run": "r", "reason": reason, "argv": ["g++", "a.o", "-o", output],
        "phases": {"local": end - begin - wait, "total": end - begin},
    }  # fmt: skip


def sampled(
    seconds: float, cpu: float = 0.1, agent: float = 0.0, up: float = 0.0, down: float = 0.0, **more: Any
) -> list[Sample]:
    """Samples a second apart, with counters that grow evenly; ``cpu`` is a share of four processors."""
    state = {"slots": 8, "pid": 7, "round_trip": 0.0002} | more
    return [
        Sample(
            t=T0 + at, clock=500.0 + at, cpu_s=90.0 + 4 * cpu * at, processors=4.0, source="machine",
            agent_s=agent * at, sent=int(up * at), received=int(down * at), **state,
        )
        for at in (*range(int(seconds)), seconds)
    ]  # fmt: skip


def verdict(records: Sequence[Record], samples: Sequence[Sample], told: int = 0, tool: str = "make") -> Verdict:
    return judge(timeline.build(timeline.lay_out_all(records), samples), told, tool, on_this_machine)


def spread(count: int, at_once: int, seconds: float, queue: float = 0.0, **more: Any) -> list[Record]:
    """``count`` jobs, so many at once, of so many seconds each, of which the last are not the shortest."""
    return [
        compiled(seconds * (index // at_once), seconds * (index // at_once + 1), queue, f"f{index}.cc", **more)
        for index in range(count)
    ]


def in_line(slots: int, jobs: int, seconds: float) -> list[Record]:
    """All jobs come at once, and wait for one of the slots."""
    return [
        compiled(0.0, seconds * (index // slots + 1), seconds * (index // slots), f"f{index}.cc")
        for index in range(jobs)
    ]


def test_slots() -> None:
    found = verdict(in_line(8, 80, 5.0), sampled(50.0, taken=8, waiting=30), told=80)
    assert found.bound.limit is Limit.SLOTS
    # Nine of ten slot times have a line: 72 jobs at first, 8 at last, 40 on average.
    assert found.bound.seconds == pytest.approx(45.0)
    assert found.bound.waiting == pytest.approx(40.0)
    assert found.bound.at_hosts == pytest.approx(8.0)
    assert sentence(found) == (
        "Limited by the hosts' slots: for 45 of 50 s all 8 were busy and 40 jobs waited on average; "
        "8 more slots would save up to 22.5 s (estimate)."
    )


def test_a_saving_is_never_more_than_what_the_longest_job_leaves() -> None:
    records = [*in_line(8, 16, 5.0), compiled(0.0, 9.0)]
    found = verdict(records, sampled(10.0, taken=8), told=80)
    assert found.bound.limit is Limit.SLOTS
    assert found.bound.saving_s == pytest.approx(1.0)
    assert "8 more slots would save up to 1.0 s (estimate)" in sentence(found)
    records[-1] = compiled(0.0, 10.0)
    assert "8 more slots would help little" in sentence(verdict(records, sampled(10.0, taken=8), told=80))


def test_slots_that_other_builds_have() -> None:
    """Jobs of another run hold all slots but one; this one's jobs wait."""
    found = verdict(in_line(1, 5, 2.0), sampled(10.0, taken=8, waiting=4))
    assert found.bound.limit is Limit.SLOTS
    assert "1 of 8 were used by this build and 2.5 jobs waited on average" in sentence(found)


def test_hosts_that_work_for_others() -> None:
    records = spread(16, 4, 4.0, node={"wait": 3.0, "wall": 1.0})
    found = verdict(records, sampled(16.0))
    assert found.bound.limit is Limit.SLOTS
    assert "jobs waited at the hosts, which work for others too" in sentence(found)


def test_all_slots_in_use_and_nobody_waits() -> None:
    found = verdict(spread(80, 8, 5.0), sampled(50.0, taken=8), told=8)
    assert found.bound.limit is Limit.FULL
    assert sentence(found) == "Nothing to report: for 50 of 50 s all 8 slots were busy."


def test_all_slots_in_use_and_a_line_for_a_part_of_the_time() -> None:
    full = [record | {"t": record["t"] + 10.0} for record in spread(64, 8, 5.0)]
    found = verdict([*in_line(8, 16, 5.0), *full, linked(50.0, 60.0)], sampled(60.0, taken=8), told=9)
    assert sentence(found) == (
        "Nothing to report: for 50 of 60 s all 8 slots were busy; links limited it for 10 of 60 s."
    )
    full = [record | {"t": record["t"] + 40.0} for record in spread(16, 8, 5.0)]
    found = verdict([*in_line(8, 64, 5.0), *full], sampled(50.0, taken=8), told=9)
    assert found.bound.limit is Limit.SLOTS
    assert found.bound.seconds == pytest.approx(35.0)
    assert found.bound.waiting == pytest.approx(32.0)


@pytest.mark.parametrize("way", ["the node waits", "the line waits"])
def test_memory(way: str) -> None:
    samples = sampled(16.0, short=("pi",), taken=2)
    if way == "the node waits":
        records = spread(16, 4, 4.0, node={"wait": 3.0, "wall": 1.0, "took": 4.0})
    else:
        records = in_line(2, 8, 4.0)
    found = verdict(records, samples)
    assert found.bound.limit is Limit.MEMORY
    text = sentence(found)
    assert text.startswith("Limited by the hosts' memory: for ")
    assert "too little on pi" in text
    assert "more memory there" in text


def test_jobs_that_were_refused_for_memory() -> None:
    records = [linked(index, index + 2.0, f"{index}.o", "node-memory") for index in range(10)]
    assert verdict(records, sampled(11.0, cpu=0.5)).bound.limit is Limit.MEMORY


def test_uplink() -> None:
    records = spread(40, 4, 2.0, node={"wall": 0.4, "took": 1.9, "fetch": 1.4})
    found = verdict(records, sampled(20.0, up=1.2e6, down=1e4, backlog=500_000, taken=4), told=8)
    assert found.bound.limit is Limit.UPLINK
    assert sentence(found) == (
        "Limited by the uplink: for 20 of 20 s 9.6 Mbit/s went out and jobs spent 75 % of their time at hosts "
        "on the line; a line twice as fast would save up to 7.5 s (estimate)."
    )


def test_the_line_comes_before_slots_that_only_wait_for_it() -> None:
    records = [
        record | {"node": {"wall": 0.2, "took": 0.2}, "phases": record["phases"] | {"remote": 1.0}}
        for record in in_line(8, 80, 1.0)
    ]
    found = verdict(records, sampled(10.0, up=10.0, down=1.2e6, taken=8), told=80)
    assert found.bound.limit is Limit.DOWNLINK
    assert "9.6 Mbit/s came in" in sentence(found)


def test_much_time_on_the_line_without_bytes_that_wait_is_no_uplink() -> None:
    records = spread(40, 4, 2.0, node={"wall": 0.4, "took": 1.9, "fetch": 1.4})
    assert verdict(records, sampled(20.0, up=1e6), told=4).bound.limit is Limit.PARALLELISM


def test_a_line_with_a_long_delay_is_hidden_by_more_jobs() -> None:
    records = spread(400, 4, 0.2, node={"wall": 0.08, "took": 0.08})
    samples = sampled(20.0, down=1e4, round_trip=0.04)
    assert verdict(records, samples, told=4).bound.limit is Limit.PARALLELISM


def test_a_node_that_does_not_say_how_long_it_took() -> None:
    records = spread(40, 4, 2.0, node={"wall": 0.4, "wait": 0.0, "stage": 0.1})
    for record in records:
        del record["node"]["took"], record["node"]["fetch"]
    assert verdict(records, sampled(20.0, up=1e6, backlog=9000)).bound.limit is Limit.UPLINK


def test_jobs_that_were_over_here_first_are_judged_as_the_others() -> None:
    node = {"wall": 0.2, "took": 0.3}
    sent = spread(20, 4, 2.0, node=node)
    raced = [record | {"reason": "local-slot", "node": {"cpu": 0.0}, "t": record["t"] + 10} for record in sent]
    for record in raced:
        del record["host"]
    samples = sampled(20.0, up=1e3, down=1e6)
    found = verdict([*sent, *raced], samples)
    assert found.bound.limit is Limit.DOWNLINK
    assert found.bound.seconds == pytest.approx(20.0)
    assert verdict(raced, samples).bound.limit is not Limit.DOWNLINK  # none of them tells
    assert verdict(raced, sampled(20.0, up=1e6, backlog=9000)).bound.limit is Limit.UPLINK


def test_a_stock_host() -> None:
    node = {"preprocess": 0.1, "connect": 0.1, "send": 1.2, "compile": 0.5, "receive": 0.1}
    records = [record | {"node": node, "reason": "stock"} for record in spread(40, 4, 2.0)]
    found = verdict(records, sampled(20.0, up=1e6, backlog=9000))
    assert found.bound.limit is Limit.UPLINK
    assert found.bound.line == pytest.approx(0.7)


def test_client_cpu() -> None:
    records = [linked(index // 4, index // 4 + 1.0, f"{index}.o", "local-option") for index in range(40)]
    found = verdict(records, sampled(10.0, cpu=0.99), told=8)
    assert found.bound.limit is Limit.CLIENT_CPU
    assert sentence(found) == (
        "Limited by this machine's CPU: for 10.0 of 10.0 s its 4 processors were 99 % busy, while 0 of 8 slots of "
        "hosts were used on average and 4 jobs ran here; less work here would help (manycc stats --last says which "
        "jobs stayed)."
    )


def test_places_here_are_all_taken() -> None:
    records = [linked(0.0, 2.0 + 2 * index, f"{index}.o", "local-option", 2.0 * index) for index in range(6)]
    found = verdict(records, sampled(12.0, cpu=0.3), told=8)
    assert found.bound.limit is Limit.CLIENT_CPU
    assert "all places for jobs here were taken" in sentence(found)


def test_the_agent_itself() -> None:
    found = verdict(spread(400, 4, 0.1), sampled(10.0, cpu=0.3, agent=0.97), told=200)
    assert found.bound.limit is Limit.CLIENT_CPU
    assert "manycc's agent used 97 % of one processor" in sentence(found)


def test_a_node_on_this_machine_that_takes_all_of_it() -> None:
    records = [record | {"host": "127.0.0.1:4000"} for record in in_line(4, 40, 1.0)]
    found = verdict(records, sampled(10.0, cpu=1.0, slots=4, taken=4))
    assert found.bound.limit is Limit.CLIENT_CPU
    assert "hosts elsewhere would help" in sentence(found)
    elsewhere = verdict(in_line(4, 40, 1.0), sampled(10.0, cpu=1.0, slots=4, taken=4))
    assert elsewhere.bound.limit is Limit.SLOTS  # a busy client does not keep them from being used


@pytest.mark.parametrize("told", [2, 0])
def test_parallelism(told: int) -> None:
    found = verdict(spread(20, 2, 1.0), sampled(10.0, taken=2), told)
    assert found.bound.limit is Limit.PARALLELISM
    kept = "-j2" if told else "it"
    assert sentence(found) == (
        f"Limited by make's parallelism: for 10.0 of 10.0 s {kept} kept 2 jobs under way while the hosts have 8 slots; "
        "-j8 would save up to 7.5 s (estimate)."
    )


def test_jobs_one_after_another_are_no_long_files() -> None:
    found = verdict(spread(5, 1, 2.0), sampled(10.0, taken=1), told=1)
    assert found.bound.limit is Limit.PARALLELISM
    assert "-j1 kept 1 job under way" in sentence(found)


def test_more_jobs_than_j_are_not_held_back_by_it() -> None:
    """make's jobserver was lent tokens for what is elsewhere."""
    found = verdict(spread(40, 6, 1.0), sampled(7.0, taken=6, slots=20), told=2)
    assert found.bound.limit is Limit.ORDER


def test_links() -> None:
    records = [*spread(8, 8, 2.0), linked(2.0, 9.0, "server"), linked(2.0, 5.0, "client")]
    found = verdict(records, sampled(9.0, cpu=0.3), told=8)
    assert found.bound.limit is Limit.LINKS
    assert sentence(found) == (
        "Limited by links: for 7.0 of 9.0 s only links were under way (2 links in all, the longest, server, took "
        "7.0 s); a faster linker would help (-fuse-ld=lld or mold)."
    )


def test_work_that_is_not_called_through_manycc() -> None:
    records = [*spread(8, 8, 2.0), compiled(9.0, 10.0)]
    found = verdict(records, sampled(10.0, cpu=0.25), told=8)
    assert found.bound.limit is Limit.OTHER_WORK
    assert "for 7.0 of 10.0 s no job was under way and this machine was busy (1.0 of 4 processors)" in sentence(found)


def test_a_build_that_waits_for_something_else() -> None:
    found = verdict([*spread(8, 8, 2.0), compiled(9.0, 10.0)], sampled(10.0, cpu=0.01), told=8)
    assert found.bound.limit is Limit.NOTHING
    assert "this machine was idle" in sentence(found)


def test_one_long_file() -> None:
    records = [*spread(16, 8, 2.0), compiled(3.0, 30.0, source="sqlite3.c")]
    found = verdict(records, sampled(30.0, taken=1), told=9)
    assert found.bound.limit is Limit.LONG_FILE
    assert sentence(found) == (
        "Limited by one long file: sqlite3.c took 27.0 s and was alone for 26 of 30 s; "
        "to begin it first would save up to 3.0 s (estimate)."
    )


def test_one_long_file_that_was_begun_first() -> None:
    records = [*spread(16, 8, 2.0), compiled(0.0, 30.0, source="sqlite3.c")]
    text = sentence(verdict(records, sampled(30.0, taken=1), told=9))
    assert text.endswith("it was begun at once, so only splitting it would help.")


def test_the_only_job() -> None:
    found = verdict([compiled(0.0, 20.0)], sampled(20.0, taken=1), told=8)
    assert found.bound.limit is Limit.LONG_FILE


def test_the_builds_own_order() -> None:
    """Eight at once, then two, again and again."""
    records = [
        compiled(at + offset, at + offset + length, source=f"{at}-{index}.cc")
        for at in range(0, 50, 5)
        for offset, length, count in ((0.0, 1.0, 8), (1.0, 4.0, 2))
        for index in range(count)
    ]
    found = verdict(records, sampled(50.0, taken=2), told=8)
    assert found.bound.limit is Limit.ORDER
    assert found.bound.seconds == pytest.approx(40.0, abs=0.5)
    assert "there were only 2 jobs to do on average while 6 slots were free" in sentence(found)


def test_many_files_that_are_alone_in_turn_are_the_builds_order() -> None:
    records = [
        job
        for at in range(0, 40, 4)
        for job in (compiled(at, at + 1, source=f"a{at}"), compiled(at, at + 4, source=f"b{at}"))
    ]
    found = verdict(records, sampled(40.0, taken=1), told=8)
    assert found.bound.limit is Limit.ORDER
    assert found.bound.seconds == pytest.approx(40.0, abs=0.5)


def test_hosts_that_were_not_ready() -> None:
    records = [compiled(0.0, 12.0, 10.0, f"f{index}.cc") for index in range(8)]
    found = verdict(records, sampled(12.0, taken=0), told=8)
    assert found.bound.limit is Limit.HOSTS
    assert "8 jobs waited on average until a host was connected and had their compiler" in sentence(found)


def test_what_came_second_is_named() -> None:
    records = [*in_line(8, 40, 2.0), linked(10.0, 14.0, "server")]
    found = verdict(records, sampled(14.0, taken=8), told=40)
    assert found.bound.limit is Limit.SLOTS
    assert sentence(found).endswith("; then by links, for 4.0 of 14.0 s.")


@pytest.mark.parametrize(
    "records",
    [
        [],
        [compiled(0.0, 0.4)],
        [{"t": T0, "run": "r", "by": "launcher", "reason": "agent-missing"}],
        [{"run": "r"}],
        [{"t": T0 + at, "run": "r", "reason": "agent-missing"} for at in range(10)],
    ],
)
def test_too_little_to_tell(records: list[Record]) -> None:
    found = verdict(records, [])
    assert found.bound.limit is Limit.UNKNOWN
    assert sentence(found).startswith("Too little to tell what limited it: ")


def test_all_from_the_cache() -> None:
    records = [record | {"cached": True, "reason": "cached"} for record in spread(400, 4, 0.02)]
    found = verdict(records, sampled(2.0, cpu=0.97, taken=1), told=8)
    assert found.bound.limit is Limit.CLIENT_CPU
    assert verdict(records, sampled(2.0, cpu=0.4, taken=1), told=4).bound.limit is Limit.PARALLELISM


def test_without_samples_the_records_must_do() -> None:
    assert verdict(in_line(8, 80, 5.0), []).bound.limit is Limit.SLOTS
    assert "more slots would help" in sentence(verdict(in_line(8, 80, 5.0), []))
    assert verdict(spread(20, 2, 1.0), [], told=2).bound.limit is Limit.PARALLELISM
    assert sentence(verdict(spread(20, 2, 1.0), [], told=2)).endswith("a higher -j would help.")


def test_another_agent_takes_over() -> None:
    first, second = sampled(5.0, up=9e6, taken=8), sampled(10.0, up=1e3, taken=8, pid=8)[6:]
    found = verdict(in_line(8, 40, 2.0), [*first, *second], told=40)
    assert found.bound.limit is Limit.SLOTS
    assert 0 <= found.bound.up < 9e6


def test_json() -> None:
    answer = as_json(verdict(spread(20, 2, 1.0), sampled(10.0, taken=2), 2))
    assert answer["limit"] == "parallelism"
    assert answer["sentence"].startswith("Limited by make's parallelism: ")
    assert answer["seconds"] == pytest.approx(10.0)
    assert answer["shares_s"] == {"parallelism": pytest.approx(10.0)}
    assert answer["average"]["jobs"] == pytest.approx(2.0)
    json.dumps(answer, allow_nan=False)
    assert as_json(verdict([], []))["limit"] == "unknown"


numbers = st.floats(allow_nan=True) | st.integers(-5, 10**20) | st.floats(0, 50)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["remote", "local", "queue", "total", "wait", "took", "fetch", "wall"]), inner, max_size=4
    ),
    max_leaves=8,
)  # fmt: skip
keys = st.sampled_from(["t", "run", "reason", "host", "src", "argv", "sent", "node", "phases"])


@given(st.lists(st.dictionaries(keys, anything), max_size=6), st.floats(-1e3, 1e3))
def test_records_out_of_form_break_nothing(records: list[Record], moved: float) -> None:
    found = verdict([*records, *spread(8, 4, 2.0)], [*sampled(4.0), Sample(t=T0 + moved, cpu_s=1e18, processors=1e-9)])
    text = sentence(found)
    assert text.endswith(".") and "nan" not in text and "inf" not in text.replace("information", "")
    json.dumps(as_json(found))
    assert sum(bound.seconds for bound in found.all) <= found.wall_s * 1.001 + 0.1
