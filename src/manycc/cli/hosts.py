"""``manycc hosts``: connect to the configured hosts and show which can be used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from manycc import config
from manycc.cli import client
from manycc.cli.output import print_json, say
from manycc.cli.quarantine import warn
from manycc.cli.status import draw_hosts
from manycc.hostlist import GRAMMAR


def main(argv: Sequence[str]) -> int:
    """Print a table of hosts. 0 if every one can be used, 1 if not."""
    parser = argparse.ArgumentParser(
        prog="manycc hosts",
        description="Connect to the hosts and show which can be used. Exit code 1 unless all are ready.",
        epilog=GRAMMAR + ".",
    )
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="try these instead of the configured ones")
    parser.add_argument("--json", action="store_true", help="print JSON (docs/json.md)")
    options = parser.parse_args(argv)
    settings = config.load(flags={"hosts": " ".join(options.hosts) if options.hosts else None})
    listed = settings.host_list()
    specs = listed.hosts
    nodes = [spec for spec in specs if not spec.local and not spec.down]
    for note in listed.notes:
        say(f"manycc: {note}", sys.stderr)
    if not specs and not options.json:
        say('no hosts: set MANYCC_HOSTS="192.168.0.100/6 raspberrypi.local/4", or hosts in')
        say(settings.user_file)
        return 1
    if nodes:
        client.start(settings)[0].close()
        answer = client.ask(settings, {"op": "status", "hosts": settings.hosts}) or {}
    else:
        answer = {}
    hosts = [host for host in answer.get("hosts", []) if isinstance(host, dict)]
    if options.json:
        print_json({"origin": settings.origin("hosts"), "hosts": hosts})
    else:
        say(f"from {settings.origin('hosts')}:")
        if nodes:
            draw_hosts(answer)
        names = {host.get("name") for host in hosts}
        warn([entry for entry in answer.get("quarantine") or [] if entry.get("host") in names])
        for spec in specs:
            if spec.local:
                say(f"this machine: {listed.own_slots or settings.local_slots} slots")
            elif spec.down:
                say(f"{spec.name}: not used (,down)")
    usable = [host for host in hosts if host.get("state") == "ready" and not host.get("quarantined")]
    return 0 if len(usable) == len(nodes) and nodes else 1
