"""Who is to blame for an object of another kind: its host, or its source."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import pytest

from manycc.agent.doubts import Doubts
from manycc.job import Inputs, Job, Toolchain
from manycc.schedule.pool import Host, PoolBackend
from manycc.toolchain.objectcheck import ObjectKind, kind_of

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})
EXPECTED = ObjectKind(64, "little", 62, 0, 1, 0)
SENTENCE = "expected this, got that"


class Backend:
    name = "pi"

    def __init__(self) -> None:
        self.distrusted = ""

    def distrust(self, why: str) -> None:
        self.distrusted = why


def elf(machine: int = 62, flags: int = 0) -> bytes:
    return (
        b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, 0, flags, 64, 0, 0, 64, 0, 0)
    )


class Stage:
    def __init__(self, folder: Path) -> None:
        self.object = folder / "a.o"
        self.job = Job(
            argv=("gcc", "-c", "a.c"), cwd=str(folder), env=(), umask=0o22, toolchain=GCC,
            inputs=Inputs((), "scan", True, False), folders=(str(folder),), outputs=(str(self.object),), stems=(),
            source=str(folder / "a.c"),
        )  # fmt: skip
        self.backend = Backend()
        self.host = Host(cast(PoolBackend, self.backend))
        self.doubts = Doubts()

    def refused(self, data: bytes) -> None:
        self.doubts.refused(1, self.host, self.job, EXPECTED, data, SENTENCE)

    def blamed(self) -> bool:
        assert (self.host.wrong == 1) == (self.backend.distrusted == SENTENCE) == (SENTENCE in self.host.wrong_last)
        return self.host.wrong == 1


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("data", [elf(machine=183), b"text", b"", elf()[:40]], ids=["machine", "text", "none", "cut"])
def test_no_source_asks_for_that(stage: Stage, data: bytes) -> None:
    stage.refused(data)
    assert stage.blamed()
    stage.object.write_bytes(data)
    assert stage.doubts.settle(1) == ""
    assert stage.doubts.expected(stage.job, EXPECTED) == EXPECTED


def test_the_compiler_here_writes_the_same_kind(stage: Stage) -> None:
    stage.refused(elf(flags=5))
    assert not stage.blamed()
    stage.object.write_bytes(elf(flags=5))
    assert "the source asks for it" in stage.doubts.settle(1)
    assert not stage.blamed()
    assert stage.doubts.expected(stage.job, EXPECTED) == kind_of(elf(flags=5))
    assert stage.doubts.settle(1) == ""


def test_the_compiler_here_writes_another_kind(stage: Stage) -> None:
    stage.refused(elf(flags=5))
    stage.object.write_bytes(elf())
    assert stage.doubts.settle(1) == ""
    assert stage.blamed()
    assert stage.doubts.expected(stage.job, EXPECTED) == EXPECTED


@pytest.mark.parametrize("over", [False, True])
def test_nobody_is_blamed_without_proof(stage: Stage, over: bool) -> None:
    """The compile here has failed; or was never made."""
    stage.refused(elf(flags=5))
    if over:
        stage.doubts.drop(1)
        stage.object.write_bytes(elf())
    assert stage.doubts.settle(1) == ""
    assert not stage.blamed()


def test_where_nothing_is_expected(stage: Stage) -> None:
    assert stage.doubts.expected(stage.job, None) is None
