"""Job records: one JSON line a job, appended by the agent and by launchers.

The keys below are an interface (``docs/json.md``): they keep their names and meanings, more may be
added, and a reader must do without any of them, for a launcher that found no agent knows little.

====================  ============================================================================
t                     end of the job, seconds since the epoch
job                   number of the job within its agent's life
run                   id of the ``manycc run`` it belongs to, "" if none
by                    who wrote the record: "agent", or "launcher" where there was no agent to do it
pid                   process id of the launcher
cwd, src, out         working folder; source and main output as the command spells them
compiler              file name of the command's first word
argv                  the command of a job that no node did, cut off where it is long
reason, detail        code of the reason (``reasons.py``), and what it says about this very job
host                  the node that answered, as the user wrote it; absent for a local job
way                   how the node has the compiler: "same", "shipped", "equivalent"; absent if no node did it
tried                 [[host, reason, detail], …]: nodes that failed before the job was done
exit                  exit code of a job that a node answered; null or absent otherwise
how, inputs           how the inputs were found (manifest, scan, scan+M) and how many there are
phases                seconds by phase: prepare, queue, remote, write, local, total
node                  what the node says: cpu, wall, stage, wait, queued, fetch, took in seconds, rss in bytes
sent, received        bytes on the wire
cached                whether the node answered from its result cache
digest                hex SHA-256 of the main output, "" if there is none
====================  ============================================================================

The log is bounded: at its limit the file is renamed to ``….1`` (replacing an older one) and a new
one begun, so that together they hold at most twice the limit. Several processes may append and
rotate at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

Record = dict[str, Any]

DEFAULT_LIMIT: Final = 16 * 1024 * 1024
MAX_LINE: Final = 64 * 1024
_SHORT: Final = 500


def encode(record: Mapping[str, Any]) -> bytes:
    """A record's line. Texts are cut where it would be longer than MAX_LINE."""
    line = json.dumps(record, separators=(",", ":")).encode()
    if len(line) >= MAX_LINE:
        short = {key: value[:_SHORT] if isinstance(value, str) else value for key, value in record.items()}
        line = json.dumps(short, separators=(",", ":")).encode()
    if len(line) >= MAX_LINE:
        short = {key: value for key, value in short.items() if not isinstance(value, list | dict)}
        line = json.dumps(short, separators=(",", ":")).encode()
    return line + b"\n"


def decode(line: bytes) -> Record | None:
    """The record of a line; None if the line is torn, too long, or no record."""
    if len(line) > MAX_LINE or not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))  # launchers write names as they are
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class RecordLog:
    """Appends records. One ``write`` a record, so that lines of many processes stay whole."""

    def __init__(self, path: str, limit: int = DEFAULT_LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._fd = -1
        self._torn = False
        self._lost = 0
        self.warning = ""
        """A sentence, once a record could not be written."""

    def write(self, record: Mapping[str, Any]) -> bool:
        """Append a record. False if the disk would not take it: a lost record fails no job."""
        line = encode(record)
        try:
            size = self._current_size()
            if size > 0 and size + len(line) > self._limit:
                self._rotate()
                self._current_size()
            data = b"\n" + line if self._torn else line
            self._torn = os.write(self._fd, data) < len(data)
        except OSError as error:
            self.close()
            self._lose(error.strerror or str(error))
            return False
        if self._torn:
            self._lose("it was written in part")
        return not self._torn

    def _lose(self, why: str) -> None:
        self._lost += 1
        self.warning = f"jobs that could not be recorded in {self.path}: {self._lost} ({why})"

    def close(self) -> None:
        """Close the file. The next write opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _current_size(self) -> int:
        """The size of the file at ``path``, which is open afterwards.

        Looked up each time (it costs a few microseconds), for others append, rotate and remove too.
        """
        if self._fd >= 0:
            mine = os.fstat(self._fd)
            if self._is_current(mine):
                return mine.st_size
            self.close()
        folder = os.path.dirname(self.path)
        if folder:
            os.makedirs(folder, mode=0o700, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        return size

    def _is_current(self, mine: os.stat_result) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), mine)
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        # Of several processes that find the file full, the first to lock it renames it; the others
        # then see that the path leads elsewhere.
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if self._is_current(os.fstat(self._fd)):
                os.rename(self.path, self.path + ".1")
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


def read(path: str) -> Iterator[Record]:
    """All records there are, oldest file first. Torn lines and garbage are passed over.

    Raises OSError if a file that exists cannot be read.
    """
    with contextlib.ExitStack() as stack:
        current = _open_for_reading(path)
        older = _open_for_reading(path + ".1")
        if current is not None and older is not None and _same(current, older):
            # It was rotated between the two opens.
            current.close()
            current = _open_for_reading(path)
        files = [stack.enter_context(file) for file in (older, current) if file is not None]
        for file in files:
            yield from _records(file)


def _open_for_reading(path: str) -> IO[bytes] | None:
    try:
        return open(path, "rb", buffering=256 * 1024)
    except FileNotFoundError:
        return None


def _same(one: IO[bytes], other: IO[bytes]) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def _records(file: IO[bytes]) -> Iterator[Record]:
    """The records up to the end; leaves an unfinished last line unread."""
    while line := file.readline(MAX_LINE + 1):
        if line.endswith(b"\n"):
            record = decode(line)
            if record is not None:
                yield record
        elif len(line) > MAX_LINE:
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        else:
            file.seek(-len(line), os.SEEK_CUR)
            return


class Tail:
    """What is added to a log from now on, rotations followed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._older: IO[bytes] | None = None  # just rotated: other writers may not have noticed yet
        self._file = _open_for_reading(path)
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def poll(self) -> list[Record]:
        """The records that were added since the last call. Never waits."""
        found: list[Record] = []
        if self._older is not None:
            found += _records(self._older)
        if self._file is not None:
            found += _records(self._file)
        latest = _open_for_reading(self._path)
        if latest is None:
            return found
        if self._file is not None and _same(self._file, latest):
            latest.close()
            return found
        if self._older is not None:
            self._older.close()
        self._older, self._file = self._file, latest
        found += _records(latest)
        return found

    def close(self) -> None:
        """Close the files; nothing can be polled afterwards but what a new file holds."""
        for file in (self._older, self._file):
            if file is not None:
                file.close()
        self._older = self._file = None
