"""A compile error is shown to a user only if it is one."""

from __future__ import annotations

import pytest

from manycc.errors import BackendRefused
from manycc.node.process import Finished
from manycc.node.verdict import judge
from manycc.reasons import Reason


def finished(exit_code: int = 1, stderr: bytes = b"", signal: int = 0, stopped: str = "") -> Finished:
    return Finished(exit_code, signal, b"", stderr, 0.1, 0.1, 1 << 20, stopped)


@pytest.mark.parametrize(
    "stderr",
    [
        b"a.c:1:1: error: unknown type name 'foo'\n",
        b"a.c: In function 'main':\na.c:1:25: error: 'y' undeclared\n",
        b"a.c:1:10: fatal error: x.h: No such file or directory\ncompilation terminated.\n",
        b"cc1: all warnings being treated as errors\n",
        b"/b/gcc/a.c:3:2: error: #error gcc: not supported\n",
        b"a.c:1:1: Fehler: unbekannter Typname\n",
    ],
)
def test_errors_of_the_source(stderr: bytes) -> None:
    judge(finished(stderr=stderr), "gcc", "/")


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        (b"gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n", Reason.COMPILER_KILLED),
        (b"/usr/bin/gcc: schwerwiegender Fehler: Get\xc3\xb6tet Signal\n", Reason.REMOTE_ERROR),
        (b"a.c:1:1: internal compiler error: Segmentation fault\n", Reason.COMPILER_KILLED),
        (b"a.c:1:1: interner Compiler-Fehler\n<file:///usr/share/doc/gcc-12/README.Bugs>\n", Reason.COMPILER_KILLED),
        (b"\ncc1plus: out of memory allocating 65536 bytes after a total of 1 bytes\n", Reason.COMPILER_KILLED),
        (b"virtual memory exhausted: Cannot allocate memory\n", Reason.COMPILER_KILLED),
        (b"/tmp/ccAbC123.s: Assembler messages:\n/tmp/ccAbC123.s:1: Error: bad\n", Reason.REMOTE_ERROR),
        (b"a.c:1: fatal error: error writing to /tmp/ccxyz123.s: Kein Platz\n", Reason.REMOTE_ERROR),
        (b"a.s: Fatal error: can't write a.o: No space left on device\n", Reason.NODE_DISK),
        (b"bwrap: execvp gcc: No such file or directory\n", Reason.NODE_FAULT),
        (b"clang: error: unable to execute command: Killed\n", Reason.COMPILER_KILLED),
        (b"PLEASE submit a bug report to https://...\n", Reason.COMPILER_KILLED),
        (b"clang: error: unable to make temporary file: Permission denied\n", Reason.REMOTE_ERROR),
        (b"\x1b[01m\x1b[Kgcc:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kbad option\n", Reason.REMOTE_ERROR),
    ],
)
def test_faults_of_the_machine(stderr: bytes, reason: Reason) -> None:
    with pytest.raises(BackendRefused) as refusal:
        judge(finished(stderr=stderr), "gcc", "/")
    assert refusal.value.reason is reason and refusal.value.detail


def test_success_says_what_it_likes() -> None:
    judge(finished(exit_code=0, stderr=b"a.c:1: note: internal compiler error, No space left on device\n"), "gcc", "/")


def test_signals_and_limits() -> None:
    for end in (finished(137, signal=9), finished(stopped="time"), finished(0, stopped="text")):
        with pytest.raises(BackendRefused) as refusal:
            judge(end, "gcc", "/")
        assert refusal.value.reason is Reason.COMPILER_KILLED


def test_a_full_disk_is_the_disks_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    class Full:
        f_bavail, f_frsize, f_files, f_favail = 10, 4096, 1000, 1000

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    with pytest.raises(BackendRefused) as refusal:
        judge(finished(stderr=b"a.s: Auf dem Ger\xc3\xa4t ist kein Platz\n"), "gcc", "/")
    assert refusal.value.reason is Reason.NODE_DISK
    with pytest.raises(BackendRefused) as refusal:  # what lies beside the object may have been cut off
        judge(finished(exit_code=0), "gcc", "/")
    assert refusal.value.reason is Reason.NODE_DISK
