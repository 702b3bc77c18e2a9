"""``manycc engine init`` and ``check``: the set-up that is written is made, started, joined over TLS and looked at."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.cli import engineinit
from manycc.config import SETTINGS
from manycc.engine.address import parse_engine
from manycc.engine.setup import Setup, constraints
from manycc.errors import ConfigError
from manycc.testing import buildgrid
from manycc.testing.cluster import BIN, Cluster, Node
from manycc.testing.requirements import need

LONG = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
HOST = "127.0.0.2"
"""An address, and one that no certificate is for by itself."""
LIMIT_S = 60.0
NOBODY = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
"""Programs that refuse to run as root, with root's files: BuildGrid's environment may lie in root's home."""


def _manycc(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    line = [os.path.join(BIN, "manycc"), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=120)


def test_files(tmp_path: Path) -> None:
    """What is written is whole, keeps its secrets, and is never written over."""
    done = _manycc("engine", "init", str(tmp_path / "e"), "--host", "build.example.org")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("prepare.sh", "client-certificate.sh", "clean.sh"):
        assert subprocess.run(["sh", "-n", str(tmp_path / "e" / name)], check=False).returncode == 0
    assert (tmp_path / "e").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "e" / "buildgrid.yml").stat().st_mode & 0o777 == 0o600
    assert "reapis://build.example.org:50051/main?ca=" in (tmp_path / "e" / "README").read_text()
    again = _manycc("engine", "init", str(tmp_path / "e"), "--host", "build.example.org")
    assert again.returncode == 2
    assert "is not empty" in again.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", "a b"), ("host", ""), ("host", "$(reboot)"), ("host", "fe80::1%$(reboot)"), ("host", "::"),
     ("listen", "any"), ("instance", "a/b'"), ("folder", "/tmp/a b"), ("folder", "/" + 100 * "a")],
)  # fmt: skip
def test_refused(name: str, value: str) -> None:
    """Nothing is written that a shell, a unit or a URL would read as something else."""
    fields: dict[str, Any] = {"folder": "/tmp/engine-of-nobody", "host": "localhost", name: value}
    with pytest.raises(ConfigError):
        Setup(**fields).check()


def test_own_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name that means another machine everywhere is asked for, and never written into a certificate."""
    monkeypatch.setattr(socket, "getfqdn", lambda: "localhost.localdomain")
    with pytest.raises(ConfigError, match="calls itself localhost") as caught:
        engineinit.main([str(tmp_path / "e")])
    assert "--host" in caught.value.hint
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("host", "name", "url"),
    [("build", "DNS:build", "build:"), ("192.168.0.5", "IP:192.168.0.5", "192.168.0.5:"),
     ("fd00::5", "IP:fd00::5", "[fd00::5]:")],
)  # fmt: skip
def test_certificate_names(host: str, name: str, url: str) -> None:
    """A host that is called by its address has a certificate for the address."""
    plan = Setup("/tmp/engine-of-nobody", host)
    plan.check()
    assert f"subjectAltName={name}," in plan.files()["prepare.sh"][0]
    assert plan.url.startswith(f"reapis://{url}")
    assert parse_engine(plan.url, 1).address == host


def test_threads_follow_from_slots_and_workers() -> None:
    """Each job that waits, its worker's call and each idle worker have a thread, and so have some others."""
    plan = Setup("/tmp/engine-of-nobody", "build", slots=1000, workers=100)
    config = plan.files()["buildgrid.yml"][0]
    assert "thread-pool-size: 2150\n" in config
    assert "1000 slots of all clients together + 100 workers" in config
    assert "slots= of all clients together, and 100 workers" in plan.files()["README"][0]


def test_nothing_grows_for_ever() -> None:
    """Jobs that are over or that nobody takes go; no client's limit of a job is beyond the server's."""
    config = Setup("/tmp/engine-of-nobody", "build").files()["buildgrid.yml"][0]
    assert "    pruner-job-max-age: {days: 3}\n" in config
    assert "    queue-timeout-job-max-age: {minutes: 10}\n" in config
    (limit,) = (
        int(line.split()[1]) for line in config.splitlines() if line.strip().startswith("max-execution-timeout:")
    )
    (setting,) = (setting for setting in SETTINGS if setting.name == "job_timeout_s")
    assert setting.most <= limit


def test_versions_are_pinned() -> None:
    """What BuildGrid needs is installed as it was tested."""
    lines = [line for line in constraints().splitlines() if not line.startswith("#")]
    assert {"grpcio", "protobuf", "SQLAlchemy", "psycopg"} <= {line.partition("==")[0] for line in lines}
    assert all("==" in line for line in lines)
    files = Setup("/tmp/engine-of-nobody", "build").files()
    assert files["buildgrid.constraints"][0] == constraints()
    assert "-c buildgrid.constraints" in files["prepare.sh"][0]


def test_clean(tmp_path: Path) -> None:
    """What was not read for two weeks goes; then the longest unread, until the rest fits."""
    plan = Setup(str(tmp_path / "e"), "build", store_size=3 * 4096)
    plan.write()
    objects = tmp_path / "e" / "cas" / "cas" / "objects" / "ab"
    objects.mkdir(parents=True)
    now, day = time.time(), 86400
    for name, read in (("old", 20), ("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        (objects / name).write_bytes(bytes(4096))
        os.utime(objects / name, (now - read * day, now - 30 * day))
    subprocess.run([str(tmp_path / "e" / "clean.sh")], check=True, timeout=60)
    assert sorted(os.listdir(objects)) == ["a", "b", "c"]


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    """A database that went on running would keep its service from starting, and ``prepare.sh`` from ending it."""
    need("unshare")
    buildgrid.postgres_tool("initdb")
    folder = tmp_path / "e"
    Setup(str(folder), "build").write()
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "complete").touch()
    (folder / "venv" / "bin" / "bgd").write_text("#!/bin/sh\necho tables are not to be had >&2; exit 3\n")
    (folder / "venv" / "bin" / "bgd").chmod(0o755)
    python = os.path.join(buildgrid.environment(), "python")
    done = subprocess.run([*NOBODY, str(folder / "prepare.sh")], env={**os.environ, "PYTHON": python},
                          capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    assert "tables are not to be had" in done.stderr
    assert (folder / "data" / "PG_VERSION").exists()
    left = folder / "data" / "postmaster.pid"
    if left.exists():
        os.kill(int(left.read_text().split()[0]), signal.SIGQUIT)
        pytest.fail("the database goes on running")


def test_what_openssl_says_of_a_failure(tmp_path: Path) -> None:
    Setup(str(tmp_path / "e"), "build").write()
    (tmp_path / "e" / "tls").mkdir()
    (tmp_path / "openssl").write_text("#!/bin/sh\necho out of luck >&2; exit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    done = subprocess.run([tmp_path / "e" / "client-certificate.sh", "anna"], capture_output=True, text=True,
                          check=False, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "out of luck\n")


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
        self.url = f"reapis://{HOST}:{self.port}/main"
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
    done = _manycc("engine", "init", str(folder), "--host", HOST, "--listen", HOST, "--port", str(made.port))
    assert done.returncode == 0, done.stderr
    os.symlink(environment, folder / "venv")
    python = os.path.join(environment, "bin", "python")
    done = subprocess.run([*NOBODY, str(folder / "prepare.sh")], env={**os.environ, "PYTHON": python},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    worker = Node(str(folder.parent / "worker"), 2, ["--join", made.url + made.keys])
    try:
        made.start("manycc-engine-database.service")
        made.start("manycc-engine-results.service")
        made.start("manycc-engine@.service").wait_listening(made.port, HOST)
        worker.start()
        yield made
    finally:
        worker.kill()
        for program in reversed(made.running):
            program.end(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


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


@pytest.mark.parametrize("name", ["ca", "server", "../x", "a/b", ".x", "-x", 65 * "x", "client"])
def test_certificates_are_not_written_over(made: Made, name: str) -> None:
    """Neither the authority's nor the server's key, nor another machine's."""
    before = {entry.name: entry.read_bytes() for entry in (made.folder / "tls").iterdir()}
    done = subprocess.run([made.folder / "client-certificate.sh", name], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("client-certificate: ")
    assert before == {entry.name: entry.read_bytes() for entry in (made.folder / "tls").iterdir()}


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
    advised = {
        "no authority": "ca= must name",
        "another's certificate": "signed by this engine's",
        "no TLS": "reapis://",
    }
    assert advised[which] in done.stderr


def _listeners(port: int) -> int:
    """How many sockets listen on a port."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


@LONG
@pytest.mark.timeout(300)
def test_one_of_two_processes_dies(made: Made, tmp_path: Path) -> None:
    """Its clients and workers connect to the other one on the same port; jobs under way come back from there."""
    first, second = made.running[-1], made.start("manycc-engine@.service")
    end = time.monotonic() + LIMIT_S
    while _listeners(made.port) < 2:
        assert second.process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    folder = tmp_path / "w"
    folder.mkdir()
    names = [f"s{number}.c" for number in range(12)]
    for name in names:
        (folder / name).write_text("".join(f"int {name[:-2]}_{line};\n" for line in range(2000)))
    with Cluster(str(tmp_path / "c"), nodes=0, jobs=0) as cluster:
        cluster.env["MANYCC_HOSTS"] = f"{made.url}{made.keys}&slots=4&toolchain=property"
        line = [cluster.launcher, "gcc", "-c"]
        subprocess.run([*line, names[0]], cwd=folder, env=cluster.env, check=True)
        running = [subprocess.Popen([*line, name], cwd=folder, env=cluster.env) for name in names[1:]]
        first.end(signal.SIGKILL)
        assert [process.wait(120) for process in running] == [0] * len(running)
        end = time.monotonic() + LIMIT_S
        while True:  # first the toolchain is tried anew
            subprocess.run([*line, names[0], f"-DX={end}"], cwd=folder, env=cluster.env, check=True)
            if cluster.wait_records(len(names) + 1)[-1]["reason"] == "remote":
                break
            assert time.monotonic() < end


def test_environment_is_not_ours() -> None:
    """BuildGrid's own packages never come into manycc's environment."""
    done = subprocess.run([sys.executable, "-c", "import buildgrid"], capture_output=True, check=False)
    assert done.returncode != 0
