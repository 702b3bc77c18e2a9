"""Verification records: one JSON line for each job that was to be compiled here again and compared.

They lie in a log of their own, written and read as job records are (``monitor/records.py``), with
these keys:

============  ==================================================================================
t             when the verification was over, seconds since the epoch
verdict       equal, different, void (it proves nothing: ``detail`` says why) or skipped (not done)
detail        a sentence; "" where the verdict says it all
host          the node that did the job, as the user wrote it
fingerprint   of the toolchain; ``label`` names it for people
done          when the job's result was accepted, seconds since the epoch
job, run      the job's number in its agent's life, and the id of its ``manycc run``
cwd, src, out as in the job's own record
seconds       what compiling it here again took
report        the folder that holds all that is needed to look into a difference
============  ==================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final

from manycc.errors import ConfigError
from manycc.hostlist import parse_hosts
from manycc.monitor.records import Record
from manycc.monitor.stats import number_of, text_of

EQUAL: Final = "equal"
DIFFERENT: Final = "different"
VOID: Final = "void"
SKIPPED: Final = "skipped"
VERDICTS: Final = (EQUAL, DIFFERENT, VOID, SKIPPED)


def tally(records: Iterable[Record], *, run: str | None = None, since: float | None = None) -> dict[str, int]:
    """How many verifications there were by verdict, and ``verified``: those that proved something."""
    counts = dict.fromkeys(("verified", *VERDICTS), 0)
    for record in records:
        if run is not None and text_of(record, "run") != run:
            continue
        if since is not None and number_of(record, "t") < since:
            continue
        verdict = text_of(record, "verdict")
        if verdict in VERDICTS:
            counts[verdict] += 1
            counts["verified"] += verdict in (EQUAL, DIFFERENT)
    return counts


@functools.lru_cache(maxsize=1024)
def endpoint(host: str) -> str:
    """Where a host is, however its name is spelled."""
    try:
        specs = parse_hosts(host)
    except ConfigError:
        return host
    return f"[{specs[0].address.lower()}]:{specs[0].port}" if len(specs) == 1 else host


def last_equal(records: Iterable[Record], host: str, fingerprint: str) -> float:
    """When the latest job of this pair was done that proved equal; 0 if none did."""
    latest = 0.0
    wanted = endpoint(host)
    for record in records:
        if (
            text_of(record, "verdict") == EQUAL
            and endpoint(text_of(record, "host")) == wanted
            and text_of(record, "fingerprint") == fingerprint
        ):
            latest = max(latest, number_of(record, "done"))
    return latest


def suspects(jobs: Iterable[Record], host: str, since: float, until: float) -> list[Record]:
    """The job records whose outputs came from a host after ``since``, up to ``until``."""
    wanted = endpoint(host)
    return [
        job
        for job in jobs
        if since < number_of(job, "t") <= until and text_of(job, "out") and endpoint(text_of(job, "host")) == wanted
    ]
