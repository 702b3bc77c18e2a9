"""``manycc stats``: what became of past jobs."""

from __future__ import annotations

import argparse
import datetime
import re
import time
from collections.abc import Sequence

from manycc import config
from manycc.cli.output import print_json, print_table, say
from manycc.errors import ConfigError
from manycc.monitor import limittext, records, summary
from manycc.monitor.judged import judge_run
from manycc.monitor.limits import Verdict
from manycc.monitor.stats import PHASES, Stats, aggregate, last_run
from manycc.monitor.units import amount, share, span
from manycc.monitor.verifications import tally
from manycc.reasons import BY_CODE

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def main(argv: Sequence[str]) -> int:
    """Print sums over the job records."""
    parser = argparse.ArgumentParser(
        prog="manycc stats",
        description="What became of past jobs: where they ran, why, how long it took, how much was sent.",
        epilog="examples: manycc stats --last; manycc stats --since 2h; manycc stats --json --since 2024-05-01T12:00",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--last", action="store_true", help="only the latest manycc run")
    which.add_argument("--run", metavar="ID", help="only the manycc run of this id (MANYCC_RUN)")
    parser.add_argument("--since", metavar="WHEN", help="only jobs since then: 90s, 10m, 2h, 3d, 1w, or an ISO time")
    options = parser.parse_args(argv)
    since = None if options.since is None else parse_when(options.since, time.time())
    settings = config.load()
    path = settings.records_path
    run = options.run
    if options.last:
        run = last_run(records.read(path))
        if not run:
            raise ConfigError("no run is recorded", "", "manycc run -- make, or manycc stats without --last")
    stats = aggregate(records.read(path), run=run, since=since)
    verified = tally(records.read(settings.verifications_path), run=run, since=since)
    # Of jobs of several builds, or of a part of one, no single thing is the limit.
    limited = judge_run(path, settings.samples_path, run) if run and since is None and stats.total else None
    if options.json:
        print_json(
            stats.as_json() | {"verify": verified, "limit": None if limited is None else limittext.as_json(limited)}
        )
    else:
        _print(stats, path, limited)
        if any(verified.values()):
            say(
                f"verified: {verified['verified']}, {verified['equal']} equal and {verified['different']} different;"
                f" {verified['void']} void, {verified['skipped']} skipped"
            )
    return 0


def parse_when(text: str, now: float) -> float:
    """Epoch seconds of ``2h`` (before ``now``) or an ISO time (local unless it says). Raises ConfigError."""
    match = _SPAN.fullmatch(text)
    if match is not None:
        return now - float(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{text!r} is no time", "expected such as 90s, 10m, 2h, 3d, 1w or 2024-05-01T12:00") from None


def _print(stats: Stats, path: str, limited: Verdict | None) -> None:
    if not stats.total:
        say(f"no jobs are recorded (in {path})")
        return
    begin = datetime.datetime.fromtimestamp(stats.first).astimezone()
    say(f"{summary.headline(stats)}; since {begin:%Y-%m-%d %H:%M}")
    for line in summary.body(stats)[:1] if stats.remote else []:
        say(f"  {line}")
    if limited is not None:
        say(f"  {limittext.sentence(limited)}")
    if stats.hosts:
        say()
        print_table(
            ["host", "jobs", "cached", "CPU"],
            [
                [name, str(host.jobs), str(host.cached), span(host.cpu_s)]
                for name, host in sorted(stats.hosts.items(), key=lambda item: -item[1].jobs)
            ],
            frozenset(("jobs", "cached", "CPU")),
        )
    say()
    rows = []
    for code, count in stats.reasons.most_common():
        reason = BY_CODE.get(code)
        kind = reason.kind.value.replace("_", " ") if reason is not None else "?"
        sentence = reason.sentence if reason is not None else "(a reason of another version)"
        rows.append([str(count), share(count, stats.total), kind, code, sentence, reason.hint if reason else ""])
    print_table(["jobs", "share", "where", "reason", "meaning", "hint"], rows, frozenset(("jobs", "share")))
    spent = [f"{name} {span(stats.phases[name])}" for name in PHASES if stats.phases[name]]
    if spent:
        say(f"time, summed over {amount(stats.total, 'job')}: {', '.join(spent)}")
    if stats.inputs:
        say("inputs found by: " + ", ".join(f"{how} {count}" for how, count in stats.inputs.most_common()))
