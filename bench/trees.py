"""Build real source trees over nodes and compare every object with a local build.

    python bench/trees.py [--nodes N] [--debug] [--json FILE] [TREE …]

Each tree is built twice in one folder: with the machine's own compiler, and through manycc over
nodes that this script starts on loopback. Every object the two builds left is compared byte for
byte. Exit code 0 only if all are identical.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources

BIN = os.path.dirname(sys.executable)


@dataclass(frozen=True)
class Tree:
    """How a package is built: every command is an argument vector run in ``folder``."""

    package: str
    build: list[list[str]]
    configure: list[list[str]] = field(default_factory=list)
    folder: str = ""
    debug: str = ""
    objects: tuple[str, ...] = (".o",)
    needs: tuple[str, ...] = ()


_FONTFORGE = ["cmake", "-G", "Ninja", "-S", ".", "-B", "build", "-DENABLE_GUI=OFF", "-DENABLE_PYTHON_SCRIPTING=OFF",
              "-DENABLE_PYTHON_EXTENSION=OFF", "-DENABLE_DOCS=OFF"]  # fmt: skip

TREES = {
    "lua5.4": Tree("lua5.4", [["make", "-C", "src", "linux", "MYCFLAGS={debug}"]], debug="-g"),
    "re2": Tree(
        "re2",
        [["make", "obj/libre2.a", "REBUILD_TABLES=1", "CXXFLAGS=-O3 {debug}"]],
        # Debian's archive leaves the generated tables out; they are made from Debian's unicode-data.
        configure=[
            [
                "sed",
                "-i",
                "-e",
                's#https://www.unicode.org[^"]*#/usr/share/unicode#',
                "-e",
                "s#from six.moves import urllib#import urllib.request#",
                "re2/unicode.py",
            ]
        ],
        debug="-g",
        needs=("perl", "/usr/share/unicode/Scripts.txt"),
    ),
    "redis": Tree(
        "redis",
        [["make", "MALLOC=libc", "OPTIMIZATION=-O2", "DEBUG={debug}", "REDIS_CFLAGS=", "V=1"]],
        debug="-g -ggdb",
    ),
    "fontforge": Tree(
        "fontforge",
        [["ninja", "-C", "build"]],
        configure=[
            [
                *_FONTFORGE,
                "-DCMAKE_BUILD_TYPE={buildtype}",
                "-DCMAKE_C_COMPILER_LAUNCHER={manycc}",
                "-DCMAKE_CXX_COMPILER_LAUNCHER={manycc}",
            ]
        ],
        debug="-g",
        needs=("cmake", "ninja", "pkg-config"),
    ),
}


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


def digests(folder: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """The digest of every object below a folder, by relative path."""
    found: dict[str, str] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            if name.endswith(suffixes):
                path = os.path.join(root, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def run(commands: list[list[str]], folder: str, env: dict[str, str], prefix: list[str], log: str, debug: str) -> float:
    """Run a build's commands; returns the wall time in seconds."""
    begun = time.monotonic()
    build_type = "Debug" if debug else "None"
    for command in commands:
        words = [word.format(debug=debug, buildtype=build_type, manycc=os.path.join(BIN, "manycc")) for word in command]
        with open(log, "ab") as output:
            done = subprocess.run([*prefix, *words], cwd=folder, env=env, stdout=output, stderr=output, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(prefix + words)} failed with exit code {done.returncode}; see {log}")
    return time.monotonic() - begun


def build_tree(name: str, state: str, hosts: list[str], debug: bool, jobs: int) -> dict[str, object]:
    """Build one tree locally and remotely; returns the row for the table."""
    tree = TREES[name]
    missing = [need for need in tree.needs if not (os.path.exists(need) if "/" in need else shutil.which(need))]
    if missing:
        raise SystemExit(f"{name} needs {', '.join(missing)}")
    folder = os.path.join(state, "trees", name)
    log = os.path.join(state, f"{name}.log")
    flags = tree.debug if debug else ""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MANYCC_")}
    env["SOURCE_DATE_EPOCH"] = "1700000000"  # some packages compile the time of the build in
    local_env = {**env, "MAKEFLAGS": f"-j{os.cpu_count()}", "MANYCC_DISABLE": "1"}
    sources.unpack(tree.package, folder)
    run(tree.configure, folder, local_env, [], log, flags)
    local_s = run(tree.build, folder, local_env, [], log, flags)
    wanted = digests(folder, tree.objects)
    shutil.rmtree(folder)
    sources.unpack(tree.package, folder)
    client_env = {
        **env,
        "MANYCC_DIR": os.path.join(state, "client"),
        "MANYCC_HOSTS": " ".join(hosts),
    }
    run(tree.configure, folder, local_env, [], log, flags)
    manycc = os.path.join(BIN, "manycc")
    remote_s = run(tree.build, folder, client_env, [manycc, "run", "-j", str(jobs), "--"], log, flags)
    got = digests(folder, tree.objects)
    stats = json.loads(
        subprocess.run([manycc, "stats", "--json", "--last"], env=client_env, capture_output=True, check=True).stdout
    )
    different = sorted(path for path in wanted if got.get(path) != wanted[path])
    return {
        "tree": name,
        "debug": debug,
        "objects": len(wanted),
        "different": different,
        "extra": sorted(set(got) - set(wanted)),
        "jobs": stats["jobs"],
        "reasons": stats["reasons"],
        "bytes": stats["bytes"],
        "local_s": round(local_s, 1),
        "remote_s": round(remote_s, 1),
    }


def show(row: dict[str, object]) -> None:
    jobs = row["jobs"]
    assert isinstance(jobs, dict)
    different = row["different"]
    assert isinstance(different, list)
    verdict = "all identical" if not different else f"{len(different)} DIFFERENT"
    title = f"{row['tree']}{' -g' if row['debug'] else ''}"
    print(
        f"{title:16} {row['objects']:>5} objects, {verdict}; {jobs['remote']} of {jobs['total']} jobs remote "
        f"({jobs['cached']} cached), {jobs['local']} local, {jobs['failed_over']} failed over; "
        f"local {row['local_s']} s, over nodes {row['remote_s']} s"
    )
    reasons = row["reasons"]
    assert isinstance(reasons, dict)
    for code, number in sorted(reasons.items(), key=lambda item: -item[1]):
        if code not in ("remote", "cached"):
            print(f"{'':18}{number:>4} {code}")
    for path in different[:10]:
        print(f"{'':18}different: {path}")


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="build real trees over nodes; compare every object")
    parser.add_argument("trees", nargs="*", default=["lua5.4", "re2"], metavar="TREE", help=", ".join(TREES))
    parser.add_argument("--nodes", type=int, default=2, help="how many nodes to start on loopback")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="slots per node")
    parser.add_argument("--debug", action="store_true", help="build with -g too")
    parser.add_argument("--only-debug", action="store_true", help="build with -g only")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--keep", metavar="DIR", help="work there and keep it")
    options = parser.parse_args()
    unknown = [name for name in options.trees if name not in TREES]
    if unknown:
        parser.error(f"unknown tree {unknown[0]}; there are {', '.join(TREES)}")
    state = options.keep or tempfile.mkdtemp(prefix="manycc-trees-")
    os.makedirs(state, exist_ok=True)
    rows: list[dict[str, object]] = []
    try:
        with nodes(options.nodes, state, options.jobs) as hosts:
            print(f"{options.nodes} nodes on loopback: {' '.join(hosts)}")
            variants = [True] if options.only_debug else [False, True] if options.debug else [False]
            try:
                for name in options.trees:
                    for debug in variants:
                        row = build_tree(name, state, hosts, debug, options.nodes * options.jobs)
                        rows.append(row)
                        show(row)
            finally:
                subprocess.run(
                    [os.path.join(BIN, "manycc-cli"), "agent", "stop"],
                    env={**os.environ, "MANYCC_DIR": os.path.join(state, "client")},
                    stdout=subprocess.DEVNULL, check=False,
                )  # fmt: skip
    except sources.SourceError as error:
        print(f"trees: {error}", file=sys.stderr)
        return 1
    finally:
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(rows, file, indent=1)
        if not options.keep:
            shutil.rmtree(state, ignore_errors=True)
    objects = sum(int(str(row["objects"])) for row in rows)
    different_count = sum(len(row["different"]) for row in rows if isinstance(row["different"], list))
    print(f"{objects} objects compared, {objects - different_count} identical, {different_count} different")
    return 1 if different_count or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
