"""``manycc status``: what the agent and its hosts are doing now."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from manycc import config
from manycc.cli import client
from manycc.cli.agent import describe
from manycc.cli.output import print_json, print_table, say
from manycc.cli.quarantine import recorded, warn
from manycc.monitor.units import amount

STATES = {
    "idle": "not connected (connects with the first job)",
    "connecting": "connecting",
    "ready": "ready",
    "down": "down",
}


def main(argv: Sequence[str]) -> int:
    """Print the agent's state. Never starts an agent."""
    parser = argparse.ArgumentParser(
        prog="manycc status",
        description="What the agent, its hosts and its jobs are doing now. Starts and connects nothing.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    options = parser.parse_args(argv)
    settings = config.load()
    answer = client.ask(settings, {"op": "status"})
    if options.json:
        print_json(answer if answer is not None else silent_status(settings))
        return 0
    if answer is None:
        say("no agent is running; it starts with the first job, or: manycc agent start")
        answer = silent_status(settings)
    else:
        say(describe(answer))
        jobs = answer.get("jobs", {})
        say(
            f"jobs: {jobs.get('running', 0)} under way, {jobs.get('waiting', 0)} waiting for a slot, "
            f"{jobs.get('local', 0)} on this machine"
        )
        verify = answer.get("verify") or {}
        if verify.get("waiting") or verify.get("busy"):
            waiting = amount(verify.get("waiting", 0), "sample")
            busy = ", one is being verified" if verify.get("busy") else ""
            say(f"verify = {verify.get('rate')}: {waiting} waiting for idle time{busy}")
    for sentence in answer.get("warnings") or []:
        say(f"warning: {sentence}")
    draw_hosts(answer)
    warn(answer.get("quarantine") or [])
    return 0


def silent_status(settings: config.Config) -> dict[str, Any]:
    """The status where no agent runs: the configured hosts, none of them connected."""
    return {
        "agent": None,
        "hosts": [
            {"name": spec.name, "state": "idle", "slots": spec.slots or 0, "busy": 0, "why": "no agent is running"}
            for spec in settings.host_specs()
            if not spec.local
        ],
        "jobs": {"running": 0, "waiting": 0, "local": 0},
        "quarantine": recorded(settings),
    }


def draw_hosts(answer: dict[str, Any]) -> None:
    """Draw the table of hosts of a status, or say that there are none."""
    hosts = [host for host in answer.get("hosts", []) if isinstance(host, dict)]
    if not hosts:
        if not os.environ.get("MANYCC_HOSTS"):
            say('no hosts: set MANYCC_HOSTS="192.168.0.100/6 raspberrypi.local/4", or use manycc run')
        else:
            say("no host has been used yet: see manycc hosts")
        return
    rows = []
    for host in hosts:
        state = str(host.get("state", "?"))
        notes = [str(host.get("why", "")), "QUARANTINED" * bool(host.get("quarantined")), wrong_objects(host)]
        rows.append(
            [
                str(host.get("name", "?")),
                str(host.get("kind") or ""),
                STATES.get(state, state),
                str(host.get("slots") or "?"),
                str(host.get("busy", 0)),
                toolchains_of(host),
                "; ".join(filter(None, notes)),
            ]
        )
    columns = ["host", "kind", "state", "slots", "busy", "compilers", "note"]
    always = ("host", "state", "slots", "busy")
    used = [index for index, name in enumerate(columns) if name in always or any(row[index] for row in rows)]
    print_table(
        [columns[index] for index in used],
        [[row[index] for index in used] for row in rows],
        frozenset(("slots", "busy")),
    )


def wrong_objects(host: dict[str, Any]) -> str:
    """How often a host returned an object of another kind than it had to be; "" if never."""
    count = host.get("wrong")
    if not isinstance(count, int) or not count:
        return ""
    return f"{amount(count, 'wrong object')}, last {host.get('wrong_last', '?')}"


def toolchains_of(host: dict[str, Any]) -> str:
    """The compilers a host was asked about: those it serves, and why not those it refused."""
    texts = []
    for toolchain in host.get("toolchains") or []:
        if isinstance(toolchain, dict):
            label, refused = toolchain.get("label", "?"), toolchain.get("refused")
            way = toolchain.get("way")
            if toolchain.get("sent_of") is not None:
                texts.append(f"{label}: {refused}")
            elif refused:
                texts.append(f"not {label}: {refused}")
            else:
                texts.append(f"{label} ({way})" if way in ("shipped", "equivalent") else str(label))
    return "; ".join(texts)
