"""Fixtures of the tests with other people's programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manycc.testing.buildgrid import Farm
from manycc.testing.requirements import need

KEEPALIVE_S = 6
"""After which the engine takes a silent worker for dead."""


@pytest.fixture(scope="module")
def _farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    need("gcc", "g++", "bwrap")
    with Farm(str(tmp_path_factory.mktemp("w")), keepalive=KEEPALIVE_S) as made:
        yield made


@pytest.fixture
def farm(_farm: Farm) -> Farm:
    """A BuildGrid and two of our workers with two slots each, all running, whatever the last test did to them."""
    _farm.revive()
    return _farm
