"""What a test needs of the machine."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*tools: str) -> None:
    """Skip, loudly, where a program, or a file named by its absolute path, is absent; fail where CI promises it."""
    missing = [tool for tool in tools if not (os.path.exists(tool) if tool[:1] == "/" else shutil.which(tool))]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI must have {', '.join(missing)}")
    if missing:
        pytest.skip(f"NOT TESTED: {', '.join(missing)} not installed")
