"""A whole build under ``manycc run``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import STATUS, Cli, ControlAgent, as_json

from manycc.monitor.records import read

READY = STATUS | {"hosts": STATUS["hosts"][:1], "jobs": {"running": 0, "waiting": 0, "local": 0}}

BUILD = """
import json, os, shutil, sys
names = ("MANYCC_RUN", "MANYCC_HOSTS", "MAKEFLAGS", "CMAKE_BUILD_PARALLEL_LEVEL", "PATH")
print(json.dumps({name: os.environ.get(name) for name in names} | {"gcc": shutil.which("gcc")}))
path = os.environ["MANYCC_DIR"] + "/state/jobs.jsonl"
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "a") as log:
    for run in (os.environ["MANYCC_RUN"], "another"):
        log.write(json.dumps({"t": 1e9, "run": run, "reason": "remote", "host": "pi", "phases": {}}) + "\\n")
        log.write(json.dumps({"t": 1e9, "run": run, "reason": "not-compile", "phases": {}}) + "\\n")
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def build(tmp_path: Path) -> list[str]:
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    return [sys.executable, str(script)]


def test_the_build_sees_hosts_names_jobs_and_its_id(cli: Cli, home: Path, tools: Path, build: list[str]) -> None:
    old = home / "state" / "jobs.jsonl"
    old.parent.mkdir()
    old.write_text('{"t": 1, "run": "older", "reason": "remote"}\n')
    with ControlAgent(str(home), lambda _: as_json(READY)):
        done = cli("run", "--", *build, "3", env=os.environ | {"MANYCC_HOSTS": "pi:3636/4 localhost/3"})
    assert done.returncode == 3
    seen = json.loads(done.stdout)
    masquerade = str(home / "cache" / "masquerade")
    assert seen["PATH"].split(":")[:2] == [masquerade, str(tools)]
    assert seen["gcc"] == f"{masquerade}/gcc"
    assert seen["MANYCC_HOSTS"] == "pi:3636/4 localhost/3"
    assert seen["MAKEFLAGS"] == "-j7"
    assert seen["CMAKE_BUILD_PARALLEL_LEVEL"] == "7"
    assert seen["MANYCC_RUN"]
    lines = done.stderr.splitlines()
    assert lines[0].startswith("manycc: 2 jobs in ")
    assert lines[0].endswith(": 1 on nodes (50 %), 1 here")
    assert "  here 1: links, or does nothing that can be sent [not-compile]" in lines
    assert lines[-1].startswith("  What limited it cannot be told: ")  # the times of these jobs are made up
    (note,) = [line for line in read(str(home / "state" / "samples.jsonl")) if "run" in line]
    assert (note["run"], note["tool"], note["jobs"]) == (seen["MANYCC_RUN"], os.path.basename(build[0]), 0)
    assert "\x1b" not in done.stderr


def test_the_users_jobs_come_first(cli: Cli, home: Path, tools: Path, build: list[str]) -> None:
    with ControlAgent(str(home), lambda _: as_json(READY)):
        env = os.environ | {"MANYCC_HOSTS": "pi:3636/4", "PATH": f"{home}/cache/masquerade:{os.environ['PATH']}"}
        seen = json.loads(cli("run", "-j", "33", *build, "0", env=env).stdout)
    assert seen["MAKEFLAGS"] == "-j33"
    assert seen["PATH"].count("masquerade") == 1


def test_hosts_that_are_not_used_are_named(cli: Cli, home: Path, tools: Path, build: list[str]) -> None:
    with ControlAgent(str(home)):
        done = cli("run", "--", *build, "0", env=os.environ | {"MANYCC_HOSTS": "pi:3636/4 old"})
    assert "manycc: host old is not used: no route \\x1b]0;owned\\x07" in done.stderr


def test_a_build_goes_on_without_an_agent(cli: Cli, home: Path, tools: Path, build: list[str]) -> None:
    (home / "run").mkdir(mode=0o755)
    done = cli("run", "--", *build, "0", env=os.environ | {"MANYCC_HOSTS": "pi"})
    assert done.returncode == 0
    assert "others have access to it" in done.stderr
    assert "manycc: 2 jobs in" in done.stderr


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-tool"], 127, "no-such-tool: not found"),
        (["/etc/passwd"], 127, "/etc/passwd: not found, or no program"),
        (["sh", "-c", "kill -9 $$"], 137, "no compile jobs in"),
    ],
)
def test_commands_that_fail(cli: Cli, home: Path, tools: Path, command: list[str], code: int, words: str) -> None:
    with ControlAgent(str(home), lambda _: as_json(READY)):
        done = cli("run", "--", *command, env=os.environ | {"MANYCC_HOSTS": "pi"})
    assert done.returncode == code
    assert words in done.stderr


def test_a_broken_host_list_stops_before_the_build(cli: Cli, home: Path, tools: Path) -> None:
    done = cli("run", "--", "sh", "-c", "echo built", env=os.environ | {"MANYCC_HOSTS": "pi:x"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "MANYCC_HOSTS (environment): host list, column 1: 'pi:x'" in done.stderr


FAKE_CLI = """#!{python}
import os, sys
if sys.argv[1] == "node":
    words = sys.argv[2:]
    assert words[:6] == ["--listen", "127.0.0.1", "--port", "0", "--jobs", "5"] and "--die-with-parent" in words, words
    assert os.getsid(0) == os.getpid()
    {node}
    os.write(int(words[words.index("--ready-fd") + 1]), b"4321\\n")
    with open({log!r}, "w") as log:
        log.write(str(os.getpid()))
    import signal
    signal.pause()
from manycc.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize("fault", ["", "sys.exit('no room at all')"])
def test_without_hosts_a_node_runs_here_for_as_long_as_the_build(
    home: Path, tools: Path, build: list[str], tmp_path: Path, fault: str
) -> None:
    script, log = tmp_path / "manycc-cli", tmp_path / "pid"
    script.write_text(FAKE_CLI.format(python=sys.executable, log=str(log), node=fault))
    script.chmod(0o755)
    with ControlAgent(str(home), lambda _: as_json(READY)):
        done = subprocess.run(
            [str(script), "run", "--", *build, "0"], env=os.environ | {"MANYCC_LOCAL_SLOTS": "5"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if fault:
        assert (done.returncode, done.stdout) == (1, "")
        assert "manycc: the node on this machine did not start: no room at all" in done.stderr
        return
    assert json.loads(done.stdout)["MANYCC_HOSTS"] == "127.0.0.1:4321/5"
    assert "using a node on this machine (5 jobs)" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def test_progress_is_shown_on_a_terminal_and_taken_away(home: Path, tools: Path, tmp_path: Path) -> None:
    import fcntl
    import struct
    import termios

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = b""
    others = READY | {"hosts": [*READY["hosts"], STATUS["hosts"][1] | {"name": "another"}]}
    with ControlAgent(str(home), lambda _: as_json(others)), subprocess.Popen(
        [sys.executable, "-m", "manycc.cli", "run", "--", "sh", "-c", f"read x < {fifo}"],
        env=os.environ | {"MANYCC_HOSTS": "pi:3636", "TERM": "xterm"}, stdout=slave, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        while b"pi:3636 1/4" not in text:
            text += os.read(master, 4096)
        fifo.write_text("go\n")
        while b"no compile jobs in" not in text:
            text += os.read(master, 4096)
    os.close(master)
    assert process.returncode == 0
    assert b"\x1b[1;23r" in text
    assert b"another down" not in text
    assert text.rindex(b"\x1b[r") > text.rindex(b"pi:3636 1/4")
