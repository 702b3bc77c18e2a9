"""What limited a build, in one sentence for people, and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from manycc.monitor.limits import BUSY, FULL, LEAST_SHARE, Bound, Limit, Verdict
from manycc.monitor.units import amount, share, span

_NAMES: Final = {
    Limit.SLOTS: "the hosts' slots",
    Limit.FULL: "all slots in use",
    Limit.MEMORY: "the hosts' memory",
    Limit.UPLINK: "the uplink",
    Limit.DOWNLINK: "the downlink",
    Limit.CLIENT_CPU: "this machine's CPU",
    Limit.LINKS: "links",
    Limit.LONG_FILE: "one long file",
    Limit.ORDER: "the build's own order",
    Limit.HOSTS: "hosts that were not ready",
    Limit.OTHER_WORK: "work outside of manycc",
    Limit.NOTHING: "no work at all",
}


def sentence(verdict: Verdict) -> str:
    """What limited it, with the numbers, and what would help."""
    bound = verdict.bound
    if verdict.clock_set:
        return "What limited it cannot be told: this machine's clock was set during the build, or it slept."
    if bound.limit is Limit.UNKNOWN:
        return f"Too little to tell what limited it: {amount(verdict.jobs, 'job')} in {span(verdict.wall_s)}."
    text = _TEXTS[bound.limit](bound, verdict)
    if bound.limit not in (Limit.FULL, Limit.NOTHING):
        only = "" if bound.seconds >= LEAST_SHARE * verdict.wall_s else "by nothing for long, most by "
        text = f"Limited {only or 'by '}{text}"
    if verdict.runner_up is not None:
        second, name = verdict.runner_up, _name(verdict.runner_up, verdict)
        spent = f"for {_of(second.seconds, verdict.wall_s)}"
        text += f"; then by {name}, {spent}" if text.startswith("Limited") else f"; {name} limited it {spent}"
    return text + "."


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The shape under ``limit`` in ``manycc stats --json`` (``docs/json.md``)."""
    bound = verdict.bound
    return {
        "limit": bound.limit.value,
        "sentence": sentence(verdict),
        "wall_s": round(verdict.wall_s, 3),
        "seconds": round(bound.seconds, 3),
        "saving_s": round(bound.saving_s, 3),
        "runner_up": verdict.runner_up.limit.value if verdict.runner_up is not None else "",
        "shares_s": {one.limit.value: round(one.seconds, 3) for one in verdict.all},
        "average": {
            "jobs": round(bound.jobs, 2), "waiting": round(bound.waiting, 2), "at_hosts": round(bound.at_hosts, 2),
            "slots": round(bound.slots, 2), "local": round(bound.local, 2), "cpu": round(bound.cpu, 3),
            "agent_cpu": round(bound.agent, 3), "line": round(bound.line, 3),
            "up_bytes_s": round(bound.up), "down_bytes_s": round(bound.down),
        },
    }  # fmt: skip


def _name(bound: Bound, verdict: Verdict) -> str:
    if bound.limit is Limit.PARALLELISM:
        return f"{verdict.more['tool'] or 'the build'}'s parallelism"
    return _NAMES[bound.limit]


def _of(part: float, whole: float) -> str:
    """``41 of 52 s``."""
    if whole >= 100:
        return f"{span(part)} of {span(whole)}"
    digits = 1 if whole < 20 else 0
    return f"{part:.{digits}f} of {whole:.{digits}f} s"


def _for(bound: Bound, verdict: Verdict) -> str:
    return f"{_name(bound, verdict)}: for {_of(bound.seconds, verdict.wall_s)}"


def _few(number: float) -> str:
    """A number of jobs on average."""
    return f"{number:.0f}" if number >= 9.5 or abs(number - round(number)) < 0.05 else f"{number:.1f}"


def _jobs(number: float) -> str:
    text = _few(number)
    return f"{text} job" if text == "1" else f"{text} jobs"


def _up_to(bound: Bound, what: str) -> str:
    """``; WHAT would save up to 19 s (estimate)``; no figure where there is nothing to speak of."""
    if bound.saving_s < 0.1:
        return f"; {what} would help little"
    return f"; {what} would save up to {span(bound.saving_s)} (estimate)"


def _slots(bound: Bound, verdict: Verdict) -> str:
    if not bound.slots or "more_slots" not in verdict.more:
        return f"{_for(bound, verdict)} {_jobs(bound.waiting)} waited on average; more slots would help"
    if bound.waiting < 0.3:
        return (
            f"{_for(bound, verdict)} jobs waited at the hosts, which work for others too; "
            "more hosts, or slots that are not shared, would help"
        )
    slots = round(bound.slots)
    all_taken = "the only one was busy" if slots == 1 else f"all {slots} were busy"
    if bound.at_hosts < FULL * bound.slots:  # others' jobs, or slots that are slower than waiting for another
        all_taken = f"{_few(bound.at_hosts)} of {slots} were used by this build"
    more = verdict.more["more_slots"]
    return f"{_for(bound, verdict)} {all_taken} and {_jobs(bound.waiting)} waited on average" + _up_to(
        bound, amount(more, "more slot")
    )


def _full(bound: Bound, verdict: Verdict) -> str:
    slots = round(bound.slots)
    busy = "the only slot was busy" if slots == 1 else f"all {slots} slots were busy"
    return f"Nothing to report: for {_of(bound.seconds, verdict.wall_s)} {busy}"


def _memory(bound: Bound, verdict: Verdict) -> str:
    hosts = verdict.more.get("hosts") or []
    where = f" on {', '.join(hosts[:3])}{' and others' if len(hosts) > 3 else ''}" if hosts else ""
    used = f"{_few(bound.at_hosts)} of {_few(bound.slots)} slots were used on average"
    return (
        f"{_for(bound, verdict)} there was too little{where}: {used} and {_jobs(bound.waiting)} waited here; "
        "more memory there, or hosts with more of it, would help"
    )


def _line(bound: Bound, verdict: Verdict) -> str:
    rate = bound.up if bound.limit is Limit.UPLINK else bound.down
    way = "went out" if bound.limit is Limit.UPLINK else "came in"
    rated = f" {8 * rate / 1e6:.1f} Mbit/s {way} and" if rate else ""
    return (
        f"{_for(bound, verdict)}{rated} jobs spent {share(bound.line, 1.0)} of their time at hosts on the line"
        + _up_to(bound, "a line twice as fast")
    )


def _client_cpu(bound: Bound, verdict: Verdict) -> str:
    processors = _few(verdict.processors)
    if bound.agent >= BUSY:
        what = f"manycc's agent used {share(bound.agent, 1.0)} of one processor"
        help_ = "fewer and larger compiles would help"
    elif bound.cpu >= BUSY:
        what = f"its {processors} processor{'' if processors == '1' else 's'} were {share(bound.cpu, 1.0)} busy"
        help_ = "less work here would help (manycc stats --last says which jobs stayed)"
    else:
        what = "all places for jobs here were taken"
        help_ = "fewer jobs here would help (manycc stats --last says why they stayed)"
    if verdict.more["hosts_here"]:
        return f"{_for(bound, verdict)} {what}, and its own node did the work; hosts elsewhere would help"
    if bound.slots:
        what += f", while {_few(bound.at_hosts)} of {_few(bound.slots)} slots of hosts were used on average"
    return f"{_for(bound, verdict)} {what} and {_jobs(bound.local)} ran here; {help_}"


def _parallelism(bound: Bound, verdict: Verdict) -> str:
    told = verdict.more["told_jobs"]
    kept = f"{'-j' + str(told) if told else 'it'} kept {_jobs(bound.jobs)} under way"
    use = verdict.more.get("use_jobs")
    if not use:
        return f"{_for(bound, verdict)} {kept}; a higher -j would help"
    return f"{_for(bound, verdict)} {kept} while the hosts have {amount(use, 'slot')}" + _up_to(bound, f"-j{use}")


def _links(bound: Bound, verdict: Verdict) -> str:
    more = verdict.more
    return (
        f"{_for(bound, verdict)} only links were under way ({amount(more['links'], 'link')} in all, the longest, "
        f"{more['link'] or 'unnamed'}, took {span(more['link_s'])}); a faster linker would help (-fuse-ld=lld or mold)"
    )


def _long_file(bound: Bound, verdict: Verdict) -> str:
    more = verdict.more
    first = f"{_name(bound, verdict)}: {more['file'] or 'it'} took {span(more['file_s'])}"
    alone = f"{first} and was alone for {_of(more['alone_s'], verdict.wall_s)}"
    if bound.saving_s < 0.1:
        return f"{alone}; it was begun at once, so only splitting it would help"
    return f"{alone}{_up_to(bound, 'to begin it first')}"


def _order(bound: Bound, verdict: Verdict) -> str:
    free = f" while {_few(max(0.0, bound.slots - bound.at_hosts))} slots were free" if bound.slots else ""
    were = "was" if _few(bound.jobs) == "1" else "were"
    return (
        f"{_for(bound, verdict)} there {were} only {_jobs(bound.jobs)} to do on average{free}; "
        "fewer steps that wait for each other would help (one make for all folders, not one for each)"
    )


def _hosts(bound: Bound, verdict: Verdict) -> str:
    return (
        f"{_for(bound, verdict)} {_jobs(bound.waiting)} waited on average until a host was connected and had their "
        "compiler; the next build has them, if the agent still runs (see manycc hosts)"
    )


def _other_work(bound: Bound, verdict: Verdict) -> str:
    busy = f"{bound.cpu * verdict.processors:.1f} of {_few(verdict.processors)} processors"
    return (
        f"{_for(bound, verdict)} no job was under way and this machine was busy ({busy}): "
        "links or tools that are not called through manycc"
    )


def _nothing(bound: Bound, verdict: Verdict) -> str:
    return (
        f"Neither hosts nor this machine limited it: for {_of(bound.seconds, verdict.wall_s)} no job was under way and "
        "this machine was idle: the build waited for something else"
    )


_TEXTS: Final[dict[Limit, Callable[[Bound, Verdict], str]]] = {
    Limit.SLOTS: _slots,
    Limit.FULL: _full,
    Limit.MEMORY: _memory,
    Limit.UPLINK: _line,
    Limit.DOWNLINK: _line,
    Limit.CLIENT_CPU: _client_cpu,
    Limit.PARALLELISM: _parallelism,
    Limit.LINKS: _links,
    Limit.LONG_FILE: _long_file,
    Limit.ORDER: _order,
    Limit.HOSTS: _hosts,
    Limit.OTHER_WORK: _other_work,
    Limit.NOTHING: _nothing,
}
