"""A key-value file that survives anything: restarts, kill -9, a full disk, rotten bytes.

It keeps what is cheap to lose and dear to work out: digests, scans, answers of the compiler. So it never
raises: a file that cannot be used is replaced or done without, and ``warning`` says so. Layout: an
SQLite database in WAL mode, one table a shelf::

    key BLOB PRIMARY KEY, value BLOB (CRC-32 of key and payload, payload), used INTEGER (day)

Writes are collected and committed in batches; the least recently used rows go when a table outgrows
its bound.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import zlib
from typing import Final

FORMAT: Final = 4
"""Raise it when a value's form changes: files of another format are replaced without a word."""

MAX_PENDING: Final = 4096
_BUSY_S: Final = 0.2
_DAY_S: Final = 86400


class Shelves:
    """One file with several shelves. ``bounds``: shelf name → most rows it may hold."""

    def __init__(self, path: str, bounds: dict[str, int]) -> None:
        self.warning = ""
        self._path = path
        self._bounds = bounds
        self._today = int(time.time()) // _DAY_S
        self._pending: dict[tuple[str, bytes], bytes | None] = {}  # None: only note that it was used
        self._reads = {name: f"SELECT value, used FROM {name} WHERE key = ?" for name in bounds}  # noqa: S608
        self._database: sqlite3.Connection | None = None
        self._open()

    def get(self, shelf: str, key: bytes) -> bytes | None:
        """The value put last, or None."""
        pending = self._pending.get((shelf, key))
        if pending is not None:
            return pending
        if self._database is None:
            return None
        try:
            row = self._database.execute(self._reads[shelf], (key,)).fetchone()
        except sqlite3.Error as error:
            self._failed(error)
            return None
        if row is None:
            return None
        stored, used = row
        if type(stored) is not bytes or len(stored) < 4:
            return None
        value = stored[4:]
        if stored[:4] != zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "little"):
            return None
        if used != self._today:
            self._pending.setdefault((shelf, key), None)
        return value

    def put(self, shelf: str, key: bytes, value: bytes) -> None:
        """Keep a value; it is on disk after the next ``flush``."""
        if self._database is not None:
            self._pending[shelf, key] = value
            if len(self._pending) >= MAX_PENDING:
                self.flush()

    @property
    def dirty(self) -> bool:
        """Whether there is anything to flush."""
        return bool(self._pending)

    def flush(self) -> None:
        """Commit what was put."""
        database = self._database
        if database is None or not self._pending:
            return
        self._today = int(time.time()) // _DAY_S
        today = self._today
        try:
            with database:
                for shelf, bound in self._bounds.items():
                    rows = [(k, v) for (s, k), v in self._pending.items() if s == shelf]
                    database.executemany(
                        f"INSERT OR REPLACE INTO {shelf} VALUES (?, ?, ?)",  # noqa: S608
                        [
                            (k, zlib.crc32(v, zlib.crc32(k)).to_bytes(4, "little") + v, today)
                            for k, v in rows
                            if v is not None
                        ],
                    )
                    database.executemany(
                        f"UPDATE {shelf} SET used = ? WHERE key = ?",  # noqa: S608
                        [(today, k) for k, v in rows if v is None],
                    )
                    if rows:
                        self._trim(database, shelf, bound)
        except sqlite3.Error as error:
            self._failed(error)
            if len(self._pending) >= MAX_PENDING:
                self._pending.clear()
        else:
            self._pending.clear()

    def close(self) -> None:
        """Flush, and let go of the file."""
        self.flush()
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    @staticmethod
    def _trim(database: sqlite3.Connection, shelf: str, bound: int) -> None:
        (count,) = database.execute(f"SELECT COUNT(*) FROM {shelf}").fetchone()  # noqa: S608
        if count > bound:
            database.execute(
                f"DELETE FROM {shelf} WHERE key IN (SELECT key FROM {shelf} ORDER BY used LIMIT ?)",  # noqa: S608
                (count - bound + bound // 10,),
            )

    def _open(self) -> None:
        for attempt in range(2):
            database: sqlite3.Connection | None = None
            try:
                os.makedirs(os.path.dirname(self._path) or ".", mode=0o700, exist_ok=True)
                database = sqlite3.connect(self._path, timeout=_BUSY_S)
                self._prepare(database)
                self._database = database
                return
            except (sqlite3.Error, OSError) as error:
                if database is not None:
                    with contextlib.suppress(sqlite3.Error):
                        database.close()
                self.warning = f"{self._path} cannot be used: {error}"
                if attempt or isinstance(error, OSError) or _is_passing(error):
                    return
                self._remove()

    def _prepare(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, FORMAT):
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                database.execute(f'DROP TABLE "{name}"')
            database.commit()
        database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("PRAGMA synchronous = NORMAL")
        existing = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version != FORMAT or not existing.issuperset(self._bounds):
            with database:
                for shelf in self._bounds:
                    database.execute(
                        f"CREATE TABLE IF NOT EXISTS {shelf} (key BLOB PRIMARY KEY, value BLOB, used INTEGER)"
                        " WITHOUT ROWID"
                    )
                database.execute(f"PRAGMA user_version = {FORMAT}")

    def _failed(self, error: sqlite3.Error) -> None:
        """Another process holds the lock: try again later. Anything else: start anew, then do without."""
        if _is_passing(error):
            return
        first = not self.warning
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        if first:
            self._remove()
            self._open()
        self.warning = f"{self._path} was damaged: {error}"

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(self._path + suffix)


def _is_passing(error: sqlite3.Error) -> bool:
    text = str(error)
    return "locked" in text or "busy" in text or "disk is full" in text
