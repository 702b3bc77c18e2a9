"""A light stand-in for nodes: speaks the native protocol, and "compiles" by waiting for the recorded time.

    python bench/slots/node.py --nodes 20 --slots 25 --object recorded.o

One process poses as many nodes, each on a port of its own (printed, one a line). All that an agent owes a node is
asked for and checked as a node does it: the greeting, the toolchain before the jobs, each input announced, each content
sent once, whole and with its digest; the source's content says how long its compile takes. What a node does for
itself (sandbox, staging, the compiler) is left out. On SIGUSR1 it prints what it saw as JSON. An agent that does
not keep to the protocol ends it with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import signal
import sys
from collections import deque
from functools import partial
from typing import Any, Final

from manycc import __version__
from manycc.daemon.background import die_with_parent
from manycc.job import FILE
from manycc.node import messages
from manycc.wire import native

RECORDED: Final = re.compile(rb"/\* recorded: ([0-9.]+) s \*/")
STATE_INTERVAL_S: Final = 0.1
KEEPALIVE_S: Final = 5.0
MEMORY: Final = 64 * 1024**3


class Seen:
    """What came to all nodes of this process together."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.digest = hashlib.sha256(data).digest()
        self.zdata = native.compress(data)
        self.jobs = 0
        self.cancelled = 0
        self.contents = 0
        self.announced = 0
        self.sources: set[str] = set()
        self.most_busy = 0
        self.busy = 0
        self.waited = 0
        """Jobs that came while all slots of their node were taken."""
        self.occupied = 0.0
        """Seconds of slots in use."""

    def tell(self) -> None:
        """Print it."""
        told = {name: value for name, value in vars(self).items() if isinstance(value, (int, float))}
        print(json.dumps({**told, "sources": len(self.sources)}), flush=True)


class Node:
    """One node: slots, a store of contents, what it tells about itself."""

    def __init__(self, name: str, slots: int, seen: Seen) -> None:
        self.name = name
        self.slots = slots
        self.seen = seen
        self.seconds: dict[bytes, float] = {}
        """The recorded time of each content that it has, 0 if it is no source."""
        self.free = slots
        self.queue: deque[tuple[Session, messages.JobMessage, float, float]] = deque()
        self.sessions: set[Session] = set()
        self.push: asyncio.TimerHandle | None = None

    def state(self) -> bytes:
        """A STATE frame of this moment."""
        said = {
            "slots": self.slots,
            "busy": self.slots - self.free,
            "queued": len(self.queue),
            "load": 0.0,
            "memory_free": MEMORY,
            "closing": False,
        }
        return native.pack([native.STATE, said])

    def changed(self) -> None:
        """Tell it soon, as a node does."""
        if self.push is None:
            self.push = asyncio.get_running_loop().call_later(STATE_INTERVAL_S, self.tell)

    def tell(self) -> None:
        """Tell it now, and then every few seconds."""
        for session in self.sessions:
            session.write(self.state())
        self.push = None

    def keep_alive(self) -> None:
        """Be heard of, also when nothing changes."""
        self.tell()
        asyncio.get_running_loop().call_later(KEEPALIVE_S, self.keep_alive)

    def begin(self, session: Session, job: messages.JobMessage, came: float, seconds: float) -> None:
        """Run a job once a slot is free."""
        if not self.free:
            self.seen.waited += 1
            self.queue.append((session, job, came, seconds))
            return
        self.free -= 1
        self.seen.busy += 1
        self.seen.most_busy = max(self.seen.most_busy, self.seen.busy)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        session.running[job.id] = loop.call_later(seconds, self._over, session, job, came, begun)
        self.changed()

    def _over(self, session: Session, job: messages.JobMessage, came: float, begun: float) -> None:
        session.running.pop(job.id)
        session.answer(job, came, begun)
        self.freed(begun)

    def freed(self, begun: float) -> None:
        """A slot is free again."""
        self.seen.occupied += asyncio.get_running_loop().time() - begun
        self.free += 1
        self.seen.busy -= 1
        self.changed()
        if self.queue:
            self.begin(*self.queue.popleft())


class Session(asyncio.Protocol):
    """One agent's connection."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._framer = native.Framer()
        self._start = b""
        self._greeted = False
        self._transport: asyncio.Transport | None = None
        self._inputs: dict[int, messages.Announced] = {}
        self._toolchains: set[int] = set()
        self._jobs: set[int] = set()
        self._incoming: dict[bytes, list[bytes]] = {}
        self._fetching: dict[bytes, list[tuple[messages.JobMessage, set[bytes], float]]] = {}
        self.running: dict[int, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._node.sessions.discard(self)

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        if self._transport is not None:
            self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        if not self._greeted and len(self._start) < len(native.PREAMBLE):
            self._start += data
            if len(self._start) < len(native.PREAMBLE):
                return
            if not self._start.startswith(native.PREAMBLE):
                raise SystemExit("what connected does not speak the native protocol")
            data = self._start[len(native.PREAMBLE) :]
        for message in self._framer.feed(data):
            self._receive(message)

    def _receive(self, message: list[Any]) -> None:
        kind = message[0]
        if not self._greeted:
            hello = messages.parse_hello(message)
            assert hello.version == native.VERSION
            self._greeted = True
            node = self._node
            about = {"name": node.name, "slots": node.slots, "sandbox": "none", "machine": os.uname().machine}
            self.write(native.pack([native.WELCOME, {"version": native.VERSION, "release": __version__, **about}]))
            node.sessions.add(self)
            node.tell()
        elif kind == native.JOB:
            self._job(messages.parse_job(message))
        elif kind == native.BLOB:
            self._blob(messages.parse_blob(message))
        elif kind == native.ANNOUNCE:
            for item in messages.parse_announce(message, native.MAX_INPUTS - len(self._inputs)):
                assert item.number not in self._inputs, "an input's number was given twice"
                self._inputs[item.number] = item
                self._node.seen.announced += 1
        elif kind == native.RETRACT:
            for number in messages.parse_retract(message):
                self._inputs.pop(number, None)
        elif kind == native.TOOLCHAIN:
            toolchain = messages.parse_toolchain(message)
            self._toolchains.add(toolchain.number)
            self.write(native.pack([native.PROVEN, toolchain.number, "", "same", {}]))
        elif kind == native.PING:
            self.write(native.pack([native.PONG, messages.parse_number(message)]))
        elif kind == native.CANCEL:
            timer = self.running.pop(messages.parse_number(message), None)
            self._node.seen.cancelled += 1
            if timer is not None:
                timer.cancel()
                self._node.freed(asyncio.get_running_loop().time())
        else:
            raise SystemExit(f"the agent sent what was not asked for: message {kind}")

    def _job(self, job: messages.JobMessage) -> None:
        assert job.toolchain in self._toolchains, "a job came before its toolchain"
        assert job.id not in self._jobs, "a job's number was given twice"
        assert job.outputs, "a job writes nothing"
        self._jobs.add(job.id)
        came = asyncio.get_running_loop().time()
        lacking = {
            item.digest
            for item in [self._inputs[number] for number in job.numbers]
            if item.kind == FILE and item.digest not in self._node.seconds
        }
        if not lacking:
            self._begin(job, came)
            return
        asked = [digest for digest in lacking if digest not in self._fetching]
        waiting = (job, lacking, came)
        for digest in lacking:
            self._fetching.setdefault(digest, []).append(waiting)
        if asked:
            self.write(native.pack([native.MISSING, job.id, asked]))

    def _blob(self, blob: messages.Blob) -> None:
        assert blob.digest in self._fetching, "contents came that were not asked for"
        pieces = self._incoming.setdefault(blob.digest, [])
        assert blob.offset == sum(map(len, pieces)), "contents came out of order"
        pieces.append(blob.data)
        if blob.offset + len(blob.data) < blob.total:
            return
        content = b"".join(self._incoming.pop(blob.digest))
        assert hashlib.sha256(content).digest() == blob.digest, "contents are not what was announced"
        recorded = RECORDED.match(content)
        self._node.seconds[blob.digest] = float(recorded[1]) if recorded else 0.0
        self._node.seen.contents += 1
        for job, lacking, came in self._fetching.pop(blob.digest):
            lacking.discard(blob.digest)
            if not lacking:
                self._begin(job, came)

    def _begin(self, job: messages.JobMessage, came: float) -> None:
        """All contents are there: the source's says for how long."""
        files = {item.path: item.digest for item in [self._inputs[number] for number in job.numbers]}
        source = os.path.join(job.cwd, job.argv[job.argv.index("-c") + 1])
        seconds = self._node.seconds[files[source]]
        assert seconds, f"{source} has no recorded time"
        self._node.seen.sources.add(source)
        self._node.begin(self, job, came, seconds)

    def answer(self, job: messages.JobMessage, came: float, begun: float) -> None:
        """The recorded object."""
        seen = self._node.seen
        now = asyncio.get_running_loop().time()
        info = {
            "cached": False, "cpu": now - begun, "wall": now - begun, "wait": begun - came, "stage": 0.0, "fetch": 0.0,
            "took": now - came, "rss": 100_000_000, "signal": 0,
        }  # fmt: skip
        output = [job.outputs[0], 0o644, len(seen.data), seen.digest, seen.zdata]
        self.write(native.pack([native.RESULT, job.id, 0, b"", b"", [output], info]))
        seen.jobs += 1


def _fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)
    os._exit(1)  # nothing that is measured here may have been skipped


async def _serve(nodes: int, slots: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_fail)
    seen = Seen(data)
    ending = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)
    loop.add_signal_handler(signal.SIGUSR1, seen.tell)
    for number in range(nodes):
        node = Node(f"light-{number}", slots, seen)
        server = await loop.create_server(partial(Session, node), "127.0.0.1", 0, backlog=16)
        loop.call_later(KEEPALIVE_S, node.keep_alive)
        print(server.sockets[0].getsockname()[1], flush=True)
    print(flush=True)
    await ending.wait()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="light stand-in nodes")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--object", required=True)
    options = parser.parse_args()
    die_with_parent()
    with open(options.object, "rb") as file:
        data = file.read()
    asyncio.run(_serve(options.nodes, options.slots, data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
