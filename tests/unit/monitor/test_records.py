"""The log of job records: whole lines, a bound, many writers."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from manycc.monitor.records import MAX_LINE, Record, RecordLog, Tail, decode, encode, read


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "jobs.jsonl")


def jobs(path: str) -> list[int]:
    return [record["job"] for record in read(path)]


def test_records_come_back_in_order(path: str) -> None:
    log = RecordLog(path)
    written: list[Record] = [{"job": number, "src": 'a\udcff\n"ü.c', "phases": {"total": 0.5}} for number in range(5)]
    assert all(log.write(record) for record in written)
    log.close()
    assert list(read(path)) == written
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert Path(path).read_bytes().isascii()


def test_no_log_is_no_records(path: str) -> None:
    assert list(read(path)) == []


def test_torn_lines_and_garbage_are_passed_over(path: str) -> None:
    log = RecordLog(path)
    log.write({"job": 1})
    with open(path, "ab") as file:
        file.write(b'{"job": 99\n\xff\xfe\n[1]\n\n' + b"x" * (3 * MAX_LINE) + b"\n" + b"[" * 60_000 + b"\n")
    log.write({"job": 2})
    with open(path, "ab") as file:
        file.write(b'{"job": 100}')
    assert jobs(path) == [1, 2]
    # A writer that finds an unfinished line begins a new one.
    RecordLog(path).write({"job": 3})
    assert jobs(path) == [1, 2, 100, 3]


def test_a_long_record_is_cut_to_a_line(path: str) -> None:
    line = encode({"job": 1, "detail": "ü" * MAX_LINE, "reason": "remote", "argv": ["x" * MAX_LINE]})
    record = decode(line)
    assert record is not None
    assert record["reason"] == "remote"
    assert record["detail"].startswith("üüü")


def test_the_log_is_bounded_and_keeps_the_latest(path: str) -> None:
    log = RecordLog(path, limit=1000)
    for number in range(200):
        log.write({"job": number, "pad": "x" * 50})
        assert os.path.getsize(path) <= 1000
    found = jobs(path)
    assert found == list(range(found[0], 200))
    assert 10 <= len(found) <= 40
    assert os.path.getsize(path + ".1") <= 1000


def test_a_writer_follows_when_another_rotates_or_removes_the_file(path: str) -> None:
    log = RecordLog(path)
    log.write({"job": 1})
    os.rename(path, path + ".1")
    log.write({"job": 2})
    assert [json.loads(line)["job"] for line in Path(path).read_bytes().splitlines()] == [2]
    assert jobs(path) == [1, 2]
    os.unlink(path)
    log.write({"job": 3})
    assert jobs(path) == [1, 3]


def test_what_others_append_counts_towards_the_bound(path: str) -> None:
    log = RecordLog(path, limit=1000)
    log.write({"job": 1})
    with open(path, "ab") as file:
        file.write(encode({"job": 2, "pad": "x" * 980}))
    log.write({"job": 3})
    assert [json.loads(line)["job"] for line in Path(path).read_bytes().splitlines()] == [3]
    assert jobs(path) == [1, 2, 3]


def _numbered(writer: int, number: int) -> Record:
    return {"job": number, "writer": writer, "pad": "x" * (number % 700)}


def _append(path: str, writer: int, count: int, limit: int) -> None:
    log = RecordLog(path, limit)
    for number in range(count):
        assert log.write(_numbered(writer, number))


def test_many_writers_lose_and_tear_nothing(path: str) -> None:
    writers, count = 6, 400
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(path, writer, count, 1 << 30)) for writer in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = list(read(path))
    assert len(found) == writers * count
    for writer in range(writers):
        assert [record["job"] for record in found if record["writer"] == writer] == list(range(count))


def test_of_many_writers_that_find_it_full_one_rotates(path: str) -> None:
    # Two rotations in a row would lose what the first put aside.
    writers, count = 4, 300
    lines = [len(encode(_numbered(writer, number))) for writer in range(writers) for number in range(count)]
    limit = sum(lines) * 2 // 3
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(path, writer, count, limit)) for writer in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert os.path.exists(path + ".1")
    assert len(list(read(path))) == writers * count


def test_a_rotation_that_another_was_quicker_to_do_is_not_done_again(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = RecordLog(path, limit=100), RecordLog(path, limit=100)
    slow.write({"job": 1, "pad": "x" * 60})
    lock = fcntl.flock

    def after_another(fd: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        quick.write({"job": 2, "pad": "x" * 22})
        lock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", after_another)
    slow.write({"job": 3, "pad": "x" * 22})
    assert jobs(path) == [1, 2, 3]


def test_a_full_disk_loses_records_but_raises_nothing(path: str) -> None:
    log = RecordLog(path)
    assert log.write({"job": 1})
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + 4, old[1]))
    try:
        assert not log.write({"job": 2})  # a part of it fits
        assert not log.write({"job": 3})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    assert log.write({"job": 4})
    assert jobs(path) == [1, 4]
    assert log.warning.startswith(f"jobs that could not be recorded in {path}: 2 (")


def test_a_folder_that_cannot_be_made_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not RecordLog(str(tmp_path / "file" / "jobs.jsonl")).write({"job": 1})


def test_a_tail_sees_what_is_new_over_rotations(path: str) -> None:
    log = RecordLog(path, limit=400)
    log.write({"job": 0})
    tail = Tail(path)
    seen: list[int] = []
    for number in range(1, 60):
        log.write({"job": number, "pad": "x" * 40})
        if number % 3 == 0:
            seen += [record["job"] for record in tail.poll()]
    assert seen == list(range(1, 58))
    assert [record["job"] for record in tail.poll()] == [58, 59]
    assert tail.poll() == []
    tail.close()


def test_a_tail_waits_for_a_file_and_for_the_rest_of_a_line(path: str) -> None:
    tail = Tail(path)
    assert tail.poll() == []
    os.makedirs(os.path.dirname(path))
    with open(path, "ab", buffering=0) as file:
        file.write(b'{"job"')
        assert tail.poll() == []
        file.write(b": 7}\n")
    assert tail.poll() == [{"job": 7}]
    tail.close()


def test_a_tail_reads_late_writers_of_the_file_put_aside(path: str) -> None:
    log = RecordLog(path)
    log.write({"job": 1})
    tail = Tail(path)
    with open(path, "ab", buffering=0) as late:
        os.rename(path, path + ".1")
        RecordLog(path).write({"job": 2})
        assert [record["job"] for record in tail.poll()] == [2]
        late.write(encode({"job": 3}))
    assert [record["job"] for record in tail.poll()] == [3]
    tail.close()
