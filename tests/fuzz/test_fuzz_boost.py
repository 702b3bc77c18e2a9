"""Preprocessor iteration, as Boost does it: computed includes, files that include themselves, raised limits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import boost_units
import discovery
import pytest

from manycc.testing.requirements import need

SMALL = ("file_iteration.cc", "self_iteration.cc", "local_iteration.cc", "mpl_limits.cc", "mpl.cc", "config.cc")


@pytest.mark.timeout(600)
def test_all_that_is_opened_is_found(tmp_path: Path) -> None:
    need("g++", boost_units.NEEDS)
    calls = [call for call in discovery.boost_calls(str(tmp_path)) if call.argv[-3] in SMALL]
    assert len(calls) == len(SMALL)
    row = asyncio.run(discovery.look("boost", calls))
    assert row.missing == []
    assert row.how["scan"] + row.how["scan+M"] == len(SMALL), row.how
    assert row.how["scan+M"] > 0
    assert row.kept == len(SMALL)
    assert row.opened > 1000
