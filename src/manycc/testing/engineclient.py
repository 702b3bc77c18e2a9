"""An engine's client for tests: the agent's own parts, without an agent, so that each call can be seen and altered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from google.longrunning.operations_pb2 import CancelOperationRequest

from manycc.engine.action import Prepared, prepare
from manycc.engine.address import parse_engine
from manycc.engine.cas import Cas
from manycc.engine.channel import Channel
from manycc.engine.execute import Executor
from manycc.engine.merkle import Trees
from manycc.inputs.fileview import FileView
from manycc.job import FILE, FOLDER, Input, Inputs, Job, Toolchain
from manycc.reapi import remote_execution_pb2
from manycc.toolchain.identity import Identifier

LIMIT_S = 100.0
Answer = TypeVar("Answer")
_toolchains: dict[str, Toolchain] = {}


def toolchain(driver: str) -> Toolchain:
    """A compiler of this machine."""
    if driver not in _toolchains:
        identifier = Identifier(FileView().digest_of)
        _toolchains[driver] = asyncio.run(identifier.identify(driver, {"PATH": "/usr/bin:/bin"}))
    return _toolchains[driver]


def job(argv: Sequence[str], cwd: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> Job:
    """A compile whose inputs are these files."""
    items = [Input(FOLDER, "/usr/include")]  # without any folder to search, compilers complain
    for path in inputs:
        with open(path, "rb") as file:
            data = file.read()
        items.append(Input(FILE, path, hashlib.sha256(data).digest(), len(data)))
    return Job(
        argv=tuple(argv),
        cwd=cwd,
        env=(),
        umask=0o022,
        toolchain=more.pop("toolchain", None) or toolchain(f"/usr/bin/{argv[0]}"),
        inputs=Inputs(items, "scan", complete=True, volatile=False),
        folders=tuple(dict.fromkeys((cwd, *map(os.path.dirname, outputs)))),
        outputs=tuple(outputs),
        stems=(),
        source=inputs[0],
        **more,
    )


class Client:
    """One conversation with an engine."""

    def __init__(self, url: str) -> None:
        self.address = parse_engine(url, 1000)
        self.channel = Channel(self.address)
        self.cas = Cas(self.channel, self.address.instance)
        self.executor = Executor(self.channel, self.cas, self.address.instance)
        self.trees = Trees()

    def prepared(self, wanted: Job) -> Prepared:
        """The action, for workers that have the compiler."""
        return prepare(wanted, self.trees, self.address, True, True, LIMIT_S)

    async def upload(self, action: Prepared) -> None:
        """Have the engine hold all that an action names."""
        await self.cas.ensure_tree(action.root, [action.action, action.command])

    async def run(self, wanted: Job, queue_s: float = LIMIT_S) -> Any:
        """The ActionResult. Raises BackendError."""
        action = self.prepared(wanted)
        await self.upload(action)
        result, _ = await self.executor.execute(action, LIMIT_S, queue_s, fresh=False)
        return result

    async def outputs(self, result: Any) -> dict[str, bytes]:
        """The files of a successful result by name."""
        if result.exit_code:
            raise AssertionError(result.stderr_raw)
        datas, _ = await self.cas.fetch([file.digest for file in result.output_files], 1 << 30)
        return {file.path: data for file, data in zip(result.output_files, datas, strict=True)}

    async def text(self, digest: remote_execution_pb2.Digest) -> bytes:
        """A content; nothing for no digest."""
        return (await self.cas.fetch([digest], 1 << 24))[0][0] if digest.size_bytes else b""

    async def cancel(self, name: str) -> None:
        """Cancel an operation."""
        await self.channel.call(self.channel.operations.CancelOperation, CancelOperationRequest(name=name), LIMIT_S)


def talk(url: str, what: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """Run a conversation to its end."""

    async def whole() -> Answer:
        client = Client(url)
        try:
            async with asyncio.timeout(LIMIT_S):
                return await what(client)
        finally:
            await client.executor.close()
            await client.channel.close()

    return asyncio.run(whole())


def slow_source(depth: int, number: int) -> str:
    """A C++ source that takes g++ some seconds, and differs by a number."""
    return (
        "template <int N, int M> struct T {\n"
        "  static constexpr unsigned long v = T<N - 1, M>::v + T<N - 1, M + 1>::v;\n"
        "};\n"
        "template <int M> struct T<0, M> { static constexpr unsigned long v = M; };\n"
        f"long f{number}() {{ return T<{depth}, 0>::v; }}\n"
    )


def compilers(marker: str) -> list[int]:
    """Compiler processes (the compiler proper) whose arguments name the marker."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            if os.path.basename(words[0]) in (b"cc1", b"cc1plus") and any(marker.encode() in word for word in words):
                found.append(int(entry))
    return found


async def until(what: Callable[[], Answer], limit_s: float = 60.0) -> Answer:
    """The first true answer of ``what``. Raises TimeoutError."""
    async with asyncio.timeout(limit_s):
        while not (answer := what()):
            await asyncio.sleep(0.02)
    return answer
