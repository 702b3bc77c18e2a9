"""How the inputs of every translation unit of real trees are found, and whether they hold all that is read.

    python bench/discovery.py [--markdown FILE] [--keep DIR] [TREE …]

The trees are those of ``tree_list``, and ``boost``: see ``boost_units``. A tree is built once, with a script in the
compiler's place that notes each command. Then a collector, as an agent has one, is asked for the inputs of each
compile, and the compiler is asked by ``-M`` what it opens. Exit code 0 only if all of that is among the inputs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import boost_units
import sources
from tree_list import TREES

from manycc.command.parse import compiler_kind, parse
from manycc.errors import NotDistributable
from manycc.inputs.collect import Collector
from manycc.inputs.fileview import FileView
from manycc.inputs.manifest import Manifest
from manycc.inputs.preprocess import dependency_arguments, parse_dependencies
from manycc.job import FILE, Toolchain
from manycc.reasons import Reason

DEFAULT = ("redis", "re2", "lua5.4", "fontforge", "boost")
COMPILERS = ("gcc", "g++", "cc", "c++", "clang", "clang++")

# Notes the folder and the words of a command, then runs it; without optimising, which changes no input.
RECORDER = """\
#!/bin/sh
case "$1" in "${0%/*}"/*) exec "$@";; esac
name=${0##*/}
[ "$name" = recorder ] || set -- "$name" "$@"
PATH=$REAL_PATH; export PATH
printf '%s\\0' "$PWD" "$@" > "$(mktemp "$RECORDS/XXXXXXXXXX")"
exec "$@" -O0
"""


@dataclass(frozen=True)
class Call:
    """One compiler command line of a build."""

    cwd: str
    argv: tuple[str, ...]


@dataclass
class Row:
    """What came of one tree."""

    name: str
    units: int = 0
    how: Counter[str] = field(default_factory=Counter)
    """scan, scan+M, or the reason for a local compile."""
    kept: int = 0
    """Manifests that held when asked again."""
    sent: int = 0
    opened: int = 0
    cold_ms: list[float] = field(default_factory=list)
    warm_ms: list[float] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """The row of the table."""
        local = sum(number for how, number in self.how.items() if how not in ("scan", "scan+M"))
        cold, warm = self.cold_ms or [0.0], self.warm_ms or [0.0]
        return [
            self.name, str(self.units), str(self.how["scan"]), str(self.how["scan+M"]), str(local), str(self.kept),
            str(len(self.missing)), f"{self.sent / max(self.opened, 1):.2f}",
            f"{statistics.median(cold):.1f} / {max(cold):.0f}", f"{statistics.median(warm):.2f} / {max(warm):.1f}",
        ]  # fmt: skip


HEAD = ["tree", "units", "scan", "`-M`", "local", "manifest, asked again", "opened, not sent", "sent / opened",
        "cold ms, median / most", "warm ms, median / most"]  # fmt: skip


def recorded(name: str, state: str) -> list[Call]:
    """Build a tree; every command that its compilers were called with."""
    tree = TREES[name]
    folder, records, shims = (os.path.join(state, part) for part in ("tree", "records", "shims"))
    for place in (records, shims):
        os.makedirs(place)
    recorder = os.path.join(shims, "recorder")
    with open(recorder, "w", encoding="ascii") as file:
        file.write(RECORDER)
    os.chmod(recorder, 0o755)
    for compiler in COMPILERS:
        os.symlink("recorder", os.path.join(shims, compiler))
    words = {"flags": "", "manycc": recorder, "python": sys.executable}
    env = {key: value for key, value in os.environ.items() if not key.startswith("MANYCC_")}
    env |= {key: value.format(**words) for key, value in tree.env.items()}
    env |= {"RECORDS": records, "REAL_PATH": env["PATH"], "MAKEFLAGS": f"-j{os.cpu_count()}"}
    env["PATH"] = f"{shims}:{env['PATH']}"
    sources.unpack(tree.package, folder)
    for command in (*tree.configure, *tree.build):
        with open(os.path.join(state, "log"), "ab") as log:
            done = subprocess.run(
                [word.format(**words) for word in command],
                cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{name}: {' '.join(command)} failed; see {log.name}")
    calls: dict[Call, None] = {}
    for entry in sorted(os.scandir(records), key=lambda entry: entry.stat().st_mtime_ns):
        with open(entry.path, "rb") as noted:
            cwd, *argv = os.fsdecode(noted.read()).split("\0")[:-1]
        if os.path.dirname(argv[0]) == shims:
            argv[0] = os.path.basename(argv[0])
        calls[Call(cwd, tuple(argv))] = None
    return list(calls)


def boost_calls(folder: str) -> list[Call]:
    """Write the units over Boost's headers; a command for each."""
    if not os.path.exists(boost_units.NEEDS):
        raise SystemExit("boost needs libboost-dev")
    for name, text in {**boost_units.UNITS, **boost_units.HEADERS}.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(text)
    time.sleep(0.1)  # an agent sees sources that are older than the clock's granule
    return [Call(folder, ("g++", *boost_units.FLAGS, "-c", name, "-o", f"{name}.o")) for name in boost_units.UNITS]


def opened(driver: str, call: Call, env: dict[str, str]) -> set[str]:
    """The physical paths of all files that -M lists."""
    argv = [driver, *dependency_arguments(call.argv[1:])]
    done = subprocess.run(argv, cwd=call.cwd, env=env, stdout=subprocess.PIPE, check=True)
    names = parse_dependencies(os.fsdecode(done.stdout)) or ()
    return {os.path.realpath(os.path.join(call.cwd, name)) for name in names}


async def look(name: str, calls: list[Call]) -> Row:
    """Find the inputs of all compiles among the calls."""
    row = Row(name)
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    view = FileView(None)
    collector = Collector(view, None)
    found: list[tuple[Call, str, Manifest]] = []
    for call in calls:
        kind = compiler_kind(os.path.basename(call.argv[0]))
        driver = shutil.which(call.argv[0])
        if kind is None or driver is None or not os.path.isdir(call.cwd):
            continue
        toolchain = Toolchain(driver, driver, kind, "", "", "", (), (), {})
        begun = time.perf_counter()
        try:
            command = parse(call.argv, call.cwd, env, None)
            manifest = await collector.collect(command, toolchain, call.cwd, env, (), view.now())
        except NotDistributable as error:
            # Links, questions, and the trial sources of a configure step that are gone are no units.
            if error.reason not in (Reason.NOT_COMPILE, Reason.PREPROCESS_ONLY, Reason.SOURCE_UNREADABLE,
                                    Reason.STDIN_SOURCE, Reason.NO_SOURCE):  # fmt: skip
                row.units += 1
                row.how[error.reason.code] += 1
            continue
        row.cold_ms.append((time.perf_counter() - begun) * 1e3)
        row.units += 1
        row.how[manifest.inputs.how] += 1
        found.append((call, driver, manifest))
    for _, _, manifest in found:
        begun = time.perf_counter()
        row.kept += collector.check(manifest, view.now())
        row.warm_ms.append((time.perf_counter() - begun) * 1e3)
    for call, driver, manifest in found:
        sent = {item.path for item in manifest.inputs.items if item.kind == FILE}
        read = opened(driver, call, env)
        row.missing += sorted(read - sent)
        row.sent += len(sent)
        row.opened += len(read)
    collector.close()
    view.close()
    return row


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> int:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", default=DEFAULT, metavar="TREE")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there")
    parser.add_argument("--keep", metavar="DIR", help="work there and keep it")
    options = parser.parse_args()
    rows: list[Row] = []
    state = options.keep or tempfile.mkdtemp(prefix="manycc-discovery-")
    try:
        for name in options.trees:
            place = os.path.join(state, name)
            os.makedirs(place)
            calls = boost_calls(place) if name == "boost" else recorded(name, place)
            rows.append(asyncio.run(look(name, calls)))
            row = rows[-1]
            print(f"{name}: {row.units} units, {dict(row.how)}, {len(row.missing)} opened but not sent", flush=True)
            for path in row.missing[:10]:
                print(f"    {path}")
    finally:
        if options.keep is None:
            shutil.rmtree(state, ignore_errors=True)
    table = markdown(rows)
    print(table)
    if options.markdown:
        with open(options.markdown, "w", encoding="utf-8") as file:
            file.write(table + "\n")
    return 1 if any(row.missing for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
