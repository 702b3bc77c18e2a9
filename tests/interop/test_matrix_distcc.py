"""Who works with whom: our client and Debian's, our node and Debian's daemon, each protocol version, on real sources.

In each cell Lua and some of re2 are built through a tap on the server's port, and every file is compared with what a
local build in the same folder leaves. Objects are the same to the byte wherever the server gets the sources: by the
native protocol always, by version 3 unless Debian's daemon puts its own folder into debug information. Versions 1 and
2 carry preprocessed text. There the columns of what macros made are lost, which shows in debug information and,
without optimization, in the code; with it and without -g, objects are the same. ``Cell.same`` says this as a table.

Whatever else the builds leave is the same too, but for the dependency files that come by way of Debian's programs:
its daemon breaks their lines elsewhere, and its client, in versions 1 and 2, names them after the source.

MANYCC_TEST_LONG=1 builds all of re2, and everything with -g, too; with -rP, pytest prints how many objects differ.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import sources
from elftools.elf.elffile import ELFFile
from peers_support import DISTCC, PYTHON_HEADER, Tap, pump
from stock_daemon import DISTCCD, StockDaemon
from tree_list import TREES

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need

LONG: Final = os.environ.get("MANYCC_TEST_LONG") == "1"
JOBS: Final = 4
STOCK: Final = "stock"
OURS: Final = "ours"
OPTIONS: Final = {1: "", 2: ",lzo", 3: ",lzo,cpp"}
"""What follows a host's name in a host list, by the version that Debian's client then speaks."""
PLAIN: Final = "-O1 -MD"
SLACK: Final = "-O0 -MD"
DEBUG: Final = "-O1 -g -MD"
_DEBUG: Final = (".debug", ".rela.debug", ".rel.debug")
_LUA_SOME: Final = ["lapi.o", "lauxlib.o", "lua.o"]
_RE2_SOME: Final = ["obj/re2/stringpiece.o", "obj/util/strutil.o"]

Files = dict[str, bytes]


@dataclass
class Project:
    """A source tree, how it is built, and what a local build of it left, by the compiler options."""

    name: str
    folder: Path
    command: list[str]
    """Its words may hold ``{launcher}`` and ``{flags}``."""
    goals: dict[str, list[str]]
    """What is made, by the compiler options."""
    local: dict[str, Files] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    """The files that it had before it was built."""

    def build(self, launcher: str, flags: str, env: dict[str, str]) -> Files:
        """Build it and take away what that left."""
        words = [word.format(launcher=launcher, flags=flags) for word in self.command]
        done = subprocess.run(
            [*words, *self.goals[flags]], cwd=self.folder, env={**os.environ, **env},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        files = {path: (self.folder / path).read_bytes() for path in sorted(self._present() - self.own)}
        for path in files:
            (self.folder / path).unlink()
        assert done.returncode == 0, done.stdout + done.stderr
        return files

    def wanted(self, flags: str) -> Files:
        """What a local build leaves."""
        if flags not in self.local:
            self.local[flags] = self.build("", flags, {})
        return self.local[flags]

    def adopt(self) -> Project:
        """Note what is there before the first build."""
        self.own = frozenset(self._present())
        return self

    def _present(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class Cell:
    """Who talks to whom, and how."""

    client: str
    server: str
    version: int

    @property
    def spoken(self) -> str:
        """How a connection begins."""
        if self.client == STOCK:
            return f"DIST{self.version}"
        # Our client preprocesses for Debian's daemon, also where pump mode is offered.
        return "native" if self.server == OURS else f"DIST{min(self.version, 2)}"

    @property
    def reasons(self) -> set[str]:
        """How our client's jobs must end."""
        return {"remote", "cached"} if self.server == OURS else {"stock", "stock-columns", "stock-messages"}

    @property
    def same(self) -> dict[str, bool]:
        """Whether objects are the same to the byte, by the compiler options."""
        if self.spoken == "native":
            return {PLAIN: True, SLACK: True, DEBUG: True}
        if self.version == 3 and self.client == STOCK:
            return {PLAIN: True, SLACK: True, DEBUG: self.server == OURS}
        return {PLAIN: True, SLACK: self.client == OURS, DEBUG: False}


@dataclass
class Peers:
    """The servers, our client, and the projects."""

    folder: Path
    ports: dict[str, int]
    ours: Cluster
    projects: list[Project]

    def environment(self, cell: Cell, port: int) -> dict[str, str]:
        """What tells a client where to go, and in which version."""
        host = f"127.0.0.1:{port}/{JOBS}{OPTIONS[cell.version]}"
        if cell.client == OURS:
            return {**self.ours.env, "MANYCC_HOSTS": host}
        state = self.folder / "stock"
        state.mkdir(exist_ok=True)
        # Without fallback, a job that the server did not do fails the build.
        return {"DISTCC_HOSTS": host, "DISTCC_DIR": str(state), "DISTCC_FALLBACK": "0", "DISTCC_PAUSE_TIME_MSEC": "50"}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Start everything once."""
    need(DISTCC, DISTCCD, PYTHON_HEADER, "/usr/share/unicode/Scripts.txt", "perl")
    folder = tmp_path_factory.mktemp("m")
    stock = StockDaemon(folder)
    try:
        stock.start()
        with Cluster(str(folder / "c"), nodes=1, jobs=JOBS) as cluster:
            yield Peers(folder, {STOCK: stock.port, OURS: cluster.nodes[0].port}, cluster, projects(folder))
    finally:
        stock.stop()


def projects(folder: Path) -> list[Project]:
    """Unpack both."""
    lua = Project(
        "lua",
        Path(sources.unpack("lua5.4", str(folder / "lua"))),
        ["make", f"-j{JOBS}", "-C", "src", "CC={launcher} gcc -std=gnu99", "MYCFLAGS={flags}"],
        {PLAIN: ["linux"], SLACK: ["linux"] if LONG else _LUA_SOME, DEBUG: ["linux"] if LONG else _LUA_SOME},
    )
    re2 = Project(
        "re2",
        Path(sources.unpack("re2", str(folder / "re2"))),
        ["make", f"-j{JOBS}", "REBUILD_TABLES=1", "CXX={launcher} g++", "CXXFLAGS={flags}"],
        {PLAIN: ["obj/libre2.a"] if LONG else _RE2_SOME, DEBUG: ["obj/libre2.a"] if LONG else _RE2_SOME[:1]},
    )
    for command in TREES["re2"].configure:
        subprocess.run(command, cwd=re2.folder, check=True)
    return [lua.adopt(), re2.adopt()]


def but_for_debug(data: bytes) -> dict[str, bytes]:
    """What an object's sections say, those for debuggers left out."""
    return {
        section.name: section.data()
        for section in ELFFile(io.BytesIO(data)).iter_sections()
        if not section.name.startswith((*_DEBUG, ".strtab", ".shstrtab", ".symtab"))
    }


def compare(wanted: Files, got: Files, cell: Cell, flags: str) -> int:
    """Everything that must be the same is; how many objects are not."""
    names = set(wanted)
    if cell.client == STOCK and cell.version < 3:  # it finds no dependency file where one was asked for
        names = {path for path in names if not path.endswith(".d")}
    else:
        assert got.keys() == names
    different = {path for path in names if got.get(path) != wanted[path]}
    if STOCK in (cell.client, cell.server):
        different -= {path for path in different if path.endswith(".d") and words(got[path]) == words(wanted[path])}
    objects = {path for path in different if path.endswith(".o")}
    if not cell.same[flags]:
        assert objects, "this cell is better than its table says"
        different = {path for path in different if path.endswith(".d")}  # the rest is made of objects
    if flags == DEBUG:
        assert not [path for path in sorted(objects) if but_for_debug(got[path]) != but_for_debug(wanted[path])]
    assert not different
    return len(objects)


def words(dependencies: bytes) -> list[bytes]:
    """A dependency file's words, wherever its lines are broken."""
    return dependencies.replace(b"\\\n", b" ").split()


@contextmanager
def pump_mode(folder: Path, cell: Cell) -> Iterator[dict[str, str]]:
    """What Debian's client needs for version 3: it takes an include server's word that sources have not changed."""
    if cell.client != STOCK or cell.version < 3:
        yield {}
        return
    with pump(folder / "pump") as found:
        yield found


@pytest.mark.timeout(3600 if LONG else 600)
@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("server", [STOCK, OURS])
@pytest.mark.parametrize("client", [STOCK, OURS])
def test_cell(peers: Peers, client: str, server: str, version: int) -> None:
    cell = Cell(client, server, version)
    compiles = 0
    before = len(peers.ours.records())
    tap = Tap(peers.ports[server])
    try:
        env = peers.environment(cell, tap.port)
        for project in peers.projects:
            for flags in project.goals:
                wanted = project.wanted(flags)
                with pump_mode(peers.folder, cell) as pumped:
                    got = project.build(DISTCC if client == STOCK else peers.ours.launcher, flags, {**env, **pumped})
                different = compare(wanted, got, cell, flags)
                objects = sum(path.endswith(".o") for path in wanted)
                print(f"{client}-{server}-{version}: {project.name} {flags}: {different} of {objects} objects differ")
                compiles += objects
    finally:
        tap.close()
    heard = Counter(tap.spoken)
    if client == STOCK:
        assert heard == {cell.spoken: compiles}
        return
    assert heard[cell.spoken] > 0
    done = [record for record in peers.ours.records()[before:] if record["reason"] != "not-compile"]  # links
    assert {record["reason"] for record in done} <= cell.reasons
    assert len(done) == compiles
