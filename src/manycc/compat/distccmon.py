"""``distccmon-text``: the jobs under way, as text."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from manycc import config
from manycc.cli import client
from manycc.cli.output import clean, say

EXIT_ARGUMENTS: Final = 101
_USAGE: Final = (
    "usage: distccmon-text [SECONDS]\n\n"
    "Shows the jobs that are compiled now: process, state, source, host and slot.\n"
    "With SECONDS, shows them again and again after that time."
)
_STATES: Final = {"prepare": "Preprocess", "queue": "Blocked", "remote": "Compile", "local": "Compile"}


def main(words: Sequence[str]) -> int:
    """Show them once, or until interrupted."""
    if list(words) in (["--help"], ["-h"]):
        print(_USAGE)
        return 0
    pause = _seconds(words[0]) if len(words) == 1 else 0.0 if not words else None
    if pause is None:
        say(f"distccmon-text: {' '.join(words)!r} is no number of seconds", sys.stderr)
        print(_USAGE, file=sys.stderr)
        return EXIT_ARGUMENTS
    settings = config.load()
    while True:
        answer = client.ask(settings, {"op": "jobs"}) or {}
        print("\n".join([*lines(answer.get("jobs") or []), ""]), flush=True)
        if not pause:
            return 0
        time.sleep(pause)


def lines(jobs: list[Any]) -> list[str]:
    """One line for each job, in distcc's columns. Slots are counted per host: nobody but distcc numbers them."""
    text: list[str] = []
    slots: Counter[str] = Counter()
    for job in jobs:
        if not isinstance(job, dict):
            continue
        host, name = str(job.get("host") or ""), clean(str(job.get("source") or job.get("compiler") or ""))
        state = _STATES.get(str(job.get("phase")), "Startup")
        text.append(f"{int(job.get('pid', 0)):6d}  {state:<10.10}  {name:<30.30} {clean(host):>24.24}[{slots[host]}]")
        slots[host] += 1
    return text


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= 1e6 else None
