"""A remote execution engine as a backend: one host with many slots, of which nobody knows what is behind them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from manycc.backends.base import State, Verdict
from manycc.backends.searched import Searched
from manycc.engine.abilities import Abilities, abilities_of
from manycc.engine.action import prepare
from manycc.engine.address import INPUT, EngineAddress
from manycc.engine.cas import Cas
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.execute import LACKING, MAX_QUEUED_S, Executor, InputsLost, Untaken
from manycc.engine.mappable import refused
from manycc.engine.mapping import Mapper, objection, target_there
from manycc.engine.merkle import Trees
from manycc.engine.outcome import check_worker, is_ours, outcome_of
from manycc.engine.proving import PATIENCE_S, Proofs, Terms
from manycc.engine.remembered import Remembered
from manycc.engine.status import StatusCode
from manycc.engine.trial import Trial
from manycc.errors import BackendError, BackendGone, BackendRefused, NotDistributable
from manycc.job import Input, Job, Outcome, Toolchain
from manycc.reapi.remote_execution_pb2 import GetCapabilitiesRequest
from manycc.reasons import Reason
from manycc.toolchain.canaries import Canaries

log = logging.getLogger(__name__)

RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 30.0
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
        remembered: Remembered | None = None,
        searched: Searched | None = None,
    ) -> None:
        """``searched`` tells where compilers here look for headers: without it, no job's paths are mapped."""
        self.name = address.name
        self.slots = slots
        self.release = ""
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._job_timeout_s = job_timeout_s
        self._silence_s = silence_s
        self._state = State.IDLE
        self._why = ""
        self._callbacks: list[Callable[[], None]] = []
        self._trees = Trees()
        self._mapped_trees = Trees(target_there)
        self._mapper = None if searched is None else Mapper(searched)
        self._channel: Channel | None = None
        self._cas: Cas | None = None
        self._executor: Executor | None = None
        self._able = Abilities()
        self._connecting: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_FIRST_S
        self._rests_until = 0.0
        self._running: set[asyncio.Task[Any]] = set()
        self._proofs = Proofs(
            address, Trial(canaries), self._try, self._held, self._changed, remembered or Remembered()
        )

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
        return self._proofs.refusal(toolchain)

    def proven(self, toolchain: Toolchain) -> bool:
        return self._proofs.terms(toolchain) is not None

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return self._proofs.verdict(toolchain)

    def verdicts(self) -> list[Verdict]:
        return self._proofs.verdicts()

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """What an engine cannot be asked for: it is told the names of outputs, not what they begin with."""
        terms = self._proofs.terms(job.toolchain)
        if terms is None and self._address.toolchain != INPUT:
            return None  # a trial tells on which terms it would be done
        if terms is not None and terms.by_property:
            return None  # workers of ours lay files out as nodes do
        if job.stems:
            return Reason.NODE_REFUSED, "a remote execution engine must be told every output by name"
        if job.inputs.twins:
            return Reason.NODE_REFUSED, "it may read two equal files, which may be one file, or not equally old, there"
        mapped = terms is not None and terms.mapped
        if mapped and (sentence := objection(job)):
            return Reason.NODE_REFUSED, sentence
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
        if self._connecting is not None:
            self._connecting.cancel()  # it was found to be lost in the meantime
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
            able = abilities_of(said, self._address.compress)
        except BackendError as error:
            if not self._running:  # jobs there find their way back by themselves, if the engine comes back soon
                await self._drop_channel()
            self._down(error.detail)
            return
        assert self._cas is not None  # noqa: S101 - made above
        self._able, self._cas.offer, self.release = able, able.offer, able.release
        self._state = State.READY
        self._why = ""
        self._retry_s = RETRY_FIRST_S
        self._changed()

    async def _ask(self, limit_s: float) -> Any:
        assert self._channel is not None  # noqa: S101 - made above
        request = GetCapabilitiesRequest(instance_name=self._address.instance)
        return await self._channel.call(self._channel.capabilities.GetCapabilities, request, limit_s)

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
        self._proofs.clear()
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
                if isinstance(error, CallFailed) and error.code is StatusCode.DEADLINE_EXCEEDED:
                    self._down(f"the engine was silent for {self._silence_s:g} s")
                    for task in tuple(self._running):
                        task.cancel()
                    return
                # It is there, whatever it thinks of the question; or the line is cut, which its jobs see themselves.

    # -- toolchains

    async def prove(self, toolchain: Toolchain) -> str:
        return await self._proofs.prove(toolchain, PATIENCE_S)

    async def proof(self, toolchain: Toolchain) -> str:
        """As ``prove``, but "not yet" is no answer."""
        return await self._proofs.prove(toolchain)

    async def _try(self, job: Job, terms: Terms) -> Outcome:
        """Do a trial. Raises BackendError."""
        try:
            return await self._watched(self._run(job, terms, TRIAL_QUEUED_S))
        except BackendGone as error:
            self._blame(error)
            raise

    def _held(self, toolchain: Toolchain) -> int:
        return self._cas.held(toolchain.files) if self._cas is not None else 0

    # -- jobs

    def retire(self, item: Input) -> None:
        """An input's content changed: nothing is kept of it that could be wrong, for all is by content."""

    async def run(self, job: Job) -> Outcome:
        sentence = await self.proof(job.toolchain)
        if sentence:
            raise BackendRefused(Reason.NO_TOOLCHAIN, sentence)
        terms = self._proofs.terms(job.toolchain)
        if terms is None:  # in this moment
            raise BackendGone(Reason.NODE_LOST, self._why or "whether it serves the compiler must be found out anew")
        if (found := self.objection(job)) is not None:
            raise BackendRefused(*found)
        try:
            return await self._watched(self._run(job, terms, MAX_QUEUED_S))
        except Untaken as error:
            why = f"{error.detail}: {terms.nobody}"
            self._proofs.doubt(job.toolchain, terms, why)
            raise BackendError(error.reason, why) from error
        except BackendError as error:
            if error.reason is Reason.NO_TOOLCHAIN:
                self._proofs.doubt(job.toolchain, terms, error.detail)
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

    async def _run(self, job: Job, terms: Terms, queue_s: float) -> Outcome:
        """Do a job. ``queue_s``: how long it may wait for a worker. Raises BackendError."""
        if not terms.mapped:
            return await self._run_there(job, terms, queue_s, self._trees)
        try:
            if self._mapper is None:
                raise refused("and it is not known where the compiler here looks for headers")
            mapped = await self._mapper.mapped(job)
        except NotDistributable as error:
            raise BackendRefused(error.reason, error.detail) from error
        return mapped.back(await self._run_there(mapped.job, terms, queue_s, self._mapped_trees))

    async def _run_there(self, job: Job, terms: Terms, queue_s: float, trees: Trees) -> Outcome:
        cas, executor = self._cas, self._executor
        if cas is None or executor is None or self._state is not State.READY:
            raise BackendGone(Reason.NODE_LOST, self._why)
        begun = time.monotonic()
        try:
            prepared = prepare(job, trees, self._address, terms.by_property, self._able.paths, self._job_timeout_s)
        except NotDistributable as error:
            # Not to be told to an engine, but perhaps to a node.
            raise BackendRefused(Reason.NODE_REFUSED, error.detail or error.what) from error
        phases = {"tree": time.monotonic() - begun}
        sent = prepared.action.size + prepared.command.size
        fresh = not prepared.cacheable
        if prepared.cacheable:
            result = await executor.known_result(prepared)
            if result is not None and terms.ours and not is_ours(result):
                fresh = True
            elif result is not None:
                try:
                    outcome = await outcome_of(job, prepared, result, cas, True, phases)
                    return replace(outcome, host=self.name, way=terms.way, sent=sent)
                except CallFailed as error:
                    if error.code is not StatusCode.NOT_FOUND:
                        raise
                    fresh = True  # the engine dropped what its cache of results names
        needed = (prepared.command, prepared.action)
        mark = time.monotonic()
        state = cas.state
        sent += await cas.ensure_tree(prepared.root, needed)
        phases["upload"] = time.monotonic() - mark
        try:
            result, cached = await executor.execute(prepared, self._job_timeout_s, queue_s, fresh)
        except BackendError as error:
            if not _may_lack(error):
                raise
            again = await cas.send_again(prepared.root, needed)
            certain = isinstance(error, InputsLost) and error.certain
            if not again and not certain and cas.state == state:
                raise  # it has all it needs, and none of it was sent again for another job: the fault is another one
            log.info("%s: was sent %d bytes again: %s", self.name, again, error.detail)
            sent += again
            result, cached = await executor.execute(prepared, self._job_timeout_s, queue_s, fresh)
        check_worker(result, terms.ours)
        outcome = await outcome_of(job, prepared, result, cas, cached, phases)
        return replace(outcome, host=self.name, way=terms.way, sent=sent)

    async def close(self) -> None:
        await self._proofs.close()
        tasks = [task for task in (self._connecting, self._beating) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._stop_retry()
        self._state = State.IDLE
        await self._drop_channel()


def _may_lack(error: BackendError) -> bool:
    """Whether an engine may say this because it lacks a content that a job needs."""
    if isinstance(error, InputsLost) or error.reason is Reason.NODE_FAULT:
        return True
    return isinstance(error, CallFailed) and error.code in LACKING
