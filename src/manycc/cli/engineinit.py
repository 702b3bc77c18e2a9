"""``manycc engine init``: write a BuildGrid for a team into a folder."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
from collections.abc import Sequence
from typing import Final

from manycc.cli.engine import say_lines
from manycc.engine import setup
from manycc.errors import ConfigError
from manycc.node.options import parse_size

MOST: Final = 10_000


def main(argv: Sequence[str]) -> int:
    """Write the files and say what comes next; 0. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="manycc engine init",
        description="Write a BuildGrid for a team into a folder: the server's configuration, a PostgreSQL of its own, "
        "certificates, and services for systemd. Nothing is installed or started by this.",
    )
    parser.add_argument("folder", metavar="DIR", help="where; made if it is not there, and must be empty")
    name = "the server's name or IP address, as clients and nodes call it (default: this machine's name)"
    parser.add_argument("--host", help=name)
    parser.add_argument("--port", type=int, default=setup.PORT, help=f"the server's port (default: {setup.PORT})")
    parser.add_argument("--listen", default="[::]", metavar="ADDR", help="address to listen on (default: every one)")
    parser.add_argument("--instance", default="main", help="the instance's name (default: main)")
    slots = f"the slots= of all clients together: how many jobs may be there at once (default: {setup.SLOTS})"
    parser.add_argument("--slots", type=int, default=setup.SLOTS, metavar="N", help=slots)
    workers = f"how many nodes may be joined (default: {setup.WORKERS})"
    parser.add_argument("--workers", type=int, default=setup.WORKERS, metavar="N", help=workers)
    size = "bound of the contents, like 200G (default: half of what the disk has free)"
    parser.add_argument("--store-size", metavar="SIZE", help=size)
    parser.add_argument("--no-tls", action="store_true", help="without certificates: it lets in whoever reaches it")
    options = parser.parse_args(argv)
    folder = os.path.abspath(options.folder)
    if not 1 <= options.port <= 65535:
        raise ConfigError(f"{options.port} is no port", "", "ports are numbers from 1 to 65535")
    if not (1 <= options.slots <= MOST and 1 <= options.workers <= MOST):
        raise ConfigError(f"--slots and --workers must be numbers from 1 to {MOST}")
    plan = setup.Setup(
        folder=folder,
        host=options.host or _own_name(),
        port=options.port,
        listen=options.listen,
        instance=options.instance,
        tls=not options.no_tls,
        slots=options.slots,
        workers=options.workers,
        store_size=_store_size(options.store_size, folder),
    )
    plan.check()
    plan.write()
    say_lines(f"written to {folder}:")
    for name in sorted(plan.files()):
        say_lines(f"  {name}")
    say_lines(f"for {plan.slots} slots of all clients together, {plan.workers} workers, and contents of up to "
              f"{plan.store_size / setup.GIB:.3g} GiB")  # fmt: skip
    say_lines(f"clients and nodes call it {plan.host}, port {plan.port}")
    say_lines(plan.next_steps())
    return 0


def _own_name() -> str:
    """This machine's name as others may know it. Raises ConfigError."""
    name = socket.getfqdn()
    if name.partition(".")[0] in ("localhost", "ip6-localhost"):
        raise ConfigError(f"this machine calls itself {name}, which others cannot",
                          "clients and nodes must reach it by the name in its certificate",
                          "say --host NAME, or --host ADDRESS where there is no DNS")  # fmt: skip
    return name


def _store_size(text: str | None, folder: str) -> int:
    """Bytes. Raises ConfigError."""
    if text is None:
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        return max(setup.GIB, shutil.disk_usage(folder).free // 2)
    size = parse_size(text)
    if size < setup.GIB:
        raise ConfigError(f"--store-size {text} is too little", "", "say 1G or more")
    return size
