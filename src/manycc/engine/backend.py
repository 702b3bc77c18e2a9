"""A remote execution engine as a backend: one host with many slots, of which nobody knows what is behind them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import grpc

from manycc.backends.base import State, Verdict
from manycc.engine.action import OURS, Prepared, named_outputs, prepare, times_of
from manycc.engine.address import INPUT, PROPERTY, EngineAddress
from manycc.engine.cas import USUAL_BATCH, Cas, Offer, broken
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.execute import LACKING, MAX_QUEUED_S, Executor, InputsLost
from manycc.engine.merkle import Trees
from manycc.engine.trial import Trial
from manycc.errors import BackendError, BackendGone, BackendRefused, CompilerError, NotDistributable
from manycc.job import FILE, Input, Job, Outcome, OutputFile, Toolchain, Way
from manycc.reapi.remote_execution_pb2 import Compressor, DigestFunction, GetCapabilitiesRequest
from manycc.reasons import Reason
from manycc.toolchain.canaries import Canaries
from manycc.wire import native

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 30.0
REFUSAL_S: Final = 60.0
"""After this time a toolchain that was refused is tried again."""
TRIAL_S: Final = 300.0
"""How long a toolchain may take to be sent and tried."""
TRIAL_QUEUED_S: Final = 15.0
"""A trial that no worker takes within this time shows that there is none for it."""
HEARTBEATS: Final = 3


class EngineBackend:
    """One engine. Satisfies ``schedule.pool.PoolBackend``."""

    kind = "execution engine"
    exact = True
    others = 0
    memory_free: int | None = None
    told = 0.0

    def __init__(
        self,
        address: EngineAddress,
        slots: int,
        canaries: Canaries,
        connect_timeout_s: float,
        job_timeout_s: float,
        silence_s: float,
    ) -> None:
        self.name = address.name
        self.slots = slots
        self.release = ""
        self._address = address
        self._trial = Trial(canaries)
        self._connect_timeout_s = connect_timeout_s
        self._job_timeout_s = job_timeout_s
        self._silence_s = silence_s
        self._state = State.IDLE
        self._why = ""
        self._callbacks: list[Callable[[], None]] = []
        self._trees = Trees()
        self._channel: Channel | None = None
        self._cas: Cas | None = None
        self._executor: Executor | None = None
        self._paths_known = True
        self._connecting: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_FIRST_S
        self._rests_until = 0.0
        self._running: set[asyncio.Task[Any]] = set()
        self._labels: dict[tuple[str, str], str] = {}
        self._ways: dict[tuple[str, str], str] = {}
        self._refusals: dict[tuple[str, str], tuple[str, float]] = {}
        self._proving: dict[tuple[str, str], asyncio.Task[str]] = {}

    # -- what the scheduler reads

    @property
    def state(self) -> State:
        return self._state

    @property
    def why(self) -> str:
        return self._why

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _changed(self) -> None:
        for callback in tuple(self._callbacks):
            callback()

    def refusal(self, toolchain: Toolchain) -> str:
        sentence, at = self._refusals.get((toolchain.fingerprint, toolchain.driver), ("", 0.0))
        return sentence if time.monotonic() - at < REFUSAL_S else ""

    def proven(self, toolchain: Toolchain) -> bool:
        return (toolchain.fingerprint, toolchain.driver) in self._ways

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return self._verdict((toolchain.fingerprint, toolchain.driver))

    def verdicts(self) -> list[Verdict]:
        return [verdict for key in self._labels if (verdict := self._verdict(key)) is not None]

    def _verdict(self, key: tuple[str, str]) -> Verdict | None:
        if key in self._ways:
            return Verdict(self._labels[key], "", Way.SHIPPED if self._ways[key] == INPUT else Way.SAME)
        return Verdict(self._labels[key], self._refusals[key][0]) if key in self._refusals else None

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """What an engine cannot be asked for: it is told the names of outputs, not what they begin with."""
        if job.stems and self._ways.get((job.toolchain.fingerprint, job.toolchain.driver)) != PROPERTY:
            return Reason.NODE_REFUSED, "a remote execution engine must be told every output by name"
        if job.toolchain.kind == "clang" and _has_twins(job):
            return Reason.NODE_REFUSED, "it reads two equal files, which clang takes for one where an engine links them"
        return None

    def unproven(self, job: Job) -> bool:
        return False

    async def prove_job(self, job: Job) -> None:
        """Nothing but the toolchain needs a trial."""

    def keeps_bytes(self, job: Job) -> bool:
        return True

    # -- connecting: a channel finds its way back by itself, but whether the engine answers must be asked

    def connect(self) -> None:
        if self._state in (State.CONNECTING, State.READY):
            return
        self._stop_retry()
        self._state = State.CONNECTING
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def retry(self) -> None:
        if self._state is State.DOWN and asyncio.get_running_loop().time() >= self._rests_until:
            self.connect()

    async def _connect(self) -> None:
        try:
            if self._channel is None:
                self._channel = Channel(self._address)
                self._cas = Cas(self._channel, self._address.instance)
                self._executor = Executor(self._channel, self._cas, self._address.instance)
            said = await self._ask(self._connect_timeout_s)
            self._read(said)
        except BackendError as error:
            await self._drop_channel()
            self._down(error.detail)
            return
        self._state = State.READY
        self._why = ""
        self._retry_s = RETRY_FIRST_S
        self._changed()

    async def _ask(self, limit_s: float) -> Any:
        assert self._channel is not None  # noqa: S101 - made above
        request = GetCapabilitiesRequest(instance_name=self._address.instance)
        return await self._channel.call(self._channel.capabilities.GetCapabilities, request, limit_s)

    def _read(self, said: Any) -> None:
        """Take note of what the engine can do. Raises BackendRefused."""
        cache, execution = said.cache_capabilities, said.execution_capabilities
        functions = {execution.digest_function, *execution.digest_functions, *cache.digest_functions}
        if DigestFunction.SHA256 not in functions:
            raise BackendRefused(Reason.NODE_REFUSED, "it does not name contents by SHA-256")
        if not execution.exec_enabled:
            raise BackendRefused(Reason.NODE_REFUSED, "it executes nothing for this user: it is only a cache")
        assert self._cas is not None  # noqa: S101 - made above
        most = int(cache.max_batch_total_size_bytes) - 128 * 1024
        zstd = self._address.compress
        self._cas.offer = Offer(
            batch=min(USUAL_BATCH, most) if most > 0 else USUAL_BATCH,
            batch_zstd=zstd and Compressor.ZSTD in cache.supported_batch_update_compressors,
            stream_zstd=zstd and Compressor.ZSTD in cache.supported_compressors,
        )
        high = said.high_api_version
        self._paths_known = (high.major, high.minor) >= (2, 1)
        self.release = f"REAPI {high.major}.{high.minor}"

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _down(self, why: str) -> None:
        loop = asyncio.get_running_loop()
        self._state = State.DOWN
        self._why = why
        self._stop_retry()
        self._rests_until = loop.time() + RETRY_FIRST_S
        self._retry = loop.call_later(self._retry_s, self.connect)
        self._retry_s = min(self._retry_s * 2, RETRY_LAST_S)
        if self._cas is not None:
            self._cas.forget()  # who knows what comes back
        self._ways.clear()
        self._refusals.clear()
        self._changed()

    def distrust(self, why: str) -> None:
        """It returned what a sound engine does not: leave it alone for a while."""
        self._retry_s = RETRY_LAST_S
        self._down(why)
        self._rests_until = asyncio.get_running_loop().time() + RETRY_LAST_S

    async def _drop_channel(self) -> None:
        """A new one is made with the next attempt: an address may have changed, or a certificate."""
        channel, self._channel = self._channel, None
        executor, self._executor, self._cas = self._executor, None, None
        if executor is not None:
            await executor.close()
        if channel is not None:
            await channel.close()

    # -- signs of life, while anybody waits for it

    async def _beat(self) -> None:
        """An engine that says nothing to a question for too long is taken for lost, and its jobs with it."""
        while self._running:
            await asyncio.sleep(self._silence_s / HEARTBEATS)
            if not self._running or self._channel is None:
                return
            try:
                await self._ask(self._silence_s)
            except BackendError as error:
                silent = isinstance(error, CallFailed) and error.code is grpc.StatusCode.DEADLINE_EXCEEDED
                if not silent and not isinstance(error, BackendGone):
                    continue  # it is there, whatever it thinks of the question
                if silent:
                    why = f"the engine was silent for {self._silence_s:g} s"
                    self._down(why)
                    for task in tuple(self._running):
                        task.cancel()
                    return

    # -- toolchains

    async def prove(self, toolchain: Toolchain) -> str:
        key = (toolchain.fingerprint, toolchain.driver)
        self._labels.setdefault(key, f"{toolchain.label} ({toolchain.driver})")
        if key in self._ways:
            return ""
        if sentence := self.refusal(toolchain):
            return sentence
        task = self._proving.get(key)
        if task is None:
            task = self._proving[key] = asyncio.get_running_loop().create_task(self._prove(toolchain, key))
            task.add_done_callback(lambda done: self._proven(key, done))
        return await asyncio.shield(task)

    def _proven(self, key: tuple[str, str], task: asyncio.Task[str]) -> None:
        self._proving.pop(key, None)
        if not task.cancelled():
            task.exception()  # every caller may have gone

    async def _prove(self, toolchain: Toolchain, key: tuple[str, str]) -> str:
        chosen = self._address.toolchain
        sentences = []
        for way in (chosen,) if chosen in (INPUT, PROPERTY) else (PROPERTY, INPUT):
            ours = way == PROPERTY and chosen != PROPERTY
            try:
                async with asyncio.timeout(TRIAL_S):
                    job = await self._trial.job(toolchain)
                    outcome = await self._run(job, way == PROPERTY, TRIAL_QUEUED_S, ours)
                    sentence = await self._trial.verdict(toolchain, outcome)
            except TimeoutError:
                sentence = "a trial compile did not come to an end in time"
            except (CompilerError, NotDistributable) as error:
                sentence = str(error)
            except BackendGone as error:
                self._blame(error)
                raise
            except BackendError as error:
                sentence = error.detail or error.what
            if not sentence:
                self._ways[key] = way
                self._refusals.pop(key, None)
                log.info("%s: serves %s, by %s", self.name, toolchain.label, way)
                self._changed()
                return ""
            how = "sent along with the job" if way == INPUT else "left to workers that have it"
            sentences.append(f"with the compiler {how}: {sentence}")
        self._refusals[key] = ("; ".join(sentences), time.monotonic())
        log.info("%s: does not serve %s: %s", self.name, toolchain.label, self._refusals[key][0])
        asyncio.get_running_loop().call_later(REFUSAL_S, self._changed)
        self._changed()
        return self._refusals[key][0]

    # -- jobs

    def retire(self, item: Input) -> None:
        """An input's content changed: nothing is kept of it that could be wrong, for all is by content."""

    async def run(self, job: Job) -> Outcome:
        sentence = await self.prove(job.toolchain)
        if sentence:
            raise BackendRefused(Reason.NO_TOOLCHAIN, sentence)
        way = self._ways[job.toolchain.fingerprint, job.toolchain.driver]
        try:
            return await self._watched(self._run(job, way == PROPERTY, MAX_QUEUED_S))
        except BackendError as error:
            self._blame(error)
            raise

    async def _watched(self, work: Any) -> Outcome:
        """Work that ends, with NODE_LOST, when the engine is found to be lost."""
        task: asyncio.Task[Outcome] = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            self._running.discard(task)
        if task.cancelled():
            raise BackendGone(Reason.NODE_LOST, self._why)
        return task.result()

    def _blame(self, error: BackendError) -> None:
        if self._state is State.READY and isinstance(error, BackendGone):
            log.info("%s: %s", self.name, error.detail)
            self._down(error.detail)

    async def _run(self, job: Job, by_property: bool, queue_s: float, ours: bool = False) -> Outcome:
        """Do a job. ``ours``: only workers of manycc's may, which have the very compiler. Raises BackendError."""
        cas, executor = self._cas, self._executor
        if cas is None or executor is None or self._state is not State.READY:
            raise BackendGone(Reason.NODE_LOST, self._why)
        begun = time.monotonic()
        try:
            prepared = prepare(job, self._trees, self._address, by_property, self._paths_known, self._job_timeout_s)
        except NotDistributable as error:
            raise BackendRefused(error.reason, error.detail) from error
        phases = {"tree": time.monotonic() - begun}
        sent = prepared.action.size + prepared.command.size
        fresh = False
        if prepared.cacheable:
            result = await executor.known_result(prepared)
            if result is not None:
                _check_worker(result, ours)
                try:
                    return await self._outcome(job, prepared, result, True, phases, sent)
                except CallFailed as error:
                    if error.code is not grpc.StatusCode.NOT_FOUND:
                        raise
                    fresh = True  # the engine dropped what its cache of results names
        needed = (prepared.command, prepared.action)
        mark = time.monotonic()
        sent += await cas.ensure_tree(prepared.root, needed)
        phases["upload"] = time.monotonic() - mark
        try:
            result, cached = await executor.execute(prepared, self._job_timeout_s, queue_s, fresh)
        except BackendError as error:
            lost = isinstance(error, InputsLost) or (isinstance(error, CallFailed) and error.code in LACKING)
            if not lost and error.reason is not Reason.NODE_FAULT:
                raise
            cas.forget()
            again = await cas.ensure_tree(prepared.root, needed, ask=True)
            if not lost and not again:
                raise  # it has all it needs: the fault is another one
            log.info("%s: was sent %d bytes again: %s", self.name, again, error.detail)
            sent += again
            result, cached = await executor.execute(prepared, self._job_timeout_s, queue_s, fresh)
        _check_worker(result, ours)
        return await self._outcome(job, prepared, result, cached, phases, sent)

    async def _outcome(
        self, job: Job, prepared: Prepared, result: Any, cached: bool, phases: dict[str, float], sent: int
    ) -> Outcome:
        """What an engine's result is here. Raises BackendError."""
        assert self._cas is not None  # noqa: S101 - there was a result
        files = named_outputs(result, prepared.paths, job)
        wanted = []
        texts: dict[str, bytes] = {}
        for name in ("stdout", "stderr"):
            raw = getattr(result, f"{name}_raw")
            digest = getattr(result, f"{name}_digest")
            if not raw and digest.size_bytes:
                if digest.size_bytes > native.MAX_TEXT:
                    raise BackendError(Reason.NODE_FAULT, f"a {name} of {digest.size_bytes} bytes")
                wanted.append(digest)
            texts[name] = raw[: native.MAX_TEXT]
        inline = {path: file.contents for path, file in files if file.contents}
        wanted += [file.digest for path, file in files if path not in inline]
        mark = time.monotonic()
        received = int(result.ByteSize())
        if wanted:
            data, fetched = await self._cas.fetch(wanted, native.MAX_FILE)
            received += fetched
        else:
            data = []
        phases["fetch"] = time.monotonic() - mark
        for name in ("stdout", "stderr"):
            if not texts[name] and getattr(result, f"{name}_digest").size_bytes:
                texts[name] = data.pop(0)
        mode = 0o666 & ~job.umask
        outputs = []
        for path, file in files:
            content = inline.get(path)
            if content is None:
                content = data.pop(0)
            elif len(content) != file.digest.size_bytes or hashlib.sha256(content).hexdigest() != file.digest.hash:
                raise broken("a file is not what its digest says")
            outputs.append(OutputFile(path, mode, content, bytes.fromhex(file.digest.hash)))
        if not 0 <= result.exit_code <= 255:
            raise BackendError(Reason.COMPILER_KILLED, f"exit code {result.exit_code}")
        times = {} if cached else times_of(result.execution_metadata)
        way = self._ways.get((job.toolchain.fingerprint, job.toolchain.driver), "")
        return Outcome(
            reason=Reason.CACHED if cached else Reason.REMOTE,
            host=self.name,
            exit_code=result.exit_code,
            stdout=texts["stdout"],
            stderr=texts["stderr"],
            outputs=outputs,
            phases={name: round(seconds, 6) for name, seconds in {**phases, **times}.items()},
            sent=sent,
            received=received,
            way=(Way.SHIPPED if way == INPUT else Way.SAME) if way else "",
        )

    async def close(self) -> None:
        tasks = [task for task in (self._connecting, self._beating, *self._proving.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._stop_retry()
        self._state = State.IDLE
        await self._drop_channel()


def _check_worker(result: Any, ours: bool) -> None:
    """An engine that does not heed properties runs a job anywhere, with whatever compiler is there."""
    if ours and not result.execution_metadata.worker.startswith(OURS):
        raise BackendRefused(Reason.NO_TOOLCHAIN, "its workers are not manycc's")


def _has_twins(job: Job) -> bool:
    """Whether two of a job's files have the same content."""
    digests = [item.digest for item in job.inputs.items if item.kind == FILE]
    return len(set(digests)) < len(digests)
