"""Client, node and way: who helps whom, whether every object is the client's own compiler's, and what it costs.

    python bench/cross.py [--only WORD] [--limit SECONDS] [--markdown [FILE]]

The Raspberry Pis are emulated (``tests/interop/pis.py``): their times say nothing of real ones, and are to
be compared with each other only. Each build is done by the client alone first, then anew with the node's help.

Every row is a process of its own: one that fails, or does not end in time, becomes a row that says so, and what its
node and agent wrote last goes to stderr. With --markdown the table takes the place of the one in docs/cross.md.
Needs root. Exit code 0 only if all objects are the same and each node served the compiler in the way it was meant to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "interop"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sources
from pi_builds import SMALL, Client, Here, both, cross_archive, lay_out, node_on, without_cross
from pis import Pi, pi
from userland import ARM64, ARMHF

from manycc.testing.cluster import BIN, Node

COLUMNS: Final = (
    "client", "node", "sources", "flags", "way", "canaries", "objects", "identical", "done by the node", "alone",
    "with the node", "sent once",
)  # fmt: skip
BEGIN: Final = "<!-- bench/cross.py --markdown writes from here -->\n"
END: Final = "<!-- to here -->\n"
DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "cross.md"
PACKAGES: Final = {"Lua": "lua5.4", "jsoncpp": "libjsoncpp"}
JSONCPP: Final = (
    "SRC = $(wildcard src/lib_json/*.cpp src/test_lib_json/*.cpp)\nall: $(SRC:.cpp=.o)\n"
    "%.o: %.cpp\n\t$(CXX) $(FLAGS) -Iinclude -c $< -o $@\n"
)
FLAGS: Final = "-O2 -g"
PATCHED: Final = f"{FLAGS} -fstack-protector-strong"
"""With these Debian's native and cross compilers of one version differ (``test_pi_equivalent.py``)."""
SEALING: Final = ("bwrap", "prlimit")
"""All the programs that a node needs which is sent its compilers."""
SENDING_S: Final = 300.0
ENDING_S: Final = 60.0
"""How long a row that took too long may take to put its machines away."""
_SENT: Final = re.compile(r"which was sent there in ([\d.]+) s: (.+?), (.+?) on the wire")


@dataclass(frozen=True)
class Row:
    """One line of the table. ``host`` makes the node, told where it may write, and gives its entry in MANYCC_HOSTS.

    ``way`` is how it must serve the client's compiler, "" if it must refuse it. ``sources``: "small", or a package.
    """

    client: str
    node: str
    sources: str
    flags: str
    way: str
    host: Callable[[Path], contextlib.AbstractContextManager[str]]

    def __str__(self) -> str:
        return f"{self.client}, {self.node}, {self.sources}, {self.flags}, {self.way or 'refused'}"


class Line(NamedTuple):
    """What a row came to."""

    cells: list[str]
    good: bool


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

    def logs(self) -> list[Path]:
        """Where nodes on Pis write what they do."""
        return [machine.path("/tmp/node.log") for machine in self._pis.values()]

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


def rows(machines: Machines) -> list[Row]:
    """The whole table."""
    here, x86, cross = machines.here, "x86-64", "x86-64, Debian's cross gcc"

    def on_pi(tools: str = "") -> Callable[[Path], contextlib.AbstractContextManager[str]]:
        return lambda _: machines.on_pi("node", tools)

    return [
        Row(x86, "x86-64, the same compiler", "small", FLAGS, "same", here),
        Row(x86, "x86-64, no compiler", "small", FLAGS, "shipped", machines.empty),
        Row(x86, "Pi arm64, Debian's cross gcc", "small", FLAGS, "equivalent", on_pi()),
        Row(x86, "Pi arm64, cross gcc from an archive", "small", FLAGS, "equivalent", on_pi("archive")),
        Row(x86, "Pi arm64, no cross gcc", "small", FLAGS, "", on_pi("none")),
        Row("Pi arm64", cross, "small", FLAGS, "equivalent", here),
        Row("Pi arm64", cross, "small", PATCHED, "", here),
        Row("Pi armhf", cross, "small", "-O2", "equivalent", here),
        Row("Pi armhf", cross, "small", "-O2 -fstack-protector-strong", "equivalent", here),
        Row("Pi armhf", cross, "small", FLAGS, "", here),
        Row("Pi arm64", "Pi arm64, the same compiler", "small", FLAGS, "same", on_pi()),
        Row("Pi arm64", cross, "Lua", FLAGS, "equivalent", here),
        Row("Pi arm64", cross, "jsoncpp", FLAGS, "equivalent", here),
        Row("Pi armhf", cross, "Lua", "-O2", "equivalent", here),
        Row("Pi armhf", cross, "jsoncpp", "-O2", "equivalent", here),
    ]  # fmt: skip


def measure(row: Row, machines: Machines, folder: Path) -> Line:
    """Do one row."""
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(row.host(folder))
        if row.client == "x86-64":
            client = Client(Here(folder), host)
            where = str(folder / "src")
        else:
            client = Client(machines.pi(row.client.removeprefix("Pi ")), host, state="/tmp/client")
            where = "/home/you/src"
        stack.callback(client.close)
        state = client.machine.path(f"{client.state}/state")
        make = _lay_out(client, row, where, folder)
        try:
            if row.way == "shipped":
                _have_sent(client, folder)
            alone, built = both(client, where, make)
        except BaseException:
            for log in (state / "agent.log", folder / "node.log", *machines.logs()):
                if log.exists():
                    print(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr, flush=True)
            raise
        same = sum(built.made.get(name) == digest for name, digest in alone.made.items())
        compiles, remote = len(built.compiles), len(built.remote)
        good = same == len(alone.made) > 0 and built.ways - {""} == ({row.way} if row.way else set())
        good = good and remote == (compiles if row.way else 0)
        cells = [
            *_named(row), row.way or "refused", _canaries(state / "equivalent.json"), str(len(alone.made)), str(same),
            f"{remote} of {compiles}", f"{alone.wall_s:.1f} s", f"{built.wall_s:.1f} s", _sent(state / "agent.log"),
        ]  # fmt: skip
    stayed = [f"{one['src']}: {one['reason']}: {one['detail']}" for one in built.compiles if one not in built.remote]
    print("\n".join(stayed[:1]), file=sys.stderr)
    return Line(cells, good)


def _named(row: Row) -> list[str]:
    return [row.client, row.node, row.sources, f"`{row.flags}`"]


def _lay_out(client: Client, row: Row, where: str, folder: Path) -> list[str]:
    """Put the sources there; the command that builds them, but for CC and CXX."""
    if row.sources == "small":
        lay_out(client.machine, where, SMALL)
        return ["make", "-j2", f"FLAGS={row.flags}"]
    unpacked = sources.unpack(PACKAGES[row.sources], str(folder / "unpacked"))
    if row.sources == "jsoncpp":
        Path(unpacked, "Makefile").write_text(JSONCPP, encoding="ascii")
    if isinstance(client.machine, Pi):
        client.machine.give(unpacked, where)
    else:
        shutil.copytree(unpacked, where, symlinks=True)
    if row.sources == "Lua":
        return ["make", "-j4", "-C", "src", "linux", f"MYCFLAGS={row.flags}"]
    return ["make", "-j4", f"FLAGS={row.flags}"]


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


def apart(number: int, row: Row, limit_s: float) -> Line:
    """Do one row in a process of its own, and in bounded time."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--row", str(number)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=complaints, start_new_session=True,
        )  # fmt: skip
        why = ""
        try:
            code = process.wait(limit_s)
            why = f"failed (exit code {code})" if code else ""
        except subprocess.TimeoutExpired:
            why = f"not done in {limit_s:.0f} s"
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and with it all that it left
            process.wait()
        complaints.seek(0)
        sys.stderr.write(complaints.read().decode(errors="replace"))
        if why:
            return Line([*_named(row), f"**{why}**", *["-"] * (len(COLUMNS) - 5)], False)
        said.seek(0)
        return Line(*json.loads(said.read()))


def one_row(number: int) -> int:
    """What ``apart`` starts: do a row, and print what it came to."""
    signal.signal(signal.SIGTERM, _too_late)
    with contextlib.ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cross")))
        top.chmod(0o755)
        machines = Machines(top, stack)
        folder = top / "row"
        folder.mkdir()
        line = measure(rows(machines)[number], machines, folder)
    json.dump(line, sys.stdout)
    return 0


def _too_late(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit("it takes too long")


def _conditions(began: float, load: float) -> str:
    """Where and when the table was made, for those who compare."""
    gcc, qemu = (
        subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
        for name in ("gcc", ARM64.qemu)
    )
    minutes = (time.monotonic() - began) / 60
    return (
        f"Made in {minutes:.0f} minutes on {os.cpu_count()} cores (load {load:.1f} when it began): Linux"
        f" {platform.release().partition('-')[0]}, {gcc}, {qemu}.\n\n"
    )


def replaced(document: str, table: str) -> str:
    """A document with another table between its two marks. Raises SystemExit if they are not there."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the document lacks {BEGIN.strip()} or, behind it, {END.strip()}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(argv: Sequence[str]) -> int:
    """Do the rows, print them as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORD", help="only rows with this word in them")
    parser.add_argument("--limit", type=float, default=900.0, metavar="SECONDS", help="for one row (default: 900)")
    parser.add_argument(
        "--markdown", nargs="?", type=Path, const=DOCUMENT, metavar="FILE",
        help="put the table between the marks in this document (default: docs/cross.md)",
    )  # fmt: skip
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    if options.row is not None:
        return one_row(options.row)
    if options.markdown:
        if options.only:
            parser.error("a part of the table cannot take the place of the whole")
        replaced(options.markdown.read_text(encoding="utf-8"), "")  # or it would be told after a quarter of an hour
    began, load = time.monotonic(), os.getloadavg()[0]
    table, bad = _shown(COLUMNS) + _shown(["---"] * len(COLUMNS)), 0
    print(table, end="", flush=True)
    with contextlib.ExitStack() as stack:
        for number, row in enumerate(rows(Machines(Path(), stack))):
            if options.only in str(row):
                line = apart(number, row, options.limit)
                bad += not line.good
                table += _shown(line.cells)
                print(_shown(line.cells).strip() + ("" if line.good else "   <- NOT AS IT MUST BE"), flush=True)
    if options.markdown:
        text = replaced(options.markdown.read_text(encoding="utf-8"), _conditions(began, load) + table)
        options.markdown.write_text(text, encoding="utf-8")
    return 1 if bad else 0


def _shown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
