"""What a job through BuildGrid costs: jobs per second, latency, and CPU of client, server, database and workers.

    python bench/buildgrid.py [--jobs N] [--at-once N] [--servers N,N…] [--workers N] [--slots N] [--source FILE.ii]

Everything runs on this machine, over loopback: wall times are a machine's that does all of it, CPU times per job are
what to go by. Each job is another action (its name differs), so none is answered from a cache. ``--servers 1,2,4``
measures that many BuildGrid processes on one PostgreSQL, one count after the other, with the same number of workers,
spread evenly; each process has a client of its own. ``--share 20`` gives each process a fifth of a core, so that a
machine of two cores shows what more processes bring. What is found without ``--share`` is kept in
bench/out/buildgrid.json, for scale.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from cpushare import NoGroups, cpu_shares

from manycc.engine.buildgridconfig import ResultsConfig, ServerConfig
from manycc.testing.buildgrid import BuildGrid, Program, environment
from manycc.testing.cluster import Node
from manycc.testing.engineclient import Client, job, toolchain

OUT: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "out", "buildgrid.json")
TICKS: Final = os.sysconf("SC_CLK_TCK")
JOIN_S: Final = 60.0
IDLE_S: Final = 5.0


def cpu_of(pid: int, children: bool = False) -> float:
    """User and system seconds of a process; with those of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / TICKS


def family(pid: int) -> list[int]:
    """A process and its children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [pid, *map(int, file.read().split())]


class Server(BuildGrid):
    """A server as ``manycc engine init`` sets it up: results are kept by one process for all.

    ``own``: each keeps its own instead, to see what that costs.
    """

    own = False
    results: Program

    def __enter__(self) -> Server:
        path = os.path.join(self.folder, "results.yml")
        config = ResultsConfig(self._address, self.storage)
        Path(path).write_text(config.text(), encoding="utf-8")
        self.results = Program([os.path.join(environment(), "bgd"), "server", "start", path], f"{path}.log")
        super().__enter__()
        end = time.monotonic() + JOIN_S
        while not os.path.exists(self._address.removeprefix("unix:")):
            if time.monotonic() > end:
                raise RuntimeError("the results' process does not listen")
            time.sleep(0.05)
        return self

    @property
    def _address(self) -> str:
        return f"unix:{self.folder}/results.sock"

    def config(self) -> ServerConfig:
        return super().config() if self.own else replace(super().config(), results=self._address)

    def close(self) -> None:
        self.results.end(9)
        super().close()


class Spent:
    """CPU seconds of all who take part, since this was made."""

    def __init__(self, servers: Sequence[Server], workers: Sequence[Node]) -> None:
        self._servers = [servers[0].results.process.pid, *(server.pid for server in servers)]
        self._database = servers[0].database.pid
        self._workers = [worker.process.pid for worker in workers if worker.process]
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        return {
            "client": time.process_time(),
            "server": sum(map(cpu_of, self._servers)),
            # With what its processes that ended have used: connections come and go.
            "database": cpu_of(self._database, True) + sum(map(cpu_of, family(self._database)[1:])),
            "workers": sum(map(cpu_of, self._workers)),
            "compilers": sum(cpu_of(pid, True) - cpu_of(pid) for pid in self._workers),
        }

    def per_job(self, jobs: int) -> dict[str, float]:
        """Milliseconds per job, by who has used them."""
        now = self._now()
        return {f"{name}_cpu_ms": round(1000 * (now[name] - before) / jobs, 2) for name, before in self._before.items()}


async def run_jobs(clients: list[Client], source: str, count: int, at_once: int) -> list[float]:
    """Seconds of each job."""
    gate = asyncio.Semaphore(at_once)
    folder, name = os.path.split(source)
    compiler = "g++" if name.endswith("ii") else "gcc"

    async def one(number: int) -> float:
        argv = [compiler, "-O1", "-c", name, f"-DNUMBER={number}{time.monotonic_ns()}", "-o", f"a{number}.o"]
        wanted = job(argv, folder, [source], [f"{folder}/a{number}.o"])
        async with gate:
            begun = time.monotonic()
            client = clients[number % len(clients)]
            await client.outputs(await client.run(wanted))
            return time.monotonic() - begun

    return list(await asyncio.gather(*map(one, range(count))))


async def measure(
    servers: Sequence[Server], workers: Sequence[Node], source: str, jobs: int, at_once: int
) -> dict[str, float]:
    """Warm up, then measure."""
    clients = [Client(server.url) for server in servers]
    try:
        await run_jobs(clients, source, max(at_once, 4 * len(clients)), at_once)
        spent = Spent(servers, workers)
        begun = time.monotonic()
        times = await run_jobs(clients, source, jobs, at_once)
        wall = time.monotonic() - begun
        return {
            "jobs_per_s": round(jobs / wall, 2),
            "latency_ms": round(1000 * statistics.median(times), 1),
            **spent.per_job(jobs),
        }
    finally:
        for client in clients:
            await client.executor.close()
            await client.channel.close()


def farm(folder: str, servers: int, options: argparse.Namespace, source: str) -> dict[str, float]:
    """Start so many servers on one database, and workers; measure."""
    workers: list[Node] = []
    threads = 2 * options.at_once + options.workers + 20
    with cpu_shares("manycc-bench", options.share) as shares, Server(threads=threads) as engine:
        try:
            every = [engine, *(cast(Server, engine.another()) for _ in range(servers - 1))]
            for server in every if options.share else ():
                shares.bind(server.pid)
            for number in range(options.workers):
                join = ["--join", every[number % servers].url]
                workers.append(Node(os.path.join(folder, f"{servers}-worker{number}"), options.slots, join))
                workers[-1].start()
            end = time.monotonic() + JOIN_S
            while not all("joined" in Path(worker.log).read_text(encoding="utf-8") for worker in workers):
                if time.monotonic() > end:
                    raise RuntimeError("a worker does not join")
                time.sleep(0.1)
            idle, since = Spent(every, workers), time.monotonic()
            time.sleep(IDLE_S)
            percent = idle.per_job(1)["server_cpu_ms"] / (time.monotonic() - since) / 10 / servers
            found = asyncio.run(measure(every, workers, source, options.jobs, options.at_once))
        finally:
            for worker in workers:
                worker.kill()
    return {"servers": servers, "jobs": options.jobs, "at_once": options.at_once, "workers": options.workers,
            "slots": options.slots, "share_percent": options.share, "idle_server_percent": round(percent, 1),
            **found}  # fmt: skip


def main() -> int:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--servers", default="1", help="BuildGrid processes on one database; several counts")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--slots", type=int, default=2)
    share = (
        "bind each BuildGrid process to so many percent of a core (root only): what more of them bring, on few cores"
    )
    parser.add_argument("--share", type=float, default=0, metavar="PERCENT", help=share)
    own = "each process keeps its own results, instead of one for all"
    parser.add_argument("--own-results", action="store_true", help=own)
    parser.add_argument("--source", help="a preprocessed source; else one of one line")
    parser.add_argument("--json", metavar="FILE", default=OUT, help=f"where to keep it (default: {OUT})")
    options = parser.parse_args()
    try:
        counts = [int(word) for word in options.servers.split(",")]
    except ValueError:
        parser.error("--servers is a number, or several with commas")
    if not 0 <= options.share <= 100:
        parser.error("--share is a number of percent")
    if min(*counts, options.workers, options.at_once, options.slots, options.jobs) < 1 or max(counts) > options.workers:
        parser.error("all numbers are 1 or more, and each server needs a worker")
    Server.own = options.own_results
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="manycc-bench-") as folder:
        folder = os.path.realpath(folder)
        source = os.path.join(folder, "heavy.ii" if options.source else "small.c")
        text = Path(options.source).read_bytes() if options.source else b"int x;\n"
        Path(source).write_bytes(text)
        toolchain("/usr/bin/g++" if options.source else "/usr/bin/gcc")  # found out before it is measured
        runs = []
        for count in counts:
            try:
                runs.append(farm(folder, count, options, source))
            except NoGroups as error:
                parser.error(f"--share needs root and control groups: {error}")
            print(json.dumps(runs[-1]), flush=True)
    if options.share:
        return 0
    os.makedirs(os.path.dirname(options.json) or ".", exist_ok=True)
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump({"cores": os.cpu_count(), "load_before": round(load, 1), "runs": runs}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
