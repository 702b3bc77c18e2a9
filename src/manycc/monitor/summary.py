"""The summary at the end of a run, and of ``manycc stats``: lines of text from sums."""

from __future__ import annotations

from manycc.errors import ConfigError
from manycc.hostlist import HostSpec, parse_hosts
from manycc.monitor.stats import Stats
from manycc.monitor.units import amount, share, size, span
from manycc.reasons import BY_CODE, Kind, Reason

STOCK = (Reason.STOCK, Reason.STOCK_COLUMNS, Reason.STOCK_MESSAGES)


def on_this_machine(host: str) -> bool:
    """Whether a host's name means a node on this very machine (which spares it no work)."""
    try:
        specs: tuple[HostSpec, ...] = parse_hosts(host)
    except ConfigError:
        return False
    return len(specs) == 1 and (specs[0].address in ("localhost", "::1") or specs[0].address.startswith("127."))


def headline(stats: Stats, wall_s: float | None = None) -> str:
    """One line: how many jobs, and where they were done."""
    if not stats.total:
        return "no compile jobs" + ("" if wall_s is None else f" in {span(wall_s)}")
    stock = sum(stats.reasons[reason.code] for reason in STOCK)
    parts = [f"{stats.remote} on {'hosts' if stock else 'nodes'} ({share(stats.remote, stats.total)})"]
    if stock:
        parts.append(f"{stock} of them by stock distccd")
    if stats.cached:
        parts.append(f"{stats.cached} of them from result caches")
    if stats.local:
        parts.append(f"{stats.local} here")
    if stats.failed_over:
        parts.append(f"{stats.failed_over} failed over")
    total = amount(stats.total, "job")
    return f"{total}{'' if wall_s is None else f' in {span(wall_s)}'}: {', '.join(parts)}"


def body(stats: Stats) -> list[str]:
    """What follows the headline: bytes, CPU time, hosts, and every reason with its sentence."""
    lines: list[str] = []
    if stats.remote:
        line = f"sent {size(stats.sent)}, received {size(stats.received)}"
        spared = sum(host.cpu_s for name, host in stats.hosts.items() if not on_this_machine(name))
        if spared >= 0.05:
            line += f"; about {span(spared)} of compiler CPU time spared here"
        lines.append(line)
    width = max(map(len, stats.hosts), default=0)
    for name, host in sorted(stats.hosts.items(), key=lambda item: (-item[1].jobs, item[0])):
        line = f"{name:{width}}  {amount(host.jobs, 'job')}, {span(host.cpu_s)} CPU"
        lines.append(line + (f", {host.cached} cached" if host.cached else ""))
    for kind in (Kind.REMOTE, Kind.LOCAL, Kind.FAILED_OVER):
        lines += reason_lines(stats, kind)
    return lines


def reason_lines(stats: Stats, kind: Kind) -> list[str]:
    """One line for each reason of a kind that was met, most frequent first; none for what the headline says."""
    label = {Kind.LOCAL: "here", Kind.FAILED_OVER: "failed over", Kind.REMOTE: "elsewhere"}[kind]
    lines: list[str] = []
    for code, count in stats.reasons.most_common():
        reason = BY_CODE.get(code)
        if reason is None and kind is Kind.LOCAL and code not in BY_CODE:
            lines.append(f"{label} {count}: {code}")
        if reason is None or reason.kind is not kind or reason in (Reason.REMOTE, Reason.CACHED):
            continue
        line = f"{label} {count}: {reason.sentence} [{code}]"
        if kind is Kind.FAILED_OVER or reason.hint:
            detail = stats.samples.get(code, "")
            line += f" (such as: {detail})" if detail else ""
        lines.append(line)
        if reason.hint:
            lines.append(f"    hint: {reason.hint}")
    return lines
