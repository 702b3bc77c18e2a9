"""A MANYCC_DIR of its own for each test, and ``manycc-cli`` as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Cli

import manycc

SOURCE = os.path.dirname(os.path.dirname(manycc.__file__))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MANYCC_DIR, set for this process and its children."""
    folder = tmp_path / "m"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("MANYCC_DIR", str(folder))
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    return folder


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH with a program ``manycc`` that does nothing, and a compiler or two."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("manycc", "gcc", "aarch64-linux-gnu-g++-12", "clang"):
        shutil.copy("/bin/true", folder / name)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def cli(home: Path) -> Cli:
    """Run ``manycc-cli`` with arguments; gives exit code, stdout, stderr."""

    def run(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "manycc.cli", *argv],
            capture_output=True, encoding="utf-8", errors="surrogateescape", check=False, timeout=60, **options,
        )  # type: ignore[call-overload,no-any-return] # fmt: skip

    return run
