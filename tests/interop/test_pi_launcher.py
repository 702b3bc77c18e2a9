"""manycc on emulated Pis: the programs in C are built there, and agent, node and sandbox work there among themselves.

MANYCC_TEST_LONG=1 does it on a 32-bit ARM, too. With -rP, pytest prints what the agent takes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from pi_builds import Client, both, lay_out, node_on, used
from pis import PROGRAMS, Pi, pi
from tools import PROJECT
from userland import ARM64, ARMHF, Processor

from manycc import __version__
from manycc.testing.cluster import BIN
from manycc.toolchain import machines
from manycc.toolchain.machines import host_of

LONG = os.environ.get("MANYCC_TEST_LONG") == "1"
HOSTS = {ARM64: "aarch64", ARMHF: "arm"}
SRC = "/home/you/src"
FILES = {
    "a.c": '#include <stdio.h>\nint main(void) { return puts("a") < 0; }\n',
    "b.c": PROJECT["lib/alone.c"],
    "Makefile": "all: a.o b.o\n%.o: %.c\n\t$(CC) $(FLAGS) -c $< -o $@\n",
}
"""Emulation makes a compile cost a second."""
AGENT_MB = 200.0
"""Under emulation: qemu's own and the code it has translated are in it."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", params=[ARM64, *([ARMHF] if LONG else [])], ids=lambda one: one.arch)
def machine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pi]:
    processor: Processor = request.param
    with pi(processor, str(tmp_path_factory.mktemp("pi"))) as made:
        yield made


def test_what_is_built_there_is_for_there(machine: Pi) -> None:
    """``Pi.install`` has built the programs, and any warning would have been an error."""
    for name in PROGRAMS.values():
        assert host_of(str(machine.path(f"/usr/local/bin/{name}"))) == HOSTS[machine.processor]
    assert machine.run(["manycc", "--version"]).stdout.strip() == f"manycc {__version__}"
    assert machine.run(["gcc", "-dumpmachine"]).stdout.strip() == machine.processor.triple
    # The same source is not the same program: this machine's would not have run there.
    assert host_of(f"{BIN}/manycc") == machines.this_host() != HOSTS[machine.processor]


def test_without_an_agent_the_compiler_runs(machine: Pi) -> None:
    machine.write("/tmp/alone/x.c", "int x;\nint y = z;\n")
    env = {"MANYCC_DISABLE": "1"}
    plain = machine.run(["gcc", "-c", "x.c"], "/tmp/alone", check=False)
    ours = machine.run(["manycc", "gcc", "-c", "x.c"], "/tmp/alone", env, check=False)
    assert plain.returncode == 1
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_agent_and_node_there(machine: Pi) -> None:
    """A Pi that helps another: the same compiler, sealed by bubblewrap, and the objects are the same."""
    lay_out(machine, SRC, FILES)
    with node_on(machine) as host:
        client = Client(machine, host)
        alone, built = both(client, SRC, ["make", "FLAGS=-O1 -g"])
        assert list(alone.made) == ["a.o", "b.o"]
        assert built.made == alone.made
        assert [(one["reason"], one["way"]) for one in built.records] == [("remote", "same")] * 2
        assert "sandbox: bubblewrap" in machine.path("/tmp/node.log").read_text()

        status = client.agent()["agent"]
        memory, cpu_s = used(machine, status["pid"])
        idle = machine.run(["python3", "-c", "import os; print(open('/proc/self/status').read())"]).stdout
        (python,) = (int(line.split()[1]) / 1000 for line in idle.splitlines() if line.startswith("VmRSS:"))
        print(f"{machine.processor.arch}: the agent takes {memory:.0f} MB under qemu (a bare Python {python:.0f} MB),")
        print(f"and took {cpu_s:.1f} s of processor time, its start and two first jobs included")
        assert memory < AGENT_MB

        # What a job costs the agent when it is not its first.
        before = client.agent()["agent"]["cpu_s"]
        for _ in range(8):
            machine.run(["manycc", "gcc", "-O1", "-g", "-c", "a.c", "-o", "a.o"], SRC, client.env)
        records = client.news()
        assert [one["reason"] for one in records] == ["cached"] * 8
        cost = client.agent()["agent"]["cpu_s"] - before
        print(f"a warm job costs it at most {cost / 8 * 1000:.0f} ms under qemu, the questions about it included")
        client.close()


def test_the_arm_bubblewrap_under_qemu(machine: Pi) -> None:
    """Why ``pis`` lays this machine's bubblewrap over a Pi's: should qemu learn it, that can go."""
    source = (
        "#define _GNU_SOURCE\n#include <sched.h>\n#include <signal.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n"
        "int main(void) { long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);\n"
        "  if (pid == 0) _exit(0);\n  return pid < 0; }\n"
    )
    machine.write("/tmp/clone.c", source)
    machine.run(["gcc", "clone.c", "-o", "clone"], "/tmp")
    assert machine.run(["./clone"], "/tmp", check=False).returncode == 1
    assert subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0
