"""Compilers that tests compare with."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*names: str) -> None:
    """Skip, loudly, where a compiler is absent; fail instead where CI promises gcc."""
    for name in names:
        if shutil.which(name) is None:
            if os.environ.get("CI") and "clang" not in name:
                pytest.fail(f"CI must have {name}")
            pytest.skip(f"NOT TESTED: {name} is not installed")
