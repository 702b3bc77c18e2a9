"""One agent and many slots: how many it keeps busy, what a job costs it, and where it is full.

    python bench/manyslots.py --slots 50,100,200,500,1000 --jobs-per-slot 10 --seconds 1 [--markdown]
    python bench/manyslots.py --real --slots 25,50            nodes with sandbox, staging and store
    python bench/manyslots.py --ask --slots 1000,2000         requests without launchers: the agent's limit
    python bench/manyslots.py --slots 500 --profile FILE      with py-spy, if it is in PATH

The launchers and the agent are the real ones. The compiler is a stand-in (``slots/compiler.c``) that sleeps for the
time recorded in the source and writes a recorded object, so that slots are not bounded by this machine's cores;
what manycc asks a compiler about itself the real one answers. A real node costs some 10 ms of CPU a job, so beyond
some fifty jobs a second one machine cannot be the nodes, too: then they are light ones (``slots/node.py``) that speak
the protocol, ask for and check all that an agent owes them, and wait. Jobs are started by a small C program
(``slots/starter.c``) that keeps as many under way as there are slots; ``--make`` measures what make itself would cost.

Each size is built twice: as units never seen before (their headers are known), and again after a clean. Ideal is
jobs x seconds / slots. CPU is the kernel's accounting of each process; "others" is what else ran meanwhile.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from manycc import __version__
from manycc.testing.cluster import Cluster
from manycc.wire.launcher import Request, build_request

HERE: Final = os.path.dirname(os.path.realpath(__file__))
RESULTS: Final = os.path.join(HERE, "RESULTS.md")
TICKS: Final = os.sysconf("SC_CLK_TCK")
UNIT: Final = """/* recorded: {seconds} s */
#include <iostream>
#include <regex>
#include <functional>
#include <filesystem>
#include <algorithm>
#include <map>
int count_{number}(const std::vector<std::string> &words) {{
    std::map<std::string, std::vector<int>> places;
    for (const auto &word : words) places[word].push_back({number});
    for (auto &[word, found] : places) {{
        std::sort(found.begin(), found.end());
        std::cout << word << found.size() << std::endl;
    }}
    return places.size();
}}
"""
OPTIONS: Final = ["-O2", "-std=c++17"]
PER_FOLDER: Final = 50


class BenchError(Exception):
    """What was measured is not what should have been."""


@dataclass
class Run:
    """One build with so many slots."""

    kind: str
    slots: int
    nodes: int
    jobs: int
    seconds: float
    wall: float
    agent: float
    launchers: float
    starter: float
    nodes_cpu: float
    machine: float
    median: float
    longest: float
    occupied: float
    rss: int

    @property
    def ideal(self) -> float:
        return self.jobs * self.seconds / self.slots

    @property
    def others(self) -> float:
        return max(0.0, self.machine - self.agent - self.launchers - self.starter - self.nodes_cpu)

    def row(self) -> list[str]:
        cores = self.wall * (os.cpu_count() or 1)
        return [
            str(self.slots), str(self.nodes), self.kind, str(self.jobs), f"{self.ideal:.1f}", f"{self.wall:.2f}",
            f"{self.wall / self.ideal:.3f}", f"{self.jobs / self.wall:.0f}", f"{1e3 * self.agent / self.jobs:.2f}",
            f"{100 * self.agent / self.wall:.0f} %", f"{1e3 * self.launchers / self.jobs:.2f}",
            f"{1e3 * self.nodes_cpu / self.jobs:.2f}", f"{self.median:.3f} / {self.longest:.2f}", f"{self.rss >> 20}",
            f"{100 * self.machine / cores:.0f} % / {100 * self.others / cores:.0f} %",
        ]  # fmt: skip


HEADINGS: Final = [
    "slots", "nodes", "units", "jobs", "ideal s", "wall s", "wall / ideal", "jobs/s", "agent ms a job", "agent's core",
    "launcher ms a job", "nodes ms a job", "job s, median / longest", "agent MiB", "machine busy / by others",
]  # fmt: skip


def cpu_of(pid: int) -> float:
    """User and system seconds of a process and of those of its children that it has waited for."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    children = (int(fields[13]) + int(fields[14])) / TICKS
    own = 0
    for task in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(task, encoding="ascii") as file:
            own += int(file.read().split()[0])
    return own / 1e9 + children


def machine_cpu() -> float:
    """Seconds in which this machine's processors were not idle, as far as this machine had them."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Tools:
    """What is built for the bench: the stand-in compiler and its object, the starter."""

    def __init__(self, folder: str) -> None:
        real = os.path.realpath(shutil.which("g++") or "g++")
        source = os.path.join(folder, "recorded.cc")
        with open(source, "w", encoding="ascii") as file:
            file.write(UNIT.format(seconds=0, number=0))
        self.object = os.path.join(folder, "recorded.o")
        subprocess.run([real, *OPTIONS, "-c", source, "-o", self.object], check=True)
        # gcc looks for its parts beside itself first, and this one passes its own name on.
        os.makedirs(os.path.join(folder, "bin"))
        os.makedirs(os.path.join(folder, "lib"))
        os.symlink("/usr/lib/gcc", os.path.join(folder, "lib/gcc"))
        self.compiler = os.path.join(folder, "bin/g++")
        defined = [f'-DREAL="{real}"', f'-DOBJECT="{self.object}"']
        code = os.path.join(HERE, "slots")
        subprocess.run(["gcc", "-O2", "-static", *defined, f"{code}/compiler.c", "-o", self.compiler], check=True)
        self.starter = os.path.join(folder, "starter")
        subprocess.run(["gcc", "-O2", f"{code}/starter.c", "-o", self.starter], check=True)


class Sources:
    """Units of a build: their folders, and what is asked for each."""

    def __init__(self, folder: str, count: int, seconds: float, first: int) -> None:
        self.all: list[tuple[str, str, str]] = []
        for number in range(first, first + count):
            place = os.path.join(folder, f"d{number // PER_FOLDER}")
            os.makedirs(place, exist_ok=True)
            with open(os.path.join(place, f"u{number}.cc"), "w", encoding="ascii") as file:
                file.write(UNIT.format(seconds=f"{seconds:.3f}", number=number))
            self.all.append((place, f"u{number}.cc", f"u{number}.o"))

    def clean(self) -> None:
        for folder, _, output in self.all:
            os.unlink(os.path.join(folder, output))

    def check(self, recorded: bytes) -> None:
        """Every object is there, whole. Raises BenchError."""
        for folder, _, output in self.all:
            with open(os.path.join(folder, output), "rb") as file:
                if file.read() != recorded:
                    raise BenchError(f"{folder}/{output} is not the recorded object")

    def lines(self) -> bytes:
        return "".join(f"{folder} {source} {output}\n" for folder, source, output in self.all).encode()

    def requests(self, compiler: str, env: dict[str, str]) -> bytes:
        asked = []
        for folder, source, output in self.all:
            argv = [compiler, *OPTIONS, "-c", source, "-o", output]
            request = build_request(Request(__version__, compiler, folder, argv, env, 0o022, 0, 0))
            asked.append(struct.pack("<I", len(request)) + request)
        return b"".join(asked)


class Nodes:
    """Either real ones, or light ones in one process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._light: subprocess.Popen[str] | None = None

    def start_light(self, nodes: int, slots: int, recorded: str) -> None:
        program = os.path.join(HERE, "slots/node.py")
        self._light = subprocess.Popen(
            [sys.executable, program, "--nodes", str(nodes), "--slots", str(slots), "--object", recorded],
            stdout=subprocess.PIPE,
            text=True,
        )
        ports = [line.strip() for line in iter(self._out().readline, "\n")]
        self._cluster.env["MANYCC_HOSTS"] = " ".join(f"127.0.0.1:{port}/{slots}" for port in ports)

    def _out(self) -> IO[str]:
        assert self._light is not None and self._light.stdout is not None
        return self._light.stdout

    def cpu(self) -> float:
        if self._light is not None:
            return cpu_of(self._light.pid)
        return sum(cpu_of(node.process.pid) for node in self._cluster.nodes if node.process is not None)

    def seen(self) -> dict[str, Any]:
        """What the light ones saw so far. Raises BenchError if one of them is gone."""
        if self._light is None:
            return {}
        self._light.send_signal(signal.SIGUSR1)
        line = self._out().readline()
        if not line:
            raise BenchError("the light nodes ended: the agent did not keep to the protocol, see above")
        seen: dict[str, Any] = json.loads(line)
        return seen

    def stop(self) -> None:
        if self._light is not None:
            self._light.terminate()
            self._light.wait()


class Bench:
    """One agent with so many slots."""

    def __init__(self, base: str, work: str, tools: Tools, options: argparse.Namespace, slots: int) -> None:
        """``base``: where state and tools lie; ``work``: sources and objects."""
        self._base = base
        self._work = work
        self._tools = tools
        self._options = options
        self._slots = slots
        self._each = min(slots, options.per_node)
        self._count = -(-slots // self._each)
        self.slots = self._count * self._each

    def run(self) -> list[Run]:
        options = self._options
        jobs = options.jobs or options.jobs_per_slot * self.slots
        folder = os.path.join(self._base, "cluster")
        real = self._count if options.real else 0
        with open(self._tools.object, "rb") as file:
            recorded = file.read()
        runs = []
        with Cluster(folder, nodes=real, jobs=self._each) as cluster:
            nodes = Nodes(cluster)
            try:
                if not real:
                    nodes.start_light(self._count, self._each, self._tools.object)
                # The compiler is identified, the nodes get to know headers and compiler, the agent the nodes.
                warm = Sources(f"{self._work}/warm", 2 * self.slots, options.seconds, 1_000_000)
                self._build(cluster, nodes, warm, "warm", options.seconds)
                sources = Sources(f"{self._work}/work", jobs, options.seconds, 0)
                with self.profiled(cluster, "new"):
                    runs.append(self._build(cluster, nodes, sources, "new", options.seconds))
                sources.check(recorded)
                if not real:  # which would answer from their cache
                    sources.clean()
                    with self.profiled(cluster, "known"):
                        runs.append(self._build(cluster, nodes, sources, "known", options.seconds))
                    sources.check(recorded)
                self._check(cluster)
            finally:
                nodes.stop()
        for path in (folder, f"{self._work}/warm", f"{self._work}/work"):
            shutil.rmtree(path, ignore_errors=True)
        return runs

    def _build(self, cluster: Cluster, nodes: Nodes, sources: Sources, kind: str, seconds: float) -> Run:
        agent = cluster.agent_pid()  # 0 before the first job, whose figures nobody reads
        before = (cpu_of(agent) if agent else 0.0, nodes.cpu(), machine_cpu(), nodes.seen())
        place = self._base
        if self._options.ask and kind != "warm":
            socket = glob.glob(os.path.join(cluster.client, "**/agent.sock"), recursive=True)[0]
            place = os.path.dirname(socket)  # a socket's address is short
            command = [self._tools.starter, str(self.slots), "ask", "agent.sock"]
            given = sources.requests(self._tools.compiler, cluster.env)
        else:
            job = [cluster.launcher, self._tools.compiler, *OPTIONS]
            command = [self._tools.starter, str(self.slots), "spawn", *job]
            given = sources.lines()
        done = subprocess.run(command, input=given, cwd=place, env=cluster.env, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise BenchError(f"jobs failed: {done.stdout.decode()}{self._reasons(cluster)}")
        told = json.loads(done.stdout)
        machine = machine_cpu() - before[2]
        agent = agent or cluster.agent_pid()
        seen = nodes.seen()
        if seen and seen["jobs"] - before[3]["jobs"] < told["jobs"]:
            raise BenchError(f"the nodes did {seen['jobs'] - before[3]['jobs']} jobs of {told['jobs']}")
        return Run(
            kind=kind,
            slots=self.slots,
            nodes=self._count,
            jobs=told["jobs"],
            seconds=seconds,
            wall=told["wall"],
            agent=cpu_of(agent) - before[0],
            launchers=told["children_cpu"],
            starter=told["own_cpu"],
            nodes_cpu=nodes.cpu() - before[1],
            machine=machine,
            median=told["median"],
            longest=told["longest"],
            occupied=seen["occupied"] - before[3]["occupied"] if seen else 0.0,
            rss=resident(agent),
        )

    def _reasons(self, cluster: Cluster) -> dict[str, int]:
        counted: dict[str, int] = {}
        for record in cluster.records():
            word = f"{record['reason']} {record['detail']}".strip()[:200]
            counted[word] = counted.get(word, 0) + 1
        return counted

    def _check(self, cluster: Cluster) -> None:
        """Every job has a record, and was done by a node. Raises BenchError."""
        reasons = self._reasons(cluster)
        if set(reasons) != {"remote"}:
            raise BenchError(f"not all jobs were done by nodes: {reasons}")

    @contextmanager
    def profiled(self, cluster: Cluster, kind: str) -> Iterator[None]:
        """Have the agent watched while it is measured."""
        if not self._options.profile:
            yield
            return
        spy = subprocess.Popen(
            ["py-spy", "record", "--pid", str(cluster.agent_pid()), "--format", "raw", "--rate", "200", "--nonblocking",
             "--output", f"{self._options.profile}.{kind}", "--duration", "100000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(1.0)
        try:
            yield
        finally:
            spy.send_signal(signal.SIGINT)
            spy.wait()


def make_cost(tools: Tools, slots: int, base: str) -> float:
    """CPU seconds that GNU make itself takes for a job: ``make -j`` of so many ``/bin/true``, without these."""
    count = 5000
    file = os.path.join(base, "Makefile")
    with open(file, "w", encoding="ascii") as out:
        names = " ".join(f"t{number}" for number in range(count))
        out.write(f"all: {names}\n{names}:\n\t@/bin/true $@ -O2 -c $@.cc -o $@.o\n")
    took = []
    for command, given in (
        (["make", "-f", file, f"-j{slots}"], b""),
        ([tools.starter, str(slots), "spawn", "/bin/true"], f"{base} a.cc a.o\n".encode() * count),
    ):
        before = os.times()
        subprocess.run(command, input=given, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        took.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return (took[0] - took[1]) / count


def table(runs: list[Run]) -> str:
    """The runs, as Markdown."""
    rows = [HEADINGS, ["---"] * len(HEADINGS), *(run.row() for run in runs)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def show(runs: list[Run]) -> None:
    """The runs, for a terminal."""
    for run in runs:
        print("; ".join(f"{name} {value}" for name, value in zip(HEADINGS, run.row(), strict=True)), flush=True)


def write_between(name: str, text: str) -> None:
    """Put a text between its two marks in RESULTS.md."""
    begin, end = f"<!-- manyslots: {name} -->\n", f"<!-- manyslots: end of {name} -->"
    with open(RESULTS, encoding="utf-8") as file:
        whole = file.read()
    head, found, rest = whole.partition(begin)
    if not found or end not in rest:
        raise BenchError(f"RESULTS.md has no place for {name}")
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write(head + begin + text + end + rest.partition(end)[2])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="one agent, many slots")
    parser.add_argument("--slots", default="500", help="sizes, with commas")
    parser.add_argument("--jobs", type=int, default=0, help="jobs of each build (default: by --jobs-per-slot)")
    parser.add_argument("--jobs-per-slot", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="the recorded time of a compile")
    parser.add_argument("--per-node", type=int, default=25, help="slots of a node")
    parser.add_argument("--real", action="store_true", help="real nodes")
    parser.add_argument("--work", metavar="FOLDER", help="where sources and objects lie (default: a temporary folder)")
    parser.add_argument("--ask", action="store_true", help="ask the agent without launchers")
    parser.add_argument(
        "--profile", metavar="FILE", default="", help="py-spy's samples of the agent: FILE.new, FILE.known"
    )
    parser.add_argument("--make", action="store_true", help="what make itself takes, too")
    parser.add_argument("--json", metavar="FILE", help="all figures")
    parser.add_argument("--markdown", metavar="NAME", nargs="?", const="light", default="", help="into RESULTS.md")
    options = parser.parse_args()
    base = tempfile.mkdtemp(prefix="manycc-slots-")
    work = tempfile.mkdtemp(prefix="manycc-slots-work-", dir=options.work)
    runs: list[Run] = []
    try:
        tools = Tools(base)
        print(f"load {os.getloadavg()[0]:.1f}, the recorded object has {os.path.getsize(tools.object)} bytes")
        for slots in map(int, options.slots.split(",")):
            found = Bench(base, work, tools, options, slots).run()
            show(found)
            runs += found
        if options.make:
            print(f"make -j{slots} itself: {1e3 * make_cost(tools, slots, base):.2f} ms a job")
    except BenchError as error:
        print(f"manyslots: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([{**vars(run), "ideal": run.ideal, "others": run.others} for run in runs], file, indent=1)
    if options.markdown:
        write_between(options.markdown, table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
