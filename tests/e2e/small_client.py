"""A client with less than this machine has: processors and memory by control groups, a line by a network namespace.

What else runs on this machine is not seen by whoever measures a group, so that a test does not depend on it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from manycc.testing.requirements import lacking, need, need_root

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
GONE_S = 20.0


@contextlib.contextmanager
def group(name: str, processors: float = 0.0, megabytes: int = 0) -> Iterator[list[str]]:
    """A control group: the words in front of a command line that start a program in it. It must be empty at the end."""
    need_root("make a control group")
    limits = _limits(processors, megabytes)
    folders: list[Path] = []
    try:
        for parent, settings in limits:
            folder = parent / f"manycc-limits-{os.getpid()}-{name}"
            try:
                folder.mkdir()
            except OSError as error:
                lacking(f"no control group can be made: {error.strerror}")
            folders.append(folder)
            for file, value in settings.items():
                (folder / file).write_text(value)
        enter = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in folders)
        yield ["sh", "-c", enter + 'exec "$0" "$@"']
    finally:
        for folder in folders:
            _remove(folder)


def _limits(processors: float, megabytes: int) -> list[tuple[Path, dict[str, str]]]:
    # What it has it shall get, too: of processors that are busy, first of all.
    quota, most = int(processors * PERIOD_US), str(megabytes << 20)
    found: list[tuple[Path, dict[str, str]]] = []
    if (ROOT / "cpu").is_dir():
        if processors:
            found = [(ROOT / "cpu", {"cpu.cfs_quota_us": str(quota), "cpu.shares": "100000"}), (ROOT / "cpuacct", {})]
        return [*found, (ROOT / "memory", {"memory.limit_in_bytes": most})] if megabytes else found
    control = ROOT / "cgroup.subtree_control"
    wanted = (["cpu"] if processors else []) + (["memory"] if megabytes else [])
    if not control.exists() or not set(wanted) <= set(control.read_text().split()):
        lacking(f"{' and '.join(wanted)} cannot be limited by groups here")
    settings = {"cpu.max": f"{quota} {PERIOD_US}", "cpu.weight": "10000"} if processors else {}
    return [(ROOT, settings | ({"memory.max": most} if megabytes else {}))]


def _remove(folder: Path) -> None:
    end = time.monotonic() + GONE_S
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


@contextlib.contextmanager
def line(megabits: float) -> Iterator[list[str]]:
    """A network of its own with nothing but a slow loopback: the words that start a program there."""
    need_root("make a network namespace")
    need("ip", "tc", "nsenter", "unshare")
    name = "network"
    script = (
        "ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate "
        f"{megabits}mbit burst 32kb latency 200ms && echo ready && read -r _"
    )
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            lacking(f"a {name} of its own with a slow line")
        yield ["nsenter", f"--net=/proc/{process.pid}/ns/net"]
    finally:
        process.stdin.close()
        process.wait(GONE_S)
        process.stdout.close()
