"""What distccd's options become for a node, and how what is wrong with them ends."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from manycc.compat import distccd
from manycc.daemon.settings import NodeSettings
from manycc.node.access import PRIVATE, may_connect
from manycc.node.machine import cpu_count


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)


def settings(*words: str) -> NodeSettings:
    return distccd._settings(distccd._parser().parse_args(words))


def test_defaults_are_distccds() -> None:
    found = settings("--daemon")
    assert found.get("listen") == "*" and found.get("port") == 3632
    assert found.get("jobs") == cpu_count() + 2 and found.get("nice") == 5
    assert found.get("allow") == PRIVATE and "--allow" in found.notes[0]
    assert found.get("log_level") == "notice" and "log_file" not in found.values
    assert "stats_port" not in found.values and "user" not in found.values


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("-p 4000", "port", 4000),
        ("-p4000", "port", 4000),
        ("--port=4000", "port", 4000),
        ("-j 3", "jobs", 3),
        ("--jobs 300", "jobs", 300),
        ("-N 20", "nice", 20),
        ("--nice=0", "nice", 0),
        ("--listen 127.0.0.1", "listen", "127.0.0.1"),
        ("--job-lifetime 30", "job_lifetime", 30),
        ("-P /run/x", "pid_file", "/run/x"),
        ("--log-file /x/log", "log_file", "/x/log"),
        ("--verbose", "log_level", "debug"),
        ("--wizard", "log_level", "debug"),
        ("--log-level warning", "log_level", "warning"),
        ("--stats", "stats_port", 3633),
        ("--stats --stats-port 4001", "stats_port", 4001),
        ("--oom-score-adj 100", "oom_score_adj", 100),
        ("--no-fork --no-fifo --no-detach", "port", 3632),
    ],
)
def test_options_become_settings(words: str, name: str, value: object) -> None:
    assert settings("--daemon", *words.split()).get(name) == value


@pytest.mark.parametrize(
    ("words", "address", "welcome"),
    [
        (["--allow", "10.0.0.0/8"], "10.2.3.4", True),
        (["--allow", "10.0.0.0/8"], "192.168.0.1", False),
        (["-a", "10.1.2.3/8", "-a", "192.168.0.1"], "10.9.9.9", True),
        (["-a", "10.1.2.3/8", "-a", "192.168.0.1"], "192.168.0.1", True),
        (["-a", "10.1.2.3/8", "-a", "192.168.0.1"], "192.168.0.2", False),
        (["-a", "localhost"], "127.0.0.1", True),
        (["-a", "8.8.8.8", "--allow-private"], "192.168.0.2", True),
        ([], "172.16.0.1", True),
        ([], "8.8.8.8", False),
        ([], "2001:4860:4860::8888", False),
        (["-a", "0.0.0.0/0"], "8.8.8.8", True),
    ],
)
def test_who_may_connect(words: list[str], address: str, welcome: bool) -> None:
    assert may_connect(address, settings("--daemon", *words).get("allow")) is welcome


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--bogus-option", 101, "--bogus-option"),
        ("--port 80000", 101, "--port 80000: it must be between"),
        ("--port x", 101, "no number"),
        ("--port=--3", 101, "no number"),
        ("--port=-1", 101, "between 0 and 65535"),
        ("--port", 101, "expected one argument"),
        ("--jobs 0", 101, "between 1 and"),
        ("--nice 30", 101, "between 0 and 20"),
        ("--lifetime x", 101, "--lifetime x"),
        ("--allow 192.168.0.0/33", 101, "'192.168.0.0/33' is not a network"),
        ("--allow 192.168.0.0/0", 101, "lets in everyone"),
        ("--allow 192.168.0", 101, "not a network"),
        ("--allow no.such.host.invalid", 101, "no.such.host.invalid"),
        ("--auth", 119, "no GSS-API"),
        ("--show-principal", 119, "--show-principal is not supported"),
        ("--whitelist /x", 119, "--whitelist is not supported"),
        ("--blacklist=/x", 119, "--blacklist is not supported"),
        ("--log-file /no/such/folder/log --no-detach --port 0", 100, "/no/such/folder/log"),
    ],
)
def test_what_is_wrong_ends_with_distccds_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, code: int, sentence: str
) -> None:
    pid_file = tmp_path / "pid"
    assert distccd.main(["--daemon", "--pid-file", str(pid_file), *words.split()]) == code
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.startswith("distccd: ERROR: ")
    assert ("Usage:" in err) == (code == 101)
    assert not pid_file.exists()


def test_a_port_in_use_is_102_and_says_by_whom(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        assert distccd.main(["--daemon", "--listen", "127.0.0.1", "--port", str(port)]) == 102
    err = capsys.readouterr().err
    assert "Address already in use" in err and f"(process {os.getpid()}) listens there" in err


def test_what_has_no_effect_is_said() -> None:
    notes = " ".join(
        settings(
            "--zeroconf", "--make-me-a-botnet", "--sysroot", "/x", "--log-level", "loud", "word", "-a", "::1"
        ).notes
    )
    for word in ("--zeroconf", "nothing but compilers", "--sysroot", "'loud'", "word"):
        assert word in notes


def test_the_user_counts_for_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert settings("--user", "daemon", "-a", "::1").get("user") == "daemon"
    unknown = settings("--user", "no-such-user", "-a", "::1")
    assert "user" not in unknown.values and "no-such-user" in unknown.notes[0]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "user" not in settings("--user", "daemon", "-a", "::1").values


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert distccd.main(["--version"]) == 0
    first, second, *_ = capsys.readouterr().out.split("\n", 2)
    assert re.fullmatch(r"distccd [\w.-]+ [.\w-]+", first)
    assert re.fullmatch(r"[ \t]+\(protocol.*\) \(default port 3632\)", second)
    assert distccd.main(["--help"]) == 0
    assert "Usage: distccd" in capsys.readouterr().out


def test_a_client_on_stdin_is_served_as_asked_or_as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = distccd._parser().parse_args
    assert distccd._is_inetd(parse(["--inetd"])) and not distccd._is_inetd(parse(["--daemon"]))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        real = os.fstat
        monkeypatch.setattr(os, "fstat", lambda fd: real(ours.fileno() if fd == 0 else fd))
        assert distccd._is_inetd(parse([])) and not distccd._is_inetd(parse(["--daemon"]))
        assert "allow" not in settings().values  # who started it decided who may come
        assert "allow" in settings("-a", "10.0.0.1").values
