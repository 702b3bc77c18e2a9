"""The network of ``bench/peers.py``: how fast its lines are, whose CPU time is counted, that nothing is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import peers_net
import pytest

from manycc.testing.requirements import need

_SINK = """
import socket
listener = socket.create_server(("", 5000))
print("listening", flush=True)
end, _ = listener.accept()
while end.recv(1 << 16):
    pass
"""
_SOURCE = """
import socket, sys, time
end = socket.create_connection((sys.argv[1], 5000))
begun = time.monotonic()
end.sendall(bytes(1_000_000))
end.shutdown(socket.SHUT_WR)
end.recv(1)
print(time.monotonic() - begun)
"""
_BUSY = "import time\nwhile time.process_time() < 0.2: pass"


@pytest.fixture(autouse=True)
def _tools() -> Iterator[None]:
    need("ip", "tc", "nsenter")
    if os.geteuid():
        pytest.skip("NOT TESTED: network namespaces take root")
    yield
    mine = f"manycc-peers-{os.getpid()}-"
    left = [name for folder in ("/run/netns", "/sys/fs/cgroup/cpuacct") if os.path.isdir(folder)
            for name in os.listdir(folder) if name.startswith(mine)]  # fmt: skip
    assert not left


def _python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


def test_lines_have_their_bandwidth_and_are_counted() -> None:
    with peers_net.Network(["a", "b"], megabits=20) as network:
        with subprocess.Popen(network.command("b", _python(_SINK)), stdout=subprocess.PIPE) as sink:
            assert sink.stdout is not None
            assert sink.stdout.readline()
            command = network.command("a", _python(_SOURCE, network.address("b")))
            took = float(subprocess.run(command, check=True, capture_output=True).stdout)
        sent, received = network.counters("a")
        assert took > 0.35  # 8 of 20 Mbit; what the queue holds at the end is not waited for
        assert 1_000_000 < sent < 1_200_000
        assert 0 < received < 200_000


def test_cpu_time_of_a_group_is_that_of_all_it_started() -> None:
    group = peers_net.CpuGroup("test")
    try:
        subprocess.run(group.command(["sh", "-c", '"$@"; "$@"; :', "sh", *_python(_BUSY)]), check=True)
        subprocess.run(_python(_BUSY), check=True)  # not in it
        assert 0.4 < group.seconds() < 0.6
        assert group.pids() == []
    finally:
        group.close()


def test_what_a_killed_run_has_left_is_swept() -> None:
    program = (
        f"import sys; sys.path.insert(0, {os.path.dirname(peers_net.__file__)!r})\n"
        "import os, peers_net, signal, subprocess\n"
        "with peers_net.Network(['a'], 100) as network:\n"
        "    group = peers_net.CpuGroup('test')\n"
        "    sleep = network.command('a', ['sh', '-c', 'echo && exec sleep 60'])\n"
        "    left = subprocess.Popen(group.command(sleep), stdout=subprocess.PIPE)\n"
        "    left.stdout.readline()\n"
        "    print(left.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        sleeper = int(run.stdout.readline())
    names = [name for name in os.listdir("/run/netns") if name.startswith(f"manycc-peers-{run.pid}-")]
    assert len(names) == 2
    peers_net.sweep()
    assert not {*names} & {*os.listdir("/run/netns")}
    assert not os.path.exists(f"/proc/{sleeper}/ns/net")  # gone, or waiting for init to take note of its end


@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="long: MANYCC_TEST_LONG=1 runs it")
def test_all_ways_of_building_give_the_same_objects() -> None:
    need("distcc", "distccd", "taskset")
    program = os.path.join(os.path.dirname(peers_net.__file__), "peers.py")
    done = subprocess.run(
        [sys.executable, program, "--rounds", "1", "lua"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("34 of 34\n") == 10
