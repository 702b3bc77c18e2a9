"""An agent that is killed while it puts outputs into place leaves no file but whole outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from phases import Work, agent_pid
from support import until
from traced import Trap, alive

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("strace", "gcc", "bwrap")
    with Cluster(str(tmp_path_factory.mktemp("placing") / "c"), nodes=1, jobs=2) as cluster:
        yield cluster


def compiled(work: Work) -> list[str]:
    """Compile; the object must be right and alone. The reasons recorded."""
    work.start()
    assert work.ended(60) == 0 and work.whole()
    until(work.reasons)
    return work.reasons()


@pytest.mark.parametrize(
    ("call", "when"),
    [("openat", 1), ("fchmod", 1), ("linkat", 1), ("unlink", 1), ("linkat", 2)],
    ids=["before", "written", "first-link", "old-there", "old-gone"],
)
def test_killed_while_placing(shared: Cluster, tmp_path: Path, call: str, when: int) -> None:
    compiled(Work(shared, tmp_path / "first", "small"))
    work = Work(shared, tmp_path / "work", "small")
    agent = agent_pid(shared)
    paths = {"openat": (str(work.folder),), "fchmod": ()}.get(call, (str(work.object),))
    with Trap(agent, tmp_path / "strace", call, "SIGKILL", when, paths):
        assert compiled(work) == ["agent-lost"]
    until(lambda: not alive(agent))


def test_killed_where_files_must_have_names(shared: Cluster, tmp_path: Path) -> None:
    # As on NFS: a file without a name cannot be made. The next agent removes what the killed one left.
    compiled(Work(shared, tmp_path / "first", "small"))
    work = Work(shared, tmp_path / "work", "small")
    agent = agent_pid(shared)
    name = f".manycc-{agent}-0.tmp"
    paths = (str(work.folder), str(work.folder / name))
    with Trap(agent, tmp_path / "strace", "rename", "SIGKILL", 1, paths, ("openat:error=EOPNOTSUPP:when=1",)):
        work.start()
        assert work.ended(60) == 0
    until(lambda: not alive(agent))
    assert set(os.listdir(work.folder)) - set(work.before) == {name}
    compiled(Work(shared, tmp_path / "next", "small", 1))
    assert work.whole() and work.reasons() == ["agent-lost"]
    assert [name for name in os.listdir(os.path.join(shared.client, "run")) if name.startswith("unfinished")] == [
        f"unfinished.{agent_pid(shared)}"
    ]
