"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from net import Net, behind
from support import SMALL

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with one small source, ``a.c``."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.c").write_text(SMALL)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One node with two slots, an agent and a launcher of this test alone."""
    with Cluster(str(tmp_path / "c"), nodes=1, jobs=2) as made:
        yield made


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """A node behind proxies, and two agents, of all tests that lie to them."""
    need("bwrap", "gcc")
    with behind(tmp_path_factory.mktemp("net")) as made:
        yield made
