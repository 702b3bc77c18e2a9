"""What finding and checking inputs costs, in CPU time of this process.

    python bench/inputs.py [--rounds N] [--profile]

The "heavy" file has five STL headers. Each figure is the best of some rounds: the machine is noisy, the
work is not.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable

from manycc.command.parse import parse
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest
from manycc.inputs.scan import scan
from manycc.job import Toolchain

HEAVY = """#include <iostream>
#include <regex>
#include <functional>
#include <filesystem>
#include <algorithm>
int answer_{number}() {{ return {number}; }}
"""


class Bench:
    """A folder of heavy sources, and one toolchain."""

    def __init__(self, folder: str, count: int) -> None:
        driver = shutil.which("g++") or "g++"
        self.folder = folder
        self.toolchain = Toolchain("f" * 64, driver, "gcc", "", "", "", (), (), {})
        self.env = {"PATH": os.environ["PATH"]}
        for number in range(count):
            with open(f"{folder}/s{number}.cc", "w", encoding="ascii") as file:
                file.write(HEAVY.format(number=number))
        time.sleep(0.05)  # let the files be older than the clock's granule

    async def collect(self, collector: Collector, number: int) -> Manifest:
        """One job's inputs, by command line."""
        argv = ["g++", "-O2", "-c", f"s{number}.cc", "-o", f"s{number}.o"]
        command = parse(argv, self.folder, self.env, None)
        return await collector.collect(command, self.toolchain, self.folder, self.env, (), time.monotonic_ns())


def spent(action: Callable[[], object], rounds: int) -> float:
    """Best CPU milliseconds of an action."""
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time_ns()
        action()
        best = min(best, time.process_time_ns() - before)
    return best / 1e6


async def spent_async(action: Callable[[int], Awaitable[object]], rounds: int) -> float:
    """Best CPU milliseconds of an asynchronous action; it is given the round's number."""
    best = float("inf")
    for number in range(rounds):
        before = time.process_time_ns()
        await action(number)
        best = min(best, time.process_time_ns() - before)
    return best / 1e6


async def main(rounds: int, profile: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="manycc-bench-") as folder:
        bench = Bench(folder, rounds + 2)

        opened = []

        async def cold(number: int) -> None:
            view = FileView(f"{folder}/cold{number}.sqlite")
            opened.append((view, Collector(view, None)))
            await bench.collect(opened[-1][1], 0)

        print(f"cold collect, all headers read      {await spent_async(cold, 5):8.2f} ms")
        taken = []
        for view, collector in opened:
            taken.append(spent(collector.flush, 1))
            collector.close()
            view.close()
        print(f"  writing what was learned          {min(taken):8.2f} ms")

        async def restarted(number: int) -> None:
            view = FileView(f"{folder}/cold0.sqlite")
            collector = Collector(view, f"{folder}/answers.sqlite")
            await bench.collect(collector, 0)
            if number:
                assert view.contents.reads == 0 and view.contents.scans == 0, (view.contents.reads, view.contents.scans)
            collector.close()
            view.close()

        await restarted(0)
        print(f"first collect after a restart       {await spent_async(restarted, 6):8.2f} ms")

        view = FileView(None)
        collector = Collector(view, None)
        manifest = await bench.collect(collector, 0)
        files = list(manifest.all_files)
        folders = len(manifest.folders) + len(manifest.steady.folders)
        print(f"  files {len(files)}, folders {folders}, items {len(manifest.inputs.items)}")
        if profile:
            profiler = cProfile.Profile()
            profiler.enable()
        second = await spent_async(lambda number: bench.collect(collector, number + 1), rounds)
        if profile:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
        print(f"collect of a further file           {second:8.2f} ms (with parsing its command)")
        again = await spent_async(lambda _: bench.collect(collector, 0), rounds)
        print(f"collect of a known file             {again:8.2f} ms")
        stamp = time.monotonic_ns
        print(f"manifest check                      {spent(lambda: collector.check(manifest, stamp()), 50):8.3f} ms")
        late = stamp()
        print(
            f"manifest check within a burst       {spent(lambda: collector.check(manifest, late - 10**9), 50):8.3f} ms"
        )

        contents = []
        for entry in manifest.all_files:
            with open(entry.path, "rb") as file:
                contents.append(file.read())
        size = sum(map(len, contents)) / 1e6
        taken = spent(lambda: [scan(data) for data in contents], 5)
        print(f"scan                                {taken / size:8.2f} ms per MB ({size:.1f} MB)")
        collector.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.profile))
