"""``manycc engine check``: what an engine can do, whether it compiles as this machine does, and how fast."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from manycc.backends.base import State
from manycc.backends.localcpp import LocalRuns
from manycc.backends.searched import Searched
from manycc.cli.output import print_json, say
from manycc.engine.address import EngineAddress, is_engine, parse_engine
from manycc.engine.extra import importing
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
    url = (
        "reapi://HOST:PORT/INSTANCE, reapis:// with TLS, as in MANYCC_HOSTS; everybody sees command lines, so name a "
        "secret by token-file=, not by header="
    )
    parser.add_argument("url", metavar="URL", help=url)
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
    show = _silent if options.json else _show
    with tempfile.TemporaryDirectory(prefix="manycc-engine-") as folder:
        found = asyncio.run(_Check(address, os.path.realpath(folder), show).run(compilers))
    served = any(not one["refused"] for one in found["compilers"])
    if options.json:
        print_json(found)
    elif not served:
        for line in _what_to_do(found):
            say(line)
    return 0 if served else 1


class _Check:
    """One look at one engine. ``show`` is told what is found, as it is found."""

    def __init__(self, address: EngineAddress, folder: str, show: Callable[[dict[str, Any]], None]) -> None:
        self._address = address
        self._show = show
        self._runs = LocalRuns(JOB_S)
        self._canaries = Canaries(folder, self._compile_here)
        self._identifier = Identifier(FileView().digest_of)

    async def run(self, compilers: Sequence[str]) -> dict[str, Any]:
        """What was found. Raises ManyccError if the engine cannot be used at all."""
        with importing():
            from manycc.engine.backend import EngineBackend
        limits = CONNECT_S, JOB_S, JOB_S
        searched = Searched(self._runs)
        backend = EngineBackend(self._address, self._address.slots, self._canaries, *limits, searched=searched)
        try:
            await self._connected(backend)
            found: dict[str, Any] = {"engine": self._address.name, "tls": self._address.tls}
            found |= await self._abilities(backend)
            self._show(found)
            found["compilers"] = []
            for name in compilers:
                found["compilers"].append(await self._compiler(backend, name))
                self._show(found["compilers"][-1])
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
            raise ManyccError(f"{self._address.name} cannot be used", backend.why, advice(backend.why, self._address))

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
            found["refused"] = await backend.proof(toolchain)
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
        job = await Trial(self._canaries).job(toolchain, alone=False)
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
        known = dataclasses.replace(job, cacheable=True)
        await backend.run(known)
        begun = time.monotonic()
        await backend.run(known)
        return {
            "job_s": round(statistics.median(times), 4),
            "jobs_per_s": round(rate, 2),
            "known_s": round(time.monotonic() - begun, 4),
        }


def advice(why: str, address: EngineAddress) -> str:
    """What to do about an engine that cannot be used."""
    if "cannot be read" in why or "only a cache" in why:
        return ""
    if "instance" in why.lower():
        return "the instance stands behind the address: reapi://HOST:PORT/INSTANCE. manycc engine init calls it main"
    if "its certificate" in why:
        return (
            "ca= must name the authority of this very engine (tls/ca.pem there), and the address must be the name that "
            "its certificate is for (--host of manycc engine init)"
        )
    if "no TLS connection" in why:
        return "does it speak TLS? If not, write reapi://. If so, is this its port?"
    if "was lost" in why or "HTTP/2" in why:  # so end, without a reason, those who are not let in
        if not address.tls:
            return "does it speak TLS? Then write reapis://, with ca=, cert= and key=. Is this an engine's port?"
        if not address.cert:
            return "does it ask for certificates? Name this machine's own by cert= and key="
        return "is the certificate of cert= signed by this engine's authority?"
    return "is the address right, is the port reached from here, and does the server run?"


def _silent(found: dict[str, Any]) -> None:
    """For whoever wants it all in the end."""


def _show(found: dict[str, Any]) -> None:
    """Print what the engine can do, or how it serves one compiler."""
    for line in _engine_lines(found) if "engine" in found else _compiler_lines(found):
        say(line)
    sys.stdout.flush()


def _engine_lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['engine']}: {found['release']}, executes for this user"
    yield (
        f"a question takes {1000 * found['question_s']:.1f} ms; contents go there at {_rate(found['upload_bytes_s'])}, "
        f"come at {_rate(found['download_bytes_s'])}"
    )
    if not found["compression"]:
        yield "missing: it takes no compressed contents, so a slow line carries more than it would have to"
    if not found["tls"]:
        yield "missing: TLS. What goes there can be read and changed on its way"
    yield "trying compilers; if no worker takes a trial compile, each takes up to half a minute"


def _compiler_lines(one: dict[str, Any]) -> Iterator[str]:
    if one["refused"]:
        yield f"{one['name']}: not served: {one['refused']}"
        return
    how = {
        "input": "the compiler is sent along with the jobs, once",
        "property": "by workers that have it (platform property toolchain)",
    }[one["way"]]
    yield f"{one['name']}: served, same bytes: {how}"
    yield (
        f"  first trial {one['first_s']:.2f} s; a small job {1000 * one['job_s']:.0f} ms, known results "
        f"{1000 * one['known_s']:.0f} ms; {AT_ONCE} at once: {one['jobs_per_s']:.1f} jobs/s"
    )


def _what_to_do(found: dict[str, Any]) -> Iterator[str]:
    yield "no compiler of this machine is served: it compiles its own jobs"
    if any("took a trial compile" in one["refused"] for one in found["compilers"]):
        yield "  are workers joined? On a machine to compile: manycc node --join, with the address that stands here"
        yield "  have they this machine's compilers? Their log says which are offered: install the same packages there"


def _rate(bytes_s: int) -> str:
    return f"{bytes_s / 1e6:.0f} MB/s"
