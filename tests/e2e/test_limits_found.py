"""Builds made to have each limit, and what ``manycc stats --last`` says of them."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_client import group, line

from manycc.testing.cluster import BIN, Cluster, Node
from manycc.testing.requirements import need

COMPILE = "g++ -O0 -fconstexpr-loop-limit=100000000 -fconstexpr-ops-limit=1000000000 -c"
SLOTS = 6
_WORDS = "".join(f"#define A{n} A{n - 1} A{n - 1}\n" for n in range(1, 19))
TEXT = f"#define A0 a a\n{_WORDS}#define S(x) #x\n#define T(x) S(x)\nunsigned long n = sizeof T(A18);\n"
"""Takes a compiler 150 MiB: a text of half a million words is made of it."""


class Client:
    """A user's machine: its own agent, its place in a group or a network."""

    def __init__(self, folder: Path, cluster: Cluster, front: list[str]) -> None:
        self.folder = folder
        self.env = cluster.env | {"MANYCC_DIR": str(folder / "home"), "MANYCC_IDLE": "3600"}
        self._front = front
        folder.mkdir()
        self.warm_up(cluster.nodes[0])

    def warm_up(self, node: Node) -> None:
        """Use this node from now on, and have it know the compiler."""
        self.port = node.port
        self.write(f"warm{node.port}.cc", f"int warm = {node.port};\n")
        self.run({"all": f"warm{node.port}.o"}, SLOTS)

    def write(self, name: str, text: str) -> None:
        """A source, or whatever."""
        (self.folder / name).write_text(text)

    def source(self, name: str, loops: int, more: str = "") -> None:
        """A source that takes a compiler a second for about every 700000 loops, and little memory without more."""
        said = f"constexpr int loop() {{ int s = 0; for (int i = 0; i < {loops}; ++i) s ^= i; return s; }}\n"
        self.write(f"{name}.cc", f"{said}static_assert(loop() >= 0);\nint {name};\n{more}")

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a manycc verb here."""
        return subprocess.run(
            [*self._front, f"{BIN}/manycc-cli", *words], cwd=self.folder, env=self.env,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def run(self, rules: dict[str, str], slots: int, jobs: int = 8) -> str:
        """Build by a Makefile of targets and what they need, a recipe after a semicolon. What manycc said."""
        lines = [f"{target}: {needed}" for target, needed in rules.items()]
        self.write("Makefile", "\n".join([*lines, "%.o: %.cc", f"\t{COMPILE} $< -o $@", ""]))
        self.env["MANYCC_HOSTS"] = f"127.0.0.1:{self.port}/{slots}"
        done = self.cli("run", "--", "make", f"-j{jobs}")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def limit(self, said: str) -> dict[str, Any]:
        """What limited the last run: both verbs must say the same."""
        answer: dict[str, Any] = json.loads(self.cli("stats", "--last", "--json").stdout)["limit"]
        assert f"  {answer['sentence']}\n" in said
        assert answer["sentence"] in self.cli("stats", "--last").stdout
        return answer


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("g++", "make", "bwrap")
    with Cluster(str(tmp_path_factory.mktemp("limits") / "c"), nodes=1, jobs=SLOTS) as made:
        yield made


def client_in(folder: Path, cluster: Cluster, front: list[str]) -> Iterator[Client]:
    client = Client(folder, cluster, front)
    try:
        yield client
    finally:
        client.cli("agent", "stop")


@pytest.fixture(scope="module")
def spacious(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Client]:
    """One whose processors are never all busy: nodes do not run in its group."""
    with group("roomy", processors=os.cpu_count() or 1) as front:
        yield from client_in(tmp_path_factory.mktemp("r") / "roomy", cluster, front)


@pytest.fixture
def roomy(spacious: Client, cluster: Cluster) -> Client:
    """The same, whatever node another test had it use."""
    spacious.port = cluster.nodes[0].port
    return spacious


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Client]:
    """One with a part of a processor."""
    with group("tight", processors=0.4) as front:
        yield from client_in(tmp_path_factory.mktemp("t") / "tight", cluster, front)


def named(kind: str, count: int) -> tuple[list[str], str]:
    """Names of sources, and the objects made of them."""
    names = [f"{kind}{number}" for number in range(count)]
    return names, " ".join(f"{name}.o" for name in names)


def test_slots(roomy: Client) -> None:
    names, objects = named("slots", 8)
    for name in names:
        roomy.source(name, 250_000)
    found = roomy.limit(roomy.run({"all": objects}, slots=2))
    assert found["limit"] == "slots", found
    assert "all 2 were busy and " in found["sentence"]
    assert found["average"]["waiting"] > 1
    assert 0 < found["saving_s"] < found["wall_s"]


def test_parallelism(roomy: Client) -> None:
    names, objects = named("parallel", 5)
    for name in names:
        roomy.source(name, 250_000)
    found = roomy.limit(roomy.run({"all": objects}, SLOTS, jobs=1))
    assert found["limit"] == "parallelism", found
    assert f"-j1 kept 1 job under way while the hosts have {SLOTS} slots; -j{SLOTS} would save" in found["sentence"]


def test_one_long_file(roomy: Client) -> None:
    names, objects = named("short", 4)
    for name in names:
        roomy.source(name, 10_000)
    roomy.source("longest", 1_200_000)
    found = roomy.limit(roomy.run({"all": f"{objects} longest.o"}, SLOTS))
    assert found["limit"] == "long-file", found
    assert "longest.cc took " in found["sentence"]


def test_links(roomy: Client) -> None:
    roomy.source("linked", 1000)
    linker = roomy.folder / "slow"
    linker.mkdir()
    (linker / "ld").write_text('#!/bin/sh\nsleep 2\nexec /usr/bin/ld "$@"\n')
    (linker / "ld").chmod(0o755)
    rules = {"all": "prog.so", "prog.so": f"linked.o; g++ -shared -B {linker} linked.o -o prog.so"}
    found = roomy.limit(roomy.run(rules, SLOTS))
    assert found["limit"] == "links", found
    assert "1 link in all, the longest, prog.so, took 2." in found["sentence"]


def test_this_machines_cpu(tight: Client) -> None:
    names, objects = named("here", 4)
    for name in names:
        tight.source(name, 150_000)
        tight.write(f"{name}-too.cc", "int too;\n")  # several sources in one command are not sent
    rules = {f"{name}.o": f"; {COMPILE} {name}.cc {name}-too.cc" for name in names}
    found = tight.limit(tight.run({"all": objects} | rules, SLOTS))
    assert found["limit"] == "client-cpu", found
    assert "its 0.4 processors were " in found["sentence"]
    assert found["average"]["local"] > 0.5


def test_work_outside_of_manycc(tight: Client) -> None:
    tight.source("outside", 1000)
    tight.write("burn.py", "import time\nwhile time.process_time() < 0.8:\n    pass\n")
    found = tight.limit(tight.run({"all": "outside.o; python3 burn.py"}, SLOTS))
    assert found["limit"] == "other-work", found
    assert "not called through manycc" in found["sentence"]


def test_memory(roomy: Client, tmp_path: Path) -> None:
    """A node with six slots, and memory for one job at a time, as is known from the build before."""
    names, objects = named("memory", 5)
    for name in names:
        roomy.source(name, 1000, TEXT)
    roomy.run({"all": objects}, SLOTS)
    with group("memory", megabytes=600) as front:
        node = Node(str(tmp_path / "small"), SLOTS)
        node.program[:0] = front
        node.start()
        try:
            roomy.warm_up(node)
            for name in names:
                roomy.source(name, 120_000, TEXT)
            roomy.run({"clean": "; rm -f *.o"}, SLOTS)
            found = roomy.limit(roomy.run({"all": objects}, SLOTS))
        finally:
            node.stop()
    assert found["limit"] == "memory", found
    assert f"127.0.0.1:{node.port}" in found["sentence"]


@pytest.fixture
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One with a line of 8 Mbit/s to its node."""
    need("g++", "make", "bwrap")
    folder = tmp_path_factory.mktemp("far")
    with line(8) as front:
        cluster = Cluster(str(folder / "c"), nodes=1, jobs=SLOTS)
        cluster.nodes[0].program[:0] = front
        with cluster, group("far", processors=os.cpu_count() or 1) as inside:
            yield from client_in(folder / "far", cluster, [*inside, *front])


def test_uplink(far: Client) -> None:
    names, objects = named("sent", 4)
    for name in names:
        noise = base64.b64encode(random.Random(name).randbytes(400_000)).decode()
        far.write(f"{name}.cc", f"/* {noise} */\nint {name};\n")
    found = far.limit(far.run({"all": objects}, SLOTS))
    assert found["limit"] == "uplink", found
    assert 3e6 < 8 * found["average"]["up_bytes_s"] < 9e6
