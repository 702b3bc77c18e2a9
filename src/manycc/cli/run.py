"""``manycc run -- COMMAND``: a whole build with its compiles spread over the hosts."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from manycc import config
from manycc.cli import child, client
from manycc.cli.bottomline import BottomLine, usable
from manycc.cli.course import Course
from manycc.cli.embedded import embedded_node
from manycc.cli.launcher import find_launcher
from manycc.cli.masquerade import refresh
from manycc.cli.output import say
from manycc.cli.parallel import fill_in, told_jobs
from manycc.cli.quarantine import warn
from manycc.config import Config
from manycc.errors import ConfigError, ManyccError
from manycc.hostlist import parse_hosts, parse_list
from manycc.monitor import summary
from manycc.monitor.live import progress_line
from manycc.monitor.records import Tail
from manycc.monitor.stats import Stats, text_of

SETTLE_S: Final = 1.0
ASK_S: Final = 1.0


def main(argv: Sequence[str]) -> int:
    """Run the build. Returns its exit code; 127 if there is no such command."""
    parser = argparse.ArgumentParser(
        prog="manycc run",
        usage="manycc run [-j N] [--no-progress] [--] COMMAND...",
        description="Run a build with its compiles spread over the hosts: puts the compilers' names in front of PATH, "
        "fills in -j for make, ninja and cmake, shows progress on a terminal, and ends with a summary. "
        "Without hosts it uses a node on this machine. The exit code is the command's.",
        epilog="examples: manycc run -- make; manycc run -j 40 -- ninja -C build; manycc run -- cmake --build build",
    )
    parser.add_argument("-j", "--jobs", type=_jobs, metavar="N", help="jobs at once (default: all slots there are)")
    parser.add_argument("--no-progress", action="store_true", help="no progress line; the summary stays")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise ConfigError("no command to run", "", "manycc run -- make")
    settings = config.load()
    with contextlib.ExitStack() as stack:
        hosts = settings.hosts
        if not settings.host_specs():
            hosts = stack.enter_context(embedded_node(settings.local_slots))
            jobs = settings.local_slots
            say(f"manycc: no hosts are configured: using a node on this machine ({jobs} jobs)", sys.stderr)
        return _build(settings, command, hosts, options.jobs, not options.no_progress)


def _jobs(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 99999")


def _build(settings: Config, command: list[str], hosts: str, jobs: int | None, progress: bool) -> int:
    run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    env = dict(os.environ)
    folder = refresh(settings.masquerade_dir, find_launcher(env), env)
    others = [place for place in env.get("PATH", os.defpath).split(":") if place != folder]
    env |= {"PATH": ":".join([folder, *others]), "MANYCC_RUN": run_id, "MANYCC_HOSTS": hosts}
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        say(f"manycc: {command[0]}: not found, or no program", sys.stderr)
        return 127
    parallel = fill_in(command, env, jobs or _slots(settings, hosts))
    env |= parallel.env

    names = frozenset(spec.name for spec in parse_hosts(hosts))
    course = Course(settings, run_id)
    watch = _Watch(settings, run_id, names, progress and usable(2, env.get("TERM", "")), course)
    watch.begin()
    try:
        code = child.run(program, parallel.argv, env, watch.tick)
    finally:
        watch.close()
    wall = course.over(os.path.basename(command[0]), told_jobs(parallel.argv, env))
    stats = watch.settle()
    say(f"manycc: {summary.headline(stats, wall)}", sys.stderr)
    for line in summary.body(stats):
        say(f"  {line}", sys.stderr)
    if stats.total and (limit := course.limit()):
        say(f"  {limit}", sys.stderr)
    warn(watch.quarantine, sys.stderr)
    return code


def _slots(settings: Config, hosts: str) -> int:
    """How many jobs keep all slots busy, those of this machine included; at least its CPUs."""
    own = parse_list(hosts).own_slots or settings.local_slots
    try:
        client.start(settings)[0].close()
        answer = client.ask(settings, {"op": "status", "hosts": hosts}) or {}
    except ManyccError as error:
        # The build works without an agent; the launcher tries again, and records say why.
        say(f"manycc: {error}", sys.stderr)
        answer = {}
    total = own
    for host in answer.get("hosts") or []:
        if isinstance(host, dict) and isinstance(slots := host.get("slots"), int):
            if host.get("state") == "ready":
                total += slots
            else:
                say(f"manycc: host {host.get('name')} is not used: {host.get('why') or host.get('state')}", sys.stderr)
    return max(total, config.cpu_count())


class _Watch:
    """Follows a run: its records, the agent's state, the line at the bottom of the terminal."""

    def __init__(self, settings: Config, run_id: str, hosts: frozenset[str], progress: bool, course: Course) -> None:
        self._settings = settings
        self._run_id = run_id
        self._hosts = hosts
        self._stats = Stats()
        self._course = course
        self._tail = Tail(settings.records_path)
        self._line = BottomLine(2) if progress else None
        self._started = time.monotonic()
        self.quarantine: list[dict[str, Any]] = []
        """The run's hosts that are not trusted any more, once it has settled."""

    def begin(self) -> None:
        """The build begins: what an earlier one did is not part of it."""
        self._status(sample=True)

    def tick(self) -> None:
        """Take in what is new, and show it."""
        self._poll()
        if self._line is None:
            return
        status = self._status()
        if status is not None:  # the agent may know hosts of other builds too
            hosts = [host for host in status.get("hosts") or [] if isinstance(host, dict)]
            status["hosts"] = [host for host in hosts if host.get("name") in self._hosts]
            status["quarantine"] = self._quarantined(status)
        elapsed = time.monotonic() - self._started
        self._line.show(progress_line(self._stats, status, elapsed, self._line.columns()))

    def settle(self) -> Stats:
        """The sums once the last jobs are recorded: a compiler's end reaches the agent a little later than make."""
        deadline = time.monotonic() + SETTLE_S
        sample = True
        while time.monotonic() < deadline:
            status = self._status(sample)
            sample = False
            self.quarantine = self._quarantined(status or {})
            jobs = status.get("jobs") if status is not None else None
            if not isinstance(jobs, dict) or not (jobs.get("running") or jobs.get("local")):
                break
            time.sleep(0.02)
        self._poll()
        self._tail.close()
        return self._stats

    def close(self) -> None:
        """Give the terminal back."""
        if self._line is not None:
            self._line.close()

    def _quarantined(self, status: dict[str, Any]) -> list[dict[str, Any]]:
        entries = [entry for entry in status.get("quarantine") or [] if isinstance(entry, dict)]
        return [entry for entry in entries if entry.get("host") in self._hosts]

    def _poll(self) -> None:
        for record in self._tail.poll():
            if text_of(record, "run") == self._run_id:
                self._stats.add(record)
                self._course.add(record)

    def _status(self, sample: bool = False) -> dict[str, Any] | None:
        """What the agent says. ``sample``: the build begins or has ended, and the agent shall take a sample of it."""
        try:
            return client.ask(self._settings, {"op": "status"} | ({"sample": True} if sample else {}), ASK_S)
        except ManyccError:
            return None
