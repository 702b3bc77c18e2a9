"""Build tools run for real, without and with manycc: what they made, and what became of each job.

With MANYCC_TOOLS_TABLE=FILE, every build that a test reports becomes a row of a Markdown table in FILE.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manycc.reasons import Kind, Reason
from manycc.testing.cluster import Cluster

TABLE = os.environ.get("MANYCC_TOOLS_TABLE", "")
"""Read at once: no test sees it."""
LIMIT_S = 300.0
BIN = os.path.dirname(Cluster("").launcher)
NODES_DID_IT = ("remote", "cached")

_VERSION = re.compile(r"\d+(?:\.\d+)+")
_HEAD = "| tool | version | called as | on nodes | here, by reason |\n|---|---|---|---|---|\n"
_MADE = (b"\x7fELF", b"!<arch>", b"!<thin>")


@dataclass
class Ran:
    """A command that ran to its end, and the records of its jobs."""

    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    """Of the command and all it ran; not of the agent."""
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def remote(self) -> list[str]:
        """The sources that nodes compiled, by their file names, sorted."""
        return sorted(os.path.basename(record["src"]) for record in self.records if record["reason"] in NODES_DID_IT)

    @property
    def local(self) -> Counter[tuple[str, str]]:
        """What stayed here: how many jobs of each (reason, detail)."""
        return Counter(
            (record["reason"], record.get("detail", ""))
            for record in self.records
            if record["reason"] not in NODES_DID_IT
        )

    @property
    def reasons(self) -> Counter[str]:
        """How many jobs of each reason stayed here."""
        return Counter(record["reason"] for record in self.records if record["reason"] not in NODES_DID_IT)

    def nothing_failed_over(self, but: Collection[str] = ()) -> None:
        """Assert that no job stayed here because something went wrong."""
        faults = {reason.code for reason in Reason if reason.kind is Kind.FAILED_OVER} - set(but)
        assert not [record for record in self.records if record["reason"] in faults]


class Workshop:
    """A client whose PATH has manycc, and whose jobs are looked at build by build."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.env = {**cluster.env, "PATH": f"{BIN}:{cluster.env['PATH']}", "LC_ALL": "C"}
        for name in [name for name in self.env if name.startswith(("CCACHE_", "DISTCC_")) or name in _TOOLS_READ]:
            del self.env[name]
        self._seen = 0

    def run(self, command: Sequence[str], cwd: Path | str, env: Mapping[str, str] | None = None, code: int = 0) -> Ran:
        """Run a command that ends with ``code``, and wait for the last record of its jobs."""
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command, cwd=cwd, env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="surrogateescape", timeout=LIMIT_S, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s = time.monotonic() - began
        assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ran(done.stdout, done.stderr, wall_s, cpu_s, self.news())

    def news(self) -> list[dict[str, Any]]:
        """The records of all jobs since the last call, once these are over."""
        end = time.monotonic() + LIMIT_S
        while (self._status().get("jobs") or {}).get("running"):
            assert time.monotonic() < end, "a job does not end"
        records = self.cluster.records()
        new, self._seen = records[self._seen :], len(records)
        return new

    def plain(self, command: Sequence[str], cwd: Path | str, env: Mapping[str, str] | None = None) -> Ran:
        """Run a command in which manycc must have no part."""
        ran = self.run(command, cwd, env)
        assert not ran.records
        return ran

    def agent_cpu_s(self) -> float:
        """The processor seconds of the agent so far; 0 if none runs."""
        status = self._status()["agent"]
        return float(status["cpu_s"]) if status else 0.0

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.cluster.cli("status", "--json").stdout)
        return status


_TOOLS_READ = ("CC", "CXX", "CPP", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MAKELEVEL",
               "CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER", "CMAKE_GENERATOR")  # fmt: skip
"""What would change the builds under test, were it set where the tests are started."""


@contextmanager
def workshop(folder: str) -> Iterator[Workshop]:
    """Two nodes and a client below a folder."""
    with Cluster(folder, nodes=2, jobs=2) as cluster:
        yield Workshop(cluster)


def products(folder: Path | str) -> dict[str, str]:
    """The digests of all objects, archives, programs and dependency files below a folder, by path."""
    found: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            data = Path(path).read_bytes()
            if data.startswith(_MADE) or name.endswith((".d", ".s", ".cmd", ".gcno")):
                found[os.path.relpath(path, folder)] = hashlib.sha256(data).hexdigest()
    return dict(sorted(found.items()))


def same_products(wanted: Mapping[str, str], got: Mapping[str, str]) -> None:
    """Assert that two builds made the same, and something at all."""
    assert wanted
    assert sorted(got) == sorted(wanted)
    assert [path for path in wanted if got[path] != wanted[path]] == []


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a tree of files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def change(path: Path) -> None:
    """Change a header so that every build tool sees it, whatever the clock's granularity is."""
    old = path.stat().st_mtime_ns
    path.write_text(path.read_text() + "extern int added;\n")
    later = max(path.stat().st_mtime_ns, old + 2_000_000_000)
    os.utime(path, ns=(later, later))


def version(program: str) -> str:
    """The version that a program says it has."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = _VERSION.search(done.stdout)
    assert found, done.stdout
    return found.group()


def report(tool: str, called_as: str, runs: Iterable[Ran], with_version: str = "") -> None:
    """Put a row into the table, if one is wanted."""
    if not TABLE:
        return
    records = [record for run in runs for record in run.records]
    remote = sum(record["reason"] in NODES_DID_IT for record in records)
    stayed = Counter(record["reason"] for record in records if record["reason"] not in NODES_DID_IT)
    local = ", ".join(f"{count} {reason}" for reason, count in stayed.most_common()) or "none"
    row = f"| {tool} | {with_version or version(tool)} | {called_as} | {remote} | {local} |\n"
    with open(TABLE, "a", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write(_HEAD)
        file.write(row)


PROJECT = {
    "inc/shape.h": '#pragma once\n#include "unit.h"\n#ifdef __cplusplus\nextern "C" {\n#endif\n'
    "int area(int, int);\nconst char *name(void);\n#ifdef __cplusplus\n}\n#endif\n",
    "inc/unit.h": "#pragma once\n#define UNIT 2\n",
    "lib/area.c": '#include "shape.h"\nint area(int a, int b) { return a * b * UNIT; }\n',
    "lib/name.c": '#include <stdio.h>\n#include "shape.h"\nconst char *name(void) { return "square"; }\n',
    "lib/alone.c": "int alone(void) { return 1; }\n",
    "app/main.cc": '#include <cstdio>\n#include "shape.h"\n'
    'int count();\nint main() { return std::printf("%s %d\\n", name(), area(2, 3) + count()) < 0; }\n',
    "app/count.cc": '#include "unit.h"\nint count() { return UNIT; }\n',
}
"""A library in C and a program in C++. All but ``alone.c`` include ``unit.h``."""
SOURCES = ["alone.c", "area.c", "count.cc", "main.cc", "name.c"]
USE_UNIT = ["area.c", "count.cc", "main.cc", "name.c"]
SAYS = "square 14\n"
