"""The comparison of two builds: what it must see, and what it must not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import tree_files


def _build(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "a.c").write_text("int a;\n")
    subprocess.run(["gcc", "-c", "a.c", "-o", "sub/a.o"], cwd=folder, check=True)
    (folder / "a.d").write_text("sub/a.o: a.c\n")
    (folder / "link").symlink_to("sub")
    return folder


def _turn_byte(folder: Path) -> None:
    path = folder / "sub" / "a.o"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _lead_elsewhere(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("a.c")


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda _: None, []),
        (_turn_byte, ["sub/a.o"]),
        (_lead_elsewhere, ["link"]),
        (lambda folder: (folder / "a.d").unlink(), ["a.d (missing)"]),
        (lambda folder: (folder / "sub" / "stray.tmp").touch(), ["sub/stray.tmp (too many)"]),
        (lambda folder: os.chmod(folder / "a.d", 0o600), ["a.d"]),
        (lambda folder: (folder / "sub" / "config.log").touch(), []),
    ],
)
def test_what_differs(tmp_path: Path, change: Callable[[Path], None], seen: list[str]) -> None:
    one, other = _build(tmp_path / "one"), _build(tmp_path / "other")
    change(other)
    assert tree_files.differing(tree_files.digests(str(one)), tree_files.digests(str(other))) == seen


def test_objects_are_told_from_other_files(tmp_path: Path) -> None:
    found = tree_files.digests(str(_build(tmp_path / "one")))
    assert [path for path, file in found.items() if file.is_object] == ["sub/a.o"]
    assert sorted(found) == ["a.c", "a.d", "link", "sub/a.o"]
