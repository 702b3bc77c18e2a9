"""The folder that is kept of a difference: whole or not there, and bounded."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from manycc.job import FILE, FOLDER, LINK, Input
from manycc.verify import report as module
from manycc.verify.compare import Difference, Observed
from manycc.verify.report import Reports

HERE = Observed(0, b"", b"warning", {"/w/a.o": (0o644, b"right"), "/w/out/a.d": (0o600, b"a.o: a.c")})
THERE = Observed(0, b"", b"warning", {"/w/a.o": (0o644, b"wrong")})
DIFFERENT = [Difference("/w/a.o", ["section .text: 4 bytes"])]


def read_input(path: Path, content: bytes) -> Input:
    path.write_bytes(content)
    return Input(FILE, str(path), hashlib.sha256(content).digest(), len(content))


def write(root: Path, name: str = "a b.c", inputs: tuple[Input, ...] = ()) -> Path:
    return Path(Reports(str(root)).write({"src": f"/w/{name}", "host": "pi"}, HERE, THERE, DIFFERENT, inputs))


def test_all_that_is_needed_is_there(tmp_path: Path) -> None:
    header = read_input(tmp_path / "a.h", b"int a;")
    changed = read_input(tmp_path / "b.h", b"int b;")
    (tmp_path / "b.h").write_bytes(b"int c;")
    gone = Input(FILE, str(tmp_path / "gone.h"), b"", 1)
    folder = Input(FOLDER, str(tmp_path / "include"))
    link = Input(LINK, str(tmp_path / "link"), target="include")
    path = write(tmp_path / "reports", inputs=(header, changed, gone, folder, link))
    assert path.name.endswith("-a_b.c")
    assert (path / "local/files/w/a.o").read_bytes() == b"right"
    assert (path / "remote/files/w/a.o").read_bytes() == b"wrong"
    assert (path / "local/files/w/out/a.d").read_bytes() == b"a.o: a.c"
    assert (path / "remote/stderr").read_bytes() == b"warning"
    assert (path / "difference.txt").read_text() == "/w/a.o:\n  section .text: 4 bytes\n"
    command = json.loads((path / "command.json").read_text())
    assert command["host"] == "pi"
    assert command["inputs_missing"] == [str(tmp_path / "b.h"), str(tmp_path / "gone.h")]
    inputs = path / "inputs" / str(tmp_path).lstrip("/")
    assert (inputs / "a.h").read_bytes() == b"int a;"
    assert not (inputs / "b.h").exists()
    assert (inputs / "include").is_dir() and os.readlink(inputs / "link") == "include"
    assert os.stat(path).st_mode & 0o777 == 0o700


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "w/include", tmp_path / "elsewhere"
    source.mkdir(parents=True)
    elsewhere.mkdir()
    link = Input(LINK, str(source), target=str(elsewhere))
    path = write(tmp_path / "reports", inputs=(link, read_input(source / "a.h", b"int a;")))
    assert list(elsewhere.iterdir()) == []
    assert (path / "inputs" / str(source).lstrip("/") / "a.h").read_bytes() == b"int a;"


@pytest.mark.parametrize("open_to_write", [False, True])
def test_an_input_that_became_a_pipe_holds_nobody_up(tmp_path: Path, open_to_write: bool) -> None:
    header = read_input(tmp_path / "a.h", b"int a;")
    os.unlink(header.path)
    os.mkfifo(header.path)
    ends = [os.open(header.path, os.O_RDWR | os.O_NONBLOCK)] if open_to_write else []
    path = write(tmp_path / "reports", inputs=(header,))
    for end in ends:
        os.close(end)
    assert json.loads((path / "command.json").read_text())["inputs_missing"] == [header.path]


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{number}.c") for number in range(module.MAX_REPORTS + 3)]
    assert set(tmp_path.iterdir()) == set(paths[3:])


def test_the_oldest_go_when_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path)
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    second = write(tmp_path)  # the one that is new stays, whatever its size
    assert (first.exists(), second.exists()) == (False, True)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, data: bytes) -> None:
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_agent_left_is_removed(tmp_path: Path) -> None:
    kept = write(tmp_path)
    (tmp_path / ".unfinished-20240501-a.c-1/local").mkdir(parents=True)
    Reports(str(tmp_path))
    assert list(tmp_path.iterdir()) == [kept]
