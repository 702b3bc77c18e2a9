"""A machine without compilers: a node's own view of this one, with everything masked that compilers are made of.

With it comes what tests and benchmarks ask about compilers that are sent there.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from typing import Any

from manycc.command.drivers import compiler_kind, words_to_ask
from manycc.testing.cluster import Cluster, Node
from manycc.testing.requirements import need, need_root

_FOLDERS = ("/usr/lib/gcc", "/usr/lib/gcc-cross", "/usr/libexec/gcc", "/usr/lib/llvm-*", "/usr/local/lib/gcc")
_FILES = (
    "/usr/bin/*-as", "/usr/bin/*-objcopy", "/usr/lib/*/libisl.so*", "/usr/lib/*/libmpc.so*", "/usr/lib/*/libmpfr.so*",
    "/usr/lib/*/libLLVM*.so*", "/usr/lib/*/libclang*.so*",
)  # fmt: skip
_SCRIPT = """#!/bin/sh
if [ "$1" != masked ]; then
    exec {unshare} --mount --propagation private "$0" masked "$@"
fi
shift
set -e
for folder in {folders}; do {mount} -t tmpfs none "$folder"; done
for file in {files}; do {mount} --bind /dev/null "$file"; done
exec "$@"
"""


_SENDING = re.compile(r"sending it (.*): (\d+) of its (\d+) files, (\d+) MiB of (\d+) MiB")
_UNDECIDED = ("not yet", "has not said")


def make_bare(node: Node, folder: str, hidden: Sequence[str] = ()) -> dict[str, str]:
    """Let a node start on such a machine, without the ``hidden`` folders too. Returns the environment for it."""
    need_root("a mount namespace")
    need("bwrap", "prlimit", "unshare", "mount")
    os.makedirs(f"{folder}/bin")
    for tool in ("bwrap", "prlimit"):
        os.symlink(str(shutil.which(tool)), f"{folder}/bin/{tool}")
    drivers = [path for path in glob.glob("/usr/bin/*") if compiler_kind(os.path.basename(path))]
    parts = [*drivers, *(path for pattern in _FILES for path in glob.glob(pattern))]
    masked = {real for real in map(os.path.realpath, parts) if os.path.isfile(real)}
    folders = {os.path.realpath(path) for pattern in _FOLDERS for path in glob.glob(pattern)}
    folders |= set(map(os.path.realpath, hidden))
    inside = tuple(f"{folder}/" for folder in folders)
    script = f"{folder}/masked"
    with open(script, "w", encoding="ascii") as file:
        file.write(
            _SCRIPT.format(
                unshare=shutil.which("unshare"),
                mount=shutil.which("mount"),
                folders=shlex.join(sorted(folders)),
                files=shlex.join(sorted(path for path in masked if not path.startswith(inside))),
            )
        )
    os.chmod(script, 0o700)
    node.program = [script, *node.program]
    return {"PATH": f"{folder}/bin", "HOME": "/nonexistent"}


def sentence(cluster: Cluster, driver: str) -> str:
    """What the only host says about a compiler."""
    source = os.path.join(cluster.folder, "probe.cc")
    if not os.path.exists(source):
        with open(source, "x", encoding="ascii"):
            pass
    command = (driver, *words_to_ask(driver))
    answer = json.loads(cluster.cli("explain", "--json", "--", *command, "-c", source, check=False).stdout)
    return str(answer["hosts"][0]["sentence"])


def wait_decided(cluster: Cluster, driver: str, limit_s: float = 100.0) -> str:
    """What the only host says, once it does not wait for the compiler any more. Raises TimeoutError."""
    end = time.monotonic() + limit_s
    while (said := sentence(cluster, driver)).startswith(_UNDECIDED):
        if time.monotonic() > end:
            raise TimeoutError(said)
        time.sleep(0.05)
    return said


def sent(cluster: Cluster) -> list[tuple[Any, ...]]:
    """What the agent has sent, by its log: compiler, files, of how many, MiB, of how many."""
    with open(os.path.join(cluster.client, "state", "agent.log"), encoding="utf-8", errors="replace") as file:
        found = _SENDING.findall(file.read())
    return [
        (label, int(files), int(all_files), int(size), int(whole)) for label, files, all_files, size, whole in found
    ]
