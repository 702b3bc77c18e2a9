"""What stock distccd gives away, asked of a real node: programs, files, memory, time. It gives none of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distcc_raw import RawClient, ask, command, number, packet, pump_request, request, wait_until

from manycc.testing.cluster import Node
from manycc.testing.requirements import need
from manycc.wire import distcc, lzo

SOURCE = b'# 1 "a.c"\nint a;\n'
COMPILE = ("gcc", "-c", "a.c", "-o", "a.o")
SECRET = "x7Qp-secret-of-the-node"
MIB = 1024**2
PUMP_HEAD = number("DIST", 3) + packet("CDIR", b"/u") + command(*COMPILE)
ONE_FILE = PUMP_HEAD + number("NFIL", 1) + packet("NAME", b"/u/a.c")
IMPATIENT = """
import sys
from manycc.node.distcc import session
session.STALL_S = 1.0
session.FAREWELL_S = 1.0
session.MIN_PROGRESS = 64
from manycc.cli.main import main
sys.exit(main())
"""
FOREVER = b"""# 1 "a.cc"
template<unsigned long N> constexpr unsigned long f() {
    unsigned long x = N; for (unsigned long i = 0; i < 900000000000ul; ++i) x = x * 31 + i; return x; }
constexpr unsigned long v = f<3>();
"""
FOREVER_ARGS = ("-std=c++17", "-fconstexpr-ops-limit=9223372036854775807", "-fconstexpr-loop-limit=2147483647")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    need("bwrap", "gcc", "g++")
    made = Node(str(tmp_path_factory.mktemp("hostile") / "node"), 2, ["--sandbox", "required", "--store-size", "512M"])
    made.start()
    yield made
    still_works(made)
    log = Path(made.log).read_text()
    assert made.stop() == 0
    assert "Traceback" not in log, log


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that everybody on this machine may read."""
    folder = Path(tempfile.mkdtemp(prefix="manycc-"))
    folder.chmod(0o755)
    path = folder / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o644)
    yield path
    shutil.rmtree(folder)


def still_works(node: Node) -> None:
    """Whatever happened, the next job is done, and no slot is held."""
    answer = ask(node.port, request(distcc.PLAIN, COMPILE, SOURCE))
    assert answer.status == 0 and answer.output.startswith(b"\x7fELF"), answer


def high_water(node: Node) -> int:
    """The most memory that a node's process ever had, in bytes."""
    assert node.process is not None
    for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def compiles_of(marker: str) -> list[str]:
    """The compilers at work on a source of that name, which is called .ii by then."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
        if marker.replace(".cc", ".ii").encode() in line and b"cc1plus" in line:
            found.append(name)
    return found


# -- arguments that run programs, or do something else than compile


@pytest.mark.parametrize(
    "argv",
    [
        ("gcc", "-wrapper", "/bin/echo", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-specs", "x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-specs=x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-B/tmp", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-B", "/tmp", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-fplugin=/tmp/x.so", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-iplugindir=/tmp", "-fplugin=x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "@/etc/hostname", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-no-integrated-cpp", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-Wp,-MD,/tmp/x.d", "-aux-info", "x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-aux-info", "/tmp/x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-Wa,-a=/tmp/x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-Wa,--MD,/tmp/x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-fdump-tree-all=/tmp/x", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-save-temps", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-gsplit-dwarf", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-fprofile-use=/etc/passwd", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-march=native", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-include", "/etc/passwd", "-E", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-M", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-###", "-c", "a.c", "-o", "a.o"),
        ("gcc", "--help", "-c", "a.c", "-o", "a.o"),
        ("gcc", "-print-prog-name=cc1", "-c", "a.c"),
        ("gcc", "-c", "a.c", "b.c"),
        ("gcc", "-c", "a.c", "-o", "-"),
        ("gcc", "-c", "-", "-o", "a.o"),
        ("gcc", "-c", "/dev/stdin", "-o", "a.o"),
        ("gcc", "a.c", "-o", "a"),
        ("gcc", "-xnone", "-c", "a.o", "-o", "b.o"),
        ("gcc", "--an-option-nobody-knows", "-c", "a.c", "-o", "a.o"),
        ("gcc",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("version", [1, 3])
def test_what_is_no_compile_is_refused_with_a_sentence(node: Node, version: int, argv: tuple[str, ...]) -> None:
    if version == 3:
        answer = ask(node.port, pump_request(argv, "/home/u", [("/home/u/a.c", SOURCE)]))
    else:
        answer = ask(node.port, request(version, argv, SOURCE))
    assert answer.code == 101 and answer.stderr.startswith("manycc node ") and answer.stderr.count("\n") == 1, answer
    assert (answer.stdout, answer.output, answer.depfile) == (b"", b"", None)


@pytest.mark.parametrize(
    "compiler",
    ["/bin/sh", "sh", "rm", "../gcc", "./gcc", "", "gcc-of-nobody", "/tmp/gcc", "distccd", "gcc\n", "x" * 5000, "as"],
    ids=lambda name: name[:20] or "empty",
)
def test_what_is_no_compiler_of_this_node_is_not_run(node: Node, compiler: str) -> None:
    answer = ask(node.port, request(1, (compiler, *COMPILE[1:]), SOURCE))
    if compiler == "/tmp/gcc":  # as stock servers do: the name counts, the node's own compiler is taken
        assert answer.status == 0
    else:
        assert answer.code == 110 and "manycc node" in answer.stderr, answer


def test_a_planted_compiler_is_not_run(node: Node, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    folder = Path(tempfile.mkdtemp(prefix="manycc-planted-"))
    try:
        folder.chmod(0o777)
        for name in ("gcc", "cc1", "as"):
            (folder / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
            (folder / name).chmod(0o755)
        assert ask(node.port, request(1, (f"{folder}/gcc", *COMPILE[1:]), SOURCE)).status == 0
        for option in (f"-B{folder}", f"-B{folder}/"):
            assert ask(node.port, request(1, ("gcc", option, *COMPILE[1:]), SOURCE)).code == 101
    finally:
        shutil.rmtree(folder)
    assert not mark.exists()


# -- files of the node


def test_assembly_cannot_include_files_of_the_node(node: Node, secret: Path) -> None:
    for directive in (f'.incbin \\"{secret}\\"', f'.include \\"{secret}\\"'):
        source = f'# 1 "a.c"\n__asm__("{directive}");\nint a;\n'.encode()
        for data in (
            request(1, COMPILE, source),
            request(2, ("gcc", "-S", "-c", "a.c", "-o", "a.o"), source),
            pump_request(COMPILE, "/home/u", [("/home/u/a.c", source)]),
        ):
            answer = ask(node.port, data)
            assert SECRET.encode() not in answer.everything
            assert answer.code == 1 or b"-S" in data, answer


def test_preprocessed_text_cannot_have_files_quoted(node: Node, secret: Path) -> None:
    """Compilers quote the line that an error is in, out of whatever file the line markers name."""
    source = f'# 1 "{secret}"\nint a = b;\n'.encode()
    for data in (request(1, COMPILE, source), pump_request(COMPILE, "/home/u", [("/home/u/a.c", source)])):
        answer = ask(node.port, data)
        assert answer.code == 1 and "undeclared" in answer.stderr
        assert SECRET.encode() not in answer.everything


@pytest.mark.parametrize(
    "line",
    [
        '#include "{secret}"',
        '#include "/etc/hostname"',
        '#include "/proc/self/environ"',
        '#include "/usr/include/../../{secret}"',
        '#include "/etc/passwd"',
        '#pragma GCC pch_preprocess "{secret}"\n#error',
    ],
)
def test_pump_sources_cannot_include_files_of_the_node(node: Node, secret: Path, line: str) -> None:
    source = line.format(secret=secret).encode() + b"\nint a;\n"
    answer = ask(node.port, pump_request(COMPILE, "/home/u", [("/home/u/a.c", source)]))
    assert answer.code == 1, answer
    assert SECRET.encode() not in answer.everything and b"root:" not in answer.everything


def test_pump_sources_see_whether_a_file_exists_only_in_their_tree(node: Node, secret: Path) -> None:
    source = f'#if __has_include("{secret}") || __has_include("/etc/passwd")\n#error there\n#endif\nint a;\n'.encode()
    assert ask(node.port, pump_request(COMPILE, "/home/u", [("/home/u/a.c", source)])).status == 0


def test_pump_links_cannot_ask_for_folders_of_the_node(node: Node, secret: Path) -> None:
    """Of the folders that a client says are the server's, a job sees those of its own compiler, and no others."""
    links = [(path, "../" * 20 + path[1:]) for path in (str(secret.parent), "/etc", "/usr/include")]
    for line, code in ((f'#include "{secret}"', 1), ('#include "/etc/passwd"', 1), ("#include <stdio.h>", 0)):
        answer = ask(node.port, pump_request(COMPILE, "/home/u", [("/home/u/a.c", line.encode() + b"\n")], links))
        assert answer.code == code, answer
        assert SECRET.encode() not in answer.everything and b"root:" not in answer.everything


def test_options_cannot_make_it_read_files_of_the_node(node: Node, secret: Path) -> None:
    for options in (("-include", str(secret)), ("-imacros", str(secret)), (f"-I{secret.parent}",)):
        argv = ("gcc", *options, "-c", "a.c", "-o", "a.o")
        source = f'#include "{secret.name}"\n'.encode()
        answer = ask(node.port, pump_request(argv, "/home/u", [("/home/u/a.c", source)]))
        assert answer.code == 1 and SECRET.encode() not in answer.everything, answer


# -- paths


@pytest.mark.parametrize(
    ("files", "links", "words"),
    [
        (["/../../tmp/victim"], [], "not plain"),
        (["/home/u/../../tmp/victim"], [], "not plain"),
        (["tmp/victim"], [], "not absolute"),
        (["../tmp/victim"], [], "not absolute"),
        ([""], [], "not absolute"),
        (["/"], [], "not a file"),
        (["/home/u/" + "x" * 300], [], "too long a name"),
        (["/dev/victim"], [], "has its own"),
        (["/proc/sys/kernel/core_pattern"], [], "has its own"),
        (["/sys/x"], [], "has its own"),
        (["/home/u/a.h", "/home/u/a.h"], [], "twice"),
        (["/home/u/a.h", "//home/u/./a.h"], [], "twice"),
        (["/home/u/a.h", "/home/u/a.h/b.h"], [], "both a folder and not one"),
        (["/home/u/l/victim"], [("/home/u/l", "/tmp")], "both a folder and not one"),
        (["/home/u/l"], [("/home/u/l", "/tmp")], "twice"),
        (["/usr/include/stdio.h"], [], "of which this node has its own"),
        (["/usr/include/evil.h"], [("/usr/include", "../" * 20 + "usr/include")], "of which this node has its own"),
        ([], [("/h", "../" * 20 + "etc")], "leads out of"),
        ([], [("/usr/include", "../" * 20 + "etc")], "leads out of"),
        ([], [("/home/u/x", "../" * 20 + "etc/passwd")], "leads out of"),
        ([], [("/usr", "../" * 20 + "etc")], "leads out of"),
        ([], [("/home/u/x", "x")], "too many links"),
        ([], [("/home/u/x", "y"), ("/home/u/y", "x")], "too many links"),
        ([], [("/home/u/x", "")], "no usable target"),
        ([], [("/home/../u/x", "a.c")], "not plain"),
        ([], [(f"/home/u/{index}", "a.c") for index in range(2001)], "2001 links"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_pump_paths_that_lead_astray(node: Node, files: list[str], links: list[tuple[str, str]], words: str) -> None:
    sent = [("/home/u/a.c", SOURCE), *((path, b"evil") for path in files)]
    answer = ask(node.port, pump_request(COMPILE, "/home/u", sent, links))
    assert answer.code == 101 and words in answer.stderr, answer


def test_pump_cannot_replace_what_belongs_to_the_compiler(node: Node) -> None:
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
    for path in (os.path.realpath(cc1), os.path.realpath(shutil.which("gcc") or "")):
        answer = ask(node.port, pump_request(COMPILE, "/home/u", [("/home/u/a.c", SOURCE), (path, b"#!/bin/sh\n")]))
        assert answer.code == 101 and "in the toolchain with another content" in answer.stderr, answer
    folder = os.path.dirname(os.path.realpath(cc1))
    argv = ("gcc", "-c", "a.c", "-o", f"{folder}/cc1")
    assert ask(node.port, pump_request(argv, "/home/u", [("/home/u/a.c", SOURCE)])).code == 101


@pytest.mark.parametrize("where", ["preload", "linked", "specs", "library", "part"])
def test_pump_files_do_not_become_parts_of_the_compiler(node: Node, tmp_path: Path, where: str) -> None:
    """The loader, or the driver, would run what the client sent."""
    (tmp_path / "e.c").write_text(
        '#include <unistd.h>\n__attribute__((constructor)) static void f(void) { write(2, "was run", 7); }\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "e.so", "e.c"], cwd=tmp_path, check=True)
    library = (tmp_path / "e.so").read_bytes()
    cc1 = Path(subprocess.check_output(["gcc", "-print-prog-name=cc1"], text=True).strip()).resolve()
    libc = Path(subprocess.check_output(["gcc", "-print-file-name=libc.so.6"], text=True).strip()).resolve()
    files = {
        "preload": [("/etc/ld.so.preload", b"/u/e.so\n"), ("/u/e.so", library)],
        "linked": [("/u/etc/ld.so.preload", b"/u/e.so\n"), ("/u/e.so", library)],
        "specs": [(f"{cc1.parent.parent}/specs", b"*cc1:\n-DX\n")],
        "library": [(f"{libc.parent}/glibc-hwcaps/x86-64-v2/{libc.name}", library)],
        "part": [(f"{cc1.parent}/a-part", b"")],
    }[where]
    links = [("/etc", "/u/etc")] if where == "linked" else []
    answer = ask(node.port, pump_request(COMPILE, "/u", [("/u/a.c", b"int a;\n"), *files], links))
    assert answer.code == 101 and "would be taken for a part of the compiler" in answer.stderr, answer


@pytest.mark.parametrize("cwd", ["relative", "/home/../etc", "/dev", "", "/home//u", "/usr/include"])
def test_pump_working_folders_that_lead_astray(node: Node, cwd: str) -> None:
    assert ask(node.port, pump_request(COMPILE, cwd, [("/home/u/a.c", SOURCE)])).code == 101


@pytest.mark.parametrize("output", ["/tmp/victim.o", "../../tmp/victim.o", "/etc/victim.o"])
@pytest.mark.parametrize("version", [1, 3])
def test_outputs_are_written_nowhere_but_in_the_job(node: Node, version: int, output: str) -> None:
    argv = ("gcc", "-c", "a.c", "-o", output)
    if version == 3:
        answer = ask(node.port, pump_request(argv, "/home/u", [("/home/u/a.c", SOURCE)]))
    else:
        answer = ask(node.port, request(1, argv, SOURCE))
    assert answer.status == 0 and answer.output.startswith(b"\x7fELF"), answer
    assert not os.path.exists(os.path.join("/tmp", output)) and not os.path.exists("/tmp/victim.o")


# -- memory


def bomb(size: int) -> bytes:
    """An LZO block of a few bytes that expands to about ``size`` zeros."""
    return bytes((17 + 4,)) + bytes(4) + b"\x20" + bytes(size // 255) + b"\x01\0\0" + lzo.END


def test_lzo_bombs_are_not_expanded(node: Node) -> None:
    assert lzo.decompress(bomb(MIB), 2 * MIB).count(0) > MIB - 1024  # it is one
    before = high_water(node)
    for size in (300 * MIB,):
        answer = ask(node.port, number("DIST", 2) + command(*COMPILE) + packet("DOTI", bomb(size)))
        assert answer.code == 109 and "expands to more than" in answer.stderr, answer
    head = number("DIST", 3) + packet("CDIR", b"/home/u") + command(*COMPILE)
    for size, count in ((300 * MIB, 1), (30 * MIB, 10)):
        files = [packet("NAME", b"/home/u/%d.h" % index) + packet("FILE", bomb(size)) for index in range(count)]
        answer = ask(node.port, head + number("NFIL", count) + b"".join(files))
        assert answer.code == 109 and "expands to more than" in answer.stderr, answer
    assert high_water(node) - before < 900 * MIB  # the bound on a source is 256 MiB at most, in a few copies


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (number("DIST", 1) + number("ARGC", 0x7FFFFFFF), "arguments"),
        (number("DIST", 1) + number("ARGC", 0xFFFFFFFF), "arguments"),
        (number("DIST", 1) + number("ARGC", 0), "arguments"),
        (number("DIST", 1) + number("ARGC", 1) + number("ARGV", 0xFFFFFFFF), "at most"),
        (number("DIST", 1) + number("ARGC", 2) + 2 * packet("ARGV", b"x" * 3 * MIB), "at most"),
        (number("DIST", 1) + number("ARGC", 1) + packet("ARGV", b"g\0cc"), "NUL"),
        (number("DIST", 1) + command(*COMPILE) + number("DOTI", 0xFFFFFFFF), "at most"),
        (number("DIST", 2) + command(*COMPILE) + number("DOTI", 0x7FFFFFFF), "at most"),
        (number("DIST", 2) + command(*COMPILE) + packet("DOTI", b"garbage"), "LZO"),
        (number("DIST", 2) + command(*COMPILE) + packet("DOTI", b"garbage" + lzo.END), "LZO"),
        (number("DIST", 3) + number("CDIR", 0xFFFFFFFF), "at most"),
        (PUMP_HEAD + number("NFIL", 0x7FFFFFFF), "files"),
        (PUMP_HEAD + number("NFIL", 1) + number("NAME", 5000), "at most"),
        (ONE_FILE + number("FILE", 0xFFFFFFFF), "at most"),
        (ONE_FILE + number("DOTI", 1), "FILE or LINK"),
        (number("DIST", 1) + b"ARGCxxxxxxxx", "no packet"),
        (number("DIST", 1) + b"ARGC0x000001", "no packet"),
        (number("DIST", 1) + b"GET / HTTP/1", "no packet"),
        (number("DIST", 3) + command(*COMPILE), "CDIR is due"),
        (number("DIST", 0) + command(*COMPILE), "version 0"),
        (number("DIST", 4), "version 4"),
        (number("DIST", 0xFFFFFFFF), "version 4294967295"),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else value,
)  # fmt: skip
def test_huge_counts_and_lengths_are_refused_at_once(node: Node, data: bytes, words: str) -> None:
    before = high_water(node)
    answer = ask(node.port, data)
    assert answer.code == 109 and words in answer.stderr, answer
    assert high_water(node) - before < 64 * MIB


# -- time


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that cuts stalled clients off after a second instead of thirty."""
    need("bwrap", "gcc")
    made = Node(str(tmp_path_factory.mktemp("impatient") / "node"), 1, ["--sandbox", "required"])
    made.program = [sys.executable, "-c", IMPATIENT]
    made.start()
    yield made
    still_works(made)
    log = Path(made.log).read_text()
    assert made.stop() == 0
    assert "Traceback" not in log and "stalled" in log, log


def steps() -> dict[str, bytes]:
    """What a client has sent when it stalls."""
    whole = request(1, COMPILE, SOURCE)
    pumped = pump_request(COMPILE, "/home/u", [("/home/u/a.c", SOURCE)], [("/home/u/l", "a.c")])
    places = {
        "within the version": whole[:7],
        "after the version": whole[:12],
        "within ARGC": whole[:20],
        "after ARGC": whole[:24],
        "within an ARGV": whole[: whole.index(b"gcc") + 1],
        "between ARGVs": whole[: whole.index(b"gcc") + 3],
        "before DOTI": whole[: whole.index(b"DOTI")],
        "after DOTI's length": whole[: whole.index(b"DOTI") + 12],
        "one byte short": whole[:-1],
        "after CDIR": pumped[: pumped.index(b"ARGC")],
        "before NFIL": pumped[: pumped.index(b"NFIL")],
        "after a NAME": pumped[: pumped.index(b"FILE")],
        "within a FILE": pumped[: pumped.index(b"FILE") + 14],
        "within a LINK": pumped[: pumped.index(b"LINK") + 13],
    }
    assert len(set(places.values())) == len(places)
    return places


def test_stalled_clients_are_cut_off_at_every_step(impatient: Node) -> None:
    """All at once, and a job is done meanwhile: they hold no slot."""
    places = steps()
    clients = {place: RawClient(impatient.port, 3 if b"CDIR" in data else 1) for place, data in places.items()}
    for place, data in places.items():
        clients[place].send(data)
    still_works(impatient)
    for place, client in clients.items():
        answer = client.answer()
        assert answer.code == 118 and "stalled" in answer.stderr, (place, answer)
        assert client.hung_up(), place
        client.socket.close()


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off_too(impatient: Node) -> None:
    done = threading.Event()
    with RawClient(impatient.port) as client:

        def trickle() -> None:
            for byte in request(1, COMPILE, SOURCE * 1000):
                client.send(bytes((byte,)))
                if done.wait(0.1):
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert client.answer().code == 118
        finally:
            done.set()
            thread.join()


def test_a_client_that_does_not_take_its_reply_is_cut_off(impatient: Node) -> None:
    source = b'# 1 "a.c"\nchar a[50000000] = {1};\n'
    with RawClient(impatient.port) as client:
        client.send(request(1, COMPILE, source))
        wait_until(lambda: "does not take its reply" in Path(impatient.log).read_text())
        assert client.hung_up()


# -- other manners


def test_bytes_behind_the_request_do_not_spoil_the_job(node: Node) -> None:
    answer = ask(node.port, request(1, COMPILE, SOURCE) + b"extra")
    assert answer.status == 0 and answer.output.startswith(b"\x7fELF")


def test_a_flood_behind_the_request_ends_it(node: Node) -> None:
    with RawClient(node.port) as client:
        client.send(request(1, ("g++", *FOREVER_ARGS, "-c", "a.cc", "-o", "a.o"), FOREVER) + bytes(MIB))
        assert "behind the end" in client.answer().stderr


@pytest.mark.parametrize("half", [True, False])
def test_a_client_that_is_gone_ends_its_compile(node: Node, half: bool) -> None:
    mark = f"mark-{os.getpid()}-{half}.cc"
    with RawClient(node.port) as client:
        client.send(request(1, ("g++", *FOREVER_ARGS, "-c", mark, "-o", "a.o"), FOREVER))
        wait_until(lambda: bool(compiles_of(mark)))
        log = Path(node.log).read_text()
        if half:
            client.socket.shutdown(1)
        else:
            client.socket.close()
        wait_until(lambda: not compiles_of(mark))
    wait_until(lambda: "CLI_DISCONN" in Path(node.log).read_text()[len(log) :])
    still_works(node)


def test_a_client_that_is_gone_while_it_waits_gives_up_its_place(node: Node) -> None:
    marks = [f"waits-{os.getpid()}-{index}.cc" for index in range(3)]
    with contextlib.ExitStack() as clients:
        for mark in marks:
            client = clients.enter_context(RawClient(node.port))
            client.send(request(1, ("g++", *FOREVER_ARGS, "-c", mark, "-o", "a.o"), FOREVER))
        wait_until(lambda: sum(bool(compiles_of(mark)) for mark in marks) == 2)
    wait_until(lambda: not any(compiles_of(mark) for mark in marks))
    still_works(node)


def test_refusals_arrive_though_the_client_is_still_sending(node: Node) -> None:
    """Without somebody who reads on, the kernel would reset the connection and take the sentence back."""
    with RawClient(node.port) as client:
        client.send(number("DIST", 1) + number("ARGC", 0x7FFFFFFF) + bytes(64 * MIB))
        assert "arguments" in client.answer().stderr
