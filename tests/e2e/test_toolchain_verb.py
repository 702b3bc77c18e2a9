"""``manycc toolchain`` as it is typed: real compilers, real archives, a real node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.testing.cluster import BIN, Cluster
from manycc.testing.requirements import need, need_root
from manycc.toolchain import machines

CROSS = "aarch64-linux-gnu"
NAME = f"gcc-12.2.0-{CROSS}"
LIMIT_S = 300


class Typed:
    """A user's command line, with a folder of its own for all that manycc keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "MANYCC_DIR": str(folder / "manycc"), "HOME": str(folder), "COLUMNS": "200"}

    @property
    def kept(self) -> Path:
        return self.folder / "manycc/toolchains"

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [os.path.join(BIN, "manycc-cli"), "toolchain", *words],
            env=self.env, capture_output=True, text=True, timeout=LIMIT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(words[0], "--json", *words[1:], code=code).stdout)

    def fails(self, *words: str, code: int = 1) -> str:
        done = self.run(*words, code=code)
        assert done.stdout == ""
        return done.stderr


@pytest.fixture
def typed(tmp_path: Path) -> Typed:
    return Typed(tmp_path)


@pytest.fixture(scope="module")
def x_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cross compiler's files as one would pack them: x-tools/TRIPLE/bin/TRIPLE-gcc and what belongs to it."""
    need(f"/usr/bin/{CROSS}-gcc", f"/usr/bin/{CROSS}-g++", "zstd")
    top = tmp_path_factory.mktemp("made")
    tree = top / "x-tools" / CROSS
    parts = f"lib/gcc-cross/{CROSS}/12"
    for folder in ("bin", parts, f"{CROSS}/bin"):
        (tree / folder).mkdir(parents=True)
    for language in ("gcc", "g++"):
        shutil.copy(f"/usr/bin/{CROSS}-{language}-12", tree / f"bin/{CROSS}-{language}")
    for part in ("cc1", "cc1plus"):
        shutil.copy(f"/usr/{parts}/{part}", tree / parts)
    shutil.copy(f"/usr/bin/{CROSS}-as", tree / f"bin/{CROSS}-as")
    (tree / f"{CROSS}/bin/as").symlink_to(f"../../bin/{CROSS}-as")
    return top / "x-tools"


@pytest.fixture(scope="module")
def archive(x_tools: Path) -> Path:
    path = x_tools.parent / "x-tools.tar.zst"
    words = ["tar", "--use-compress-program=zstd -1", "-cf", str(path), "-C", str(x_tools.parent), "x-tools"]
    subprocess.run(words, check=True, timeout=LIMIT_S)
    return path


def test_an_archive_from_add_to_remove(typed: Typed, archive: Path) -> None:
    assert CROSS not in [one["name"] for one in typed.json("list")["added"]]
    said = typed.run("add", str(archive)).stdout
    assert f"added {NAME} in {typed.kept}/{NAME}" in said and f"gcc 12.2.0 (Debian 12.2.0-14) {CROSS}" in said
    assert sorted(os.listdir(typed.kept / NAME)) == ["record.json", "tree"]

    listed = typed.json("list")
    assert [one["name"] for one in listed["added"]] == [NAME]
    mine = [one for one in listed["compilers"] if one["toolchain"] == NAME]
    assert {one["language"] for one in mine} == {"c", "c++"}
    for one in mine:
        assert one["path"].startswith(f"{typed.kept}/{NAME}/tree/x-tools/{CROSS}/bin/{CROSS}-g")
        assert (one["kind"], one["version"], one["target"], one["refused"]) == ("gcc", "12.2.0", CROSS, "")
        assert one["host"] == machines.this_host()
    row = next(line for line in typed.run("list").stdout.splitlines() if str(typed.kept) in line and "C, C++" in line)
    assert f"added: {NAME}" in row

    # A name of it alone is enough, wherever it is.
    probed = typed.json("probe", NAME)
    assert probed["path"] in [one["path"] for one in mine] and probed["facts"]["triple"] == "aarch64-linux-gnu"
    assert probed["size"] == sum(file["size"] for file in probed["files"]) and {"driver", "cc1", "as"} <= set(
        probed["parts"]
    )

    # It is this machine's own in another place: no object differs.
    verified = typed.json("verify", NAME, "--", "-O2", "-g")["verified"]
    assert [(one["verdict"], one["against"]) for one in verified] == [("same", f"/usr/bin/{CROSS}-gcc")]
    assert {each["state"] for each in verified[0]["results"]} == {"same"} and len(verified[0]["results"]) >= 4

    assert "is there already" in typed.fails("add", str(archive))
    assert typed.run("remove", NAME).stdout == f"removed {NAME}\n"
    assert os.listdir(typed.kept) == []
    assert f"no toolchain '{NAME}' was added" in typed.fails("remove", NAME)


def test_what_differs_is_named(typed: Typed) -> None:
    """Two releases of one version: what the native compiler has is not what the cross compiler makes."""
    need("gcc", "clang-14", f"{CROSS}-gcc")
    answer = typed.json("verify", "gcc", "--against", f"{CROSS}-gcc", "--", "-O2", code=1)["verified"][0]
    assert answer["verdict"] == "differs" and all(each["lines"] for each in answer["results"])
    said = typed.run("verify", "gcc", "--against", f"{CROSS}-gcc", "--", "-O2", code=1).stdout
    assert "-O2: canary.c differs:" in said
    unknown = typed.json("verify", "gcc", "--against", "gcc", "--", "-fno-such-option", code=2)["verified"][0]
    assert unknown["verdict"] == "does not compile" and "no-such-option" in unknown["results"][0]["lines"][0]
    alone = typed.run("verify", "clang-14", code=2).stdout
    assert "nothing to compare with" in alone


def test_a_folder_stays_where_it_is(typed: Typed, x_tools: Path) -> None:
    said = typed.run("add", str(x_tools), "--name", "pi").stdout
    assert f"which leads to {x_tools}" in said
    assert (typed.kept / "pi/tree").is_symlink()
    assert f"added: pi, uses {x_tools}" in typed.run("list").stdout
    assert "its files stay in" in typed.run("remove", "pi").stdout
    assert (x_tools / CROSS / f"bin/{CROSS}-gcc").exists()


def test_hostile_and_useless_things_leave_nothing(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "tree/bin").mkdir(parents=True)
    (tmp_path / "tree/bin/gcc").symlink_to("/usr/bin/gcc")
    bad = tmp_path / "bad.tar"
    subprocess.run(["tar", "-cf", str(bad), "-C", str(tmp_path / "tree"), "bin"], check=True, timeout=60)
    assert f"{bad} is not unpacked: 'bin/gcc' is a link that leads outside" in typed.fails("add", str(bad))
    (tmp_path / "cut.tar").write_bytes(bad.read_bytes()[:700])
    assert "cut off" in typed.fails("add", str(tmp_path / "cut.tar"))
    assert "has no compiler: there is no folder bin" in typed.fails("add", "/etc/apt")
    assert "No such file" in typed.fails("add", "nothing")
    assert os.listdir(typed.kept) == []
    assert "cannot be the name" in typed.fails("remove", "../x")
    typed.fails("frobnicate", code=2)
    typed.fails("add", code=2)
    assert "PATH-OR-ARCHIVE" in typed.run("add", "--help").stdout
    whole = typed.run("--help").stdout
    assert all(
        verb in whole for verb in ("list", "probe", "match", "add", "install", "recipe", "build", "verify", "remove")
    )


def test_install_by_apt(typed: Typed) -> None:
    """The packages are installed already: apt says so, and the compiler is found under its own name."""
    need_root("install packages")
    need("apt-get", f"{CROSS}-gcc-12", f"{CROSS}-g++-12")
    plan = typed.json("install", f"{CROSS}@12.2.0", "--dry-run")
    assert plan["packages"] == [f"gcc-12-{CROSS}", f"g++-12-{CROSS}"] and plan["version"].startswith("12.2.0")
    done = typed.run("install", f"{CROSS}@12.2.0", "--json")
    assert any(path.startswith(f"/usr/bin/{CROSS}-gcc") for path in json.loads(done.stdout)["compilers"])
    assert "is no target" in typed.fails("install", "gcc")
    assert "no package gcc-99-" in typed.fails("install", f"{CROSS}@99", "--dry-run")


def test_install_zig_by_pip(typed: Typed, tmp_path: Path) -> None:
    """pip with an index of one wheel, whose zig is a program that answers as zig does."""
    need("gcc")
    (tmp_path / "zig.c").write_text('#include <stdio.h>\nint main(void) { puts("0.15.1"); return 0; }\n')
    subprocess.run(["gcc", "-o", str(tmp_path / "zig"), str(tmp_path / "zig.c")], check=True, timeout=60)
    wheel = tmp_path / "ziglang-0.15.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        program = zipfile.ZipInfo("ziglang/zig")
        program.external_attr = 0o100755 << 16
        file.writestr(program, (tmp_path / "zig").read_bytes())
        info = "ziglang-0.15.1.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ziglang\nVersion: 0.15.1\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"ziglang/zig,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    typed.env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}
    assert "ziglang==0.15.1" in typed.json("install", "ziglang@0.15.1", "--dry-run")["command"]
    assert "failed: exit code" in typed.fails("install", "ziglang@9.9")
    assert os.listdir(typed.kept) == []
    done = typed.json("install", "ziglang@0.15.1")
    assert done["added"] == "ziglang-0.15.1"
    found = [one for one in typed.json("list")["compilers"] if one["kind"] == "zig" and one["toolchain"]]
    assert [one["path"] for one in found] == [f"{typed.kept}/ziglang-0.15.1/tree/ziglang/zig"]
    typed.run("remove", "ziglang-0.15.1")


@pytest.fixture
def cluster(session_folder: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(os.path.join(session_folder, "match"), nodes=1) as one:
        yield one


def test_match_asks_the_host(cluster: Cluster) -> None:
    need("gcc", "g++")
    host = cluster.nodes[0].host
    answer = json.loads(cluster.cli("toolchain", "match", host, "--json").stdout)
    by_path = {one["path"]: one for one in answer["compilers"]}
    for path in ("/usr/bin/gcc", "/usr/bin/g++"):
        assert (by_path[path]["served"], by_path[path]["way"]) == (True, "same"), by_path[path]
    assert not any(CROSS in path for path in by_path)
    named = json.loads(cluster.cli("toolchain", "match", host, f"{CROSS}-gcc", "--json").stdout)
    assert [(one["target"], one["way"]) for one in named["compilers"]] == [(CROSS, "same")]
    table = cluster.cli("toolchain", "match", host, "gcc", "g++", "--", "-O2").stdout
    assert any(
        line.split()[0] == "/usr/bin/gcc" and "the same bytes" in line for line in table.splitlines() if line.strip()
    )
    cluster.nodes[0].stop()
    gone = cluster.cli("toolchain", "match", f"127.0.0.1:{cluster.nodes[0].port}/3", check=False)
    assert gone.returncode == 1 and "cannot be asked" in gone.stderr and "Traceback" not in gone.stderr
    several = cluster.cli("toolchain", "match", "one two", check=False)
    assert several.returncode == 1 and "is not one host" in several.stderr


def test_a_killed_add_is_cleared_by_the_next(typed: Typed, archive: Path, x_tools: Path) -> None:
    program = [os.path.join(BIN, "manycc-cli"), "toolchain", "add", str(archive)]
    with subprocess.Popen(program, env=typed.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(typed.kept.glob(".adding-*/tree/x-tools/*/bin")):
            pass  # it is killed as soon as something is there
        process.kill()
    assert [name for name in os.listdir(typed.kept) if not name.startswith(".adding-")] == []
    assert typed.json("list")["added"] == []
    typed.run("add", str(x_tools))
    assert os.listdir(typed.kept) == [NAME]


def test_another_user_finds_and_runs_what_root_added(typed: Typed, archive: Path) -> None:
    """As a node does that has a user of its own."""
    need_root("add for other users, and be one")
    typed.run("add", str(archive))
    for folder in (typed.folder, *typed.folder.parents):
        if folder.stat().st_uid == 0 and folder not in (Path("/"), Path("/tmp")):
            folder.chmod(folder.stat().st_mode | 0o055)
    (typed.folder / "a.c").write_text("int a;\n")
    code = (
        "import os, sys; from manycc.toolchain import added, installed; os.setgid(65534); os.setuid(65534);"
        "found = installed.installed(os.environ, [sys.argv[1]]);"
        "one = next(one for one in found if one.toolchain and not one.cxx); assert not one.refused, one.refused;"
        "os.execv(one.path, [one.path, '-S', '-o', '-', sys.argv[2]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(typed.kept), str(typed.folder / "a.c")],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and ".arch armv8-a" in done.stdout, done.stderr


HIDING = """#!/bin/sh
# A machine whose own cross compilers have lost their parts.
exec unshare --mount sh -c 'mount -t tmpfs none "$0" && exec "$@"' /usr/lib/gcc-cross {cli} "$@"
"""


def test_a_node_serves_with_what_was_added(session_folder: str, archive: Path, tmp_path: Path) -> None:
    """Nothing in PATH, no link, no compiler of the client's name: what was added compiles, and the bytes are right."""
    need_root("hide a folder from the node")
    need("unshare", "bwrap", f"{CROSS}-gcc")
    program = tmp_path / "node"
    program.write_text(HIDING.format(cli=os.path.join(BIN, "manycc-cli")))
    program.chmod(0o755)
    source = "extern int g(const char *); int f(int n) { char b[9]; b[n] = 1; return g(b); }\n"
    (tmp_path / "a.c").write_text(source)
    argv = [f"/usr/bin/{CROSS}-gcc", "-O2", "-g", "-c", "a.c", "-o"]
    cluster = Cluster(os.path.join(session_folder, "added"), nodes=1, arguments=["--toolchains", "installed-only"])
    node = cluster.nodes[0]
    node.program = [str(program)]
    added = [os.path.join(BIN, "manycc-cli"), "toolchain", "add", str(archive)]
    subprocess.run(
        added, env={**os.environ, "MANYCC_DIR": node.state}, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL
    )
    with cluster:
        answer = json.loads(cluster.cli("toolchain", "match", node.host, f"{CROSS}-gcc", "--json").stdout)
        assert [one["way"] for one in answer["compilers"]] == ["equivalent"], answer
        done = cluster.compile([*argv, "there.o"], cwd=str(tmp_path))
        assert done.returncode == 0, done.stderr
        record = cluster.wait_records(1)[-1]
        assert record["reason"] == "remote", record
    subprocess.run([*argv, "here.o"], cwd=tmp_path, check=True, timeout=LIMIT_S)
    assert (tmp_path / "here.o").read_bytes() == (tmp_path / "there.o").read_bytes()
