"""One action from the question whether it was done before to its result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from google.longrunning.operations_pb2 import CancelOperationRequest
from google.protobuf.message import DecodeError

from manycc.engine.action import Prepared
from manycc.engine.cas import Cas, broken
from manycc.engine.channel import CallFailed, Channel
from manycc.errors import BackendError, BackendGone
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
WAITS_S: Final = (0.0, 0.5, 1.5, 4.0)
"""After so long a stream that broke off is taken up again: an engine that is started anew still has the job."""
MAX_QUEUED_S: Final = 120.0
"""A job that no worker takes for so long is done elsewhere: of a missing worker, no engine tells."""
_NOT_FOUND: Final = grpc.StatusCode.NOT_FOUND
LACKING: Final = (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
"""How engines say that they lack a content that a job needs: the API has the first, buildbox the second."""
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class InputsLost(BackendError):
    """The engine lacks a content that it had, or said it had."""


class Executor:
    """Runs actions on one engine. For one event loop."""

    def __init__(self, channel: Channel, cas: Cas, instance: str) -> None:
        self._channel = channel
        self._cas = cas
        self._instance = instance
        self._cancelling: set[asyncio.Task[None]] = set()

    async def known_result(self, prepared: Prepared) -> Any | None:
        """The result of the same action done before, if the engine has it."""
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
            if error.code in (_NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
                return None
            raise

    async def execute(self, prepared: Prepared, limit_s: float, queue_s: float, fresh: bool) -> tuple[Any, bool]:
        """Run it; the result, and whether it came out of the engine's cache. Cancelling cancels it there.

        ``fresh``: no result that the engine has may be given. Raises InputsLost, BackendError.
        """
        request = ExecuteRequest(instance_name=self._instance, action_digest=prepared.digest, skip_cache_lookup=fresh)
        run = _Run()
        end = asyncio.get_running_loop().time() + limit_s
        stream = self._channel.stream(self._channel.execution.Execute, request, limit_s)
        try:
            for attempt in range(len(WAITS_S) + 1):
                try:
                    operation = await self._follow(stream, run, queue_s)
                except BackendGone as error:
                    if error.reason is not Reason.NODE_LOST or not run.name or attempt == len(WAITS_S):
                        raise
                else:
                    if operation is not None:
                        return _response(operation)
                    if not run.name or attempt == len(WAITS_S):
                        raise BackendGone(Reason.NODE_LOST, "the engine ended its answer before the job was over")
                await asyncio.sleep(WAITS_S[attempt])
                left = max(end - asyncio.get_running_loop().time(), 1.0)
                again = WaitExecutionRequest(name=run.name)
                stream = self._channel.stream(self._channel.execution.WaitExecution, again, left)
            raise AssertionError("not reached")
        except BaseException:
            # Whatever the cause: nobody waits for it any more, and engines run on what nobody cancels.
            self._cancel(run, stream)
            raise

    async def _follow(self, stream: AsyncIterator[Any], run: _Run, queue_s: float) -> Any | None:
        """The operation when it is over; None if the stream ends before. Raises BackendError."""
        loop = asyncio.get_running_loop()
        if run.queued is None:
            run.queued = loop.time() + queue_s
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
                raise BackendError(
                    Reason.NODE_BUSY,
                    f"no worker of the engine took the job within {queue_s:.0f} s: there may be none that can",
                ) from None
            if operation.name:
                run.name = operation.name[:2000]
            if operation.done:
                run.over = True
                return operation
            about = ExecuteOperationMetadata()
            with contextlib.suppress(DecodeError):
                operation.metadata.Unpack(about)
            run.taken = run.taken or about.stage in (ExecutionStage.EXECUTING, ExecutionStage.COMPLETED)

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
                    request = CancelOperationRequest(name=run.name)
                    await self._channel.call(self._channel.operations.CancelOperation, request, CANCEL_S)
        with contextlib.suppress(BackendError, RuntimeError):
            await stream.aclose()

    async def close(self) -> None:
        """Wait until the engine was told of all that nobody wants any more."""
        if self._cancelling:
            await asyncio.wait(self._cancelling, timeout=CANCEL_S)
        for task in self._cancelling:
            task.cancel()


class _Run:
    """How far an execution is. ``taken``: a worker has it; ``queued``: until when one must."""

    __slots__ = ("first", "name", "over", "queued", "taken")

    def __init__(self) -> None:
        self.name = ""
        self.first: asyncio.Future[Any] | None = None
        self.queued: float | None = None
        self.taken = False
        self.over = False


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
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    said = " ".join(status.message.split())[:500]
    detail = f"the engine says {code.name}" + (f": {said}" if said else "")
    if code in LACKING:
        return InputsLost(Reason.NODE_REFUSED, detail)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BackendError(Reason.COMPILER_KILLED, detail)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return BackendError(Reason.NODE_BUSY, detail)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return BackendError(Reason.NODE_REFUSED, detail)
    return BackendError(Reason.NODE_FAULT, detail)
