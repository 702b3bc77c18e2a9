"""Where the time of a warm job goes: in the agent by function, in the launcher by instruction.

    python bench/profile_hotpath.py [--jobs N] [--markdown]

The agent samples itself by its CPU time (``profile_sampler``) while real launchers have it do so many units never seen,
their headers known, and the same again, over nodes that only wait (``manyslots``). A sample counts for the innermost
function of manycc's own in the stack, with whatever that called in the library or the kernel; groups are of modules.
Shares are what is to be read: at a few hundred samples each is good to two percent or so.

The launcher is run under valgrind's callgrind against an agent that answers at once: instructions do not depend on how
busy the machine is. They are not all that it costs: a program is loaded, its pages are brought in, and it is taken
down again. So its CPU time is measured beside that of programs that do nothing, with each C library that it may be
linked with (``setup.py``), and with none.

Needs valgrind and strace: scripts/setup.sh bench installs them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import manyslots
import tables
from hotpath import children_cpu

from manycc.testing.cluster import Cluster
from manycc.wire.launcher import JOB_HEADER, build_result

HERE: Final = os.path.dirname(os.path.abspath(__file__))
BIN: Final = os.path.dirname(sys.executable)
NEEDS: Final = ("valgrind", "callgrind_annotate", "strace", "gcc")
SLOTS: Final = 8
SECONDS: Final = 0.01
TOP: Final = 14
STARTS: Final = 300
GROUPS: Final = (
    ("launchers: sockets, requests, answers", ("agent/server", "agent/listener", "wire/launcher", "agent/live")),
    ("what the command means", ("command/", "compat/")),
    ("the compiler unchanged, its kind of object", ("toolchain/",)),
    ("inputs: found, or unchanged since", ("inputs/", "agent/prepare")),
    ("which host does it", ("schedule/",)),
    ("nodes: conversation, contents", ("backends/", "wire/", "store/")),
    ("outputs: checked, placed", ("agent/outputs", "agent/replaced", "agent/unfinished")),
    ("records, samples", ("monitor/", "agent/sampler", "agent/handed")),
    ("a job's course through all this", ("agent/",)),
)
"""Modules by what they do; the first that fits counts."""
LOOP: Final = "the event loop itself"
EMPTY: Final = "int main(void) { return 0; }\n"
BARE: Final = """#if defined __x86_64__
void _start(void) { __asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall"); }
#elif defined __aarch64__
void _start(void) { __asm__ volatile("mov x8, #93; mov x0, #0; svc #0"); }
#else
#error
#endif
"""
_FRAME: Final = re.compile(r"(.*) \((.*)\)")
DUMP_S: Final = 30.0
_INSTRUCTIONS: Final = re.compile(r"\s*([\d,]+) \(\s*[\d.]+%\)\s+\S*?:(\S+)")
_STARTUP: Final = re.compile(
    r"_?_?libc_|_dl_|_?_?tunable|intel_|handle_intel|get_common_cache|update_active|init_cpu|do_tunable|cpu_|__init"
    r"|_IO_init|static_init|apply_irel|.*_ifunc|\(below|0x|_start|dl_|get_extended|call_init|frame_dummy|do_relocate"
)


def samples(path: str) -> Iterator[tuple[list[tuple[str, str]], int]]:
    """The sampler's stacks, outermost first, as (function, file), and how often each was met."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            stack, _, count = line.rstrip("\n").rpartition(" ")
            frames = [_FRAME.fullmatch(frame) for frame in stack.split(";")]
            yield [(found[1], found[2]) for found in frames if found], int(count)


def owner(stack: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The group a sample counts for, and the function."""
    for function, file in reversed(stack):
        module = file.rpartition("manycc/")[2].removesuffix(".py")
        if "manycc/" not in file or module in ("mainloop", "cli/main", "cli/agent") or function in ("serve", "_run"):
            continue
        group = next((name for name, starts in GROUPS if module.startswith(starts)), "other")
        return group, f"{module}: {function}"
    return LOOP, LOOP


def shares(path: str) -> tuple[Counter[str], Counter[str]]:
    """Samples by group and by function."""
    groups: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, count in samples(path):
        group, function = owner(stack)
        groups[group] += count
        functions[function] += count
    return groups, functions


class Sampled(manyslots.Bench):
    """Has the agent's samples of each measured build written to a file."""

    def __init__(self, base: str, jobs: int) -> None:
        asked = argparse.Namespace(
            jobs=jobs, jobs_per_slot=0, seconds=SECONDS, per_node=SLOTS // 2, real=False, ask=False, profile=""
        )
        super().__init__(base, os.path.join(base, "work"), manyslots.Tools(base), asked, SLOTS)
        self._written = 0
        self._prefix = os.path.join(base, "samples")
        os.environ["BENCH_SAMPLES"] = self._prefix
        self.files: dict[str, str] = {}

    @contextmanager
    def profiled(self, cluster: Cluster, kind: str) -> Iterator[None]:
        self._write(cluster)
        yield
        self.files[kind] = self._write(cluster)

    def _write(self, cluster: Cluster) -> str:
        path = f"{self._prefix}.{self._written}"
        self._written += 1
        os.kill(cluster.agent_pid(), signal.SIGUSR1)
        end = time.monotonic() + DUMP_S
        while not os.path.exists(path):
            if time.monotonic() > end:
                raise manyslots.BenchError("the agent wrote no samples")
            time.sleep(0.01)
        return path


def agent(base: str, jobs: int) -> tuple[list[manyslots.Run], str]:
    """Profile it: new units, and the same again. The runs, and the tables."""
    sampler = os.path.join(base, "sampler")
    os.mkdir(sampler)
    os.symlink(os.path.join(HERE, "profile_sampler.py"), os.path.join(sampler, "sitecustomize.py"))
    os.environ["PYTHONPATH"] = sampler
    bench = Sampled(base, jobs)
    runs = bench.run()
    found = [shares(bench.files[run.kind]) for run in runs]
    heads = [f"{run.kind} ({sum(groups.values()):,} samples)" for run, (groups, _) in zip(runs, found, strict=True)]
    made = []
    for index, name in enumerate(("agent, by what it does", "agent, by function")):
        counted = [each[index] for each in found]
        total = sum(counted, Counter())
        rows = [[what, *(_share(each, what) for each in counted)] for what, _ in total.most_common(TOP)]
        made.append(tables.markdown([[name, *heads], *rows]))
    return runs, "\n".join(made)


def _share(counted: Mapping[str, int], what: str) -> str:
    return f"{100 * counted.get(what, 0) / max(1, sum(counted.values())):.1f} %"


@contextmanager
def prompt_agent(folder: str) -> Iterator[dict[str, str]]:
    """An agent that answers every job at once, done; yields the environment of its launchers."""
    os.makedirs(os.path.join(folder, "run"), mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(folder, "run/agent.sock"))
        listener.listen()
        threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        try:
            yield {"PATH": "/usr/bin:/bin", "HOME": folder, "LANG": "C.UTF-8", "MANYCC_DIR": folder}
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _answer(listener: socket.socket) -> None:
    while True:
        try:
            launcher, _ = listener.accept()
        except OSError:
            return
        with launcher:
            data = b""
            while len(data) < JOB_HEADER.size or len(data) < JOB_HEADER.size + JOB_HEADER.unpack_from(data)[1]:
                data += launcher.recv(65536)
            launcher.sendall(build_result(0, b"", b""))
            launcher.recv(1)


def launcher(base: str) -> str:
    """Its instructions, its system calls, and its CPU time beside that of programs that do nothing."""
    program = os.path.join(BIN, "manycc")
    command = [program, "gcc", "-O2", "-c", "a.c", "-o", "a.o"]
    with prompt_agent(os.path.join(base, "prompt")) as env:
        out = os.path.join(base, "callgrind")
        _run(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}", *command], base, env)
        listed = _run(["callgrind_annotate", "--threshold=100", out], base, env)
        counted = {name: int(count.replace(",", "")) for count, name in _INSTRUCTIONS.findall(listed)}
        calls = _run(["strace", "-f", "-c", "-U", "calls,name", "-o", "/dev/stdout", *command], base, env)
        total = int(next(line for line in calls.splitlines() if line.endswith("total")).split()[0])
        idle = _programs(base)
        taken = start_times({**idle, "the launcher": command}, base, env)
    start = sum(count for name, count in counted.items() if _STARTUP.match(name))
    whole = sum(counted.values())
    most = "; ".join(f"`{name}` {100 * count / whole:.0f} %" for name, count in Counter(counted).most_common(6))
    rows = [["launcher", "figure"]]
    rows += [[f"CPU of {name}, median of {STARTS}", f"{1e3 * seconds:.3f} ms"] for name, seconds in taken.items()]
    rows += [
        ["instructions in user space", f"{whole:,}"],
        ["of them the C library's own start", f"{100 * start / whole:.0f} %"],
        ["most of them", most],
        ["system calls", str(total)],
    ]
    return tables.markdown(rows)


def _programs(base: str) -> dict[str, list[str]]:
    """Programs that only end: without a C library, and with each that the launcher may be linked with."""
    found: dict[str, list[str]] = {}
    for name, text, command in (
        ("a program that only ends, no C library", BARE, ["cc", "-nostdlib"]),
        ("an empty program, musl", EMPTY, ["musl-gcc"]),
        ("an empty program, the system's C library", EMPTY, ["cc"]),
    ):
        source = os.path.join(base, f"start{len(found)}.c")
        with open(source, "w", encoding="ascii") as file:
            file.write(text)
        command += ["-O2", "-static", source, "-o", source[:-2]]
        if shutil.which(command[0]) and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            found[name] = [source[:-2]]
    return found


def start_times(commands: Mapping[str, Sequence[str]], cwd: str, env: Mapping[str, str]) -> dict[str, float]:
    """Median CPU seconds of each command, run in turn."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, command in commands.items():
            before = children_cpu()
            subprocess.run(command, cwd=cwd, env=env, check=True)
            taken[name].append(children_cpu() - before)
    return {name: statistics.median(each) for name, each in taken.items()}


def _run(command: Sequence[str], cwd: str, env: Mapping[str, str]) -> str:
    return subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> int:
    """Profile and print."""
    parser = argparse.ArgumentParser(description="where the time of a warm job goes")
    parser.add_argument("--jobs", type=int, default=2000, help="units, new ones and then the same again")
    parser.add_argument("--markdown", action="store_true", help="write the tables into bench/RESULTS.md")
    options = parser.parse_args()
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    if missing := [tool for tool in NEEDS if not shutil.which(tool)]:
        parser.error(f"needs {', '.join(missing)}: scripts/setup.sh bench installs them")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("profile: terminated"))  # so that everything is taken down
    base = tempfile.mkdtemp(prefix="manycc-profile-")
    load = os.getloadavg()[0]
    try:
        runs, text = agent(base, options.jobs)
        text += "\n" + launcher(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    costs = "; ".join(
        f"{run.kind} units: agent {1e3 * run.agent / run.jobs:.2f} ms a job, "
        f"launcher {1e3 * run.launchers / run.jobs:.2f} ms"
        for run in runs
    )
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    said = f"{options.jobs:,} heavy units on {SLOTS} slots, {when}, load {load:.1f} at the beginning. {costs}."
    print(f"{said}\n\n{text}", end="")
    if options.markdown:
        marks = "<!-- profile: begin -->", "<!-- profile: end -->"
        tables.write_between(os.path.join(HERE, "RESULTS.md"), *marks, f"\n{said}\n\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
