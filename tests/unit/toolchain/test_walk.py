"""From spelled paths to physical ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.toolchain.paths import find_program, walk


def test_links_are_recorded_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "real" / "bin" / "tool-2").touch()
    (tmp_path / "real" / "bin" / "tool").symlink_to("tool-2")
    (tmp_path / "short").symlink_to("real/bin")
    (tmp_path / "absolute").symlink_to(tmp_path / "short")
    real, links = walk(f"{tmp_path}/absolute/./tool")
    assert real == f"{tmp_path}/real/bin/tool-2"
    assert links == [
        (f"{tmp_path}/absolute", f"{tmp_path}/short"),
        (f"{tmp_path}/short", "real/bin"),
        (f"{tmp_path}/real/bin/tool", "tool-2"),
    ]


def test_parent_of_a_linked_folder_is_the_real_ones(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "link").symlink_to("a/b")
    assert walk(f"{tmp_path}/link/../file")[0] == f"{tmp_path}/a/file"


def test_loop(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        walk(f"{tmp_path}/a")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        walk(f"{tmp_path}/nothing/there")


@pytest.mark.parametrize("path", ["/usr/bin/../lib", "/", "/bin", "//usr//bin/"])
def test_agrees_with_the_kernel(path: str) -> None:
    assert walk(path)[0] == os.path.realpath(path)


def test_bytes_survive(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).touch()
    assert walk(f"{tmp_path}/{name}")[0] == f"{tmp_path}/{name}"


def test_find_program(tmp_path: Path) -> None:
    for folder, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "as").touch(mode)
        (tmp_path / folder / "as").chmod(mode)
    (tmp_path / "zeroth" / "as").mkdir(parents=True)
    path = ":".join(["", ".", "relative", *(f"{tmp_path}/{name}" for name in ("zeroth", "first", "second"))])
    assert find_program("as", {"PATH": path}) == f"{tmp_path}/second/as"
    assert find_program("no-such-program", {"PATH": path}) == ""
    assert find_program("sh", {}) in ("/bin/sh", "/usr/bin/sh")
