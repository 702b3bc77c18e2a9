"""What a job costs through a remote execution engine, beside a LAN node in the same run.

For each place (a LAN node; buildbox-casd; BuildGrid with two of our workers): the CPU of the agent per warm job, all
its threads, and of the launcher; the bytes that were sent besides the source; the latency of one job after the
other; jobs a second with many at once. Every object is compared with the local compiler's.

    python bench/engines.py [--runs N] [--places lan,casd,buildgrid] [--json FILE]

What is found is kept in bench/out/engines.json, for scale.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hotpath import HEAVY, TRIVIAL, children_cpu

from manycc.testing.buildgrid import Farm
from manycc.testing.casd import Casd
from manycc.testing.cluster import Cluster

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "out", "engines.json")
AT_ONCE = 8
WARM_S = 120.0
PLACES = ("lan", "casd", "buildgrid")
KINDS = {"trivial C": (["gcc", "-O2"], TRIVIAL, ".c"), "heavy C++": (["g++", "-O0", "-std=c++20"], HEAVY, ".cc")}


def all_threads_cpu(pid: int) -> float:
    """User and system seconds of a process, to the nanosecond, of the threads that it has now."""
    seconds = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            seconds += int(file.read().split()[0])
    return seconds / 1e9


@contextmanager
def place(kind: str, folder: str) -> Iterator[Cluster]:
    """A client, and one place to compile."""
    with Cluster(os.path.join(folder, "c"), nodes=1 if kind == "lan" else 0, jobs=2) as cluster:
        if kind == "lan":
            yield cluster
        elif kind == "casd":
            with Casd(os.path.join(folder, "casd")) as engine:
                cluster.env["MANYCC_HOSTS"] = engine.host
                yield cluster
        else:
            with Farm(folder) as farm:
                cluster.env["MANYCC_HOSTS"] = f"{farm.engine.url}?slots=4&toolchain=property"
                yield cluster


class Run:
    """Jobs of one kind at one place."""

    def __init__(self, cluster: Cluster, folder: str, kind: str) -> None:
        self.cluster = cluster
        self.folder = folder
        self.compiler, self.text, self.suffix = KINDS[kind]
        self._number = 0

    def source(self) -> str:
        """A new source, by name."""
        self._number += 1
        name = f"s{self._number}{self.suffix}"
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(self.text.format(number=self._number))
        return name

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Begin to compile one."""
        command = [self.cluster.launcher, *self.compiler, "-c", name, "-o", name + ".o"]
        return subprocess.Popen(command, cwd=self.folder, env=self.cluster.env)

    def one(self, name: str) -> float:
        """Compile one; the seconds it took. Raises RuntimeError."""
        begun = time.monotonic()
        if self.start(name).wait():
            raise RuntimeError(f"{name} does not compile")
        return time.monotonic() - begun

    def check(self, names: list[str]) -> None:
        """Compare with the local compiler. Raises RuntimeError."""
        for name in names:
            local = [*self.compiler, "-c", name, "-o", "local.o"]
            subprocess.run(local, cwd=self.folder, check=True)
            with open(os.path.join(self.folder, name + ".o"), "rb") as one, \
                    open(os.path.join(self.folder, "local.o"), "rb") as other:  # fmt: skip
                if one.read() != other.read():
                    raise RuntimeError(f"{name}.o differs from the local object")

    def warm_up(self) -> None:
        """Compile until three in a row were done there; while a toolchain is tried, jobs are done here."""
        there, end = 0, time.monotonic() + WARM_S
        while there < 3:
            seen = len(self.cluster.records())
            self.one(self.source())
            record = self.cluster.wait_records(seen + 1)[-1]
            there = there + 1 if record["reason"] == "remote" else 0
            if time.monotonic() > end:
                raise RuntimeError(f"not done there: {record}")

    def measure(self, runs: int) -> dict[str, float]:
        """Warm up, then measure."""
        self.warm_up()
        agent = self.cluster.agent_pid()
        names = [self.source() for _ in range(runs)]
        seen = len(self.cluster.records())
        rows = {}
        for label, reason in (("new unit", "remote"), ("same unit again", "cached")):
            cpu, launchers = all_threads_cpu(agent), children_cpu()
            walls = [self.one(name) for name in names]
            rows |= {
                f"{label}: agent ms": (all_threads_cpu(agent) - cpu) / runs * 1e3,
                f"{label}: launcher ms": (children_cpu() - launchers) / runs * 1e3,
                f"{label}: latency ms": statistics.median(walls) * 1e3,
            }
            made = self.cluster.wait_records(seen + runs)[seen:]
            seen += runs
            if {record["reason"] for record in made} != {reason}:
                raise RuntimeError(f"not all {reason}: {made}")
            source = os.path.getsize(os.path.join(self.folder, names[0]))
            sent = statistics.median(record["sent"] for record in made)
            rows[f"{label}: bytes besides the source"] = sent - (source if reason == "remote" else 0)
            rows["inputs"] = made[-1]["inputs"]
        self.check(names)
        names = [self.source() for _ in range(3 * AT_ONCE)]
        begun = time.monotonic()
        running = [self.start(name) for name in names]
        if any(process.wait() for process in running):
            raise RuntimeError("a job failed")
        rows["jobs a second, many at once"] = len(names) / (time.monotonic() - begun)
        return rows


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="what a job costs through an engine")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--places", default=",".join(PLACES))
    parser.add_argument("--json", metavar="FILE", default=OUT, help=f"where to keep it (default: {OUT})")
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {kind: {} for kind in KINDS}
    for name in options.places.split(","):
        base = tempfile.mkdtemp(prefix="manycc-bench-")
        work = os.path.join(base, "work")
        os.makedirs(work)
        try:
            with place(name, base) as cluster:
                for kind in KINDS:
                    results[kind][name] = Run(cluster, work, kind).measure(options.runs)
        finally:
            shutil.rmtree(base, ignore_errors=True)
    for kind, table in results.items():
        print(f"{kind:42}" + "".join(f"{name:>12}" for name in table))
        for row in next(iter(table.values())):
            print(f"  {row:40}" + "".join(f"{table[name][row]:12.1f}" for name in table))
    os.makedirs(os.path.dirname(options.json) or ".", exist_ok=True)
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
