"""What a build costs its client with Debian's distcc and with manycc, side by side over the same two nodes.

    python bench/peers.py [--rounds N] [--rate MBIT] [--flags=FLAGS] [--json FILE] [--markdown FILE] [PROJECT …]

The client and two nodes are hosts of a network that this script makes (namespaces, a bridge, so many Mbit/s on
each line): it runs as root. The client has one CPU, the nodes have the others. Client CPU is what the kernel counts
for make and all that it starts, the agent included, as user and system time; the nodes are counted apart. Each round
does all ways of building in turn, so that a noisy machine disturbs them alike; figures are medians over the rounds.
Every object is compared with the local build's. Exit code 0 only if all are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources
from lab.groups import Group
from lab.names import LabError
from lab.network import MASK, Line, Network
from tree_list import TREES

from manycc.monitor.records import Tail

BIN = os.path.dirname(sys.executable)
MANYCC = os.path.join(BIN, "manycc")
CLI = os.path.join(BIN, "manycc-cli")
CLIENT = "client"
NODES = ("node1", "node2")
SLOTS = 2
STOCK_PORT = 3632
OUR_PORT = 3633
START_S = 30.0
SETTLING = 6
TRUE = "/bin/true"
BASE = "distcc, plain"
"""The way of building that all ratios refer to."""


class PeersError(Exception):
    """The comparison cannot go on; the text says why."""


@dataclass(frozen=True)
class Way:
    """A way of building: what stands before the compiler, whose nodes do it, and what is thrown away before."""

    name: str
    program: str
    port: int = 0
    options: str = ""
    forget: tuple[str, ...] = ()
    """``agent``, ``nodes``: start anew with nothing remembered; ``results``: what the nodes have cached."""
    reasons: frozenset[str] = frozenset()
    """How manycc's jobs must end."""
    settle: bool = False
    """Build it again, unmeasured, until no compiler runs: a result is cached only by those nodes that did the job."""


_RAN = frozenset({"remote"})
_FOUND = frozenset({"cached", "remote"})
_STOCK = frozenset({"stock"})
WAYS = (
    Way("make alone, true as compiler", TRUE),
    Way("local", ""),
    Way(BASE, "/usr/bin/distcc", STOCK_PORT),
    Way("distcc, LZO", "/usr/bin/distcc", STOCK_PORT, ",lzo"),
    Way("manycc, cold", MANYCC, OUR_PORT, forget=("agent", "nodes"), reasons=_RAN),
    Way("manycc, warm", MANYCC, OUR_PORT, forget=("results",), reasons=_RAN),
    Way("manycc, cached", MANYCC, OUR_PORT, reasons=_FOUND, settle=True),
    Way("distcc, plain, to manycc's nodes", "/usr/bin/distcc", OUR_PORT, forget=("results",)),
    Way("distcc, LZO, to manycc's nodes", "/usr/bin/distcc", OUR_PORT, ",lzo", forget=("results",)),
    Way("manycc to distcc's daemons, cold", MANYCC, STOCK_PORT, forget=("agent",), reasons=_STOCK),
    Way("manycc to distcc's daemons, warm", MANYCC, STOCK_PORT, reasons=_STOCK),
)


@dataclass
class Figures:
    """What one build took. Seconds, bytes, counts."""

    wall: float
    client_cpu: float
    node_cpu: float
    sent: int
    received: int
    jobs: int
    compiled: int
    """Jobs for which a compiler ran."""
    same: int


class Project:
    """A source tree whose objects are built, and what they are when built locally."""

    def __init__(self, name: str, folder: str, flags: str) -> None:
        self.name = name
        self.folder = sources.unpack({"lua": "lua5.4"}.get(name, name), os.path.join(folder, name))
        if name == "lua":
            self._command = ["make", "-C", "src", "o", "SYSCFLAGS=-DLUA_USE_LINUX", f"MYCFLAGS={flags}"]
        else:
            for command in TREES["re2"].configure:
                subprocess.run(command, cwd=self.folder, check=True)
            units = [*glob.glob("re2/*.cc", root_dir=self.folder), "util/rune.cc", "util/strutil.cc"]
            goals = [f"obj/{unit[:-3]}.o" for unit in sorted(units)]
            self._command = ["make", *goals, "REBUILD_TABLES=1", f"CXXFLAGS={flags}"]
        self.wanted: dict[str, bytes] = {}

    def command(self, program: str) -> list[str]:
        """The command that builds it with a program before the compiler."""
        compiler = f"CC={program} gcc -std=gnu99" if self.name == "lua" else f"CXX={program} g++"
        return [*self._command, f"-j{SLOTS * len(NODES)}", compiler]

    def clean(self) -> None:
        """Remove all objects."""
        for path in self._objects():
            os.unlink(path)

    def digests(self) -> dict[str, bytes]:
        """The objects that there are."""
        found = {}
        for path in self._objects():
            with open(path, "rb") as file:
                found[path] = hashlib.sha256(file.read()).digest()
        return found

    def _objects(self) -> list[str]:
        return glob.glob(os.path.join(glob.escape(self.folder), "**", "*.o"), recursive=True)


class Bench:
    """The hosts, who runs on them, and the state of all below one folder."""

    def __init__(self, folder: str, network: Network, client: Group, servers: Group) -> None:
        self.folder = folder
        self._network = network
        self._groups = (client, servers)
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._daemons: list[subprocess.Popen[bytes]] = []
        cpus = sorted(os.sched_getaffinity(0))
        self._client_cpu = cpus[0]
        self._node_cpus = cpus[1:] or cpus
        self._agents: set[str] = set()
        self._renewed: Counter[str] = Counter()

    def start_daemons(self) -> None:
        """Start Debian's daemon on each node. Whoever it runs as must be able to read this folder, and no more."""
        for name in NODES:
            words = ["/usr/bin/distccd", "--daemon", "--no-detach", "--allow", MASK, "--user", "nobody",
                     "--nice", "0",
                     "--port", str(STOCK_PORT), "--jobs", str(SLOTS), "--log-file", "/dev/null"]  # fmt: skip
            self._daemons.append(self._spawn(name, words, {"TMPDIR": "/tmp"}))
            self._await_port(name, STOCK_PORT, self._daemons[-1])

    def close(self) -> None:
        """End agents, nodes and daemons."""
        for state in sorted(self._agents):
            self._stop_agent(state)
        self._stop(self._nodes)
        self._stop(self._daemons)

    def build(self, project: Project, way: Way) -> Figures:
        """Build a project one way."""
        for what in way.forget:
            {"agent": self._forget_agent, "nodes": self._renew_nodes, "results": self._forget_results}[what](way)
        figures, reasons = self._build_once(project, way)
        for _ in range(SETTLING if way.settle else 0):
            if figures.compiled == 0:
                break
            figures, reasons = self._build_once(project, way)
        if way.reasons and (not set(reasons) <= way.reasons or len(reasons) != figures.jobs):
            raise PeersError(f"{project.name}, {way.name}: jobs ended as {sorted(reasons)}")
        return figures

    def _build_once(self, project: Project, way: Way) -> tuple[Figures, list[str]]:
        """The figures, and how manycc's jobs ended."""
        project.clean()
        client, servers = self._groups
        with contextlib.closing(Tail(os.path.join(self._state(way), "state", "jobs.jsonl"))) as tail:
            tail.poll()
            before = (client.cpu().total, servers.cpu().total, self._network.counters(CLIENT))
            begun = time.monotonic()
            words = ["taskset", "-c", str(self._client_cpu), *project.command(way.program)]
            done = subprocess.run(
                client.command(self._network.command(CLIENT, words)), cwd=project.folder, env=self._environment(way),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            )  # fmt: skip
            wall = time.monotonic() - begun
            after = (client.cpu().total, servers.cpu().total, self._network.counters(CLIENT))
            reasons = [record["reason"] for record in tail.poll()]
        if done.returncode:
            raise PeersError(f"{project.name}, {way.name}: make failed:\n{done.stdout[-2000:]}")
        got = project.digests()
        if way.name == "local":
            project.wanted = got
        jobs = done.stdout.count(" -c ")
        figures = Figures(
            wall=wall,
            client_cpu=after[0] - before[0],
            node_cpu=after[1] - before[1],
            sent=after[2][0] - before[2][0],
            received=after[2][1] - before[2][1],
            jobs=jobs,
            compiled=0 if way.program == TRUE else jobs - reasons.count("cached"),
            same=sum(got.get(path) == wanted for path, wanted in project.wanted.items()),
        )
        return figures, reasons

    def _environment(self, way: Way) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MANYCC_", "DISTCC_", "MAKE"))}
        hosts = " ".join(f"{self._network.address(name)}:{way.port}/{SLOTS}{way.options}" for name in NODES)
        if way.program == MANYCC:
            self._agents.add(self._state(way))
            return {**kept, "MANYCC_DIR": self._state(way), "MANYCC_HOSTS": hosts}
        # Without fallback, a job that was not done by a node fails the build.
        return {**kept, "DISTCC_DIR": self._state(way), "DISTCC_HOSTS": hosts, "DISTCC_FALLBACK": "0"}

    def _state(self, way: Way) -> str:
        name = f"{os.path.basename(way.program) or 'local'}{way.port}"
        folder = os.path.join(self.folder, f"{name}.{self._renewed[name]}")
        os.makedirs(folder, exist_ok=True)
        return folder

    def _forget_agent(self, way: Way) -> None:
        self._stop_agent(self._state(way))
        self._renewed[f"{os.path.basename(way.program)}{way.port}"] += 1

    def _stop_agent(self, state: str) -> None:
        words = self._network.command(CLIENT, [CLI, "agent", "stop"])
        subprocess.run(words, env={**os.environ, "MANYCC_DIR": state}, stdout=subprocess.DEVNULL, check=True)

    def _renew_nodes(self, _way: Way) -> None:
        self._stop(self._nodes)
        for name in NODES:
            state = os.path.join(self.folder, name)
            shutil.rmtree(state, ignore_errors=True)
            words = [CLI, "node", "--no-config", "--listen", self._network.address(name), "--port", str(OUR_PORT),
                     "--allow", MASK, "--jobs", str(SLOTS), "--log-file", f"{state}.log"]  # fmt: skip
            self._nodes.append(self._spawn(name, words, {"MANYCC_DIR": state}))
            self._await_port(name, OUR_PORT, self._nodes[-1])

    def _forget_results(self, _way: Way) -> None:
        for name in NODES:
            for folder in glob.glob(os.path.join(self.folder, name, "**", "actions"), recursive=True):
                for path in glob.glob(os.path.join(folder, "*", "*")):
                    os.unlink(path)

    def _spawn(self, name: str, words: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        cpu = self._node_cpus[NODES.index(name) % len(self._node_cpus)]
        command = self._network.command(name, ["taskset", "-c", str(cpu), *words])
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MANYCC_")}
        return subprocess.Popen(
            self._groups[1].command(command), env={**kept, **env}, cwd="/", stdin=subprocess.DEVNULL
        )

    def _await_port(self, name: str, port: int, server: subprocess.Popen[bytes]) -> None:
        probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
        words = [sys.executable, "-I", "-S", "-c", probe, self._network.address(name), str(port)]
        end = time.monotonic() + START_S
        while server.poll() is None and time.monotonic() < end:
            if not subprocess.run(
                self._network.command(CLIENT, words), stderr=subprocess.DEVNULL, check=False
            ).returncode:
                return
        raise PeersError(f"the server on {name}, port {port}, did not start")

    def _stop(self, servers: list[subprocess.Popen[bytes]]) -> None:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait()
        servers.clear()


def measure(bench: Bench, project: Project, rounds: int) -> Iterator[tuple[Way, list[Figures]]]:
    """Build a project all ways, so many times; each way with its figures."""
    taken: dict[str, list[Figures]] = {way.name: [] for way in WAYS}
    bench.build(project, WAYS[1])  # so that the first measured one finds all sources in memory
    for number in range(rounds):
        for way in WAYS:
            taken[way.name].append(bench.build(project, way))
            print(f"{project.name}, round {number + 1}: {way.name}: {taken[way.name][-1]}", file=sys.stderr, flush=True)
    for way in WAYS:
        yield way, taken[way.name]


HEADINGS = (
    "project", "way", "compiled", "wall s", "client CPU s", "client CPU ms a job", "to distcc plain", "node CPU s",
    "KB sent", "KB received", "objects the same",
)  # fmt: skip


def row(project: str, way: Way, taken: list[Figures], base: list[Figures], objects: int) -> list[str]:
    """A row of the table."""

    def median(name: str, of: list[Figures] = taken) -> float:
        return float(statistics.median(getattr(figures, name) for figures in of))

    jobs = median("jobs")
    return [
        project,
        way.name,
        f"{median('compiled'):.0f} of {jobs:.0f}",
        f"{median('wall'):.2f}",
        f"{median('client_cpu'):.2f}",
        f"{median('client_cpu') / jobs * 1000:.1f}",
        f"{median('client_cpu') / median('client_cpu', base):.2f}",
        f"{median('node_cpu'):.2f}",
        f"{median('sent') / 1000:.0f}",
        f"{median('received') / 1000:.0f}",
        "-" if way.program == TRUE else f"{min(figures.same for figures in taken)} of {objects}",
    ]


def markdown(rows: list[list[str]]) -> str:
    """The table for a document."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows)]
    return "\n".join(lines) + "\n"


def show(rows: list[list[str]]) -> None:
    """The table for a terminal."""
    table = [list(HEADINGS), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


def run(options: argparse.Namespace, folder: str) -> tuple[list[list[str]], list[dict[str, object]], bool]:
    """All projects: the table's rows, the raw figures, and whether all objects were the same."""
    rows: list[list[str]] = []
    raw: list[dict[str, object]] = []
    good = True
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network((CLIENT, *NODES), Line(options.rate)))
        groups = [stack.enter_context(contextlib.closing(Group(role))) for role in ("client", "servers")]
        bench = stack.enter_context(contextlib.closing(Bench(folder, network, *groups)))
        bench.start_daemons()
        for name in options.projects:
            project = Project(name, folder, options.flags)
            results = dict(measure(bench, project, options.rounds))
            base = next(taken for way, taken in results.items() if way.name == BASE)
            for way, taken in results.items():
                rows.append(row(name, way, taken, base, len(project.wanted)))
                raw.append({"project": name, "way": way.name, "builds": [asdict(figures) for figures in taken]})
                if way.program != TRUE:
                    good &= all(figures.same == len(project.wanted) for figures in taken)
    return rows, raw, good


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="client CPU of builds with distcc and with manycc, side by side")
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help="lua, re2 (both)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=100, metavar="MBIT", help="of each host's line, each direction")
    parser.add_argument("--flags", default="-O2", help="compiler options")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there")
    options = parser.parse_args()
    options.projects = options.projects or ["lua", "re2"]
    for name in options.projects:
        if name not in ("lua", "re2"):
            parser.error(f"unknown project {name}; there are lua and re2")
    missing = [tool for tool in ("ip", "tc", "nsenter", "taskset", "distcc", "distccd") if not shutil.which(tool)]
    if missing or os.geteuid():
        parser.error(f"needs {', '.join(missing)}" if missing else "must run as root: it makes network namespaces")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("peers: terminated"))  # so that everything is taken down
    folder = tempfile.mkdtemp(prefix="manycc-peers-")
    try:
        rows, raw, good = run(options, folder)
    except (PeersError, LabError, sources.SourceError) as error:
        sys.exit(f"peers: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(rows)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(raw, file, indent=1)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(markdown(rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
