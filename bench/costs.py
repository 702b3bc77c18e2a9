"""What the compiles of real builds cost: CPU, memory, inputs, object. Makes ``costs.json``, which ``simulate`` uses.

    python bench/costs.py [--output FILE] [TREE …]

Each tree is built once by the machine's own compiler at -O2, through a wrapper that has the kernel account for every
compile (wait4: user and system seconds of the driver and all that it runs, the largest resident size among them).
``-M`` then tells what it read. Rows are in the order in which the compiles ended, which is nearly the order make began
them in.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources
from tree_list import TREES

HERE = os.path.dirname(os.path.abspath(__file__))
FIELDS = ("source", "cpu_ms", "rss_mib", "inputs", "input_kib", "object_kib")
DEFAULT = ("fontforge", "redis", "re2")
_NAMES = ("cc", "gcc", "c++", "g++")
_WITH_WORD = ("-MF", "-MT", "-MQ", "-o")
_ALONE = ("-c", "-MD", "-MMD", "-MP")
_ENDINGS = (".c", ".cc", ".cpp", ".cxx")


def compiler(argv: list[str]) -> list[str]:
    """The real command, whether the wrapper was called by a compiler's name or with the command as its arguments."""
    name = os.path.basename(argv[0])
    words = [name, *argv[1:]] if name in _NAMES else argv[1:]
    return [os.path.join("/usr/bin", os.path.basename(words[0])), *words[1:]]


def read_by(command: list[str]) -> list[str]:
    """The files that a compile reads."""
    words = iter(command)
    kept = []
    for word in words:
        if word in _WITH_WORD:
            next(words)
        elif word not in _ALONE:
            kept.append(word)
    done = subprocess.run([*kept, "-M"], capture_output=True, text=True, check=False)
    return done.stdout.replace("\\\n", " ").partition(": ")[2].split()


def wrapped(argv: list[str]) -> int:
    """Run one compiler command; if it compiles one source, write a row."""
    command = compiler(argv)
    found = [word for word in command[1:] if word.endswith(_ENDINGS)]
    if "-c" not in command or len(found) != 1:
        return subprocess.run(command, check=False).returncode
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        files = read_by(command)
        output = command[command.index("-o") + 1] if "-o" in command else os.path.basename(found[0])[:-1] + "o"
        row = [
            os.path.basename(found[0]),
            round((usage.ru_utime + usage.ru_stime) * 1000),
            usage.ru_maxrss >> 10,
            len(files),
            sum(os.path.getsize(path) for path in files if os.path.exists(path)) >> 10,
            os.path.getsize(output) >> 10 if os.path.exists(output) else 0,
        ]
        with open(os.environ["COSTS_LOG"], "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
    return code


def measure(name: str, folder: str) -> list[list[object]]:
    """Build a tree; the rows of its compiles."""
    tree = TREES[name]
    wrappers = os.path.join(folder, "bin")
    os.makedirs(wrappers)
    script = os.path.join(wrappers, "measured")
    with open(script, "w", encoding="utf-8") as file:
        file.write(f'#!{sys.executable}\nimport sys\nsys.path.insert(0, {HERE!r})\nimport costs\n'
                   "sys.exit(costs.wrapped(sys.argv))\n")  # fmt: skip
    os.chmod(script, 0o755)
    for alias in _NAMES:
        os.symlink("measured", os.path.join(wrappers, alias))
    words = {"flags": "-O2", "manycc": script, "python": sys.executable}
    log = os.path.join(folder, "log")
    env = {
        **os.environ,
        "MAKEFLAGS": f"-j{os.cpu_count()}",
        **{key: value.format(**words) for key, value in tree.env.items()},
        "PATH": wrappers + os.pathsep + os.environ["PATH"],
    }
    tree_folder = sources.unpack(tree.package, os.path.join(folder, name))
    for log_name, commands in (("configure.log", tree.configure), ("log", tree.build)):
        env["COSTS_LOG"] = os.path.join(folder, log_name)
        for command in commands:
            subprocess.run([word.format(**words) for word in command], cwd=tree_folder, env=env, check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    with open(log, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main() -> int:
    """Measure the trees and write the file."""
    parser = argparse.ArgumentParser(description="measure the compiles of real trees")
    parser.add_argument("trees", nargs="*", default=list(DEFAULT), metavar="TREE")
    parser.add_argument("--output", default=os.path.join(HERE, "costs.json"))
    options = parser.parse_args()
    trees = {}
    for name in options.trees:
        folder = tempfile.mkdtemp(prefix="manycc-costs-")
        try:
            trees[name] = measure(name, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{name}: {len(trees[name])} compiles, {sum(row[1] for row in trees[name]) / 1000:.1f} s", flush=True)
    lines = [
        f"  {json.dumps(name)}: [\n" + ",\n".join(f"   {json.dumps(row)}" for row in rows) + "\n  ]"
        for name, rows in trees.items()
    ]
    command = " ".join(["python bench/costs.py", *(options.trees if tuple(options.trees) != DEFAULT else ())])
    with open(options.output, "w", encoding="utf-8") as file:
        file.write(f'{{\n "command": {json.dumps(command)},\n "fields": {json.dumps(FIELDS)},\n "trees": {{\n')
        file.write(",\n".join(lines) + "\n }\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
