"""What a job through BuildGrid costs: jobs per second, latency, and CPU of client, server, database and workers.

    bench/buildgrid.py [--jobs N] [--at-once N] [--servers N] [--workers N] [--slots N] [--source FILE.ii]

Everything runs on this machine, over loopback: wall times are a machine's that does all of it, CPU times per job are
what to go by. Each job is another action (its name differs), so none is answered from a cache.
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
from pathlib import Path

from manycc.testing.buildgrid import Farm
from manycc.testing.engineclient import Client, job, toolchain

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int, children: bool = False) -> float:
    """User and system seconds of a process; with those of its children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / TICKS


def family(pid: int) -> list[int]:
    """A process and its children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [pid, *map(int, file.read().split())]


async def measure(urls: list[str], folder: str, source: str, count: int, at_once: int) -> tuple[float, list[float]]:
    """Wall seconds of all, and of each."""
    clients = [Client(url) for url in urls]
    gate = asyncio.Semaphore(at_once)
    name = os.path.basename(source)
    compiler = "g++" if name.endswith("ii") else "gcc"

    async def one(number: int) -> float:
        argv = [compiler, "-O1", "-c", name, f"-DNUMBER={number}{time.monotonic_ns()}", "-o", f"a{number}.o"]
        wanted = job(argv, folder, [source], [f"{folder}/a{number}.o"])
        async with gate:
            begun = time.monotonic()
            client = clients[number % len(clients)]
            await client.outputs(await client.run(wanted))
            return time.monotonic() - begun

    await asyncio.gather(*(one(number) for number in range(at_once)))  # toolchains and contents are there after it
    begun = time.monotonic()
    times = await asyncio.gather(*(one(number) for number in range(at_once, at_once + count)))
    wall = time.monotonic() - begun
    for client in clients:
        await client.executor.close()
        await client.channel.close()
    return wall, times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--servers", type=int, default=1, help="BuildGrid processes on one database")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--source", help="a preprocessed source; else one of one line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="manycc-bench-") as folder:
        folder = os.path.realpath(folder)
        source = os.path.join(folder, "small.c")
        if options.source:
            source = os.path.join(folder, "heavy.ii")
            with open(options.source, "rb") as given, open(source, "wb") as taken:
                taken.write(given.read())
        else:
            with open(source, "w", encoding="ascii") as file:
                file.write("int x;\n")
        with Farm(folder, options.workers, options.slots) as farm:
            servers = [farm.engine, *(farm.engine.another() for _ in range(options.servers - 1))]
            pids = {
                "server": [server.pid for server in servers],
                "database": family(farm.engine.database.pid),
                "workers": [worker.process.pid for worker in farm.workers if worker.process],
            }
            for worker in farm.workers:
                while "joined" not in Path(worker.log).read_text(encoding="utf-8"):
                    time.sleep(0.1)
            before = {name: sum(map(cpu_of, some)) for name, some in pids.items()}
            compilers = sum(cpu_of(pid, True) - cpu_of(pid) for pid in pids["workers"])
            toolchain("/usr/bin/g++" if options.source else "/usr/bin/gcc")  # found out before it is measured
            own = time.process_time()
            count = options.jobs + options.at_once
            urls = [server.url for server in servers]
            wall, times = asyncio.run(measure(urls, folder, source, options.jobs, options.at_once))
            pids["database"] = family(farm.engine.database.pid)
            found = {
                "jobs": options.jobs, "at_once": options.at_once, "servers": options.servers,
                "jobs_per_s": round(options.jobs / wall, 2),
                "latency_ms": round(1000 * statistics.median(times), 1),
                "client_cpu_ms": round(1000 * (time.process_time() - own) / count, 2),
                **{f"{name}_cpu_ms": round(1000 * (sum(map(cpu_of, some)) - before[name]) / count, 2)
                   for name, some in pids.items()},
                "compilers_cpu_ms": round(
                    1000 * (sum(cpu_of(p, True) - cpu_of(p) for p in pids["workers"]) - compilers) / count, 2),
            }  # fmt: skip
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
