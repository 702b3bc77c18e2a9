"""Verification in the field, with real nodes: honest ones are never blamed, one that lies is found out."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from compare import snapshot

from manycc.testing.cluster import BIN, Cluster
from manycc.testing.requirements import need

SAMPLED = {"MANYCC_VERIFY": "1/1"}
LIAR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lying_node.py")

FILES = {
    "a.c": '#include <stdio.h>\n#include "sub/a.h"\nint f(int x) { int unused; printf("%d", "text"); return x + A; }\n',
    "e.c": '#include "sub/a.h"\nint f(void) { return missing; }\n',
    "v.cc": "#include <vector>\n#include <string>\nstd::vector<std::string> v(7);\nint size() { return v.size(); }\n",
    "t.c": "const char *when = __DATE__ __TIME__;\n",
    "s.S": '#include "sub/a.h"\n.incbin "sub/blob"\n',
    "sub/a.h": "#define A 1\n",
    "sub/blob": "blob",
    "out/.keep": "",
}
HONEST = [
    "gcc -c a.c",
    "gcc -g -O2 -Wall -Wextra -MD -MP -c a.c -o out/a.o",
    "gcc -g -gsplit-dwarf -c a.c -o out/split.o",
    "gcc --coverage -fstack-usage -c a.c -o cov.o",
    "gcc -O2 -S a.c -o a.s",
    "gcc -g -c s.S -o out/s.o",
    "gcc -c e.c",
    "gcc -Wall -Werror -c a.c -o werror.o",
    "gcc -g -O1 -fdump-tree-optimized -c a.c -o out/dump.o",
    "gcc -g -c -include sub/a.h t.c -o when.o",
    "g++ -g -std=c++20 -c v.cc -o out/v.o",
    "g++ -O2 -gsplit-dwarf -MMD -MF out/v.dep -c v.cc",
    "clang-14 -g -Wall -MD -c a.c -o out/clang.o",
    "clang-14 -c e.c",
    "clang++-14 -O1 -g -gsplit-dwarf -c v.cc -o out/clang++.o",
]


def fill(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def verifications(cluster: Cluster) -> list[dict[str, Any]]:
    try:
        with open(os.path.join(cluster.client, "state", "verify.jsonl"), encoding="ascii") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError:
        return []


def test_honest_nodes_are_found_honest(cluster: Cluster, tmp_path: Path) -> None:
    need("clang-14")
    fill(tmp_path)
    before = len(verifications(cluster))
    jobs = len(cluster.records())
    for command in HONEST:
        cluster.compile(command.split(), str(tmp_path), SAMPLED)
    records = cluster.wait_records(jobs + len(HONEST))[jobs:]
    assert [record for record in records if record["reason"] not in ("remote", "cached")] == []
    left = snapshot(tmp_path)
    done = cluster.cli("verify", "--waiting", "--json")
    assert json.loads(done.stdout)["quarantine"] == []
    found = verifications(cluster)[before:]
    assert [(one["out"], one["verdict"], one["detail"]) for one in found if one["verdict"] != "equal"] == []
    assert len(found) == len(HONEST)
    varies = [one["out"] for one in found if one["detail"]]
    assert varies == ["cov.o"]  # gcc puts the time into it
    assert snapshot(tmp_path) == left
    assert os.listdir(os.path.join(cluster.client, "state", "recompile")) == []


def test_colours_of_a_terminal_are_the_same(cluster: Cluster, tmp_path: Path) -> None:
    need("script")
    fill(tmp_path)
    before = len(verifications(cluster))
    env = {**cluster.env, **SAMPLED, "TERM": "xterm-256color"}
    line = f"{cluster.launcher} gcc -Wall -c a.c"
    done = subprocess.run(["script", "-qec", line, os.devnull], cwd=tmp_path, env=env, capture_output=True, check=True)
    assert b"\x1b[" in done.stdout
    cluster.cli("verify", "--waiting")
    assert [one["verdict"] for one in verifications(cluster)[before:]] == ["equal"]


def test_a_changed_input_makes_a_sample_void(cluster: Cluster, tmp_path: Path) -> None:
    fill(tmp_path)
    before = len(verifications(cluster))
    cluster.compile(["gcc", "-c", "a.c"], str(tmp_path), SAMPLED)
    (tmp_path / "sub/a.h").write_text("#define A 2\n")
    cluster.cli("verify", "--waiting")
    found = verifications(cluster)[before:]
    assert [(one["verdict"], one["detail"]) for one in found] == [("void", "an input has changed since")]


def test_a_file_written_again_as_it_was_is_no_change(cluster: Cluster, tmp_path: Path) -> None:
    fill(tmp_path)
    before = len(verifications(cluster))
    cluster.compile(["gcc", "-c", "a.c"], str(tmp_path), SAMPLED)
    fill(tmp_path)
    cluster.cli("verify", "--waiting")
    assert [one["verdict"] for one in verifications(cluster)[before:]] == ["equal"]


def test_nothing_is_sampled_unless_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    fill(tmp_path)
    before = len(verifications(cluster))
    cluster.compile(["gcc", "-c", "a.c"], str(tmp_path))
    assert json.loads(cluster.cli("verify", "--waiting", "--json").stdout)["verify"]["rate"] == "off"
    assert len(verifications(cluster)) == before


@pytest.mark.parametrize("command", ["gcc -g -MD -c a.c -o out/a.o", "gcc -c e.c", "g++ -gsplit-dwarf -g -c v.cc"])
def test_by_hand_with_an_honest_node(cluster: Cluster, tmp_path: Path, command: str) -> None:
    fill(tmp_path)
    subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False)
    expected = snapshot(tmp_path)
    fill(tmp_path)
    done = cluster.cli("verify", "--json", "--", *command.split(), cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["verdict"], found["differences"], found["varies"]) == ("equal", [], [])
    assert found["host"] in {node.host.partition("/")[0] for node in cluster.nodes}
    assert snapshot(tmp_path) == expected


def test_by_hand_what_no_host_can_do(cluster: Cluster, tmp_path: Path) -> None:
    fill(tmp_path)
    done = cluster.cli("verify", "--", "gcc", "a.c", "s.S", "-o", "program", check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "not-compile" in done.stdout or "several-sources" in done.stdout
    done = cluster.cli("verify", "--host", "127.0.0.1:1", "--", "gcc", "-c", "a.c", check=False, cwd=tmp_path)
    assert (done.returncode, "hosts-down" in done.stdout) == (2, True)
    assert (tmp_path / "a.o").exists()


def test_a_killed_agent_leaves_no_compiler_and_no_folder(session_folder: str, tmp_path: Path) -> None:
    # The compiler is process 1 of a namespace below the helper's, and is to go with the agent all the same.
    (tmp_path / "slow.c").write_text(f"int slow[] = {{ {'1, ' * 200_000} }};\n")
    with Cluster(os.path.join(session_folder, "killed"), nodes=1, env=SAMPLED) as cluster:
        cluster.compile(["gcc", "-c", "slow.c"], str(tmp_path))
        before = snapshot(tmp_path)
        agent = cluster.agent_pid()
        ended = os.pidfd_open(agent)
        with stopped_compiler(cluster, tmp_path) as pidfd:
            os.kill(agent, signal.SIGKILL)
            assert select.select([pidfd], [], [], 30)[0], "the compiler outlives the agent"
        # Its other threads hold the socket open a little longer than the one that the compiler is tied to.
        assert select.select([ended], [], [], 30)[0]
        os.close(ended)
        assert snapshot(tmp_path) == before
        assert os.listdir(os.path.join(cluster.client, "state", "recompile")) == []
        cluster.compile(["gcc", "-c", "slow.c"], str(tmp_path))
        assert cluster.wait_records(2)[-1]["reason"] == "cached"


@contextlib.contextmanager
def stopped_compiler(cluster: Cluster, folder: Path) -> Iterator[int]:
    """Have the waiting sample compiled again, and stop a process of that; a descriptor of the process."""
    tool = subprocess.Popen(
        [os.path.join(BIN, "manycc-cli"), "verify", "--waiting"],
        env=cluster.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pidfd = -1
    try:
        end = time.monotonic() + 60
        while pidfd < 0 and time.monotonic() < end:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    # Not the helper's own child on its way to become the compiler.
                    program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
                    if os.readlink(f"/proc/{pid}/cwd") == str(folder) and not program.startswith("python"):
                        pidfd = os.pidfd_open(int(pid))
                        signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
                        break
        assert pidfd >= 0, "no compiler was seen"
        yield pidfd
    finally:
        tool.kill()
        tool.wait()
        if pidfd >= 0:
            os.close(pidfd)


# -- a node that lies


@pytest.fixture
def lying(session_folder: str, tmp_path: Path) -> Iterator[Cluster]:
    """A client with a lying node (the first) and an honest one, and one object of the liar."""
    cluster = Cluster(os.path.join(session_folder, tmp_path.name), nodes=2, jobs=2, env=SAMPLED)
    cluster.nodes[0].program = [sys.executable, LIAR]
    (tmp_path / "lie.c").write_text('#include <stddef.h>\nconst char text[] = "truth";\nsize_t size = sizeof text;\n')
    (tmp_path / "Makefile").write_text("lie.o: lie.c\n\t$(CC) -c $<\n")
    with cluster:
        yield cluster


def host(cluster: Cluster, number: int) -> str:
    return cluster.nodes[number].host.partition("/")[0]


def compile_lie(cluster: Cluster, folder: Path, *numbers: int) -> dict[str, Any]:
    """Compile lie.c with some of the nodes; the job's record."""
    before = len(cluster.records())
    hosts = {"MANYCC_HOSTS": " ".join(cluster.nodes[number].host for number in numbers)}
    done = cluster.compile(["gcc", "-g", "-c", "lie.c"], str(folder), hosts)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return cluster.wait_records(before + 1)[-1]


def test_a_lying_node_is_found_and_barred(lying: Cluster, tmp_path: Path) -> None:
    liar, honest = host(lying, 0), host(lying, 1)
    record = compile_lie(lying, tmp_path, 0)
    assert (record["reason"], record["host"]) == ("remote", liar)
    wrong = (tmp_path / "lie.o").read_bytes()
    assert b"wrong" in wrong

    done = lying.cli("verify", "--waiting", check=False)
    assert done.returncode == 1
    assert f"WARNING: host {liar} is quarantined" in done.stdout
    (entry,) = json.loads(lying.cli("status", "--json").stdout)["quarantine"]
    assert (entry["host"], entry["difference"]) == (liar, str(tmp_path / "lie.o"))
    check_report(Path(entry["report"]), tmp_path, wrong)
    check_loud(lying, tmp_path, liar)

    # Others are asked instead; with no other, the job is local, and its record says why.
    assert compile_lie(lying, tmp_path, 0)["reason"] == "quarantined"
    assert b"truth" in (tmp_path / "lie.o").read_bytes()
    record = compile_lie(lying, tmp_path, 0, 1)
    assert (record["reason"], record["host"]) == ("remote", honest)

    found = json.loads(lying.cli("verify", "--json", "--", "gcc", "-c", "lie.c", cwd=tmp_path).stdout)
    assert (found["verdict"], found["host"]) == ("equal", honest)

    lying.cli("agent", "stop")
    assert f"host {liar} is quarantined" in lying.cli("status").stdout  # though no agent runs
    assert compile_lie(lying, tmp_path, 0)["reason"] == "quarantined"
    assert lying.cli("verify", "--forgive", liar).returncode == 0
    record = compile_lie(lying, tmp_path, 0)
    assert record["host"] == liar
    assert lying.cli("verify", "--forgive", liar, check=False).returncode == 1


def check_report(report: Path, folder: Path, wrong: bytes) -> None:
    """The report is whole, and its command can be repeated."""
    command = json.loads((report / "command.json").read_text())
    again = folder / "again"
    again.mkdir()
    argv = [*command["argv"], "-o", str(again / "lie.o")]
    subprocess.run(argv, executable=command["compiler"], cwd=command["cwd"], env=command["env"], check=True)
    path = str(folder / "lie.o").lstrip("/")
    local = report / "local/files" / path
    assert local.read_bytes() == (again / "lie.o").read_bytes()
    assert (report / "remote/files" / path).read_bytes() == wrong
    assert [(report / side / "exit-code").read_text() for side in ("local", "remote")] == ["0\n", "0\n"]
    text = (report / "difference.txt").read_text()
    assert "section .rodata" in text and "section .text" not in text
    assert command["inputs_missing"] == []
    assert len(command["inputs"]) > 1
    for item in command["inputs"]:
        assert (report / "inputs" / item["path"].lstrip("/")).read_bytes() == Path(item["path"]).read_bytes()


def check_loud(cluster: Cluster, folder: Path, liar: str) -> None:
    """It is told wherever one looks."""
    done = cluster.cli("hosts", check=False)
    assert (done.returncode, f"host {liar} is quarantined" in done.stdout) == (1, True)
    assert f"host {liar} returned a wrong result" in cluster.cli("doctor", check=False).stdout
    assert "1 different" in cluster.cli("stats").stdout
    assert json.loads(cluster.cli("stats", "--json").stdout)["verify"]["different"] == 1
    assert str(folder / "lie.o") in cluster.cli("verify", "--suspects", liar).stdout
    done = subprocess.run(
        [cluster.launcher, "run", "--", "make"], cwd=folder, env=cluster.env, capture_output=True, text=True, check=True
    )
    assert f"WARNING: host {liar} is quarantined" in done.stderr
    with open(os.path.join(cluster.client, "state", "agent.log"), encoding="utf-8") as file:
        assert "WRONG RESULT" in file.read()


def test_by_hand_with_a_lying_node(lying: Cluster, tmp_path: Path) -> None:
    liar = host(lying, 0)
    done = lying.cli("verify", "--host", liar, "--", "gcc", "-g", "-c", "lie.c", check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "section .rodata: 6 bytes, first difference at offset 0x0" in done.stdout
    assert f"WARNING: host {liar} is quarantined" in done.stdout
    assert b"truth" in (tmp_path / "lie.o").read_bytes()
    assert compile_lie(lying, tmp_path, 0)["reason"] == "quarantined"
