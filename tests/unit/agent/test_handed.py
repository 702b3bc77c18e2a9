"""Jobs that launchers run themselves have a record even if their agent is killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from manycc.agent.handed import Handed
from manycc.monitor.records import RecordLog, encode


def job(number: int, **more: Any) -> dict[str, Any]:
    return {"job": number, "reason": "not-compile", "detail": "", "pid": 100 + number, **more}


def recorded(log: RecordLog) -> list[dict[str, Any]]:
    path = Path(log.path)
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def killed(folder: Path, log: RecordLog, *done: tuple[str, int]) -> Path:
    """What an agent has left that did this and was killed; the note of another, for ours has its number."""
    handed = Handed(str(folder), log)
    for what, number in done:
        handed.begin(job(number)) if what == "begin" else handed.end(number)
    copy = folder / "handed.1"
    shutil.copy(folder / f"handed.{os.getpid()}", copy)
    handed.close()
    return copy


def test_what_a_killed_agent_had_handed_out_is_recorded(tmp_path: Path) -> None:
    log = RecordLog(str(tmp_path / "jobs.jsonl"))
    left = killed(tmp_path, log, ("begin", 1), ("begin", 2), ("end", 1), ("begin", 3))
    Handed(str(tmp_path), log).close()
    assert [(record["job"], record["reason"]) for record in recorded(log)] == [(2, "not-compile"), (3, "not-compile")]
    assert recorded(log)[0]["detail"] == "the agent was killed before the job ended"
    assert not left.exists()


def test_nothing_is_left_when_all_have_ended(tmp_path: Path) -> None:
    log = RecordLog(str(tmp_path / "jobs.jsonl"))
    left = killed(tmp_path, log, ("begin", 1), ("begin", 2), ("end", 2), ("end", 1))
    assert left.read_bytes() == b""
    Handed(str(tmp_path), log).close()
    assert recorded(log) == []


def test_a_living_agent_records_its_own(tmp_path: Path) -> None:
    log = RecordLog(str(tmp_path / "jobs.jsonl"))
    left = killed(tmp_path, log, ("begin", 1))
    with open(left, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Handed(str(tmp_path), log).close()
    assert recorded(log) == [] and left.exists()


def test_a_torn_or_foreign_note_is_passed_over(tmp_path: Path) -> None:
    log = RecordLog(str(tmp_path / "jobs.jsonl"))
    (tmp_path / "handed.1").write_bytes(
        b'{"job": [1]}\nnonsense\n[]\n' + encode(job(5, detail="why")) + encode(job(6))[:-9]
    )
    Handed(str(tmp_path), log).close()
    assert [record["detail"] for record in recorded(log)] == ["why; the agent was killed before the job ended"]


def test_without_a_folder_jobs_go_on(tmp_path: Path) -> None:
    handed = Handed(str(tmp_path / "missing"), RecordLog(str(tmp_path / "jobs.jsonl")))
    handed.begin(job(1))
    handed.end(1)
    handed.close()
