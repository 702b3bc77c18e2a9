"""Run a case by the compiler, then through a node in a folder of the same name, and compare everything.

What a node did is asked for once more: the answer, from its cache now, must be the same.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import shutil
import stat
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compare import Entry, Files, Observed, same, snapshot

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need
from matrix.case import PLACE, REMOTE, Case, Link

LIMIT_S = 100.0
_MADE_NS = 1_600_000_000_000_000_000
"""When all sources were last written: the same in both passes, so that __TIMESTAMP__ is, too."""

_REMOTE_REASONS = (REMOTE, "cached")

# What whoever runs the tests may have set, and the compilers look at.
_FOREIGN = ("LANG", "LANGUAGE", "CPATH", "TERM", "COLORTERM", "COLUMNS", "SOURCE_DATE_EPOCH", "PWD", "OLDPWD")
_FOREIGN_BEGINNINGS = ("LC_", "GCC_", "CCACHE_", "CCC_")


def check(cluster: Cluster, folder: Path, case: Case) -> None:
    """Assert that a case does the same through manycc, and that it was done where it should be."""
    need(*([] if PLACE in case.argv[0] else [case.argv[0]]), *case.needs)
    local = _pass(cluster, folder, case, [])
    reason = _check_pass(cluster, folder, case, local)
    assert all(name in local[-1].files for name in case.timed if name != "stderr")
    assert local[0].code == case.code, local[0].stderr.decode(errors="replace")
    _check_contents(case, local)
    if reason == REMOTE and case.code == 0 and not case.timed:
        again = _check_pass(cluster, folder, case, local)
        assert again == "cached", f"done again, instead of taken from the node's cache: {again}"


def _check_pass(cluster: Cluster, folder: Path, case: Case, local: Sequence[Observed]) -> str:
    """Assert that a pass through manycc does what the local one did; the reason in its record."""
    mark = _end_of_records(cluster)
    remote = _pass(cluster, folder, case, [cluster.launcher])
    records = _records_from(cluster, mark)
    for own, other in zip(local, remote, strict=True):
        same(_without_times(own, case.timed), _without_times(other, case.timed))
    return _check_records(case, records)


def _pass(cluster: Cluster, folder: Path, case: Case, launcher: Sequence[str]) -> list[Observed]:
    """Make the tree, run the case's commands, ``case.argv`` by ``launcher``; what each from it on did."""
    place = folder / "tree"
    temporary = folder / "tmp"
    _clear(place)
    _clear(temporary)
    _make_tree(place, case)
    work = place / case.cwd
    work.mkdir(parents=True, exist_ok=True)
    env = _environment(cluster, case, place, work, temporary)
    for command in case.before:
        done = _run(case, _placed(command, place), work, env, b"")
        assert done.code == 0, done.stderr.decode(errors="replace")
    for name, mode in case.modes.items():
        (place / name).chmod(mode)
    began_ns = _now_ns(folder)
    known = snapshot(place)
    done = _run(case, [*launcher, *_placed(case.argv, place)], work, env, case.stdin, tty=case.tty)
    done.files = snapshot(place)
    _check_fresh(place, known, done.files, began_ns)
    found = [done]
    for command in case.after:
        done = _run(case, _placed(command, place), work, env, b"")
        done.files = snapshot(place)
        found.append(done)
    assert not list(temporary.iterdir()), "temporary files are left"
    return found


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _make_tree(place: Path, case: Case) -> None:
    for name, content in case.files.items():
        path = place / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target.replace(PLACE, str(place)))
            continue
        if isinstance(content, str):
            content = content.replace(PLACE, str(place)).encode("utf-8", "surrogateescape")
        path.write_bytes(content)
        os.utime(path, ns=(_MADE_NS, _MADE_NS))


def _environment(cluster: Cluster, case: Case, place: Path, work: Path, temporary: Path) -> dict[str, str]:
    """As a shell that went to ``work`` would pass it on."""
    env = {
        name: value
        for name, value in cluster.env.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_BEGINNINGS)
    }
    return {
        **env,
        "PWD": os.path.normpath(work),
        "TMPDIR": str(temporary),
        **{name: value.replace(PLACE, str(place)) for name, value in case.env.items()},
    }


def _placed(command: Sequence[str], place: Path) -> list[str]:
    return [word.replace(PLACE, str(place)) for word in command]


def _run(
    case: Case, argv: Sequence[str], work: Path, env: Mapping[str, str], stdin: bytes, tty: bool = False
) -> Observed:
    if tty:
        return _run_on_terminal(case, argv, work, env)
    done = subprocess.run(
        argv, cwd=work, env=env, input=stdin, capture_output=True, umask=case.umask, timeout=LIMIT_S, check=False
    )
    return Observed(done.returncode, done.stdout, done.stderr, {})


def _run_on_terminal(case: Case, argv: Sequence[str], work: Path, env: Mapping[str, str]) -> Observed:
    """Run with a terminal of 80 columns for stdin and stderr."""
    master, terminal = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen, tempfile.TemporaryFile() as stdout:
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            process = subprocess.Popen(
                argv, cwd=work, env={"TERM": "xterm-256color", **env}, stdin=terminal, stdout=stdout, stderr=terminal,
                umask=case.umask,
            )  # fmt: skip
        finally:
            os.close(terminal)
        try:
            stderr = _read_screen(screen.fileno())
            code = process.wait(LIMIT_S)
        finally:
            process.kill()
            process.wait()
        stdout.seek(0)
        return Observed(code, stdout.read(), stderr, {})


def _read_screen(screen: int) -> bytes:
    """All that is written until the last process has closed the terminal."""
    found = b""
    while True:
        try:
            found += os.read(screen, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return found


def _now_ns(folder: Path) -> int:
    """The time as the file system tells it."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return os.stat(file.name).st_mtime_ns


def _check_fresh(place: Path, known: Files, files: Files, began_ns: int) -> None:
    """Assert that what is new is not older than the command, as make wants it."""
    for name in files.keys() - known.keys():
        assert os.lstat(place / name).st_mtime_ns >= began_ns, f"{name} is older than the command"


def _without_times(observed: Observed, timed: Sequence[str]) -> Observed:
    files: Files = {
        name: Entry(entry.mode, entry.names, b"") if name in timed and stat.S_ISREG(entry.mode) else entry
        for name, entry in observed.files.items()
    }
    return Observed(observed.code, observed.stdout, b"" if "stderr" in timed else observed.stderr, files)


def _check_contents(case: Case, local: Sequence[Observed]) -> None:
    """Assert that the case tests what it is named for."""
    for name, wanted in case.contains.items():
        if name in ("stdout", "stderr"):
            found = b"".join(getattr(observed, name) for observed in local)
        else:
            assert name in local[-1].files
            found = local[-1].files[name].content
        assert wanted in found, f"{name} does not hold {wanted!r}"


def _records_path(cluster: Cluster) -> Path:
    return Path(cluster.client, "state", "jobs.jsonl")


def _end_of_records(cluster: Cluster) -> int:
    path = _records_path(cluster)
    return path.stat().st_size if path.exists() else 0


def _records_from(cluster: Cluster, start: int) -> list[dict[str, Any]]:
    """The records behind ``start``, once there is one (a local job's is written when it ends).

    They are not all read each time: there are hundreds.
    """
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        path = _records_path(cluster)
        if path.exists():
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
            if data.endswith(b"\n"):
                return [json.loads(line) for line in data.splitlines()]
        time.sleep(0.005)
    raise TimeoutError("no record of the job")


def _check_records(case: Case, records: Sequence[Mapping[str, Any]]) -> str:
    """Assert that there is the one record that there must be; its reason."""
    assert len(records) == 1
    record = records[0]
    if case.reason == REMOTE:
        assert record["reason"] in _REMOTE_REASONS, record
    else:
        assert record["reason"] == case.reason, record
    return str(record["reason"])
