"""``manycc engine init`` and ``check``: the set-up that is written is made, started, joined over TLS and looked at."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.engine.setup import Setup
from manycc.errors import ConfigError
from manycc.testing import buildgrid
from manycc.testing.cluster import BIN, Node
from manycc.testing.requirements import need

LONG = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
NOBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
"""Programs that refuse to run as root, with root's files: BuildGrid's environment may lie in root's home."""


def _manycc(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    line = [os.path.join(BIN, "manycc"), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=120)


def test_files(tmp_path: Path) -> None:
    """What is written is whole, keeps its secrets, and is never written over."""
    done = _manycc("engine", "init", str(tmp_path / "e"), "--host", "build.example.org")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("prepare.sh", "client-certificate.sh"):
        assert subprocess.run(["sh", "-n", str(tmp_path / "e" / name)], check=False).returncode == 0
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "e" / "buildgrid.yml").stat().st_mode & 0o777 == 0o600
    assert "reapis://build.example.org:50051/main?ca=" in (tmp_path / "e" / "README").read_text()
    again = _manycc("engine", "init", str(tmp_path / "e"))
    assert again.returncode == 2
    assert "is not empty" in again.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", "a b"), ("host", "$(reboot)"), ("listen", "any"), ("instance", "a/b'"), ("folder", "/tmp/a b"),
     ("folder", "/" + 100 * "a")],
)  # fmt: skip
def test_refused(name: str, value: str) -> None:
    """Nothing is written that a shell, a unit or a URL would read as something else."""
    fields: dict[str, Any] = {"folder": "/tmp/engine-of-nobody", "host": "localhost", name: value}
    with pytest.raises(ConfigError):
        Setup(**fields).check()


def test_nobody_answers() -> None:
    done = _manycc("engine", "check", f"reapi://127.0.0.1:{buildgrid.free_port()}/main")
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "hint" in done.stderr


class Made:
    """The set-up, prepared and started as its services would be, and a worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = buildgrid.free_port()
        self.url = f"reapis://localhost:{self.port}/main"
        self.keys = "?" + "&".join(f"{name}={folder}/tls/{file}" for name, file in
                                   (("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")))  # fmt: skip
        self.running: list[buildgrid.Program] = []

    def start(self, unit: str) -> buildgrid.Program:
        for line in (self.folder / unit).read_text().splitlines():
            if line.startswith("ExecStart="):
                self.running.append(
                    buildgrid.Program([*NOBODY, *shlex.split(line.partition("=")[2])], f"{self.folder}.{unit}.log")
                )
                return self.running[-1]
        raise AssertionError(f"{unit} starts nothing")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    need("openssl", "unshare", "gcc", "bwrap")
    buildgrid.postgres_tool("initdb")
    environment = os.path.dirname(buildgrid.environment())
    folder = tmp_path_factory.mktemp("e") / "engine"
    made = Made(folder)
    done = _manycc("engine", "init", str(folder), "--host", "localhost", "--listen", "127.0.0.1",
                   "--port", str(made.port))  # fmt: skip
    assert done.returncode == 0, done.stderr
    os.symlink(environment, folder / "venv")
    python = os.path.join(environment, "bin", "python")
    done = subprocess.run([*NOBODY, str(folder / "prepare.sh")], env={**os.environ, "PYTHON": python},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    worker = Node(str(folder.parent / "worker"), 2, ["--join", made.url + made.keys])
    try:
        made.start("manycc-engine-database.service")
        made.start("manycc-engine.service").wait_listening(made.port)
        worker.start()
        yield made
    finally:
        worker.kill()
        for program in reversed(made.running):
            program.end(signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


@LONG
@pytest.mark.timeout(300)
def test_check(made: Made, tmp_path: Path) -> None:
    """The compiler here is served, by the worker that joined with its certificate."""
    url = f"{made.url}{made.keys}&toolchain=property"
    done = _manycc("engine", "check", "--json", "--compiler", "gcc", url, MANYCC_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["compilers"][0]["way"] == "property"
    assert found["compilers"][0]["jobs_per_s"] > 0
    assert found["release"].startswith("REAPI 2.")


@LONG
@pytest.mark.parametrize("which", ["no authority", "another's certificate", "no TLS"])
def test_not_let_in(made: Made, which: str, tmp_path: Path) -> None:
    """Without the right certificates nobody is let in, and is told so."""
    url = made.url
    if which == "another's certificate":
        line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other",
                "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]  # fmt: skip
        subprocess.run(line, check=True, capture_output=True)
        url += f"?ca={made.folder}/tls/ca.pem&cert={tmp_path}/cert&key={tmp_path}/key"
    elif which == "no TLS":
        url = url.replace("reapis", "reapi")
    done = _manycc("engine", "check", "--compiler", "gcc", url, MANYCC_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr


def test_environment_is_not_ours() -> None:
    """BuildGrid's own packages never come into manycc's environment."""
    done = subprocess.run([sys.executable, "-c", "import buildgrid"], capture_output=True, check=False)
    assert done.returncode != 0
