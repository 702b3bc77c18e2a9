"""What a node takes for its memory: the machine's, or the limit of a control group it is in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.node import machine

GIB = 1024**3
UNLIMITED = "9223372036854771712"


class Groups:
    """A tree of control groups on the disk."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.own = folder / "own"

    def second(self, path: str, limit: str, used: int, cache: int) -> None:
        """A group of version 2."""
        self._write(path, {"memory.max": limit, "memory.current": str(used)}, f"anon 1\ninactive_file {cache}\n")

    def first(self, path: str, limit: str, used: int, cache: int) -> None:
        """A group of version 1."""
        files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": str(used)}
        self._write(f"memory/{path}", files, f"inactive_file 1\ntotal_inactive_file {cache}\n")

    def _write(self, path: str, files: dict[str, str], stat: str) -> None:
        (self.root / path).mkdir(parents=True, exist_ok=True)
        for name, text in {**files, "memory.stat": stat}.items():
            (self.root / path / name).write_text(text)


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Groups]:
    made = Groups(tmp_path)
    monkeypatch.setattr(machine, "_CGROUPS", str(made.root))
    monkeypatch.setattr(machine, "_OWN_GROUPS", str(made.own))
    meminfo = {b"MemTotal:": 16 * GIB, b"MemAvailable:": 12 * GIB}
    monkeypatch.setattr(machine, "_meminfo", meminfo.__getitem__)
    machine._groups.cache_clear()
    yield made
    machine._groups.cache_clear()


def test_without_groups(groups: Groups) -> None:
    assert (machine.memory_total(), machine.memory_available()) == (16 * GIB, 12 * GIB)


def test_service_with_a_limit(groups: Groups) -> None:
    groups.own.write_text("0::/system.slice/manycc-node.service\n")
    groups.second("system.slice", "max", 5 * GIB, 0)
    groups.second("system.slice/manycc-node.service", str(4 * GIB), 2 * GIB, GIB)
    assert (machine.memory_total(), machine.memory_available()) == (4 * GIB, 3 * GIB)


def test_the_tightest_of_all_groups_around_counts(groups: Groups) -> None:
    groups.own.write_text("0::/outer/inner\n")
    groups.second("outer", str(2 * GIB), GIB, 0)
    groups.second("outer/inner", str(8 * GIB), GIB, 0)
    assert (machine.memory_total(), machine.memory_available()) == (2 * GIB, GIB)


def test_first_version(groups: Groups) -> None:
    groups.own.write_text("5:cpu,cpuacct:/x\n4:memory:/jobs/one\n0::/\n")
    groups.first("", UNLIMITED, 9 * GIB, 0)
    groups.first("jobs", UNLIMITED, 9 * GIB, 0)
    groups.first("jobs/one", str(GIB), GIB, GIB // 2)
    assert (machine.memory_total(), machine.memory_available()) == (GIB, GIB // 2)


@pytest.mark.parametrize("version", ["first", "second"])
def test_container_that_is_told_a_path_outside(groups: Groups, version: str) -> None:
    groups.own.write_text("4:memory:/docker/0123\n" if version == "first" else "0::/../0123\n")
    getattr(groups, version)("", str(3 * GIB), GIB, 0)
    assert (machine.memory_total(), machine.memory_available()) == (3 * GIB, 2 * GIB)
