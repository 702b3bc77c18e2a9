"""Outputs: what is accepted, and how it comes to lie in its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from manycc.agent import outputs
from manycc.agent.unfinished import Unfinished
from manycc.errors import BackendError
from manycc.job import Inputs, Job, OutputFile, Toolchain
from manycc.reasons import Reason

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})


def job(folder: Path, *names: str, stems: tuple[str, ...] = ()) -> Job:
    return Job(
        argv=("gcc",), cwd=str(folder), env=(), umask=0o22, toolchain=GCC, inputs=Inputs((), "scan", True, False),
        folders=(str(folder),), outputs=tuple(str(folder / name) for name in names),
        stems=tuple(str(folder / stem) for stem in stems), source="a.c",
    )  # fmt: skip


@pytest.fixture
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unfinished]:
    made = Unfinished(str(tmp_path_factory.mktemp("run")))
    yield made
    made.close()


def test_files_appear_whole_with_their_mode(tmp_path: Path, unfinished: Unfinished) -> None:
    todo = job(tmp_path, "a.o", "a.d")
    (tmp_path / "a.o").write_bytes(b"old")
    old = os.stat(tmp_path / "a.o").st_ino
    outputs.place(
        todo,
        [OutputFile(str(tmp_path / "a.o"), 0o640, b"\x7fELFx" * 1000), OutputFile(str(tmp_path / "a.d"), 0o600, b"")],
        unfinished,
    )
    assert (tmp_path / "a.o").read_bytes() == b"\x7fELFx" * 1000
    assert os.stat(tmp_path / "a.o").st_ino != old
    assert stat.S_IMODE(os.stat(tmp_path / "a.o").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(tmp_path / "a.d").st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["a.d", "a.o"]


def test_text_output_keeps_the_mode_it_had(tmp_path: Path, unfinished: Unfinished) -> None:
    (tmp_path / "a.s").write_text("old")
    os.chmod(tmp_path / "a.s", 0o600)
    outputs.place(job(tmp_path, "a.s"), [OutputFile(str(tmp_path / "a.s"), 0o644, b"\t.file")], unfinished)
    assert stat.S_IMODE(os.stat(tmp_path / "a.s").st_mode) == 0o600


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_nothing_but_a_plain_file_is_replaced(tmp_path: Path, unfinished: Unfinished, kind: str) -> None:
    path = tmp_path / "a.o"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("elsewhere")
    before = os.lstat(path)
    with pytest.raises(BackendError) as caught:
        outputs.place(job(tmp_path, "a.o"), [OutputFile(str(path), 0o644, b"x")], unfinished)
    assert caught.value.reason is Reason.OUTPUT_SPECIAL
    assert os.lstat(path).st_ino == before.st_ino


def test_missing_folder_is_a_reason_and_leaves_nothing(tmp_path: Path, unfinished: Unfinished) -> None:
    with pytest.raises(BackendError) as caught:
        outputs.place(job(tmp_path, "no/a.o"), [OutputFile(str(tmp_path / "no/a.o"), 0o644, b"x")], unfinished)
    assert caught.value.reason is Reason.OUTPUT_FAILED
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["b.o", "../a.o", "sub/a.gcno", "a.gcno\0x", "Makefile", "/etc/passwd"])
def test_files_the_command_does_not_write_are_refused(tmp_path: Path, path: str) -> None:
    todo = job(tmp_path, "a.o", stems=("a.",))
    listed = [OutputFile(str(tmp_path / "a.o"), 0o644, b"x"), OutputFile(os.path.join(tmp_path, path), 0o644, b"x")]
    with pytest.raises(BackendError) as caught:
        outputs.verify(todo, listed, None, 0)
    assert caught.value.reason is Reason.UNEXPECTED_OUTPUT


def test_auxiliary_outputs_are_accepted(tmp_path: Path) -> None:
    todo = job(tmp_path, "a.o", stems=("a.",))
    listed = [OutputFile(str(tmp_path / name), 0o644, b"x") for name in ("a.o", "a.gcno", "a.c.003t.original")]
    outputs.verify(todo, listed, None, 0)


def test_missing_main_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        outputs.verify(job(tmp_path, "a.o"), [], None, 0)
    assert caught.value.reason is Reason.UNEXPECTED_OUTPUT
    outputs.verify(job(tmp_path, "a.o"), [], None, 1)
