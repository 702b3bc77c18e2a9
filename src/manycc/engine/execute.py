"""One action from the question whether it was done before to its result."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, Final

from google.longrunning.operations_pb2 import CancelOperationRequest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import PreconditionFailure

from manycc.engine.action import Prepared
from manycc.engine.cas import Cas, broken
from manycc.engine.channel import CallFailed, Channel
from manycc.engine.rpc import MAX_MESSAGE
from manycc.engine.status import StatusCode
from manycc.errors import BackendError, BackendGone, BackendRefused
from manycc.node.text import plain
from manycc.reapi.remote_execution_pb2 import (
    ExecuteOperationMetadata,
    ExecuteRequest,
    ExecuteResponse,
    ExecutionStage,
    GetActionResultRequest,
    WaitExecutionRequest,
)
from manycc.reasons import Reason

LOOK_S: Final = 30.0
CANCEL_S: Final = 5.0
ABSENT_S: Final = 30.0
"""So long after its stream broke off a job's engine must be reached again: one that is started anew still has it."""
RESUME_S: Final = 45.0
"""And so long later it must know the job: BuildGrid refuses all calls for half a minute after its database was away."""
RESUMES_S: Final = (0.0, 0.5, 1.5, 4.0)
"""The pauses between these attempts; the last one is that of all further ones."""
BEGINS_S: Final = (0.2, 1.0)
"""The pauses between attempts to begin a job at an engine that cannot be reached."""
MAX_PAUSE_S: Final = 5.0
MAX_DETAILS: Final = 16
MAX_QUEUED_S: Final = 120.0
"""A job that no worker takes for so long is done elsewhere: of a missing worker, no engine tells."""
_NOT_FOUND: Final = StatusCode.NOT_FOUND
_EXHAUSTED: Final = StatusCode.RESOURCE_EXHAUSTED
LACKING: Final = (StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND)
"""How engines say that they lack a content that a job needs: the API has the first, buildbox the second."""
_TROUBLE: Final = (_EXHAUSTED, StatusCode.ABORTED, StatusCode.INTERNAL, StatusCode.UNKNOWN)
"""What an engine says that has too much to do, or is just being started."""
_TOO_LARGE: Final = f"where {MAX_MESSAGE} are the most"
"""What a client itself says, with the same code, of an answer beyond ``MAX_MESSAGE``: it would be so again."""
_CODES: Final = {code.value: code for code in StatusCode}


class InputsLost(BackendError):
    """The engine may lack a content that it had, or said it had. ``certain``: it said so in as many words."""

    def __init__(self, reason: Reason, detail: str, certain: bool) -> None:
        super().__init__(reason, detail)
        self.certain = certain


class Untaken(BackendError):
    """No worker took a job for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(Reason.NODE_BUSY, f"no worker of the engine took the job within {seconds:g} s")
        self.seconds = seconds


class Executor:
    """Runs actions on one engine. For one event loop."""

    def __init__(self, channel: Channel, cas: Cas, instance: str) -> None:
        self._channel = channel
        self._cas = cas
        self._instance = instance
        self._cancelling: set[asyncio.Task[None]] = set()

    async def known_result(self, prepared: Prepared) -> Any | None:
        """The result of the same action done before, if the engine has it.

        One that does not tell is not asked to: it may look by itself when it is to execute the action.
        """
        request = GetActionResultRequest(
            instance_name=self._instance,
            action_digest=prepared.digest,
            inline_stdout=True,
            inline_stderr=True,
            inline_output_files=sorted(prepared.paths),
        )
        try:
            return await self._channel.call(self._channel.actions.GetActionResult, request, LOOK_S)
        except CallFailed as error:
            if error.code in (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAUTHENTICATED):
                raise
            return None

    async def execute(self, prepared: Prepared, limit_s: float, queue_s: float, fresh: bool) -> tuple[Any, bool]:
        """Run it; the result, and whether it came out of the engine's cache. Cancelling cancels it there.

        ``queue_s``: how long it may wait for a worker. ``fresh``: no result that the engine has may be given.
        Raises Untaken, InputsLost, BackendError.
        """
        request = ExecuteRequest(
            instance_name=self._instance,
            action_digest=prepared.digest,
            skip_cache_lookup=fresh,
            inline_stdout=True,
            inline_stderr=True,
            inline_output_files=sorted(prepared.paths),
        )
        loop = asyncio.get_running_loop()
        run = _Run(loop.time() + queue_s, queue_s)
        end = loop.time() + limit_s
        pauses = _Pauses(run, self._channel)
        while True:
            left = max(end - loop.time(), 1.0)
            if run.name:
                again = WaitExecutionRequest(name=run.name)
                stream = self._channel.stream(self._channel.execution.WaitExecution, again, left)
            else:
                stream = self._channel.stream(self._channel.execution.Execute, request, left)
            try:
                pauses.begun()
                try:
                    operation = await self._follow(stream, run)
                    if operation is not None:
                        return _response(operation)
                    failure: BackendError = BackendGone(
                        Reason.NODE_LOST, "the engine ended its answer before the job was over"
                    )
                except BackendError as error:
                    failure = error
                await pauses.after(failure)
            except BaseException:
                # Whatever the cause: nobody waits for it any more, and engines run on what nobody cancels.
                self._cancel(run, stream)
                raise

    async def _follow(self, stream: AsyncIterator[Any], run: _Run) -> Any | None:
        """The operation when it is over; None if the stream ends before. Raises BackendError."""
        iterator = aiter(stream)
        while True:
            try:
                async with asyncio.timeout_at(None if run.taken else run.queued):
                    if run.name:
                        operation = await anext(iterator)
                    else:  # who is cancelled now must still learn the name, to cancel the job there
                        run.first = asyncio.ensure_future(anext(iterator))
                        operation = await asyncio.shield(run.first)
            except StopAsyncIteration:
                return None
            except TimeoutError:
                raise Untaken(run.queue_s) from None
            if operation.name:
                run.name = operation.name[:2000]
            if operation.done:
                run.over = True
                return operation
            about = ExecuteOperationMetadata()
            with contextlib.suppress(DecodeError):
                operation.metadata.Unpack(about)
            run.look(about.stage)

    def _cancel(self, run: _Run, stream: Any) -> None:
        if run.over:
            return
        task = asyncio.get_running_loop().create_task(self._cancelled(run, stream))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancelled(self, run: _Run, stream: Any) -> None:
        """Have the engine give a job up. Its name comes with the first answer, which may be on its way still."""
        with contextlib.suppress(BackendError, TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(CANCEL_S):
                if not run.name and run.first is not None:
                    run.name = (await run.first).name[:2000]
                if run.name:
                    await self._cancel_operation(CancelOperationRequest(name=run.name))
        with contextlib.suppress(BackendError, RuntimeError):
            await stream.aclose()

    async def _cancel_operation(self, request: CancelOperationRequest) -> None:
        """Ask until it is done: an engine refuses it while its database has the job's worker locked."""
        pause = 0.1
        while True:
            try:
                await self._channel.call(self._channel.operations.CancelOperation, request, CANCEL_S)
                return
            except CallFailed as error:
                if error.code not in _TROUBLE:
                    return  # it does not know the job any more
            except BackendGone:
                if self._channel.closed:
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)

    async def close(self) -> None:
        """Wait until the engine was told of all that nobody wants any more."""
        if self._cancelling:
            await asyncio.wait(self._cancelling, timeout=CANCEL_S)
        for task in self._cancelling:
            task.cancel()


class _Run:
    """How far an execution is. ``taken``: a worker has it; ``queued``: until when one must."""

    __slots__ = ("first", "name", "over", "queue_s", "queued", "taken")

    def __init__(self, queued: float, queue_s: float) -> None:
        self.name = ""
        self.first: asyncio.Future[Any] | None = None
        self.queued = queued
        self.queue_s = queue_s
        self.taken = False
        self.over = False

    def look(self, stage: int) -> None:
        """Take note of what an engine says of it. One that says nothing of queues is not taken to have one."""
        taken = stage not in (ExecutionStage.CACHE_CHECK, ExecutionStage.QUEUED)
        if self.taken and not taken:  # its worker was lost, and there may be no other one
            self.queued = asyncio.get_running_loop().time() + self.queue_s
        self.taken = taken


class _Pauses:
    """When an execution is tried again whose stream has ended, and how often."""

    def __init__(self, run: _Run, channel: Channel) -> None:
        self._run = run
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._attempts = 0
        self._refused = 0
        self._began = 0.0
        self._broken: float | None = None  # since when its stream is

    def begun(self) -> None:
        """A stream is begun."""
        self._began = self._loop.time()

    async def after(self, failure: BackendError) -> None:
        """Wait for as long as it is worth while after this. Raises the failure if it is not to be tried again."""
        gone = isinstance(failure, BackendGone) and failure.reason is Reason.NODE_LOST and not self._channel.closed
        code = failure.code if isinstance(failure, CallFailed) else None
        if self._run.name:
            if code is _NOT_FOUND and self._broken is not None:
                raise BackendError(Reason.NODE_LOST, "the engine does not know the job any more") from failure
            if not gone and not (self._broken is not None and code in _TROUBLE):
                raise failure
            await self._resume(failure)
        elif code is _EXHAUSTED and _TOO_LARGE not in failure.detail:
            await self._wait_for_room(failure)
        elif gone and self._attempts < len(BEGINS_S):
            await asyncio.sleep(BEGINS_S[self._attempts])
            self._attempts += 1
        else:
            raise failure

    async def _resume(self, failure: BackendError) -> None:
        """The engine has the job, and may be back soon."""
        now = self._loop.time()
        if self._broken is None or now - self._began > RESUME_S:  # it stood meanwhile
            self._broken, self._attempts = now, 0
        pause = RESUMES_S[min(self._attempts, len(RESUMES_S) - 1)]
        if now + pause > self._broken + RESUME_S:
            raise failure
        self._attempts += 1
        await asyncio.sleep(pause)
        if not await self._channel.ready(max(self._broken + ABSENT_S - self._loop.time(), 0.1)):
            raise failure
        self._run.queued += self._loop.time() - now  # meanwhile no worker could take it

    async def _wait_for_room(self, failure: BackendError) -> None:
        """The engine answers no more calls at once: the job has to queue for that, too."""
        pause = min(0.25 * 2**self._refused, MAX_PAUSE_S) * random.uniform(0.5, 1.0)  # noqa: S311
        self._refused += 1
        if self._loop.time() + pause > self._run.queued:
            raise failure
        await asyncio.sleep(pause)


def _response(operation: Any) -> tuple[Any, bool]:
    """The result of an operation that is over. Raises InputsLost, BackendError."""
    if operation.HasField("error"):
        raise _failure(operation.error)
    response = ExecuteResponse()
    try:
        sound = operation.response.Unpack(response)
    except DecodeError as error:
        raise broken("what it says of a job cannot be read") from error
    if not sound:
        raise broken("it says nothing of a job that is over")
    if response.status.code:
        raise _failure(response.status)
    if not response.HasField("result"):
        raise broken("a job that is over has no result")
    return response.result, bool(response.cached_result)


def _failure(status: Any) -> BackendError:
    code = _CODES.get(status.code, StatusCode.UNKNOWN)
    said = plain(" ".join(status.message.split())[:500])
    detail = f"the engine says {code.name}" + (f": {said}" if said else "")
    if code in LACKING:
        return InputsLost(Reason.NODE_REFUSED, detail, _names_missing(status))
    if code is StatusCode.UNIMPLEMENTED:  # a worker of ours that has not got the compiler (any more)
        return BackendRefused(Reason.NO_TOOLCHAIN, detail)
    if code is StatusCode.DEADLINE_EXCEEDED:
        return BackendError(Reason.COMPILER_KILLED, detail)
    if code in (_EXHAUSTED, StatusCode.UNAVAILABLE):
        return BackendError(Reason.NODE_BUSY, detail)
    if code is StatusCode.INVALID_ARGUMENT:
        return BackendError(Reason.NODE_REFUSED, detail)
    return BackendError(Reason.NODE_FAULT, detail)


def _names_missing(status: Any) -> bool:
    """Whether a status says, as the API has it, which contents the engine lacks."""
    for detail in status.details[:MAX_DETAILS]:
        failure = PreconditionFailure()
        with contextlib.suppress(DecodeError):
            if detail.Unpack(failure) and any(one.type == "MISSING" for one in failure.violations):
                return True
    return False
