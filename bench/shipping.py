"""What it costs to send a compiler to a machine that has none, and what is gained: bytes, seconds, whole builds there.

    python bench/shipping.py [--megabits N] [--trees lua5.4,re2,redis] [--json FILE] [--markdown FILE]

A client and a node are joined by a line of that bandwidth (network namespaces). The node's machine has no compiler
at all. Each compiler is sent once: the first job's own time is told, how long it takes until the node serves the
compiler, and the bytes on the line. While the last of them is sent, jobs of the first go on, and their times are told
beside those on an idle line. Then the trees are built over such a node on loopback, and every file is compared.
Must be run as root. Exit code 0 only if all is served and nothing differs.
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
from collections.abc import Sequence
from dataclasses import asdict, dataclass

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import trees
from lab import network as lab_network
from lab.network import MASK, Network

from manycc.testing.bare import make_bare, sent, wait_decided
from manycc.testing.cluster import Cluster
from manycc.toolchain.paths import find_program

DRIVERS = ("gcc", "g++", "clang-14")
SERVES = "can: the compiler of this machine was sent there"
SOURCE = "#include <stdio.h>\nint f{number}(void) {{ return puts(__FILE__); }}\n"
JOBS = 30
MIB = 1 << 20


class BenchError(Exception):
    """Something was not as it should be."""


@dataclass
class Sent:
    """A compiler that was sent. Times in seconds, sizes in MiB; ``wire`` is what went over the line, all included."""

    driver: str
    label: str
    files: int
    size: int
    lacking: int
    wire: float
    first_job: float
    local_job: float
    served_after: float


class Line(Cluster):
    """A client and a node with a line between them; programs of the client's are run on its side."""

    def __init__(self, folder: str, network: Network) -> None:
        super().__init__(folder, nodes=1, arguments=["--listen", network.address("node"), "--allow", MASK])
        self.network = network
        node = self.nodes[0]
        env = make_bare(node, os.path.join(folder, "machine"))
        node.program = network.command("node", node.program)
        node.program[0] = find_program("nsenter", os.environ)
        node.start(env)
        self.env["MANYCC_HOSTS"] = f"{network.address('node')}:{node.port}/{node.jobs}"

    def cli(self, *arguments: str, check: bool = True, **options: object) -> subprocess.CompletedProcess[str]:
        """As of a cluster, from the client's side of the line."""
        command = [os.path.join(os.path.dirname(sys.executable), "manycc-cli"), *arguments]
        return subprocess.run(
            self.network.command("client", command), env=self.env, capture_output=True, text=True, check=check
        )

    def job(self, driver: str, number: int, name: str = "job") -> float:
        """Compile something new; the seconds that took."""
        source = os.path.join(self.folder, f"{name}{number}.c")
        with open(source, "w", encoding="ascii") as file:
            file.write(SOURCE.format(number=number))
        command = self.network.command("client", [self.launcher, driver, "-c", source, "-o", source + ".o"])
        began = time.monotonic()
        subprocess.run(command, env=self.env, check=True)
        return time.monotonic() - began


def send(line: Line, driver: str, served: str = "") -> tuple[Sent, list[float]]:
    """Have a compiler sent; meanwhile, jobs of another one that is ``served`` already, and their times."""
    source = os.path.join(line.folder, "first.c")
    with open(source, "w", encoding="ascii") as file:
        file.write(SOURCE.format(number=0))
    began = time.monotonic()
    subprocess.run([driver, "-c", source, "-o", source + ".o"], check=True)
    local = time.monotonic() - began
    before = line.network.counters("client")[0]
    began = time.monotonic()
    first = line.job(driver, 0, f"first-{driver}-")
    busy: list[float] = []
    while served and is_sending(line):
        busy.append(line.job(served, len(busy), "busy"))
    said = wait_decided(line, driver, limit_s=600)
    after = time.monotonic() - began
    if said != SERVES:
        raise BenchError(f"{driver}: {said}")
    records = [record for record in line.records() if "/busy" in str(record.get("src")) and record.get("way")]
    if len(records) < len(busy):
        raise BenchError(f"{len(busy) - len(records)} of {len(busy)} jobs were not done by the node meanwhile")
    wire = (line.network.counters("client")[0] - before) / MIB
    label, _, files, lacking, size = sent(line)[-1]
    first, local, after = round(first, 3), round(local, 3), round(after, 1)
    return Sent(driver, label, files, size, lacking, round(wire, 1), first, local, after), busy


def is_sending(line: Line) -> bool:
    """Whether a compiler is on its way."""
    (host,) = json.loads(line.cli("status", "--json").stdout)["hosts"]
    return any(toolchain.get("sent_of") is not None for toolchain in host["toolchains"])


def build(folder: str, names: Sequence[str]) -> list[tuple[str, int, int, int, str]]:
    """Build trees over a node without compilers: name, files, objects, files that differ, share of the compiles."""
    cluster = Cluster(folder, nodes=1)
    rows = []
    try:
        node = cluster.nodes[0]
        node.start(make_bare(node, os.path.join(folder, "machine")))
        cluster.env["MANYCC_HOSTS"] = node.host
        for driver in ("gcc", "g++", "cc", "c++"):
            if wait_decided(cluster, driver) != SERVES:
                raise BenchError(f"{driver} is not served")
        for name in names:
            row = trees.build_tree(name, folder, [node.host], "-g -O2", 2 * node.jobs)
            rows.append((name, row.files, row.objects, len(row.different), row.build.share))
    finally:
        cluster.close()
    return rows


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabits", type=float, default=100.0)
    parser.add_argument("--trees", default="lua5.4,re2,redis", help="trees of tree_list, or an empty text for none")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--markdown", metavar="FILE")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="manycc-shipping-")
    try:
        with Network(["client", "node"], lab_network.Line(options.megabits)) as network:
            line = Line(os.path.join(folder, "line"), network)
            try:
                drivers = [driver for driver in DRIVERS if shutil.which(driver)]
                table = [send(line, driver)[0] for driver in drivers[:-1]]
                line.job(drivers[0], 0, "warm")
                idle = [line.job(drivers[0], number, "idle") for number in range(JOBS)]
                last, busy = send(line, drivers[-1], drivers[0])
                table.append(last)
            finally:
                line.close()
        built = build(os.path.join(folder, "trees"), [name for name in options.trees.split(",") if name])
    except (BenchError, trees.BuildError, trees.sources.SourceError) as error:
        print(f"shipping: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = markdown(options.megabits, table, idle, busy, built)
    print(text)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"sent": [asdict(one) for one in table], "idle": idle, "busy": busy, "built": built}, file)
    return 1 if any(different for _, _, _, different, _ in built) else 0


def markdown(
    megabits: float,
    table: list[Sent],
    idle: list[float],
    busy: list[float],
    built: list[tuple[str, int, int, int, str]],
) -> str:
    """The tables."""
    lines = [
        f"Over a line of {megabits:g} Mbit/s:",
        "",
        "| compiler | files | size | sent | on the line | served after | first job (done here) | without manycc |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.driver}: {one.label} | {one.files} | {one.size} MiB | {one.lacking} MiB | {one.wire} MiB "
        f"| {one.served_after} s | {one.first_job:.2f} s | {one.local_job:.2f} s |"
        for one in table
    ]
    lines += ["", "| jobs of gcc | number | median | worst |", "|---|---|---|---|"]
    for name, times in (("on an idle line", idle), ("while another compiler is sent", busy)):
        lines.append(f"| {name} | {len(times)} | {statistics.median(times):.3f} s | {max(times):.3f} s |")
    lines += ["", "| tree | files | objects | different | compiles there |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {files} | {count} | {wrong} | {share} |" for name, files, count, wrong, share in built]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
