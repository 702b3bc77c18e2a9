"""The conversation with the agent, and its start and stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_support import STATUS, Cli, ControlAgent, as_json

from manycc.cli import client
from manycc.config import Config, load
from manycc.errors import ManyccError
from manycc.wire import launcher as wire

IMPOSTOR = """#!{python}
import os, socket, sys, time
assert sys.argv[1:] == ["agent", "serve"], sys.argv
with open({log!r}, "a") as log:
    log.write(f"{{os.getpid()}} {{os.getcwd()}} {{os.getsid(0) == os.getpid()}}\\n")
sock = socket.socket(socket.AF_UNIX)
sock.bind(os.environ["MANYCC_DIR"] + "/run/agent.sock")
sock.listen(64)
os.write(int(os.environ["MANYCC_READY_FD"]), b"1")
os.close(int(os.environ["MANYCC_READY_FD"]))
time.sleep(60)
"""


@pytest.fixture
def config(home: Path) -> Config:
    return load()


def as_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """Have ``text`` started where ``manycc-cli`` would be. Gives the path of its log."""
    script = tmp_path / "manycc-cli"
    log = tmp_path / "log"
    script.write_text(text.format(python=sys.executable, log=str(log)))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    return log


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_no_agent_is_no_answer(config: Config) -> None:
    assert client.ask(config, {"op": "status"}) is None
    os.mkdir(config.runtime_dir, 0o700)
    assert client.ask(config, {"op": "status"}) is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(config.socket_path)
    assert client.ask(config, {"op": "status"}) is None
    assert client.stop(config) is None


def test_the_answer_to_a_question(config: Config, home: Path) -> None:
    with ControlAgent(str(home)) as agent:
        assert client.ask(config, {"op": "status", "hosts": "pi"}) == STATUS
        assert agent.requests == [{"op": "status", "hosts": "pi"}]


def test_the_socket_may_lie_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with ControlAgent(str(deep)):
        assert client.ask(load({"MANYCC_DIR": str(deep)}), {"op": "status"}) == STATUS


def test_pings_are_waited_through(config: Config, home: Path) -> None:
    with ControlAgent(str(home), lambda _: wire.PING * 3 + as_json({"a": 1})):
        assert client.ask(config, {"op": "status"}) == {"a": 1}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "went away"),
        (b"J\x10\0\0\0{", "went away"),
        (wire.build_json(b"\xff"), "not understood"),
        (wire.build_json(b"[1]"), "no JSON object"),
        (b"J\xff\xff\xff\xff", "too long"),
        (wire.LOCAL, "a frame of kind b'L'"),
        (as_json({"error": "the hosts are broken"}), "the agent says: the hosts are broken"),
    ],
)
def test_a_strange_answer_is_an_error(config: Config, home: Path, reply: bytes, words: str) -> None:
    with ControlAgent(str(home), lambda _: reply), pytest.raises(ManyccError, match=words):
        client.ask(config, {"op": "status"})


def test_a_silent_agent_is_not_waited_for_long(config: Config) -> None:
    os.mkdir(config.runtime_dir, 0o700)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(config.socket_path)
        silent.listen(8)
        begun = time.monotonic()
        with pytest.raises(ManyccError, match="does not answer"):
            client.ask(config, {"op": "status"}, timeout=0.2)
        assert time.monotonic() - begun < 5


def test_stop(config: Config, home: Path) -> None:
    with ControlAgent(str(home)) as agent:
        assert client.stop(config) == os.getpid()
        assert agent.requests == [{"op": "stop"}]


def test_an_agent_is_started_once_detached_and_found_again(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = as_cli(tmp_path, monkeypatch, IMPOSTOR)
    sock, pid = client.start(config)
    try:
        sock.close()
        again, same = client.start(config)
        again.close()
        assert same == pid
        assert log.read_text() == f"{pid} / True\n"
    finally:
        end(pid)


def test_many_starts_at_once_start_one(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = as_cli(tmp_path, monkeypatch, IMPOSTOR)
    code = (
        "import sys; from manycc.cli import client; from manycc.config import load;"
        f"sys.argv = [{str(tmp_path / 'manycc-cli')!r}]; print(client.start(load())[1])"
    )
    starters = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    pids = {int(starter.communicate()[0]) for starter in starters}
    try:
        assert len(pids) == 1
        assert len(log.read_text().splitlines()) == 1
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("body", ["#!/bin/sh\nexit 3\n", "#!/no/such/interpreter\n"])
def test_an_agent_that_does_not_start_is_an_error(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    as_cli(tmp_path, monkeypatch, body)
    with pytest.raises(ManyccError, match="the agent cannot be started"):
        client.start(config)


def test_an_agent_that_refuses_our_version_is_replaced(
    config: Config, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_cli(tmp_path, monkeypatch, "#!/bin/sh\nexit 3\n")
    request = wire.Request("9", "/usr/bin/gcc", "/", ["gcc"], {}, 0o22, 0, 0)
    with ControlAgent(str(home), lambda _: wire.OTHER_VERSION) as agent:
        # It is not asked again: another one is to be started, which here fails.
        with pytest.raises(ManyccError, match="it ended before it listened"):
            client.explain(config, request)
        assert agent.requests == [request]


def test_agent_verbs(cli: Cli, home: Path) -> None:
    done = cli("agent", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no agent is running" in done.stderr
    assert cli("agent", "stop").stdout == "no agent was running\n"
    with ControlAgent(str(home)):
        assert cli("agent", "status").stdout == "agent 0.1.0, pid 4711, up 1 min 15 s, 40.0 MB of memory\n"
        assert cli("agent", "start").stdout == f"the agent runs (pid {os.getpid()})\n"
        assert cli("agent", "stop").stdout == f"the agent was stopped (pid {os.getpid()})\n"


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: only root can act as another user")
def test_another_users_agent_is_not_talked_to(config: Config, home: Path) -> None:
    os.mkdir(config.runtime_dir, 0o700)
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.setuid(12345);"
        "s.listen(8); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, config.socket_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        with pytest.raises(ManyccError, match="belongs to another user"):
            client.ask(config, {"op": "status"})
        other.communicate()
