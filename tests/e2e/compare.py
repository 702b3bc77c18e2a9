"""Run a command as the local compiler would, and through a node, and compare everything."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from manycc.testing.cluster import Cluster


@dataclass
class Observed:
    """All that a command can be seen to have done."""

    code: int
    stdout: bytes
    stderr: bytes
    files: Files


class Entry(NamedTuple):
    """One file, folder or link."""

    mode: int
    names: int
    """How many hard links it has; of a folder, 1."""
    content: bytes
    """The target, of a link; nothing, of a folder."""


Files = dict[str, Entry]


def snapshot(folder: Path) -> Files:
    """All that is below a folder, by relative path."""
    found: Files = {}
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(root, name)
            info = os.lstat(path)
            content = b""
            if stat.S_ISLNK(info.st_mode):
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                content = Path(path).read_bytes()
            links = 1 if stat.S_ISDIR(info.st_mode) else info.st_nlink
            found[os.path.relpath(path, folder)] = Entry(info.st_mode, links, content)
    return found


def observe(
    cluster: Cluster,
    folder: Path,
    files: Mapping[str, str],
    argv: Sequence[str],
    cwd: str = ".",
    env: Mapping[str, str] | None = None,
    umask: int = 0o022,
) -> tuple[Observed, Observed, dict[str, Any]]:
    """The same command in the same folder, first by the compiler, then by manycc; and the job's record."""
    place = folder / "tree"

    def build() -> None:
        shutil.rmtree(place, ignore_errors=True)
        for name, content in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode("utf-8", "surrogateescape"))

    build()
    full_env = {**cluster.env, **(env or {})}
    work = place / cwd
    work.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(argv, cwd=work, env=full_env, capture_output=True, umask=umask, check=False)
    local = Observed(done.returncode, done.stdout, done.stderr, snapshot(place))
    build()
    work.mkdir(parents=True, exist_ok=True)
    before = len(cluster.records())
    done = cluster.compile(argv, str(work), env, umask=umask)
    remote = Observed(done.returncode, done.stdout, done.stderr, snapshot(place))
    record = cluster.wait_records(before + 1)[-1]
    return local, remote, record


def same(local: Observed, remote: Observed) -> None:
    """Assert that nothing differs."""
    assert remote.code == local.code
    assert remote.stderr == local.stderr
    assert remote.stdout == local.stdout
    assert sorted(remote.files) == sorted(local.files)
    for name, entry in local.files.items():
        assert remote.files[name] == entry, name
