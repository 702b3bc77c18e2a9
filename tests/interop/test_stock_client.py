"""Debian's distcc against a node of ours: what comes back is what its own server would send, or better."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from distcc_raw import ask, pump_request, wait_until
from stock_daemon import DISTCCD, StockDaemon

from manycc.testing.cluster import Node
from manycc.testing.requirements import need, need_root
from manycc.wire import lzo

DISTCC = "/usr/bin/distcc"
PLAIN, LZO, PUMP = "", ",lzo", ",lzo,cpp"
LIMIT_S = 100
FILES = {
    "hello.c": b"""#include <stdio.h>
#include "inc/v.h"
static int unused(int a) { int b; return a; }
int main(void) { printf("%s %d\\n", __FILE__, V); return 0; }
""",
    "inc/v.h": b"#define V 3\n",
    "src/list.cc": b"""#include <vector>
#include "../inc/v.h"
int sum(const std::vector<int> &list) { int all = V; for (int one : list) all += one; return all; }
""",
    "bad.c": b'#include "inc/v.h"\nint f(void) { return missing + V; }\n',
    "badasm.c": b'int f(void) { __asm__("no-such-instruction"); return 0; }\n',
    "a name.c": b"int f(void) { return 7; }\n",
    "pre.i": b"int linux;\nint f(void) { return linux; }\n",
}


@dataclass
class Peers:
    """A node of ours, Debian's daemon, a folder with sources."""

    node: Node
    stock: int
    work: Path
    scratch: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> int:
        return self.node.port

    @property
    def log(self) -> str:
        """What the node has logged so far."""
        return Path(self.node.log).read_text()

    def command(self, port: int, how: str, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Debian's client for one compile at a port of this machine. It has no memory of earlier ones."""
        state = tempfile.mkdtemp(dir=self.scratch)
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DISTCC", "INCLUDE_SERVER"))},
            "DISTCC_DIR": state,
            "DISTCC_HOSTS": f"127.0.0.1:{port}{how}",
            "DISTCC_FALLBACK": "0",
            "LC_ALL": "C",
            **self.environment,
        }
        return [DISTCC, *argv], env

    def compile(self, port: int, how: str, *argv: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Compile there; nowhere else."""
        line, env = self.command(port, how, argv)
        return subprocess.run(
            line, cwd=self.work, env={**env, **more}, capture_output=True, timeout=LIMIT_S, check=False
        )

    def locally(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        """The same compile without distcc."""
        return subprocess.run(
            argv, cwd=self.work, env={**os.environ, "LC_ALL": "C"}, capture_output=True, timeout=LIMIT_S, check=False
        )

    def taken(self, *names: str) -> list[bytes]:
        """The contents of outputs, which are removed."""
        contents = []
        for name in names:
            path = self.work / name
            contents.append(path.read_bytes())
            path.unlink()
        return contents


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    need("bwrap", "gcc", "g++", DISTCC, DISTCCD)
    folder = tmp_path_factory.mktemp("stock")
    work = folder / "work"
    for name, text in FILES.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(text)
    (work / "obj").mkdir()
    node = Node(str(folder / "node"), 2, ["--sandbox", "required"])
    stock = StockDaemon(folder / "stock")
    try:
        node.start()
        stock.start()
        yield Peers(node, stock.port, work, folder)
        assert "Traceback" not in Path(node.log).read_text()
    finally:
        stock.stop()
        node.stop()


def spoken(text: bytes) -> bytes:
    """What the compiler said, without what distcc says of itself, and with plain quotes."""
    lines = [line for line in text.splitlines() if not line.startswith(b"distcc[")]
    return re.sub("[\u2018\u2019]", "'", b"\n".join(lines).decode()).encode()


# -- versions 1 and 2


@pytest.mark.parametrize(
    ("argv", "output"),
    [
        (("gcc", "-O2", "-Wall", "-Wextra", "-c", "hello.c", "-o", "obj/hello.o"), "obj/hello.o"),
        (("gcc", "-g", "-O1", "-c", "hello.c"), "hello.o"),
        (("g++", "-g", "-std=c++17", "-fPIC", "-c", "src/list.cc", "-o", "obj/list.o"), "obj/list.o"),
        (("g++", "-O1", "-c", "{work}/src/list.cc", "-o", "{work}/obj/list.o"), "obj/list.o"),
        (("gcc", "-O1", "-S", "hello.c", "-o", "hello.s"), "hello.s"),
        (("gcc", "-c", "a name.c", "-o", "obj/a name.o"), "obj/a name.o"),
        (("gcc", "-c", "pre.i", "-o", "pre.o"), "pre.o"),
        (("gcc", "-x", "c++", "-O1", "-c", "hello.c", "-o", "hello.o"), "hello.o"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_objects_and_texts_are_those_of_the_stock_server(peers: Peers, argv: tuple[str, ...], output: str) -> None:
    argv = tuple(word.format(work=peers.work) for word in argv)
    local = peers.locally(*argv)
    (expected,) = peers.taken(output)
    stock = peers.compile(peers.stock, PLAIN, *argv)
    assert stock.returncode == local.returncode == 0, stock
    (theirs,) = peers.taken(output)
    for how in (PLAIN, LZO):
        done = peers.compile(peers.ours, how, *argv)
        assert (done.returncode, done.stdout, spoken(done.stderr)) == (0, stock.stdout, spoken(stock.stderr))
        (found,) = peers.taken(output)
        # Preprocessed text has other columns; the rest is as if compiled here, while stock servers may name a file
        # of theirs.
        assert found == (theirs if "-g" in argv else expected)


def test_clang_too_and_the_unit_keeps_its_name(peers: Peers) -> None:
    """Stock servers give clang's units the name of a file of theirs."""
    need("clang-14")
    argv = ("clang-14", "-g", "-c", "hello.c", "-o", "hello.o")
    done = peers.compile(peers.ours, LZO, *argv)
    assert done.returncode == 0, done.stderr
    (found,) = peers.taken("hello.o")
    assert b"hello.c\0" in found and b"hello.i" not in found and b"distccd_" not in found


def test_text_without_line_markers_keeps_its_name(peers: Peers) -> None:
    argv = ("gcc", "-P", "-S", "hello.c", "-o", "hello.s")
    assert peers.locally(*argv).returncode == 0
    (expected,) = peers.taken("hello.s")
    assert peers.compile(peers.ours, PLAIN, *argv).returncode == 0
    assert peers.taken("hello.s") == [expected]


@pytest.mark.parametrize("how", [PLAIN, LZO])
def test_errors_have_their_text_and_exit_code(peers: Peers, how: str) -> None:
    for source, words in (("bad.c", b"'missing' undeclared"), ("badasm.c", b"no such instruction")):
        stock = peers.compile(peers.stock, how, "gcc", "-c", source, "-o", "obj/bad.o")
        done = peers.compile(peers.ours, how, "gcc", "-c", source, "-o", "obj/bad.o")
        assert done.returncode == stock.returncode == 1
        text, expected = (re.sub(rb"cc\w{6}\.s", b"ccX.s", spoken(one.stderr)) for one in (done, stock))
        assert text == expected and words in text
        assert not (peers.work / "obj/bad.o").exists()


@pytest.mark.parametrize("how", [PLAIN, LZO])
def test_a_refusal_is_read_by_the_user(peers: Peers, how: str) -> None:
    done = peers.compile(peers.ours, how, "gcc", "-wrapper", "/bin/echo", "-c", "hello.c", "-o", "hello.o")
    assert done.returncode == 101
    assert b"manycc node" in done.stderr and b"-wrapper" in done.stderr
    again = peers.compile(
        peers.ours, how, "gcc", "-gsplit-dwarf", "-c", "hello.c", "-o", "hello.o", DISTCC_FALLBACK="1"
    )
    assert again.returncode == 0  # stock servers would have lost the second file
    peers.taken("hello.o", "hello.dwo")


def test_the_second_build_is_cached_whatever_the_paths(peers: Peers) -> None:
    source = peers.work / "cached.c"
    source.write_text("int cached;\n")
    answers = []
    for how, output in ((PLAIN, "cached.o"), (LZO, "cached.o"), (PLAIN, "obj/cached.o")):
        before = len(peers.log)
        assert peers.compile(peers.ours, how, "gcc", "-c", "cached.c", "-o", output).returncode == 0
        peers.taken(output)
        answers.append("from the cache" in peers.log[before:])
    assert answers == [False, True, True]


def test_a_client_that_is_killed_ends_its_compile(peers: Peers) -> None:
    name = f"forever{os.getpid()}.cc"
    (peers.work / name).write_text(
        "constexpr unsigned long f() { unsigned long x = 1;"
        " for (unsigned long i = 0; i < 900000000000ul; ++i) x = x * 31 + i; return x; }\nconstexpr auto v = f();\n"
    )
    options = ("-std=c++17", "-fconstexpr-ops-limit=9223372036854775807", "-fconstexpr-loop-limit=2147483647")
    line, env = peers.command(peers.ours, PLAIN, ("g++", *options, "-c", name))
    client = subprocess.Popen(line, cwd=peers.work, env=env, start_new_session=True)
    try:
        wait_until(lambda: compiles(name))
    finally:
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()
    wait_until(lambda: not compiles(name))
    wait_until(lambda: "CLI_DISCONN exit:0 time:" in peers.log and name in peers.log)


def compiles(name: str) -> bool:
    """Whether a compiler is at work on a source of that name."""
    wanted = name.replace(".cc", ".ii").encode()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if wanted in line and b"cc1plus" in line:
            return True
    return False


# -- version 3


@pytest.fixture
def mirror() -> Iterator[Path]:
    """What an include server would hand out: a folder three names deep, below which the client's files are."""
    top = Path(tempfile.mkdtemp(prefix="manycc-pump-", dir="/tmp"))
    root = top / "root"
    root.mkdir()
    yield root
    shutil.rmtree(top)


def stub(mirror: Path, work: Path, names: Sequence[str], links: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Fill the mirror; the variable by which Debian's client takes it for the include server's answer."""
    paths = []
    for name in names:
        path = Path(f"{mirror}{work / name}.lzo")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzo.compress((work / name).read_bytes()))
        paths.append(path)
    system = ("/usr/include", "../" * 22 + "usr/include")
    for place, target in (system, *links):
        path = Path(f"{mirror}{place}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():
            path.symlink_to(target)
        paths.append(path)
    return {"INCLUDE_SERVER_STUB": " ".join(map(str, paths)), "INCLUDE_SERVER_PORT": "/nowhere"}


@pytest.mark.parametrize(
    ("argv", "outputs"),
    [
        (("gcc", "-g", "-O1", "-Wall", "-c", "hello.c", "-o", "obj/hello.o"), ["obj/hello.o"]),
        (
            ("gcc", "-g", "-MD", "-MF", "obj/hello.d", "-c", "hello.c", "-o", "obj/hello.o"),
            ["obj/hello.o", "obj/hello.d"],
        ),
        (("gcc", "-MMD", "-MP", "-c", "hello.c", "-o", "obj/hello.o"), ["obj/hello.o", "obj/hello.d"]),
        (("g++", "-g", "-MD", "-c", "src/list.cc", "-o", "obj/list.o"), ["obj/list.o", "obj/list.d"]),
        (("gcc", "-g", "-Iinc", "-I{work}/inc", "-c", "{work}/hello.c", "-o", "{work}/obj/hello.o"), ["obj/hello.o"]),
        (("gcc", "-S", "-c", "hello.c", "-o", "hello.s"), ["hello.s"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_pump_gives_what_the_local_compiler_gives(
    peers: Peers, mirror: Path, argv: tuple[str, ...], outputs: list[str]
) -> None:
    """To the byte, debug information, depfiles and messages included: stock servers cannot."""
    argv = tuple(word.format(work=peers.work) for word in argv)
    env = stub(mirror, peers.work, ["hello.c", "inc/v.h", "src/list.cc"])
    local = peers.locally(*argv)
    expected = peers.taken(*outputs)
    before = len(peers.log)
    done = peers.compile(peers.ours, PUMP, *argv, **env)
    assert (done.returncode, done.stdout, spoken(done.stderr)) == (0, local.stdout, spoken(local.stderr))
    assert peers.taken(*outputs) == expected
    assert "COMPILE_OK" in peers.log[before:]
    before = len(peers.log)
    assert peers.compile(peers.ours, PUMP, *argv, **env).returncode == 0
    assert peers.taken(*outputs) == expected
    assert ("from the cache" in peers.log[before:]) == ("-MMD" not in argv)


def test_pump_errors_are_those_of_the_local_compiler(peers: Peers, mirror: Path) -> None:
    """With the line in question quoted, which preprocessed text has not."""
    argv = ("gcc", "-c", "bad.c", "-o", "obj/bad.o")
    local = peers.locally(*argv)
    done = peers.compile(peers.ours, PUMP, *argv, **stub(mirror, peers.work, ["bad.c", "inc/v.h"]))
    assert done.returncode == local.returncode == 1
    assert spoken(done.stderr) == spoken(local.stderr) and b"return missing" in local.stderr


def test_pump_links_and_folders_that_must_exist(peers: Peers, mirror: Path) -> None:
    work = peers.work
    (work / "real").mkdir()
    (work / "real/w.h").write_text("#define W 4\n")
    (work / "empty").mkdir()
    (work / "link").symlink_to("real")
    (work / "empty/forcing_technique_271828").touch()
    (work / "links.c").write_text('#include "link/w.h"\n#include "empty/../inc/v.h"\nint x = W + V;\n')
    argv = ("gcc", "-g", "-MD", "-c", "links.c", "-o", "links.o")
    assert peers.locally(*argv).returncode == 0
    expected = peers.taken("links.o", "links.d")
    env = stub(
        mirror,
        work,
        ["links.c", "real/w.h", "inc/v.h", "empty/forcing_technique_271828"],
        [(f"{work}/link", f"{work}/real")],
    )
    done = peers.compile(peers.ours, PUMP, *argv, **env)
    assert done.returncode == 0, done.stderr
    assert peers.taken("links.o", "links.d") == expected


def test_pump_finds_the_system_headers_though_no_link_says_so(peers: Peers) -> None:
    """Stock servers run their compiler as it is: what a client sends of the system is for -I only."""
    source = b"#include <stdio.h>\n#include <stddef.h>\nint (*f)(const char *) = puts;\n"
    answer = ask(peers.ours, pump_request(("gcc", "-c", "/h/a.c", "-o", "/h/a.o"), "/h", [("/h/a.c", source)]))
    assert answer.status == 0, answer
    assert answer.depfile == b""  # the packet is there, as the protocol has it


def test_pump_depfile_for_a_target_alone(peers: Peers) -> None:
    """$DEPENDENCIES_OUTPUT: the client asks by naming a target."""
    files = [("/h/a.c", b'#include "a.h"\n#include <stddef.h>\n'), ("/h/a.h", b"int a;\n")]
    answer = ask(peers.ours, pump_request(("gcc", "-c", "a.c", "-o", "a.o", "-MT", "all"), "/h", files))
    assert answer.status == 0 and answer.depfile == b"all: a.c a.h\n", answer


# -- what may be cached of version 3


@pytest.fixture
def system_header() -> Iterator[Path]:
    need_root("put a header where the system's are")
    path = Path(f"/usr/local/include/manycc-test-{os.getpid()}.h")
    yield path
    path.unlink(missing_ok=True)


def test_pump_results_follow_the_systems_headers(peers: Peers, system_header: Path) -> None:
    argv = ("gcc", "-S", "-c", "a.c", "-o", "a.s")
    data = pump_request(argv, "/h", [("/h/a.c", f"#include <{system_header.name}>\nint x = N;\n".encode())])
    assert ask(peers.ours, data).code == 1
    for number in (1111, 2222, 3333):
        system_header.write_text(f"#define N {number}\n")
        for cached in (False, True):
            before = len(peers.log)
            assert b"%d" % number in ask(peers.ours, data).output
            assert ("from the cache" in peers.log[before:]) == cached


@pytest.mark.parametrize("where", ["source", "header", "option"])
def test_pump_results_with_a_time_in_them_are_not_kept(peers: Peers, system_header: Path, where: str) -> None:
    system_header.write_text("#define NOW __TIME__\n" if where == "header" else "#define NOW 0\n")
    text = {"source": "__TIME__", "header": "NOW", "option": "GIVEN"}[where]
    source = f"#include <{system_header.name}>\nconst char *x = {text};\n".encode()
    argv = ("gcc", "-DGIVEN=__TIMESTAMP__", "-c", "a.c", "-o", "a.o")
    argv = argv if where == "option" else (argv[0], *argv[2:])
    for _ in range(2):
        before = len(peers.log)
        assert ask(peers.ours, pump_request(argv, "/h", [("/h/a.c", source)])).status == 0
        assert "COMPILE_OK" in peers.log[before:] and "from the cache" not in peers.log[before:]
