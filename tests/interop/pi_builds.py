"""Builds on this machine and on emulated Pis, each helping the other: nodes, builds without and with manycc.

``Here`` has the calls of ``pis.Pi``, so that every build can be done on either side.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pis import Pi
from tools import NODES_DID_IT, PROJECT, products

from manycc.monitor import records
from manycc.testing.cluster import BIN

LIMIT_S: Final = 1800.0
STATE: Final = "/tmp/manycc-client"
SMALL: Final = {
    **PROJECT,
    "Makefile": "SRC = lib/area.c lib/name.c lib/alone.c app/count.cc app/main.cc\n"
    "OBJ = $(addsuffix .o,$(SRC))\nall: $(OBJ)\n"
    "%.c.o: %.c\n\t$(CC) $(FLAGS) -Iinc -c $< -o $@\n%.cc.o: %.cc\n\t$(CXX) $(FLAGS) -Iinc -c $< -o $@\n",
}
"""A few sources, and how to make objects of them with ``CC``, ``CXX`` and ``FLAGS``."""


class Here:
    """This machine, below a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = str(folder / "client")

    def path(self, path: str) -> Path:
        """A file."""
        return Path(path)

    def run(
        self,
        argv: Sequence[str],
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        check: bool = True,
        limit_s: float = LIMIT_S,
        user: str = "root",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program, which must succeed unless ``check`` is false."""
        assert user == "root"
        path = f"{BIN}:{os.environ['PATH']}"
        done = subprocess.run(
            argv, cwd=cwd, env={"PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="surrogateescape", timeout=limit_s,
            check=False,
        )  # fmt: skip
        if check:
            said = done.stdout[-3000:] + done.stderr[-3000:]
            assert done.returncode == 0, f"{shlex.join(argv)}: {done.returncode}\n{said}"
        return done


@dataclass
class Built:
    """A build that ran to its end: the digests of what it made by path, and the records of its jobs."""

    made: dict[str, str]
    wall_s: float
    records: list[dict[str, Any]] = field(default_factory=list)

    @property
    def remote(self) -> list[dict[str, Any]]:
        """The jobs that a node did."""
        return [record for record in self.records if record["reason"] in NODES_DID_IT]

    @property
    def compiles(self) -> list[dict[str, Any]]:
        """The jobs that are compiles."""
        return [record for record in self.records if record["reason"] != "not-compile"]

    @property
    def ways(self) -> set[str]:
        """How the nodes that did jobs came to serve the compiler."""
        return {record.get("way", "") for record in self.remote}


class Client:
    """A machine that builds with manycc. ``hosts`` as in MANYCC_HOSTS."""

    def __init__(self, machine: Pi | Here, hosts: str, user: str = "root", state: str = "") -> None:
        self.machine = machine
        self.user = user
        self.state = state or (machine.state if isinstance(machine, Here) else STATE)
        self.env = {"MANYCC_DIR": self.state, "MANYCC_HOSTS": hosts}
        self._seen = 0

    def cli(self, *arguments: str, check: bool = True) -> str:
        """What a verb of manycc says on stdout."""
        return self.machine.run(["manycc", *arguments], "/", self.env, check=check, user=self.user).stdout

    def agent(self) -> dict[str, Any]:
        """What ``manycc status`` tells of the agent."""
        status: dict[str, Any] = json.loads(self.cli("status", "--json"))
        return status

    def build(self, command: Sequence[str], cwd: str, env: Mapping[str, str] | None = None) -> Built:
        """Run a build in a folder, with manycc where the command says so, and wait for the last of its jobs."""
        began = time.monotonic()
        self.machine.run(command, cwd, {**self.env, **(env or {})}, user=self.user, limit_s=LIMIT_S)
        wall_s = time.monotonic() - began
        return Built(products(self.machine.path(cwd)), wall_s, self.news())

    def news(self) -> list[dict[str, Any]]:
        """The records of the jobs since the last call, once these are over."""
        end = time.monotonic() + LIMIT_S
        while (self.agent().get("jobs") or {}).get("running"):
            assert time.monotonic() < end, "a job does not end"
        found = list(records.read(str(self.machine.path(f"{self.state}/state/jobs.jsonl"))))
        new, self._seen = found[self._seen :], len(found)
        return new

    def close(self) -> None:
        """End the agent."""
        self.cli("agent", "stop", check=False)


def lay_out(machine: Pi | Here, folder: str, files: Mapping[str, str]) -> None:
    """Write a tree of files on a machine, where there is none."""
    for name, text in files.items():
        path = machine.path(f"{folder}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def both(client: Client, folder: str, make: Sequence[str], cxx: str = "g++", cc: str = "gcc") -> tuple[Built, Built]:
    """Build a tree by its Makefile with the machine's own compilers, then the same anew with manycc.

    ``make`` is the command but for CC and CXX. The objects of the first are removed in between.
    """
    alone = client.build([*make, f"CC={cc}", f"CXX={cxx}"], folder)
    assert not alone.records
    return alone, anew(client, folder, make, cxx, cc)


def anew(client: Client, folder: str, make: Sequence[str], cxx: str = "g++", cc: str = "gcc") -> Built:
    """Build a tree with manycc of which nothing but the sources is left."""
    for name in products(client.machine.path(folder)):
        client.machine.path(f"{folder}/{name}").unlink()
    return client.build([*make, f"CC=manycc {cc}", f"CXX=manycc {cxx}"], folder)


@contextmanager
def node_on(pi: Pi, name: str = "node", jobs: int = 2, arguments: Sequence[str] = ()) -> Iterator[str]:
    """A node on a Pi: its entry in MANYCC_HOSTS. Its log is ``/tmp/NAME.log``, its state below ``/tmp/NAME``."""
    read, write = os.pipe()
    process = pi.start(
        ["manycc-cli", "node", "--no-config", "--listen", "127.0.0.1", "--port", "0", "--jobs", str(jobs),
         "--ready-fd", str(write), "--log-file", f"/tmp/{name}.log", *arguments],
        {"MANYCC_DIR": f"/tmp/{name}"}, pass_fds=(write,),
    )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            port = pipe.readline().strip()
        assert port, pi.path(f"/tmp/{name}.log").read_text()
        yield f"127.0.0.1:{port}/{jobs}"
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the node: nsenter, which was started, waits for it but hands no signal on."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGTERM)
    process.wait(LIMIT_S)


def used(pi: Pi, pid_inside: int) -> tuple[float, float]:
    """Memory in MB and processor seconds of a process of a Pi, qemu included."""
    status = pi.path(f"/proc/{pid_inside}/status").read_text()
    (memory,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    fields = pi.path(f"/proc/{pid_inside}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return int(memory) / 1000, ticks / os.sysconf("SC_CLK_TCK")


def cross_archive(pi: Pi, folder: Path, triple: str = "x86_64-linux-gnu", cxx: bool = True) -> Path:
    """Debian's cross compiler of a Pi as an archive, as crosstool-NG and Arch Linux ARM lay theirs out.

    What only linking needs is left out, and without ``cxx`` the C++ compiler: emulated unpacking is slow.
    """
    tree, usr, gcc = folder / "x-tools" / triple, pi.path("/usr"), f"lib/gcc-cross/{triple}"
    unwanted = ["*.a", "*.so*", "*.o", "lto*", "*-lto-*", "*gcov*", "*gold", "*-dwp"]
    unwanted += [] if cxx else ["cc1plus", "*++*"]
    linked = {"symlinks": True, "ignore": shutil.ignore_patterns(*unwanted)}
    shutil.copytree(usr / gcc, tree / gcc, **linked)
    shutil.copytree(usr / triple / "bin", tree / triple / "bin", **linked)
    (tree / "bin").mkdir()
    for program in (usr / "bin").glob(f"{triple}-*"):
        if not any(program.match(pattern) for pattern in unwanted):
            shutil.copy2(program, tree / "bin", follow_symlinks=False)
    for library in (usr / "lib/aarch64-linux-gnu").glob("lib*-x86-64.so*"):
        shutil.copy2(library, tree / "lib", follow_symlinks=False)
    archive = folder / "x-tools.tar.xz"
    command = ["tar", "cJf", str(archive), "-C", str(folder), "x-tools"]
    subprocess.run(command, env={**os.environ, "XZ_OPT": "-T0 -0"}, check=True)
    return archive


def without_cross(pi: Pi, triple: str = "x86_64-linux-gnu") -> None:
    """Take the cross compiler away from a Pi."""
    for program in pi.path("/usr/bin").glob(f"{triple}-*"):
        program.unlink()
    shutil.rmtree(pi.path(f"/usr/lib/gcc-cross/{triple}"))
