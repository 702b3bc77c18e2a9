"""A node's equivalent cross compiler: the client's own bytes, or a refusal that says what differs.

The client's compiler is a copy of Debian's cross gcc in a folder of its own, which the node cannot see; the copy calls
itself by another revision, so that its .ident string is another one, too. It may not be sent. No emulation is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from compare import observe, same

from manycc.testing.cluster import Cluster
from manycc.testing.requirements import need, need_root

LONG = os.environ.get("MANYCC_TEST_LONG") == "1"
TRIPLE = "aarch64-linux-gnu"
PARTS = f"lib/gcc-cross/{TRIPLE}/12"
HIDING = """#!/bin/sh
# A machine on which a folder is empty.
exec unshare --mount sh -c 'mount -t tmpfs none "$0" && exec "$@"' {hidden} {cli} "$@"
"""
SOURCES = {
    "a.c": """#include <stdio.h>
#include <string.h>
#include "own.h"
int unset(int c) { int here; if (c) return here; }
int main(int c, char **v) { char b[99]; strcpy(b, v[0]); printf("%s %d", b, own(c)); return 0; }
""",
    "b.cc": """#include <string>
#include <vector>
int sum(const std::vector<std::string> &v) { int n = 0, unused; for (auto &s : v) n += s.size(); return n; }
""",
    "own.h": "#pragma once\nstatic inline int own(int n) { return n * 3; }\n",
    "s.S": '#include "own2.h"\n    .text\nf: nop\n    .ident "mine"\n',
    "own2.h": "#define TWO 2\n",
    "i.c": '__asm__("\\t.ident\\t\\"GCC: (Debian 12.2.0-14) 12.2.0\\"");\n',
    "o.c": '#pragma GCC optimize ("stack-protector-strong")\nint g(char *); int f(void) { char b[64]; return g(b); }\n',
    "t.s": '    .text\nf: nop\n\t.ident\t"GCC: (Debian 12.2.0-14) 12.2.0"\n',
}


def copy_of(folder: Path, revision: str = "") -> Path:
    """The cross compiler without linker and libraries, in another place. Returns its folder of programs."""
    need(f"{TRIPLE}-gcc-12", f"{TRIPLE}-g++-12", f"{TRIPLE}-objcopy")
    place = folder / PARTS
    tools = folder / TRIPLE / "bin"
    for made in (place, tools, folder / "bin"):
        made.mkdir(parents=True)
    for name in ("cc1", "cc1plus", "include"):
        source = Path("/usr", PARTS, name)
        shutil.copytree(source, place / name) if source.is_dir() else shutil.copy2(source, place / name)
    for name in ("as", "objcopy"):
        shutil.copy2(f"/usr/bin/{TRIPLE}-{name}", tools / name)
    for name in ("gcc", "g++"):
        shutil.copy2(f"/usr/bin/{TRIPLE}-{name}-12", folder / "bin" / name)
    shutil.copytree(f"/usr/{TRIPLE}/include", folder / TRIPLE / "include", symlinks=True)
    if revision:
        for program in (place / "cc1", place / "cc1plus", folder / "bin/gcc", folder / "bin/g++"):
            patch(program, b"(Debian 12.2.0-14", b"(Debian " + revision.encode())
    return folder / "bin"


def patch(program: Path, old: bytes, new: bytes) -> None:
    """Replace a text within a program by one as long."""
    data = program.read_bytes()
    assert len(old) == len(new)
    if old not in data:
        pytest.skip(f"{program.name} of this machine does not have {old!r}")
    program.write_bytes(data.replace(old, new))


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the node cannot see."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def programs(hidden: Path) -> Path:
    return copy_of(hidden / "client", "12.2.0-X9")


@pytest.fixture(scope="module")
def apart(hidden: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_root("mount")
    need("unshare", "bwrap")
    folder = tmp_path_factory.mktemp("apart")
    script = folder / "node.sh"
    script.write_text(HIDING.format(hidden=hidden, cli=os.path.join(os.path.dirname(sys.executable), "manycc-cli")))
    script.chmod(0o755)
    cluster = Cluster(str(folder / "c"), nodes=1, arguments=["--toolchains", "installed-only"])
    cluster.nodes[0].program = [str(script)]
    with cluster:
        yield cluster


def canaries_of(cluster: Cluster) -> int:
    """How many canaries the node has compiled."""
    log = Path(cluster.nodes[0].log).read_text()
    return sum(("/canary." in line or "/more." in line) and " exit " in line for line in log.splitlines())


SAME = (
    "gcc -O2 -g -c a.c", "gcc -O0 -Wall -Wextra -MD -c a.c", "gcc -O1 -pipe -fstack-usage -c a.c -o x.o",
    "gcc -O0 -g -gsplit-dwarf -c a.c", "gcc -flto -frandom-seed=1 -c a.c", "gcc -frecord-gcc-switches -c a.c",
    "gcc -O2 -fPIC -fstack-protector-strong -fstack-clash-protection -mbranch-protection=standard -c a.c",
    "gcc -O0 -c s.S -MMD -MF s.d", "gcc -g -c t.s", "g++ -O2 -g -c b.cc", "g++ -O0 -Wall -std=c++20 -MD -c b.cc",
    "gcc -O0 -c broken.c", "gcc -fno-ident -c i.c",
)  # fmt: skip


@pytest.mark.parametrize("command", SAME)
def test_the_same_bytes(apart: Cluster, programs: Path, tmp_path: Path, command: str) -> None:
    name, *words = command.split()
    files = {**SOURCES, "broken.c": '#include "own.h"\nint f(void) { return nothing; }\n'}
    local, remote, record = observe(apart, tmp_path, files, [str(programs / name), *words], env={"LANG": "C.UTF-8"})
    same(local, remote)
    assert (record["reason"], record.get("way")) == ("remote", "equivalent"), record["detail"]


def test_headers_are_found_in_the_same_order(apart: Cluster, programs: Path, tmp_path: Path) -> None:
    """Before and behind the compiler's own folders, by options and by variables; each has a header of one name."""
    places = ("quoted", "given", "cpath", "system", "variable", "after")
    files = {f"{place}/string.h": f"#define FROM_{place} 1\n#include_next <string.h>\n" for place in places[:-1]}
    files |= {f"{place}/only_{place}.h": f"static int {place};\n" for place in places}
    files["after/string.h"] = "#error never read\n"
    files["a.c"] = "#include <string.h>\n" + "".join(f'#include "only_{place}.h"\n' for place in places)
    files["a.c"] += "int all = FROM_given + FROM_cpath + FROM_system + FROM_variable;\n"
    options = ["-iquote", "quoted", "-Igiven", "-isystem", "system", "-idirafter", "after"]
    local, remote, record = observe(
        apart, tmp_path, files, [str(programs / "gcc"), "-O0", "-g3", "-Wall", "-MD", *options, "-c", "a.c"],
        env={"CPATH": "cpath", "C_INCLUDE_PATH": "variable:none", "CPLUS_INCLUDE_PATH": "after"},
    )  # fmt: skip
    assert local.code == 0, local.stderr
    same(local, remote)
    assert record.get("way") == "equivalent", record["detail"]


REFUSED = {
    "gcc -O1 -S a.c": ("another package", ".ident"),
    "gcc -O1 -save-temps -c a.c": ("-save-temps keeps preprocessed source",),
    "gcc -O1 -fdump-tree-gimple -c a.c": ("-fdump-tree-gimple writes dumps",),
    "gcc -x objective-c -c a.c": ("",),
    "gcc -O1 -c o.c": ("a source sets options for its own code",),
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_cannot_be_proven_stays_here(apart: Cluster, programs: Path, tmp_path: Path, command: str) -> None:
    name, *words = command.split()
    local, remote, record = observe(apart, tmp_path, SOURCES, [str(programs / name), *words])
    same(local, remote)
    assert record["reason"] != "remote"
    for said in REFUSED[command]:
        assert said in record["detail"]


def test_a_verdict_outlives_the_agent(apart: Cluster, programs: Path, tmp_path: Path) -> None:
    command = [str(programs / "gcc"), "-Os", "-c", "a.c"]
    observe(apart, tmp_path, SOURCES, command)
    known = json.loads(Path(apart.client, "state", "equivalent.json").read_text())["verdicts"]
    (verdict,) = [one for one in known.values() if one["options"].startswith("-Os ") and "canary.c" in one["evidence"]]
    assert set(verdict["evidence"]) == {"canary.c", "floats.c", "more.c"} and not verdict["refusal"]
    apart.cli("agent", "stop")
    before = canaries_of(apart)
    local, remote, record = observe(apart, tmp_path, SOURCES, command)
    same(local, remote)
    assert record["way"] == "equivalent"
    assert canaries_of(apart) == before


def test_results_are_kept_for_the_same_repair_only(
    apart: Cluster, programs: Path, hidden: Path, tmp_path: Path
) -> None:
    """Two clients whose compilers differ in nothing but their name, and a source without headers."""
    source = {"a.c": "int one = 1;\n"}
    other = copy_of(hidden / "other", "12.2.0-Y8")
    found = []
    for driver in (programs / "gcc", other / "gcc"):
        local, remote, record = observe(apart, tmp_path, source, [str(driver), "-O2", "-c", "a.c"])
        same(local, remote)
        assert record["way"] == "equivalent"
        found.append(remote.files["a.o"].content)
    assert b"12.2.0-X9" in found[0] and b"12.2.0-Y8" in found[1]
    assert observe(apart, tmp_path, source, [str(programs / "gcc"), "-O2", "-c", "a.c"])[2]["reason"] == "cached"


def test_a_compiler_that_writes_other_code_is_refused(apart: Cluster, hidden: Path, tmp_path: Path) -> None:
    wrong = copy_of(hidden / "wrong")
    patch(wrong.parent / PARTS / "cc1", b"clz\t%w0, %w1", b"cls\t%w0, %w1")
    local, remote, record = observe(apart, tmp_path, SOURCES, [str(wrong / "gcc"), "-O2", "-c", "a.c"])
    same(local, remote)
    assert record["reason"] == "not-equivalent"
    assert "makes another object of canary.c with -O2: section .text" in record["detail"]
    again = observe(apart, tmp_path, SOURCES, [str(wrong / "gcc"), "-O2", "-c", "a.c"])[2]
    assert again["reason"] == "not-equivalent" and not again.get("tried")  # it is known before anything is sent


def test_defaults_that_differ_are_stated(apart: Cluster, hidden: Path, tmp_path: Path) -> None:
    """A client whose driver adds an option of its own: the node is told, and the bytes are the same."""
    client = copy_of(hidden / "adding")
    (client.parent / PARTS / "specs").write_text("*cc1_options:\n+ -fwrapv -fno-plt\n\n")
    local, remote, record = observe(apart, tmp_path, SOURCES, [str(client / "gcc"), "-O2", "-c", "a.c"])
    same(local, remote)
    assert record.get("way") == "equivalent", record["detail"]


def test_a_clang_elsewhere(apart: Cluster, hidden: Path, tmp_path: Path) -> None:
    need("clang-14")
    real = os.path.realpath(str(shutil.which("clang-14")))
    home = Path(real).parents[1]
    programs = hidden / "clang" / "bin"
    programs.mkdir(parents=True)
    shutil.copy2(real, programs / "clang-14")
    (programs / "clang++").symlink_to("clang-14")
    for place in home.glob("lib/clang/*/include"):
        shutil.copytree(place, hidden / "clang" / place.relative_to(home))
    for words in (["-O2", "-g", "-c", "b.cc"], ["-flto", "-c", "b.cc", "-MD"]):
        local, remote, record = observe(apart, tmp_path, SOURCES, [str(programs / "clang++"), *words])
        same(local, remote)
        assert record.get("way") == "equivalent", record["detail"]
    # The driver has something to say, and its name is another one here.
    local, remote, record = observe(apart, tmp_path, SOURCES, [str(programs / "clang++"), "-c", "b.cc", "-lm"])
    same(local, remote)
    assert record["reason"] == "not-equivalent"


def test_another_version_is_no_equivalent(apart: Cluster, hidden: Path, tmp_path: Path) -> None:
    client = copy_of(hidden / "newer")
    for program in (client.parent / PARTS / "cc1", client / "gcc"):
        patch(program, b"12.2.0\0", b"12.9.0\0")
    local, remote, record = observe(apart, tmp_path, SOURCES, [str(client / "gcc"), "-O2", "-c", "a.c"])
    same(local, remote)
    assert record["reason"] == "no-toolchain"
    assert "gcc 12.2.0 here, gcc 12.9.0 there" in record["detail"]


@pytest.mark.skipif(not LONG, reason="MANYCC_TEST_LONG=1 runs it")
@pytest.mark.parametrize("flags", [["-O2", "-g"], ["-O2", "-fPIC", "-fstack-protector-strong"]])
def test_whole_trees(apart: Cluster, programs: Path, tmp_path: Path, flags: list[str]) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
    from sources import unpack

    lua, re2 = (Path(unpack(name, str(tmp_path / name))) for name in ("lua5.4", "re2"))
    jobs = [
        (path.parent, [str(programs / "gcc"), "-DLUA_USE_LINUX", "-Wall", "-c", path.name])
        for path in sorted(lua.glob("src/*.c"))
    ]
    jobs += [
        (re2, [str(programs / "g++"), "-std=c++17", "-pthread", "-I.", "-Wall", "-c", str(path.relative_to(re2))])
        for folder in ("re2", "util")
        for path in sorted((re2 / folder).glob("*.cc"))
        if not any(word in path.name for word in ("test", "fuzz", "benchmark"))
    ]
    before = len(apart.records())

    def is_same(number: int) -> bool:
        folder, words = jobs[number]
        output = tmp_path / f"{number}.o"
        command = [*words, *flags, "-o", str(output)]
        assert apart.compile(command, str(folder)).returncode == 0
        remote = output.read_bytes()
        output.unlink()
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        return remote == output.read_bytes()

    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(is_same, range(len(jobs))))
    ways = Counter(record.get("way") for record in apart.wait_records(before + len(jobs))[before:])
    assert ways == {"equivalent": len(jobs)}
