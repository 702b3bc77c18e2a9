"""What one job costs the client and the node, beside the compiler's own preprocessor and stock distcc.

    python bench/hotpath.py [--runs N] [--rounds N] [--against LAUNCHER] [--json FILE]

CPU seconds are the kernel's own accounting (user + system): of the launchers as this process's children, of the
agent from its scheduler's clock. "New unit" is a source never seen, with known headers; "same unit again" is what a
second build after a clean costs. Each figure is the median of several rounds, and all rows are measured in turn in
one run, so that a noisy machine disturbs them alike; so is another launcher, if one is named. What a node adds to the
compiler is measured by ``nodecost``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from manycc.testing.cluster import Cluster

HEAVY: Final = """#include <iostream>
#include <regex>
#include <functional>
#include <filesystem>
#include <algorithm>
int answer_{number}() {{ return {number}; }}
"""
TRIVIAL: Final = "#include <stddef.h>\nint answer_{number}(void) {{ return {number}; }}\n"


class Kind(NamedTuple):
    """A kind of source: its name, the compiler and options, its text and its name's end."""

    name: str
    compiler: list[str]
    text: str
    suffix: str


KINDS: Final = (
    Kind("trivial C", ["gcc", "-O2"], TRIVIAL, ".c"),
    Kind("heavy C++", ["g++", "-O0", "-std=c++20"], HEAVY, ".cc"),
)


def children_cpu() -> float:
    """User and system seconds of this process's finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def process_cpu(pid: int) -> float:
    """User and system seconds of all threads of a process, by the scheduler's clock (nanoseconds)."""
    taken = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            taken += int(file.read().split()[0])
    return taken / 1e9


class Cost(NamedTuple):
    """Of one job, in seconds: the launcher's CPU (median), the agent's CPU and the wall (means)."""

    launcher: float
    agent: float
    wall: float


class Bench:
    """A cluster, and sources of one kind."""

    def __init__(self, folder: str, cluster: Cluster, kind: Kind) -> None:
        self.folder = folder
        self.cluster = cluster
        self.kind = kind

    def sources(self, first: int, count: int) -> list[str]:
        """Write so many sources that differ from all others."""
        names = []
        for number in range(first, first + count):
            name = f"s{number}{self.kind.suffix}"
            with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
                file.write(self.kind.text.format(number=number))
            names.append(name)
        return names

    def compile(
        self, prefix: list[str], names: list[str], output: str = "-c", env: dict[str, str] | None = None
    ) -> list[float]:
        """CPU seconds of each command's own process tree."""
        taken = []
        for name in names:
            target = os.devnull if output == "-E" else name + ".o"
            if output != "-E" and os.path.exists(os.path.join(self.folder, target)):
                os.unlink(os.path.join(self.folder, target))  # as after a clean
            before = children_cpu()
            subprocess.run(
                [*prefix, *self.kind.compiler, output, name, "-o", target],
                cwd=self.folder,
                env=self.cluster.env if env is None else env,
                check=True,
            )
            taken.append(children_cpu() - before)
        return taken

    def manycc(self, agent: int, names: list[str], launcher: str = "") -> Cost:
        """What a job costs, on average over these sources. ``launcher``: another than the installed one."""
        before = process_cpu(agent)
        begun = time.monotonic()
        taken = self.compile([launcher or self.cluster.launcher], names)
        wall = (time.monotonic() - begun) / len(names)
        return Cost(statistics.median(taken), (process_cpu(agent) - before) / len(names), wall)


def with_distcc(folder: str, work: Callable[[dict[str, str]], None]) -> bool:
    """Run ``work`` with a stock distccd on loopback; False if distcc is not installed."""
    if shutil.which("distccd") is None or shutil.which("distcc") is None:
        return False
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        ["distccd", "--no-detach", "--daemon", "--listen", "127.0.0.1", "--port", str(port), "--allow", "127.0.0.1",
         "--jobs", "4", "--log-file", os.path.join(folder, "distccd.log"), "--enable-tcp-insecure"],
        start_new_session=True, stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": "/tmp"},  # it gives up root's rights: ours may not be for it to write
    )  # fmt: skip
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        env = {**os.environ, "DISTCC_HOSTS": f"127.0.0.1:{port}/4", "DISTCC_FALLBACK": "0",
               "DISTCC_DIR": os.path.join(folder, "distcc"), "PATH": "/usr/bin:/bin"}  # fmt: skip
        os.makedirs(env["DISTCC_DIR"], exist_ok=True)
        work(env)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    return True


def _measure_kind(bench: Bench, runs: int, rounds: int, compare: bool, against: str, base: str) -> dict[str, float]:
    cluster, kind = bench.cluster, bench.kind.name
    bench.compile([cluster.launcher], bench.sources(90_000, 2))  # both sides get to know headers and compiler
    agent = cluster.agent_pid()
    names = bench.sources(0, runs)
    records = len(cluster.records())
    new = bench.manycc(agent, names)
    made = cluster.wait_records(records + runs)[records:]
    assert all(record["reason"] == "remote" for record in made), made
    again, other = [], []
    for _ in range(rounds):
        again.append(bench.manycc(agent, names))
        if against:
            other.append(bench.manycc(agent, names, against))
    known = cluster.wait_records(records + runs * (1 + len(again) + len(other)))[records + runs :]
    assert all(record["reason"] == "cached" for record in known), known
    results = {
        f"{kind}: new unit, warm headers: launcher": new.launcher * 1e3,
        f"{kind}: new unit, warm headers: agent": new.agent * 1e3,
        f"{kind}: same unit again: launcher": statistics.median(cost.launcher for cost in again) * 1e3,
        f"{kind}: same unit again: agent": statistics.median(cost.agent for cost in again) * 1e3,
        f"{kind}: same unit again: client": statistics.median(cost.launcher + cost.agent for cost in again) * 1e3,
        f"{kind}: same unit again: client, least": min(cost.launcher + cost.agent for cost in again) * 1e3,
        f"{kind}: same unit again: wall": statistics.median(cost.wall for cost in again) * 1e3,
        f"{kind}: bytes sent, new unit": statistics.median(record["sent"] for record in made),
        f"{kind}: bytes sent, same unit": max(record["sent"] for record in known),
        f"{kind}: inputs": made[-1]["inputs"],
    }
    if other:
        results[f"{kind}: same unit again: other launcher"] = statistics.median(cost.launcher for cost in other) * 1e3
    if compare:
        results[f"{kind}: local compile"] = statistics.median(bench.compile([], names)) * 1e3
        results[f"{kind}: preprocess only"] = statistics.median(bench.compile([], names, "-E")) * 1e3

        def distcc(env: dict[str, str]) -> None:
            results[f"{kind}: stock distcc"] = statistics.median(bench.compile(["distcc"], names, env=env)) * 1e3

        with_distcc(base, distcc)
    return results


def measure(runs: int = 10, rounds: int = 5, compare: bool = True, against: str = "") -> dict[str, float]:
    """All figures by name: milliseconds of CPU, bytes, counts, MB (of the agent and the node after all this).

    ``rounds`` times ``runs`` jobs of each kind that were seen before; ``compare``: also what preprocessing and distcc
    cost; ``against``: the path of another launcher, to be measured in turn with the installed one.
    """
    base = tempfile.mkdtemp(prefix="manycc-bench-")
    work = os.path.join(base, "work")
    os.makedirs(work)
    results: dict[str, float] = {}
    try:
        with Cluster(os.path.join(base, "cluster"), nodes=1, jobs=4) as cluster:
            node = cluster.nodes[0].process
            assert node is not None
            results["node before its first job: resident MB"] = resident_mb(node.pid)
            for kind in KINDS:
                results |= _measure_kind(Bench(work, cluster, kind), runs, rounds, compare, against, base)
            results["agent: resident MB"] = resident_mb(cluster.agent_pid())
            results["node: resident MB"] = resident_mb(node.pid)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return results


def resident_mb(pid: int) -> float:
    """The memory that a process and the processes below it hold, in MB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        held = int(file.read().split()[1]) * resource.getpagesize() / 1e6
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return held + sum(resident_mb(int(child)) for child in file.read().split())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="client cost per job")
    parser.add_argument("--runs", type=int, default=10, help="sources of each kind")
    parser.add_argument("--rounds", type=int, default=5, help="times that each is built again")
    parser.add_argument(
        "--against", metavar="LAUNCHER", default="", help="another launcher, in turn with the installed one"
    )
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    results = measure(options.runs, options.rounds, against=options.against and os.path.abspath(options.against))
    for name, value in results.items():
        unit = "" if "bytes" in name or "inputs" in name or "MB" in name else " ms"
        print(f"{name:52} {value:10.2f}{unit}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
