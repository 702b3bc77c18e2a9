"""``manycc engine init``: write a BuildGrid for a team into a folder."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence

from manycc.cli.engine import say_lines
from manycc.engine import setup
from manycc.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Write the files and say what comes next; 0. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="manycc engine init",
        description="Write a BuildGrid for a team into a folder: the server's configuration, a PostgreSQL of its own, "
        "certificates, and services for systemd. Nothing is installed or started by this.",
    )
    parser.add_argument("folder", metavar="DIR", help="where; made if it is not there, and must be empty")
    parser.add_argument("--host", default=socket.getfqdn(), help="the server's name, as clients and nodes call it")
    parser.add_argument("--port", type=int, default=setup.PORT, help=f"the server's port (default: {setup.PORT})")
    parser.add_argument("--listen", default="[::]", metavar="ADDR", help="address to listen on (default: every one)")
    parser.add_argument("--instance", default="main", help="the instance's name (default: main)")
    clients = "how many jobs may wait and workers be joined at the same time (default: 20 of each)"
    parser.add_argument("--clients", type=int, default=20, metavar="N", help=clients)
    parser.add_argument("--no-tls", action="store_true", help="without certificates: it lets in whoever reaches it")
    options = parser.parse_args(argv)
    folder = os.path.abspath(options.folder)
    if not 1 <= options.port <= 65535 or options.clients < 1:
        raise ConfigError("the port or the number of clients is out of bounds")
    plan = setup.Setup(
        folder=folder,
        host=options.host,
        port=options.port,
        listen=options.listen,
        instance=options.instance,
        tls=not options.no_tls,
        clients=options.clients,
    )
    plan.check()
    plan.write()
    say_lines(f"written to {folder}:")
    for name in sorted(plan.files()):
        say_lines(f"  {name}")
    say_lines(plan.next_steps())
    return 0
