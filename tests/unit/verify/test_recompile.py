"""Compiling a job again with the real compiler: the same bytes, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import subprocess
from pathlib import Path

import pytest
from verify_support import prepared, request

from manycc.verify.compare import Observed
from manycc.verify.recompile import NotDone, ProvesNothing, Recompiler
from manycc.verify.sample import Sample
from manycc.wire.launcher import STDERR_TTY

HERE = Observed(0, b"", b"", {})


def job(folder: Path, command: str, remote: Observed = HERE, flags: int = 0, **env: str) -> Sample:
    argv = command.split()
    full = {**os.environ, **env}
    asked = request(str(folder), argv, full, flags)._replace(compiler=shutil.which(argv[0]) or argv[0])
    return Sample("node", 1, asked, prepared(str(folder), argv), remote)


def run(folder: Path, sample: Sample, forbidden: str = "") -> Observed:
    async def test() -> Observed:
        recompiler = Recompiler(str(folder / "scratch"))
        recompiler._forbidden = forbidden
        return await recompiler.run(sample, patient=False)

    return asyncio.run(test())


def tree(folder: Path) -> Path:
    place = folder / "tree"
    (place / "out").mkdir(parents=True)
    (place / "a.c").write_text('#include "out/made.h"\nint f(void) { return MADE; }\n')
    (place / "out/made.h").write_text("#define MADE 7\n")
    (place / "bad.c").write_text("int f(void) { return missing; }\n")
    return place


def state(folder: Path) -> dict[str, tuple[int, int, int, int, int]]:
    """Everything below a folder that a write would change, the folders' own times included."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in [".", *folders, *names]:
            status = os.lstat(os.path.join(place, name))
            path = os.path.relpath(os.path.join(place, name), folder)
            found[path] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def locally(place: Path, command: str) -> dict[str, bytes]:
    """The files that the compiler itself makes, which are removed again."""
    before = set(place.rglob("*"))
    subprocess.run(command.split(), cwd=place, capture_output=True, check=False)
    made = {path for path in place.rglob("*") if path not in before}
    found = {str(path): path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    return found


@pytest.mark.parametrize(
    "command",
    [
        "gcc -c a.c",
        "gcc -g -gsplit-dwarf -fstack-usage -MD -c a.c -o out/a.o",
        "gcc -g -O2 -S a.c -o out/a.s",
        "gcc -c bad.c",
        "gcc -c a.c -o ../tree/out/b.o",
    ],
)
@pytest.mark.parametrize("stale", [False, True])
def test_it_writes_what_the_compiler_writes_but_nowhere(tmp_path: Path, command: str, stale: bool) -> None:
    place = tree(tmp_path)
    expected = locally(place, command)
    sample = job(place, command)
    if stale:  # as after the node's outputs were put into place
        for path in sample.prepared.job.outputs:
            Path(path).write_bytes(b"what was placed")
            os.chmod(path, 0o600)
    before = state(place)
    seen = run(tmp_path, sample)
    assert {path: data for path, (_, data) in seen.files.items()} == expected
    assert {mode for mode, _ in seen.files.values()} <= {0o644}
    assert seen.exit_code == (1 if "bad.c" in command else 0)
    assert state(place) == before
    assert os.listdir(tmp_path / "scratch") == []


def test_texts_and_exit_code_are_those_of_the_compiler(tmp_path: Path) -> None:
    place = tree(tmp_path)
    done = subprocess.run(["gcc", "-c", "bad.c"], cwd=place, capture_output=True, check=False)
    seen = run(tmp_path, job(place, "gcc -c bad.c"))
    assert (seen.exit_code, seen.stdout, seen.stderr) == (done.returncode, done.stdout, done.stderr)


def test_it_writes_to_a_terminal_where_the_job_did(tmp_path: Path) -> None:
    place = tree(tmp_path)
    plain = run(tmp_path, job(place, "gcc -c bad.c", TERM="xterm"))
    coloured = run(tmp_path, job(place, "gcc -c bad.c", flags=STDERR_TTY, TERM="xterm"))
    assert b"\x1b[" not in plain.stderr and b"\x1b[" in coloured.stderr
    assert b"\r" not in coloured.stderr


def test_a_write_elsewhere_is_forbidden(tmp_path: Path) -> None:
    place = tree(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sample = job(place, "gcc -c a.c")
    sample.request.argv[:] = ["gcc", "-c", "a.c", "-o", str(elsewhere / "a.o")]
    with pytest.raises(ProvesNothing, match="failed here"):
        run(tmp_path, sample)
    assert list(elsewhere.iterdir()) == []


def test_a_mount_within_a_folder_is_still_seen(tmp_path: Path) -> None:
    place = tree(tmp_path)
    (place / "mounted").mkdir()
    (place / "a.c").write_text('#include "mounted/m.h"\nint m = M;\n')
    script = 'mount -t tmpfs none "$0/mounted" && echo "#define M 1" > "$0/mounted/m.h" && exec "$@"'
    code = (
        "import sys, pathlib, test_recompile as t; folder = pathlib.Path(sys.argv[1]);"
        "seen = t.run(folder, t.job(folder / 'tree', 'gcc -c a.c')); print(seen.exit_code, seen.stderr, *seen.files)"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(place), "python", "-c", code, str(tmp_path)],
        executable=shutil.which("unshare"), cwd=os.path.dirname(__file__), capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{os.path.dirname(os.sys.executable)}:{os.environ['PATH']}"},  # type: ignore[attr-defined]
    )  # fmt: skip
    assert done.stdout == f"0 b'' {place}/a.o\n", done.stderr


def instead(sample: Sample, folder: Path, script: str) -> Sample:
    """The same job, with a script for a compiler."""
    program = folder / "compiler"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Sample("node", 1, sample.request._replace(compiler=str(program)), sample.prepared, HERE)


@pytest.mark.parametrize(
    "said", ["gcc: fatal error: Killed signal terminated program cc1", "a.o: No space left on device"]
)
def test_faults_of_this_machine_prove_nothing(tmp_path: Path, said: str) -> None:
    sample = instead(job(tree(tmp_path), "gcc -c a.c"), tmp_path, f"echo '{said}' >&2; exit 1")
    with pytest.raises(ProvesNothing, match=said):
        run(tmp_path, sample)


def test_a_fault_of_this_machine_proves_nothing_where_the_job_failed_as_well(tmp_path: Path) -> None:
    failed = Observed(1, b"", b"a.c:1: error: of the source", {})
    sample = instead(job(tree(tmp_path), "gcc -c a.c"), tmp_path, "echo 'No space left on device' >&2; exit 1")
    with pytest.raises(ProvesNothing, match="No space left"):
        run(tmp_path, Sample("node", 1, sample.request, sample.prepared, failed))


def test_a_killed_compiler_proves_nothing(tmp_path: Path) -> None:
    # Process 1 of a namespace cannot kill itself, so this is one without.
    sample = instead(job(tree(tmp_path), "gcc -c a.c"), tmp_path, "kill -9 $$")
    with pytest.raises(ProvesNothing, match="killed here"):
        run(tmp_path, sample, forbidden="forbidden by a test")


def test_without_namespaces_only_the_output_is_renamed(tmp_path: Path) -> None:
    place = tree(tmp_path)
    for command in ("gcc -O2 -c a.c", "gcc -c a.c -o out/a.o", "gcc -c a.c -oout/a.o"):
        expected = locally(place, command)
        before = state(place)
        seen = run(tmp_path, job(place, command), forbidden="forbidden by a test")
        assert {path: data for path, (_, data) in seen.files.items()} == expected
        assert state(place) == before
    assert os.listdir(tmp_path / "scratch") == []


@pytest.mark.parametrize("option", ["-MD", "-gsplit-dwarf", "--coverage", "-fdump-tree-all"])
def test_without_namespaces_several_outputs_are_not_done(tmp_path: Path, option: str) -> None:
    place = tree(tmp_path)
    with pytest.raises(NotDone, match="more than one file"):
        run(tmp_path, job(place, f"gcc {option} -c a.c"), forbidden="forbidden by a test")


def test_a_cancelled_compile_leaves_no_process(tmp_path: Path) -> None:
    place = tree(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Opening a pipe waits for its reader.
    sample = instead(job(place, "gcc -c a.c"), tmp_path, f"echo > {pipe}; exec sleep 1000")

    async def test() -> None:
        recompiler = Recompiler(str(tmp_path / "scratch"))
        task = asyncio.create_task(recompiler.run(sample, patient=True))
        reader = await asyncio.to_thread(open, pipe)
        await asyncio.to_thread(reader.readline)
        compilers = [os.pidfd_open(pid) for pid in running_in(place)]
        assert compilers
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        reader.close()
        for compiler in compilers:
            assert select.select([compiler], [], [], 30)[0], "the compiler goes on"
            os.close(compiler)

    asyncio.run(asyncio.wait_for(test(), 60))


def running_in(folder: Path) -> list[int]:
    """The processes whose working folder it is."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                found.append(int(pid))
    return found


def test_what_a_killed_agent_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "scratch/1").mkdir(parents=True)
    (tmp_path / "scratch/1/a.o").write_text("left")
    Recompiler(str(tmp_path / "scratch"))
    assert not (tmp_path / "scratch").exists()
