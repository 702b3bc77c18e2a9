"""What status, hosts, stats and explain show."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import STATUS, Cli, ControlAgent, as_json

from manycc.cli.stats import parse_when
from manycc.monitor.records import RecordLog
from manycc.monitor.samples import RunNote, Sample
from manycc.wire.launcher import Request

ANSWER: dict[str, Any] = {
    "distributable": True, "reason": "", "detail": "", "sentence": "", "hint": "", "language": "c++",
    "source": "a\udcff.cc", "output": "a.o", "toolchain": "gcc 12.2.0 x86_64-linux-gnu",
    "inputs": {"how": "scan", "count": 390, "bytes": 4_000_000, "complete": True, "largest": [["/usr/x.h", 9000]]},
    "hosts": [
        {"name": "pi", "state": "ready", "sentence": "cannot: gcc 13.1.0 there, gcc 12.2.0 here"},
        {"name": "big", "state": "ready", "sentence": "can: it has the same compiler, byte for byte"},
    ],
}  # fmt: skip
LOCAL = {
    "distributable": False, "reason": "compiler-wrapper", "detail": "/usr/lib/ccache/gcc",
    "sentence": "the compiler is a script or another wrapper", "hint": "use CCACHE_PREFIX=manycc", "hosts": [],
}  # fmt: skip


def test_status(cli: Cli, home: Path) -> None:
    with ControlAgent(str(home)):
        done = cli("status")
        assert json.loads(cli("status", "--json").stdout) == STATUS
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:4] == ["agent", "0.1.0,", "pid", "4711,"]
    assert " ".join(lines[1]) == "jobs: 3 under way, 2 waiting for a slot, 1 on this machine"
    assert ["pi:3636", "ready", "4", "1"] in lines
    assert any(line[:4] == ["old", "down", "?", "0"] for line in lines)
    assert "no route \\x1b]0;owned\\x07" in done.stdout
    assert "\x1b" not in done.stdout


def test_status_without_an_agent_starts_none(cli: Cli, home: Path) -> None:
    env = os.environ | {"MANYCC_HOSTS": "pi/4 localhost/2 old:3636"}
    done = cli("status", env=env)
    assert done.returncode == 0
    assert "no agent is running" in done.stdout
    assert json.loads(cli("status", "--json", env=env).stdout) == {
        "agent": None,
        "hosts": [
            {"name": "pi", "state": "idle", "slots": 4, "busy": 0, "why": "no agent is running"},
            {"name": "old:3636", "state": "idle", "slots": 0, "busy": 0, "why": "no agent is running"},
        ],
        "jobs": {"running": 0, "waiting": 0, "local": 0},
        "quarantine": [],
    }
    assert not (home / "run" / "agent.sock").exists()
    assert "set MANYCC_HOSTS=" in cli("status").stdout


def test_hosts_connects_and_tells_by_its_exit_code(cli: Cli, home: Path) -> None:
    with ControlAgent(str(home)) as agent:
        done = cli("hosts", "pi:3636/4", "old", "localhost/3")
        assert {"op": "status", "hosts": "pi:3636/4 old localhost/3"} in agent.requests
        assert done.returncode == 1
        assert done.stdout.splitlines()[0] == "from a flag:"
        assert done.stdout.splitlines()[-1] == "this machine: 3 slots"
        agent.reply = lambda _: as_json(STATUS | {"hosts": STATUS["hosts"][:1]})
        assert cli("hosts", "pi:3636/4").returncode == 0
        answer = json.loads(cli("hosts", "--json", "pi:3636/4").stdout)
        assert answer == {"origin": "a flag", "hosts": STATUS["hosts"][:1]}
    done = cli("hosts")
    assert done.returncode == 1
    assert "set MANYCC_HOSTS=" in done.stdout
    done = cli("hosts", "pi,down", "localhost/3")
    assert (done.returncode, done.stdout) == (1, "from a flag:\npi: not used (,down)\nthis machine: 3 slots\n")


@pytest.fixture
def recorded(home: Path) -> float:
    log = RecordLog(str(home / "state" / "jobs.jsonl"))
    now = time.time()
    node = {"node": {"cpu": 2.0}, "sent": 4000, "received": 9000, "how": "scan"}
    log.write({"t": now - 7200, "run": "old", "reason": "not-compile", "phases": {"local": 1, "total": 1}})
    log.write({"t": now - 60, "run": "new", "reason": "remote", "host": "pi", "phases": {"total": 2}} | node)
    log.write({"t": now - 50, "run": "new", "reason": "node-lost", "detail": "it\x1b[2Jhung up", "phases": {}})
    log.write({"t": now - 40, "run": "", "reason": "cached", "host": "pi", "phases": {}} | node)
    log.close()
    return now


@pytest.mark.parametrize(
    ("argv", "jobs"),
    [
        ([], (4, 2, 1, 1, 1)),
        (["--last"], (2, 1, 0, 0, 1)),
        (["--run", "old"], (1, 0, 0, 1, 0)),
        (["--run", "none"], (0, 0, 0, 0, 0)),
        (["--since", "1h"], (3, 2, 1, 0, 1)),
        (["--since", "45s"], (1, 1, 1, 0, 0)),
    ],
)
def test_stats_json(cli: Cli, recorded: float, argv: list[str], jobs: tuple[int, ...]) -> None:
    answer = json.loads(cli("stats", "--json", *argv).stdout)
    assert tuple(answer["jobs"].values()) == jobs
    assert list(answer["jobs"]) == ["total", "remote", "cached", "local", "failed_over"]
    assert set(answer) == {"jobs", "reasons", "bytes", "hosts", "time", "inputs", "verify", "limit"}


def test_stats_say_what_limited_a_run(cli: Cli, home: Path) -> None:
    begun = time.time() - 100
    log = RecordLog(str(home / "state" / "jobs.jsonl"))
    seen = RecordLog(str(home / "state" / "samples.jsonl"))
    for number in range(10):
        seen.write(Sample(begun + number, number, 0.4 * number, 4.0, "machine", 7, slots=6, taken=1).as_record())
        phases = {"remote": 0.95, "total": 0.95}
        log.write({"t": begun + number + 1, "run": "r", "reason": "remote", "host": "pi", "phases": phases})
    seen.write(RunNote("r", begun + 10, 10.0, "ninja", 1).as_record())
    sentence = (
        "Limited by ninja's parallelism: for 9.5 of 10.0 s -j1 kept 1 job under way while the hosts have 6 slots; "
        "-j6 would save up to 7.9 s (estimate)."
    )
    for words in (["--last"], ["--run", "r"]):
        assert f"  {sentence}\n" in cli("stats", *words).stdout
        answer = json.loads(cli("stats", "--json", *words).stdout)["limit"]
        assert (answer["limit"], answer["sentence"]) == ("parallelism", sentence)
    for words in ([], ["--run", "r", "--since", "2h"]):  # of several builds, or of a part, nothing is said
        assert "Limited" not in cli("stats", *words).stdout
        assert json.loads(cli("stats", "--json", *words).stdout)["limit"] is None


def test_stats_for_people(cli: Cli, recorded: float) -> None:
    done = cli("stats")
    assert "4 jobs: 2 on nodes (50 %), 1 of them from result caches, 1 here, 1 failed over; since " in done.stdout
    assert "sent 8.0 kB, received 18.0 kB" in done.stdout
    assert "the connection to the node was lost" in done.stdout
    assert "\x1b" not in done.stdout
    assert "no jobs are recorded" in cli("stats", "--run", "none").stdout


def test_times() -> None:
    assert parse_when("90s", 1000.0) == 910.0
    assert parse_when("1.5h", 10000.0) == 4600.0
    assert parse_when("2024-05-01T12:00+00:00", 0.0) == 1714564800.0


def test_explain_sends_what_the_launcher_would(cli: Cli, home: Path, tools: Path, tmp_path: Path) -> None:
    with ControlAgent(str(home), lambda _: as_json(ANSWER)) as agent:
        done = cli(
            "explain", "--", "manycc", "distcc", "gcc", "-c", "-o", "a.o", "a b.cc", cwd=str(tmp_path), umask=0o27
        )
    (request,) = agent.requests
    assert isinstance(request, Request)
    assert request.compiler == str(tools / "gcc")
    assert request.argv == ["gcc", "-c", "-o", "a.o", "a b.cc"]
    assert (request.cwd, request.umask, request.flags) == (str(tmp_path), 0o27, 0)
    assert request.env["MANYCC_DIR"] == str(home)
    assert done.returncode == 0
    assert done.stdout.startswith("can be sent\n  source:    a\\udcff.cc\n")
    assert "390 files, 4.0 MB, found by scan, complete" in done.stdout
    assert "host pi: cannot: gcc 13.1.0 there, gcc 12.2.0 here" in done.stdout


def test_explain_says_why_not(cli: Cli, home: Path, tools: Path) -> None:
    with ControlAgent(str(home), lambda _: as_json(LOCAL)) as agent:
        done = cli("explain", "gcc", "-c", "a.c")
        assert done.returncode == 1
        assert done.stdout == (
            "would run here: the compiler is a script or another wrapper: /usr/lib/ccache/gcc [compiler-wrapper]\n"
            "  hint: use CCACHE_PREFIX=manycc\n"
        )
        agent.reply = lambda _: as_json(ANSWER | {"hosts": ANSWER["hosts"][:1]})
        done = cli("explain", "gcc", "-c", "a.c")
        assert done.returncode == 1
        assert done.stdout.startswith("could be sent, but no host can take it now\n")
        assert json.loads(cli("explain", "--json", "gcc").stdout)["hosts"] == ANSWER["hosts"][:1]
