"""Client, node and way: who helps whom, whether every object is the client's own compiler's, and what it costs.

    python bench/cross.py [--tree small|lua|jsoncpp] [--flags=FLAGS] [--only WORD] [--markdown FILE]

The Raspberry Pis are emulated (``tests/interop/pis.py``): their times say nothing of real ones, and are to
be compared with each other only. Each build is done by the client alone first, then anew with the node's help.
Needs root. Exit code 0 only if all objects are the same and each node served the compiler in the way it was meant to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "interop"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources
from pi_builds import SMALL, Client, Here, both, cross_archive, lay_out, node_on, without_cross
from pis import Pi, pi
from userland import ARM64, ARMHF

from manycc.testing.cluster import BIN, Node

HEAD = """\
| client | node | way | canaries | objects | identical | done by the node | alone | with the node | sent once |
|---|---|---|---|---|---|---|---|---|---|
"""
JSONCPP = (
    "SRC = $(wildcard src/lib_json/*.cpp)\nall: $(SRC:.cpp=.o)\n%.o: %.cpp\n\t$(CXX) $(FLAGS) -Iinclude -c $< -o $@\n"
)
SEALING = ("bwrap", "prlimit")
"""All the programs that a node needs which is sent its compilers."""
SENDING_S = 300.0
_SENT = re.compile(r"which was sent there in ([\d.]+) s: (.+?), (.+?) on the wire")


@dataclass(frozen=True)
class Row:
    """One line of the table. ``host`` makes the node, told where it may write, and gives its entry in MANYCC_HOSTS."""

    client: str
    node: str
    way: str
    flags: str
    host: Callable[[Path], contextlib.AbstractContextManager[str]]


class Machines:
    """The machines that rows are about, started when first wanted."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._pis: dict[str, Pi] = {}

    def pi(self, name: str) -> Pi:
        """An emulated Pi: ``arm64``, ``armhf``, or one of arm64 that is called otherwise."""
        if name not in self._pis:
            folder = self._folder / name
            folder.mkdir()
            self._pis[name] = self._stack.enter_context(pi(ARMHF if name == "armhf" else ARM64, str(folder), name))
        return self._pis[name]

    @contextlib.contextmanager
    def here(self, folder: Path, path: str = "") -> Iterator[str]:
        """A node on this machine; ``path`` is where it looks for compilers and programs."""
        node = Node(str(folder / "node"), 2)
        node.start({**os.environ, "PATH": path} if path else None)
        try:
            yield node.host
        finally:
            node.stop()

    @contextlib.contextmanager
    def empty(self, folder: Path) -> Iterator[str]:
        """A node on this machine that has no compiler."""
        programs = folder / "programs"
        programs.mkdir()
        for name in SEALING:
            (programs / name).symlink_to(str(shutil.which(name)))
        with self.here(folder, str(programs)) as host:
            yield host

    @contextlib.contextmanager
    def on_pi(self, name: str, tools: str = "") -> Iterator[str]:
        """A node on a Pi; with ``tools`` "archive" or "none", it has that instead of Debian's cross compiler."""
        machine = self.pi(name)
        if tools == "archive":
            where = self._folder / "archive"
            where.mkdir()
            shutil.copy(cross_archive(machine, where), machine.path("/root/x-tools.tar.xz"))
        if tools:
            without_cross(machine)
        if tools == "archive":
            machine.run(["manycc", "toolchain", "add", "/root/x-tools.tar.xz"])
        with node_on(machine, "node") as host:
            yield host


def rows(machines: Machines, flags: str) -> list[Row]:
    """The whole table."""
    patched = f"{flags} -fstack-protector-strong"
    return [
        Row("x86-64", "x86-64, the same compiler", "same", flags, machines.here),
        Row("x86-64", "x86-64, no compiler", "shipped", flags, machines.empty),
        Row("x86-64", "Pi arm64, Debian's cross gcc", "equivalent", flags, lambda _: machines.on_pi("arm64")),
        Row("x86-64", "Pi arm64, cross gcc from an archive", "equivalent", flags,
            lambda _: machines.on_pi("added", "archive")),
        Row("x86-64", "Pi arm64, no cross gcc", "", flags, lambda _: machines.on_pi("bare", "none")),
        Row("Pi arm64", "x86-64, Debian's cross gcc", "equivalent", flags, machines.here),
        Row("Pi arm64", "x86-64, Debian's cross gcc", "", patched, machines.here),
        Row("Pi armhf", "x86-64, Debian's cross gcc", "equivalent", "-O2", machines.here),
        Row("Pi armhf", "x86-64, Debian's cross gcc", "equivalent", "-O2 -fstack-protector-strong", machines.here),
        Row("Pi armhf", "x86-64, Debian's cross gcc", "", "-O2 -g", machines.here),
        Row("Pi arm64", "Pi arm64, the same compiler", "same", flags, lambda _: machines.on_pi("second")),
    ]  # fmt: skip


def measure(row: Row, machines: Machines, tree: str, flags: str, folder: Path) -> tuple[str, bool]:
    """Do one row: its line, and whether it came out as it must."""
    with row.host(folder) as host:
        if row.client == "x86-64":
            client = Client(Here(folder), host)
            where = str(folder / "src")
        else:
            machine = machines.pi(row.client.removeprefix("Pi "))
            client = Client(machine, host, state=f"/tmp/{folder.name}-client")
            where = f"/home/you/{folder.name}"
        make = _lay_out(client, tree, where, row.flags, folder)
        if row.way == "shipped":
            _have_sent(client, folder)
        alone, built = both(client, where, make)
        state = client.machine.path(f"{client.state}/state")
        client.close()
    same = sum(built.made.get(name) == digest for name, digest in alone.made.items())
    compiles, remote = len(built.compiles), len(built.remote)
    ways = built.ways - {""}
    good = same == len(alone.made) > 0 and ways == ({row.way} if row.way else set())
    good = good and remote == (compiles if row.way else 0)
    way = row.way or "refused"
    words = [
        row.client, row.node + (f", `{row.flags}`" if not row.way or row.flags != flags else ""), way,
        _canaries(state / "equivalent.json"), str(len(alone.made)), str(same), f"{remote} of {compiles}",
        f"{alone.wall_s:.1f} s", f"{built.wall_s:.1f} s", _sent(state / "agent.log"),
    ]  # fmt: skip
    for one in built.compiles:
        if one not in built.remote:
            print(f"    {one['src']}: {one['reason']}: {one['detail']}", file=sys.stderr)
            break
    return f"| {' | '.join(words)} |", good


def _lay_out(client: Client, tree: str, where: str, flags: str, folder: Path) -> list[str]:
    """Put the sources there; the command that builds them, but for CC and CXX."""
    if tree == "small":
        lay_out(client.machine, where, SMALL)
        return ["make", "-j2", f"FLAGS={flags}"]
    unpacked = sources.unpack({"lua": "lua5.4", "jsoncpp": "libjsoncpp"}[tree], str(folder / "unpacked"))
    if tree == "jsoncpp":
        Path(unpacked, "Makefile").write_text(JSONCPP, encoding="ascii")
    if isinstance(client.machine, Pi):
        client.machine.give(unpacked, where)
    else:
        shutil.copytree(unpacked, where, symlinks=True)
    if tree == "lua":
        return ["make", "-j4", "-C", "src", "linux", f"MYCFLAGS={flags}"]
    return ["make", "-j4", f"FLAGS={flags}"]


def _have_sent(client: Client, folder: Path) -> None:
    """Jobs are done here while a compiler is being sent: let it have been."""
    end = time.monotonic() + SENDING_S
    for driver, name in (("gcc", "first.c"), ("g++", "first.cc")):
        (folder / name).write_text("int first;\n", encoding="ascii")
        client.machine.run(["manycc", driver, "-c", name], str(folder), client.env)
        while not client.news()[-1].get("way"):
            if time.monotonic() > end:
                raise SystemExit(f"{driver} has not been sent within {SENDING_S:.0f} s")
            time.sleep(0.2)
            client.machine.run(["manycc", driver, "-c", name], str(folder), client.env)


def _canaries(path: Path) -> str:
    """How many were compiled on both sides, and what came of it."""
    if not path.exists():
        return "-"
    verdicts = json.loads(path.read_text(encoding="ascii"))["verdicts"].values()
    equal = sum(len(one["evidence"]) for one in verdicts if not one["refusal"])
    refused = sum(1 for one in verdicts if one["refusal"])
    return f"{equal} equal" + (f", {refused} sets of flags refused" if refused else "")


def _sent(log: Path) -> str:
    """What it took to send compilers: seconds, bytes, and bytes on the wire."""
    found = _SENT.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else []
    return "; ".join(f"{size} ({wire} on the wire) in {seconds} s" for seconds, size, wire in found) or "-"


def main(argv: Sequence[str]) -> int:
    """Do the rows, print them as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", choices=["small", "lua", "jsoncpp"], default="small")
    parser.add_argument("--flags", default="-O2 -g")
    parser.add_argument("--only", default="", metavar="WORD", help="only rows with this word in them")
    parser.add_argument("--markdown", default="", metavar="FILE", help="write the table there, too")
    options = parser.parse_args(argv)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    lines, bad = [], 0
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cross")))
        top.chmod(0o755)
        machines = Machines(top, stack)
        print(HEAD, end="", flush=True)
        for number, row in enumerate(rows(machines, options.flags)):
            if options.only not in f"{row.client} {row.node} {row.way}":
                continue
            folder = top / f"row{number}"
            folder.mkdir()
            line, good = measure(row, machines, options.tree, options.flags, folder)
            lines.append(line)
            bad += not good
            print(line + ("" if good else "   <- NOT AS IT MUST BE"), flush=True)
    if options.markdown:
        Path(options.markdown).write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
