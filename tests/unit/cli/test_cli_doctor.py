"""``manycc doctor``: each check, well and unwell."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_support import STATUS, Cli, ControlAgent, as_json

from manycc import __version__
from manycc.cli import doctor, nodechecks, probe
from manycc.config import Config, load
from manycc.errors import ManyccError
from manycc.monitor.records import RecordLog

SPEAKER = """#!/usr/bin/env python3
import os, socket
from manycc.wire.launcher import Request, build_request
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["MANYCC_DIR"] + "/run/agent.sock")
sock.sendall(build_request(Request("{version}", "", "/", ["/bin/true"], {{}}, 0o22, 0, 0)))
data = sock.recv(100)
assert data[:1] == b"R"
print(data[13:].decode(){more}, end="")
"""


@pytest.fixture
def config(home: Path) -> Config:
    return load()


def levels(findings: object) -> list[str]:
    return [finding.level for finding in findings]  # type: ignore[attr-defined]


def speaker(folder: Path, version: str, more: str = "") -> str:
    path = folder / "manycc"
    path.write_text(SPEAKER.format(version=version, more=more))
    path.chmod(0o755)
    return str(path)


def test_all_checks_run_and_the_exit_code_counts_failures(cli: Cli, home: Path, tools: Path) -> None:
    with ControlAgent(str(home)):
        done = cli("doctor", env=os.environ | {"MANYCC_HOSTS": "pi:3636"})
    assert done.returncode == 1
    found = {line.split()[1].rstrip(":"): line for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert set(found) == set(doctor.CHECKS)
    # /bin/true in the launcher's place carries no job; nothing else is wrong.
    assert found["launcher"].startswith("fail")
    assert [line for line in done.stdout.splitlines() if line.startswith("fail")] == [found["launcher"]]
    assert "setting: hosts = pi:3636 (MANYCC_HOSTS (environment))" in done.stdout


def test_a_broken_setting_is_a_finding(cli: Cli, home: Path) -> None:
    (home / "config.toml").write_text("hosts = 3")
    done = cli("doctor")
    assert done.returncode == 1
    assert done.stdout.startswith(f"fail  settings: {home}/config.toml: hosts")


def test_a_launcher_is_tried_out(tmp_path: Path, home: Path) -> None:
    assert probe.launcher_version(speaker(tmp_path, "9.9")) == "9.9"
    with pytest.raises(ManyccError, match="does not carry an answer"):
        probe.launcher_version(speaker(tmp_path, "9.9", "[1:]"))


def test_a_launcher_that_hangs_is_given_up(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WAIT_S", 0.2)
    path = tmp_path / "manycc"
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    begun = time.monotonic()
    with pytest.raises(ManyccError, match="does not carry a job"):
        probe.launcher_version(str(path))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(("version", "level"), [(__version__, doctor.OK), ("0.0.1", doctor.FAIL)])
def test_the_launchers_version_must_be_ours(
    config: Config, monkeypatch: pytest.MonkeyPatch, version: str, level: str
) -> None:
    monkeypatch.setattr(doctor, "find_launcher", lambda: "/x/manycc")
    monkeypatch.setattr(doctor, "launcher_version", lambda _: version)
    assert levels(doctor.check_launcher(config)) == [level]


def test_folders(config: Config, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(doctor.check_folders(config)) == ["ok"] * 3
    assert stat.S_IMODE(os.stat(config.state_dir).st_mode) == 0o700
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert levels(doctor.check_folders(config)) == ["ok", "warn", "warn"]
    (home / "cache").rmdir()
    (home / "cache").touch()
    assert levels(doctor.check_folders(config)) == ["ok", "warn", "fail"]


def test_agent_of_another_version(config: Config, home: Path) -> None:
    with ControlAgent(str(home)) as agent:
        assert levels(doctor.check_agent(config)) == ["ok"]
        agent.reply = lambda _: as_json({"version": "0.0.1"})
        assert levels(doctor.check_agent(config)) == ["warn"]


def test_hosts(config: Config, home: Path) -> None:
    assert levels(doctor.check_hosts(config)) == ["warn"]
    with ControlAgent(str(home)) as agent:
        findings = list(doctor.check_hosts(load(flags={"hosts": "pi:3636 old"})))
        assert levels(findings) == ["ok", "warn"]
        assert "--port 3632" in findings[1].todo
        agent.reply = lambda _: as_json(STATUS | {"hosts": STATUS["hosts"][1:]})
        assert levels(doctor.check_hosts(load(flags={"hosts": "old"}))) == ["warn", "fail"]


def test_compilers(config: Config, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tools / "g++").write_text("#!/bin/sh\n")
    (tools / "g++").chmod(0o755)
    (tools / "ccache").symlink_to("gcc")
    (tools / "cc").symlink_to("ccache")
    (tools / "gcc").rename(tools / "gcc-12")
    (tools / "ccache").unlink()
    (tools / "gcc-12").rename(tools / "ccache")
    monkeypatch.setenv("PATH", str(tools))
    findings = {finding.text.split()[0]: finding for finding in doctor.check_compilers(config)}
    assert {name: finding.level for name, finding in findings.items()} == {"g++": "warn", "cc": "warn", "clang": "ok"}
    assert "CCACHE_PREFIX" in findings["cc"].todo
    monkeypatch.setenv("PATH", "/none")
    assert levels(doctor.check_compilers(config)) == ["fail"]


def test_sealing(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bwrap = tmp_path / "bwrap"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert levels(nodechecks.check_sealing(config)) == ["fail", "warn"]
    (tmp_path / "prlimit").symlink_to("/bin/true")
    assert levels(nodechecks.check_sealing(config)) == ["warn"]
    bwrap.write_text("#!/bin/sh\necho no namespaces >&2\nexit 1\n")
    bwrap.chmod(0o755)
    (finding,) = nodechecks.check_sealing(config)
    assert finding.level == "warn"
    assert "no namespaces" in finding.text
    bwrap.write_text("#!/bin/sh\nexit 0\n")
    assert levels(nodechecks.check_sealing(config)) == ["ok"]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(subprocess.TimeoutExpired("b", 10)))
    assert levels(nodechecks.check_sealing(config)) == ["warn"]


def test_clock(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(doctor.check_clock(config)) == ["ok"]
    monkeypatch.setattr(doctor.time, "time", lambda: 3600.0)
    assert levels(doctor.check_clock(config)) == ["warn"]


def test_records(config: Config) -> None:
    log = RecordLog(config.records_path)
    log.write({"t": time.time() - 3 * 86400, "reason": "node-lost"})
    log.write({"t": time.time(), "reason": "remote"})
    assert levels(doctor.check_records(config)) == ["ok"]
    log.write({"t": time.time(), "reason": "node-lost"})
    log.close()
    assert levels(doctor.check_records(config)) == ["warn"]
