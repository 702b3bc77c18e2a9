"""Places that a table of files cannot make: mounts, pipes, permissions, racing jobs, crashes.

As in the option matrix, each command runs twice in a folder of the same name, by the compiler and by manycc.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from compare import Observed, same, snapshot

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import lacking, need
from manycc.wire.native import MAX_FILE

COMPILERS = ("gcc-12", "clang-14")
LIMIT_S = 100.0
DONE = ("remote", "cached")
WITHOUT_POWER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
"""Root without capabilities is bound by permissions as anyone is."""
_TEMPORARY = re.compile(rb"/cc\w{6}\.s\b|/\w+-[0-9a-f]{6}\b|0x[0-9a-f]+|\(\S*\+?\w*\)")
"""What differs from run to run: the names of temporary files, the addresses in a crash."""

Make = Callable[[Path], None]


class Both(NamedTuple):
    local: Observed
    remote: Observed
    record: Mapping[str, Any]


@pytest.fixture(params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


@pytest.fixture(scope="module")
def powerless(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A client whose agent is bound by permissions, of the shared nodes."""
    need("setpriv")
    with Cluster(str(tmp_path_factory.mktemp("p")), nodes=0) as made:
        made.env["MANYCC_HOSTS"] = cluster.env["MANYCC_HOSTS"]
        yield made


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def maker(files: Mapping[str, str], modes: Mapping[str, int] = {}) -> Make:
    def make(place: Path) -> None:
        write(place, files)
        for name, mode in modes.items():
            (place / name).chmod(mode)

    return make


def empty(folder: Path) -> None:
    """Remove all that is in a folder, but not the folder, which may be a mount point."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def both(
    cluster: Cluster,
    place: Path,
    argv: Sequence[str],
    make: Make,
    cwd: str = ".",
    prefix: Sequence[str] = (),
    feed: str = "",
) -> Both:
    """Run a command by the compiler, then by manycc, in a place that is made anew for each.

    ``prefix`` runs each of the two; ``feed`` is a pipe in the place that gets a source written once.
    """
    found = []
    known = len(cluster.records())
    for launcher in ([], [cluster.launcher]):
        empty(place)
        make(place)
        with _fed(place / feed if feed else None):
            done = subprocess.run(
                [*prefix, *launcher, *argv],
                cwd=place / cwd, env={**cluster.env, "LC_ALL": "C"}, capture_output=True, check=False, timeout=LIMIT_S,
            )  # fmt: skip
        stderr = _TEMPORARY.sub(b"", done.stderr)
        found.append(Observed(done.returncode, done.stdout, stderr, snapshot(place)))
    records = cluster.wait_records(known + 1)
    assert len(records) == known + 1
    return Both(found[0], found[1], records[-1])


@contextlib.contextmanager
def _fed(pipe: Path | None) -> Iterator[None]:
    """While it lasts, the first who opens the pipe can read a source from it."""
    if pipe is None:
        yield
        return

    def feed() -> None:
        with open(pipe, "w") as file:
            file.write("int from_the_pipe;\n")

    writer = threading.Thread(target=feed)
    writer.start()
    try:
        yield
    finally:
        # If nobody has read from it, the writer still waits for someone who does.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        writer.join()
        os.close(reader)


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """A mount, for as long as it lasts; ``lacking`` where the kernel refuses."""
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    if done.returncode:
        lacking(f"mount {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", arguments[-1]], check=True)


C = {"a.c": '#include "h.h"\nint x = N; const char *file = __FILE__;\n', "h.h": "#define N 1\n"}
ARGUMENTS = ("-g", "-MMD", "-c", "a.c", "-o", "a.o")


# -- file systems


def test_sources_on_a_tmpfs(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    place = tmp_path / "memory"
    place.mkdir()
    with mounted("-t", "tmpfs", "tmpfs", str(place)):
        done = both(cluster, place, (compiler, *ARGUMENTS), maker(C))
    same(done.local, done.remote)
    assert done.local.code == 0 and done.record["reason"] in DONE


def test_sources_below_dev(cluster: Cluster, compiler: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        done = both(cluster, Path(folder, "place"), (compiler, *ARGUMENTS), maker(C))
    same(done.local, done.remote)
    assert done.local.code == 0 and done.record["reason"] in DONE


def test_sources_on_an_overlay(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    place = tmp_path / "merged"
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    write(
        tmp_path / "lower", {"b.c": '#include "low.h"\n#include "h.h"\nint y = N + LOW;\n', "low.h": "#define LOW 1\n"}
    )
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"

    def make(place: Path) -> None:
        write(place, {**C, "low.h": "#define LOW 7\n"})  # covers the one below
        shutil.copy(tmp_path / "lower/b.c", place / "b.c")

    with mounted("-t", "overlay", "overlay", "-o", layers, str(place)):
        done = both(cluster, place, (compiler, "-g", "-MMD", "-c", "b.c", "-o", "b.o"), make)
    same(done.local, done.remote)
    assert done.local.code == 0 and done.record["reason"] in DONE


def test_sources_in_a_bind_mount(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    with mounted("--bind", str(place), str(other)):
        for cwd in (place, other):
            done = both(cluster, cwd, (compiler, "-I", str(other), *ARGUMENTS), maker(C))
            same(done.local, done.remote)
            assert done.local.code == 0
            # clang takes files of one inode for one file, which on a node they are not
            assert done.record["reason"] in ((*DONE, "inputs-unknown") if compiler == "clang-14" else DONE)


def test_output_on_another_file_system(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    place = tmp_path / "place"
    (tmp_path / "memory").mkdir()
    with mounted("-t", "tmpfs", "tmpfs", str(tmp_path / "memory")):
        output = tmp_path / "memory/a.o"
        seen = []

        def make(place: Path) -> None:
            write(place, C)
            if output.exists():
                seen.append((output.stat().st_mode, output.read_bytes()))
            output.write_text("old\n")

        done = both(cluster, place, (compiler, "-MMD", "-c", "a.c", "-o", str(output)), make)
        seen.append((output.stat().st_mode, output.read_bytes()))
        assert sorted(os.listdir(tmp_path / "memory")) == ["a.d", "a.o"]
    same(done.local, done.remote)
    assert seen[0] == seen[1] and seen[0][1].startswith(b"\x7fELF")
    assert done.record["reason"] in DONE


def test_output_on_a_read_only_file_system(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    place = tmp_path / "place"
    (tmp_path / "image").mkdir()
    with mounted("-t", "tmpfs", "-o", "ro", "tmpfs", str(tmp_path / "image")):
        done = both(cluster, place, (compiler, "-c", "a.c", "-o", f"{tmp_path}/image/a.o"), maker(C))
    same(done.local, done.remote)
    assert done.local.code != 0 and done.record["reason"] == "output-folder"


# -- pipes, devices, sizes


def test_source_is_a_pipe(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    done = both(
        cluster,
        tmp_path,
        (compiler, "-c", "pipe.c", "-o", "a.o"),
        lambda place: os.mkfifo(place / "pipe.c"),
        feed="pipe.c",
    )
    same(done.local, done.remote)
    assert done.record["reason"] == "source-unreadable"


def test_header_is_a_pipe(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    def make(place: Path) -> None:
        write(place, {"a.c": '#include "pipe.h"\nint y;\n'})
        os.mkfifo(place / "pipe.h")

    done = both(cluster, tmp_path, (compiler, "-c", "a.c", "-o", "a.o"), make, feed="pipe.h")
    same(done.local, done.remote)


def test_output_is_a_pipe(cluster: Cluster, tmp_path: Path) -> None:
    """The assembler fails at once; clang would wait for a reader."""
    need("gcc-12")

    def make(place: Path) -> None:
        write(place, C)
        os.mkfifo(place / "a.o")

    done = both(cluster, tmp_path, ("gcc-12", "-c", "a.c"), make)
    same(done.local, done.remote)
    assert done.record["reason"] == "output-special"


def test_input_is_larger_than_may_be_sent(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    def make(place: Path) -> None:
        write(place, {"a.c": '__asm__(".data\\n.incbin \\"blob\\", 0, 4\\n"); int x;\n'})
        with open(place / "blob", "wb") as blob:
            blob.truncate(MAX_FILE + 1)

    empty(tmp_path / "place")
    argv = [compiler, "-c", "a.c", "-o", "a.o"]
    make(tmp_path / "place")
    subprocess.run(argv, cwd=tmp_path / "place", check=True)
    local = (tmp_path / "place/a.o").read_bytes()
    (tmp_path / "place/a.o").unlink()
    known = len(cluster.records())
    assert cluster.compile(argv, str(tmp_path / "place")).returncode == 0
    assert (tmp_path / "place/a.o").read_bytes() == local
    assert cluster.wait_records(known + 1)[-1]["reason"] == "input-too-large"


def test_working_folder_is_gone(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    prefix = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")
    argv = (compiler, "-c", f"{tmp_path}/place/a.c", "-o", f"{tmp_path}/place/a.o")
    done = both(cluster, tmp_path / "place", argv, maker(C), prefix=prefix)
    same(done.local, done.remote)
    assert done.local.code == 0 and done.record["reason"] == "inputs-unknown"


# -- permissions


@pytest.mark.parametrize(
    ("name", "arguments", "modes", "remote"),
    [
        ("protected old object", ("-c", "a.c"), {"a.o": 0o444}, True),
        ("protected old assembly", ("-S", "a.c"), {"a.s": 0o444}, False),
        ("protected old list", ("-MMD", "-c", "a.c", "-o", "b.o", "-MF", "a.s"), {"a.s": 0o400}, False),
        ("folder of outputs is protected", ("-c", "a.c", "-o", "out/new.o"), {"out": 0o555}, False),
        ("protected folder with an old object", ("-c", "a.c", "-o", "out/old.o"), {"out": 0o555}, False),
        ("folder of sources is protected", ("-c", "src/b.c", "-o", "b.o"), {"src": 0o555, "src/b.c": 0o444}, True),
        ("source is unreadable", ("-c", "a.c"), {"a.c": 0o000}, False),
        ("header is unreadable", ("-c", "a.c"), {"h.h": 0o000}, False),
        ("unreadable header elsewhere", ("-Iinc", "-c", "src/b.c", "-o", "b.o"), {"inc/c.h": 0o000}, None),
        ("unreadable search folder", ("-Iinc", "-c", "src/b.c", "-o", "b.o"), {"inc": 0o311}, None),
        ("closed search folder", ("-Iinc", "-Isrc", "-c", "src/b.c", "-o", "b.o"), {"inc": 0o000}, None),
    ],
)
def test_permissions(
    powerless: Cluster,
    tmp_path: Path,
    compiler: str,
    name: str,
    arguments: tuple[str, ...],
    modes: Mapping[str, int],
    remote: bool | None,
) -> None:
    """``remote``: whether a node must have done it; None: it may have."""
    place = tmp_path / "place"
    files = {
        **C, "a.o": "old\n", "a.s": "old\n", "out/old.o": "old\n", "src/b.c": '#include <c.h>\nint y = M;\n',
        "src/c.h": "#define M 2\n", "inc/c.h": "#define M 3\n",
    }  # fmt: skip
    if name == "folder of sources is protected":
        arguments = (*arguments, "-Isrc")

    def make(place: Path) -> None:
        maker(files, modes)(place)

    done = both(powerless, place, (compiler, *arguments), make, prefix=WITHOUT_POWER)
    same(done.local, done.remote)
    clang_replaces = compiler == "clang-14" and name == "protected old object"  # it asks before it does
    if remote is not None:
        assert (done.record["reason"] in DONE) == (remote and not clang_replaces), done.record


def test_working_folder_cannot_be_listed(powerless: Cluster, tmp_path: Path, compiler: str) -> None:
    make = maker({f"w/{name}": text for name, text in C.items()}, {"w": 0o311})
    done = both(powerless, tmp_path / "place", (compiler, *ARGUMENTS), make, cwd="w", prefix=WITHOUT_POWER)
    same(done.local, done.remote)
    assert done.local.code == 0


def test_output_of_another_owner(powerless: Cluster, tmp_path: Path, compiler: str) -> None:
    """Written over where the compiler writes over it: the file stays its owner's."""
    owners = []

    def make(place: Path) -> None:
        write(place, {**C, "a.o": "old\n", "a.d": "old\n"})
        for name in ("a.o", "a.d"):
            os.chown(place / name, 1000, 1000)
            (place / name).chmod(0o666)

    for launcher in ([], [powerless.launcher]):
        empty(tmp_path / "place")
        make(tmp_path / "place")
        argv = [*WITHOUT_POWER, *launcher, compiler, *ARGUMENTS]
        subprocess.run(argv, cwd=tmp_path / "place", env=powerless.env, check=True)
        owners.append({name: os.stat(tmp_path / "place" / name).st_uid for name in ("a.o", "a.d")})
    assert owners[0] == owners[1] == {"a.o": 0, "a.d": 1000}


# -- several at once


def test_two_jobs_write_one_output(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    whole = []
    for number in range(2):
        write(tmp_path, {f"{number}.c": f"char data[{100_000 + number}] = {{{number + 1}}}; int n{number};\n"})
        subprocess.run([compiler, "-g", "-c", f"{number}.c", "-o", "x.o"], cwd=tmp_path, check=True)
        whole.append((tmp_path / "x.o").read_bytes())
        (tmp_path / "x.o").unlink()
    for _ in range(5):
        jobs = [
            subprocess.Popen(
                [cluster.launcher, compiler, "-g", "-c", f"{number}.c", "-o", "x.o"], cwd=tmp_path, env=cluster.env
            )
            for number in (0, 1, 0, 1)
        ]
        assert [job.wait(LIMIT_S) for job in jobs] == [0] * 4
        assert (tmp_path / "x.o").read_bytes() in whole
        assert sorted(os.listdir(tmp_path)) == ["0.c", "1.c", "x.o"]


def test_one_job_many_times_at_once(cluster: Cluster, tmp_path: Path, compiler: str) -> None:
    write(tmp_path, C)
    subprocess.run([compiler, *ARGUMENTS], cwd=tmp_path, check=True)
    wanted = snapshot(tmp_path)
    for name in ("a.o", "a.d"):
        (tmp_path / name).unlink()
    jobs = [
        subprocess.Popen([cluster.launcher, compiler, *ARGUMENTS], cwd=tmp_path, env=cluster.env) for _ in range(12)
    ]
    assert [job.wait(LIMIT_S) for job in jobs] == [0] * 12
    assert snapshot(tmp_path) == wanted


# -- compilers by other names


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("clang", "/usr/bin/clang-14"),
        ("clang++-14", "/usr/bin/clang-14"),
        ("aarch64-linux-gnu-clang", "/usr/bin/clang-14"),
        ("i386-linux-gnu-clang++-14", "/usr/bin/clang-14"),
        ("gcc", "/usr/bin/gcc-12"),
        ("x86_64-linux-gnu-g++-12", "/usr/bin/g++-12"),
        ("cc", "/usr/bin/gcc-12"),
        ("cc", "/usr/bin/clang-14"),
        ("c++", "/usr/bin/clang++-14"),
    ],
)
def test_compiler_is_a_link(cluster: Cluster, tmp_path: Path, name: str, target: str) -> None:
    """A name tells a driver its language and its target."""
    need(target)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / name).symlink_to(target)
    source = {"a.c": '#ifdef __cplusplus\nextern "C++" int n;\n#endif\nint n = sizeof(void *);\n'}
    done = both(cluster, tmp_path / "place", (f"../bin/{name}", "-g", "-c", "a.c", "-o", "a.o"), maker(source))
    same(done.local, done.remote)
    assert done.local.code == 0 and done.record["reason"] in DONE, done.record


# -- compilers that fail


def test_assembler_fails_over_an_old_object(cluster: Cluster, tmp_path: Path) -> None:
    need("gcc-12")
    make = maker({"a.c": '__asm__("nonsense");\n', "a.o": "old\n"})
    done = both(cluster, tmp_path / "place", ("gcc-12", "-c", "a.c"), make)
    same(done.local, done.remote)
    assert sorted(done.local.files) == ["a.c"]


@pytest.mark.parametrize(
    ("source", "variable", "reason"),
    [
        ("#pragma clang __debug parser_crash\n", "X=", "compiler-killed"),
        ("#pragma clang __debug llvm_fatal_error\n", "X=", "compiler-killed"),
        ("int x;\n", "FORCE_CLANG_DIAGNOSTICS_CRASH=1", "environment"),
    ],
    ids=["parser", "back end", "forced"],
)
def test_clang_crashes(cluster: Cluster, tmp_path: Path, source: str, variable: str, reason: str) -> None:
    """Its own words, and the reproducer where the user's clang puts it."""
    need("clang-14")
    reports = tmp_path / "reports"
    make = maker({"a.c": source, "a.o": "old\n"})
    found = []

    def make_with_reports(place: Path) -> None:
        if reports.exists():
            found.append(sorted(_TEMPORARY.sub(b"", os.fsencode(f"/{name}")) for name in os.listdir(reports)))
        empty(reports)
        make(place)

    prefix = ("env", f"TMPDIR={reports}", variable)
    done = both(cluster, tmp_path / "place", ("clang-14", "-c", "a.c"), make_with_reports, prefix=prefix)
    found.append(sorted(_TEMPORARY.sub(b"", os.fsencode(f"/{name}")) for name in os.listdir(reports)))
    same(done.local, done.remote)
    assert done.local.code != 0
    assert found[0] == found[1] and found[0] == [b".c", b".sh"]
    assert done.record["reason"] == reason
