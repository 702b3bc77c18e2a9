"""Old files where a compile writes: what each compiler does to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.agent.replaced import adapt, removed_by_error
from manycc.errors import BackendError
from manycc.job import Inputs, Job, OutputFile, Toolchain
from manycc.reasons import Reason

OBJECT = b"\x7fELF..."
ERROR = b"a.c:1: error: no\n1 error generated.\n"


def job(folder: Path, kind: str, *names: str, argv: tuple[str, ...] = ("-c",)) -> Job:
    return Job(
        argv=("cc", *argv), cwd=str(folder), env=(), umask=0o22,
        toolchain=Toolchain("f" * 64, "/usr/bin/cc", kind, "12", "x86_64-linux-gnu", kind, (), (), {}),
        inputs=Inputs((), "scan", True, False), folders=(str(folder),),
        outputs=tuple(str(folder / name) for name in names), stems=(), source="a.c",
    )  # fmt: skip


def old(folder: Path, name: str, mode: int = 0o640, content: bytes = b"old") -> str:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("kind", "name", "data", "before", "kept"),
    [
        ("gcc", "a.o", OBJECT, b"old", False),
        ("gcc", "a.o", OBJECT, b"", True),
        ("gcc", "a.s", b".text", b"old", True),
        ("gcc", "a.dwo", OBJECT, b"old", False),
        ("gcc", "a.d", b"a.o:", b"old", True),
        ("clang", "a.o", OBJECT, b"old", False),
        ("clang", "a.o", OBJECT, b"", False),
        ("clang", "a.dwo", OBJECT, b"old", True),
        ("clang", "a.d", b"a.o:", b"old", True),
        ("clang", "a.bc", b"BC", b"old", False),
    ],
)
def test_what_is_written_over_keeps_its_mode_and_its_names(
    tmp_path: Path, kind: str, name: str, data: bytes, before: bytes, kept: bool
) -> None:
    todo = job(tmp_path, kind, "a.o", name)
    output = OutputFile(old(tmp_path, name, content=before), 0o644, data)
    adapt(todo, output)
    assert output.mode == (0o640 if kept else 0o644)
    os.link(output.path, tmp_path / "other")
    if kept:
        with pytest.raises(BackendError) as caught:
            adapt(todo, output)
        assert caught.value.reason is Reason.OUTPUT_SPECIAL
    else:
        adapt(todo, output)


@pytest.mark.parametrize("argv", [("-c", "-MJ", "x.json"), ("-c", "-MJx.json"), ("-c", "-MJ./x.json")])
def test_what_is_appended_to_is_left_to_the_compiler(tmp_path: Path, argv: tuple[str, ...]) -> None:
    todo = job(tmp_path, "clang", "a.o", "x.json", argv=argv)
    adapt(todo, OutputFile(str(tmp_path / "x.json"), 0o644, b"{}"))
    with pytest.raises(BackendError):
        adapt(todo, OutputFile(old(tmp_path, "x.json"), 0o644, b"{}"))


@pytest.mark.parametrize(
    ("kind", "argv", "removed"),
    [("clang", ("-c",), True), ("clang", ("-S",), True), ("gcc", ("-c",), False), ("gcc", ("-S",), True),
     ("gcc", ("-c", "-pipe"), True)],
)  # fmt: skip
def test_object_of_before_after_an_error(tmp_path: Path, kind: str, argv: tuple[str, ...], removed: bool) -> None:
    todo = job(tmp_path, kind, "a.o", "a.d", argv=argv)
    assert removed_by_error(todo, [], ERROR) == ""
    main = old(tmp_path, "a.o")
    old(tmp_path, "a.d")
    written = [OutputFile(str(tmp_path / "a.d"), 0o644, b"")]
    assert removed_by_error(todo, written, ERROR) == (main if removed else "")


@pytest.mark.parametrize(
    ("kind", "argv", "files", "stderr"),
    [
        ("clang", ("-c",), ("a.o",), b"clang: error: invalid argument\n"),
        ("clang", ("-c", "-save-temps"), ("a.o",), ERROR),
        ("clang", ("-c",), ("a.o", "a.d"), ERROR),
        ("gcc", ("-c",), ("a.gcno",), ERROR),
    ],
)
def test_where_only_the_compiler_knows_it_is_asked(
    tmp_path: Path, kind: str, argv: tuple[str, ...], files: tuple[str, ...], stderr: bytes
) -> None:
    todo = job(tmp_path, kind, "a.o", "a.d", "a.gcno", argv=argv)
    for name in files:
        old(tmp_path, name)
    with pytest.raises(BackendError) as caught:
        removed_by_error(todo, [], stderr)
    assert caught.value.reason is Reason.REMOTE_ERROR
