"""The progress of a run in one line of text."""

from __future__ import annotations

from typing import Any

from manycc.monitor.stats import Stats
from manycc.monitor.units import share, span


def progress_line(stats: Stats, status: dict[str, Any] | None, elapsed_s: float, columns: int) -> str:
    """What is done and what is under way, in fewer than ``columns`` characters.

    ``status`` is the agent's answer to "status", None while it is not known. What does not fit is left
    out from the right, part by part.
    """
    parts = [f"manycc {span(elapsed_s)}"]
    if status is not None:  # before all else: what this build gets may have been wrong before
        parts += [f"QUARANTINED {entry.get('host')}" for entry in status.get("quarantine") or []]
    parts.append(f"{stats.total} done")
    if stats.total:
        parts.append(f"{share(stats.remote, stats.total)} on nodes")
    if stats.failed_over:
        parts.append(f"{stats.failed_over} failed over")
    if status is not None:
        parts += _under_way(status)
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else part
        if len(longer) >= columns:
            break
        line = longer
    return line


def _under_way(status: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    jobs = status.get("jobs")
    if isinstance(jobs, dict):
        parts.append(f"{jobs.get('running', 0)} running")
        if jobs.get("local"):
            parts.append(f"{jobs['local']} here")
        if jobs.get("waiting"):
            parts.append(f"{jobs['waiting']} waiting")
    hosts = [host for host in status.get("hosts") or [] if isinstance(host, dict)]
    # The busiest first: they are what a narrow terminal shall still show.
    for host in sorted(hosts, key=lambda host: -int(host.get("busy") or 0)):
        if host.get("state") == "ready":
            parts.append(f"{host.get('name')} {host.get('busy', 0)}/{host.get('slots', '?')}")
        elif host.get("state") == "down":
            parts.append(f"{host.get('name')} down")
    return parts
