"""Whether manycc does right by a tree: what it would send holds all that the compiler opens, and a job done by a
node looks like one done here.

Two sides are asked. The *collector* runs in this process, is kept over the steps and is used as the agent does:
the manifest of last time if it still holds, else a new one. The *cluster* is a real launcher, agent and node.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fuzz_oracle import build_library, opened, preload
from fuzz_tree import Compile, Tree, apply

from manycc.command.parse import compiler_kind, parse
from manycc.errors import NotDistributable
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest
from manycc.job import FILE, Toolchain
from manycc.reasons import BY_CODE, Kind, Reason
from manycc.testing.cluster import Cluster

LIMIT_S = 30.0
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}
_HEADERS = ("/usr/include/", "/usr/lib/gcc/", "/usr/lib/llvm-14/lib/clang/")
_TEMPORARY = re.compile(rb"/tmp/[\w-]+\.s\b")


class Mismatch(AssertionError):
    """manycc did wrong by a tree."""


@dataclass
class Tally:
    """What was seen over many trees."""

    trees: int = 0
    compiles: int = 0
    succeeded: int = 0
    how: Counter[str] = field(default_factory=Counter)
    """How the inputs were found, or the reason why the job stayed here."""
    reasons: Counter[str] = field(default_factory=Counter)
    """What the agent's records say."""
    sent: int = 0
    opened: int = 0

    def add(self, other: Tally) -> None:
        """Count another's trees in."""
        self.trees += other.trees
        self.compiles += other.compiles
        self.succeeded += other.succeeded
        self.how += other.how
        self.reasons += other.reasons
        self.sent += other.sent
        self.opened += other.opened

    def lines(self) -> list[str]:
        """For people."""
        ratio = self.sent / self.opened if self.opened else 0.0
        return [
            f"{self.trees} trees, {self.compiles} compiles, {self.succeeded} of them without an error",
            f"inputs found by: {dict(self.how.most_common())}",
            f"records: {dict(self.reasons.most_common())}",
            f"files of the tree sent for each that was opened: {ratio:.2f} ({self.sent} / {self.opened})",
        ]


@dataclass
class Seen:
    """What came of a command."""

    code: int
    stdout: bytes
    stderr: bytes
    files: dict[str, bytes]


@dataclass(frozen=True)
class Found:
    """What the collector answered: a manifest, or why there is none."""

    manifest: Manifest | None
    how: str


CollectorMaker = Callable[[FileView, str], Collector]


class CollectorSide:
    """A collector in this process, with its databases, as an agent keeps one."""

    def __init__(self, folder: str, make: CollectorMaker = Collector) -> None:
        self._folder = folder
        self._make = make
        self._loop = asyncio.new_event_loop()
        self._view, self._collector = self._begin()
        self._known: dict[Compile, Manifest] = {}

    def _begin(self) -> tuple[FileView, Collector]:
        view = FileView(os.path.join(self._folder, "files.sqlite"))
        return view, self._make(view, os.path.join(self._folder, "answers.sqlite"))

    def restart(self) -> None:
        """End the agent; another one begins."""
        self.stop()
        self._view, self._collector = self._begin()

    def stop(self) -> None:
        """End the agent."""
        self._known.clear()
        self._collector.close()
        self._view.close()

    def close(self) -> None:
        """End for good."""
        self.stop()
        self._loop.close()

    def find(self, compile: Compile, argv: list[str], root: str) -> Found:
        """What the agent would send, were the command asked for now."""
        since = self._view.now()
        known = self._known.get(compile)
        if known is not None and self._collector.check(known, since):
            return Found(known, "manifest")
        cwd = os.path.realpath(os.path.join(root, compile.cwd))
        env = {**_ENV, **compile.variables(root)}
        kind = compiler_kind(argv[0])
        driver = shutil.which(argv[0])
        assert driver is not None and kind is not None, argv[0]
        toolchain = Toolchain(driver, driver, kind, "", "x86_64-pc-linux-gnu", "", (), (), {})
        try:
            command = parse(argv, cwd, env, None)
            manifest = self._loop.run_until_complete(self._collector.collect(command, toolchain, cwd, env, (), since))
        except NotDistributable as error:
            self._known.pop(compile, None)
            return Found(None, error.reason.code)
        self._known[compile] = manifest
        return Found(manifest, manifest.inputs.how)


class Checker:
    """Checks trees, each in a folder of its own below ``folder``."""

    def __init__(self, folder: str, cluster: Cluster | None, make: CollectorMaker = Collector) -> None:
        os.makedirs(folder, exist_ok=True)
        self.tally = Tally()
        self._right: set[Tree] = set()
        self._folder = folder
        self._cluster = cluster
        self._library = build_library(folder)
        self._numbers = itertools.count()
        self._records = Records(cluster) if cluster is not None else None
        state = os.path.join(folder, "collector")
        os.makedirs(state, exist_ok=True)
        self._collector = CollectorSide(state, make)

    def close(self) -> None:
        """Let go of everything."""
        self._collector.close()

    def check(self, tree: Tree) -> None:
        """Raises Mismatch if manycc does wrong by the tree. One that was checked before is not checked again."""
        if tree in self._right:
            return
        place = os.path.join(self._folder, f"{next(self._numbers):06d}")
        root = os.path.join(place, "t")
        for folder in (root, os.path.join(place, "l"), os.path.join(place, "r")):
            os.makedirs(folder)
        try:
            for number, step in enumerate(tree.steps):
                apply(step.changes, root)
                if step.restart:
                    self._collector.restart()
                for compile in step.compiles:
                    try:
                        self._compile(compile, place, root)
                    except Mismatch as error:
                        words = " ".join(compile.argv)
                        raise Mismatch(f"step {number}, {words}: {error}\nin: {tree!r}") from None
            self._right.add(tree)
            self.tally.trees += 1
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _compile(self, compile: Compile, place: str, root: str) -> None:
        log = os.path.join(place, "log")
        env = {**_ENV, **compile.variables(root)}
        cwd = os.path.join(root, compile.cwd)
        if not os.path.isdir(cwd):
            return
        words = compile.words(root)
        argv = [*words, *_outputs(words, place, "l")]
        local = subprocess.Popen(
            argv, cwd=cwd, env={**env, **preload(self._library, log)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        remote: subprocess.Popen[bytes] | None = None
        if self._cluster is not None:
            cluster = self._cluster
            mine = {name: value for name, value in cluster.env.items() if name.startswith("MANYCC_")}
            remote = subprocess.Popen(
                [cluster.launcher, *words, *_outputs(words, place, "r")],
                cwd=cwd, env={**env, **mine},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        try:
            found = self._collector.find(compile, [*words, *_outputs(words, place, "r")], root)
            seen = _result(local, os.path.join(place, "l"))
            got = _result(remote, os.path.join(place, "r")) if remote is not None else None
        finally:
            for process in (local, remote):
                if process is not None and process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # a driver's compiler would outlive it
                    process.communicate()
        records = self._records.wait(1) if self._records is not None else []
        self.tally.reasons.update(record["reason"] for record in records)
        self.tally.compiles += 1
        self.tally.succeeded += seen.code == 0
        self.tally.how[found.how] += 1
        read = opened(log)
        # Once a compile has failed, clang opens more files, to say where one it did not find might be.
        if seen.code == 0 or "clang" not in argv[0]:
            self._check_sent(found, read, root)
        if got is not None:
            _check_same(seen, got)
        for record in filter(_is_fault, records):
            raise Mismatch(f"the job ended with {record['reason']}: {record.get('detail')}")

    def _check_sent(self, found: Found, opened: set[str], root: str) -> None:
        if found.manifest is None:
            return
        sent = {item.path: item.digest for item in found.manifest.inputs.items if item.kind == FILE}
        ours = {path for path in opened if path.startswith(root + "/")}
        self.tally.opened += len(ours)
        self.tally.sent += sum(path.startswith(root + "/") for path in sent)
        headers = {path for path in opened if path.startswith(_HEADERS) and "/include/" in path}
        missing = sorted((ours | headers) - sent.keys())
        if missing:
            raise Mismatch(f"the compiler opens {missing}, which is not sent ({found.how})")
        for path in ours:
            with open(path, "rb") as file:
                if hashlib.sha256(file.read()).digest() != sent[path]:
                    raise Mismatch(f"another content of {path} is sent ({found.how})")


class Records:
    """The agent's records, read bit by bit."""

    def __init__(self, cluster: Cluster) -> None:
        self._path = os.path.join(cluster.client, "state", "jobs.jsonl")
        self._inode = 0
        self._at = 0

    def wait(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` records: that of a local job is written a moment after it has ended."""
        records: list[dict[str, Any]] = []
        end = time.monotonic() + LIMIT_S
        while True:
            records += self._read()
            if len(records) >= count:
                return records
            if time.monotonic() > end:
                raise Mismatch(f"{len(records)} records of {count} jobs")
            time.sleep(0.001)

    def _read(self) -> list[dict[str, Any]]:
        if not os.path.exists(self._path):
            return []
        with open(self._path, "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:  # it was rotated
                self._inode, self._at = inode, 0
            file.seek(self._at)
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
        self._at += sum(map(len, lines))
        return [json.loads(line) for line in lines]


def _is_fault(record: Mapping[str, Any]) -> bool:
    """Whether a job was done again here for no good reason."""
    reason = BY_CODE[record["reason"]]
    if reason.kind is not Kind.FAILED_OVER or reason is Reason.REMOTE_ERROR:
        return False
    # Messages about a temporary file of the node's are had again from here.
    return not (reason is Reason.COMPILER_KILLED and "it said: /tmp/" in str(record.get("detail")))


def _outputs(words: list[str], place: str, side: str) -> list[str]:
    """Options for outputs in a folder of each side's own, that leave no trace in them."""
    given = ["-c", "-o", f"{place}/{side}/u.o"]
    if any(word in ("-MD", "-MMD") for word in words):
        given += ["-MF", f"{place}/{side}/u.d", "-MT", "u.o"]
    return given


def _result(process: subprocess.Popen[bytes], folder: str) -> Seen:
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    files: dict[str, bytes] = {}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            files[name] = file.read()
        os.unlink(path)
    return Seen(process.returncode, stdout, stderr, files)


def _check_same(local: Seen, remote: Seen) -> None:
    if remote.code != local.code:
        raise Mismatch(f"exit code {remote.code} instead of {local.code}\n{_text(local)}\n{_text(remote)}")
    if _words(remote) != _words(local):
        raise Mismatch(f"other words\n{_text(local)}\n{_text(remote)}")
    if remote.files.keys() != local.files.keys():
        raise Mismatch(f"files {sorted(remote.files)} instead of {sorted(local.files)}")
    for name, data in local.files.items():
        if remote.files[name] != data:
            detail = f"\n{data!r}\n{remote.files[name]!r}" if name.endswith(".d") else ""
            raise Mismatch(f"{name} differs{detail}")


def _words(seen: Seen) -> tuple[bytes, bytes]:
    """What it said; the names of temporary files are different each time."""
    return _TEMPORARY.sub(b"/tmp/x.s", seen.stderr), seen.stdout


def _text(seen: Seen) -> str:
    return (seen.stdout + seen.stderr).decode("utf-8", "backslashreplace")
