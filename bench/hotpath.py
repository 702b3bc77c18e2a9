"""What one job costs the client and the node, beside the compiler's own preprocessor and stock distcc.

    python bench/hotpath.py [--runs N] [--markdown]

CPU seconds are the kernel's own accounting (user + system): of the launchers as this process's
children, of the agent and the nodes from /proc, children included. Each figure is the median of
several rounds, and all rows are measured in turn in one run, so that a noisy machine disturbs them alike.
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

from manycc.testing.cluster import Cluster

HEAVY = """#include <iostream>
#include <regex>
#include <functional>
#include <filesystem>
#include <algorithm>
int answer_{number}() {{ return {number}; }}
"""
TRIVIAL = "#include <stddef.h>\nint answer_{number}(void) {{ return {number}; }}\n"
TICKS = os.sysconf("SC_CLK_TCK")


def children_cpu() -> float:
    """User and system seconds of this process's finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def process_cpu(pid: int, children: bool = False) -> float:
    """User and system seconds of a process (nanosecond clock for itself, ticks for its children)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        seconds = int(file.read().split()[0]) / 1e9
    if children:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        seconds += (int(fields[13]) + int(fields[14])) / TICKS
    return seconds


class Bench:
    """A cluster, some sources, and what was measured on them."""

    def __init__(self, folder: str, cluster: Cluster, runs: int) -> None:
        self.folder = folder
        self.cluster = cluster
        self.runs = runs
        self.agent = cluster.agent_pid()
        self.rows: list[tuple[str, float, float, float]] = []

    def sources(self, text: str, suffix: str, first: int) -> list[str]:
        names = []
        for number in range(first, first + self.runs):
            name = f"s{number}{suffix}"
            with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
                file.write(text.format(number=number))
            names.append(name)
        return names

    def compile(self, prefix: list[str], options: list[str], names: list[str], output: str = "-c") -> list[float]:
        """CPU seconds of each command's own process tree."""
        taken = []
        for name in names:
            target = os.devnull if output == "-E" else name + ".o"
            if output != "-E" and os.path.exists(os.path.join(self.folder, target)):
                os.unlink(os.path.join(self.folder, target))  # as after a clean
            before = children_cpu()
            subprocess.run(
                [*prefix, *options, output, name, "-o", target], cwd=self.folder, env=self.cluster.env, check=True
            )
            taken.append(children_cpu() - before)
        return taken

    def manycc(self, options: list[str], names: list[str]) -> tuple[float, float, float]:
        """Per job: launcher CPU (median), agent CPU (mean), wall (median) in seconds."""
        before = process_cpu(self.agent)
        begun = time.monotonic()
        launcher = self.compile([self.cluster.launcher], options, names)
        wall = (time.monotonic() - begun) / len(names)
        return statistics.median(launcher), (process_cpu(self.agent) - before) / len(names), wall


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


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="client and node cost per job")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    base = tempfile.mkdtemp(prefix="manycc-bench-")
    work = os.path.join(base, "work")
    os.makedirs(work)
    results: dict[str, float] = {}
    try:
        with Cluster(os.path.join(base, "cluster"), nodes=1, jobs=4) as cluster:
            kinds = {
                "trivial C": (["gcc", "-O2"], TRIVIAL, ".c"),
                "heavy C++": (["g++", "-O0", "-std=c++20"], HEAVY, ".cc"),
            }
            for kind, (compiler, text, suffix) in kinds.items():
                bench = Bench(work, cluster, options.runs)
                warm_up = bench.sources(text, suffix, 90_000)[:2]
                bench.compile([cluster.launcher], compiler, warm_up)
                bench.agent = cluster.agent_pid()
                names = bench.sources(text, suffix, 0)
                local = bench.compile([], compiler, names)
                node = cluster.nodes[0].process
                assert node is not None
                before, records = process_cpu(node.pid, children=True), len(cluster.records())
                new = bench.manycc(compiler, names)
                node_cpu = (process_cpu(node.pid, children=True) - before) / len(names)
                made = cluster.wait_records(records + len(names))[records:]
                assert all(record["reason"] == "remote" for record in made), made
                again = [bench.manycc(compiler, names) for _ in range(5)]
                preprocess = bench.compile([], compiler, names, "-E")
                results |= {
                    f"{kind}: local compile": statistics.median(local) * 1e3,
                    f"{kind}: preprocess only": statistics.median(preprocess) * 1e3,
                    f"{kind}: new unit, warm headers: launcher": new[0] * 1e3,
                    f"{kind}: new unit, warm headers: agent": new[1] * 1e3,
                    f"{kind}: same unit again: launcher": statistics.median(row[0] for row in again) * 1e3,
                    f"{kind}: same unit again: agent": statistics.median(row[1] for row in again) * 1e3,
                    f"{kind}: same unit again: wall": statistics.median(row[2] for row in again) * 1e3,
                    f"{kind}: node beyond the compiler": (node_cpu - statistics.mean(local)) * 1e3,
                    f"{kind}: bytes sent, new unit": statistics.median(record["sent"] for record in made),
                    f"{kind}: bytes sent, same unit": cluster.records()[-1]["sent"],
                    f"{kind}: inputs": made[-1]["inputs"],
                }

                def distcc(
                    env: dict[str, str],
                    kind: str = kind,
                    results: dict[str, float] = results,
                    compiler: list[str] = compiler,
                    names: list[str] = names,
                ) -> None:
                    taken = []
                    for name in names:
                        before = children_cpu()
                        subprocess.run(
                            ["distcc", *compiler, "-c", name, "-o", name + ".o"], cwd=work, env=env, check=True
                        )
                        taken.append(children_cpu() - before)
                    results[f"{kind}: stock distcc"] = statistics.median(taken) * 1e3

                with_distcc(base, distcc)
            status = json.loads(cluster.cli("status", "--json").stdout)
            results["agent: resident MB"] = status["agent"]["rss"] / 1e6
            with open(f"/proc/{cluster.nodes[0].process.pid}/status", encoding="ascii") as file:  # type: ignore[union-attr]
                resident = next(line for line in file if line.startswith("VmRSS"))
            results["node: resident MB"] = int(resident.split()[1]) / 1e3
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for name, value in results.items():
        unit = "" if "bytes" in name or "inputs" in name or "MB" in name else " ms"
        print(f"{name:52} {value:10.2f}{unit}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
