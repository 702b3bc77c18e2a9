"""A real cluster for the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from manycc.testing.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(session_folder: str) -> Iterator[Cluster]:
    """Two nodes and a client, shared by the tests that only compile."""
    with Cluster(os.path.join(session_folder, "cluster"), nodes=2, jobs=2) as made:
        yield made
