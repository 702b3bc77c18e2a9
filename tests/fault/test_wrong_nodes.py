"""Nodes that are wrong: broken, out of date, or bad on purpose.

``LIES`` is the table: what a node does, the reason that the record then gives, and the setting that bounds
the time lost, if any is lost. In every case the build gets the right object and the compiler's own words, nothing
else is written, and nothing is kept from the next job. ``UNSEEN`` is what nobody can tell without
compiling again: ``verify`` is there to find it.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from liar import (
    END,
    PONG,
    Answers,
    Liar,
    Says,
    after,
    choking,
    content,
    deaf_after,
    failed,
    field,
    file,
    files,
    for_ever,
    insatiable,
    instead_of,
    more,
    never,
    result,
    silent_after,
    swapped,
    to_the_job,
    took,
)  # fmt: skip
from net import CONNECT_S, JOB_S, SILENCE_S, Net

from manycc.backends.node import GREETING_S, HEARTBEATS
from manycc.reasons import Reason
from manycc.wire import native

WELCOME = {"version": native.VERSION, "release": "0", "name": "n", "slots": 2, "sandbox": "folder", "machine": "m"}
SECRET = b"what no job has named"
NO = [native.PROVEN, 1, "no", "", {}]
LIMITS = {
    "": 0.0,
    "MANYCC_JOB_TIMEOUT": JOB_S,
    "MANYCC_SILENCE": SILENCE_S * (1 + 1 / HEARTBEATS),
    "MANYCC_CONNECT_TIMEOUT": CONNECT_S + GREETING_S,
}


@dataclass(frozen=True)
class Lie:
    """``limit``: a key of ``LIMITS``. ``detail``: words of the record's sentence. ``large``: about large files."""

    name: str
    reason: str
    says: Says | None = None
    answers: Answers | None = None
    limit: str = ""
    detail: str = ""
    large: bool = False

    def __str__(self) -> str:
        return self.name


def flipped(data: bytes) -> bytes:
    """One bit of the code is another."""
    place = data.index(b"\x48\x89\xe5") + 3  # behind "mov %rsp, %rbp"
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def header(place: int, layout: str, value: int) -> Callable[[bytes], bytes]:
    """Another value in the ELF header."""

    def alter(data: bytes) -> bytes:
        altered = bytearray(data)
        struct.pack_into(layout, altered, place, value)
        return bytes(altered)

    return alter


def narrow(data: bytes) -> bytes:
    """A sound object, for 32 bits."""
    path = f"/dev/shm/narrow{os.getpid()}.o"
    try:
        subprocess.run(["gcc", "-m32", "-c", "-x", "c", os.devnull, "-o", path], check=True)
        return Path(path).read_bytes()
    finally:
        os.unlink(path)


def welcome(**said: object) -> Says:
    """Another greeting."""
    return instead_of(native.WELCOME, [native.WELCOME, {**WELCOME, **said}])


def refused(code: object) -> Answers:
    """The job is refused."""
    return to_the_job([native.REFUSED, None, code, "because"])


def beside(name: str) -> Callable[[str], str]:
    """Another file in the object's folder."""
    return lambda path: f"{os.path.dirname(path)}/{name}"


# fmt: off
LIES = (
    # Objects that no sound node sends.
    Lie("another byte than the digest's", "protocol", content(flipped, honest=False), detail="digest"),
    Lie("another digest", "protocol", file(3, bytes(32)), detail="digest"),
    Lie("pieces in another order", "protocol", swapped(native.OUTPUT), large=True, detail="digest"),
    Lie("another machine", "wrong-object", content(header(18, "<H", 183))),
    Lie("another class", "wrong-object", content(header(4, "<B", 1))),
    Lie("another byte order", "wrong-object", content(header(5, "<B", 2))),
    Lie("another kind of file", "wrong-object", content(header(16, "<H", 2))),
    Lie("other flags", "wrong-object", content(header(48, "<I", 1))),
    Lie("an object for 32 bits", "wrong-object", content(narrow)),
    Lie("no ELF file", "wrong-object", content(lambda _: b"an object, honestly\n" * 10)),
    Lie("an empty object", "wrong-object", content(lambda _: b"")),
    Lie("an object cut short", "wrong-object", content(lambda data: data[:-64]), detail="cut short"),
    Lie("an object cut in its header", "wrong-object", content(lambda data: data[:40])),
    # Files that the command does not write.
    Lie("no file", "unexpected-output", files(lambda listed: listed.clear()), detail="missing"),
    Lie("a depfile instead", "unexpected-output", files(lambda listed: listed[0].__setitem__(0, listed[0][0] + ".d"))),
    Lie("a depfile too", "unexpected-output", more(beside("a.d"))),
    Lie("the source anew", "unexpected-output", more(beside("net.c"))),
    Lie("a file elsewhere", "unexpected-output", more(lambda _: "/etc/cron.d/manycc")),
    Lie("a file above", "unexpected-output", more(beside("../a.o"))),
    Lie("a path that is not plain", "unexpected-output", more(beside("./a.o"))),
    Lie("a relative path", "unexpected-output", file(0, "a.o")),
    Lie("a path with a NUL", "unexpected-output", more(beside("a.o\0"))),
    Lie("the same file twice", "unexpected-output", files(lambda listed: listed.append(listed[0])), detail="twice"),
    Lie("an executable object", "unexpected-output", file(1, 0o755), detail="mode 755"),
    Lie("a set-user-ID object", "unexpected-output", file(1, 0o4755), detail="mode 4755"),
    Lie("a link's mode", "unexpected-output", file(1, 0o120777), detail="mode"),
    Lie("a mode that is no number", "protocol", file(1, "rw-r--r--")),
    Lie("more files than allowed", "protocol", files(lambda listed: listed.extend(listed * native.MAX_OUTPUTS))),
    Lie("a file larger than it said", "protocol", file(2, 10)),
    Lie("a file smaller than it said", "protocol", file(2, 10**6)),
    Lie("a file of less than nothing", "protocol", file(2, -1)),
    Lie("a compressed bomb", "protocol", file(4, native.compress(bytes(2**26)))),
    Lie("pieces that never came", "protocol", file(4, None)),
    # Ends that no compiler comes to.
    Lie("a failure with an object", "unexpected-output", failed(1, b"net.c:1: error: no\n", files=True)),
    Lie("a failure without a word", "remote-error", failed(1)),
    Lie("a file that is missing", "remote-error", failed(1, b"fatal error: x.h: No such file or directory\n")),
    *(Lie(f"exit code {code}", "compiler-killed", failed(code, b"dead\n")) for code in (126, 127, 137, 139, 255)),
    *(Lie(f"exit code {code!r}", "protocol", failed(code, b"?")) for code in (-11, 256, 2**40, True, "0", None, 0.0)),
    # Results out of form.
    Lie("more words than allowed", "protocol", field(4, native.compress(bytes(native.MAX_TEXT + 1)))),
    Lie("words that are not compressed", "protocol", field(4, b"warning: none\n")),
    Lie("no list of files", "protocol", field(5, None)),
    Lie("nothing of what it took", "protocol", field(6, None)),
    Lie("an endless time", "protocol", took(cpu=float("inf"))),
    Lie("a time that is no number", "protocol", took(wall=float("nan"))),
    Lie("less than no memory", "protocol", took(rss=-1)),
    Lie("half a result", "protocol", result(lambda message: message[:4])),
    # Answers to other questions.
    Lie("the number of no job", "protocol", field(1, 4711), detail="never asked"),
    Lie("a number that is none", "protocol", field(1, [1])),
    Lie("an answer before the question", "hosts-down", after(native.WELCOME, [native.RESULT, 1, 0, b"", b"", [], {}])),
    Lie("two answers", "remote", lambda message, _: [message] * (1 + (message[0] == native.RESULT))),
    Lie("first yes, then no", "remote", after(native.RESULT, [native.REFUSED, 1, "node-fault", ""])),
    Lie("an unknown message", "protocol", answers=to_the_job([99, None])),
    Lie("a message to nodes", "protocol", answers=to_the_job([native.CANCEL, None])),
    Lie("no answer", "node-timeout", answers=never(native.JOB), limit="MANYCC_JOB_TIMEOUT"),
    # Refusals.
    *(Lie(f"refused, {reason.code}", reason.code, answers=refused(reason.code))
      for reason in (Reason.NODE_BUSY, Reason.NODE_DISK, Reason.NODE_MEMORY, Reason.NO_TOOLCHAIN)),
    *(Lie(f"refused for {code!r}", "node-refused", answers=refused(code))
      for code in ("remote", "cancelled", "", "no such reason", 7)),
    Lie("busy for ever", "remote", after(native.STATE, [native.STATE, {"busy": 10**6, "queued": 10**6}])),
    Lie("closing for ever", "remote", after(native.STATE, [native.STATE, {"closing": True}])),
    Lie("a state that is none", "hosts-down", instead_of(native.STATE, [native.STATE, {"busy": "very"}])),
    # What it has no right to ask for.
    Lie("contents that no job named", "protocol",
        answers=to_the_job([native.MISSING, None, [hashlib.sha256(SECRET).digest()]]), detail="no job named"),
    Lie("the same contents for ever", "protocol", answers=insatiable, detail="too often"),
    Lie("contents for no job", "protocol", answers=to_the_job([native.MISSING, 4711, []]), detail="never asked"),
    Lie("contents by no digest", "node-lost", answers=to_the_job([native.MISSING, None, [[]]])),
    # Conversations that do not go on.
    Lie("does not read", "node-timeout", answers=choking, limit="MANYCC_JOB_TIMEOUT", large=True),
    Lie("falls silent", "node-lost", silent_after(native.MISSING), deaf_after(native.JOB), limit="MANYCC_SILENCE"),
    Lie("a flood of pongs", "node-timeout", answers=for_ever(PONG), limit="MANYCC_JOB_TIMEOUT"),
    Lie("a flood of verdicts", "node-timeout", answers=for_ever(NO), limit="MANYCC_JOB_TIMEOUT"),
    Lie("a flood of questions", "protocol", answers=for_ever([native.MISSING, None, [bytes(32)]])),
    Lie("no verdict", "no-toolchain", answers=never(native.TOOLCHAIN), limit="MANYCC_JOB_TIMEOUT", detail="in time"),
    Lie("hangs up on the job", "node-lost", answers=to_the_job(END)),
    Lie("a goodbye to the job", "node-busy",
        answers=to_the_job([native.BYE, "so long", "node-busy"]), detail="so long"),
    *(Lie(f"a goodbye for {code}", "node-lost", answers=to_the_job([native.BYE, "so long", *code]), detail="so long")
      for code in ([], ["remote"], [Reason.NODE_MEMORY.code], [["protocol"]])),
    # Greetings.
    Lie("a later version", "hosts-down", welcome(version=99), detail="version 99"),
    Lie("a version that is none", "hosts-down", welcome(version=[])),
    Lie("less than no slots", "hosts-down", welcome(slots=-1)),
    Lie("an empty welcome", "hosts-down", instead_of(native.WELCOME, [native.WELCOME, {}])),
    Lie("a goodbye for a welcome", "hosts-down", instead_of(native.WELCOME, [native.BYE, "full"]), detail="full"),
    Lie("a TLS hello", "hosts-down", instead_of(native.WELCOME, b"\x16\x03\x01" + bytes(64)), detail="protocol"),
    Lie("an HTTP answer", "hosts-down", instead_of(native.WELCOME, b"HTTP/1.1 400 Bad\r\n\r\n"), detail="protocol"),
    Lie("an SSH banner", "hosts-down", instead_of(native.WELCOME, b"SSH-2.0-OpenSSH_9.2\r\n"), detail="protocol"),
    Lie("noise", "hosts-down", instead_of(native.WELCOME, bytes(range(256))), detail="protocol"),
    Lie("no welcome", "hosts-down", answers=never(native.HELLO), limit="MANYCC_CONNECT_TIMEOUT", detail="in time"),
)
UNSEEN = (
    Lie("another byte, and its digest", "remote", content(flipped)),
    Lie("another warning", "remote", field(4, native.compress(b"net.c:1: \x1b[31mwarning:\x1b[m be warned\n"))),
    Lie("an error that is none", "remote", failed(1, b"net.c:1: error: not today\n")),
)
# fmt: on


@contextmanager
def lying(net: Net, lie: Lie) -> Iterator[Liar]:
    proxy = Liar(net.port, lie.says, lie.answers)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_lie(net: Net, lie: Lie) -> None:
    """Bound: a local compile, and the setting ``lie.limit``."""
    with lying(net, lie) as node:
        record = net.compile(net.hasty if lie.limit else net.patient, node, LIMITS[lie.limit], large=lie.large)
        said = record.get("detail", "") + json.dumps(record.get("tried", ""))
        assert record["reason"] == lie.reason and lie.detail in said, record
        named = {item[3] for message in node.heard if message[0] == native.ANNOUNCE for item in message[1]}
        assert node.contents() <= named
    net.nothing_left()
    assert not Path("/etc/cron.d/manycc").exists()


@pytest.mark.parametrize("lie", UNSEEN, ids=str)
def test_a_lie_that_only_a_second_compile_shows(net: Net, lie: Lie) -> None:
    """It is taken for true; but ``verify`` finds it, and nothing more is asked of that node."""
    with lying(net, lie) as node:
        net.renew()
        net.patient.env["MANYCC_VERIFY"] = "1/1"
        try:
            done, record = net.attempt(net.patient, node)
            assert record["reason"] == "remote"
            taken = net.object.read_bytes() if net.object.exists() else b""
            assert (done.returncode, done.stderr, taken) != (0, net.said, net.wanted)
            net.object.unlink(missing_ok=True)
            found = json.loads(net.patient.cli("verify", "--waiting", "--json", check=False).stdout)
        finally:
            del net.patient.env["MANYCC_VERIFY"]
        assert node.host in json.dumps(found["quarantine"])
        assert net.compile(net.patient, node)["reason"] == "quarantined"
    net.nothing_left()


def test_a_node_that_hangs_up_after_each_job(net: Net) -> None:
    """Bound: a local compile for each job that comes before it is connected again."""
    with lying(net, Lie("", "", after(native.RESULT, END))) as node:
        reasons = [net.compile(net.patient, node)["reason"] for _ in range(3)]
        assert reasons[0] == "remote" and set(reasons) <= {"remote", "hosts-down"}
    net.nothing_left()


def test_a_port_that_accepts_and_says_nothing(net: Net) -> None:
    """Bound: MANYCC_CONNECT_TIMEOUT, and two seconds for a greeting."""
    with socket.create_server(("127.78.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def accept() -> None:
            taken.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        net.renew()
        hosts = {"MANYCC_HOSTS": "{}:{}".format(*listener.getsockname())}
        done = net.hasty.compile(net.argv, str(net.folder), hosts, timeout=LIMITS["MANYCC_CONNECT_TIMEOUT"] + 10)
        thread.join()
        taken[0].close()
    assert (done.returncode, done.stderr) == (0, net.said)
    assert net.object.read_bytes() == net.wanted
    net.object.unlink()
