"""Adversarial trees: what the compiler opens is sent, and what a node answers is what is had here.

    MANYCC_FUZZ_SEED=random   other trees each time (or a number)
    MANYCC_FUZZ_TREES=5000    how many

A tree that fails is made small and printed; paste it into ``test_fuzz_fixed.py``.
"""

from __future__ import annotations

import os
import random

import pytest
from fuzz_hunt import hunt

from manycc.testing.requirements import need

TREES = 200
TREES_LONG = 20_000
SEED = 20_231_121

# Read while the module is imported: tests do not see the variables of whoever runs them.
_seed = os.environ.get("MANYCC_FUZZ_SEED", "")
_number = random.SystemRandom().randrange(1_000_000) if _seed == "random" else int(_seed or SEED)
_long = bool(os.environ.get("MANYCC_TEST_LONG"))
_trees = int(os.environ.get("MANYCC_FUZZ_TREES") or (TREES_LONG if _long else TREES))


@pytest.mark.timeout(4 * 3600 if _long else 900)
def test_trees(capsys: pytest.CaptureFixture[str]) -> None:
    need("gcc", "g++", "clang-14", "clang++-14", "bwrap")
    tally, failure = hunt(_trees, os.cpu_count() or 2, _number)
    with capsys.disabled():
        print("", f"seed {_number}", *tally.lines(), sep="\n")
    assert not failure, failure
    assert tally.trees >= _trees
    # It proves little if hardly anything compiles, or hardly anything is sent.
    assert tally.succeeded > tally.compiles * 0.4
    assert tally.reasons["remote"] + tally.reasons["cached"] > tally.compiles * 0.3
    assert tally.how["manifest"] > tally.compiles * 0.05
