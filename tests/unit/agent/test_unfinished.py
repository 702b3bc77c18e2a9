"""The note of a temporary name, and what the next agent does about it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from manycc.agent.unfinished import Unfinished


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def note(run: Path, text: str) -> Path:
    """What a killed agent has left."""
    path = run / "unfinished.1"
    path.write_text(text)
    return path


def test_what_a_killed_agent_left_is_removed(run: Path, tmp_path: Path) -> None:
    stray = tmp_path / ".manycc-1-0.tmp"
    stray.write_text("half")
    left = note(run, str(stray))
    Unfinished(str(run)).close()
    assert not stray.exists() and not left.exists()


def test_what_a_living_agent_works_on_is_left_alone(run: Path, tmp_path: Path) -> None:
    stray = tmp_path / ".manycc-1-0.tmp"
    stray.write_text("half")
    with open(note(run, str(stray)), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Unfinished(str(run)).close()
    assert stray.exists() and os.listdir(run) == ["unfinished.1"]


def test_no_other_file_is_ever_removed(run: Path, tmp_path: Path) -> None:
    precious = tmp_path / "a.o"
    precious.write_text("mine")
    note(run, str(precious))
    Unfinished(str(run)).close()
    assert precious.exists() and os.listdir(run) == []


def test_a_name_is_noted_for_as_long_as_it_is_used(run: Path) -> None:
    unfinished = Unfinished(str(run))
    mine = run / f"unfinished.{os.getpid()}"
    with unfinished.name("/w/.manycc-2-0.tmp"):
        assert mine.read_text() == "/w/.manycc-2-0.tmp"
    assert mine.read_text() == ""
    unfinished.close()
    assert not mine.exists()


def test_nothing_is_begun_that_cannot_be_noted(run: Path) -> None:
    unfinished = Unfinished(str(run / "missing"))
    with pytest.raises(OSError), unfinished.name("/w/.manycc-2-0.tmp"):
        raise AssertionError
    unfinished.close()
