"""Thousands of small compiles at once: ninja with far more jobs than slots.

    python bench/many.py [--files 2000] [--parallel 200] [--nodes 2]

Prints and checks: the build ends, every object is there, nothing is left running, the agent and the
nodes hold no more descriptors than before, and their memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from manycc.testing.cluster import Cluster


def descriptors(pid: int) -> int:
    """How many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """A process's memory in MB; ``VmHWM`` for its peak."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) / 1e3


def leftovers(marker: str) -> list[str]:
    """Processes whose arguments name the marker."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                command = file.read()
        except (OSError, ValueError):
            continue
        if marker.encode() in command and b"cc1" in command:
            found.append(entry)
    return found


def agent_cpu(cluster: Cluster) -> float:
    """CPU seconds the agent has used; 0 before it runs."""
    pid = cluster.agent_pid()
    if not pid:
        return 0.0
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def generate(folder: str, files: int) -> None:
    """A ninja build of so many C files, each including a shared header."""
    os.makedirs(folder)
    with open(os.path.join(folder, "common.h"), "w", encoding="ascii") as file:
        file.write("#include <stddef.h>\n#define TWICE(x) ((x) * 2)\n")
    with open(os.path.join(folder, "build.ninja"), "w", encoding="ascii") as ninja:
        ninja.write(
            "rule cc\n command = manycc gcc -O1 -MD -MF $out.d -c $in -o $out\n depfile = $out.d\n deps = gcc\n"
        )
        for number in range(files):
            with open(os.path.join(folder, f"f{number}.c"), "w", encoding="ascii") as file:
                file.write(f'#include "common.h"\nint f{number}(int x) {{ return TWICE(x) + {number}; }}\n')
            ninja.write(f"build f{number}.o: cc f{number}.c\n")


def run(folder: str, files: int, parallel: int, nodes: int, jobs: int) -> dict[str, object]:
    """Build; returns the figures. Raises AssertionError if something is wrong."""
    work = os.path.join(folder, "work")
    generate(work, files)
    figures: dict[str, object] = {"files": files, "parallel": parallel}
    with Cluster(os.path.join(folder, "cluster"), nodes=nodes, jobs=jobs) as cluster:
        env = {**cluster.env, "PATH": os.path.dirname(cluster.launcher) + ":" + os.environ["PATH"]}
        for turn in ("first", "second"):
            begun = time.monotonic()
            agent_before = agent_cpu(cluster)
            done = subprocess.run(
                ["ninja", f"-j{parallel}"], cwd=work, env=env, capture_output=True, text=True, timeout=1800, check=False
            )
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
            figures[f"{turn} build s"] = round(time.monotonic() - begun, 1)
            figures[f"{turn} build, agent ms a job"] = round((agent_cpu(cluster) - agent_before) / files * 1e3, 2)
            assert all(os.path.getsize(os.path.join(work, f"f{number}.o")) for number in range(files))
            if turn == "first":
                agent = cluster.agent_pid()
                held = descriptors(agent)
                subprocess.run(["ninja", "-t", "clean"], cwd=work, env=env, capture_output=True, check=True)
        assert cluster.agent_pid() == agent, "the agent died in between"
        assert descriptors(agent) <= held + 2, "the agent leaks descriptors"
        assert not leftovers(work), "compilers are left"
        stray = [name for name in os.listdir(work) if "manycc" in name]
        assert not stray, f"stray files: {stray[:3]}"
        reasons: dict[str, int] = {}
        for record in cluster.records():
            reasons[record["reason"]] = reasons.get(record["reason"], 0) + 1
        figures["reasons"] = reasons
        figures["agent MB (peak)"] = f"{resident_mb(agent):.0f} ({resident_mb(agent, 'VmHWM'):.0f})"
        figures["agent descriptors"] = descriptors(agent)
        for index, node in enumerate(cluster.nodes):
            assert node.process is not None
            figures[f"node {index} MB"] = f"{resident_mb(node.process.pid):.0f}"
            figures[f"node {index} descriptors"] = descriptors(node.process.pid)
    return figures


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description="thousands of small compiles at once")
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--parallel", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=4)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="manycc-many-")
    try:
        for name, value in run(folder, options.files, options.parallel, options.nodes, options.jobs).items():
            print(f"{name:32} {value}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
