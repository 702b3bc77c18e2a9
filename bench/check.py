"""Measure every budget and say of each whether it is met.

    python bench/check.py [--only NAME,...] [--quick] [--work FOLDER] [--json FILE] [--markdown]

    hotpath   client CPU and bytes of a warm job; memory afterwards     (hotpath.py)
    node      what a node adds to the compiler                           (nodecost.py)
    rebuild   a second build of Lua after a clean, over two nodes
    oneslot   four trivial jobs at once, on one slot
    files     memory after 2,000 files were built twice                  (many.py)
    slots     500 slots with jobs of a second; memory afterwards         (manyslots.py)
    lab       what the lab measured last: FontForge with a weak client   (bench/lab)

The exit status is 0 if all that was measured is met, 1 otherwise. The lab takes hours and root: its figures are read
from its results' file, with the date of that; without one they are shown as not measured, which decides nothing. CPU
seconds are the kernel's own accounting, but a busy machine makes them grow, too, up to twofold, and walls much more:
the line above the table tells how busy this one was.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import budgets
import hotpath
import lab_targets
import many
import manyslots
import nodecost
import sources
import tables
from budgets import Row

from manycc.testing.cluster import Cluster

HERE: Final = os.path.dirname(os.path.abspath(__file__))
RESULTS: Final = os.path.join(HERE, "RESULTS.md")
FAULTS: Final = (OSError, AssertionError, LookupError, TypeError, RuntimeError, ValueError, TimeoutError, StopIteration,
                 subprocess.SubprocessError, manyslots.BenchError, sources.SourceError)  # fmt: skip
"""What a measurement ends with where it cannot be made."""
AGENT_MB: Final = 80.0
NODE_MB: Final = 60.0


def hot_path(options: argparse.Namespace) -> list[Row]:
    """What a warm job costs its client."""
    runs, rounds = (5, 5) if options.quick else (20, 25)
    found = hotpath.measure(runs, rounds, compare=False)
    again = f"the same {runs} units again, median of {rounds} rounds"

    def client(kind: str, limit: float) -> Row:
        name = f"{kind}: same unit again"
        parts = f"launcher {found[f'{name}: launcher']:.2f}, agent {found[f'{name}: agent']:.2f}"
        least = found[f"{name}: client, least"]
        new = sum(found[f"{kind}: new unit, warm headers: {who}"] for who in ("launcher", "agent"))
        note = f"{again}: {parts}; best round {least:.2f}; a new unit {new:.2f}"
        return Row(f"client CPU per warm {kind} job", limit, "ms", found[f"{name}: client"], note)

    sent = found["heavy C++: bytes sent, same unit"]
    units = f"{found['heavy C++: inputs']:.0f} inputs; new unit {found['heavy C++: bytes sent, new unit']:,.0f}"
    fresh = f"with one compiler known; {found['node before its first job: resident MB']:.0f} before its first job"
    return [
        client("heavy C++", 2.0),
        client("trivial C", 1.2),
        Row("bytes sent for a warm heavy C++ job", 4000, "bytes", sent, units, digits=0),
        Row("memory: agent, after the hot path", AGENT_MB, "MB", found["agent: resident MB"], "resident", digits=0),
        Row("memory: idle node, after the hot path", NODE_MB, "MB", found["node: resident MB"], fresh, digits=0),
    ]


def node_cost(options: argparse.Namespace) -> list[Row]:
    """What a node adds to the compiler."""
    found = nodecost.measure(*((30, 4) if options.quick else (300, 15)))
    rows = []
    for kind in hotpath.KINDS:
        real = f"{kind.name}: real compiler, node minus local"
        low, middle, high = (found[f"{real}: {part}"] for part in ("lower quartile", "median", "upper quartile"))
        note = (
            f"compiler that does nothing (its start, {found[f'{kind.name}: of it the stand-in']:.1f}, included), mean; "
            f"with the real one, in pairs: {middle:.0f} ({low:.0f} to {high:.0f})"
        )
        name = f"{kind.name}: node beyond the compiler"
        rows.append(Row(f"node CPU beyond the compiler, {kind.name}", 15.0, "ms", found[name], note))
    return rows


class Tree:
    """Lua's objects, built by make through manycc."""

    def __init__(self, folder: str, cluster: Cluster) -> None:
        self._cluster = cluster
        self._folder = sources.unpack("lua5.4", folder)

    def build(self, compiler: str) -> float:
        """Build all objects anew; the CPU seconds of make and all that it ran."""
        for path in glob.glob(os.path.join(glob.escape(self._folder), "src", "*.o")):
            os.unlink(path)
        command = ["make", "-C", "src", "o", "SYSCFLAGS=-DLUA_USE_LINUX", "-j4", f"CC={compiler} gcc -std=gnu99"]
        before = hotpath.children_cpu()
        subprocess.run(command, cwd=self._folder, env=self._cluster.env, stdout=subprocess.DEVNULL, check=True)
        return hotpath.children_cpu() - before


def second_build(options: argparse.Namespace) -> list[Row]:
    """A real tree, its second build and further ones."""
    rounds = 3 if options.quick else 15
    with _scratch(options) as base, Cluster(os.path.join(base, "cluster"), nodes=2, jobs=2) as cluster:
        tree = Tree(os.path.join(base, "lua"), cluster)
        tree.build(cluster.launcher)
        jobs = len(cluster.records())
        agent = cluster.agent_pid()
        client, alone = [], []
        for _ in range(rounds):
            before = hotpath.process_cpu(agent)
            built = tree.build(cluster.launcher)
            client.append((built + hotpath.process_cpu(agent) - before) / jobs * 1e3)
            alone.append(tree.build("/bin/true") / jobs * 1e3)
        records = cluster.wait_records(jobs * (1 + rounds))
    reasons = [record["reason"] for record in records[jobs:]]
    ran = len(reasons[:jobs]) - reasons[:jobs].count("cached")
    how = dict(Counter(reasons))
    note = (
        f"Lua, {jobs} jobs, two nodes, make and its shells included ({statistics.median(alone):.2f} of it), median of "
    )
    return [
        Row("second build after a clean, client CPU per job", 3.0, "ms", statistics.median(client), f"{note}{rounds}"),
        Row("second build after a clean, compilers run", 0, "", ran, f"the second; all {rounds}: {how}", digits=0),
    ]


def one_slot(options: argparse.Namespace) -> list[Row]:
    """Four trivial jobs that come at once."""
    rounds = 5 if options.quick else 15
    walls = []
    with _scratch(options) as base, Cluster(os.path.join(base, "cluster"), nodes=1, jobs=1) as cluster:
        bench = hotpath.Bench(base, cluster, hotpath.KINDS[0])
        bench.compile([cluster.launcher], bench.sources(90_000, 2))
        for number in range(rounds):
            names = bench.sources(4 * number, 4)
            command = [cluster.launcher, *bench.kind.compiler, "-c"]
            begun = time.monotonic()
            jobs = [subprocess.Popen([*command, name], cwd=base, env=cluster.env) for name in names]
            codes = [job.wait() for job in jobs]
            walls.append(time.monotonic() - begun)
            assert not any(codes), codes
        reasons = {record["reason"] for record in cluster.wait_records(2 + 4 * rounds)}
    assert reasons == {"remote"}, reasons
    note = f"new sources, warm headers, wall; median of {rounds} rounds, the worst {max(walls):.2f}"
    return [Row("four trivial jobs on one slot", 0.3, "s", statistics.median(walls), note)]


def many_files(options: argparse.Namespace) -> list[Row]:
    """Memory after thousands of small compiles."""
    files = 200 if options.quick else 2000
    with _scratch(options) as base:
        found = many.run(os.path.join(base, "many"), files, 200, 2, 4)
    after = f"after {files:,} files built twice"
    nodes = max(float(str(found[f"node {index} MB"])) for index in range(2))
    agent = str(found["agent MB (peak)"])
    return [
        Row(f"memory: agent, {after}", AGENT_MB, "MB", float(agent.split()[0]), f"resident (peak): {agent}", digits=0),
        Row(f"memory: idle node, {after}", NODE_MB, "MB", nodes, "resident; the larger of two", digits=0),
    ]


def many_slots(options: argparse.Namespace) -> list[Row]:
    """As many slots as one agent is to keep busy."""
    slots, each = (50, 5) if options.quick else (500, 30)
    asked = argparse.Namespace(jobs=0, jobs_per_slot=each, seconds=1.0, per_node=25, real=False, ask=False, profile="")
    with _scratch(options) as base:
        tools = manyslots.Tools(base)
        runs = manyslots.Bench(base, os.path.join(base, "sources"), tools, asked, slots).run()
    rows = []
    for run in runs:
        others = 100 * run.others / run.wall / (os.cpu_count() or 1)
        note = (
            f"{run.jobs:,} jobs, wall {run.wall:.1f} s, ideal {run.ideal:.0f} s; "
            f"agent {1e3 * run.agent / run.jobs:.2f} ms a job; others took {others:.0f} % of the machine"
        )
        budget = f"{run.slots} slots, 1 s jobs, {run.kind} units: wall / ideal"
        rows.append(Row(budget, 1.1, "", run.wall / run.ideal, note, digits=3))
    units = runs[0].jobs + 2 * slots  # with those that made it warm
    rows.append(
        Row(f"memory: agent, after {units:,} heavy units", AGENT_MB, "MB", runs[-1].rss / 1e6, "resident", digits=0)
    )
    return rows


def lab(options: argparse.Namespace) -> list[Row]:
    """What the lab measured, whenever that was."""
    return lab_targets.rows(options.lab)


MEASURES: Final[dict[str, Callable[[argparse.Namespace], list[Row]]]] = {
    "hotpath": hot_path,
    "node": node_cost,
    "rebuild": second_build,
    "oneslot": one_slot,
    "files": many_files,
    "slots": many_slots,
    "lab": lab,
}


@contextmanager
def _scratch(options: argparse.Namespace) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="manycc-check-", dir=options.work)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check(names: list[str], options: argparse.Namespace) -> list[Row]:
    """The rows of these measurements. One that cannot be made is a row, too."""
    rows = []
    for name in names:
        print(f"check: {time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        try:
            rows += MEASURES[name](options)
        except FAULTS as error:
            rows.append(Row(f"({name})", 0, "", None, failed=f"{type(error).__name__}: {error}"[:300]))
    return rows


def main() -> int:
    """Measure, print, and tell by the exit status."""
    parser = argparse.ArgumentParser(description="every budget: limit, figure, met or not")
    parser.add_argument("--only", metavar="NAME,...", default=",".join(MEASURES), help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="few repetitions and small builds: to try the command")
    parser.add_argument("--work", metavar="FOLDER", help="where sources and objects lie (default: a temporary folder)")
    parser.add_argument("--lab", metavar="FOLDER", default=os.path.join(HERE, "out"), help="the lab's results' files")
    parser.add_argument("--json", metavar="FILE", help="write all rows there")
    parser.add_argument("--markdown", action="store_true", help="write the table into bench/RESULTS.md")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    if unknown := [name for name in names if name not in MEASURES]:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    if options.markdown and (options.quick or names != list(MEASURES)):
        parser.error("--markdown writes the whole table, of full measurements: not with --quick or --only")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("check: terminated"))  # so that everything is taken down
    begun, load = time.monotonic(), os.getloadavg()[0]
    rows = check(names, options)
    machine = (
        f"Measured on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} in {time.monotonic() - begun:.0f} s; "
        f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after. {budgets.summary(rows)}."
    )
    print(machine)
    print(budgets.text(rows), end="")
    if options.json:
        told: dict[str, Any] = {"machine": machine, "rows": [row.told() for row in rows]}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=1)
    if options.markdown:
        table = tables.markdown([budgets.HEADINGS, *(row.cells() for row in rows)])
        tables.write_between(RESULTS, "<!-- budgets: begin -->", "<!-- budgets: end -->", f"\n{machine}\n\n{table}\n")
    return budgets.exit_status(rows)


if __name__ == "__main__":
    sys.exit(main())
