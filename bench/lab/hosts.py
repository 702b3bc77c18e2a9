"""The lab's hosts: each with CPU and memory of its own, its own folders, and its place in the network."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, NamedTuple

from .groups import Cpu, Group
from .names import LabError
from .network import Line, Network
from .spaces import private_folders
from .vitals import Vitals
from .workloads import EPOCH, FOLDER

REPOSITORY: Final = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLIENT: Final = "client"
STATE: Final = "/tmp/state"
"""Where servers and clients keep what they must, on each host."""
_OWN: Final = ("/tmp", "/run", "/var/tmp")
"""Folders that each host has of its own. The last one hides where they are kept."""
_ENV: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp/home",
    "LANG": "C.UTF-8",
    "SOURCE_DATE_EPOCH": EPOCH,
}
_START_S: Final = 60.0
_POLL_S: Final = 0.05
_QUIET_S: Final = 0.2
_TRAILING_S: Final = 5.0
_SAMPLE_S: Final = 0.02
GIB: Final = 1 << 30


class TimeUp(Exception):
    """A build took longer than it was given."""


class BuildFailed(Exception):
    """A command on a host failed; the text says which, and how."""


@dataclass(frozen=True)
class Power:
    """What a host has: cores (none: all), bytes of memory."""

    cores: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Setup:
    """A client, its helpers, and how many jobs at once these and ``make`` are told of."""

    client: Power
    helpers: tuple[Power, ...]
    slots: int = 4
    """Of each helper."""
    own_slots: int = 0
    """Compiles that the client's own user lets it take while helpers are used."""
    jobs: int = 8
    """``make -j`` with helpers."""
    local_jobs: int = 2
    """``make -j`` without."""

    @property
    def helper_names(self) -> list[str]:
        """What the helpers are called."""
        return [f"helper{number + 1}" for number in range(len(self.helpers))]

    @property
    def powers(self) -> dict[str, Power]:
        """What each host has, by its name."""
        return {CLIENT: self.client, **dict(zip(self.helper_names, self.helpers, strict=True))}


@dataclass
class Used:
    """What a command cost. Seconds, bytes."""

    wall: float
    client: Cpu
    helpers: Cpu
    sent: int
    received: int
    peak_memory: int
    killed: int
    """Processes of the client's that the kernel killed for want of memory."""
    output: str = field(repr=False)


class Server(NamedTuple):
    """A server that was started. It ends with the lab."""

    what: str
    process: subprocess.Popen[bytes]
    log: str


class Lab:
    """Hosts that are there from ``with`` to its end. ``folder`` holds their files, and must be empty."""

    def __init__(self, folder: str, setup: Setup, line: Line) -> None:
        self.folder = folder
        self.setup = setup
        self.line = line
        self._groups: dict[str, Group] = {}
        self._stack = contextlib.ExitStack()
        self._network: Network
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Lab:
        powers = self.setup.powers
        mounts = {}
        for name in powers:
            mounts[name] = private_folders(os.path.join(self.folder, name), _OWN, {REPOSITORY: REPOSITORY})
            for inside in (_ENV["HOME"], FOLDER, STATE):
                os.makedirs(self.path(name, inside))
            os.chmod(self.path(name, STATE), 0o1777)
        with contextlib.ExitStack() as stack:
            self._network = stack.enter_context(Network(powers, self.line, mounts))
            for name, power in powers.items():
                group = Group(name, power.cores, power.memory)
                self._groups[name] = stack.enter_context(contextlib.closing(group))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        for process in self._started:
            process.wait()

    def address(self, name: str) -> str:
        """A host's address."""
        return self._network.address(name)

    def path(self, name: str, inside: str) -> str:
        """Where a path in a host's own /tmp, /var/tmp or /run is kept."""
        first, _, rest = inside.removeprefix("/var").strip("/").partition("/")
        top = "var-tmp" if inside.startswith("/var/") else first
        return os.path.join(self.folder, name, top, rest)

    def start(self, name: str, words: Sequence[str], env: Mapping[str, str] | None = None) -> Server:
        """Start a server on a host."""
        log = os.path.join(self.folder, f"{name}-{os.path.basename(words[0])}.log")
        with open(log, "ab") as output:
            process = subprocess.Popen(
                self._words(name, "/tmp", {**_ENV, **(env or {})}, words),
                cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self._started.append(process)
        return Server(f"{words[0]} on {name}", process, log)

    @staticmethod
    def wait(server: Server, ready: Callable[[], object]) -> None:
        """Wait until a server is ready. Raises LabError."""
        end = time.monotonic() + _START_S
        while server.process.poll() is None and time.monotonic() < end:
            if ready():
                return
            time.sleep(_POLL_S)
        raise LabError(f"{server.what} did not start: {_end_of(server.log)}")

    def vitals(self, name: str) -> Vitals:
        """A host's own processor statistics (see there), as long as the lab."""
        cores = self.setup.powers[name].cores or float(os.cpu_count() or 1)
        vitals = Vitals(self._groups[name], cores, self.path(name, f"{STATE}/vitals"), f"{STATE}/vitals")
        return self._stack.enter_context(contextlib.closing(vitals))

    def answers(self, name: str, port: int) -> bool:
        """Whether something listens on a host's port. It is not counted to the host that this is asked there."""
        probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
        words = [sys.executable, "-I", "-S", "-c", probe, self.address(name), str(port)]
        command = self._network.command(name, words)
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def said(self, name: str, log: str, text: str) -> int:
        """How often a log on a host has some text."""
        try:
            with open(self.path(name, log), encoding="utf-8", errors="replace") as file:
                return file.read().count(text)
        except FileNotFoundError:
            return 0

    def run(
        self, words: Sequence[str], env: Mapping[str, str] | None = None, cwd: str = FOLDER, limit: float = 600.0
    ) -> Used:
        """Run a command on the client and say what it cost everyone, what its servers do afterwards included.

        Raises TimeUp and BuildFailed; whatever is still running then ends with the lab.
        """
        log = os.path.join(self.folder, "output.log")
        client = self._groups[CLIENT]
        before, others, counters, killed = (
            client.cpu(),
            self._helpers(),
            self._network.counters(CLIENT),
            client.killed(),
        )
        watch = _Memory(client)
        begun = time.monotonic()
        with open(log, "wb") as output, watch:
            process = subprocess.Popen(
                self._words(CLIENT, cwd, {**_ENV, **(env or {})}, words), cwd="/",
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            self._started.append(process)
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired as error:
                raise TimeUp(f"not done after {limit:g} s") from error
            wall = time.monotonic() - begun
            self._settle()
        if code:
            raise BuildFailed(f"{' '.join(words)}: exit code {code}: {_end_of(log)}")
        with open(log, encoding="utf-8", errors="replace") as text:
            said = text.read()
        sent, received = (
            now - then for now, then in zip(self._network.counters(CLIENT), counters, strict=True)
        )  # fmt: skip
        return Used(
            wall, client.cpu().since(before), self._helpers().since(others), sent, received, watch.peak,
            client.killed() - killed, said,
        )  # fmt: skip

    def _helpers(self) -> Cpu:
        used = Cpu(0, 0)
        for name in self.setup.helper_names:
            used = used.plus(self._groups[name].cpu())
        return used

    def _settle(self) -> None:
        """Wait until no host does anything: what is put off until after a build belongs to it."""
        end = time.monotonic() + _TRAILING_S
        last = -1.0
        while time.monotonic() < end:
            now = sum(group.cpu().total for group in self._groups.values())
            if now - last < 0.01 * _QUIET_S:
                return
            last = now
            time.sleep(_QUIET_S)

    def _words(self, name: str, cwd: str, env: Mapping[str, str], words: Sequence[str]) -> list[str]:
        there = ["env", "-i", f"--chdir={cwd}", *(f"{key}={value}" for key, value in env.items()), *words]
        return self._groups[name].command(self._network.command(name, there))


class _Memory:
    """The most memory a group holds while this is watching."""

    def __init__(self, group: Group) -> None:
        self.peak = 0
        self._group = group
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_S):
            self.peak = max(self.peak, self._group.memory())


def _end_of(log: str) -> str:
    with open(log, encoding="utf-8", errors="replace") as file:
        return " / ".join(line.strip() for line in file.read().splitlines()[-6:])[-600:]
