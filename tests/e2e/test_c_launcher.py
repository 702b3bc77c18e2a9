"""The launcher, built as a user would build it, against agents that do the right and every wrong thing."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_agent import Answer, FakeAgent, saying, wait_for_end

import manycc
from manycc import reasons
from manycc.monitor import records
from manycc.testing.requirements import need
from manycc.wire import launcher as wire

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "launcher" / "manycc.c"
LIMIT_S = 60.0

COMPILER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
/* Says how it was called, each word ended by a NUL; with FAKE_WAIT it ends when its input does.
   With FAKE_STREAMS it only tells by its exit code which standard streams are open. */
int main(int argc, char **argv) {
    if (getenv("FAKE_STREAMS"))
        return (fcntl(0, F_GETFD) == 0) + (fcntl(1, F_GETFD) == 0) * 2 + (fcntl(2, F_GETFD) == 0) * 4;
    const char *guard = getenv("MANYCC_GUARD"), *path = getenv("PATH");
    for (int i = 0; i < argc; i++) printf("%s%c", argv[i], 0);
    printf("guard=%s%cpath=%s%c", guard ? guard : "", 0, path ? path : "", 0);
    fflush(stdout);
    if (getenv("FAKE_WAIT")) while (getchar() != EOF) continue;
    fprintf(stderr, "compiled here\n");
    return 3;
}
"""
HERE_CODE = 3  # what the compiler above ends with
VERBS = [
    "verify",
    "node",
    "run",
    "explain",
    "status",
    "hosts",
    "stats",
    "agent",
    "doctor",
    "masquerade",
    "compat",
    "reasons",
    "engine",
    "help",
    "--help",
    "-h",
    "--version",
]


def build(launcher: Path, *compiler: str) -> None:
    command = [*compiler, "-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-O2"]
    define = f'-DMANYCC_VERSION="{manycc.__version__}"'
    done = subprocess.run([*command, define, SOURCE, "-o", launcher], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the launcher, a stand-in for manycc-cli, and a program that poses as a compiler."""
    folder = tmp_path_factory.mktemp("tools")
    build(folder / "manycc", "cc")
    (folder / "compiler.c").write_text(COMPILER)
    subprocess.run(["cc", folder / "compiler.c", "-o", folder / "compiler"], check=True)
    cli = folder / "manycc-cli"
    source = Path(manycc.__file__).parents[1]
    path = [str(HERE), str(source)]
    cli.write_text(
        f"#!{sys.executable} -S\nimport sys\nsys.path[:0] = {path!r}\nimport fake_agent\nfake_agent.main()\n"
    )
    cli.chmod(0o755)
    return folder


class Place:
    """A client machine: its own state, a PATH with one compiler on it, and the launcher."""

    def __init__(self, folder: Path, tools: Path) -> None:
        self.folder = folder
        self.tools = tools
        self.launcher = str(tools / "manycc")
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.compiler = self.add_compiler("gcc")
        self.base = folder / "m"
        self.log = folder / "starts"
        self.work = folder / "work"
        self.work.mkdir()
        self.env: dict[str, str | bytes] = {
            "PATH": str(self.bin), "MANYCC_DIR": str(self.base), "FAKE_LOG": str(self.log), "FAKE_CLI": "answer",
            "MANYCC_AGENT_TIMEOUT": "30",
        }  # fmt: skip

    @property
    def runtime(self) -> str:
        return str(self.base / "run")

    def add_compiler(self, name: str) -> str:
        os.symlink(self.tools / "compiler", self.bin / name)
        return str(self.bin / name)

    def masquerade(self, *names: str) -> Path:
        folder = self.folder / "masquerade"
        folder.mkdir(exist_ok=True)
        for name in names:
            os.symlink(self.launcher, folder / name)
        return folder

    def agent(self, *answers: Answer, **options: Any) -> FakeAgent:
        return FakeAgent(self.runtime, *answers, **options)

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        options["env"] = {**self.env, **options.get("env", {})}
        return {"cwd": self.work, **options}

    def start(self, *argv: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        """Start ``manycc argv``."""
        return subprocess.Popen([self.launcher, *argv], **self._options(options))

    def run(self, *argv: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ``manycc argv`` to its end, what it says is captured."""
        if not {"stdout", "stderr", "capture_output"} & set(options):
            options["capture_output"] = True
        return subprocess.run(
            options.pop("command", [self.launcher, *argv]), check=False, timeout=LIMIT_S, **self._options(options)
        )

    def records(self) -> list[dict[str, Any]]:
        try:
            lines = (self.base / "state" / "jobs.jsonl").read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        assert all(line.endswith(b"\n") and len(line) < 3500 for line in lines)
        return [record for line in lines if (record := records.decode(line)) is not None]

    def record(self) -> tuple[str, str]:
        """Reason and detail of the only record."""
        (record,) = self.records()
        assert record["by"] == "launcher" and record["reason"] in reasons.BY_CODE
        return record["reason"], record["detail"]

    def starts(self) -> list[dict[str, Any]]:
        """What each agent that was started says of itself."""
        return [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []

    def make_failure_older(self) -> None:
        """As if the time had passed for which a failed start holds off the next."""
        mark = os.path.join(self.runtime, "agent.failed")
        long_ago = os.stat(mark).st_mtime - 11
        os.utime(mark, (long_ago, long_ago))

    def end(self) -> None:
        """Kill the agents that were started, and wait for their end."""
        for started in self.starts():
            try:
                process = os.pidfd_open(started["pid"])
            except ProcessLookupError:
                continue
            signal.pidfd_send_signal(process, signal.SIGKILL)
            assert select.select([process], [], [], LIMIT_S)[0]
            os.close(process)
        self.log.unlink(missing_ok=True)


@pytest.fixture
def place(tmp_path: Path, tools: Path) -> Iterator[Place]:
    made = Place(tmp_path, tools)
    yield made
    made.end()


def guarded(done: subprocess.CompletedProcess[bytes]) -> tuple[list[bytes], str]:
    """The words the compiler was called by, and the MANYCC_GUARD it got."""
    assert (done.returncode, done.stderr) == (HERE_CODE, b"compiled here\n")
    *words, guard, _path, end = done.stdout.split(b"\0")
    assert end == b""
    return words, guard.decode().removeprefix("guard=")


def said(done: subprocess.CompletedProcess[bytes]) -> list[bytes]:
    """The words the compiler was called by, where nothing but one launcher is around it."""
    words, guard = guarded(done)
    assert re.fullmatch(r"\d+:[0-9a-f]+:[0-9a-f]+ ", guard)
    return words


RESULT = saying(wire.build_result(0, b"", b"remote\n"))
LOCAL = saying(wire.LOCAL)


def local(sock: socket.socket) -> None:
    """Has the launcher run the compiler, and waits for its end."""
    sock.sendall(wire.LOCAL)
    assert sock.recv(1) == b""


# -- the program ------------------------------------------------------------------------------------


def test_stays_small() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 500


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_go_to_the_python_part(place: Place, verb: str) -> None:
    done = place.run(verb, "--json", "a b")
    assert (done.returncode, done.stdout) == (7, f"cli {verb} --json a b\n".encode())


def test_alone_it_helps(place: Place) -> None:
    assert place.run().stdout == b"cli\n"


def test_verbs_find_the_python_part_on_the_path(place: Place, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(place.launcher, moved / "manycc")
    done = place.run(command=[moved / "manycc", "status"])
    assert done.returncode == 127 and b"manycc-cli" in done.stderr
    done = place.run(command=[moved / "manycc", "status"], env={"PATH": f"{place.bin}:{place.tools}"})
    assert done.stdout == b"cli status\n"


@pytest.mark.parametrize("word", ["-print-sysroot", "--version-of-what", "a.c", "b.C", "lib/x.c++", "x.o", "x.ii", "-"])
def test_a_command_without_a_compiler_is_for_cc(place: Place, word: str) -> None:
    cc = place.add_compiler("cc")
    with place.agent(LOCAL) as agent:
        assert said(place.run(word, "-O2")) == [b"cc", word.encode(), b"-O2"]
        assert agent.requests.get(timeout=LIMIT_S).compiler == cc


@pytest.mark.parametrize("word", ["node run", "gcc.d", "o", "c", "x.", ".", "explain "])
def test_a_name_that_only_looks_like_something_else_is_a_compiler(place: Place, word: str) -> None:
    place.add_compiler(word) if word != "." else None
    done = place.run(word, "-c", "a.c", env={"MANYCC_DISABLE": "1"})
    assert done.stdout.startswith(word.encode() + b"\0-c\0") or (word, done.returncode) == (".", 127)


# -- called as distcc ---------------------------------------------------------------------------------


@pytest.fixture
def distcc(place: Place) -> str:
    """The launcher under that name."""
    path = place.folder / "compat" / "distcc"
    path.parent.mkdir()
    path.symlink_to(place.launcher)
    return str(path)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--show-hosts"], ["-j"], ["--scan-includes", "gcc"], []])
def test_questions_to_distcc_go_to_the_python_part(place: Place, distcc: str, words: list[str]) -> None:
    done = place.run(command=[distcc, *words])
    assert (done.returncode, done.stdout.decode().split()) == (7, ["cli", "as", "distcc", *words])


def test_the_agent_is_told_who_calls_it_distcc(place: Place, distcc: str) -> None:
    """By the flag; and what is a verb to manycc, or a question to it, is a compiler or its option to distcc."""
    cc, status = place.add_compiler("cc"), place.add_compiler("status")
    with place.agent(LOCAL) as agent:
        for words, compiler, name in [
            (["gcc", "-c", "a.c"], place.compiler, "gcc"),
            (["-c", "a.c"], cc, "cc"),
            (["a.c", "-c"], cc, "cc"),
            (["gcc", "--version"], place.compiler, "gcc"),
            (["status", "-c", "a.c"], status, "status"),
        ]:
            done = place.run(command=[distcc, *words], stdin=subprocess.DEVNULL)
            request = agent.requests.get(timeout=LIMIT_S)
            assert (request.compiler, request.flags) == (compiler, wire.DISTCC)
            assert said(done)[0].decode() == name
        place.run("gcc", "-c", "a.c")
        assert agent.requests.get(timeout=LIMIT_S).flags == 0


@pytest.mark.parametrize("by_path", [False, True])
@pytest.mark.parametrize("target", ["../compat/distcc", "distcc", "manycc"])
def test_a_compilers_name_that_leads_to_distcc(place: Place, distcc: str, target: str, by_path: bool) -> None:
    folder = place.folder / "lib"
    folder.mkdir()
    (folder / "distcc").symlink_to(place.launcher)
    (folder / "manycc").symlink_to(place.launcher)
    (folder / "gcc").symlink_to(target)
    path = f"{folder}:{place.bin}"
    with place.agent(LOCAL) as agent:
        place.run(
            command=[folder / "gcc" if by_path else "gcc", "-c", "a.c"], env={"PATH": path}, executable=folder / "gcc"
        )
        request = agent.requests.get(timeout=LIMIT_S)
    assert request.flags == (wire.DISTCC if "distcc" in target else 0)
    assert (request.compiler, request.argv[0]) == (place.compiler, place.compiler)


def test_distcc_without_the_compiler_ends_as_distcc_does(place: Place, distcc: str) -> None:
    with place.agent(LOCAL):
        done = place.run(command=[distcc, "nosuchcc", "-c", "a.i"])
        assert done.returncode == 110 and b"failed to exec" in done.stderr and done.stdout == b""
        assert place.run(command=[distcc, "./nosuchcc", "-c", "a.i"]).returncode == 110


@pytest.mark.parametrize("log", [False, True])
def test_what_the_agent_has_to_say_before_its_answer(place: Place, tmp_path: Path, log: bool) -> None:
    note = wire.build_note(b"note\n" + b"x" * 70_000)
    assert len(note) == 5 + 65536
    with (tmp_path / "log").open("wb") as file, place.agent(saying(note, wire.PING, wire.build_note(b"!"), wire.LOCAL)):
        env = {"UNCACHED_ERR_FD": str(file.fileno())} if log else {}
        done = place.run("gcc", "-c", "a.c", env=env, pass_fds=[file.fileno()])
    said_here, said_there = done.stderr, (tmp_path / "log").read_bytes()
    notes = said_there if log else said_here.removesuffix(b"compiled here\n")
    assert notes == note[5:] + b"!"
    assert said_here.endswith(b"compiled here\n")
    assert (len(said_there) > 0) == log


# -- what the agent is asked --------------------------------------------------------------------------


def test_request(place: Place) -> None:
    with place.agent(RESULT) as agent:
        assert place.run("gcc", "-c", "a.c", "", umask=0o027).returncode == 0
    request = agent.requests.get_nowait()
    assert request.version == manycc.__version__
    assert request.compiler == place.compiler
    assert request.cwd == str(place.work)
    assert request.argv == ["gcc", "-c", "a.c", ""]
    assert request.env == place.env
    assert (request.umask, request.flags, request.columns) == (0o027, 0, 0)
    assert place.records() == []


@pytest.mark.parametrize(
    ("streams", "flags", "columns"),
    [
        (["stderr"], 1, 0),
        (["stdout"], 2, 0),
        (["stdout", "stderr"], 3, 0),
        (["stdin"], 0, 0),
        (["stdin", "stderr"], 1, 132),
        (["stdin", "stdout", "stderr"], 3, 132),
    ],
)
def test_terminal(place: Place, streams: list[str], flags: int, columns: int) -> None:
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("4H", 40, 132, 0, 0))
    with place.agent(RESULT) as agent:
        none: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = {**none, **dict.fromkeys(streams, inner)}
        place.run("gcc", **options)
    os.close(outer)
    os.close(inner)
    request = agent.requests.get_nowait()
    assert (request.flags, request.columns) == (flags, columns)


def test_bytes_of_any_kind_arrive(place: Place) -> None:
    work = os.fsencode(place.work) + b"/w\xff\xe9"
    os.mkdir(work)
    with place.agent(RESULT) as agent:
        place.run(b"gcc", b"\xff\xfe.c", b"-DX=\xc3\x28", cwd=work, env={"NAME": b"\x80value"})
    request = agent.requests.get_nowait()
    assert list(map(os.fsencode, request.argv)) == [b"gcc", b"\xff\xfe.c", b"-DX=\xc3\x28"]
    assert os.fsencode(request.cwd) == work
    assert os.fsencode(request.env["NAME"]) == b"\x80value"


def test_request_larger_than_any_buffer(place: Place) -> None:
    words = [f"-D{'x' * 100_000}{number}" for number in range(12)]
    with place.agent(RESULT) as agent:
        assert place.run("gcc", *words, env={"BIG": "y" * 120_000}).returncode == 0
    request = agent.requests.get_nowait()
    assert request.argv == ["gcc", *words] and request.env["BIG"] == "y" * 120_000


def test_more_words_than_one_system_call_takes(place: Place) -> None:
    words = [str(number) for number in range(5000)]
    with place.agent(RESULT) as agent:
        assert place.run("gcc", *words).returncode == 0
    assert agent.requests.get_nowait().argv == ["gcc", *words]


# -- what the agent answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 4, 139, 255])
def test_exit_code(place: Place, code: int) -> None:
    with place.agent(saying(wire.PING, wire.build_result(code, b"out", b"err"), b"ignored")):
        done = place.run("gcc")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"out", b"err")


@pytest.mark.parametrize(
    ("out", "err"), [(5 << 20, 5 << 20), (0, 5 << 20), (5 << 20, 0), (65536, 1), (65523, 0), (65524, 0)]
)
def test_result_of_any_size(place: Place, out: int, err: int) -> None:
    outs, errs = random.Random(1).randbytes(out), random.Random(2).randbytes(err)
    with place.agent(saying(wire.build_result(1, outs, errs))):
        done = place.run("gcc")
    assert done.returncode == 1 and done.stdout == outs and done.stderr == errs


def test_result_in_the_smallest_pieces(place: Place) -> None:
    def dribble(sock: socket.socket) -> None:
        for byte in wire.PING + wire.build_result(5, b"out", b"err"):
            sock.send(bytes([byte]))

    with place.agent(dribble):
        done = place.run("gcc")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"out", b"err")


def test_result_to_a_pipe_that_someone_made_non_blocking(place: Place) -> None:
    outs = random.Random(3).randbytes(1 << 20)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with place.agent(saying(wire.build_result(0, outs, b""))):
        process = place.start("gcc", stdout=writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read() == outs
        assert process.wait(LIMIT_S) == 0


def test_output_that_cannot_be_written(place: Place) -> None:
    with place.agent(saying(wire.build_result(0, b"out", b""))), open("/dev/full", "wb") as full:
        done = place.run("gcc", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"cannot be written" in done.stderr
    shutil.rmtree(place.runtime)
    with place.agent(saying(wire.build_result(0, b"out", b"warning"))), open("/dev/full", "wb") as full:
        done = place.run("gcc", stdout=subprocess.PIPE, stderr=full)
    assert (done.returncode, done.stdout) == (0, b"out")


def test_pings_keep_it_waiting(place: Place) -> None:
    def slowly(sock: socket.socket) -> None:
        for _ in range(5):
            assert not select.select([sock], [], [], 0.4)[0]  # it has not given up
            sock.sendall(wire.PING)
        sock.sendall(wire.build_result(0, b"", b"done"))

    with place.agent(slowly):
        done = place.run("gcc", env={"MANYCC_AGENT_TIMEOUT": "1.2"})
    assert (done.returncode, done.stderr) == (0, b"done")


def test_killing_it_tells_the_agent(place: Place) -> None:
    asked, told = threading.Event(), threading.Event()

    def watch(sock: socket.socket) -> None:
        asked.set()
        assert sock.recv(1) == b""
        told.set()

    with place.agent(watch):
        process = place.start("gcc")
        assert asked.wait(LIMIT_S)
        process.send_signal(signal.SIGINT)
        assert told.wait(LIMIT_S)
        assert process.wait(LIMIT_S) == -signal.SIGINT


def test_run_it_yourself_keeps_the_socket_until_the_compiler_ends(place: Place) -> None:
    started, looked, ended = threading.Event(), threading.Event(), threading.Event()

    def watch(sock: socket.socket) -> None:
        sock.sendall(wire.PING + wire.LOCAL)
        assert started.wait(LIMIT_S)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        sock.setblocking(True)
        looked.set()
        assert sock.recv(1) == b""
        ended.set()

    with place.agent(watch):
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = place.start("gcc", "-c", "a.c", env={"FAKE_WAIT": "1"}, **streams)
        assert process.stdout is not None
        words = process.stdout.read1()
        started.set()
        assert looked.wait(LIMIT_S) and not ended.is_set()
        assert os.readlink(f"/proc/{process.pid}/exe") == str(place.tools / "compiler")  # exec'ed: no process between
        opened = {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")}
        assert {name.partition(":")[0] for name in opened} == {"pipe", "socket"}  # and no other descriptor
        process.communicate(timeout=LIMIT_S)
        assert ended.wait(LIMIT_S)
    assert words.split(b"\0")[:3] == [b"gcc", b"-c", b"a.c"]
    assert process.returncode == HERE_CODE and place.records() == []


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_closed_standard_streams_stay_closed_for_the_compiler(place: Place, closed: str) -> None:
    closing = " ".join(f"{fd}>&-" for fd in closed)
    with place.agent(local):
        done = place.run(command=["/bin/sh", "-c", f"exec {place.launcher} gcc {closing}"], env={"FAKE_STREAMS": "1"})
    assert done.returncode == 7 - sum(1 << int(fd) for fd in closed)


def test_umask_of_the_compiler(place: Place) -> None:
    compiler = place.bin / "masks"
    compiler.write_text("#!/bin/sh\numask\n")
    compiler.chmod(0o755)
    with place.agent(local):
        assert place.run("masks", umask=0o027).stdout == b"0027\n"


# -- faults: each ends in the compiler, and in a record -----------------------------------------------


def frame(kind: bytes, length: int, rest: bytes = b"") -> bytes:
    return wire.FRAME.pack(kind, length) + rest


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(b"X", 0), frame(b"P", 1, b"x"), frame(b"L", 4, b"abcd"),
        frame(b"V", 1 << 31), frame(b"J", 2, b"{}"), frame(b"R", 0), frame(b"R", 7, b"1234567"),
        frame(b"R", 8, struct.pack("<II", 0, 1)), frame(b"R", 8, struct.pack("<II", 256, 0)),
        frame(b"R", 10, struct.pack("<II", 0, 1 << 31) + b"ab"),
    ],
)  # fmt: skip
def test_garbage(place: Place, answer: bytes) -> None:
    with place.agent(saying(answer)):
        assert said(place.run("gcc", "-c", "a.c")) == [b"gcc", b"-c", b"a.c"]
    assert place.record()[0] == "agent-lost"


@pytest.mark.parametrize("sent", [0, 1, 5, 12, 13, 16])
def test_end_in_mid_answer_shows_nothing_twice(place: Place, sent: int) -> None:
    with place.agent(saying(wire.build_result(0, b"out", b"err")[:sent])):
        assert said(place.run("gcc")) == [b"gcc"]
    assert place.record() == ("agent-lost", "it closed the connection")


@pytest.mark.parametrize("sent", [13, 65_536, 65_549, 150_000, 200_012])
def test_end_in_the_middle_of_a_large_result_shows_nothing_twice(place: Place, sent: int) -> None:
    with place.agent(saying(wire.build_result(0, b"x" * 100_000, b"y" * 100_000)[:sent])):
        assert said(place.run("gcc")) == [b"gcc"]
    assert place.record()[0] == "agent-lost"


def test_end_before_the_request_is_read(place: Place) -> None:
    words = ["x" * 100_000] * 15  # more than a socket holds
    with place.agent(lambda sock: None, read=False):
        assert len(said(place.run("gcc", *words))) == 16
    assert place.record()[0] == "agent-lost"


@pytest.mark.parametrize("begin", [b"", wire.PING, wire.build_result(0, b"out", b"err")[:-1]])
def test_silence(place: Place, begin: bytes) -> None:
    def hang(sock: socket.socket) -> None:
        sock.sendall(begin)
        wait_for_end(sock)

    with place.agent(hang):
        assert said(place.run("gcc", env={"MANYCC_AGENT_TIMEOUT": "0.2"})) == [b"gcc"]
    assert place.record() == ("agent-silent", "it sent nothing in time")


def test_silence_while_it_should_read(place: Place) -> None:
    with place.agent(lambda sock: wait_for_end_unread(sock), read=False):
        said(place.run("gcc", *["x" * 100_000] * 15, env={"MANYCC_AGENT_TIMEOUT": "0.2"}))
    assert place.record() == ("agent-silent", "it read nothing in time")


def wait_for_end_unread(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    assert poll.poll(LIMIT_S * 1000)


def test_silence_while_it_should_accept(place: Place) -> None:
    os.makedirs(place.runtime, 0o700)
    path = os.path.join(place.runtime, "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        said(place.run("gcc", env={"MANYCC_AGENT_TIMEOUT": "0.2"}))
    assert place.record() == ("agent-silent", "it took no connection in time")


def test_deleted_working_folder(place: Place) -> None:
    done = place.run(command=["/bin/sh", "-c", f"/bin/rmdir {place.work}; exec {place.launcher} gcc"])
    assert said(done) == [b"gcc"]
    assert place.record() == ("inputs-unknown", "the working folder has no path")


# -- the agent's folder and its start -----------------------------------------------------------------


def test_long_path_of_the_socket(place: Place) -> None:
    place.base = place.folder.joinpath(*["long" * 20] * 4)
    with FakeAgent(place.runtime, RESULT):
        done = place.run("gcc", env={"MANYCC_DIR": str(place.base)})
    assert (done.returncode, done.stderr) == (0, b"remote\n")


@pytest.mark.parametrize("variable", ["XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"])
def test_xdg_folders(place: Place, variable: str) -> None:
    place.env |= {"MANYCC_DIR": "", "XDG_RUNTIME_DIR": str(place.folder), variable: str(place.folder)}
    with FakeAgent(str(place.folder / "manycc"), saying(b"?")):
        said(place.run("gcc"))
    below = {"XDG_STATE_HOME": "manycc", "HOME": ".local/state/manycc"}.get(variable)
    assert sorted(place.folder.rglob("jobs.jsonl")) == ([place.folder / below / "jobs.jsonl"] if below else [])


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o701, 0o777])
def test_a_folder_open_to_others_is_not_trusted(place: Place, mode: int) -> None:
    with place.agent(RESULT) as agent:
        os.chmod(place.runtime, mode)
        assert said(place.run("gcc")) == [b"gcc"]
    assert agent.connections == 0 and place.starts() == []
    assert place.record() == ("agent-missing", "its folder is not one of this user alone (mode 0700)")


def test_a_link_to_a_folder_is_not_trusted(place: Place) -> None:
    place.base.mkdir()
    with FakeAgent(str(place.folder / "elsewhere"), RESULT) as agent:
        os.symlink(place.folder / "elsewhere", place.runtime)
        said(place.run("gcc"))
    assert agent.connections == 0 and place.record()[0] == "agent-missing"


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can pose as another user")


@needs_root
def test_a_folder_of_another_user_is_not_trusted(place: Place) -> None:
    with place.agent(RESULT) as agent:
        os.chown(place.runtime, 65534, 65534)
        said(place.run("gcc"))
    assert agent.connections == 0 and place.record()[0] == "agent-missing"


@needs_root
def test_an_agent_of_another_user_is_not_trusted(place: Place) -> None:
    with place.agent(lambda sock: pytest.fail("it was asked")) as agent:
        os.seteuid(65534)
        agent.listener.listen(5)  # from now on the kernel says that the socket is theirs
        os.seteuid(0)
        said(place.run("gcc"))
    assert place.record() == ("agent-missing", "its socket is another user's")


def test_many_at_once_start_one_agent(place: Place) -> None:
    reading, writing = os.pipe()
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pass_fds": (writing,)}
    processes = [place.start("gcc", "-c", f"{number}.c", **options) for number in range(64)]
    os.close(writing)
    results = {process.communicate(timeout=LIMIT_S) for process in processes}  # nobody holds their pipes
    assert results == {(b"by the agent\n", b"")}
    assert {process.returncode for process in processes} == {0}
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b""  # nor any other descriptor of theirs

    (started,) = place.starts()
    assert started["session"] not in (os.getsid(0), started["pid"])  # it can never get a terminal
    assert started["ready"] == "3" and started["fds"].pop("3").startswith("socket:")
    assert {started["fds"].pop(fd) for fd in "012"} == {"/dev/null"} and started["fds"] == {}
    assert stat.S_IMODE(os.stat(place.runtime).st_mode) == 0o700
    assert place.records() == []


def test_an_agent_that_left_its_socket_behind(place: Place) -> None:
    with place.agent(RESULT):
        pass
    assert place.run("gcc").stdout == b"by the agent\n"
    assert len(place.starts()) == 1


@pytest.mark.parametrize("mode", ["fail", "hang"])
def test_an_agent_that_cannot_start_is_left_alone_for_a_while(place: Place, mode: str) -> None:
    place.env |= {"FAKE_CLI": mode, "MANYCC_AGENT_TIMEOUT": "1" if mode == "hang" else "30"}
    assert said(place.run("gcc")) == [b"gcc"]
    assert place.record() == (
        "agent-missing",
        "it took too long to start" if mode == "hang" else "it ended before it listened: see its log",
    )
    for starts in (1, 2):
        said(place.run("gcc"))
        assert place.records()[-1]["detail"] == "it was started in vain a moment ago"
        assert len(place.starts()) == starts
        place.make_failure_older()
        said(place.run("gcc"))
    assert len(place.starts()) == 3
    place.end()
    place.make_failure_older()
    place.env |= {"FAKE_CLI": "answer", "MANYCC_AGENT_TIMEOUT": "30"}
    assert place.run("gcc").stdout == b"by the agent\n"


def test_many_at_once_suffer_one_failed_start(place: Place) -> None:
    place.env["FAKE_CLI"] = "fail"
    processes = [place.start("gcc", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(32)]
    for process in processes:
        assert process.communicate(timeout=LIMIT_S)[1] == b"compiled here\n"
    assert len(place.starts()) == 1
    assert {record["reason"] for record in place.records()} == {"agent-missing"} and len(place.records()) == 32


def test_no_python_part_to_start(place: Place, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(place.launcher, moved / "manycc")
    said(place.run(command=[moved / "manycc", "gcc"]))
    assert place.record() == ("agent-missing", "manycc-cli is not beside manycc")


def test_a_lock_that_is_never_given_back(place: Place) -> None:
    os.makedirs(place.runtime, 0o700)
    with open(os.path.join(place.runtime, "agent.lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert said(place.run("gcc", env={"MANYCC_AGENT_TIMEOUT": "0.2"})) == [b"gcc"]
        assert place.record() == ("agent-missing", "another launcher's start of it takes too long")
        Path(place.runtime, "agent.failed").touch()
        said(place.run("gcc"))  # has nothing to wait for
    assert place.records()[-1]["detail"] == "it was started in vain a moment ago"
    assert place.starts() == []


def test_an_agent_of_another_version_is_replaced_once(place: Place) -> None:
    with place.agent(saying(wire.OTHER_VERSION)):
        processes = [place.start("gcc", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(16)]
        assert {process.communicate(timeout=LIMIT_S) for process in processes} == {(b"by the agent\n", b"")}
    assert len(place.starts()) == 1 and place.records() == []


def test_another_version_that_says_so_before_it_reads(place: Place) -> None:
    with place.agent(saying(wire.OTHER_VERSION), read=False):
        assert place.run("gcc", *["x" * 100_000] * 15).stdout == b"by the agent\n"


def test_agents_that_are_all_of_another_version(place: Place) -> None:
    place.env["FAKE_CLI"] = "other"
    for _ in range(3):
        assert said(place.run("gcc")) == [b"gcc"]
    assert [record["reason"] for record in place.records()] == ["agent-missing"] * 3
    assert 1 <= len(place.starts()) <= 2


# -- which compiler -----------------------------------------------------------------------------------


NAMES = [
    "gcc", "g++", "cc", "c++", "clang", "clang++", "gcc-12", "clang++-14", "x86_64-linux-gnu-g++-13",
    "aarch64-linux-gnu-gcc",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_masquerade(place: Place, name: str) -> None:
    if name != "gcc":
        place.add_compiler(name)
    masquerade = place.masquerade(name)
    os.symlink(masquerade, place.folder / "again")
    path = f"{masquerade}:{masquerade}/:{place.folder}/again:{place.bin}"
    with place.agent(RESULT, local) as agent:
        assert place.run(command=[name, "-c", "a.c"], env={"PATH": path}, executable=masquerade / name).returncode == 0
        done = place.run(command=[name, "-c", "a.c"], env={"PATH": path}, executable=masquerade / name)
    request = agent.requests.get_nowait()
    assert request.compiler == str(place.bin / name)
    assert request.argv == [str(place.bin / name), "-c", "a.c"]
    assert request.env["PATH"] == path
    assert said(done) == [os.fsencode(place.bin / name), b"-c", b"a.c"]
    assert done.stdout.endswith(f"path={path}\0".encode())


def test_masquerade_by_path(place: Place) -> None:
    link = place.masquerade("gcc") / "gcc"
    with place.agent(local):
        for command in ([link, "x"], [place.launcher, link, "x"]):
            done = place.run(command=command, env={"PATH": f"{link.parent}:{place.bin}"})
            assert said(done) == [os.fsencode(place.compiler), b"x"]


def test_only_ourselves_on_the_path(place: Place) -> None:
    masquerade = place.masquerade("gcc")
    done = place.run(command=["gcc"], executable=masquerade / "gcc", env={"PATH": str(masquerade)})
    assert done.returncode == 127
    assert done.stderr.startswith(b"manycc: gcc: not found except as a link to manycc (")


def test_the_name_stays_as_the_caller_spelled_it(place: Place) -> None:
    place.add_compiler("cc")
    other = place.folder / "other"
    other.mkdir()
    os.symlink(place.compiler, other / "tool")
    cases: list[tuple[str, Path, str]] = [
        ("gcc", place.work, place.compiler),
        (place.compiler, place.work, place.compiler),
        ("../bin/gcc", place.work, f"{place.work}/../bin/gcc"),
        ("./tool", other, f"{other}/./tool"),
    ]
    with place.agent(local) as agent:
        for name, cwd, compiler in cases:
            assert said(place.run(name, cwd=cwd)) == [name.encode()]
            request = agent.requests.get_nowait()
            assert (request.compiler, request.argv) == (compiler, [name])


def test_path_as_a_shell_reads_it(place: Place) -> None:
    decoys = place.folder / "decoys"
    (decoys / "gcc").mkdir(parents=True)  # a folder, and a file that is not executable, are passed over
    (place.folder / "gcc").write_text("")
    start = f"/nonexistent:{decoys}:{place.folder}"
    with place.agent(local) as agent:
        for path, cwd, compiler in [
            (f"{start}:{place.bin}", place.work, place.compiler),
            (f"{start}:../bin", place.work, f"{place.work}/../bin/gcc"),
            (f"{start}:", place.bin, place.compiler),
            (f"{start}::/nonexistent", place.bin, place.compiler),
        ]:
            assert said(place.run("gcc", cwd=cwd, env={"PATH": path})) == [b"gcc"]
            assert agent.requests.get_nowait().compiler == compiler


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("nogcc", 127, b"nogcc: not found ("), ("", 127, b": not found ("), ("./nogcc", 127, b"No such file"),
     ("./plain", 126, b"Permission denied")],
)  # fmt: skip
def test_no_such_compiler(place: Place, name: str, code: int, message: bytes) -> None:
    (place.work / "plain").write_text("")
    with place.agent(LOCAL):
        done = place.run(name, "-c", "a.c")
    assert done.returncode == code and message in done.stderr and done.stderr.startswith(b"manycc: ")


def test_a_script_without_an_interpreter_line_runs_as_under_make(place: Place) -> None:
    script = place.bin / "wrapper"
    script.write_text('echo "wrapped $1"\n')
    script.chmod(0o755)
    assert place.run("wrapper", "x", env={"MANYCC_DISABLE": "1"}).stdout == b"wrapped x\n"


def test_with_musls_c_library(place: Place) -> None:
    """Which is taken where there is one; its execvp knows no scripts without an interpreter line."""
    need("musl-gcc")
    launcher = place.folder / "manycc"
    build(launcher, "musl-gcc", "-static")
    place.launcher = str(launcher)
    test_a_script_without_an_interpreter_line_runs_as_under_make(place)
    with place.agent(RESULT) as agent:
        done = place.run("gcc", "-c", "a.c")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"remote\n")
    assert agent.connections == 1


def test_recursion_ends(place: Place) -> None:
    folders = []
    for number in range(2):  # copies, which cannot tell each other from a compiler
        folder = place.folder / str(number)
        folder.mkdir()
        shutil.copy(place.launcher, folder / "gcc")
        folders.append(str(folder))
    with place.agent(LOCAL) as agent:
        done = place.run(command=["gcc"], executable=f"{folders[0]}/gcc", env={"PATH": ":".join(folders)})
    assert done.returncode == 1 and b"calls itself through manycc" in done.stderr
    assert agent.connections == 2  # each copy asks once


def mark(place: Place, name: str) -> str:
    """What the launcher leaves in MANYCC_GUARD of a compiler it runs, after its own process number."""
    status = os.stat(place.bin / name)
    return f":{status.st_dev:x}:{status.st_ino:x} "


@pytest.mark.parametrize(
    ("env", "reason"),
    [({"MANYCC_DISABLE": "1"}, "disabled"), ({"MANYCC_DISABLE": "yes"}, "disabled"), ({"MANYCC_GUARD": "7"}, "nested"),
     ({"MANYCC_DISABLE": "1", "MANYCC_GUARD": "7"}, "disabled")],
)  # fmt: skip
def test_the_agent_is_left_out(place: Place, env: dict[str, str], reason: str) -> None:
    around = ""
    if "MANYCC_GUARD" in env:
        around = "1:2:3 7" + mark(place, "gcc")
        env = {**env, "MANYCC_GUARD": around}
    with place.agent(RESULT) as agent:
        words, guard = guarded(place.run("gcc", "-c", "a.c", env=env))
    assert words == [b"gcc", b"-c", b"a.c"] and agent.connections == 0
    assert re.fullmatch(re.escape(around) + r"\d+" + mark(place, "gcc"), guard)
    assert [record["reason"] for record in place.records()] == [reason]


def test_what_runs_inside_another_job_is_a_job_too(place: Place) -> None:
    (place.bin / "make").write_text("")
    with place.agent(RESULT) as agent:
        assert place.run("gcc", env={"MANYCC_GUARD": "1" + mark(place, "make")}).stderr == b"remote\n"
    assert agent.connections == 1


@pytest.mark.parametrize("value", ["", "0"])
def test_the_agent_is_not_left_out(place: Place, value: str) -> None:
    with place.agent(RESULT):
        assert place.run("gcc", env={"MANYCC_DISABLE": value}).stderr == b"remote\n"


# -- records ------------------------------------------------------------------------------------------


def test_record(place: Place) -> None:
    with place.agent(saying(b"?")):
        place.run("gcc", "-c", "a.c", env={"MANYCC_RUN": "run-7"})
    (record,) = place.records()
    assert abs(record.pop("t") - os.stat(place.base / "state" / "jobs.jsonl").st_mtime) < 5
    assert record.pop("pid") > 0
    assert record == {
        "by": "launcher", "reason": "agent-lost", "detail": "it closed the connection", "run": "run-7",
        "cwd": str(place.work), "argv": ["gcc", "-c", "a.c"],
    }  # fmt: skip


def test_record_of_any_bytes(place: Place) -> None:
    source = random.Random(4)
    words = [
        b'say "a\\b"', b"\x01\x1f\x7f\t\n\r", "é漢😀\U0010ffff\ud7ff\ue000\uffff".encode(), b"\xff\xfe", b"\xc3",
        b"\xc3\x28", b"\xe6\xbc", b"\xe6\xbca", b"\xf0\x9f\x98", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf",
        b"\xed\xa0\x80", b"\xed\xb3\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xf9\x90\x80\x80",
        b"\x80\xbf", b"\xc3\xbc\x80\xc3\xbc",
    ]  # fmt: skip
    words += [bytes(source.choices(range(1, 256), k=8)) for _ in range(30)]
    words += [bytes(source.choices([0x41, 0x80, 0xBF, 0xC2, 0xE2, 0xED, 0xF0, 0xF4], k=6)) for _ in range(15)]
    work = os.fsencode(place.work) + b"/w\xff\xc3\xa9"
    os.mkdir(work)
    with place.agent(saying(b"?")):
        said(place.run(b"gcc", *words, cwd=work, env={"MANYCC_RUN": b"\xff"}))
    (record,) = place.records()
    assert record["argv"] == ["gcc", *map(os.fsdecode, words)][:64]
    assert (record["cwd"], record["run"]) == (os.fsdecode(work), "\udcff")


@pytest.mark.parametrize("word", ["x" * 300, "é" * 100, "😀" * 50, '"' * 100, "x" * 70_000, "x"])
def test_record_of_a_long_command_is_cut(place: Place, word: str) -> None:
    words = [word] * 200
    if len(word) > 1000:
        words = words[:10]
    with place.agent(saying(b"?")):
        place.run("gcc", *words, env={"MANYCC_RUN": "r" * 10_000})
    (record,) = place.records()
    *whole, last = record["argv"]
    assert whole == ["gcc", *words][: len(whole)] and word.startswith(last) and len(record["argv"]) <= 64
    assert record["run"].startswith("rrr") and record["cwd"] == str(place.work)


def test_records_of_many_stay_whole(place: Place) -> None:
    with place.agent(saying(b"?")):
        processes = [place.start("gcc", str(number), "y" * 3000, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                     for number in range(40)]  # fmt: skip
        assert {process.wait(LIMIT_S) for process in processes} == {HERE_CODE}
    assert sorted(int(record["argv"][1]) for record in place.records()) == list(range(40))


def test_records_that_cannot_be_written_are_no_fault(place: Place) -> None:
    with place.agent(saying(b"?")):
        (place.base / "state").write_text("in the way")
        said(place.run("gcc"))


# -- cost ---------------------------------------------------------------------------------------------


def system_calls(place: Place, trace: Path, argv: Sequence[str]) -> list[str]:
    place.run(command=[shutil.which("strace"), "-o", trace, place.launcher, *argv], env={"LC_ALL": "C"})
    lines = trace.read_text().splitlines()
    start = max(index for index, line in enumerate(lines) if "/proc/self/exe" in line)
    return [line.partition("(")[0] for line in lines[start:]]


@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: strace is not installed")
def test_no_needless_system_calls(place: Place, tmp_path: Path) -> None:
    with place.agent(RESULT):
        calls = system_calls(place, tmp_path / "trace", ["gcc", "-c", "a.c"])
    assert len(calls) <= 32, calls
    assert not {"fork", "clone", "clone3", "poll", "nanosleep", "flock"} & set(calls)
