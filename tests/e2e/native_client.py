"""A node's peer for tests: speaks the native protocol as an agent does, and as no agent would."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manycc.job import FILE, FOLDER, LINK, Toolchain
from manycc.toolchain.identity import Identifier
from manycc.toolchain.paths import walk
from manycc.wire import native

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "src"))
NODE = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {SOURCE!r}); from manycc.cli.node import main; sys.exit(main(sys.argv[1:]))",
)
WAIT_S = 30.0


def digest_of(path: str) -> bytes:
    """As for Identifier."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def toolchain_of(driver: str) -> Toolchain:
    """This machine's own compiler of that name."""
    path = shutil.which(driver)
    assert path is not None
    return asyncio.run(Identifier(digest_of).identify(path, {"PATH": os.environ["PATH"]}))


class NodeProcess:
    """A real node, listening on a free port of the loopback."""

    def __init__(
        self, folder: str, *arguments: str, store: str = "", config: str = "", toolchains: str = "installed-only"
    ) -> None:
        os.makedirs(folder, exist_ok=True)
        self.store = store or os.path.join(folder, "store")
        self.log_path = os.path.join(folder, "node.log")
        settings = ["--config", config] if config else ["--no-config"]
        read, write = os.pipe()
        self.process = subprocess.Popen(
            [
                *NODE, *settings, "--port", "0", "--store", self.store, "--log-file", self.log_path,
                "--ready-fd", str(write), "--toolchains", toolchains, *arguments,
            ],
            pass_fds=(write,),
            cwd="/",
            env={name: value for name, value in os.environ.items() if not name.startswith("MANYCC_")},
        )  # fmt: skip
        os.close(write)
        with open(read, encoding="ascii") as pipe:
            line = pipe.readline().strip()
        if not line:
            self.process.wait(WAIT_S)
            raise RuntimeError(f"the node did not start: {self.log()}")
        self.port = int(line)

    def log(self) -> str:
        """What the node logged so far."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_S)


@dataclass
class Spec:
    """A job, each field of which a test may bend. ``files``: content by path; ``links``: target by path."""

    argv: Sequence[str]
    cwd: str
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: Sequence[str] = ()
    inputs: Sequence[str] = ()
    env: Mapping[str, str] | Iterable[tuple[str, str]] = field(default_factory=dict)
    umask: int = 0o022
    writable: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    stems: Sequence[str] = ()
    flags: int = 0
    expected_rss: int = 0


class Answer:
    """A RESULT or REFUSED, with the outputs put together."""

    def __init__(self, message: list[Any], pieces: Mapping[int, bytes]) -> None:
        self.message = message
        self.refused = message[0] == native.REFUSED
        self.code = message[2] if self.refused else ""
        self.sentence = message[3] if self.refused else ""
        self.exit_code = -1 if self.refused else message[2]
        self.stdout = b"" if self.refused or not message[3] else native.decompress(message[3], native.MAX_TEXT)
        self.stderr = b"" if self.refused or not message[4] else native.decompress(message[4], native.MAX_TEXT)
        self.info: dict[str, Any] = {} if self.refused else message[6]
        self.outputs: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        if not self.refused:
            for index, (path, mode, size, digest, zdata) in enumerate(message[5]):
                data = pieces.get(index, b"") if zdata is None else native.decompress(zdata, size)
                assert len(data) == size
                assert hashlib.sha256(data).digest() == digest
                self.outputs[path] = data
                self.modes[path] = mode

    def __repr__(self) -> str:
        return f"Answer({self.message!r})"


class NativeClient:
    """One connection. Blocking, with time-outs."""

    def __init__(self, port: int, *, greet: bool = True, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=(source, 0))
        self._framer = native.Framer()
        self._inbox: list[list[Any]] = []
        self._next = 1
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._toolchains: dict[tuple[str, str], int] = {}
        self.contents: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []
        self.welcome: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = []
        if greet:
            self.raw(native.PREAMBLE)
            self.send([native.HELLO, {"version": native.VERSION, "release": "test", "name": "test"}])
            self.welcome = self.expect(native.WELCOME)[1]

    def __enter__(self) -> NativeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, message: list[Any]) -> None:
        """Send one message."""
        self.raw(native.pack(message))

    def receive(self, timeout: float = WAIT_S) -> list[Any] | None:
        """The next message; None if the node hung up. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while not self._inbox:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._inbox += self._framer.feed(data)
        return self._inbox.pop(0)

    def expect(self, *kinds: int, timeout: float = WAIT_S) -> list[Any]:
        """The next message of one of these kinds; states are put aside."""
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(deadline - time.monotonic())
            assert message is not None, "the node hung up"
            if message[0] == native.STATE:
                self.states.append(message[1])
                if native.STATE in kinds:
                    return message
            elif message[0] in kinds:
                return message

    def hung_up(self, timeout: float = WAIT_S) -> bool:
        """Read on until the node hangs up."""
        try:
            while self.receive(timeout) is not None:
                pass
        except TimeoutError:
            return False
        return True

    def number(self) -> int:
        """A fresh number."""
        self._next += 1
        return self._next

    def prove(self, toolchain: Toolchain, **changes: Any) -> str:
        """Ask for a toolchain; the sentence."""
        number = self.number()
        said = {
            "fingerprint": toolchain.fingerprint,
            "driver": toolchain.driver,
            "label": toolchain.label,
            "links": [list(link) for link in toolchain.links],
            "components": dict(toolchain.components),
            "about": {"kind": toolchain.kind, "host": toolchain.host, "facts": dict(toolchain.facts), "bytes": 0},
            **changes,
        }
        self.send(
            [
                native.TOOLCHAIN,
                number,
                *(said[name] for name in ("fingerprint", "driver", "label", "links", "components", "about")),
            ]
        )
        message = self.expect(native.PROVEN)
        assert message[1] == number
        self._toolchains[(toolchain.fingerprint, toolchain.driver)] = number
        return str(message[2])

    def toolchain_number(self, toolchain: Toolchain) -> int:
        """The number under which it was proven; proves it if it was not."""
        key = (toolchain.fingerprint, toolchain.driver)
        if key not in self._toolchains:
            assert self.prove(toolchain) == ""
        return self._toolchains[key]

    def announce(self, items: Iterable[tuple[int, str, Any, int]]) -> list[int]:
        """Announce (kind, path, digest or target, size); the numbers."""
        fresh: list[list[Any]] = []
        numbers: list[int] = []
        for item in items:
            if item not in self._numbers:
                self._numbers[item] = self.number()
                fresh.append([self._numbers[item], *item])
            numbers.append(self._numbers[item])
        if fresh:
            self.send([native.ANNOUNCE, fresh])
        return numbers

    def items(self, spec: Spec) -> list[tuple[int, str, Any, int]]:
        """What a spec's job reads, as for ``announce``; the contents are noted for the upload."""
        files = dict(spec.files)
        links = dict(spec.links)
        for path in spec.inputs:
            real, crossed = walk(path)
            links.update(crossed)
            with open(real, "rb") as file:
                files[real] = file.read()
        items: list[tuple[int, str, Any, int]] = []
        for path, data in files.items():
            digest = hashlib.sha256(data).digest()
            self.contents[digest] = data
            items.append((FILE, path, digest, len(data)))
        items += [(LINK, path, target, 0) for path, target in links.items()]
        items += [(FOLDER, path, "", 0) for path in spec.folders]
        return items

    def start(self, toolchain: Toolchain, spec: Spec) -> int:
        """Send a job; its number."""
        tc = self.toolchain_number(toolchain)
        numbers = self.announce(self.items(spec))
        job = self.number()
        argv = list(spec.argv)
        outputs = spec.outputs
        if outputs is None:
            outputs = [os.path.normpath(os.path.join(spec.cwd, argv[argv.index("-o") + 1]))] if "-o" in argv else []
        env = spec.env.items() if isinstance(spec.env, Mapping) else spec.env
        writable = [spec.cwd] if spec.writable is None else list(spec.writable)
        self.send(
            [
                native.JOB, job, tc, argv, spec.cwd, [list(pair) for pair in env], spec.umask,
                array("I", numbers).tobytes(), writable, list(outputs), list(spec.stems), spec.flags,
                spec.expected_rss, None,
            ]
        )  # fmt: skip
        return job

    def upload(self, digest: bytes) -> None:
        """Send a content."""
        data = self.contents[digest]
        for offset in range(0, len(data), native.MAX_PIECE) if data else (0,):
            piece = native.compress(data[offset : offset + native.MAX_PIECE])
            self.send([native.BLOB, digest, len(data), offset, piece])

    def answer(self, job: int, timeout: float = WAIT_S) -> Answer:
        """Serve what the node asks for, until the job is answered."""
        pieces: dict[int, bytes] = {}
        while True:
            message = self.expect(native.MISSING, native.OUTPUT, native.RESULT, native.REFUSED, timeout=timeout)
            if message[0] == native.MISSING:
                self.asked += message[2]
                for digest in message[2]:
                    self.upload(digest)
            elif message[1] != job:
                continue
            elif message[0] == native.OUTPUT:
                pieces[message[2]] = pieces.get(message[2], b"") + native.decompress(message[3], native.MAX_PIECE)
            else:
                return Answer(message, pieces)

    def receive_answer_or_end(self, job: int) -> Answer | None:
        """The answer, or None if the node hung up instead."""
        try:
            return self.answer(job)
        except (AssertionError, BrokenPipeError, ConnectionResetError):
            return None

    def run(self, toolchain: Toolchain, spec: Spec, timeout: float = WAIT_S) -> Answer:
        """Do a whole job."""
        return self.answer(self.start(toolchain, spec), timeout)


def includes_of(driver: str, arguments: Sequence[str], cwd: str) -> list[str]:
    """What the compiler reads for a command, by its own account."""
    done = subprocess.run([driver, "-M", *arguments], cwd=cwd, capture_output=True, text=True, check=True)
    words = done.stdout.replace("\\\n", " ").split()
    return [os.path.join(cwd, word) for word in words if not word.endswith(":")]


def include_folders(driver: str, language: str) -> list[str]:
    """The compiler's own include folders, as it spells them."""
    done = subprocess.run([driver, "-v", "-E", "-x", language, "/dev/null"], capture_output=True, text=True, check=True)
    listed = done.stderr.partition("search starts here:")[2].partition("End of search list")[0]
    return [os.path.realpath(line.strip()) for line in listed.splitlines() if line.startswith(" /")]


def processes_with(marker: str) -> list[int]:
    """The processes that have a marker on their command line, but for this one."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if marker.encode() in file.read():
                        found.append(int(name))
            except OSError:
                continue
    return found
