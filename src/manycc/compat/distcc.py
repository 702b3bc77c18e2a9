"""What ``distcc`` answers itself: help, versions, the host list, what it would send.

The launcher comes here only with a question as its first word, or with no word at all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from manycc import __version__, config
from manycc.cli import client
from manycc.cli.output import say
from manycc.cli.request import build_request
from manycc.compat.log import ERROR, WARNING, Log
from manycc.config import Config
from manycc.errors import ConfigError, ManyccError
from manycc.hostlist import DEFAULT_PORT, HostList
from manycc.inputs.includes import parse_search_list
from manycc.job import FILE, FOLDER, LINK
from manycc.wire.launcher import DISTCC

EXIT_FAILED: Final = 100
EXIT_ARGUMENTS: Final = 101
EXIT_NO_COMPILER: Final = 110
EXIT_NO_HOSTS: Final = 116
UNKNOWN_SLOTS: Final = 4
"""What distcc takes a host for whose slots nobody has said."""
PROBE_S: Final = 30.0

_USAGE: Final = """\
Usage:
   distcc [COMPILER] ARGUMENT...     compile, on a host if that is possible; COMPILER is cc if it is left out
   distcc --scan-includes [COMPILER] ARGUMENT...
                                     show what would be sent for a compile
   distcc --show-hosts               show the hosts
   distcc -j                         show how many jobs the hosts take at once
   distcc --help | --version

Hosts are taken from $MANYCC_HOSTS, manycc's configuration, $DISTCC_HOSTS, $DISTCC_DIR/hosts or
~/.distcc/hosts, and /etc/distcc/hosts, whichever comes first. See manycc doctor, and manycc --help.
"""


def main(words: Sequence[str]) -> int:
    """Answer. Returns distcc's exit codes."""
    question = words[0] if words else ""
    if question == "--help":
        print(version_text(), end="\n\n" + _USAGE)
        return 0
    if question == "--version":
        print(version_text())
        return 0
    if question == "--show-hosts":
        return _show_hosts()
    if question == "-j":
        return _show_slots()
    if question == "--scan-includes":
        return _scan_includes(words[1:])
    if question == "--show-principal":
        say("distcc: manycc does not authenticate with GSSAPI: there is no principal", sys.stderr)
        return EXIT_FAILED
    say("distcc: no compiler and no option is given; see distcc --help", sys.stderr)
    return EXIT_ARGUMENTS


def version_text() -> str:
    """The first two lines have the shape in which programs look for distcc's."""
    return (
        f"distcc {__version__} {os.uname().machine}-linux-gnu\n"
        f"  (protocols 1, 2 and 3) (default port {DEFAULT_PORT})\n"
        "  manycc, which compiles on distcc's servers and on its own nodes"
    )


def _hosts() -> tuple[Config, HostList]:
    """Raises ConfigError for a list that cannot be read."""
    settings = config.load()
    found = settings.host_list()
    for note in found.notes:
        _complain(WARNING, note)
    return settings, found


def _complain(level: str, text: str) -> None:
    umask = os.umask(0o077)
    os.umask(umask)
    shown = Log(os.environ, os.getcwd(), os.getpid(), umask).say(level, text)
    sys.stderr.write(shown.decode("utf-8", "backslashreplace"))


def _no_hosts() -> int:
    _complain(WARNING, "$DISTCC_HOSTS and the hosts files name no host; can't distribute work")
    return EXIT_NO_HOSTS


def _show_hosts() -> int:
    _, found = _hosts()
    for spec in found.hosts:
        say(str(spec))
    return 0 if found.hosts else _no_hosts()


def _show_slots() -> int:
    """How many jobs to give to ``make -j``."""
    settings, found = _hosts()
    if not found.hosts:
        return _no_hosts()
    used = [spec for spec in found.hosts if not spec.down]
    offered: dict[str, int] = {}
    if any(spec.slots is None and not spec.local for spec in used):
        offered = _offered(settings)
    total = 0
    for spec in used:
        if spec.local:
            total += found.own_slots or settings.local_slots
        else:
            total += spec.slots or offered.get(spec.name, UNKNOWN_SLOTS)
    print(total)
    return 0


def _offered(settings: Config) -> dict[str, int]:
    """The slots of the hosts that answer now."""
    try:
        client.start(settings)[0].close()
        answer = client.ask(settings, {"op": "status", "hosts": settings.hosts}) or {}
    except ManyccError:
        return {}
    hosts = [host for host in answer.get("hosts") or [] if isinstance(host, dict) and host.get("state") == "ready"]
    return {str(host.get("name")): slots for host in hosts if isinstance(slots := host.get("slots"), int) and slots}


def _scan_includes(words: Sequence[str]) -> int:
    settings, found = _hosts()
    if not any(spec.cpp for spec in found.hosts):
        what = "'--scan_includes' specified, but distcc wouldn't have used include server"
        _complain(ERROR, f"{what} (make sure hosts list includes ',cpp' option)")
        return EXIT_FAILED
    command = list(words)
    if not command or command[0].startswith("-"):
        command.insert(0, "cc")
    try:
        request = build_request(command)
    except ConfigError as error:
        _complain(ERROR, f"failed to exec {error}")
        return EXIT_NO_COMPILER
    answer = client.explain(settings, request._replace(flags=request.flags | DISTCC))
    if not answer.get("distributable") or "items" not in answer:
        why = answer.get("detail") or answer.get("sentence")
        _complain(ERROR, f"nothing would be sent: {answer.get('sentence')} ({why})")
        return EXIT_FAILED
    system = _system_folders(request.compiler, str(answer.get("language")))
    below = tuple(f"{os.path.realpath(folder)}/" for folder in system)
    labels = {FILE: "FILE", LINK: "SYMLINK", FOLDER: "DIRECTORY"}
    for kind, path in sorted(answer["items"], key=lambda item: (item[0], item[1])):
        if not path.startswith(below):
            say(f"{labels.get(kind, '?'):9} {path}")
    for folder in system:
        say(f"{'SYSTEMDIR':9} {folder}")
    return 0


def _system_folders(compiler: str, language: str) -> list[str]:
    """The include folders that are built into a compiler."""
    ask = [compiler, "-E", "-v", "-x", language, os.devnull]
    env = {**os.environ, "LC_ALL": "C", "MANYCC_DISABLE": "1"}
    try:
        done = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=PROBE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    folders = parse_search_list(done.stderr.decode("utf-8", "surrogateescape")) or ()
    return [os.path.normpath(folder) for folder in dict.fromkeys(folders) if os.path.isdir(folder)]
