"""Every case of every table of the option matrix, and what the tables must hold together."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.command.drivers import GCC, compiler_kind
from manycc.command.options import OPTIONS, Option
from manycc.command.table import TABLES
from manycc.testing.cluster import Cluster
from matrix.case import Case
from matrix.driver import check

NOT_EXERCISED: dict[str, str] = {}
"""Rows of the option table that no case has, each with the sentence why."""


def _tables() -> Iterator[tuple[Case, ...]]:
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name.startswith(("gcc_", "clang_", "places")):
            yield importlib.import_module(f"matrix.{path.stem}").CASES


CASES = [case for table in _tables() for case in table]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: that each case's files replace another's is part of the test."""
    return tmp_path_factory.mktemp("m")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same(cluster: Cluster, place: Path, case: Case) -> None:
    check(cluster, place, case)


def test_names() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in names)


def test_every_row_of_the_option_table_is_exercised() -> None:
    seen = {option for case in CASES for option in _options(case)}
    missing = {option.name for option in OPTIONS if option not in seen}
    assert missing == NOT_EXERCISED.keys()


def _options(case: Case) -> Iterator[Option]:
    """The rows that a case's command line uses (response files are left aside)."""
    table = TABLES[compiler_kind(case.argv[0].rpartition("/")[2]) or GCC]
    words = iter(case.argv[1:])
    for word in words:
        match = table.find(word) if word[:1] == "-" and word != "-" else None
        if match is not None:
            yield match.option
            if match.value is None:
                next(words, None)
