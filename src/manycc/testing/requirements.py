"""What a test needs of the machine: programs, root's rights, abilities of the kernel.

A machine that lacks one does not fail the suite, but says so; in CI, which promises all of them, it fails.
``tests/conftest.py`` holds marks that skip to the same rule, by the words their reasons begin with.
"""

from __future__ import annotations

import os
import shutil
from typing import Final, NoReturn

import pytest

NOT_TESTED: Final = "NOT TESTED: "
"""How the reason of such a skip begins. Skips for other reasons (another processor, say) begin otherwise."""


def lacking(what: str) -> NoReturn:
    """This machine cannot do what the test needs: skip, loudly; fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"may not be skipped in CI: {what}")
    pytest.skip(NOT_TESTED + what)


def need(*tools: str) -> None:
    """Programs, and files named by their absolute paths."""
    missing = [tool for tool in tools if not (os.path.exists(tool) if tool[:1] == "/" else shutil.which(tool))]
    if missing:
        lacking(f"{', '.join(missing)} not installed")


def need_root(what: str) -> None:
    """Root's rights, and what for."""
    if os.geteuid() != 0:
        lacking(f"needs root to {what}")
