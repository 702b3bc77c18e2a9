"""What the tools say and do about hosts that are quarantined."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from typing import Any, TextIO

from manycc.cli import client
from manycc.cli.output import print_json, say
from manycc.config import Config
from manycc.errors import ConfigError
from manycc.monitor import records
from manycc.monitor.stats import number_of, text_of
from manycc.monitor.units import amount
from manycc.monitor.verifications import endpoint, suspects

Entry = dict[str, Any]


def recorded(settings: Config) -> list[Entry]:
    """The entries, as the agent says; where none runs, as they are on the disk."""
    answer = client.ask(settings, {"op": "status"})
    if answer is not None:
        return [entry for entry in answer.get("quarantine") or [] if isinstance(entry, dict)]
    try:
        with open(settings.quarantine_path, encoding="ascii") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def warn(entries: Sequence[Entry], file: TextIO | None = None) -> None:
    """Say of each entry what it means, and what to do."""
    for entry in entries:
        host = entry.get("host", "?")
        say(f"WARNING: host {host} is quarantined for {entry.get('label', '?')}: it returned a wrong result.", file)
        when = _time(number_of(entry, "since"))
        say(f"  found {when}: {entry.get('difference', '?')}; evidence: {entry.get('report') or 'none'}", file)
        good = number_of(entry, "last_good")
        span = f"since the last good sample ({_time(good)})" if good else "ever (no sample of it proved equal)"
        say(f"  what it compiled {span} may be wrong too: manycc verify --suspects {host}", file)
        say(f"  when the host is sound again: manycc verify --forgive {host}", file)


def forgive(settings: Config, host: str, as_json: bool) -> int:
    """Lift the quarantine of a host. 1 if there was none."""
    client.start(settings)[0].close()
    answer = client.ask(settings, {"op": "forgive", "host": host}) or {}
    ended = answer.get("forgiven") or []
    if as_json:
        print_json({"forgiven": ended})
    elif ended:
        for sentence in ended:
            say(f"{host} is trusted again; it was {sentence}")
    else:
        say(f"{host} is not quarantined")
    return 0 if ended else 1


def show_suspects(settings: Config, host: str, as_json: bool) -> int:
    """List the outputs that came from a quarantined host since it last proved good.

    Raises ConfigError if it is not quarantined.
    """
    entries = [entry for entry in recorded(settings) if endpoint(str(entry.get("host"))) == endpoint(host)]
    if not entries:
        raise ConfigError(f"{host} is not quarantined", "", "manycc verify shows the hosts that are")
    since = min(number_of(entry, "last_good") for entry in entries)
    until = max(number_of(entry, "since") for entry in entries)
    found = suspects(records.read(settings.records_path), host, since, until)
    if as_json:
        print_json(found)
        return 0
    for job in found:
        say(f"{_time(number_of(job, 't'))}  {os.path.join(text_of(job, 'cwd'), text_of(job, 'out'))}")
    say(f"{amount(len(found), 'output')} of {host} may be wrong: delete them, and build again")
    return 0


def _time(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
