"""The hosts that are not trusted with a toolchain any more, because a result of theirs was wrong.

An entry bars one pair of host and toolchain. It outlives the agent (a JSON file in the state
folder) and ends when the user forgives the host, or when the toolchain is gone from this machine:
then no job asks for it any more. Where the host's own compiler changes, the host refuses the
toolchain by itself.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from manycc.errors import NotDistributable
from manycc.job import Toolchain
from manycc.monitor.verifications import endpoint

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """A barred pair. ``host`` as the user wrote it, ``since`` in seconds since the epoch.

    ``last_good`` is when the latest result was accepted that had proved equal, 0 if none had.
    ``files`` are the paths and hex digests of the toolchain's programs: it is gone when one differs.
    """

    host: str
    fingerprint: str
    label: str
    driver: str
    since: float
    last_good: float
    difference: str
    report: str
    files: tuple[tuple[str, str], ...] = ()

    @property
    def sentence(self) -> str:
        """What is told of it everywhere."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        evidence = f" (see {self.report})" if self.report else ""
        return f"QUARANTINED for {self.label} since {when}: {self.difference}{evidence}"


class Quarantine:
    """All entries; read when made, written when changed."""

    def __init__(self, path: str, digest_of: Callable[[str], bytes]) -> None:
        self._path = path
        self._digest_of = digest_of
        self._entries: dict[tuple[str, str], Entry] = {}
        self.on_change: list[Callable[[], None]] = []
        for entry in self._load():
            if self._is_gone(entry):
                log.warning("%s: %s is not on this machine any more: no quarantine", entry.host, entry.label)
            else:
                self._entries[endpoint(entry.host), entry.fingerprint] = entry
                log.error("host %s: %s", entry.host, entry.sentence)

    def sentence(self, host: str, toolchain: Toolchain) -> str:
        """Why the host is not trusted with the toolchain; "" if it is."""
        if not self._entries:
            return ""
        entry = self._entries.get((endpoint(host), toolchain.fingerprint))
        return "" if entry is None else entry.sentence

    def entries(self) -> list[Entry]:
        """All that are barred, oldest first. Toolchains that are gone are forgotten at this occasion."""
        gone = [key for key, entry in self._entries.items() if self._is_gone(entry)]
        if gone:
            for key in gone:
                log.warning("%s: its toolchain is gone: no quarantine any more", self._entries.pop(key).host)
            self._changed()
        return sorted(self._entries.values(), key=lambda entry: entry.since)

    def of(self, host: str) -> list[Entry]:
        """The entries of one host."""
        wanted = endpoint(host)
        return [entry for (place, _), entry in self._entries.items() if place == wanted]

    def add(self, entry: Entry) -> None:
        """Bar a pair; the first evidence against it is kept."""
        if self._entries.setdefault((endpoint(entry.host), entry.fingerprint), entry) is entry:
            while len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._changed()

    def name_report(self, host: str, toolchain: Toolchain, report: str) -> None:
        """Say where the evidence lies, which is written after a pair is barred."""
        key = (endpoint(host), toolchain.fingerprint)
        entry = self._entries.get(key)
        if entry is not None and not entry.report:
            self._entries[key] = replace(entry, report=report)
            self._changed()

    def forgive(self, host: str) -> list[Entry]:
        """Trust a host again, with all toolchains. Returns the entries that this ended."""
        ended = self.of(host)
        for entry in ended:
            del self._entries[endpoint(host), entry.fingerprint]
            log.warning("host %s is forgiven: %s", host, entry.sentence)
        if ended:
            self._changed()
        return ended

    def _is_gone(self, entry: Entry) -> bool:
        for path, digest in entry.files:
            try:
                if self._digest_of(path).hex() != digest:
                    return True
            except (OSError, NotDistributable):
                return True
        return False

    def _changed(self) -> None:
        text = json.dumps([asdict(entry) for entry in self._entries.values()], indent=1)
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as error:
            log.error("the quarantine will be forgotten when this agent ends: %s: %s", self._path, error.strerror)
        for callback in tuple(self.on_change):
            callback()

    def _load(self) -> list[Entry]:
        try:
            with open(self._path, encoding="ascii") as file:
                listed = json.load(file)
            return [_entry(item) for item in listed]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("the quarantine is forgotten, for %s cannot be read: %s", self._path, error)
            return []


def entry_for(host: str, toolchain: Toolchain, last_good: float, difference: str, report: str) -> Entry:
    """An entry that bars a host from now on."""
    files = tuple((file.path, file.digest.hex()) for file in toolchain.files)
    return Entry(
        host=host,
        fingerprint=toolchain.fingerprint,
        label=toolchain.label,
        driver=toolchain.driver,
        since=time.time(),
        last_good=last_good,
        difference=difference,
        report=report,
        files=files,
    )


def _entry(item: dict[str, Any]) -> Entry:
    values = {field.name: item[field.name] for field in fields(Entry)}
    for field in ("since", "last_good"):
        values[field] = float(values[field])
    values["files"] = tuple((str(path), str(digest)) for path, digest in values["files"])
    return Entry(**values)
