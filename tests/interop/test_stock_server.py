"""Our client with Debian's distccd: what it gets right, what it refuses, and what it finds out by itself.

Each command is run by the compiler and through the launcher in folders of the same name, and everything is
compared: exit code, texts, and every file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from stock_daemon import DISTCCD, START_S, StockDaemon

from manycc.testing.cluster import Cluster, Node
from manycc.testing.requirements import need

TREE = {
    "a.c": '#include <stdio.h>\n#include "sub/h.h"\n#define SAY(x) puts(x), NAME\n'
           'const char *f(int n) { return n > __LINE__ ? SAY(__FILE__) : ""; }\n',
    "sub/h.h": '#pragma once\n#define NAME "name"\nstatic inline int twice(int a) { return a * 2; }\n',
    "sub/b.c": '#include "h.h"\nint b(void) { return twice(__COUNTER__ + 3); }\n',
    "x.cc": "#include <vector>\n#include <string>\nstd::vector<std::string> g(int n) { return {__FILE__, NAME}; }\n",
    "base.c": "const char *who = __BASE_FILE__;\n",
    "pre.i": '# 1 "pre.c"\nint f(int a) { return a + 1; }\n',
    "bare.i": "int f(int a) { return a + 1; }\n",
    "trigraph.c": 'const char *s = "??/n";\nchar t??(3??);\n',
    "place.cc": "#include <source_location>\nint c(std::source_location w = std::source_location::current())"
                " { return w.column(); }\n#define HERE c\nint d() { return HERE(); }\n",
    "pragma.c": '#pragma GCC target("avx2")\n#ifdef __AVX2__\nint with;\n#endif\nint x;\n',
    "warn.c": '#include <stdio.h>\nint f(void) { int idle; printf("%s", 3); return 1; }\n',
    "cppwarn.c": "#warning take care\nint x;\n",
    "many.c": "#define SWAP(x, y) t = x; x = y; y = t\n"
              "int f(int a, int b, int c) { int t = 0; if (a) SWAP(b, c); return b + c + t; }\n",
    "wrong.c": "int f(void) { return undeclared; }\n",
    "wrong.h.c": '#include "missing.h"\n',
    "san.c": "#define A(x)   ((x) + 1)\nint f(int a) { return A(a) * A(a + 2); }\n",
    "incbin.c": '__asm__(".data\\n.incbin \\"sub/h.h\\"\\n");\nint x;\n',
    "capitals.c": '__asm__(".data\\n.INCBIN \\"/etc/passwd\\"\\n");\nint x;\n',
    "a.S": '#include "empty.h"\n.globl f\nf: ret\n',
    "empty.h": "/* nothing */\n",
    "omp.c": "int f(int *a) { int s = 0;\n#pragma omp parallel for reduction(+ : s)\n"
             "for (int i = 0; i < 9; i++) s += a[i]; return s; }\n",
    "extname.c": "int old(void);\n#pragma redefine_extname old fresh\nint f(void) { return old(); }\n",
    "again.c": "int twice(int);\n#define twice(x) ((x) * 3)\n#pragma push_macro(\"twice\")\n"
               "#pragma pop_macro(\"twice\")\nint f(int a) { return twice(a); }\n",
    "poison.c": "int old(int);\n#define USE(x) old(x)\n#pragma GCC \\\n  poison old\nint f(int a) { return USE(a); }\n",
    "counter.c": "#if __COUNTER__ == 0\nint y;\n#endif\nint c = __COUNTER__;\n",
    "raw.cc": 'const char *r = R"x(\n#define Q 1\n/* \\\n)x";\nint q = __LINE__;\n#ident "me"\n',
    "spliced.c": "int a; // \\\nint b;\nint c; /* x\n#define no\n*/ int d = __LINE__;\n%:define E 3\nint e<:E:>;\n",
    "obj/.keep": "",
}  # fmt: skip

SAME = {
    "c": "gcc -O2 -c a.c -o a.o",
    "c-name-of-version": "gcc-12 -O1 -c a.c -o a.o",
    "c-by-path": "/usr/bin/gcc -c a.c -o a.o",
    "cc": "cc -O1 -c a.c",
    "cxx": "g++ -O1 -DNAME=\"y\" -c x.cc -o x.o",
    "cxx-by-gcc": "gcc -O1 -DNAME=\"y\" -c x.cc -o x.o",
    "c-by-cxx": "g++ -O1 -x c -c a.c -o a.o",
    "clang": "clang-14 -O1 -c a.c -o a.o",
    "language-option": "gcc -xc++ -DNAME=\"\" -c x.cc -o obj/x.o",
    "no-output-named": "gcc -O1 -c sub/b.c",
    "in-a-folder": "gcc -Isub -c sub/b.c -o obj/b.o",
    "assembly": "gcc -O2 -S a.c",
    "assembly-named": "gcc -O2 -S a.c -o obj/out.s",
    "pic": "gcc -O2 -fPIC -fvisibility=hidden -fno-plt -c a.c -o a.o",
    "forced": "gcc -include sub/h.h -c sub/b.c -o b.o|-DX=\"a b\"",
    "preprocessor-words": "gcc -Wp,-DX=1,-DY=2 -U_FORTIFY_SOURCE -O2 -c a.c -o a.o",
    "base-file": "gcc -O1 -c base.c -o base.o",
    "trigraphs": "gcc -std=c99 -c trigraph.c -o t.o",
    "preprocessed": "gcc -O1 -g -c pre.i -o pre.o",
    "preprocessed-without-markers": "gcc -O1 -g -c bare.i -o bare.o",
    "to-nowhere": "gcc -c a.c -o /dev/null",
    "preprocessor-warns": "gcc -c cppwarn.c -o w.o",
    "openmp": "gcc -O1 -fopenmp -c omp.c -o o.o",
    "pragma-that-renames": "gcc -O1 -c extname.c -o o.o",
    "pragma-that-brings-a-macro-back": "gcc -O1 -c again.c -o o.o",
    "pragma-that-poisons": "gcc -O1 -c poison.c -o o.o",
    "counter-in-a-condition": "gcc -O1 -c counter.c -o o.o",
    "raw-strings": "g++ -c raw.cc -o r.o",
    "spliced-lines": "gcc -c spliced.c -o s.o",
    "character-set": "gcc -O1 -finput-charset=UTF-8 -c a.c -o a.o",
    "idle-linker-options": "clang-14 -lm -rtlib=libgcc -c a.c -o a.o",
    "idle-language": "gcc -c a.c -o a.o -x c++",
    "c-as-cxx-warns": "clang++-14 -c sub/b.c -o b.o",
    "preprocessed-clang": "clang-14 -g -c pre.i -o pre.o",
    "no-debug": "gcc -g -g0 -c a.c -o a.o",
    "native": "gcc -O2 -march=native -c a.c -o a.o",
    "dep-md": "gcc -MD -c a.c -o obj/a.o",
    "dep-mmd": "gcc -MMD -c a.c -o obj/a.o",
    "dep-no-output": "gcc -MD -c sub/b.c",
    "dep-mf": "gcc -MD -MF obj/x.dep -c a.c -o obj/a.o",
    "dep-mf-joined": "gcc -MMD -MFx.dep -c a.c -o obj/a.o",
    "dep-mt": "gcc -MMD -MT one/two.o -MF x.d -c a.c -o obj/a.o",
    "dep-mq": "gcc -MMD -MQ $(one)/two.o -MF x.d -c a.c -o obj/a.o",
    "dep-two-targets": "gcc -MMD -MT one -MQ two -MF x.d -c a.c -o obj/a.o",
    "dep-mp": "gcc -MD -MP -MF x.d -c a.c -o obj/a.o",
    "dep-odd-suffix": "gcc -MMD -c a.c -o obj/a.b.lo",
    "dep-no-suffix": "gcc -MMD -c a.c -o obj/a",
    "dep-null": "gcc -MMD -MF /dev/null -c a.c -o a.o",
    "dep-kernel": "gcc -Wp,-MMD,.a.o.d -c a.c -o obj/a.o",
    "dep-kernel-target": "gcc -Wp,-MD,x.d,-MT,t -c a.c -o obj/a.o",
    "dep-assembly": "gcc -MMD -S a.c -o obj/a.s",
    "dep-assembly-no-output": "gcc -MD -S a.c",
    "dep-automake": "gcc -MT a.o -MD -MP -MF obj/a.Tpo -c -o a.o a.c",
    "dep-cmake": "g++ -DNAME=\"\" -MD -MT obj/x.cc.o -MF obj/x.cc.o.d -o obj/x.cc.o -c x.cc",
    "dep-output-with-space": "gcc -MMD -c a.c -o|obj/a b$.o",
    "dep-clang": "clang-14 -MD -c a.c -o obj/a.o",
    "dep-clang-no-output": "clang-14 -MMD -MP -c sub/b.c",
    "dep-clang-mf": "clang-14 -MMD -MF x.d -c a.c -o obj/a$b.o",
    "dep-preprocessed": "gcc -MD -c pre.i -o pre.o",
}  # fmt: skip
"""Commands whose every byte a stock host keeps. Words are parted by blanks, and by | where a word holds one."""

OTHER = {
    "debug": ("gcc -O1 -g -MMD -c a.c -o a.o", "stock-columns", ("a.o",)),
    "sanitized": ("gcc -fsanitize=undefined -c san.c -o a.o", "stock-columns", ("a.o",)),
    "columns-in-code": ("g++ -std=c++20 -g0 -Wunused-macros -c place.cc -o p.o", "stock-columns", ("p.o",)),
    "columns-in-code-raw": ("g++ -std=c++20 -c place.cc -o p.o", "stock", ()),
    "warnings": ("gcc -Wall -c warn.c -o w.o", "stock-messages", ("stderr",)),
    "error": ("gcc -c wrong.c -o w.o", "remote-error", ()),
    "warning-is-error": ("gcc -Wall -Werror -c warn.c -o w.o", "remote-error", ()),
    "preprocessor-fails": ("gcc -c wrong.h.c -o w.o", "preprocess-failed", ()),
    "pragma-changes-macros": ("gcc -c pragma.c -o p.o", "stock-cannot", ()),
    "over-its-source": ("gcc -c bare.i -o ./bare.i", "stock-cannot", ()),
    "incbin": ("gcc -c incbin.c -o i.o", "stock-cannot", ()),
    "incbin-in-capitals": ("gcc -c capitals.c -o i.o", "stock-cannot", ()),
    "split-debug": ("gcc -g -gsplit-dwarf -c a.c -o a.o", "stock-cannot", ()),
    "coverage": ("gcc --coverage -frandom-seed=1 -c a.c -o a.o", "stock-cannot", ()),
    "stack-usage": ("gcc -fstack-usage -c a.c -o a.o", "stock-cannot", ()),
    "temporaries": ("gcc -save-temps=obj -c a.c -o a.o", "stock-cannot", ()),
    "dumps": ("gcc -O1 -fdump-tree-optimized -c a.c -o a.o", "stock-cannot", ()),
    "command-recorded": ("gcc -frecord-gcc-switches -c a.c -o a.o", "stock-cannot", ()),
    "assembler": ("gcc -c a.S -o a.o", "stock-cannot", ()),
}
"""Command, reason, and what may differ."""

_VARIES: Mapping[str, tuple[str, ...]] = {"coverage": ("a.gcno",)}


class Result:
    """All that a command did."""

    def __init__(self, done: subprocess.CompletedProcess[bytes], folder: Path) -> None:
        self.what: dict[str, Any] = {"exit code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                self.what[str(path.relative_to(folder))] = (path.stat().st_mode, path.read_bytes())

    def differing(self, other: Result) -> set[str]:
        """What is not the same."""
        return {name for name in self.what | other.what if self.what.get(name) != other.what.get(name)}


def words(command: str) -> list[str]:
    """The words of a command of the tables."""
    head, *tail = command.split("|")
    return [*head.split(), *tail]


def lay_out(folder: Path) -> None:
    """Make the tree anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in TREE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def both(
    cluster: Cluster, folder: Path, argv: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[Result, Result, dict[str, Any]]:
    """What the compiler here does, what it does through the launcher, and the job's record."""
    tree = folder / "tree"
    lay_out(tree)
    here = Result(subprocess.run(argv, cwd=tree, env=cluster.env, capture_output=True, check=False), tree)
    lay_out(tree)
    before = len(cluster.records())
    there = Result(cluster.compile(argv, str(tree), env), tree)
    return here, there, cluster.wait_records(before + 1, 60)[-1]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockDaemon]:
    """One distccd with the compilers of this machine."""
    need(DISTCCD, "/usr/lib/distcc/gcc")
    stock = StockDaemon(tmp_path_factory.mktemp("d")).start()
    try:
        yield stock
    finally:
        stock.stop()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, daemon: StockDaemon) -> Iterator[Cluster]:
    """A client without nodes."""
    with Cluster(str(tmp_path_factory.mktemp("c")), nodes=0) as made:
        made.env["MANYCC_HOSTS"] = f"{daemon.host}/3"
        yield made


@pytest.mark.parametrize("name", SAME)
def test_every_byte_is_kept(client: Cluster, tmp_path: Path, name: str) -> None:
    argv = words(SAME[name])
    need(argv[0])
    here, there, record = both(client, tmp_path, argv)
    assert here.what["exit code"] == 0, here.what["stderr"]
    assert here.differing(there) == set(), record
    assert record["reason"] == "stock", record


@pytest.mark.parametrize("name", OTHER)
def test_what_is_known_to_differ_or_stays_here(client: Cluster, tmp_path: Path, name: str) -> None:
    command, reason, differs = OTHER[name]
    here, there, record = both(client, tmp_path, words(command))
    assert record["reason"] == reason, record
    assert here.differing(there) - set(_VARIES.get(name, ())) == set(differs)


def test_lzo(client: Cluster, daemon: StockDaemon, tmp_path: Path) -> None:
    hosts = {"MANYCC_HOSTS": f"{daemon.host}/3,lzo"}
    plain = both(client, tmp_path, words(SAME["c"]))[2]
    for name in ("c", "cxx", "dep-md", "preprocessed-without-markers"):
        here, there, record = both(client, tmp_path, words(SAME[name]), hosts)
        assert here.differing(there) == set()
        assert record["reason"] == "stock", record
        if name == "c":
            assert record["sent"] < plain["sent"] / 2
    here, there, record = both(client, tmp_path, words(OTHER["error"][0]), hosts)
    assert here.differing(there) == set()
    assert record["reason"] == "remote-error"


@pytest.mark.parametrize(("option", "host"), [("-O2", ",lzo"), ("-g", "")])
def test_warnings_as_errors(client: Cluster, daemon: StockDaemon, tmp_path: Path, option: str, host: str) -> None:
    """Where gcc sees no macros, it does not warn of them: what fails here must not succeed there."""
    hosts = {"MANYCC_HOSTS": f"{daemon.host}/3{host}"}
    here, there, record = both(client, tmp_path, words(f"gcc {option} -Wall -Werror -c many.c -o m.o"), hosts)
    assert here.what["exit code"] == 1
    assert here.differing(there) == set(), record
    assert record["reason"] == "remote-error"


def test_what_a_record_says(client: Cluster, tmp_path: Path) -> None:
    _, _, record = both(client, tmp_path, words(SAME["c"]))
    assert record["sent"] > 100 and record["received"] > 100
    phases = record["node"]
    assert {"preprocess", "connect", "send", "compile", "receive"} <= phases.keys()
    assert phases["compile"] > 0


def test_a_wrong_source_is_no_fault_of_the_host(client: Cluster, tmp_path: Path) -> None:
    both(client, tmp_path, words(OTHER["error"][0]))
    both(client, tmp_path, words(OTHER["preprocessor-fails"][0]))
    _, _, record = both(client, tmp_path, words(SAME["c"]))
    assert record["reason"] == "stock", record


def test_same_bytes_required(client: Cluster, tmp_path: Path) -> None:
    strict = {"MANYCC_SAME_BYTES": "required"}
    here, there, record = both(client, tmp_path, words(SAME["c"]), strict)
    assert here.differing(there) == set()
    assert record["reason"] == "same-bytes"
    assert "same_bytes" in record["detail"]
    explained = subprocess.run(
        [os.path.join(os.path.dirname(client.launcher), "manycc-cli"), "explain", "--", "gcc", "-c", "a.c"],
        cwd=tmp_path / "tree", env={**client.env, **strict}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert explained.returncode == 1
    assert 'same_bytes is "required"' in explained.stdout


def test_tools_show_what_kind_a_host_is(client: Cluster, daemon: StockDaemon, tmp_path: Path) -> None:
    lay_out(tmp_path)
    shown = json.loads(client.cli("hosts", "--json").stdout)["hosts"][0]
    assert (shown["name"], shown["kind"], shown["state"], shown["slots"]) == (daemon.host, "stock distccd", "ready", 3)
    for command in ("hosts", "status", "doctor"):
        assert "stock distccd" in client.cli(command, check=False).stdout
    text = client.cli("explain", "--", "gcc", "-g", "-c", "a.c", cwd=tmp_path).stdout
    assert f"host {daemon.host} (stock distccd): can, where no manycc node does it, but not to the same bytes" in text
    text = client.cli("explain", "--", "gcc", "--coverage", "-c", "a.c", cwd=tmp_path, check=False).stdout
    assert "cannot: with --coverage" in text
    for name in ("debug", "warnings"):
        both(client, tmp_path, words(OTHER[name][0]))
    text = client.cli("stats").stdout
    assert "stock-columns" in text and "stock-messages" in text


def test_known_differences_are_not_verified(client: Cluster, tmp_path: Path) -> None:
    always = {"MANYCC_VERIFY": "1/1"}
    for name in ("debug", "warnings"):
        both(client, tmp_path, words(OTHER[name][0]), always)
    both(client, tmp_path, words(SAME["cxx"]), always)
    answer = json.loads(client.cli("verify", "--json").stdout)
    assert answer["quarantine"] == []
    assert answer["counts"]["different"] == 0
    assert answer["counts"]["skipped"] >= 2


def test_nothing_is_left(client: Cluster, tmp_path: Path) -> None:
    """No preprocessor, no file of its own; what was killed has let go of its place."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    lay_out(tmp_path / "tree")
    (tmp_path / "tree" / "slow.c").write_text('#include "a.c"\n' + "int v[] = {" + "1," * 2_000_000 + "};\n")
    job = subprocess.Popen(
        [client.launcher, "gcc", "-O2", "-c", "slow.c", "-o", "slow.o"], cwd=tmp_path / "tree",
        env={**client.env, "TMPDIR": str(temporary)},
    )  # fmt: skip
    _until(lambda: json.loads(client.cli("status", "--json").stdout)["jobs"]["remote"] == 1)
    job.kill()
    job.wait()
    _until(lambda: json.loads(client.cli("status", "--json").stdout)["jobs"]["running"] == 0)
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "tree" / "slow.o").exists()
    agent = client.agent_pid()
    _until(lambda: "gcc" not in _children(agent))
    _, _, record = both(client, tmp_path, words(SAME["c"]))
    assert record["reason"] == "stock"


def test_another_compiler_of_the_same_name_is_found_out(tmp_path: Path) -> None:
    need(DISTCCD, "clang-14")
    bin_folder = Path(tempfile.mkdtemp(prefix="other-gcc-"))  # distccd runs as nobody, who may not look into tmp_path
    bin_folder.chmod(0o755)
    for name in ("gcc", "gcc-12", "x86_64-linux-gnu-gcc", "x86_64-linux-gnu-gcc-12"):
        script = bin_folder / name
        script.write_text('#!/bin/sh\nexec /usr/bin/gcc-12 "$@" -fno-stack-protector -fcf-protection=full\n')
        script.chmod(0o755)
    stock = StockDaemon(tmp_path / "d", path=str(bin_folder), arguments=("--enable-tcp-insecure",)).start()
    try:
        with Cluster(str(tmp_path / "c"), nodes=0) as client:
            client.env["MANYCC_HOSTS"] = stock.host
            here, there, record = both(client, tmp_path, words(SAME["c"]))
            assert here.differing(there) == set()
            assert record["reason"] == "no-toolchain"
            assert "makes another object of canary.c" in record["detail"]
            text = client.cli("explain", "--", "gcc", "-c", "a.c", cwd=tmp_path / "tree", check=False).stdout
            assert "cannot: " in text and "makes another object of canary.c" in text
            here, there, record = both(client, tmp_path, words(SAME["cxx"]))
            assert here.differing(there) == set()
            assert record["reason"] == "stock"  # its g++ is the right one
    finally:
        stock.stop()
        shutil.rmtree(bin_folder)


def test_a_host_that_is_down_is_neither(tmp_path: Path) -> None:
    need(DISTCCD)
    stock = StockDaemon(tmp_path / "d")
    with Cluster(str(tmp_path / "c"), nodes=0) as client:
        client.env["MANYCC_HOSTS"] = stock.host
        here, there, record = both(client, tmp_path, words(SAME["c"]))
        assert here.differing(there) == set()
        assert record["reason"] == "hosts-down"
        assert json.loads(client.cli("hosts", "--json", check=False).stdout)["hosts"][0]["kind"] == ""
        stock.start()
        try:
            _until(lambda: both(client, tmp_path, words(SAME["c"]))[2]["reason"] == "stock")
            assert _kinds(client) == {stock.host: {"kind": "stock"}}
        finally:
            stock.stop()
        here, there, record = both(client, tmp_path, words(SAME["c"]))
        assert here.differing(there) == set()
        assert record["reason"] in ("node-lost", "hosts-down"), record
        client.cli("agent", "stop")
        # Remembered over a restart, and no reason to take a host that is down for one that answers.
        record = both(client, tmp_path, words(SAME["c"]))[2]
        assert record["reason"] == "hosts-down", record


def test_a_host_that_changes_its_kind(tmp_path: Path) -> None:
    need(DISTCCD)
    stock = StockDaemon(tmp_path / "d").start()
    node = Node(str(tmp_path / "n"), 2, port=stock.port)
    with Cluster(str(tmp_path / "c"), nodes=0) as client:
        client.env["MANYCC_HOSTS"] = stock.host
        try:
            assert both(client, tmp_path, words(SAME["c"]))[2]["reason"] == "stock"
            stock.stop()
            node.start()
            client.cli("hosts", check=False)  # else it would be looked at again after a while only
            _until(lambda: both(client, tmp_path, words(SAME["c"]))[2]["reason"] in ("remote", "cached"))
            assert _kinds(client)[stock.host] == {"kind": "node"}
            node.stop()
            stock.start()
            _until(lambda: both(client, tmp_path, words(SAME["c"]))[2]["reason"] == "stock")
            assert _kinds(client)[stock.host] == {"kind": "stock"}
        finally:
            node.stop()
            stock.stop()


def test_what_stock_cannot_keep_goes_to_a_node_if_there_is_one(tmp_path: Path, daemon: StockDaemon) -> None:
    with Cluster(str(tmp_path / "c"), nodes=1, jobs=1) as client:
        client.env["MANYCC_HOSTS"] = f"{daemon.host}/8 {client.nodes[0].host}"
        client.cli("hosts")
        lay_out(tmp_path / "tree")
        # Together: none of them goes to the eight free places of the other host.
        jobs = [
            subprocess.Popen([client.launcher, *argv, "-o", f"{number}.o"], cwd=tmp_path / "tree", env=client.env)
            for number, argv in enumerate([["gcc", "-g", f"-DN={n}", "-c", "a.c"] for n in range(4)])
        ]
        assert [job.wait(120) for job in jobs] == [0] * 4
        assert [record["reason"] for record in client.wait_records(4)] == ["remote"] * 4
        client.nodes[0].stop()
        _until(lambda: both(client, tmp_path, words(OTHER["debug"][0]))[2]["reason"] == "stock-columns")


def test_through_ssh(tmp_path: Path) -> None:
    """An entry with an @: a distccd is started at the other end. The stand-in for ssh runs it here."""
    need(DISTCCD)
    notes = tmp_path / "notes"
    ssh = tmp_path / "ssh"
    user = "--user nobody " if os.geteuid() == 0 else ""
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {notes}\nshift 2\nprogram=$1; shift\nexec "$program" {user}"$@"\n')
    ssh.chmod(0o755)
    with Cluster(str(tmp_path / "c"), nodes=0, env={"DISTCC_SSH": f"{ssh} -x"}) as client:
        client.env["MANYCC_HOSTS"] = f"@somewhere/2:{DISTCCD}"
        lay_out(tmp_path / "tree")
        here, there, record = both(client, tmp_path, words(SAME["c"]))
        assert here.differing(there) == set()
        assert record["reason"] == "stock", record
        assert record["host"] == "@somewhere"
        assert f"-x somewhere {DISTCCD} --inetd --enable-tcp-insecure" in notes.read_text()


def test_what_ssh_says_is_told(tmp_path: Path) -> None:
    words_of_ssh = "ssh: connect to host somewhere port 22: No route to host"
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "{words_of_ssh}" >&2\nexit 255\n')
    ssh.chmod(0o755)
    with Cluster(str(tmp_path / "c"), nodes=0, env={"DISTCC_SSH": str(ssh)}) as client:
        client.env["MANYCC_HOSTS"] = "@somewhere/2"
        lay_out(tmp_path / "tree")
        here, there, record = both(client, tmp_path, words(SAME["c"]))
        assert here.differing(there) == set()
        assert (record["reason"], words_of_ssh in record["detail"]) == ("hosts-down", True), record


def _children(pid: int) -> list[str]:
    names = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            names.append(Path(f"/proc/{child}/comm").read_text().strip())
        except OSError:
            pass  # it has just ended
    return names


def _kinds(client: Cluster) -> Any:
    return json.loads(Path(client.client, "state", "hosts.json").read_text())


def _until(holds: Any) -> None:
    end = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
