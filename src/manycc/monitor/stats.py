"""Sums over job records: what ``manycc stats`` and the summary of a run show.

Every record counts as one job, and as exactly one of remote, local and failed over, so
``total = remote + local + failed_over``. ``cached`` is the part of ``remote`` that nodes answered from
their result caches. A record with a reason code this version does not know counts by whether a host
answered it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from manycc.monitor.records import Record
from manycc.reasons import BY_CODE, Kind, Reason

PHASES = ("prepare", "queue", "remote", "write", "local", "total")


@dataclass(slots=True)
class HostStats:
    """What one node did: jobs answered (and how many of them from its cache), compiler CPU seconds."""

    jobs: int = 0
    cached: int = 0
    cpu_s: float = 0.0


@dataclass(slots=True)
class Stats:
    """Sums, grown record by record."""

    total: int = 0
    remote: int = 0
    cached: int = 0
    local: int = 0
    failed_over: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    inputs: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, HostStats] = field(default_factory=dict)
    sent: int = 0
    received: int = 0
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    first: float = 0.0
    last: float = 0.0
    samples: dict[str, str] = field(default_factory=dict)
    """The latest detail seen with each reason that has one."""

    def add(self, record: Record) -> None:
        """Count one record. Whatever in it is out of form counts as absent."""
        code = text_of(record, "reason")
        reason = BY_CODE.get(code)
        host = text_of(record, "host")
        kind = reason.kind if reason is not None else Kind.REMOTE if host else Kind.LOCAL
        self.total += 1
        self.reasons[code or "unknown"] += 1
        if kind is Kind.REMOTE:
            self.remote += 1
            self._add_host(record, host, reason is Reason.CACHED or record.get("cached") is True)
        elif kind is Kind.LOCAL:
            self.local += 1
        else:
            self.failed_over += 1
        if detail := text_of(record, "detail"):
            self.samples[code] = detail
        if how := text_of(record, "how"):
            self.inputs[how] += 1
        self.sent += int(number_of(record, "sent"))
        self.received += int(number_of(record, "received"))
        phases = record.get("phases")
        if isinstance(phases, dict):
            for name in PHASES:
                self.phases[name] += number_of(phases, name)
        end = number_of(record, "t")
        if end:
            begin = end - (number_of(phases, "total") if isinstance(phases, dict) else 0.0)
            self.first = min(self.first, begin) if self.first else begin
            self.last = max(self.last, end)

    def _add_host(self, record: Record, name: str, cached: bool) -> None:
        host = self.hosts.setdefault(name or "unknown", HostStats())
        host.jobs += 1
        if cached:
            self.cached += 1
            host.cached += 1
        node = record.get("node")
        if isinstance(node, dict) and not cached:
            host.cpu_s += number_of(node, "cpu")

    @property
    def remote_cpu_s(self) -> float:
        """CPU seconds of compilers on nodes."""
        return sum(host.cpu_s for host in self.hosts.values())

    def as_json(self) -> dict[str, Any]:
        """The shape that ``manycc stats --json`` prints (``docs/json.md``)."""
        return {
            "jobs": {
                "total": self.total,
                "remote": self.remote,
                "cached": self.cached,
                "local": self.local,
                "failed_over": self.failed_over,
            },
            "reasons": dict(self.reasons.most_common()),
            "bytes": {"sent": self.sent, "received": self.received},
            "hosts": {
                name: {"jobs": host.jobs, "cached": host.cached, "cpu_s": round(host.cpu_s, 3)}
                for name, host in sorted(self.hosts.items())
            },
            "time": {
                "first": round(self.first, 3),
                "last": round(self.last, 3),
                "wall_s": round(self.last - self.first, 3),
                "node_cpu_s": round(self.remote_cpu_s, 3),
                "phases_s": {name: round(seconds, 3) for name, seconds in self.phases.items()},
            },
            "inputs": dict(self.inputs.most_common()),
        }


def text_of(record: Record, key: str) -> str:
    """A record's text, "" if there is none."""
    value = record.get(key)
    return value if isinstance(value, str) else ""


def number_of(record: Record, key: str) -> float:
    """A record's number; 0 if there is none, or one no count or duration can have."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        return 0.0
    return float(value)


def aggregate(records: Iterable[Record], *, run: str | None = None, since: float | None = None) -> Stats:
    """Sum up the records of one run (its id), or those that ended at or after ``since`` (epoch seconds)."""
    stats = Stats()
    for record in records:
        if run is not None and text_of(record, "run") != run:
            continue
        if since is not None and number_of(record, "t") < since:
            continue
        stats.add(record)
    return stats


def last_run(records: Iterable[Record]) -> str:
    """The id of the run that a job was last recorded for; "" if there is none."""
    latest = ""
    for record in records:
        latest = text_of(record, "run") or latest
    return latest
