"""A real BuildGrid on loopback, with a PostgreSQL of its own, for tests and measurements.

BuildGrid takes Python 3.13 and is no dependency of manycc: it lives in an environment of its own, made once below
the user's cache folder. PostgreSQL refuses to run as root, so it runs as whoever Debian's package made for that.
Both die with the process that started them.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from manycc.engine.buildgridconfig import VERSION, ServerConfig
from manycc.engine.setup import CONSTRAINTS, constraints
from manycc.testing.cluster import Node
from manycc.testing.requirements import lacking, need

START_S: Final = 60.0
INSTALL_S: Final = 600.0
INSTANCE: Final = "main"
_PYTHON: Final = "python3.13"


def environment() -> str:
    """The ``bin`` folder of BuildGrid's own environment, made if it is not there. Skips loudly without Python 3.13."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    home = os.path.join(cache, "manycc-tests")
    made = os.path.join(home, f"buildgrid-{VERSION}")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "buildgrid.lock"), "w") as lock:  # tests may run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(os.path.join(made, "complete")):
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run([_python(), "-m", "venv", made], check=True, timeout=INSTALL_S)
            pip = [os.path.join(made, "bin", "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            pinned = os.path.join(made, CONSTRAINTS)
            with open(pinned, "w", encoding="utf-8") as file:
                file.write(constraints())
            subprocess.run([*pip, "-c", pinned, f"buildgrid=={VERSION}"], check=True, timeout=INSTALL_S)
            with open(os.path.join(made, "complete"), "w"):
                pass
    return os.path.join(made, "bin")


def _python() -> str:
    """A Python 3.13 that runs: some installers put programs into PATH that only say what is not installed."""
    installed = sorted(glob.glob(os.path.expanduser(f"~/.pyenv/versions/3.13*/bin/{_PYTHON}")))
    for candidate in (_PYTHON, *installed):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            line = [candidate, "-c", "import sys; print(sys.executable)"]
            return subprocess.run(line, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    return lacking(f"{_PYTHON} not installed, and BuildGrid takes it")


def postgres_tool(name: str) -> str:
    """One of PostgreSQL's programs, which Debian keeps out of PATH."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    if not found:
        need(name)
    return found[-1] if found else name


def ancestors(pid: int) -> list[int]:
    """The processes that a process descends from, itself included."""
    found = []
    while pid > 1:
        found.append(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="surrogateescape") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Program:
    """A program that dies with this process; to be started by its main thread, for it dies with the thread."""

    def __init__(self, line: Sequence[str], log: str, user: str = "") -> None:
        as_user = ["--reuid", user, "--regid", user, "--init-groups"] if user else []
        with open(log, "ab") as out:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *as_user, "--", *line],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", start_new_session=True,
            )  # fmt: skip
        self._log = log

    def wait_listening(self, port: int, address: str = "127.0.0.1") -> None:
        """Raises RuntimeError if it ends before, or takes too long."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((address, port), 1.0):
                return
            time.sleep(0.02)
        with open(self._log, encoding="utf-8", errors="replace") as file:
            raise RuntimeError(f"{self.process.args!r} does not listen:\n{file.read()[-2000:]}")

    def end(self, signal_number: int) -> None:
        """Send a signal and wait for the end; after ``START_S`` it is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
            try:
                self.process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


class Database:
    """A PostgreSQL in a folder of its own, with BuildGrid's tables."""

    def __init__(self, folder: str, bgd: str) -> None:
        self.port = free_port()
        self.url = f"postgresql://bgd@127.0.0.1:{self.port}/bgd"
        self._user = "postgres" if os.geteuid() == 0 else ""
        self._data = os.path.join(folder, "pg")
        self._log = os.path.join(folder, "postgres.log")
        self._bgd = bgd
        self._process: Program | None = None
        os.mkdir(self._data, 0o700)
        if self._user:
            try:
                owner = pwd.getpwnam(self._user)
            except KeyError:
                lacking("no user postgres: install Debian's package postgresql")
            os.chown(self._data, owner.pw_uid, owner.pw_gid)

    def start(self) -> None:
        """Make it and start it. Raises RuntimeError, CalledProcessError."""
        self._run([postgres_tool("initdb"), "-D", self._data, "-U", "bgd", "--auth=trust", "--no-sync", "-E", "UTF8",
                   "--locale=C"])  # fmt: skip
        self.resume()
        self._run([postgres_tool("createdb"), *self._here(), "bgd"], user="")
        self._run([self._bgd, "migrate", "apply", self.url], user="")

    def resume(self) -> None:
        """Start it (again, on the same port) and wait until it answers. Raises RuntimeError."""
        settings = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "full_page_writes": "off", "max_connections": "200",
        }  # fmt: skip
        line = [postgres_tool("postgres"), "-D", self._data, "-p", str(self.port)]
        for name, value in settings.items():
            line += ["-c", f"{name}={value}"]
        self._process = Program(line, self._log, self._user)
        self._process.wait_listening(self.port)
        ask = [postgres_tool("psql"), *self._here(), "-c", "select 1", "postgres"]
        end = time.monotonic() + START_S
        while True:  # it listens before it is ready
            done = subprocess.run(ask, capture_output=True, text=True, check=False, timeout=START_S)
            if done.returncode == 0:
                return
            if "the database system is" not in done.stderr or time.monotonic() > end:
                raise RuntimeError(done.stderr)
            time.sleep(0.05)

    def _here(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", "bgd"]

    @property
    def pid(self) -> int:
        """The postmaster's process number; 0 if it does not run."""
        return self._process.process.pid if self._process is not None else 0

    def stop(self) -> None:
        """End it, without the clean shutdown that nobody needs."""
        if self._process is not None:
            self._process.end(3)  # SIGQUIT: at once, with all its processes
            self._process = None

    def _run(self, line: list[str], user: str | None = None) -> None:
        user = self._user if user is None else user
        if user:
            line = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--", *line]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=START_S, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{line}: {done.stdout}{done.stderr}"[-4000:])


class BuildGrid:
    """A server; several may share a database and a storage (``another``).

    ``keepalive``: seconds without a word after which a worker counts as lost.
    """

    def __init__(self, keepalive: int = 60, threads: int = 60) -> None:
        need("setpriv")
        postgres_tool("initdb")
        self._bin = environment()
        self.folder = tempfile.mkdtemp(prefix="manycc-bgd-")
        os.chmod(self.folder, 0o711)  # noqa: S103 - PostgreSQL's user must come through
        self.keepalive = keepalive
        self.port = free_port()
        self._threads = threads
        self._more: list[BuildGrid] = []
        self.database = Database(self.folder, os.path.join(self._bin, "bgd"))
        self._owner = True
        self._process: Program | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """For ``--join``, and for MANYCC_HOSTS."""
        return f"reapi://{self.address}/{INSTANCE}"

    @property
    def log(self) -> str:
        """The server's log file."""
        return os.path.join(self.folder, f"bgd-{self.port}.log")

    @property
    def storage(self) -> str:
        """The folder of its contents."""
        return os.path.join(self.folder, "cas")

    @property
    def pid(self) -> int:
        """The server's process number; 0 if it does not run."""
        return self._process.process.pid if self._process is not None else 0

    def __enter__(self) -> BuildGrid:
        try:
            self.database.start()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def another(self) -> BuildGrid:
        """One more server on the same database and storage, started; it ends with this one."""
        one = object.__new__(type(self))
        one.__dict__.update(self.__dict__)
        one.port, one._owner, one._process, one._more = free_port(), False, None, []
        self._more.append(one)
        one.start()
        return one

    def start(self) -> None:
        """Start the server (again, on the same port) and wait until it listens. Raises RuntimeError."""
        path = os.path.join(self.folder, f"bgd-{self.port}.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.config().text())
        self._process = Program([os.path.join(self._bin, "bgd"), "server", "start", path], self.log)
        self._process.wait_listening(self.port)

    def config(self) -> ServerConfig:
        """What it is started with."""
        return ServerConfig(
            address=self.address,
            database=self.database.url,
            storage=self.storage,
            instance=INSTANCE,
            keepalive=self.keepalive,
            threads=self._threads,
        )

    def signal(self, number: int) -> None:
        """Send the server a signal (SIGSTOP, SIGCONT)."""
        assert self._process is not None  # noqa: S101 - a test's own mistake
        self._process.process.send_signal(number)

    def kill(self) -> None:
        """End the server at once, as a power cut would; the database stays."""
        if self._process is not None:
            self._process.end(9)
            self._process = None

    def close(self) -> None:
        """End everything and remove its folder."""
        for one in self._more:
            one.kill()
        self.kill()
        if self._owner:
            self.database.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


class Farm:
    """A BuildGrid and nodes that are its workers."""

    def __init__(self, folder: str, workers: int = 2, jobs: int = 2, keepalive: int = 60) -> None:
        self.engine = BuildGrid(keepalive)
        arguments = ["--join", self.engine.url]
        self.workers = [Node(os.path.join(folder, f"worker{number}"), jobs, arguments) for number in range(workers)]

    def __enter__(self) -> Farm:
        try:
            self.engine.__enter__()
            for worker in self.workers:
                worker.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def revive(self) -> None:
        """Start whatever does not run. Raises RuntimeError."""
        if not self.engine.database.pid:
            self.engine.database.resume()
        if not self.engine.pid:
            self.engine.start()
        for worker in self.workers:
            if worker.process is None or worker.process.poll() is not None:
                worker.start()

    def worker_of(self, pid: int) -> Node:
        """The worker that has started a process. Raises StopIteration."""
        above = ancestors(pid)
        return next(worker for worker in self.workers if worker.process and worker.process.pid in above)

    def close(self) -> None:
        """End the workers, then the engine."""
        for worker in self.workers:
            worker.kill()
        self.engine.close()
