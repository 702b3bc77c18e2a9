"""``manycc doctor`` about this machine as a node: settings, who may connect, port, sandbox, user, compilers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import Final

from manycc import __version__
from manycc.cli.findings import FAIL, OK, WARN, Finding
from manycc.cli.toolchainview import look_around
from manycc.config import Config
from manycc.daemon.relay import NEAR, welcome
from manycc.daemon.reload import shown
from manycc.daemon.settings import DEFAULT_FILE, SETTINGS, NodeSettings, Sources
from manycc.errors import ConfigError
from manycc.node.access import LOOPBACK, may_connect
from manycc.node.holder import holder, listeners
from manycc.node.listening import ANY
from manycc.node.options import DEFAULT_PORT
from manycc.node.privileges import account, barrier_to
from manycc.wire import lzo

_APPARMOR: Final = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def check_settings(config: Config) -> Iterator[Finding]:
    """What a node started now would be set to, and from where. Raises ConfigError."""
    settings = Sources({}, os.environ).load()
    for setting in SETTINGS:
        if setting.name in settings.values:
            yield Finding(OK, f"{setting.name} = {shown(settings.get(setting.name))} ({settings.origin(setting.name)})")
    for note in settings.notes:
        yield Finding(WARN, note, "correct the line, or remove it")
    if not settings.values:
        yield Finding(OK, f"nothing is set in {DEFAULT_FILE}, node.toml or the environment: the defaults hold")


def check_access(config: Config) -> Iterator[Finding]:
    """Who may send work, and whether they can reach this machine's port."""
    settings = _settings()
    if settings is None:
        return
    allow = settings.get("allow", LOOPBACK)
    listen = settings.get("listen", "127.0.0.1")
    nets = " ".join(map(str, allow))
    origin = settings.origin("allow")
    port = settings.get("port", DEFAULT_PORT)
    if where := _elsewhere(listen, port):
        text = f"what runs on port {port} listens on {where}, not as set here: by flags or a socket unit of its own"
        text += f"; it may let in others than {nets} ({origin})"
        yield Finding(WARN, text, f"see how it was started: {holder(port)}")
        return
    open_nets = [net for net in allow if net.prefixlen == 0]
    others = any(not net.is_loopback for net in allow)
    is_local = listen not in ANY and may_connect(listen, LOOPBACK)
    todo = f'write LISTENER="*" into {DEFAULT_FILE}, or add --listen "*", then start the node again'
    if open_nets:
        text = f"everyone may send work: {' '.join(map(str, open_nets))} is allowed ({origin})"
        yield Finding(WARN, text, f'write your own networks into ALLOWEDNETS of {DEFAULT_FILE}, e.g. "192.168.0.0/24"')
    elif others and is_local:
        yield Finding(WARN, f"{nets} may send work ({origin}), but the node listens on {listen} only", todo)
    elif not others and not is_local:
        todo = f'write your networks into ALLOWEDNETS of {DEFAULT_FILE}, e.g. "192.168.0.0/24"'
        yield Finding(WARN, f"the node listens for other machines, but only this one may send work ({origin})", todo)
    else:
        yield Finding(
            OK, f"{nets} may send work ({origin}), listening on {'every address' if listen in ANY else listen}"
        )


def check_port(config: Config) -> Iterator[Finding]:
    """Who listens on the node's port, and what that one says."""
    settings = _settings()
    if settings is None:
        return
    port = settings.get("port", DEFAULT_PORT)
    found = listeners(port)
    who = holder(port)
    if not found:
        yield Finding(OK, f"no node runs here: port {port} is free; manycc node starts one")
        return
    addresses = sorted({listener.address for listener in found})
    where = _places(addresses)
    node = welcome(NEAR.get(addresses[0], addresses[0]), port)
    if node:
        said = f"a node with {node.get('slots')} slots, sandbox: {node.get('sandbox')}"
        text = f"port {port} of {where}: {who}, {said}"
        if node.get("sandbox") != "bubblewrap":
            yield Finding(WARN, f"{text}; its compiles are not sealed", "see sealing, below")
        elif node.get("release") != __version__:
            yield Finding(WARN, f"{text}, of version {node.get('release')}", "systemctl restart manycc-node")
        else:
            yield Finding(OK, text)
    elif node is None:
        text = f"port {port} of {where}: {who}, which does not let this machine in, or is no node of this version"
        yield Finding(WARN, text, "see its log; add 127.0.0.1 to ALLOWEDNETS to have it looked at from here")
    else:
        text = f"port {port} of {where} is held by {who}, which does not answer as a node"
        yield Finding(WARN, text, f"end it (distcc's: systemctl disable --now distcc), or set PORT in {DEFAULT_FILE}")


def check_sealing(config: Config) -> Iterator[Finding]:
    """As a node, this machine can seal compiles off."""
    if shutil.which("prlimit") is None:
        yield Finding(FAIL, "prlimit is missing: no node can start here", "install the package util-linux")
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        text = "bubblewrap is missing: as a node this machine cannot seal compiles"
        yield Finding(WARN, text, "install the package bubblewrap")
        return
    line = [bwrap, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "/bin/true"]
    try:
        tried = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(WARN, f"{bwrap} cannot be run: {error}", "install the package bubblewrap again")
        return
    if tried.returncode:
        said = tried.stderr.decode(errors="replace").strip()
        text = f"user namespaces are forbidden ({said}): as a node this machine cannot seal compiles"
        yield Finding(WARN, text, _namespaces_hint())
    else:
        yield Finding(OK, f"{bwrap} works")


def check_user(config: Config) -> Iterator[Finding]:
    """Whom a node would run as, and whether that one can reach what it needs."""
    settings = _settings()
    if settings is None:
        return
    if os.geteuid() != 0:
        yield Finding(OK, f"a node started by this user runs as user {os.geteuid()}")
        return
    user = settings.get("user")
    if user == "root":
        yield Finding(WARN, f"the node is to run as root ({settings.origin('user')})", "remove that line")
        return
    entry = account(user)
    barrier = barrier_to(entry, settings.store(os.environ))
    if barrier:
        text = f"{entry.pw_name}, as whom a node of root's would run, cannot enter {barrier}: it would stay root"
        todo = f"manycc lies best below /opt, its store where STORE says; chmod o+x {barrier} lets that user in"
        yield Finding(WARN, text, todo)
    else:
        yield Finding(OK, f"a node started by root runs as {entry.pw_name}")


def check_toolchains(config: Config) -> Iterator[Finding]:
    """The compilers this machine could serve: to those who have the same, or one whose objects are the same."""
    served = 0
    for one in asyncio.run(look_around()):
        path, driver = one.found.path, one.driver
        if driver is not None:
            served += 1
            package = f" ({driver.package})" if driver.package else ""
            name = os.path.basename(path)
            what = f"{driver.kind} {driver.version}{package} {driver.target}".rstrip()
            yield Finding(OK, f"{name}: {what} ({path})")
        elif "other users can write" in one.why:
            yield Finding(WARN, f"{one.why}: not served", f"ls -ld {path} {os.path.dirname(path)}")
        elif one.found.toolchain:
            yield Finding(WARN, f"{path} was added, but {one.why}", f"manycc toolchain remove {one.found.toolchain}")
    if not served:
        yield Finding(WARN, "there is no compiler that could be served", "install gcc, g++ or clang")
    if not lzo.is_available():
        text = "distcc's clients are served without compression only: the Python package lzokay is missing"
        yield Finding(WARN, text, "pip install lzokay, into the environment that manycc is in")


def _places(addresses: Iterable[str]) -> str:
    return "every address" if set(addresses) & set(NEAR) else " and ".join(sorted(set(addresses)))


def _elsewhere(listen: str, port: int) -> str:
    """Where a port is listened on, if that is elsewhere than the settings say; else nothing."""
    found = [listener.address for listener in listeners(port)]
    set_here = list(NEAR) if listen in ANY else [listen]
    if not found or set(found) & set(set_here) or not (listen in ANY or _is_address(listen)):
        return ""
    return _places(found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _settings() -> NodeSettings | None:
    """What can be read; None if something is wrong with it, which ``check_settings`` says."""
    try:
        return Sources({}, os.environ).load()
    except ConfigError:
        return None


def _namespaces_hint() -> str:
    with contextlib.suppress(OSError), open(_APPARMOR, encoding="ascii") as file:
        if file.read().strip() == "1":
            return "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (for ever: a line in /etc/sysctl.d/)"
    return "sysctl kernel.unprivileged_userns_clone=1; a container must be started so that it may have namespaces"
