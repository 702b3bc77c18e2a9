"""A real node and a raw client: what it does for an agent, and what it does not do for anyone else."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any
from zlib import crc32

import msgpack
import pytest
from native_client import (
    NODE,
    NativeClient,
    NodeProcess,
    Spec,
    digest_of,
    include_folders,
    includes_of,
    processes_with,
    toolchain_of,
)

from manycc.job import FILE, FOLDER, LINK, Toolchain
from manycc.wire import native

pytestmark = pytest.mark.skipif(
    shutil.which("bwrap") is None or shutil.which("gcc") is None, reason="NOT TESTED: needs bwrap, gcc"
)

FOREVER = b"""
template<unsigned long N> constexpr unsigned long f() {
    unsigned long x = N; for (unsigned long i = 0; i < 900000000000ul; ++i) x = x * 31 + i; return x; }
constexpr unsigned long v = f<3>();
"""
FOREVER_ARGS = ("-std=c++17", "-fconstexpr-ops-limit=9223372036854775807", "-fconstexpr-loop-limit=2147483647")


@pytest.fixture(scope="session")
def gcc() -> Toolchain:
    return toolchain_of("gcc")


@pytest.fixture(scope="session")
def gxx() -> Toolchain:
    return toolchain_of("g++")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess(str(tmp_path_factory.mktemp("node")), "--jobs", "2") as process:
        yield process
        assert process.stop() == 0
        assert "Traceback" not in process.log()


@pytest.fixture
def client(node: NodeProcess) -> Iterator[NativeClient]:
    with NativeClient(node.port) as made:
        yield made


@pytest.fixture
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("work"))


def compile_of(source: bytes, work: str, *more: str, name: str = "a.c", driver: str = "gcc", **fields: Any) -> Spec:
    """A plain compile of a source without includes."""
    output = f"{work}/{name.rpartition('.')[0]}.o"
    return Spec(
        [driver, *more, "-c", name, "-o", os.path.basename(output)],
        work,
        files={f"{work}/{name}": source, **fields.pop("files", {})},
        inputs=["/usr/include/stdc-predef.h"] if os.path.exists("/usr/include/stdc-predef.h") else [],
        **fields,
    )


def locally(spec: Spec, output: str) -> bytes:
    """What this machine's compiler makes of a spec, in the same folder."""
    for path, data in spec.files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    subprocess.run(spec.argv, cwd=spec.cwd, check=True, capture_output=True)
    with open(os.path.join(spec.cwd, output), "rb") as file:
        return file.read()


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> float:
    """Until something outside comes true; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, "it did not come true in time"
        os.sched_yield()
    return time.monotonic() - began


# -- what it is for


def test_objects_are_those_of_the_local_compiler(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = compile_of(b"int f(int a) { return a * 3; }\n", work, "-O2", "-g", "-Wall")
    answer = client.run(gcc, spec)
    assert (answer.exit_code, answer.stderr) == (0, b"")
    assert answer.outputs == {f"{work}/a.o": locally(spec, "a.o")}
    assert answer.info["cpu"] > 0 and answer.info["rss"] > 1 << 20 and not answer.info["cached"]


def test_standard_headers_depfile_and_subfolders(client: NativeClient, gxx: Toolchain, work: str) -> None:
    os.makedirs(f"{work}/inc/deep")
    os.makedirs(f"{work}/obj")
    files = {
        f"{work}/a.cc": b'#include <vector>\n#include "inc/x.h"\nint g() { return f() + std::vector<int>().size(); }\n',
        f"{work}/inc/x.h": b'#include "deep/y.h"\n#include "../local.h"\ninline int f() { return Y + L; }\n',
        f"{work}/inc/deep/y.h": b"#define Y 1\n",
        f"{work}/local.h": b"#define L 2\n",
    }
    argv = ["g++", "-g", "-O1", "-MMD", "-MF", "obj/a.d", "-c", "a.cc", "-o", "obj/a.o"]
    spec = Spec(argv, work, files, folders=include_folders("g++", "c++"), writable=[work, f"{work}/obj"])
    expected = locally(spec, "obj/a.o")
    spec.inputs = includes_of("g++", ["a.cc"], work)
    answer = client.run(gxx, spec)
    assert answer.exit_code == 0, answer
    with open(f"{work}/obj/a.d", "rb") as file:
        assert answer.outputs == {f"{work}/obj/a.o": expected, f"{work}/obj/a.d": file.read()}


@pytest.mark.parametrize("cwd", ["/tmp", "/tmp/x", "/tmp/x/y", "/", "/home/someone/p", "/w"])
def test_any_working_folder(client: NativeClient, gcc: Toolchain, cwd: str) -> None:
    base = cwd.rstrip("/")
    spec = compile_of(
        b'#include "h/b.h"\n#include "l.h"\n#include "../up.h"\nint x = B + L + U;\n'
        if base
        else b'#include "h/b.h"\n#include "l.h"\n#define U 0\nint x = B + L + U;\n',
        base,
        files={f"{base}/h/b.h": b"#define B 1\n", f"{base}/m.h": b"#define L 2\n"},
        links={f"{base}/l.h": "m.h"},
    )
    spec.cwd = cwd
    spec.writable = [cwd]
    spec.outputs = [f"{base}/a.o"]
    if base:
        spec.files[f"{os.path.dirname(base).rstrip('/')}/up.h"] = b"#define U 4\n"
    answer = client.run(gcc, spec)
    assert (answer.exit_code, answer.stderr, answer.sentence) == (0, b"", "")
    assert list(answer.outputs) == [f"{base}/a.o"]


def test_writable_folders_within_each_other(client: NativeClient, gcc: Toolchain) -> None:
    spec = compile_of(b'#include "sub/h.h"\nint x = H;\n', "/b", files={"/b/sub/h.h": b"#define H 7\n"})
    spec.argv = ["gcc", "-MMD", "-MF", "sub/out/a.d", "-c", "a.c", "-o", "sub/a.o"]
    spec.folders = ["/b/sub/out"]
    spec.writable = ["/b", "/b/sub", "/b/sub/out"]
    answer = client.run(gcc, spec)
    assert answer.exit_code == 0, answer
    assert sorted(answer.outputs) == ["/b/sub/a.o", "/b/sub/out/a.d"]


def test_an_output_folder_behind_a_link(client: NativeClient, gcc: Toolchain) -> None:
    spec = compile_of(b"int x;\n", "/b", links={"/b/out": "../elsewhere"}, folders=["/elsewhere"])
    spec.argv = ["gcc", "-c", "a.c", "-o", "out/a.o"]
    spec.writable = ["/b", "/elsewhere"]
    spec.outputs = ["/elsewhere/a.o"]
    answer = client.run(gcc, spec)
    assert answer.exit_code == 0, answer
    assert list(answer.outputs) == ["/elsewhere/a.o"]


def test_names_that_are_not_text(client: NativeClient, gcc: Toolchain) -> None:
    folder = "/b/sp ace,'\"$(x)" + os.fsdecode(b"\xff\xfe")
    spec = compile_of(b'#include "\xe9.h"\nint x = H;\n', folder, files={f"{folder}/\udce9.h": b"#define H 7\n"})
    answer = client.run(gcc, spec)
    assert answer.exit_code == 0, answer
    assert list(answer.outputs) == [f"{folder}/a.o"]


def test_messages_exit_code_and_mode(client: NativeClient, gcc: Toolchain, work: str) -> None:
    wrong = client.run(gcc, compile_of(b"int main(void) { return y; }\n", work))
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith(b"a.c: In function 'main':\na.c:1:25: error: 'y' undeclared")
    assert wrong.outputs == {}
    warned = client.run(gcc, compile_of(b"int f(void) { }\n", work, "-Wall", umask=0o077))
    assert warned.exit_code == 0
    assert b"-Wreturn-type" in warned.stderr
    assert warned.modes == {f"{work}/a.o": 0o600}


def test_auxiliary_outputs_are_found(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = compile_of(b"int f(void) { return 1; }\n", work, "-fstack-usage", "-g", "-gsplit-dwarf", "--coverage")
    answer = client.run(gcc, spec)
    assert answer.exit_code == 0, answer
    assert {"a.o", "a.su", "a.dwo", "a.gcno"} <= {os.path.basename(path) for path in answer.outputs}


def test_a_large_output_comes_in_pieces(client: NativeClient, gcc: Toolchain, work: str) -> None:
    source = b'.data\n.incbin "big"\n'
    data = hashlib.shake_128(b"x").digest(9_000_000)
    spec = Spec(["gcc", "-c", "a.s", "-o", "a.o"], work, {f"{work}/a.s": source, f"{work}/big": data}, flags=1)
    for cached in (False, True):
        answer = client.run(gcc, spec)
        assert answer.exit_code == 0, answer
        assert data in answer.outputs[f"{work}/a.o"]
        assert answer.info["cached"] is cached


def test_inputs_are_asked_for_once(client: NativeClient, gcc: Toolchain, work: str) -> None:
    unique = os.urandom(8).hex().encode()
    spec = compile_of(b'#include "h.h"\nint x;\n', work, files={f"{work}/h.h": b"// " + unique})
    assert client.run(gcc, spec).exit_code == 0
    assert hashlib.sha256(b"// " + unique).digest() in client.asked
    client.asked.clear()
    assert client.run(gcc, spec).exit_code == 0
    assert client.asked == []


def test_jobs_that_wait_for_one_upload_share_it(client: NativeClient, gcc: Toolchain, work: str) -> None:
    shared = b"// " + os.urandom(8).hex().encode()
    digest = hashlib.sha256(shared).digest()
    jobs = []
    for name in ("a.c", "b.c", "c.c"):
        spec = compile_of(b'#include "h.h"\nint ' + name[:1].encode() + b";\n", work, name=name)
        spec.files[f"{work}/h.h"] = shared
        jobs.append(client.start(gcc, spec))
    assert [client.answer(jobs[-1]).exit_code] == [0]
    assert client.asked.count(digest) == 1


def test_a_removed_input_is_not_there_any_more(client: NativeClient, gcc: Toolchain, work: str) -> None:
    source = (
        b'#if __has_include("x/h.h")\n#include "x/h.h"\n#else\n#define H 0\n#endif\nchar h[H + 1];\nint z = sizeof h;\n'
    )
    with_it = compile_of(source, work, "-S", files={f"{work}/x/h.h": b"#define H 41\n"})
    without = compile_of(source, work, "-S")
    for spec, size in ((with_it, b"42"), (without, b"1"), (with_it, b"42"), (without, b"1")):
        answer = client.run(gcc, spec)
        assert b".long\t" + size in answer.outputs[f"{work}/a.o"], answer


# -- the result cache


def test_the_same_action_is_answered_from_the_cache(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = compile_of(
        b"int cached_one; // " + os.urandom(8).hex().encode(), work, "-g", "-Wall", flags=native.FLAG_CACHE
    )
    first, second = client.run(gcc, spec), client.run(gcc, spec)
    assert (first.info["cached"], second.info["cached"]) == (False, True)
    assert (first.outputs, first.modes, first.stderr) == (second.outputs, second.modes, second.stderr)
    spec.flags = native.FLAG_CACHE | native.FLAG_NO_ANSWER
    assert client.run(gcc, spec).info["cached"] is False
    spec.flags = 0
    assert client.run(gcc, spec).info["cached"] is False


@pytest.mark.parametrize("bend", ["argv", "cwd", "env", "umask", "input", "folder"])
def test_anything_that_matters_makes_another_action(client: NativeClient, gcc: Toolchain, bend: str) -> None:
    source = b"int x; // " + os.urandom(8).hex().encode()
    assert client.run(gcc, compile_of(source, "/b", "-g", flags=native.FLAG_CACHE)).info["cached"] is False
    spec = compile_of(source, "/b", "-g", flags=native.FLAG_CACHE)
    if bend == "argv":
        spec.argv = [*spec.argv, "-O1"]
    elif bend == "cwd":
        spec = compile_of(source, "/c", "-g", flags=native.FLAG_CACHE)
    elif bend == "env":
        spec.env = {"LANG": "C"}
    elif bend == "umask":
        spec.umask = 0o027
    elif bend == "input":
        spec.files["/b/new.h"] = b""
    else:
        spec.folders = ["/usr/local/include"]
    assert client.run(gcc, spec).info["cached"] is False


def test_failures_are_not_cached(client: NativeClient, gcc: Toolchain, work: str) -> None:
    spec = compile_of(b"#error no\n", work, flags=native.FLAG_CACHE)
    assert client.run(gcc, spec).exit_code == 1
    again = client.run(gcc, spec)
    assert again.exit_code == 1 and again.info["cached"] is False


def test_the_same_job_asked_twice_at_a_time_is_done_once(node: NodeProcess, gxx: Toolchain, work: str) -> None:
    slow = b"#include <regex>\nstd::regex r; // " + os.urandom(8).hex().encode()
    argv = ["g++", "-c", "a.cc", "-o", "a.o"]
    spec = Spec(argv, work, {f"{work}/a.cc": slow}, folders=include_folders("g++", "c++"), flags=native.FLAG_CACHE)
    locally(spec, "a.o")
    spec.inputs = includes_of("g++", ["a.cc"], work)
    with NativeClient(node.port) as one, NativeClient(node.port) as two:
        first = one.start(gxx, spec)
        for digest in one.expect(native.MISSING)[2]:
            one.upload(digest)
        second = two.start(gxx, spec)
        answers = [one.answer(first), two.answer(second)]
    assert sorted(answer.info["cached"] for answer in answers) == [False, True]
    assert answers[0].outputs == answers[1].outputs


def test_an_agent_that_sends_nothing_holds_up_no_other(node: NodeProcess, gcc: Toolchain, work: str) -> None:
    spec = compile_of(b"int held_up; // " + os.urandom(8).hex().encode(), work, flags=native.FLAG_CACHE)
    with NativeClient(node.port) as idle, NativeClient(node.port) as other:
        idle.start(gcc, spec)
        idle.expect(native.MISSING)  # and is never answered
        assert other.run(gcc, spec, timeout=10.0).exit_code == 0


# -- arguments and paths that are none of a compile's


@pytest.mark.parametrize(
    "bad",
    [
        ["-wrapper", "/bin/sh,-c,id"],
        ["-B."],
        ["-B", "/b"],
        ["-specs=/b/x"],
        ["-specs", "/b/x"],
        ["--specs=x"],
        ["@/etc/passwd"],
        ["@x"],
        ["-fplugin=/b/x.so"],
        ["-fplugin=x"],
        ["-Xclang", "-load"],
        ["-march=native"],
        ["-no-such-option"],
        ["-E"],
        ["b.c"],
    ],
)
def test_commands_that_are_refused(client: NativeClient, gcc: Toolchain, bad: list[str]) -> None:
    spec = compile_of(b"int x;\n", "/b", files={"/b/x": b"*cc1:\n/bin/sh\n", "/b/x.so": b"", "/b/b.c": b""})
    spec.argv = [*spec.argv, *bad]
    answer = client.run(gcc, spec)
    assert answer.refused and answer.code == "node-refused" and answer.sentence


@pytest.mark.parametrize(
    "word", ["/bin/sh", "sh", "./a.c", "g++", "/usr/bin/../../b/a.c", "../bin/sh", "", "/usr/bin/as"]
)
def test_only_the_driver_is_run(client: NativeClient, gcc: Toolchain, word: str) -> None:
    spec = compile_of(b"int x;\n", "/b")
    spec.argv = [word, *spec.argv[1:]]
    answer = client.run(gcc, spec)
    assert answer.refused and answer.code == "node-refused"


@pytest.mark.parametrize("word", ["/usr/bin/gcc", "../usr/bin/gcc", "/usr/bin/../bin/gcc"])
def test_the_driver_by_other_spellings(client: NativeClient, gcc: Toolchain, word: str) -> None:
    spec = compile_of(b"int x;\n", "/b")
    spec.argv = [word, *spec.argv[1:]]
    assert client.run(gcc, spec).exit_code == 0


BAD_PATHS = [
    "relative", "", "/b/../etc/passwd", "/b/./x", "/b//x", "/b/x/", "//", "/proc/self/environ", "/dev/null", "/sys/x",
    "/proc", "/b/" + "n" * 300, "/" + "d/" * 2100 + "x",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("field", ["file", "link", "folder", "cwd", "writable", "output", "stem"])
def test_paths_that_are_refused(client: NativeClient, gcc: Toolchain, field: str, path: str) -> None:
    spec = compile_of(b"int x;\n", "/b")
    if field == "file":
        spec.files[path] = b"x"
    elif field == "link":
        spec.links[path] = "x"
    elif field == "folder":
        spec.folders = [path]
    elif field == "cwd":
        spec.cwd = path
    elif field == "writable":
        spec.writable = ["/b", path]
    elif field == "output":
        spec.outputs = ["/b/a.o", path]
    elif path == "/b/x/":
        pytest.skip("a stem may end in a slash")
    else:
        spec.stems = [path]
    job = client.start(gcc, spec)
    message = client.receive_answer_or_end(job)
    assert message is None or (message.refused and message.code == "node-refused")


@pytest.mark.parametrize(
    ("writable", "outputs", "stems"),
    [
        (["/b", "/etc"], ["/b/a.o"], []),
        (["/b", "/usr/bin"], ["/b/a.o"], []),
        (["/b"], ["/etc/passwd"], []),
        (["/b"], ["/b/a.o"], ["/etc/x"]),
        (["/b", "/b/sub"], ["/b/sub/a.o"], []),
    ],
)
def test_places_that_the_command_does_not_name(
    client: NativeClient, gcc: Toolchain, writable: list[str], outputs: list[str], stems: list[str]
) -> None:
    answer = client.run(gcc, compile_of(b"int x;\n", "/b", writable=writable, outputs=outputs, stems=stems))
    assert answer.refused and answer.code == "node-refused"


def test_an_output_in_the_toolchain_is_refused(client: NativeClient, gcc: Toolchain) -> None:
    spec = compile_of(b"int x;\n", "/b", writable=["/b", "/usr/bin"], outputs=["/usr/bin/as"])
    spec.argv = ["gcc", "-c", "a.c", "-o", "/usr/bin/as"]
    answer = client.run(gcc, spec)
    assert answer.refused and "toolchain" in answer.sentence


@pytest.mark.parametrize(
    ("files", "links"),
    [
        ({"/b/d": b"", "/b/d/x.h": b""}, {}),  # below a file
        ({"/b/d/x.h": b""}, {"/b/d": "/etc"}),  # through a link
        ({"/lib/evil.so": b""}, {}),  # through a link of the toolchain
        ({"/usr/bin/as": b"#!/bin/sh\n"}, {}),  # instead of the toolchain's
        ({}, {"/usr/bin/as": "/b/a.c"}),
        ({}, {"/usr": "/b"}),
        ({"/b/l": b""}, {"/b/l": "x"}),  # twice
        ({}, {"/b/l": ""}),
        ({"/": b""}, {}),
        ({"/b": b""}, {}),  # a file where the working folder should be
        ({}, {"/b": "/c"}),
        ({"/tmp": b""}, {}),
    ],
)
def test_trees_that_are_none(
    client: NativeClient, gcc: Toolchain, files: dict[str, bytes], links: dict[str, str]
) -> None:
    answer = client.run(gcc, compile_of(b"int x;\n", "/b", files=files, links=links))
    assert answer.refused and answer.code == "node-refused" and answer.sentence


@pytest.mark.parametrize(
    "env",
    [
        {"LD_PRELOAD": "/b/x.so"},
        {"PATH": "/b"},
        {"GCC_EXEC_PREFIX": "/b"},
        {"COMPILER_PATH": "/b"},
        {"TMPDIR": "/b"},
        {"DEPENDENCIES_OUTPUT": "/b/x"},
        {"": "x"},
        {"A=B": "x"},
    ],
)
def test_environments_that_are_refused(client: NativeClient, gcc: Toolchain, env: dict[str, str]) -> None:
    answer = client.run(gcc, compile_of(b"int x;\n", "/b", env=env))
    assert answer.refused and answer.code == "node-refused"


def test_a_variable_set_twice_is_refused(client: NativeClient, gcc: Toolchain) -> None:
    answer = client.run(gcc, compile_of(b"int x;\n", "/b", env=[("LANG", "C"), ("LANG", "D")]))
    assert answer.refused and answer.code == "node-refused"


# -- sources that look around


def test_a_source_sees_nothing_of_the_machine(client: NativeClient, gcc: Toolchain, work: str) -> None:
    hostname = b"\0none"
    if os.path.exists("/etc/hostname"):
        with open("/etc/hostname", "rb") as file:
            hostname = file.read().strip()
    for path in ("/etc/hostname", "/etc/passwd", __file__):
        answer = client.run(gcc, compile_of(f'#include "{path}"\n'.encode(), work))
        assert answer.exit_code == 1
        assert b"No such file or directory" in answer.stderr
        assert hostname not in answer.stderr
        answer = client.run(gcc, compile_of(f'__asm__(".incbin \\"{path}\\"");\n'.encode(), work))
        # The assembler's complaint names a temporary file, so it is left to the client's own compiler.
        assert answer.refused and answer.code == "remote-error"


def test_what_is_inside_of_proc_and_dev(client: NativeClient, gcc: Toolchain, work: str) -> None:
    for path in ("/proc/1/environ", "/proc/self/cmdline", "/proc/self/mountinfo", "/proc/net/route"):
        answer = client.run(gcc, compile_of(f'#include "{path}"\n'.encode(), work))
        text = answer.stderr + answer.sentence.encode()
        assert b"MANYCC" not in text and b"PYTHON" not in text
    for path in ("/proc/cpuinfo", "/proc/self/mountinfo", "/proc/version"):
        answer = client.run(gcc, compile_of(f'#include "{path}"\n'.encode(), work))
        assert answer.exit_code == 1 and b"No such file" in answer.stderr, path
    for path in ("/dev/sda", "/dev/vda", "/dev/mem", "/dev/kmsg", "/dev/tty"):
        answer = client.run(gcc, compile_of(f'#include "{path}"\n'.encode(), work))
        assert answer.exit_code != 0


def test_a_job_cannot_write_to_its_inputs_or_the_store(node: NodeProcess, client: NativeClient, gcc: Toolchain) -> None:
    header = b"#define H 1 // " + os.urandom(8).hex().encode()
    spec = compile_of(b'#include "h.h"\nint x = H;\n', "/b", files={"/b/h.h": header, "/b/sub/k.h": header})
    spec.argv = ["gcc", "-MMD", "-MF", "h.h", "-c", "a.c", "-o", "a.o"]  # over its own private copy
    spec.outputs = ["/b/a.o", "/b/h.h"]
    answer = client.run(gcc, spec)
    assert answer.exit_code == 0 and answer.outputs["/b/h.h"].startswith(b"a.o:")
    spec.argv = ["gcc", "-MMD", "-MF", "sub/k.h", "-c", "a.c", "-o", "a.o"]  # in a folder it did not ask for
    spec.outputs = ["/b/a.o"]
    assert client.run(gcc, spec).exit_code != 0
    blobs = [os.path.join(folder, name) for folder, _, names in os.walk(f"{node.store}/blobs") for name in names]
    assert len(blobs) > 10
    for path in blobs:
        assert digest_of(path).hex() == os.path.basename(path).removesuffix("x")
        assert os.stat(path).st_mode & 0o222 == 0


# -- limits


def limited(tmp_path_factory: pytest.TempPathFactory, *arguments: str) -> NodeProcess:
    return NodeProcess(str(tmp_path_factory.mktemp("limited")), "--jobs", "2", *arguments)


def test_limits_end_in_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, gxx: Toolchain, work: str
) -> None:
    with (
        limited(tmp_path_factory, "--job-output", "1M", "--job-memory", "1G", "--job-time", "1") as node,
        NativeClient(node.port) as client,
    ):
        big = client.run(gcc, compile_of(b"char x[64000000] = {1};\n", work))
        assert big.refused and big.code == "compiler-killed", big
        hungry = b"int a[] = {" + b"1+1," * 100_000 + b"};\n" + b"struct S { char c[1 << 20]; } s[4096] = {1};\n"
        memory = client.run(gcc, compile_of(hungry, work, name="m.c"))
        assert memory.refused and memory.code == "compiler-killed", memory
        spec = compile_of(FOREVER, work, *FOREVER_ARGS, name="t.cc", driver="g++")
        long = client.run(gxx, spec)
        assert long.refused and long.code == "compiler-killed", long
        # And the node is as well as before.
        assert client.run(gcc, compile_of(b"int x;\n", work)).exit_code == 0
    assert processes_with(f"{work}/t.cc") == []


def test_many_files_that_are_large_together(
    tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, work: str
) -> None:
    """Each is within its bound, their sum is not, and the job would go on writing for long."""
    body = b"".join(
        b"int f%d(int a, int b) { while (a--) b = b * a + b / (a | 1); return b; }\n" % n for n in range(9000)
    )
    with (
        NodeProcess(str(tmp_path_factory.mktemp("full")), "--job-output", "16M") as node,
        NativeClient(node.port) as client,
    ):
        spec = compile_of(body, work, "-O2", "-fdump-tree-all", "-fdump-rtl-all", stems=[f"{work}/a.c."])
        answer = client.run(gcc, spec, timeout=120.0)
        assert answer.refused and answer.sentence == "it wrote more than a job may", answer
        wait_for(lambda: not [name for name in os.listdir(f"{node.store}/tmp") if name.endswith(".tmp")])
        assert client.run(gcc, compile_of(b"int x;\n", work)).exit_code == 0


def test_messages_without_end_are_refused(client: NativeClient, gcc: Toolchain, work: str) -> None:
    line = b'#pragma message "' + b"x" * 3000 + b'"\n'
    answer = client.run(gcc, compile_of(line * 3500, work))
    assert answer.refused and answer.code == "compiler-killed" and "messages" in answer.sentence


def test_a_job_that_needs_more_memory_than_there_is(client: NativeClient, gcc: Toolchain, work: str) -> None:
    answer = client.run(gcc, compile_of(b"int x;\n", work, expected_rss=1 << 50))
    assert answer.refused and answer.code == "node-memory" and "MiB" in answer.sentence


def test_inputs_larger_than_the_store(tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, work: str) -> None:
    with limited(tmp_path_factory, "--store-size", "100M") as node, NativeClient(node.port) as client:
        tc = client.toolchain_number(gcc)
        digest = hashlib.sha256(b"unsent").digest()
        (number,) = client.announce([(FILE, f"{work}/a.c", digest, 60 << 20)])
        argv = ["gcc", "-c", "a.c", "-o", "a.o"]
        client.send(
            [native.JOB, 1, tc, argv, work, [], 0, struct.pack("<I", number), [work], [f"{work}/a.o"], [], 0, 0, None]
        )
        answer = client.answer(1)
        assert answer.refused and answer.code == "node-disk"


def test_too_many_jobs_of_one_agent(client: NativeClient, gxx: Toolchain, work: str) -> None:
    jobs = []
    for index in range(30):
        spec = compile_of(FOREVER, work, *FOREVER_ARGS, name=f"q{index}.cc", driver="g++")
        jobs.append(client.start(gxx, spec))
    refusals = []
    while len(refusals) < 4:
        message = client.expect(native.REFUSED, native.MISSING)
        if message[0] == native.MISSING:
            for digest in message[2]:
                client.upload(digest)
        else:
            refusals.append(message)
    assert {message[2] for message in refusals} == {"node-busy"}
    for job in jobs:
        client.send([native.CANCEL, job])
    assert client.run(gxx, compile_of(b"int x;\n", work, name="x.cc", driver="g++")).exit_code == 0


# -- the end of things


def running(client: NativeClient, gxx: Toolchain, work: str) -> tuple[int, str]:
    """A job that runs for ever, and what its processes can be known by."""
    name = f"forever{os.urandom(4).hex()}.cc"
    spec = compile_of(FOREVER + b"//" + name.encode(), work, *FOREVER_ARGS, name=name, driver="g++")
    job = client.start(gxx, spec)
    message = client.expect(native.MISSING)
    for digest in message[2]:
        client.upload(digest)
    wait_for(lambda: any("cc1plus" in command_of(pid) for pid in processes_with(name)))
    return job, name


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().partition(b"\0")[0].decode()
    except OSError:
        return ""


def test_cancel_kills_the_compiler(client: NativeClient, gxx: Toolchain, work: str) -> None:
    job, marker = running(client, gxx, work)
    client.send([native.CANCEL, job])
    assert wait_for(lambda: not processes_with(marker)) < 1.0
    assert client.run(gxx, compile_of(b"int x;\n", work, name="x.cc", driver="g++")).exit_code == 0


def test_a_lost_connection_kills_the_compiler(node: NodeProcess, gxx: Toolchain, work: str) -> None:
    with NativeClient(node.port) as client:
        _, marker = running(client, gxx, work)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert wait_for(lambda: not processes_with(marker)) < 1.0
    # Nothing of the job is left on the disk but what is kept for the next one.
    wait_for(lambda: not [path for path, _, _ in os.walk(f"{node.store}/tmp") if path.endswith("/w0")])


def test_a_killed_compiler_is_no_compile_error(client: NativeClient, gxx: Toolchain, work: str) -> None:
    job, marker = running(client, gxx, work)
    for pid in processes_with(marker):
        if command_of(pid).endswith("cc1plus"):
            os.kill(pid, signal.SIGKILL)
    answer = client.answer(job)
    assert answer.refused and answer.code == "compiler-killed"


def test_a_killed_node_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, gxx: Toolchain, work: str) -> None:
    folder = str(tmp_path_factory.mktemp("killed"))
    with NodeProcess(folder) as node, NativeClient(node.port) as client:
        _, marker = running(client, gxx, work)
        left = os.listdir(f"{node.store}/tmp")
        node.process.kill()
        assert wait_for(lambda: not processes_with(marker)) < 1.0
    assert len(left) == 1
    with NodeProcess(folder, store=f"{folder}/store") as again:
        assert len(os.listdir(f"{again.store}/tmp")) == 1
        assert left != os.listdir(f"{again.store}/tmp")
        with NativeClient(again.port) as client:
            spec = compile_of(b"int x;\n", work, name="x.cc", driver="g++")
            assert client.run(gxx, spec).exit_code == 0
        assert again.stop() == 0
    assert os.listdir(f"{folder}/store/tmp") == []


def test_two_nodes_share_a_store(tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, work: str) -> None:
    folder = str(tmp_path_factory.mktemp("shared"))
    source = b"int x; // " + os.urandom(8).hex().encode()
    with (
        NodeProcess(f"{folder}/1", store=f"{folder}/store") as one,
        NodeProcess(f"{folder}/2", store=f"{folder}/store") as two,
        NativeClient(one.port) as first,
        NativeClient(two.port) as second,
    ):
        assert first.run(gcc, compile_of(source, work)).exit_code == 0
        assert second.run(gcc, compile_of(source, work)).exit_code == 0
        assert first.asked and not second.asked
        # What one of them loses behind the other's back is asked for again.
        shutil.rmtree(f"{folder}/store/blobs")
        for client in (first, second):
            client.asked.clear()
            assert client.run(gcc, compile_of(source, work, "-O1")).exit_code == 0
        assert first.asked


def test_sigterm_lets_jobs_finish(tmp_path_factory: pytest.TempPathFactory, gxx: Toolchain, work: str) -> None:
    with NodeProcess(str(tmp_path_factory.mktemp("drained"))) as node, NativeClient(node.port) as client:
        slow = Spec(
            ["g++", "-O2", "-c", "a.cc", "-o", "a.o"], work, {f"{work}/a.cc": b'#include <regex>\nstd::regex r("a");\n'}
        )
        locally(slow, "a.o")
        slow.inputs = includes_of("g++", ["-O2", "a.cc"], work)
        slow.folders = include_folders("g++", "c++")
        job = client.start(gxx, slow)
        for digest in client.expect(native.MISSING)[2]:
            client.upload(digest)
        wait_for(lambda: bool(processes_with(f"{work}\0--\0g++")))
        node.process.send_signal(signal.SIGTERM)
        while not client.expect(native.STATE)[1]["closing"]:
            pass
        late = client.start(gxx, compile_of(b"int y;\n", work, name="y.cc", driver="g++"))
        refusal = client.answer(late)
        assert refusal.refused and refusal.code == "node-busy"
        answer = client.answer(job)
        assert answer.exit_code == 0, answer.stderr
        assert client.expect(native.BYE)[2] == "node-busy"
        assert node.process.wait(10) == 0


def test_a_second_signal_ends_it_at_once(tmp_path_factory: pytest.TempPathFactory, gxx: Toolchain, work: str) -> None:
    with NodeProcess(str(tmp_path_factory.mktemp("twice"))) as node, NativeClient(node.port) as client:
        _, marker = running(client, gxx, work)
        node.process.send_signal(signal.SIGTERM)
        while not client.expect(native.STATE)[1]["closing"]:
            pass
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(10) == 0
        assert processes_with(marker) == []
        assert os.listdir(f"{node.store}/tmp") == []


def test_a_damaged_store_is_noticed(tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, work: str) -> None:
    header = b"#define H 1 // " + os.urandom(8).hex().encode() + b"\n"
    spec = compile_of(b'#include "sub/h.h"\nint x = H;\n', work, files={f"{work}/sub/h.h": header})
    hexed = hashlib.sha256(header).hexdigest()
    folder = str(tmp_path_factory.mktemp("damaged"))

    def damage(node: NodeProcess) -> None:
        path = f"{node.store}/blobs/{hexed[:2]}/{hexed}"
        os.chmod(path, 0o644)
        with open(path, "r+b") as file:
            file.write(header.replace(b" 1 ", b" 2 "))

    def check(node: NodeProcess) -> None:
        with NativeClient(node.port) as client:
            answer = client.run(gcc, spec)
            assert answer.exit_code == 0, answer
            assert answer.outputs[f"{work}/a.o"] == locally(spec, "a.o")

    with NodeProcess(folder) as node:
        check(node)
        damage(node)
        check(node)  # a tree that is used again holds the very file that was damaged
        damage(node)
        assert node.stop() == 0
    with NodeProcess(folder) as node:
        check(node)


def test_a_damaged_result_is_a_miss(tmp_path_factory: pytest.TempPathFactory, gcc: Toolchain, work: str) -> None:
    spec = compile_of(b"int x;\n", work, flags=native.FLAG_CACHE)
    with NodeProcess(str(tmp_path_factory.mktemp("records"))) as node, NativeClient(node.port) as client:
        good = client.run(gcc, spec).outputs
        (record,) = [os.path.join(f, name) for f, _, names in os.walk(f"{node.store}/actions") for name in names]
        os.chmod(record, 0o644)
        with open(record, "r+b") as file:
            file.seek(50)
            file.write(b"\xff\xff\xff")
        again = client.run(gcc, spec)
        assert again.info["cached"] is False and again.outputs == good
        hexed = hashlib.sha256(good[f"{work}/a.o"]).hexdigest()
        os.unlink(f"{node.store}/blobs/{hexed[:2]}/{hexed}")
        again = client.run(gcc, spec)
        assert again.info["cached"] is False and again.outputs == good
        assert client.run(gcc, spec).info["cached"] is True


# -- toolchains


def test_another_compiler_is_refused_with_what_differs(client: NativeClient, gcc: Toolchain) -> None:
    about = _about(gcc)
    said = client.prove(gcc, fingerprint="0" * 64, label="gcc 99.1 x86_64-linux-gnu", about=about)
    assert "gcc 99.1" in said and gcc.version in said
    parts = {**gcc.components, "cc1": b"\0" * 32}
    assert "cc1" in client.prove(gcc, fingerprint="0" * 64, components=parts, about=about)
    assert client.prove(gcc, driver="/nowhere/no-such-cc", links=[], fingerprint="0" * 64, about=about)


def _about(gcc: Toolchain) -> dict[str, Any]:
    """Of a compiler that does not tell its target: none of the node's can stand in for it."""
    return {"kind": gcc.kind, "host": gcc.host, "facts": {}, "bytes": 0}


def test_links_that_do_not_lead_to_the_driver(client: NativeClient, gcc: Toolchain) -> None:
    for links in (
        [],
        [["/usr/bin/gcc", "/bin/sh"]],
        [["/usr/bin/gcc", "gcc"]],
        [["/usr", "/b"], *map(list, gcc.links)],
    ):
        assert client.prove(gcc, links=links)


def test_a_driver_behind_a_folder_that_is_a_link(
    client: NativeClient, work: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink("/usr/bin", tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    linked = toolchain_of("gcc")
    assert linked.driver == f"{tmp_path}/bin/gcc"
    spec = compile_of(b"int x;\n", work, "-g")
    answer = client.run(linked, spec)
    assert answer.exit_code == 0, answer
    assert answer.outputs[f"{work}/a.o"] == locally(spec, "a.o")


def test_a_driver_in_a_place_that_others_may_write_to(client: NativeClient, gcc: Toolchain, tmp_path: Any) -> None:
    ran = tmp_path / "ran"
    fake = tmp_path / "gcc"
    fake.write_text(f"#!/bin/sh\ntouch {ran}\n")
    fake.chmod(0o755)
    assert client.prove(gcc, driver=str(fake), links=[], fingerprint="1" * 64, about=_about(gcc))
    os.chmod(tmp_path, 0o777)
    shutil.copy("/bin/true", fake)
    assert client.prove(gcc, driver=str(fake), links=[], fingerprint="2" * 64, about=_about(gcc))
    assert not ran.exists()


def test_a_job_without_a_proven_toolchain(client: NativeClient, gcc: Toolchain, work: str) -> None:
    client.send([native.JOB, 1, 77, ["gcc", "-c", "a.c"], work, [], 0, b"", [work], [], [], 0, 0, None])
    answer = client.answer(1)
    assert answer.refused and answer.code == "no-toolchain"


def test_an_upgraded_compiler_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("cc")
    (place / "bin").mkdir()
    for name in ("gcc", "as", "objcopy"):
        shutil.copy(os.path.realpath(shutil.which(name) or ""), place / "bin" / name)
    cc1 = subprocess.check_output(["gcc", "-print-prog-name=cc1"], text=True).strip()
    parts = place / "lib" / "gcc" / os.path.relpath(os.path.dirname(cc1), "/usr/lib/gcc")
    parts.mkdir(parents=True)
    shutil.copy(cc1, parts)
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    tc = toolchain_of("gcc")
    place /= "bin"
    assert tc.driver == str(place / "gcc")
    with NodeProcess(str(tmp_path_factory.mktemp("upgraded"))) as node, NativeClient(node.port) as client:
        assert client.run(tc, compile_of(b"int x;\n", work)).exit_code == 0
        with open(place / "as.new", "wb") as file:
            file.write((place / "as").read_bytes() + b"\0")
        os.chmod(place / "as.new", 0o755)
        os.rename(place / "as.new", place / "as")
        job = client.start(tc, compile_of(b"int x;\n", work))
        message = client.expect(native.PROVEN)
        assert "changed" in message[2] and "as" in message[2]
        answer = client.answer(job)
        assert answer.refused and answer.code == "no-toolchain"


# -- the wire


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 64,
        b"MANYCC9\n",
        native.PREAMBLE[:-1] + b"\r\n",
        b"\x16\x03\x01",
    ],
)
def test_other_protocols_are_hung_up_on(node: NodeProcess, first: bytes) -> None:
    with NativeClient(node.port, greet=False) as client:
        client.raw(first)
        assert client.hung_up()


def test_the_preamble_byte_by_byte(node: NodeProcess) -> None:
    with NativeClient(node.port, greet=False) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = native.pack([native.HELLO, {"version": native.VERSION, "release": "", "name": "slow"}])
        for byte in native.PREAMBLE + hello:
            client.raw(bytes([byte]))
        assert client.expect(native.WELCOME)[1]["slots"] == 2


def test_another_version_is_told_so(node: NodeProcess) -> None:
    with NativeClient(node.port, greet=False) as client:
        client.raw(native.PREAMBLE)
        client.send([native.HELLO, {"version": 999, "release": "9", "name": "new"}])
        _, sentence, code = client.expect(native.BYE)
        assert "version" in sentence and code == "protocol"
        assert client.hung_up()


def test_an_agent_that_is_too_old_is_told_so(node: NodeProcess) -> None:
    with NativeClient(node.port, greet=False) as client:
        hello = msgpack.packb([native.HELLO, {"version": 1, "release": "1", "name": "old"}])
        client.raw(native.PREAMBLE_1 + len(hello).to_bytes(4, "little") + hello)
        said = b""
        while data := client.socket.recv(1000):
            said += data
    assert len(said) - 4 == int.from_bytes(said[:4], "little")
    kind, sentence = msgpack.unpackb(said[4:])
    assert kind == native.BYE and f"version {native.VERSION} of the protocol, not 1" in sentence


D = b"\1" * 32


ABOUT = {"kind": "gcc", "host": "x86-64", "facts": {}, "bytes": 0}


@pytest.mark.parametrize(
    "message",
    [
        [native.HELLO, {"version": 1}],
        [native.WELCOME, {}],
        [99],
        [native.PING],
        [native.PING, -1],
        [native.PING, 1, 2],
        [native.PING, "x"],
        [native.PING, True],
        [native.CANCEL, None],
        [native.RETRACT, 5],
        [native.ANNOUNCE, [[1, FILE, "/a", b"short", 1]]],
        [native.ANNOUNCE, [[1, FILE, "/a", D, native.MAX_FILE + 1]]],
        [native.ANNOUNCE, [[1, FILE, "/a", D, -1]]],
        [native.ANNOUNCE, [[1, 7, "/a", D, 1]]],
        [native.ANNOUNCE, [[1, FILE, b"/a", D, 1]]],
        [native.ANNOUNCE, [[1, FILE, "/a\0b", D, 1]]],
        [native.ANNOUNCE, [[1, LINK, "/a", "x" * 5000, 0]]],
        [native.ANNOUNCE, [[1, FOLDER, "/a" * 3000, "", 0]]],
        [native.ANNOUNCE, [[1, FOLDER, "/a", "", 0], [1, FOLDER, "/b", "", 0]]],
        [native.ANNOUNCE, [[n, FOLDER, "/a", "", 0] for n in range(native.MAX_INPUTS + 1)]],
        [native.BLOB, D, 10, 0, native.compress(b"x" * 10)],
        [native.BLOB, D, 10, 0, b"not zstd"],
        [native.BLOB, D, 10, 0, native.compress(b"\0" * (64 << 20))],
        [native.GONE, 1, b""],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [["a"]], {}, ABOUT],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [], {"x": "y"}, ABOUT],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [["/" + "a" * 4000, "b"]] * 100, {}, ABOUT],
        [native.JOB, 1, 1, [], "/b", [], 0, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"] * (native.MAX_ARGS + 1), "/b", [], 0, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc", "x" * (3 << 20)], "/b", [], 0, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc", "a\0b"], "/b", [], 0, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"abc", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"\1\0\0\0", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0o1777, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [["a", "b"]] * 1000, 0, b"", ["/b"], [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"", ["/b"] * 2000, [], [], 0, 0, None],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"", ["/b"], ["/b/x"] * 2000, [], 0, 0, None],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [], {}, {"kind": "gcc", "host": "x", "facts": {"a": 1}, "bytes": 0}],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [], {}, {"kind": "gcc", "host": "x", "facts": {}, "bytes": -1}],
        [native.TOOLCHAIN, 1, "f", "/d", "l", [], {}, {}],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"", ["/b"], [], [], 0, 0, [[], []]],
        [native.JOB, 1, 1, ["gcc"], "/b", [], 0, b"", ["/b"], [], [], 0, 0, [[], [], "x" * 2000]],
        [native.JOB, 1, 1, ["gcc"]],
    ],
    ids=lambda message: f"{message[0]}-{str(message[1:])[:30]}",
)
def test_messages_out_of_form_end_the_connection(client: NativeClient, node: NodeProcess, message: list[Any]) -> None:
    client.send(message)
    assert client.hung_up()
    assert node.process.poll() is None


@pytest.mark.parametrize(
    "raw",
    [b"\xff" * native.HEADER_SIZE, native.header(0xFFFFFFFF, 0), native.header(5, 0) + b"\x91" * 5]
    + [native.header(len(body), crc32(body)) + body for body in (b"", b"\x80", b"\xc1" * 5, b"\x91" * 200_000)],
)
def test_garbage_frames_end_the_connection(client: NativeClient, node: NodeProcess, raw: bytes) -> None:
    client.raw(raw)
    assert client.hung_up()
    assert node.process.poll() is None


@pytest.mark.parametrize("what", ["digest", "total", "order", "long", "twice"])
def test_contents_that_are_not_what_was_asked_for(client: NativeClient, gcc: Toolchain, work: str, what: str) -> None:
    data = os.urandom(3 << 20)
    spec = compile_of(data, work)
    client.start(gcc, spec)
    digest = hashlib.sha256(data).digest()
    assert digest in client.expect(native.MISSING)[2]
    piece = native.compress(data[: 1 << 20])
    size = len(data)
    if what == "digest":
        for offset in range(0, size, 1 << 20):
            client.send([native.BLOB, digest, size, offset, piece])
    elif what == "total":
        client.send([native.BLOB, digest, size + 1, 0, piece])
    elif what == "order":
        client.send([native.BLOB, digest, size, 1 << 20, piece])
    else:
        client.send([native.BLOB, digest, size, 0, piece])
        client.send([native.BLOB, digest, size, 0 if what == "twice" else (1 << 20) + 1, piece])
    assert client.hung_up()


def test_an_empty_input_and_an_input_that_is_gone(client: NativeClient, gcc: Toolchain, work: str) -> None:
    assert client.run(gcc, compile_of(b"", work, name="empty.c")).exit_code == 0
    content = b"// " + os.urandom(8).hex().encode()
    one = client.start(gcc, compile_of(content, work, name="one.c"))
    two = client.start(gcc, compile_of(content, work, name="two.c"))
    message = client.expect(native.MISSING)
    assert message[1] == one
    client.send([native.GONE, one, message[2][0]])
    # The other job still wants it, and asks for itself.
    assert client.answer(two).exit_code == 0


def test_retracted_numbers_are_forgotten(client: NativeClient, gcc: Toolchain, work: str) -> None:
    tc = client.toolchain_number(gcc)
    (number,) = client.announce([(FILE, f"{work}/a.c", D, 1)])
    client.send([native.RETRACT, [number, 12345]])
    client.send([native.PING, 7])
    assert client.expect(native.PONG)[1] == 7
    client.send(
        [native.JOB, 1, tc, ["gcc", "-c", "a.c"], work, [], 0, struct.pack("<I", number), [work], [], [], 0, 0, None]
    )
    assert client.hung_up()


def test_states_are_pushed(client: NativeClient, gcc: Toolchain, work: str) -> None:
    first = client.expect(native.STATE)[1]
    assert first["slots"] == 2 and first["memory_free"] > 0 and first["closing"] is False
    client.start(gcc, compile_of(b"int x;\n", work))
    assert client.expect(native.STATE, timeout=6)


# -- who may come


def test_peers_that_are_not_allowed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = str(tmp_path_factory.mktemp("strangers"))
    with NodeProcess(folder, "--allow", "192.0.2.0/24", "--allow", "2001:db8::/32") as node:
        with NativeClient(node.port, greet=False) as client:
            assert client.hung_up()
        wait_for(lambda: "not allowed" in node.log())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--allow", "192.168.0.7/24"], 2, "not a network"),
        (["--allow", "everyone"], 2, "not a network"),
        (["--allow", ""], 2, "not a network"),
        (["--store-size", "much"], 2, "not a size"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--port", "70000"], 2, "--port"),
        (["--job-memory", "1M"], 2, "--job-memory"),
        (["--listen", "192.0.2.1", "--port", "0"], 1, "--listen"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Any, arguments: list[str], code: int, words: str) -> None:
    done = run_node("--store", str(tmp_path / "s"), *arguments)
    assert done.returncode == code
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use(node: NodeProcess, tmp_path: Any) -> None:
    done = run_node("--store", str(tmp_path / "s"), "--port", str(node.port))
    assert done.returncode == 1
    assert "Address already in use" in done.stderr and "--port" in done.stderr
    assert f"process {node.process.pid}) listens there" in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_daemon(tmp_path: Any) -> None:
    pid_file = tmp_path / "pid"
    port = free_port()
    done = run_node(
        "--daemon", "--store", str(tmp_path / "s"), "--port", str(port), "--pid-file", str(pid_file),
        "--log-file", str(tmp_path / "log"), "--nice", "5",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    pid = int(pid_file.read_text())
    try:
        with NativeClient(port) as client:
            assert client.welcome["sandbox"] == "bubblewrap"
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)
        again = run_node(
            "--daemon", "--store", str(tmp_path / "s2"), "--port", str(port), "--log-file", str(tmp_path / "log2")
        )
        assert again.returncode == 1 and "in use" in again.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not content_of(pid_file))
    wait_for(lambda: not command_of(pid))


def content_of(path: Any) -> str:
    """A file's text, empty if it is gone."""
    try:
        return str(path.read_text())
    except FileNotFoundError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A node that is expected to end by itself."""
    return subprocess.run([*NODE, *arguments], capture_output=True, text=True, timeout=30, check=False)
