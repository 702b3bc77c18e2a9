"""CPU seconds, of the machine or of the control group with the tightest quota."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from manycc.monitor.cpu import CpuMeter

STAT = """cpu  1000 200 300 50000 700 10 20 5 40 0
cpu0 600 100 200 25000 300 10 20 5 40 0
cpu1 400 100 100 25000 400 0 0 0 0 0
intr 1 2 3
"""
TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """Its files."""

    def __init__(self, folder: Path) -> None:
        self.groups = folder / "groups"
        self.groups.mkdir()
        self.own = folder / "own"
        self.own.write_text("")
        self.stat = folder / "stat"
        self.stat.write_text(STAT)

    def meter(self) -> CpuMeter:
        return CpuMeter(str(self.groups), str(self.own), str(self.stat))

    def write(self, path: str, text: str) -> None:
        file = self.groups / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    return Machine(tmp_path)


def test_the_whole_machine(machine: Machine) -> None:
    found = machine.meter().read()
    assert found.used == pytest.approx((1000 + 200 + 300 + 10 + 20 + 5) / TICKS)
    assert (found.processors, found.source) == (2.0, "machine")


def test_only_the_processors_that_may_be_used(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1})
    found = machine.meter().read()
    assert found.used == pytest.approx(600 / TICKS)
    assert found.processors == 1.0


def test_a_quota_of_version_2(machine: Machine) -> None:
    machine.own.write_text("0::/a/b\n")
    machine.write("a/cpu.max", "50000 100000\n")
    machine.write("a/cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    machine.write("a/b/cpu.max", "150000 100000\n")
    machine.write("a/b/cpu.stat", "usage_usec 1\n")
    found = machine.meter().read()
    assert (found.used, found.processors) == (2.5, 0.5)
    assert found.source.endswith("/a")
    machine.write("a/cpu.max", "max 100000\n")
    assert machine.meter().read().processors == 1.5
    machine.write("a/b/cpu.max", "400000 100000\n")  # more than there is
    assert machine.meter().read().source == "machine"


def test_a_quota_of_version_1(machine: Machine) -> None:
    machine.own.write_text("3:cpuset:/\n2:cpu,cpuacct:/job\n0::/\n")
    for name, text in {"cfs_quota_us": "120000", "cfs_period_us": "100000"}.items():
        machine.write(f"cpu/job/cpu.{name}", text)
    machine.write("cpu/cpu.cfs_quota_us", "-1")
    machine.write("cpu/cpu.cfs_period_us", "100000")
    machine.write("cpuacct/job/cpuacct.usage", "7500000000\n")
    found = machine.meter().read()
    assert (found.used, found.processors) == (7.5, 1.2)


def test_a_group_that_cannot_be_read_is_done_without(machine: Machine) -> None:
    machine.own.write_text("garbage\n0::/a\n")
    machine.write("a/cpu.max", "50000 0\n")
    assert machine.meter().read().source == "machine"
    machine.own.write_text("0::/a\n")
    machine.write("a/cpu.max", "50000 100000\n")  # and no cpu.stat
    assert machine.meter().read().source == "machine"


def test_this_machine() -> None:
    meter = CpuMeter()
    before = meter.read()
    burnt = time.process_time() + 0.1
    while time.process_time() < burnt:
        pass
    after = meter.read()
    assert after.used - before.used >= 0.08
    assert 0 < after.processors <= (os.cpu_count() or 1)
