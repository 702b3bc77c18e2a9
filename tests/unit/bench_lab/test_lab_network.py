"""The lab's network and groups: how fast and how late its lines are, whose CPU is counted, that nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from lab import leftovers
from lab.groups import ROOT, Cpu, Group
from lab.hosts import GIB, Lab, Power, Setup
from lab.names import PREFIX, SCRATCH, LabError, mine
from lab.network import Line, Network
from lab.vitals import stat_text

from manycc.testing.requirements import lacking, need, need_root

_SINK = """
import socket
listener = socket.create_server(("", 5000))
print("listening", flush=True)
end, _ = listener.accept()
while data := end.recv(1 << 16):
    end.sendall(data[:1])
"""
_SOURCE = """
import json, socket, sys, time
end = socket.create_connection((sys.argv[1], 5000))
trips = []
for _ in range(5):
    begun = time.monotonic()
    end.sendall(b"x")
    end.recv(1)
    trips.append(time.monotonic() - begun)
begun = time.monotonic()
end.sendall(bytes(1_000_000))
end.shutdown(socket.SHUT_WR)
while end.recv(1 << 16):
    pass
print(json.dumps([min(trips), time.monotonic() - begun]))
"""
_BUSY = "import time\nwhile time.process_time() < 0.2: pass"


@pytest.fixture(autouse=True)
def _machine() -> Iterator[None]:
    need("ip", "tc", "nsenter", "unshare", "hostname")
    need_root("make namespaces and control groups")
    try:
        Group("probe", 1, GIB).close()
    except LabError as error:
        lacking(str(error))
    yield
    name = mine("")
    assert not [group for group in _groups() if name in group]
    assert not [folder for folder in os.listdir(SCRATCH) if folder.startswith(name)]


def _groups() -> list[str]:
    parents = [ROOT, *(os.path.join(ROOT, name) for name in ("cpu", "cpuacct", "memory"))]
    return [os.path.join(parent, name) for parent in parents if os.path.isdir(parent)
            for name in os.listdir(parent) if name.startswith(PREFIX)]  # fmt: skip


def _python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


def _send(line: Line) -> tuple[float, float, tuple[int, int]]:
    """The quickest round trip, how long a million bytes took, and what was counted."""
    with Network(["a", "b"], line) as network:
        with subprocess.Popen(network.command("b", _python(_SINK)), stdout=subprocess.PIPE) as sink:
            assert sink.stdout is not None
            assert sink.stdout.readline()
            command = network.command("a", _python(_SOURCE, network.address("b")))
            trip, took = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return trip, took, network.counters("a")


def test_lines_have_their_bandwidth_and_are_counted() -> None:
    _, took, (sent, received) = _send(Line(20))
    assert took > 0.35  # 8 of 20 Mbit; what the queues hold is not waited for
    assert 1_000_000 < sent < 1_200_000
    assert 0 < received < 200_000


def test_a_line_with_a_delay_has_it_and_its_bandwidth() -> None:
    need("/dev/net/tun")
    trip, took, (sent, _) = _send(Line(20, 30))
    assert 0.030 <= trip < 1
    assert took > 0.35
    assert sent > 1_000_000


def test_cpu_time_of_a_group_is_that_of_all_it_started() -> None:
    group = Group("test")
    try:
        subprocess.run(group.command(["sh", "-c", '"$@"; "$@"; :', "sh", *_python(_BUSY)]), check=True)
        subprocess.run(_python(_BUSY), check=True)  # not in it
        used = group.cpu()
        assert 0.4 < used.total < 0.6
        assert group.pids() == []
    finally:
        group.close()


def test_a_group_gets_no_more_than_its_quota_and_its_memory() -> None:
    group = Group("test", quota=0.1, memory=64 << 20)
    try:
        program = "import time\nbegun = time.monotonic()\n" + _BUSY + "\nprint(time.monotonic() - begun)"
        done = subprocess.run(group.command(_python(program)), check=True, capture_output=True)
        assert float(done.stdout) > 1.4
        done = subprocess.run(group.command(_python("bytearray(256 << 20)")), check=False, capture_output=True)
        assert done.returncode
        assert group.killed() == 1
    finally:
        group.close()


_LAB = """
import os, signal, subprocess, sys
sys.path.insert(0, sys.argv[1])
from lab import leftovers
from lab.hosts import Lab, Power, Setup
from lab.network import Line
with leftovers.scratch() as folder:
    os.mkdir(folder + "/lab")
    with Lab(folder + "/lab", Setup(Power(1, 1 << 28), (Power(1),)), Line(100, 5)) as lab:
        server = lab.start("helper1", ["sh", "-c", "trap '' TERM; echo here; sleep 60 & wait"])
        lab.wait(server, lambda: "here" in open(server.log).read())
        print(folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_has_left_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.groups._GONE_S", 0.5)
    bench = os.path.dirname(os.path.dirname(leftovers.__file__))
    run = subprocess.run([sys.executable, "-c", _LAB, bench], stdout=subprocess.PIPE, text=True, check=False)
    folder = run.stdout.strip()
    name = os.path.basename(folder).removesuffix("files")
    left = [group for group in _groups() if name in group]
    assert left
    members = set()
    for group in left:
        with open(os.path.join(group, "cgroup.procs"), encoding="ascii") as file:
            members |= {int(line) for line in file}
    assert len(members) > 4  # three hosts with their switch, the delay, the server
    leftovers.sweep()
    assert not [group for group in _groups() if name in group]
    assert not os.path.exists(folder)
    assert not [pid for pid in members if os.path.exists(f"/proc/{pid}/ns/net")]


def test_hosts_have_their_own_folders_and_names() -> None:
    with leftovers.scratch() as folder:
        os.mkdir(os.path.join(folder, "lab"))
        setup = Setup(Power(None, GIB), (Power(),))
        with Lab(os.path.join(folder, "lab"), setup, Line()) as lab:
            used = lab.run(["sh", "-c", f"hostname; pwd; echo 1 >/tmp/one; ls /tmp; ls {bench_file()}"])
            assert used.output.split() == ["client", "/tmp/build", "build", "home", "one", "state", bench_file()]
            assert used.client.total > 0
            assert used.helpers.total == 0
            assert os.path.exists(lab.path("client", "/tmp/one"))
            assert not os.path.exists(lab.path("helper1", "/tmp/one"))
            assert lab.path("client", "/var/tmp/x").endswith("/client/var-tmp/x")


def test_a_server_may_be_shown_its_own_hosts_load() -> None:
    assert len({len(stat_text(Cpu(user, 1), 2.5, 3)) for user in (0, 0.01, 98765.4)}) == 1
    with leftovers.scratch() as folder:
        os.mkdir(os.path.join(folder, "lab"))
        with Lab(os.path.join(folder, "lab"), Setup(Power(1), ()), Line()) as lab:
            command = lab.vitals("client").command(["cat", "/proc/stat", "/proc/loadavg"])
            lines = lab.run(command).output.splitlines()
            total = sum(int(figure) for figure in lines[0].split()[1:])
            assert lines[0].startswith("cpu  ")
            assert total < 100 * 60  # hundredths of a second of one core, since this began
            assert [line.split()[0] for line in lines[1:-1]] == [
                f"cpu{number}" for number in range(os.cpu_count() or 1)
            ]
            assert float(lines[-1].split()[0]) < 1.01


def bench_file() -> str:
    """Something of this tree's, which hosts must see wherever it is."""
    return os.path.realpath(leftovers.__file__)


@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="long: MANYCC_TEST_LONG=1 runs it")
def test_all_ways_of_the_peers_bench_give_the_same_objects() -> None:
    need("distcc", "distccd", "taskset")
    program = os.path.join(os.path.dirname(os.path.dirname(leftovers.__file__)), "peers.py")
    done = subprocess.run(
        [sys.executable, program, "--rounds", "1", "lua"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("34 of 34\n") == 10
