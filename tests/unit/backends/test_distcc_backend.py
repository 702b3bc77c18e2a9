"""The backend for stock distccd hosts, against a server that the test plays, with the compiler of this machine."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from manycc.backends import discover as discover_module
from manycc.backends import distcc as distcc_module
from manycc.backends.base import State, Verdict
from manycc.backends.discover import NODE, STOCK, DiscoveredBackend, Kinds
from manycc.backends.distcc import StockBackend
from manycc.backends.exchange import TcpRoute
from manycc.backends.localcpp import LocalRuns
from manycc.backends.node import NodeBackend
from manycc.errors import BackendError, BackendGone, BackendRefused, NotDistributable
from manycc.job import Inputs, Job, Outcome, Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Pool
from manycc.testing.requirements import need
from manycc.toolchain import canaries as canaries_module
from manycc.toolchain.canaries import Canaries, Canary
from manycc.wire import distcc, native

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12.2.0", "x86_64-linux-gnu", "gcc 12", (), (), {})
CANARY = Canary("c", "canary.c", "int g(int a) { return a * 3; }\nint f(int a) { return g(a) + g(a + 1); }\n")

Answer = bytes | None
Play = Callable[[distcc.Request], Answer]


@pytest.fixture(autouse=True)
def _one_small_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries_module, "CANARIES", (CANARY,))


def compiled(request: distcc.Request, *extra: str) -> bytes:
    """What a good server answers."""
    argv = list(request.argv)
    suffix = ".ii" if argv[-3].endswith(".cc") else ".i"
    kind = "c++-cpp-output" if suffix == ".ii" else "cpp-output"
    command = ["gcc", *argv[1:-3], *extra, "-x", kind, "-", "-o", f"/dev/fd/{(out := os.memfd_create('o'))}"]
    source = distcc.expand(request.version, request.body, 1 << 28)
    done = subprocess.run(command, input=source, capture_output=True, pass_fds=(out,), check=False)
    data = os.pread(out, 1 << 24, 0)
    os.close(out)
    return distcc.pack_reply(request.version, done.returncode << 8, done.stderr, done.stdout, data)


class PlayedServer:
    """Answers each request as ``play`` says: bytes, or None for a hang-up."""

    def __init__(self) -> None:
        self.play: Play = compiled
        self.requests: list[distcc.Request] = []
        self.hangs = False
        self.greets = False
        self.closed_early = asyncio.Event()
        self.begun = asyncio.Event()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; again on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = distcc.RequestReader()
        try:
            while received.done is None:
                data = await reader.read(1 << 16)
                if not data:
                    return
                if data.startswith(native.PREAMBLE[:4]):
                    if self.greets:
                        writer.write(native.pack([native.WELCOME, {"version": native.VERSION, "slots": 2}]))
                        await reader.read()
                    return
                received.feed(data)
            request = received.done
            if not request.argv[-3].startswith(("canary", "floats", "probe")):
                self.requests.append(request)
                self.begun.set()
                if self.hangs:
                    assert await reader.read() == b""  # a client that went away; it must not half-close before
                    self.closed_early.set()
                    return
            answer = await asyncio.to_thread(self.play, request)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            self.closed_early.set()
        finally:
            writer.close()


class Bench:
    """A backend, the server it speaks with, and a folder to work in."""

    def __init__(self, folder: Path, server: PlayedServer, lzo: bool = False, job_s: float = 60.0) -> None:
        self.folder = folder
        self.server = server
        self.runs = LocalRuns(60.0)
        self.canaries = Canaries(str(folder / "canaries"), self._compile)
        self.backend = StockBackend(
            "there",
            lambda: TcpRoute("127.0.0.1", server.port, 5.0, 2.0),
            2,
            lzo,
            self.runs,
            self.canaries,
            job_s,
            5.0,
        )

    async def _compile(self, toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        ran = await self.runs.run(toolchain, arguments, folder, {}, output_option="-o")
        return b"" if ran.code else ran.output

    async def ready(self) -> None:
        """Connect."""
        await connected(self.backend)

    def job(self, *arguments: str, text: str = "int f(int a) { return a + 1; }\n", source: str = "a.c") -> Job:
        """A compile of one source."""
        (self.folder / source).write_text(text)
        argv = ("gcc", *arguments, "-c", source, "-o", "a.o")
        folder = str(self.folder)
        return Job(
            argv=argv, cwd=folder, env=(), umask=0o022, toolchain=GCC, inputs=Inputs((), "scan", True, False),
            folders=(folder,), outputs=(f"{folder}/a.o", f"{folder}/a.d"), stems=(), source=f"{folder}/{source}",
        )  # fmt: skip

    def here(self, *arguments: str) -> bytes:
        """The object that the compiler here makes of the job's source."""
        subprocess.run(["gcc", *arguments, "-c", "a.c", "-o", "here.o"], cwd=self.folder, check=True)
        return (self.folder / "here.o").read_bytes()


async def connected(backend: Any) -> None:
    """Wait until a backend is ready or down."""
    changed = asyncio.Event()
    end = backend.on_change(changed.set)
    backend.connect()
    async with asyncio.timeout(30):
        while backend.state in (State.IDLE, State.CONNECTING):
            changed.clear()
            await changed.wait()
    end()


def with_bench(
    folder: Path, work: Callable[[Bench], Awaitable[None]], *, lzo: bool = False, job_s: float = 60.0
) -> None:
    """Run a test's coroutine with a server that listens."""
    need("gcc")

    async def run() -> None:
        server = PlayedServer()
        await server.start()
        bench = Bench(folder, server, lzo, job_s)
        try:
            await work(bench)
        finally:
            await bench.backend.close()
            await bench.canaries.close()
            await bench.runs.close()
            await server.stop()

    asyncio.run(run())


@pytest.mark.parametrize("lzo", [False, True])
def test_a_job_comes_back_as_it_is_made_here(tmp_path: Path, lzo: bool) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        assert bench.backend.state is State.READY
        outcome = await bench.backend.run(bench.job("-O2", "-MMD", "-DX=1", "-Idir", "-Wall"))
        assert outcome.reason is Reason.STOCK
        assert [output.path for output in outcome.outputs] == [f"{tmp_path}/a.o", f"{tmp_path}/a.d"]
        assert outcome.outputs[0].data == bench.here("-O2")
        assert outcome.outputs[0].mode == 0o644
        assert outcome.outputs[1].data == b"a.o: a.c\n"
        assert outcome.sent > 100 and outcome.received > 100
        request = bench.server.requests[0]
        assert request.version == (2 if lzo else 1)
        sent = ["-O2", "-Wall", "-c", "a.c", "-o", "output.o"]
        assert list(request.argv) == ["x86_64-linux-gnu-gcc-12", *([] if lzo else ["-fdirectives-only"]), *sent]

    with_bench(tmp_path, work, lzo=lzo)


def test_a_large_source_is_compressed_elsewhere(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        text = "int v[] = {" + "1," * 200_000 + "};\n"
        for _ in range(2):
            outcome = await bench.backend.run(bench.job(text=text))
            assert outcome.outputs[0].data == bench.here()
        assert outcome.sent < len(text) / 10

    with_bench(tmp_path, work, lzo=True)


def reply(status: int, stderr: bytes = b"", output: bytes = b"") -> bytes:
    """A reply whose parts need not fit each other."""
    parts = [b"DONE00000001STAT%08x" % status]
    for token, body in ((b"SERR", stderr), (b"SOUT", b""), (b"DOTO", output)):
        parts.append(token + b"%08x" % len(body) + body)
    return b"".join(parts)


WRONG: dict[str, tuple[Answer, Reason, str, bool]] = {
    "no such token": (b"HTTP/1.0 200 OK\r\n\r\n", Reason.PROTOCOL, "no packet", False),
    "another version": (b"DONE00000003", Reason.PROTOCOL, "version 3", False),
    "tokens in disorder": (b"DONE00000001SERR00000000", Reason.PROTOCOL, "STAT is due", False),
    "cut off in a header": (b"DONE0000", Reason.PROTOCOL, "middle", False),
    "cut off in a body": (b"DONE00000001STAT00000000SERR00000009abc", Reason.PROTOCOL, "middle", False),
    "an endless body": (b"DONE00000001STAT00000000SERRffffffff", Reason.PROTOCOL, "bytes", False),
    "killed by a signal": (reply(9), Reason.COMPILER_KILLED, "signal 9", True),
    "no compiler": (reply(110 << 8, b"failed to exec"), Reason.NO_TOOLCHAIN, "not installed", True),
    "its own fault": (reply(107 << 8), Reason.NODE_FAULT, "107", True),
    "a compile error": (reply(1 << 8, b"a.c:1: error"), Reason.REMOTE_ERROR, "exit code 1", True),
    "an error with an object": (reply(1 << 8, b"", b"\x7fELF"), Reason.REMOTE_ERROR, "exit code 1", True),
    "a hang-up": (None, Reason.NODE_REFUSED, "hangs up", True),
}
"""What it answers to a job; the reason, a word of the sentence, and whether the host stays in use."""


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers(tmp_path: Path, name: str) -> None:
    answer, reason, word, stays = WRONG[name]

    async def work(bench: Bench) -> None:
        await bench.ready()
        job = bench.job("-O1")
        assert await bench.backend.prove(GCC) == ""
        await bench.backend.prove_job(job)
        bench.server.play = lambda request: compiled(request) if request.argv[-3] == "probe.i" else answer
        with pytest.raises(BackendError) as caught:
            await bench.backend.run(job)
        assert caught.value.reason is reason
        assert word in caught.value.detail
        assert (bench.backend.state is State.READY) == stays

    with_bench(tmp_path, work)


def test_one_that_hangs_up_on_every_job_is_left_alone(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        jobs = [bench.job("-O1", f"-Wframe-larger-than={n}00") for n in range(1, 5)]
        await bench.backend.prove_job(jobs[0])
        bench.server.play = lambda request: compiled(request) if request.argv[-3] == "probe.i" else None
        for job in jobs[:2]:
            with pytest.raises(BackendRefused):
                await bench.backend.run(job)
            assert bench.backend.objection(job) == (Reason.NODE_REFUSED, distcc_module.HANGS_UP)
        assert bench.backend.objection(jobs[3]) is None
        with pytest.raises(BackendGone):
            await bench.backend.run(jobs[2])
        assert bench.backend.state is State.DOWN
        assert "without a word" in bench.backend.why

    with_bench(tmp_path, work)


def test_a_dead_host_rests_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distcc_module, "REST_FIRST_S", 0.01)

    async def work(bench: Bench) -> None:
        await bench.ready()
        job = bench.job()
        await bench.backend.run(job)
        await bench.server.stop()
        with pytest.raises(BackendGone) as caught:
            await bench.backend.run(job)
        assert caught.value.reason is Reason.NODE_LOST
        assert bench.backend.state is State.DOWN and "refused" in bench.backend.why
        times = []
        changed = asyncio.Event()
        bench.backend.on_change(changed.set)
        async with asyncio.timeout(30):
            for _ in range(4):
                begun = asyncio.get_running_loop().time()
                changed.clear()
                await changed.wait()
                times.append(asyncio.get_running_loop().time() - begun)
        assert times[3] > 0.08  # 0.01, 0.02, 0.04, 0.08 at least
        await bench.server.start()
        while bench.backend.state is not State.READY:
            changed.clear()
            await changed.wait()
        assert (await bench.backend.run(job)).reason is Reason.STOCK

    with_bench(tmp_path, work)


def test_what_never_answers_is_given_up(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        job = bench.job()
        await bench.backend.prove_job(job)
        bench.server.hangs = True
        with pytest.raises(BackendError) as caught:
            await bench.backend.run(job)
        assert caught.value.reason is Reason.NODE_TIMEOUT
        assert bench.backend.state is State.DOWN
        async with asyncio.timeout(10):
            await bench.server.closed_early.wait()

    with_bench(tmp_path, work, job_s=3.0)


def test_one_that_never_answers_a_canary_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait for the proof, and a compile may take half an hour."""
    monkeypatch.setattr(distcc_module, "PROVE_S", 0.5)
    over = threading.Event()

    async def work(bench: Bench) -> None:
        await bench.ready()
        bench.server.play = lambda request: None if over.wait(60) else pytest.fail("it was not given up")
        try:
            with pytest.raises(BackendError) as caught:
                await bench.backend.prove(GCC)
        finally:
            over.set()
        assert caught.value.reason is Reason.NODE_TIMEOUT
        assert bench.backend.state is State.DOWN

    with_bench(tmp_path, work)


def test_cancelling_closes_the_connection(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        job = bench.job()
        await bench.backend.prove_job(job)
        bench.server.hangs = True
        task = asyncio.create_task(bench.backend.run(job))
        async with asyncio.timeout(30):
            await bench.server.begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await bench.server.closed_early.wait()
        assert bench.backend.state is State.READY
        assert bench.runs.slots.busy == 0

    with_bench(tmp_path, work)


def test_cancelling_ends_the_preprocessor(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        os.mkfifo(tmp_path / "pipe.h")
        job = bench.job("-include", "pipe.h")
        await bench.backend.prove_job(job)
        task = asyncio.create_task(bench.backend.run(job))
        # The preprocessor has the pipe open once it can be opened for writing.
        async with asyncio.timeout(30):
            while True:
                try:
                    end = os.open(tmp_path / "pipe.h", os.O_WRONLY | os.O_NONBLOCK)
                    break
                except OSError:
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(30):
            with pytest.raises(BrokenPipeError):  # nobody reads any more
                while True:
                    os.write(end, b"\n")
                    await asyncio.sleep(0.01)
        os.close(end)
        assert bench.runs.slots.busy == 0

    with_bench(tmp_path, work)


def test_another_compiler_is_refused_with_the_difference(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.server.play = lambda request: compiled(request, "-fstack-protector-all")
        await bench.ready()
        sentence = await bench.backend.prove(GCC)
        assert sentence.startswith("its x86_64-linux-gnu-gcc-12 makes another object of canary.c: ")
        assert not bench.backend.proven(GCC) and bench.backend.refusal(GCC) == sentence
        assert bench.backend.verdicts() == [Verdict("gcc 12 (/usr/bin/gcc)", sentence)]
        with pytest.raises(BackendRefused) as caught:
            await bench.backend.run(bench.job())
        assert caught.value.reason is Reason.NO_TOOLCHAIN
        assert bench.server.requests == []

    with_bench(tmp_path, work)


def test_a_compiler_that_differs_under_one_option_only(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        def play(request: distcc.Request) -> bytes:
            return compiled(request, *(["-fno-inline"] if "-O3" in request.argv else []))

        bench.server.play = play
        await bench.ready()
        assert await bench.backend.prove(GCC) == ""
        assert (await bench.backend.run(bench.job("-O1"))).reason is Reason.STOCK
        job = bench.job("-O3")
        assert bench.backend.objection(job) is None
        with pytest.raises(BackendRefused) as caught:
            await bench.backend.run(job)
        assert "gcc-12 -O3 makes another object" in caught.value.detail
        assert bench.backend.objection(job) == (Reason.NO_TOOLCHAIN, caught.value.detail)
        assert bench.backend.proven(GCC)
        assert bench.backend.objection(bench.job("-O1")) is None

    with_bench(tmp_path, work)


def test_the_name_it_has_the_compiler_under(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        def play(request: distcc.Request) -> Answer:
            known = {"gcc": compiled, "gcc-12": lambda asked: reply(110 << 8, b"failed to exec")}
            return known[request.argv[0]](request) if request.argv[0] in known else None

        bench.server.play = play
        await bench.ready()
        await bench.backend.run(bench.job())
        assert bench.server.requests[0].argv[0] == "gcc"

    with_bench(tmp_path, work)


def test_one_that_knows_no_compiler_says_what_to_do(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.server.play = lambda request: compiled(request) if request.argv[-3] == "probe.i" else None
        await bench.ready()
        assert bench.backend.state is State.READY
        assert "update-distcc-symlinks" in await bench.backend.prove(GCC)
        assert bench.backend.state is State.READY

    with_bench(tmp_path, work)


def test_where_macros_must_not_be_left_to_it(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        def play(request: distcc.Request) -> Answer:
            return reply(1 << 8) if "-fdirectives-only" in request.argv else compiled(request)

        bench.server.play = play
        await bench.ready()
        outcome = await bench.backend.run(bench.job("-O1"))
        assert outcome.outputs[0].data == bench.here("-O1")
        assert "-fdirectives-only" not in bench.server.requests[0].argv

    with_bench(tmp_path, work)


def test_its_own_log_lines_are_no_messages(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        def play(request: distcc.Request) -> bytes:
            made = distcc.ReplyReader(1)
            made.feed(compiled(request))
            assert made.done is not None
            return reply(0, b"distccd[12] (dcc_x) ERROR: something\n" + made.done.stderr, made.done.output)

        await bench.ready()
        await bench.backend.prove(GCC)
        bench.server.play = play
        outcome = await bench.backend.run(bench.job())
        assert (outcome.stderr, outcome.reason) == (b"", Reason.STOCK)
        outcome = await bench.backend.run(bench.job("-Wall", text="int f(void) { int idle; return 1; }\n"))
        assert outcome.stderr.startswith(b"a.c: In function") and outcome.reason is Reason.STOCK_MESSAGES

    with_bench(tmp_path, work)


def test_what_stays_away_from_it(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.ready()
        pool = Pool([bench.backend])
        for arguments in (["-fstack-usage"], ["-gsplit-dwarf"], ["-save-temps"], ["--coverage"], ["-flto"]):
            with pytest.raises(NotDistributable) as caught:
                async with asyncio.timeout(30):
                    await pool.acquire(GCC, job=bench.job(*arguments))
            assert caught.value.reason is Reason.STOCK_CANNOT
        with pytest.raises(NotDistributable) as caught:
            await pool.acquire(GCC, job=bench.job(), exact=True)
        assert caught.value.reason is Reason.SAME_BYTES
        async with asyncio.timeout(30):
            assert (await pool.acquire(GCC, job=bench.job("-g"))).backend is bench.backend
        pool.close()

    with_bench(tmp_path, work)


# -- finding out what a host runs


def discovered(bench: Bench, kinds: Kinds) -> DiscoveredBackend:
    """A host that may be either."""

    def node() -> NodeBackend:
        return NodeBackend("there", "127.0.0.1", bench.server.port, 2, {"version": native.VERSION}, 5.0)

    return DiscoveredBackend("there", f"127.0.0.1:{bench.server.port}", kinds, node, lambda: bench.backend)


def test_what_a_host_runs_is_found_out_once(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        path = str(tmp_path / "state" / "hosts.json")
        host = discovered(bench, Kinds(path))
        assert host.kind == ""
        await connected(host)
        assert (host.state, host.kind, host.exact) == (State.READY, "stock distccd", False)
        assert Kinds(path).of(f"127.0.0.1:{bench.server.port}") == STOCK
        assert (await host.run(bench.job())).reason is Reason.STOCK
        await host.close()

    with_bench(tmp_path, work)


def test_a_node_is_not_asked_anything_else(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.server.greets = True
        bench.server.play = lambda request: pytest.fail("asked as a distccd")  # type: ignore[return-value]
        kinds = Kinds(str(tmp_path / "hosts.json"))
        host = discovered(bench, kinds)
        await connected(host)
        assert (host.state, host.kind, host.exact) == (State.READY, "manycc node", True)
        assert kinds.of(f"127.0.0.1:{bench.server.port}") == NODE
        await host.close()

    with_bench(tmp_path, work)


def test_what_hangs_up_on_everything_is_neither(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        bench.server.play = lambda request: None
        host = discovered(bench, Kinds(str(tmp_path / "hosts.json")))
        await connected(host)
        assert (host.state, host.kind) == (State.DOWN, "")
        assert "hung up" in host.why
        await host.close()

    with_bench(tmp_path, work)


def test_every_other_greeting_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not greeted on and on while jobs wait."""
    turns = itertools.cycle((False, True))
    greets = property(lambda _: next(turns), lambda *_: None)
    monkeypatch.setattr(PlayedServer, "greets", greets, raising=False)

    async def work(bench: Bench) -> None:
        host = discovered(bench, Kinds(str(tmp_path / "hosts.json")))
        await connected(host)
        assert (host.state, host.kind) == (State.DOWN, "")
        await host.close()

    with_bench(tmp_path, work)


def test_a_distccd_that_becomes_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover_module, "RECHECK_S", 0.0)

    async def work(bench: Bench) -> None:
        host = discovered(bench, Kinds(str(tmp_path / "hosts.json")))
        await connected(host)
        bench.server.greets = True
        outcome: Outcome = await host.run(bench.job())  # the job under way is not disturbed
        assert outcome.reason is Reason.STOCK
        async with asyncio.timeout(30):
            while host.kind != "manycc node" or host.state is not State.READY:
                await asyncio.sleep(0.01)
        await host.close()

    with_bench(tmp_path, work)


def test_a_busy_distccd_is_remembered_as_one(tmp_path: Path) -> None:
    """All its children are busy: it takes connections and says nothing."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = PlayedServer()
            server.port = listener.getsockname()[1]
            kinds = Kinds(str(tmp_path / "hosts.json"))
            bench = Bench(tmp_path, server)

            def node() -> NodeBackend:
                return NodeBackend("there", "127.0.0.1", server.port, 2, {"version": native.VERSION}, 0.2)

            for known, state in (("", State.DOWN), (STOCK, State.READY)):
                if known:
                    kinds.set(f"127.0.0.1:{server.port}", known)
                address = f"127.0.0.1:{server.port}"
                host = DiscoveredBackend("there", address, kinds, node, lambda: Bench(tmp_path, server).backend)
                await connected(host)
                assert host.state is state
                await host.close()
            await bench.canaries.close()

    asyncio.run(run())


def test_a_damaged_memory_is_done_without(tmp_path: Path) -> None:
    path = tmp_path / "hosts.json"
    for text in ("", "[]", "{", '{"a:1": 3}', '{"a:1": {"kind": "other"}}'):
        path.write_text(text)
        assert Kinds(str(path)).of("a:1") == ""
    kinds = Kinds("/proc/nowhere/hosts.json")
    kinds.set("a:1", STOCK)
    assert kinds.of("a:1") == STOCK
