"""What a node adds to the compiler: CPU milliseconds of a node for a job, beyond those of the compiler itself.

    python bench/nodecost.py [--runs N] [--pairs N] [--json FILE]

The difference of two builds' CPU tells little: a heavy compile takes 700 ms and varies by more than what is looked
for. So the compiler is taken out. A stand-in (``slots/compiler.c``, as in ``manyslots``) is known to the node as g++
with all that belongs to it, but writes a recorded object at once. Everything else is a job's usual way: upload of the
new source, cache, staging of all inputs, sandbox, result. What the node then uses (all its threads, by the scheduler's
clock, and the process tree of each job, as the kernel accounts it when that ends) is what it adds. The stand-in's own
start, about half a millisecond, is in it; it is told beside it, not taken off. Headers are known and staged ("warm"):
a job with other headers than the one before it costs more.

What this leaves out is whether a compiler itself runs slower inside the sandbox. That is looked for with the real
one: each source is compiled here and then by the node, and the median over all pairs of the node's whole cost minus
the local compile's is told with its quartiles. It is a check on the first figure, within the noise that it shows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
from typing import Any, Final

import manyslots
from hotpath import KINDS, Bench, Kind, process_cpu

from manycc.testing.cluster import Cluster

_RECORDED: Final = "/* recorded: 0.000 s */\n"


class Node:
    """One node with one slot and a client, and what the node has used."""

    def __init__(self, cluster: Cluster, folder: str) -> None:
        self.cluster = cluster
        self.folder = folder
        process = cluster.nodes[0].process
        assert process is not None
        self._pid = process.pid
        self._done = 0

    def bench(self, kind: Kind) -> Bench:
        """Sources of a kind, and both sides knowing its headers and compiler."""
        bench = Bench(self.folder, self.cluster, kind)
        self.each(bench, bench.sources(90_000, 3))
        return bench

    def each(self, bench: Bench, names: list[str]) -> list[float]:
        """Milliseconds of CPU of the node for each of these new sources, its children's included."""
        taken = []
        for name in names:
            before = process_cpu(self._pid)
            bench.compile([self.cluster.launcher], [name])
            self._done += 1
            record: dict[str, Any] = self.cluster.wait_records(self._done)[-1]
            assert record["reason"] == "remote", record
            taken.append((process_cpu(self._pid) - before + record["node"]["cpu"]) * 1e3)
        return taken


def standing_in(tools: manyslots.Tools) -> tuple[Kind, ...]:
    """The kinds of ``hotpath``, for the stand-in."""
    return tuple(Kind(kind.name, [tools.compiler, *kind.compiler[1:]], _RECORDED + kind.text, ".cc") for kind in KINDS)


def measure(runs: int = 200, pairs: int = 12) -> dict[str, float]:
    """All figures by name, in milliseconds of CPU a job."""
    base = tempfile.mkdtemp(prefix="manycc-node-cost-")
    results: dict[str, float] = {}
    try:
        work = os.path.join(base, "work")
        os.makedirs(work)
        tools = manyslots.Tools(base)
        with Cluster(os.path.join(base, "cluster"), nodes=1, jobs=1) as cluster:
            node = Node(cluster, work)
            for kind in standing_in(tools):
                bench = node.bench(kind)
                names = bench.sources(0, runs)
                taken = node.each(bench, names)
                results[f"{kind.name}: node beyond the compiler"] = statistics.mean(taken)
                results[f"{kind.name}: node beyond the compiler, median"] = statistics.median(taken)
                results[f"{kind.name}: of it the stand-in"] = statistics.median(bench.compile([], names[:50])) * 1e3
            for kind in KINDS if pairs else ():
                bench = node.bench(kind)
                names = bench.sources(0, pairs)
                differences = []
                for name in names:
                    here = bench.compile([], [name])[0] * 1e3
                    differences.append(node.each(bench, [name])[0] - here)
                low, middle, high = statistics.quantiles(differences, n=4)
                results |= {
                    f"{kind.name}: real compiler, node minus local: median": middle,
                    f"{kind.name}: real compiler, node minus local: lower quartile": low,
                    f"{kind.name}: real compiler, node minus local: upper quartile": high,
                }
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return results


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what a node adds to the compiler")
    parser.add_argument("--runs", type=int, default=200, help="jobs of each kind with the stand-in")
    parser.add_argument("--pairs", type=int, default=12, help="pairs of compiles of each kind with the real compiler")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("nodecost: terminated"))  # so that everything is taken down
    results = measure(options.runs, options.pairs)
    for name, value in results.items():
        print(f"{name:70} {value:8.2f} ms")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
