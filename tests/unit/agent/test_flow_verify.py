"""A job's way past verification: sampled when accepted, refused when its host was barred meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from test_flow import Stage, failing, ok, play

from manycc.errors import BackendGone
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.verify.field import Verifier
from manycc.wire.launcher import LOCAL


class FakeVerifier:
    """Notes what passes."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.added: list[object] = []

    def take(self, host: str, number: int, *_: Any) -> object:
        self.taken.append((host, number))
        return object()

    def add(self, sample: object) -> None:
        self.added.append(sample)


def arrange(stage: Stage, barred: frozenset[str] = frozenset()) -> FakeVerifier:
    """Give the stage's runner a verifier, and hosts that are found to be barred when their answer comes."""
    verifier = FakeVerifier()

    def sentence(host: str, toolchain: Toolchain) -> str:
        return "it lied" if host in barred else ""

    stage.runner._verifier = cast(Verifier, verifier)
    stage.runner._barred = sentence
    return verifier


def test_an_answer_is_sampled(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok())
        verifier = arrange(stage)
        record = await stage.finish()
        assert record["reason"] == "remote"
        assert verifier.taken == [("node0", record["job"])]
        assert len(verifier.added) == 1

    play(test)


def test_what_could_not_be_placed_is_no_sample(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "a.o").symlink_to("b.o")
        stage = Stage(tmp_path, ok())
        verifier = arrange(stage)
        assert (await stage.finish())["reason"] == "output-special"
        assert verifier.added == []

    play(test)


def test_an_answer_of_a_host_barred_meanwhile_is_not_taken(tmp_path: Path) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(), ok(host="node1"))
        verifier = arrange(stage, frozenset(["node0"]))
        record = await stage.finish()
        assert (record["reason"], record["host"]) == ("remote", "node1")
        assert record["tried"] == [["node0", "quarantined", "it lied"]]
        assert [host for host, _ in verifier.taken] == ["node1"]

    play(test)


@pytest.mark.parametrize("other", [ok(host="node1"), failing(BackendGone(Reason.NODE_LOST, "gone"))])
def test_with_all_barred_it_is_local(tmp_path: Path, other: Any) -> None:
    async def test() -> None:
        stage = Stage(tmp_path, ok(), other)
        arrange(stage, frozenset(["node0", "node1"]))
        record = await stage.finish()
        assert stage.caller.answers == [LOCAL]
        assert record["reason"] in ("quarantined", "node-lost")
        assert not (tmp_path / "a.o").exists()

    play(test)
