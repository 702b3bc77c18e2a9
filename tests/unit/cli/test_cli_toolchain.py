"""What ``manycc toolchain match`` and ``manycc doctor`` say of a host's answers, whatever they are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli_support import STATUS, Cli, ControlAgent, Reply, as_json

from manycc.testing.requirements import need
from manycc.wire.launcher import Request

SAYS = {
    "same": {"sentence": "can: it has the same compiler, byte for byte", "way": "same"},
    "shipped": {"sentence": "can: the compiler of this machine was sent there", "way": "shipped"},
    "equivalent": {"sentence": "can: it has an equivalent compiler", "way": "equivalent"},
    "no": {"sentence": "cannot: binutils 2.38 there, 2.40 here \x1b]0;owned\x07", "way": ""},
    "sending": {"sentence": "not yet: 3 of 60 MB are there", "way": ""},
    "stock": {"sentence": "can: its compiler makes the same objects of the canaries"},
}


def answering(what: str, state: str = "ready") -> Reply:
    """An agent whose one host, pi, says this of every compiler."""

    def reply(request: dict[str, Any] | Request) -> bytes:
        if isinstance(request, Request):
            return as_json({"distributable": True, "hosts": [{"name": "pi", "state": state, **SAYS[what]}]})
        return as_json(STATUS if request["op"] == "status" else {"version": "0.1.0"})

    return reply


@pytest.fixture(autouse=True)
def _gcc() -> None:
    need("/usr/bin/gcc", "/usr/bin/g++")


@pytest.mark.parametrize(
    ("what", "shown", "code"),
    [("same", "the same bytes", 0), ("shipped", "sent there", 0), ("equivalent", "an equivalent one there", 0),
     ("no", "no", 1), ("sending", "not yet", 1), ("stock", "yes", 0)],
)  # fmt: skip
def test_each_way_has_its_words(cli: Cli, home: Path, what: str, shown: str, code: int) -> None:
    with ControlAgent(str(home), answering(what)) as agent:
        done = cli("toolchain", "match", "pi", "gcc", "--", "-O2", "-fPIC")
    assert done.returncode == code, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("/usr/bin/gcc")]
    assert row.split(maxsplit=1)[1].startswith(f"{shown}  ")
    assert "\x1b" not in done.stdout
    hint = [line for line in done.stdout.splitlines() if "hint:" in line]
    assert bool(hint) is (what == "no")
    if hint:
        assert (
            "on that machine: manycc toolchain install x86_64-linux-gnu@12.2.0; or here: manycc toolchain recipe"
            in hint[0]
        )
    (asked,) = [request for request in agent.requests if isinstance(request, Request)]
    assert asked.argv == ["/usr/bin/gcc", "-O2", "-fPIC", "-c", "match.c"] and asked.env["MANYCC_HOSTS"] == "pi"


def test_without_names_it_is_those_that_builds_call(cli: Cli, home: Path) -> None:
    with ControlAgent(str(home), answering("same")):
        found = json.loads(cli("toolchain", "match", "pi", "--json").stdout)
    paths = {one["path"]: one for one in found["compilers"]}
    assert {"/usr/bin/gcc", "/usr/bin/g++"} <= set(paths)
    assert not any("aarch64" in os.path.basename(path) for path in paths)
    assert paths["/usr/bin/gcc"]["way"] == "same" and paths["/usr/bin/gcc"]["served"]


def test_a_host_that_is_down_is_told_at_once(cli: Cli, home: Path) -> None:
    with ControlAgent(str(home), answering("no", "down")) as agent:
        done = cli("toolchain", "match", "pi")
    assert done.returncode == 1 and done.stderr.startswith("manycc: pi cannot be asked: cannot: binutils")
    assert len([request for request in agent.requests if isinstance(request, Request)]) == 1


@pytest.mark.parametrize("what", ["no", "equivalent"])
def test_doctor_says_it_of_each_host(cli: Cli, home: Path, what: str) -> None:
    with ControlAgent(str(home), answering(what)):
        done = cli("doctor", env=os.environ | {"MANYCC_HOSTS": "pi"})
    lines = iter(done.stdout.splitlines())
    line = next(line for line in lines if "host-compiler: /usr/bin/gcc on pi: " in line)
    if what == "no":
        assert line.startswith("warn") and "cannot: binutils 2.38 there" in line
        assert next(lines).startswith("      do: on that machine: manycc toolchain install x86_64-linux-gnu@12")
    else:
        assert line.startswith("ok") and line.endswith("can: it has an equivalent compiler")
