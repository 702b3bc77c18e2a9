"""What a user sees of one compile is what the local compiler would have shown."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from compare import observe, same

from manycc.testing.cluster import Cluster

HELLO = {"hello.c": '#include <stdio.h>\n#include "hello.h"\nint main(void) { puts(NAME); return 0; }\n',
         "hello.h": '#define NAME "hello"\n'}  # fmt: skip
CXX = {"a.cc": '#include <vector>\n#include <string>\nstd::vector<std::string> f() { return {__FILE__, "x"}; }\n'}

CASES = {
    "c": (HELLO, ["gcc", "-O2", "-c", "hello.c", "-o", "hello.o"]),
    "c-debug": (HELLO, ["gcc", "-O2", "-g", "-c", "hello.c"]),
    "c++": (CXX, ["g++", "-O1", "-g", "-std=c++17", "-c", "a.cc", "-o", "a.o"]),
    "depfile": (HELLO, ["gcc", "-MD", "-MP", "-MT", "x/y.o", "-MF", "dep.d", "-c", "hello.c", "-o", "hello.o"]),
    "depfile-implied": (HELLO, ["gcc", "-Wp,-MMD,dep.d", "-c", "hello.c", "-o", "hello.o"]),
    "assembly": (HELLO, ["gcc", "-O2", "-S", "hello.c"]),
    "split-dwarf": (HELLO, ["gcc", "-g", "-gsplit-dwarf", "-c", "hello.c", "-o", "hello.o"]),
    "coverage": (HELLO, ["gcc", "--coverage", "-frandom-seed=1", "-c", "hello.c", "-o", "hello.o"]),
    "stack-usage": (HELLO, ["gcc", "-fstack-usage", "-c", "hello.c", "-o", "hello.o"]),
    "lto": (HELLO, ["gcc", "-flto", "-frandom-seed=1", "-O2", "-c", "hello.c", "-o", "hello.o"]),
    "pic": (HELLO, ["gcc", "-fPIC", "-DX=1", "-c", "-ohello.o", "hello.c"]),
    "null-output": (HELLO, ["gcc", "-c", "hello.c", "-o", "/dev/null"]),
    "asm": ({"a.S": '#include "b.h"\n.globl f\nf: ret\n', "b.h": "/* nothing */\n"}, ["gcc", "-c", "a.S", "-o", "a.o"]),
    "asm-raw": ({"a.s": ".globl f\nf: ret\n"}, ["gcc", "-c", "a.s", "-o", "a.o"]),
    "preprocessed": ({"a.i": "# 1 \"a.c\"\nint f(void) { return 1; }\n"}, ["gcc", "-g", "-c", "a.i"]),
    "spaces": ({"my file.c": '#include "my header.h"\nint x = N;\n', "my header.h": "#define N 1\n"},
               ["gcc", "-g", "-c", "my file.c", "-o", "my file.o"]),
    "odd-bytes": ({"na\udcffme.c": '#include "h\udcfe.h"\nint x = N;\n', "h\udcfe.h": "#define N 1\n"},
                  ["gcc", "-g", "-c", "na\udcffme.c", "-o", "\udcfd.o"]),
    "response-file": ({**HELLO, "args": '-DY="a b" -O2 -c hello.c'}, ["gcc", "@args", "-o", "hello.o"]),
    "save-temps": (HELLO, ["gcc", "-save-temps=obj", "-c", "hello.c", "-o", "hello.o"]),
    "dump": (HELLO, ["gcc", "-O2", "-fdump-tree-optimized", "-c", "hello.c", "-o", "hello.o"]),
    "incbin": ({"a.c": '__asm__(".data\\n.incbin \\"blob\\"\\n"); int x;\n', "blob": "0123456789"},
               ["gcc", "-c", "a.c", "-o", "a.o"]),
    "has-include": ({"a.c": '#if __has_include("there.h")\nint y;\n#endif\n#if __has_include(<no.h>)\n#error\n#endif\n',
                     "there.h": "#error not included\n"}, ["gcc", "-c", "a.c"]),
    "warning": ({"a.c": "int f(void) { int unused; }\n"}, ["gcc", "-Wall", "-Wextra", "-c", "a.c", "-o", "a.o"]),
    "native-tune": (HELLO, ["gcc", "-O2", "-march=native", "-c", "hello.c", "-o", "hello.o"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_remote_equals_local(cluster: Cluster, tmp_path: Path, name: str) -> None:
    files, argv = CASES[name]
    local, remote, record = observe(cluster, tmp_path, files, argv)
    assert local.code == 0
    same(local, remote)
    assert record["reason"] in ("remote", "cached"), record


def test_folders_and_parents(cluster: Cluster, tmp_path: Path) -> None:
    files = {
        "src/a.c": '#include "../inc/x.h"\n#include <y.h>\nint a = X + Y;\n', "inc/x.h": "#define X 1\n",
        "inc/sys/y.h": "#define Y 2\n", "build/obj/.keep": "",
    }  # fmt: skip
    argv = [
        "gcc",
        "-g",
        "-MD",
        "-I../inc/sys",
        "-I../missing",
        "-Wmissing-include-dirs",
        "-c",
        "../src/a.c",
        "-o",
        "obj/a.o",
    ]
    local, remote, record = observe(cluster, tmp_path, files, argv, cwd="build")
    assert local.code == 0 and b"missing" in local.stderr
    same(local, remote)
    assert record["reason"] == "remote"


def test_symlinked_folders(cluster: Cluster, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "x.h").write_text("#define X 1\n")
    (tmp_path / "tree").mkdir()
    os.symlink(real, tmp_path / "linked")
    local, remote, record = observe(
        cluster, tmp_path, {"a.c": "#include <x.h>\nint a = X;\n"}, ["gcc", "-g", "-I../linked", "-MD", "-c", "a.c"]
    )
    assert local.code == 0
    same(local, remote)
    assert record["reason"] == "remote"


def test_compile_error_is_the_compilers_own(cluster: Cluster, tmp_path: Path) -> None:
    local, remote, record = observe(cluster, tmp_path, {"a.c": "int x = ;\n"}, ["gcc", "-MD", "-c", "a.c", "-o", "a.o"])
    assert local.code == 1
    same(local, remote)
    assert record["reason"] == "remote" and record["exit"] == 1


def test_missing_header_is_the_compilers_own(cluster: Cluster, tmp_path: Path) -> None:
    local, remote, _ = observe(cluster, tmp_path, {"a.c": '#include "no.h"\n'}, ["gcc", "-c", "a.c"])
    assert local.code == 1
    same(local, remote)


def test_missing_output_folder_is_the_compilers_own(cluster: Cluster, tmp_path: Path) -> None:
    local, remote, record = observe(cluster, tmp_path, HELLO, ["gcc", "-c", "hello.c", "-o", "no/hello.o"])
    assert local.code != 0
    assert record["reason"] == "output-folder"
    assert remote.code == local.code and remote.files == local.files


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_umask_counts(cluster: Cluster, tmp_path: Path, umask: int) -> None:
    local, remote, record = observe(
        cluster, tmp_path, HELLO, ["gcc", "-MD", "-fstack-usage", "-c", "hello.c"], umask=umask
    )
    same(local, remote)
    assert record["reason"] in ("remote", "cached")


def test_edited_header_is_seen_at_once(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include "n.h"\nconst char text[] = N;\n')
    for number in range(20):
        (tmp_path / "n.h").write_text(f'#define N "{number:04}"\n')
        assert cluster.compile(["gcc", "-c", "a.c"], str(tmp_path)).returncode == 0
        assert f"{number:04}".encode() in (tmp_path / "a.o").read_bytes()


def test_new_header_in_an_earlier_folder_wins(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two/n.h").write_text('#define N "second"\n')
    (tmp_path / "a.c").write_text("#include <n.h>\nconst char text[] = N;\n")
    argv = ["gcc", "-Ione", "-Itwo", "-c", "a.c"]
    cluster.compile(argv, str(tmp_path))
    assert b"second" in (tmp_path / "a.o").read_bytes()
    (tmp_path / "one/n.h").write_text('#define N "first!"\n')
    cluster.compile(argv, str(tmp_path))
    assert b"first!" in (tmp_path / "a.o").read_bytes()
    (tmp_path / "one/n.h").unlink()
    cluster.compile(argv, str(tmp_path))
    assert b"second" in (tmp_path / "a.o").read_bytes()


def test_second_compile_is_answered_from_the_cache(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(f'const char text[] = "{tmp_path}";\n')
    for expected in ("remote", "cached"):
        before = len(cluster.records())
        cluster.compile(["gcc", "-c", "a.c"], str(tmp_path))
        record = cluster.wait_records(before + 1)[-1]
        assert record["reason"] == expected  # the second goes to the node that did the first
        (tmp_path / "a.o").unlink()


def test_time_macros_stay_right_and_uncached(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("const char text[] = __DATE__;\n")
    (tmp_path / "b.c").write_text("const char text[] = __TIMESTAMP__;\n")
    for _ in range(2):
        local = subprocess.run(["gcc", "-c", "a.c", "-o", "local.o"], cwd=tmp_path, check=True)
        assert local.returncode == 0
        before = len(cluster.records())
        cluster.compile(["gcc", "-c", "a.c"], str(tmp_path))
        assert cluster.wait_records(before + 1)[-1]["reason"] != "cached"
        text = (tmp_path / "a.o").read_bytes()
        date = subprocess.run(["date", "+%b %e %Y"], capture_output=True, check=True).stdout.strip()
        assert date in text
    before = len(cluster.records())
    cluster.compile(["gcc", "-c", "b.c"], str(tmp_path))
    assert cluster.wait_records(before + 1)[-1]["reason"] == "timestamp-macro"


def test_colours_when_stderr_is_a_terminal(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { int unused; }\n")
    argv = ["gcc", "-Wall", "-c", "a.c"]
    env = {**cluster.env, "TERM": "xterm"}
    seen = []
    for command in (argv, [cluster.launcher, *argv]):
        primary, secondary = pty.openpty()
        done = subprocess.run(command, cwd=tmp_path, env=env, stderr=secondary, check=False)
        os.close(secondary)
        assert done.returncode == 0
        text = b""
        while True:
            try:
                piece = os.read(primary, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        os.close(primary)
        seen.append(text)
    assert b"\x1b[" in seen[0]
    assert seen[1] == seen[0]


def test_links_and_others_stay_local_with_their_reasons(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    for argv, reason in (
        (["gcc", "a.c", "-o", "a"], "not-compile"),
        (["gcc", "-E", "a.c"], "preprocess-only"),
        (["gcc", "-c", "-fno-such-option", "a.c"], "unknown-option"),
        (["gcc", "--version"], "not-compile"),
    ):
        before = len(cluster.records())
        local = subprocess.run(argv, cwd=tmp_path, env=cluster.env, capture_output=True, check=False)
        done = cluster.compile(argv, str(tmp_path))
        assert (done.returncode, done.stdout, done.stderr) == (local.returncode, local.stdout, local.stderr)
        assert cluster.wait_records(before + 1)[-1]["reason"] == reason
