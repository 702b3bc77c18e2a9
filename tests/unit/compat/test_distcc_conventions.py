"""What is said for a job that was called as distcc, where, and when the job may not run here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.compat.client import EXIT_NO_HOSTS, Conventions, conventions
from manycc.compat.log import ERROR, INFO, WARNING, Log
from manycc.reasons import Kind, Reason
from manycc.wire.launcher import DISTCC, FRAME, RESULT, Request

DONE = {"src": "a.c", "host": "pi:3632", "exit": 0}
JOB = {"src": "a.c", "out": "a.o"}


def made(folder: Path, **env: str) -> Conventions:
    found = conventions(Request("1", "/usr/bin/gcc", str(folder), ["gcc"], env, 0o022, DISTCC, 0), 7)
    assert found is not None
    return found


def said(frames: bytes) -> str:
    """The text of a note, "" for none."""
    if not frames:
        return ""
    kind, length = FRAME.unpack_from(frames)
    assert kind == b"E" and len(frames) == FRAME.size + length
    return frames[FRAME.size :].decode()


def test_other_jobs_have_none(tmp_path: Path) -> None:
    env = {"DISTCC_FALLBACK": "0", "DISTCC_VERBOSE": "1"}
    assert conventions(Request("1", "/usr/bin/gcc", str(tmp_path), ["gcc"], env, 0o022, 3, 0), 7) is None


def test_nothing_is_said_about_a_job_that_went_well(tmp_path: Path) -> None:
    assert made(tmp_path).compiled(DONE) == b""
    assert made(tmp_path, DISTCC_LOG="").compiled({**DONE, "exit": 1}) == b""
    assert made(tmp_path).kept(Reason.NOT_COMPILE, "", {}) == (b"", b"")
    assert os.listdir(tmp_path) == []


def test_verbose_says_it_on_stderr(tmp_path: Path) -> None:
    style = made(tmp_path, DISTCC_VERBOSE="1")
    assert said(style.compiled(DONE)) == "distcc[7] compile a.c on pi:3632 completed ok\n"
    assert "failed with exit code 1" in said(style.compiled({**DONE, "exit": 1}))


def test_the_log_file_is_relative_to_the_jobs_folder_and_grows(tmp_path: Path) -> None:
    style = made(tmp_path, DISTCC_LOG="x.log")
    assert style.compiled(DONE) == b""
    assert style.kept(Reason.HOSTS_DOWN, "pi: Connection refused", JOB) == (b"", b"")
    first, second = (tmp_path / "x.log").read_text().splitlines()
    assert first == "distcc[7] compile a.c on pi:3632 completed ok"
    assert second.startswith("distcc[7] Warning: failed to distribute a.c: ") and "pi: Connection refused" in second
    assert second.endswith("; running locally instead")
    assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_log_file_that_cannot_be_opened_is_told(tmp_path: Path, make: object) -> None:
    make(tmp_path / "x.log")  # type: ignore[operator]
    style = made(tmp_path, DISTCC_LOG="x.log")
    text = said(style.compiled(DONE))
    assert text.startswith(f"distcc[7] ERROR: failed to open logfile {tmp_path}/x.log: ") and text.count("\n") == 1
    text = said(style.kept(Reason.NODE_LOST, "", JOB)[0])
    assert "failed to open logfile" in text and "Warning: failed to distribute" in text


def test_no_hosts(tmp_path: Path) -> None:
    note, refusal = made(tmp_path).kept(Reason.NO_HOSTS, "", JOB)
    assert said(note) == (
        "distcc[7] Warning: $DISTCC_HOSTS and the hosts files name no host; can't distribute work\n"
    )  # fmt: skip
    assert refusal == b""
    note, _ = made(tmp_path).kept(Reason.NO_HOSTS, "column 1: 'a:x'", JOB)
    assert said(note) == "distcc[7] Warning: column 1: 'a:x'; can't distribute work\n"  # it does name one


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.code)
def test_a_job_that_was_to_go_does_not_run_here_without_fallback(tmp_path: Path, reason: Reason) -> None:
    """All others do: distcc, too, keeps them here. So does a compile that a missing file may have failed."""
    style = made(tmp_path, DISTCC_FALLBACK="0")
    assert not style.fallback
    note, refusal = style.kept(reason, "", JOB)
    goes = (reason.kind is Kind.FAILED_OVER and reason is not Reason.REMOTE_ERROR) or reason is Reason.NO_HOSTS
    if reason.kind is not Kind.REMOTE:
        assert bool(refusal) == bool(note) == goes
    if refusal:
        assert RESULT.unpack(refusal) == (b"R", 8, EXIT_NO_HOSTS, 0)
        assert "DISTCC_FALLBACK is 0" in said(note)


def test_trial_compiles_are_quiet_and_run_here(tmp_path: Path) -> None:
    for record in ({"src": "conftest.c", "out": "conftest.o"}, {"src": "a.c", "out": "x/cmTC_0a1b2.dir/a.c.o"}):
        assert made(tmp_path, DISTCC_FALLBACK="0").kept(Reason.HOSTS_DOWN, "", record) == (b"", b"")


@pytest.mark.parametrize("value", ["1", "", "no", "00"])
def test_only_a_zero_forbids_the_fallback(tmp_path: Path, value: str) -> None:
    assert made(tmp_path, DISTCC_FALLBACK=value).fallback


def test_a_message_of_any_length_and_bytes(tmp_path: Path) -> None:
    log = Log({"DISTCC_LOG": "l\udcff"}, str(tmp_path), 1, 0)
    assert log.say(WARNING, "\udcfe" + "x" * 100_000) == b""
    data = (tmp_path / "l\udcff").read_bytes()
    assert data.startswith(b"distcc[1] Warning: \xfex") and len(data) < 5000
    assert Log({"DISTCC_LOG": "a\0b"}, "/", 1, 0).say(INFO, "x").startswith(b"distcc[1] ERROR: failed to open logfile")
    assert Log({}, "/", 1, 0).say(ERROR, "x") == b"distcc[1] ERROR: x\n"
