"""One leased job, from its action to what the engine is told of it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, status_pb2

from manycc.engine.compilers import Compilers
from manycc.engine.contents import Contents, ContentsMissing, named
from manycc.engine.inputroot import InputRoots
from manycc.engine.leasedjob import plan, read
from manycc.engine.leaseresult import missing, refusal, result_of
from manycc.engine.workerid import WorkerId
from manycc.errors import BackendError, BackendRefused
from manycc.node.executor import Executor
from manycc.node.text import plain
from manycc.reapi import remote_execution_pb2
from manycc.reasons import Reason
from manycc.store.store import Store

MAX_JOB_S: Final = 24 * 3600.0
MAX_PEAKS: Final = 10_000

_re = remote_execution_pb2


class Done(NamedTuple):
    """What came of a job. ``source`` is for the log; without ``result``, ``status`` says why there is none."""

    source: str
    status: status_pb2.Status
    result: _re.ActionResult | None


class Work:
    """Does the jobs of one engine with a node's own executor."""

    def __init__(
        self, store: Store, executor: Executor, compilers: Compilers, contents: Contents, worker: WorkerId
    ) -> None:
        """``worker`` is what the engine calls this one."""
        self._store = store
        self._executor = executor
        self._compilers = compilers
        self._contents = contents
        self._roots = InputRoots(contents)
        self._worker = worker
        self._peaks: OrderedDict[tuple[str, str], int] = OrderedDict()
        """Bytes of memory that a compiler took for a source: what clients know of that, engines have no word for."""

    async def do(self, payload: AnyMessage, owner: Hashable) -> Done:
        """Do a lease's job. Cancelling kills the compiler, and is over when it is gone."""
        source = "a job"
        try:
            action = await self._action(payload)
            limit = action.timeout.seconds + action.timeout.nanos / 1e9
            async with asyncio.timeout(min(limit, MAX_JOB_S) if limit > 0 else MAX_JOB_S):
                source, result = await self._result(action, owner)
            return Done(source, status_pb2.Status(code=code_pb2.OK), result)
        except BackendError as error:
            return Done(source, refusal(error), None)
        except ContentsMissing as error:
            return Done(source, missing(error), None)
        except TimeoutError:
            return Done(source, status_pb2.Status(code=code_pb2.DEADLINE_EXCEEDED, message="it took too long"), None)

    async def _action(self, payload: AnyMessage) -> _re.Action:
        """The action: BuildGrid sends it, others its digest."""
        action = _re.Action()
        digest = _re.Digest()
        try:
            if payload.Unpack(action):
                return action
            if payload.Unpack(digest):
                name = named(digest)
                action.ParseFromString((await self._contents.read([name]))[name.digest])
                return action
        except DecodeError as error:
            raise BackendRefused(Reason.PROTOCOL, "the lease's action cannot be read") from error
        raise BackendRefused(Reason.PROTOCOL, f"the lease's payload is a {payload.type_url[:200]!r}")

    async def _result(self, action: _re.Action, owner: Hashable) -> tuple[str, _re.ActionResult]:
        started = time.time()
        name = named(action.command_digest)
        command = _re.Command()
        try:
            command.ParseFromString((await self._contents.read([name]))[name.digest])
        except DecodeError as error:
            raise BackendRefused(Reason.PROTOCOL, "the command cannot be read") from error
        wanted = read(action, command)
        entries = await self._roots.entries(named(action.input_root_digest))
        served = await self._compilers.served(wanted.fingerprint, wanted.driver, entries)
        planned = plan(wanted, served, entries, cached=not action.do_not_cache)
        source = planned.source
        planned = dataclasses.replace(planned, expected_rss=self._peaks.get((wanted.fingerprint, source), 0))
        fetched = started

        async def fetch(lacking: Iterable[tuple[bytes, int]]) -> None:
            nonlocal fetched
            await self._contents.fetch(lacking, self._store)
            fetched = time.time()

        result = await self._executor.run(planned, owner, fetch)
        self._learn((wanted.fingerprint, source), int(result.info.get("rss", 0)))
        made = await result_of(result, wanted, self._contents, str(self._worker), started, fetched)
        return plain(source), made

    def _learn(self, job: tuple[str, str], peak: int) -> None:
        self._peaks.pop(job, None)
        self._peaks[job] = peak
        if len(self._peaks) > MAX_PEAKS:
            self._peaks.popitem(last=False)
