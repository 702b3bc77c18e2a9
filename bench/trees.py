"""Build real source trees over nodes and compare every file with a local build.

    python bench/trees.py [--nodes N] [--debug] [--all] [--json FILE] [--markdown FILE] [TREE …]

Each tree is built twice in one folder: with the machine's own compiler, and through manycc over
nodes that this script starts on loopback. Every file that the two builds left is compared byte for
byte, the objects first of all; where something differs, a second local build shows whether the package
differs from build to build by itself. Exit code 0 only if all trees were built and nothing differs
through manycc. The trees are in ``tree_list``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources
import tree_files
from tree_list import TREES, Tree
from tree_report import Row, Work, markdown, show

from manycc.monitor.records import Tail

BIN = os.path.dirname(sys.executable)
MANYCC = os.path.join(BIN, "manycc")
TICKS = os.sysconf("SC_CLK_TCK")


class BuildError(Exception):
    """A tree could not be built; the text says which command failed, and how."""


@contextlib.contextmanager
def nodes(count: int, state: str, jobs: int) -> Iterator[list[str]]:
    """Nodes on loopback, each with a store of its own; yields MANYCC_HOSTS entries."""
    running: list[subprocess.Popen[bytes]] = []
    hosts: list[str] = []
    try:
        for index in range(count):
            read, write = os.pipe()
            home = os.path.join(state, f"node{index}")
            process = subprocess.Popen(
                [os.path.join(BIN, "manycc-cli"), "node", "--listen", "127.0.0.1", "--port", "0", "--jobs", str(jobs),
                 "--ready-fd", str(write), "--log-file", home + ".log"],
                pass_fds=(write,), env={**os.environ, "MANYCC_DIR": home},
            )  # fmt: skip
            running.append(process)
            os.close(write)
            with os.fdopen(read) as pipe:
                port = pipe.readline().strip()
            if not port:
                raise SystemExit(f"a node did not start; see {home}.log")
            hosts.append(f"127.0.0.1:{port}/{jobs}")
        yield hosts
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


class Builder:
    """Builds one variant of one tree in one folder, again and again from the same archive."""

    def __init__(self, name: str, state: str, flags: str) -> None:
        self.tree: Tree = TREES[name]
        self.name = name
        self.folder = os.path.join(state, "trees", name)
        self.log = os.path.join(state, f"{name}.log")
        self.client = os.path.join(state, "client")
        self._words = {"flags": flags, "manycc": MANYCC, "python": sys.executable}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MANYCC_")}
        self._env = {
            **kept,
            "SOURCE_DATE_EPOCH": "1700000000",  # some packages compile the time of the build in
            **{key: value.format(**self._words) for key, value in self.tree.env.items()},
        }

    def local(self) -> tuple[float, float]:
        """Build with the machine's own compiler; wall and CPU seconds of the build step."""
        sources.unpack(self.tree.package, self.folder)
        env = self._local_env()
        self._run(self.tree.configure, env, [])
        return self._run(self.tree.build, env, [])

    def remote(self, hosts: list[str], jobs: int) -> tuple[Work | None, Work]:
        """Build over nodes; the work of the configure step, if that ran over nodes too, and of the build."""
        sources.unpack(self.tree.package, self.folder)
        env = {**self._env, "MANYCC_DIR": self.client, "MANYCC_HOSTS": " ".join(hosts)}
        prefix = [MANYCC, "run", "-j", str(jobs), "--"]
        configured = None
        if self.tree.configure_remotely:
            configured = self._watched(self.tree.configure, env, prefix)
        else:
            self._run(self.tree.configure, self._local_env(), [])
        return configured, self._watched(self.tree.build, env, prefix)

    def _local_env(self) -> dict[str, str]:
        quiet = {"MANYCC_DISABLE": "1", "MANYCC_DIR": os.path.join(os.path.dirname(self.client), "unused")}
        return {**self._env, **quiet, "MAKEFLAGS": f"-j{os.cpu_count()}"}

    def _watched(self, commands: list[list[str]], env: dict[str, str], prefix: list[str]) -> Work:
        tail = Tail(os.path.join(self.client, "state", "jobs.jsonl"))
        before = agent_cpu(env)
        wall, cpu = self._run(commands, env, prefix)
        work = Work(wall_s=wall, tree_cpu_s=cpu, agent_cpu_s=round(agent_cpu(env) - before, 2))
        for record in tail.poll():
            work.add(record)
        tail.close()
        return work

    def _run(self, commands: list[list[str]], env: dict[str, str], prefix: list[str]) -> tuple[float, float]:
        """Run commands; wall and CPU seconds. Raises BuildError."""
        begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        for command in commands:
            words = [*prefix, *(word.format(**self._words) for word in command)]
            with open(self.log, "ab") as output:
                done = subprocess.run(
                    words, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
                )
            if done.returncode:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    end = "\n".join(log.read().splitlines()[-8:])
                raise BuildError(f"{' '.join(words)} failed with exit code {done.returncode}:\n{end}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return round(time.monotonic() - begun, 1), round(cpu, 1)


def agent_cpu(env: dict[str, str]) -> float:
    """User and system seconds of the agent and the programs it ran; 0 if there is none."""
    done = subprocess.run([MANYCC, "status", "--json"], env=env, capture_output=True, check=True)
    agent = json.loads(done.stdout)["agent"]
    if agent is None:
        return 0.0
    with open(f"/proc/{agent['pid']}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def build_tree(name: str, state: str, hosts: list[str], flags: str, jobs: int, keep: bool = False) -> Row:
    """Build one variant of a tree locally and remotely. Raises BuildError and sources.SourceError.

    ``keep``: leave the local build beside the remote one.
    """
    builder = Builder(name, state, flags)
    tree = builder.tree
    missing = [need for need in tree.needs if not (os.path.exists(need) if "/" in need else shutil.which(need))]
    if missing:
        raise BuildError(f"{name} needs {', '.join(missing)}")
    local_wall, local_cpu = builder.local()
    wanted = tree_files.digests(builder.folder)
    if keep:
        shutil.rmtree(builder.folder + ".local", ignore_errors=True)
        os.rename(builder.folder, builder.folder + ".local")
    configure, build = builder.remote(hosts, jobs)
    got = tree_files.digests(builder.folder)
    differing = tree_files.differing(wanted, got)
    unsteady: set[str] = set()
    if differing:
        if keep:
            shutil.rmtree(builder.folder + ".remote", ignore_errors=True)
            os.rename(builder.folder, builder.folder + ".remote")
        builder.local()
        unsteady = set(tree_files.differing(wanted, tree_files.digests(builder.folder)))
    if not keep:
        shutil.rmtree(builder.folder)
    return Row(
        tree=name,
        kind=tree.kind,
        flags=flags,
        objects=sum(file.is_object for file in wanted.values()),
        files=len(wanted),
        different=sorted(set(differing) - unsteady),
        unsteady=sorted(set(differing) & unsteady),
        local_wall_s=local_wall,
        local_cpu_s=local_cpu,
        configure=configure,
        build=build,
    )


def build_all(variants: Iterable[tuple[str, str]], state: str, options: argparse.Namespace) -> Iterator[Row]:
    """Build (tree, compiler options) one after the other, whatever becomes of the others."""
    with nodes(options.nodes, state, options.jobs) as hosts:
        print(f"{options.nodes} nodes on loopback: {' '.join(hosts)}", flush=True)
        try:
            for name, flags in variants:
                try:
                    yield build_tree(name, state, hosts, flags, options.nodes * options.jobs, bool(options.keep))
                except (BuildError, sources.SourceError) as error:
                    yield Row(tree=name, kind=TREES[name].kind, flags=flags, failed=str(error))
        finally:
            subprocess.run(
                [os.path.join(BIN, "manycc-cli"), "agent", "stop"],
                env={**os.environ, "MANYCC_DIR": os.path.join(state, "client")},
                stdout=subprocess.DEVNULL, check=False,
            )  # fmt: skip


def write_reports(rows: list[Row], options: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([row.as_json() for row in rows], file, indent=1)
    if options.markdown and options.markdown != "-":
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(markdown(rows))


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="build real trees over nodes; compare every file")
    parser.add_argument("trees", nargs="*", metavar="TREE", help=", ".join(TREES))
    parser.add_argument("--all", action="store_true", help="all trees, without and with -g")
    parser.add_argument("--nodes", type=int, default=2, help="how many nodes to start on loopback")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="slots per node")
    parser.add_argument("--debug", action="store_true", help="build with -g too")
    parser.add_argument("--flags", action="append", help="build with these compiler options only (may be repeated)")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--markdown", metavar="FILE", help="write tables there (- for the terminal)")
    parser.add_argument("--keep", metavar="DIR", help="work there and keep it")
    options = parser.parse_args()
    names = list(TREES) if options.all else options.trees or ["lua5.4", "re2"]
    unknown = [name for name in names if name not in TREES]
    if unknown:
        parser.error(f"unknown tree {unknown[0]}; there are {', '.join(TREES)}")
    flags = options.flags or (["", "-g"] if options.debug or options.all else [""])
    variants = [
        (name, variant)
        for name in names
        for variant in (*flags, *(TREES[name].also if options.all and not options.flags else ()))
    ]
    state = options.keep or tempfile.mkdtemp(prefix="manycc-trees-")
    os.makedirs(state, exist_ok=True)
    rows: list[Row] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("trees: terminated"))  # so that the nodes end, too
    try:
        for row in build_all(variants, os.path.abspath(state), options):
            rows.append(row)
            show(row)
            write_reports(rows, options)  # each time: the whole list takes long, and may be interrupted
    finally:
        if not options.keep:
            shutil.rmtree(state, ignore_errors=True)
    if options.markdown == "-":
        print(markdown(rows))
    objects = sum(row.objects for row in rows)
    different = sum(len(row.different) for row in rows)
    failed = sum(bool(row.failed) for row in rows)
    others = sum(row.files for row in rows) - objects
    print(
        f"{objects} objects and {others} other files compared, {different} different"
        + f"; {failed} builds failed" * bool(failed)
    )
    return 1 if different or failed or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
