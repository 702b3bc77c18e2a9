"""``manycc doctor``: check this machine's set-up, and say what to do."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Final

from manycc import __version__, config
from manycc.cli import client
from manycc.cli.findings import FAIL, OK, WARN, Finding
from manycc.cli.launcher import find_compiler, find_launcher, is_program
from manycc.cli.output import say
from manycc.cli.probe import launcher_version
from manycc.cli.quarantine import recorded
from manycc.config import Config
from manycc.errors import ConfigError, ManyccError
from manycc.monitor import records
from manycc.monitor.stats import aggregate
from manycc.monitor.units import amount, size
from manycc.monitor.verifications import tally

LITTLE_DISK: Final = 2 * 1000**3
DAY_S: Final = 86400
Check = Callable[[Config], Iterator[Finding]]
COMPILERS: Final = ("gcc", "g++", "cc", "c++", "clang", "clang++")


def main(argv: Sequence[str]) -> int:
    """Print all findings. 1 if something does not work, 0 otherwise (warnings included)."""
    parser = argparse.ArgumentParser(
        prog="manycc doctor",
        description="Check this machine's set-up as a client and as a node. Exit code 1 if a check fails; "
        "warnings do not count.",
    )
    parser.parse_args(argv)
    failed = 0
    try:
        settings = config.load()
    except ConfigError as error:
        _print("settings", Finding(FAIL, f"{error.what}: {error.why}" if error.why else error.what, error.hint))
        return 1
    for name, check in CHECKS.items():
        try:
            for finding in check(settings):
                failed += finding.level == FAIL
                _print(name, finding)
        except ManyccError as error:
            failed += 1
            _print(name, Finding(FAIL, f"{error.what}: {error.why}" if error.why else error.what, error.hint))
    return 1 if failed else 0


def _print(name: str, finding: Finding) -> None:
    say(f"{finding.level:4}  {name}: {finding.text}")
    if finding.todo:
        say(f"      do: {finding.todo}")


def check_launcher(settings: Config) -> Iterator[Finding]:
    """The program in front of the compilers is there, works, and belongs to this version."""
    path = find_launcher()
    version = launcher_version(path)
    if version != __version__:
        yield Finding(FAIL, f"{path} is of version {version}, manycc-cli of {__version__}", "install manycc again")
    else:
        yield Finding(OK, f"{path} {version}")


def check_settings(settings: Config) -> Iterator[Finding]:
    """All settings with where they come from."""
    for setting in config.SETTINGS:
        value = getattr(settings, setting.name)
        value = f"{value:g}" if setting.kind is float else " ".join(str(value).split()) or "none"
        yield Finding(OK, f"{setting.name} = {value} ({settings.origin(setting.name)}): {setting.meaning}")


def check_folders(settings: Config) -> Iterator[Finding]:
    """Each folder can be used, and has room."""
    yield Finding(OK, f"runtime {settings.ensure_runtime_dir()}")
    for label, path in (("state", settings.state_dir), ("cache", settings.cache_dir)):
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            yield Finding(FAIL, f"{label} {path}: {error.strerror}", "set MANYCC_DIR to a folder of your own")
            continue
        free = shutil.disk_usage(path).free
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield Finding(FAIL, f"{label} {path} is not writable", f"ls -ld {path}")
        elif free < LITTLE_DISK:
            yield Finding(WARN, f"{label} {path}: only {size(free)} free", "make room, or set MANYCC_DIR")
        else:
            yield Finding(OK, f"{label} {path}, {size(free)} free")


def check_agent(settings: Config) -> Iterator[Finding]:
    """An agent runs, or can be started."""
    sock, pid = client.start(settings)
    sock.close()
    answer = client.ask(settings, {"op": "version"}) or {}
    version = answer.get("version")
    if version != __version__:
        yield Finding(WARN, f"pid {pid} is of version {version}: the next job replaces it", "manycc agent stop")
    else:
        yield Finding(OK, f"pid {pid}, version {version}, log in {settings.agent_log_path}")


def check_hosts(settings: Config) -> Iterator[Finding]:
    """The configured hosts answer."""
    listed = settings.host_list()
    for note in listed.notes:
        yield Finding(WARN, note, "manycc hosts --help shows what a list may hold")
    nodes = [spec for spec in listed.hosts if not spec.local and not spec.down]
    if not nodes:
        text = "none are configured: only manycc run distributes, to a node on this machine"
        yield Finding(WARN, text, 'export MANYCC_HOSTS="192.168.0.100/6 raspberrypi.local/4"')
        return
    client.start(settings)[0].close()
    answer = client.ask(settings, {"op": "status", "hosts": settings.hosts}) or {}
    found = {str(host.get("name")): host for host in answer.get("hosts") or [] if isinstance(host, dict)}
    ready = 0
    for spec in nodes:
        host = found.get(spec.name, {})
        if host.get("state") == "ready":
            ready += 1
            kind = f", {host['kind']}" if host.get("kind") else ""
            yield Finding(OK, f"{spec.name}{kind}, {amount(host.get('slots', 0), 'slot')}")
        else:
            why = host.get("why") or host.get("state") or "no answer"
            todo = f"on that machine: manycc node --listen 0.0.0.0 --port {spec.port} --allow NETWORK"
            if spec.ssh:
                login = f"{spec.user}@{spec.address}" if spec.user else spec.address
                todo = f"ssh {login} {spec.command or 'distccd'} --version"
            yield Finding(WARN, f"{spec.name}: {why}", todo)
    if not ready:
        yield Finding(FAIL, "no configured host answers: all jobs run here", "see the lines above")


def check_compilers(settings: Config) -> Iterator[Finding]:
    """The compilers of PATH are programs, not scripts or wrappers that hide which compiler runs."""
    try:
        launcher: str | None = find_launcher()
    except ManyccError:
        launcher = None
    some = False
    for name in COMPILERS:
        path = find_compiler(name, launcher, os.getcwd(), os.environ)
        if not path:
            continue
        some = True
        real = os.path.realpath(path)
        if os.path.basename(real) in ("ccache", "sccache", "distcc", "icecc"):
            todo = "put manycc first in PATH, or export CCACHE_PREFIX=manycc"
            yield Finding(WARN, f"{name} is {path}, which leads to {real}", todo)
        elif not is_program(real):
            yield Finding(WARN, f"{name} is {path}, a script: its jobs run here", "call the real compiler")
        else:
            yield Finding(OK, f"{name} is {path}" + (f" ({real})" if real != path else ""))
    if not some:
        yield Finding(FAIL, "there is no C or C++ compiler in PATH", "install gcc or clang")


def check_clock(settings: Config) -> Iterator[Finding]:
    """The clock is not behind what was written with it: build tools would rebuild all, or nothing."""
    written = os.stat(__file__).st_mtime
    if time.time() < written - 60:
        yield Finding(WARN, f"the clock says {time.ctime()}, before manycc was installed", "timedatectl set-ntp true")
    else:
        yield Finding(OK, time.ctime())


def check_verification(settings: Config) -> Iterator[Finding]:
    """No host was found to compile otherwise than the compiler here."""
    counts = tally(records.read(settings.verifications_path))
    text = f"{amount(counts['verified'], 'job')} compiled here again, {counts['different']} different"
    yield Finding(OK, f"{text}; {counts['void']} void, {counts['skipped']} skipped")
    for entry in recorded(settings):
        host, label = entry.get("host", "?"), entry.get("label", "?")
        text = f"host {host} returned a wrong result with {label}, and is quarantined; evidence: {entry.get('report')}"
        yield Finding(WARN, text, f"manycc verify --suspects {host}; when it is sound, manycc verify --forgive {host}")


def check_records(settings: Config) -> Iterator[Finding]:
    """What became of the last day's jobs."""
    stats = aggregate(records.read(settings.records_path), since=time.time() - DAY_S)
    text = f"{amount(stats.total, 'job')} in the last day, {stats.failed_over} failed over"
    yield Finding(WARN, text, "manycc stats --since 1d") if stats.failed_over else Finding(OK, text)


def _of(module: str, name: str) -> Check:
    """A check of another module, which takes more than a client's modules: they are loaded when it is made."""

    def check(settings: Config) -> Iterator[Finding]:
        yield from getattr(import_module(f"manycc.cli.{module}"), name)(settings)

    return check


CHECKS: Final[dict[str, Check]] = {
    "launcher": check_launcher,
    "setting": check_settings,
    "folder": check_folders,
    "agent": check_agent,
    "host": check_hosts,
    "compiler": check_compilers,
    "host-compiler": _of("toolchainmatch", "check_ways"),
    "node-settings": _of("nodechecks", "check_settings"),
    "node-access": _of("nodechecks", "check_access"),
    "node-port": _of("nodechecks", "check_port"),
    "node-user": _of("nodechecks", "check_user"),
    "node-compiler": _of("nodechecks", "check_toolchains"),
    "sealing": _of("nodechecks", "check_sealing"),
    "clock": check_clock,
    "records": check_records,
    "verification": check_verification,
}
