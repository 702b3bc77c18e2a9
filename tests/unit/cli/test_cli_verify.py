"""The verb verify and what others say of quarantined hosts, with an agent that is played."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli_support import STATUS, Cli, ControlAgent, as_json

from manycc.cli.localrun import run_here
from manycc.wire.launcher import Request

ENTRY = {
    "host": "pi", "label": "gcc 12", "fingerprint": "f", "since": 1000.0, "last_good": 500.0, "difference": "/w/a.o",
    "report": "/reports/1", "sentence": "QUARANTINED for gcc 12", "driver": "/usr/bin/gcc", "files": [],
}  # fmt: skip
JOBS = [
    {"t": 400.0, "host": "pi", "cwd": "/w", "out": "proved.o"},
    {"t": 600.0, "host": "pi", "cwd": "/w", "out": "suspect.o"},
    {"t": 700.0, "host": "laptop", "cwd": "/w", "out": "other.o"},
    {"t": 2000.0, "host": "pi", "cwd": "/w", "out": "later.o"},
]


def reply(request: Any) -> bytes:
    """What an agent says that knows of a quarantine."""
    if request["op"] == "forgive":
        return as_json({"forgiven": ["QUARANTINED"] if request["host"] == "pi" else []})
    verify = {"rate": "1/20", "waiting": 0 if request["op"] == "verify" else 3, "busy": False}
    return as_json(STATUS | {"quarantine": [ENTRY], "verify": verify})


@pytest.fixture
def recorded(home: Path) -> None:
    state = home / "state"
    state.mkdir()
    (state / "quarantine.json").write_text(json.dumps([ENTRY]))
    (state / "jobs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in JOBS))
    (state / "verify.jsonl").write_text('{"t": 500, "verdict": "equal"}\n{"t": 1000, "verdict": "different"}\n')


def test_what_is_known_without_an_agent(cli: Cli, home: Path, recorded: None) -> None:
    done = cli("verify")
    assert done.returncode == 1
    assert "verify = off; 0 samples waiting" in done.stdout
    assert "2 verified: 1 equal, 1 different; 0 void, 0 skipped" in done.stdout
    assert "WARNING: host pi is quarantined for gcc 12" in done.stdout
    assert "WARNING: host pi" in cli("status").stdout
    assert not (home / "run" / "agent.sock").exists()


def test_without_anything_all_is_well(cli: Cli) -> None:
    done = cli("verify", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["counts"]["verified"] == 0


def test_the_agent_knows_what_waits(cli: Cli, home: Path, recorded: None) -> None:
    with ControlAgent(str(home), reply):
        assert "verify = 1/20; 3 samples waiting" in cli("verify").stdout
        assert "verify = 1/20; 0 samples waiting" in cli("verify", "--waiting").stdout
        assert "verify = 1/20: 3 samples waiting for idle time" in cli("status").stdout


def test_suspects(cli: Cli, recorded: None) -> None:
    done = cli("verify", "--suspects", "pi")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2
    assert lines[0].endswith("/w/suspect.o")
    assert lines[1] == "1 output of pi may be wrong: delete them, and build again"
    (job,) = json.loads(cli("verify", "--json", "--suspects", "pi").stdout)
    assert job["out"] == "suspect.o"
    (job,) = json.loads(cli("verify", "--json", "--suspects", "PI:3632").stdout)  # the same host
    assert job["out"] == "suspect.o"
    done = cli("verify", "--suspects", "laptop")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "manycc: laptop is not quarantined")


def test_forgiving(cli: Cli, home: Path) -> None:
    with ControlAgent(str(home), reply):
        done = cli("verify", "--forgive", "pi")
        assert (done.returncode, done.stdout) == (0, "pi is trusted again; it was QUARANTINED\n")
        done = cli("verify", "--forgive", "laptop")
        assert (done.returncode, done.stdout) == (1, "laptop is not quarantined\n")


def test_a_compiler_that_is_not_there(cli: Cli) -> None:
    done = cli("verify", "--", "no-such-compiler", "-c", "a.c")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2, "manycc: no-such-compiler: not found: no compiler of this name is in PATH",
    )  # fmt: skip


def test_a_local_run_sees_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("as it was")
    (tmp_path / "rewritten").write_text("before")
    (tmp_path / "replaced").write_text("before")
    (tmp_path / "run").write_text("#!/bin/sh\necho said; echo complained >&2; echo new > new; echo x > rewritten\n"
                                  "rm replaced; echo y > replaced; exit 3\n")  # fmt: skip
    os.chmod(tmp_path / "run", 0o755)
    os.chmod(tmp_path / "rewritten", 0o600)
    request = Request("1", str(tmp_path / "run"), str(tmp_path), ["gcc"], dict(os.environ), 0o077, 0, 0)
    ran = run_here(request, [str(tmp_path)], {})
    seen = ran.seen
    assert (seen.exit_code, seen.stdout, seen.stderr) == (3, b"said\n", b"complained\n")
    assert {os.path.basename(path): found for path, found in seen.files.items()} == {
        "new": (0o600, b"new\n"), "rewritten": (0o600, b"x\n"), "replaced": (0o600, b"y\n"),
    }  # fmt: skip
    assert str(tmp_path / "rewritten") in ran.rewritten and str(tmp_path / "new") not in ran.rewritten
