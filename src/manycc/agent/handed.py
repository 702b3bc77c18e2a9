"""Jobs that launchers run themselves, noted until they have ended and have their record.

Their record is written at their end, for it says how long they took. Were the agent killed before, the jobs
would go on without it, and never be recorded: so the next agent records what is noted here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from manycc.agent.notes import Note, take_over
from manycc.monitor.records import RecordLog, decode, encode

_NOTE: Final = "handed"
_MAX: Final = 16 * 1024 * 1024
_DETAIL: Final = "the agent was killed before the job ended"


class Handed:
    """This agent's note; the jobs that dead agents noted are recorded."""

    def __init__(self, folder: str, records: RecordLog) -> None:
        for left in take_over(folder, _NOTE, _MAX):
            for record in _open(left):
                record["detail"] = f"{record['detail']}; {_DETAIL}" if record.get("detail") else _DETAIL
                records.write(record)
        self._note = Note(folder, _NOTE)
        self._open = 0

    def begin(self, record: Mapping[str, Any]) -> None:
        """A launcher runs the job of this record, which has a number, ``job``, and is otherwise complete."""
        self._open += 1
        with contextlib.suppress(OSError):  # a full disk costs this safety, not the job
            self._note.add(encode(record))

    def end(self, number: int) -> None:
        """The job has its record."""
        self._open -= 1
        with contextlib.suppress(OSError):
            if self._open:
                self._note.add(encode({"ended": number}))
            else:
                self._note.clear()

    def close(self) -> None:
        """The agent ends in order."""
        self._note.close()


def _open(noted: bytes) -> list[dict[str, Any]]:
    """The records without an end among what was noted; a line that was torn is passed over."""
    jobs: dict[object, dict[str, Any]] = {}
    for line in noted.splitlines(keepends=True):
        record = decode(line)
        if record is not None and "ended" in record:
            jobs.pop(record["ended"], None)
        elif record is not None and isinstance(record.get("job"), int):
            jobs[record["job"]] = record
    return list(jobs.values())
