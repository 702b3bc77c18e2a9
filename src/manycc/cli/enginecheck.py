"""``manycc engine check``: what an engine can do, whether it compiles as this machine does, and how fast."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from manycc.backends.base import State
from manycc.backends.localcpp import LocalRuns
from manycc.cli.output import print_json, say
from manycc.engine.address import EngineAddress, is_engine, parse_engine
from manycc.engine.trial import Trial
from manycc.errors import BackendError, CompilerError, ConfigError, ManyccError, NotDistributable
from manycc.hostlist import MAX_SLOTS
from manycc.inputs.fileview import FileView
from manycc.job import Toolchain, Way
from manycc.toolchain.canaries import Canaries
from manycc.toolchain.identity import Identifier

if TYPE_CHECKING:
    from manycc.engine.backend import EngineBackend

CONNECT_S: Final = 10.0
JOB_S: Final = 120.0
QUESTIONS: Final = 5
JOBS: Final = 3
AT_ONCE: Final = 16
PIECE: Final = 1024 * 1024
PIECES: Final = 8
COMPILERS: Final = ("gcc", "g++", "clang", "clang++")


def main(argv: Sequence[str]) -> int:
    """Print what was found. 0 if a compiler of this machine is served, 1 if none is. Raises ManyccError."""
    parser = argparse.ArgumentParser(
        prog="manycc engine check",
        description="Connect to a remote execution engine, tell what it can do, run trial compiles there and compare "
        "them with this machine's, and measure. Exit code 1 unless one of this machine's compilers is served.",
    )
    parser.add_argument("url", metavar="URL", help="reapi://HOST:PORT/INSTANCE, reapis:// with TLS, as in MANYCC_HOSTS")
    which = f"try this one; may be repeated (default: those there are of {', '.join(COMPILERS)})"
    parser.add_argument("--compiler", metavar="NAME", action="append", help=which)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    if not is_engine(options.url):
        raise ConfigError(f"{options.url} is no engine's address", "", "write reapi://HOST:PORT/INSTANCE, or reapis://")
    try:
        address = parse_engine(options.url, MAX_SLOTS)
    except ValueError as error:
        raise ConfigError(f"{options.url.partition('?')[0]} cannot be read", str(error)) from error
    compilers = options.compiler or [name for name in COMPILERS if shutil.which(name)]
    with tempfile.TemporaryDirectory(prefix="manycc-engine-") as folder:
        found = asyncio.run(_Check(address, os.path.realpath(folder)).run(compilers))
    if options.json:
        print_json(found)
    else:
        _show(found)
    return 0 if any(not one["refused"] for one in found["compilers"]) else 1


class _Check:
    """One look at one engine."""

    def __init__(self, address: EngineAddress, folder: str) -> None:
        self._address = address
        self._runs = LocalRuns(JOB_S)
        self._canaries = Canaries(folder, self._compile_here)
        self._identifier = Identifier(FileView().digest_of)

    async def run(self, compilers: Sequence[str]) -> dict[str, Any]:
        """What was found. Raises ManyccError if the engine cannot be used at all."""
        try:
            import_module("manycc.engine.channel")  # first: it says how much grpc is to log
            from manycc.engine.backend import EngineBackend
        except ImportError as error:
            raise ConfigError(
                f"the Python package {error.name} is missing", "", "pip install 'manycc[engine]'"
            ) from error
        backend = EngineBackend(self._address, self._address.slots, self._canaries, CONNECT_S, JOB_S, JOB_S)
        try:
            await self._connected(backend)
            found: dict[str, Any] = {"engine": self._address.name, **await self._abilities(backend)}
            found["compilers"] = [await self._compiler(backend, name) for name in compilers]
            return found
        except BackendError as error:
            raise ManyccError(f"{self._address.name} failed", error.detail) from error
        finally:
            await backend.close()
            await self._runs.close()

    async def _compile_here(self, toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        """The object that the compiler here makes; empty if it makes none. Raises CompilerError."""
        try:
            ran = await self._runs.run(toolchain, arguments, folder, {"LC_ALL": "C"}, output_option="-o")
        except NotDistributable as error:
            raise CompilerError(error.detail) from error
        return b"" if ran.code else ran.output

    async def _connected(self, backend: EngineBackend) -> None:
        settled = asyncio.Event()
        backend.on_change(settled.set)
        backend.connect()
        while backend.state is State.CONNECTING:
            settled.clear()
            await settled.wait()
        if backend.state is not State.READY:
            hint = "is the address right, and is the port reached from here?"
            if self._address.tls:
                hint += " Are ca=, cert= and key= those of this engine?"
            raise ManyccError(f"{self._address.name} cannot be used", backend.why, hint)

    async def _abilities(self, backend: EngineBackend) -> dict[str, object]:
        from manycc.engine.cas import Cas, Content
        from manycc.engine.channel import Channel
        from manycc.reapi.remote_execution_pb2 import Compressor, Digest, GetCapabilitiesRequest

        channel = Channel(self._address)
        try:
            times = []
            request = GetCapabilitiesRequest(instance_name=self._address.instance)
            for _ in range(QUESTIONS):
                begun = time.monotonic()
                said = await channel.call(channel.capabilities.GetCapabilities, request, CONNECT_S)
                times.append(time.monotonic() - begun)
            cas = Cas(channel, self._address.instance)
            pieces = [os.urandom(PIECE) for _ in range(PIECES)]
            contents = [Content(hashlib.sha256(data).digest(), PIECE, data) for data in pieces]
            begun = time.monotonic()
            await cas.ensure(contents)
            up = time.monotonic() - begun
            digests = [Digest(hash=content.digest.hex(), size_bytes=PIECE) for content in contents]
            begun = time.monotonic()
            await cas.fetch(digests, PIECE * PIECES)
            down = time.monotonic() - begun
        finally:
            await channel.close()
        cache = said.cache_capabilities
        return {
            "release": backend.release,
            "batch_bytes": int(cache.max_batch_total_size_bytes),
            "compression": Compressor.ZSTD in cache.supported_compressors,
            "question_s": round(statistics.median(times), 6),
            "upload_bytes_s": round(PIECE * PIECES / up),
            "download_bytes_s": round(PIECE * PIECES / down),
        }

    async def _compiler(self, backend: EngineBackend, name: str) -> dict[str, object]:
        """Whether and how a compiler is served, and how long its jobs take."""
        found: dict[str, object] = {"name": name, "refused": "", "way": ""}
        try:
            path = shutil.which(name)
            if path is None:
                raise CompilerError(f"{name} is not in PATH")
            toolchain = await self._identifier.identify(path, dict(os.environ))
            begun = time.monotonic()
            found["refused"] = await backend.prove(toolchain)
            found["first_s"] = round(time.monotonic() - begun, 3)
            if not found["refused"]:
                verdict = backend.verdict(toolchain)
                found["way"] = "input" if verdict is not None and verdict.way is Way.SHIPPED else "property"
                found |= await self._pace(backend, toolchain)
        except (CompilerError, NotDistributable) as error:
            found["refused"] = str(error)
        return found

    async def _pace(self, backend: EngineBackend, toolchain: Toolchain) -> dict[str, object]:
        """Latency of one trial compile after the other, and how many a second come of many at once."""
        job = await Trial(self._canaries).job(toolchain)
        uncached = [
            dataclasses.replace(job, cacheable=False, argv=(*job.argv, f"-DMANYCC_CHECK={time.monotonic_ns()}{number}"))
            for number in range(JOBS + AT_ONCE)
        ]
        times = []
        for one in uncached[:JOBS]:
            begun = time.monotonic()
            await backend.run(one)
            times.append(time.monotonic() - begun)
        begun = time.monotonic()
        await asyncio.gather(*map(backend.run, uncached[JOBS:]))
        rate = AT_ONCE / (time.monotonic() - begun)
        await backend.run(job)
        begun = time.monotonic()
        await backend.run(job)
        return {
            "job_s": round(statistics.median(times), 4),
            "jobs_per_s": round(rate, 2),
            "known_s": round(time.monotonic() - begun, 4),
        }


def _show(found: dict[str, Any]) -> None:
    say(f"{found['engine']}: {found['release']}, executes for this user")
    say(f"a question takes {1000 * found['question_s']:.1f} ms; contents go there at {_rate(found['upload_bytes_s'])}, "
        f"come at {_rate(found['download_bytes_s'])}")  # fmt: skip
    if not found["compression"]:
        say("it takes no compressed contents: a slow line carries more than it would have to")
    for one in found["compilers"]:
        if one["refused"]:
            say(f"{one['name']}: not served: {one['refused']}")
            continue
        how = {
            "input": "sent along with the jobs, once",
            "property": "by workers that have it (platform property toolchain)",
        }[one["way"]]
        say(f"{one['name']}: served, same bytes; the compiler is {how}")
        say(f"  first trial {one['first_s']:.2f} s; a small job {1000 * one['job_s']:.0f} ms, known results "
            f"{1000 * one['known_s']:.0f} ms; {AT_ONCE} at once: {one['jobs_per_s']:.1f} jobs/s")  # fmt: skip
    if all(one["refused"] for one in found["compilers"]):
        say("no compiler of this machine is served: see what manycc node --join logs about the compilers it offers")


def _rate(bytes_s: int) -> str:
    return f"{bytes_s / 1e6:.0f} MB/s"
