"""Calls to one engine: the channel, TLS, deadlines, and what errors mean.

Imported only where an engine is named: the generated messages take longer to import than a launcher lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from google.longrunning import operations_pb2
from google.protobuf.descriptor import FileDescriptor

from manycc import __version__
from manycc.engine.address import EngineAddress
from manycc.engine.line import Line, RpcError
from manycc.engine.rpc import Service
from manycc.engine.status import StatusCode
from manycc.engine.token import Credentials, Metadata
from manycc.errors import BackendError, BackendGone, BackendRefused
from manycc.node.text import plain
from manycc.reapi import bytestream_pb2, remote_execution_pb2
from manycc.reasons import Reason

PAUSES_S: Final = (0.3, 1.2)
"""Before a call is tried again, at most."""
MAX_SAID: Final = 500


class CallFailed(BackendError):
    """A call that the engine answered with an error."""

    def __init__(self, code: StatusCode, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.code = code


class Channel:
    """One engine's services. For one event loop."""

    def __init__(self, address: EngineAddress) -> None:
        """Raises BackendRefused if a certificate or key cannot be read."""
        about = remote_execution_pb2.RequestMetadata()
        about.tool_details.tool_name = "manycc"
        about.tool_details.tool_version = __version__
        header = "build.bazel.remote.execution.v2.requestmetadata-bin"
        self._credentials = Credentials(address, ((header, about.SerializeToString()),))
        self._line = Line(address, _tls(address) if address.tls else None)
        file = remote_execution_pb2.DESCRIPTOR
        self.capabilities = self.service(file, "Capabilities")
        self.cas = self.service(file, "ContentAddressableStorage")
        self.actions = self.service(file, "ActionCache")
        self.execution = self.service(file, "Execution")
        self.bytes = self.service(bytestream_pb2.DESCRIPTOR, "ByteStream")
        operations = operations_pb2.Operation.DESCRIPTOR.file
        self.operations = self.service(operations, "Operations")

    def service(self, file: FileDescriptor, name: str) -> Service:
        """The methods of one of the engine's services."""
        return Service(self._line, file, name)

    async def metadata(self) -> Metadata:
        """What goes with every call. Raises BackendRefused."""
        return await self._credentials.metadata()

    async def call(self, method: Any, request: Any, limit_s: float) -> Any:
        """The answer to one request, which may be asked again: an engine that is short of breath is not lost.

        All attempts together take no longer than ``limit_s``. Raises BackendGone, BackendRefused, CallFailed.
        """
        end = time.monotonic() + limit_s
        for pause in (*PAUSES_S, None):
            try:
                return await self._once(method, request, max(end - time.monotonic(), 0.01))
            except BackendError as error:
                if pause is None or self.closed or not passing(error) or time.monotonic() + pause >= end:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        raise AssertionError("not reached")

    async def _once(self, method: Any, request: Any, limit_s: float) -> Any:
        return await self._authorized(lambda metadata: method.unary(request, limit_s, metadata))

    async def send(self, method: Any, requests: Callable[[], AsyncIterator[Any]], limit_s: float) -> Any:
        """The answer to a stream of requests, which is made anew if the token had run out. Raises as ``call``."""
        return await self._authorized(lambda metadata: method.collect(requests(), limit_s, metadata))

    async def _authorized(self, begin: Callable[[Metadata], Awaitable[Any]]) -> Any:
        for attempt in (1, 2):
            try:
                return await begin(await self.metadata())
            except RpcError as error:
                if error.code is StatusCode.UNAUTHENTICATED and attempt == 1:
                    self._credentials.refused()  # a token may just have run out
                    continue
                raise translated(error) from error
        raise AssertionError("not reached")

    async def stream(self, method: Any, request: Any, limit_s: float) -> AsyncIterator[Any]:
        """The answers to one request, as they come. Ending the iteration cancels the call. Raises as ``call``."""
        try:
            async with contextlib.aclosing(method.answers(request, limit_s, await self.metadata())) as answers:
                async for answer in answers:
                    yield answer
        except RpcError as error:
            if error.code is StatusCode.UNAUTHENTICATED:
                self._credentials.refused()
            raise translated(error) from error

    @property
    def closed(self) -> bool:
        """Whether no call is possible any more."""
        return self._line.closed

    async def ready(self, limit_s: float) -> bool:
        """Return when there is a connection, and after so long in any case. Whether there is one."""
        with contextlib.suppress(TimeoutError, RpcError):
            async with asyncio.timeout(limit_s):
                await self._line.ready()
                return True
        return False

    async def close(self) -> None:
        """Break off whatever is under way."""
        await self._line.close()


def passing(error: BackendError) -> bool:
    """Whether an error of a call may be over in a moment: no line, or more calls at once than the engine takes."""
    if isinstance(error, CallFailed):
        return error.code is StatusCode.RESOURCE_EXHAUSTED
    return isinstance(error, BackendGone) and error.reason is Reason.NODE_LOST


def translated(error: RpcError) -> BackendError:
    """What an error of a call means for a job."""
    code = error.code
    said = plain(" ".join(error.details[:MAX_SAID].split()))
    detail = f"the engine says {code.name}" + (f": {said}" if said else "")
    if code is StatusCode.UNAVAILABLE:
        return BackendGone(Reason.NODE_LOST, said or "the engine cannot be reached")
    if code is StatusCode.DEADLINE_EXCEEDED:
        return CallFailed(code, Reason.NODE_TIMEOUT, "the engine did not answer in time")
    if code is StatusCode.RESOURCE_EXHAUSTED:
        return CallFailed(code, Reason.NODE_BUSY, detail)
    if code in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED):
        return CallFailed(code, Reason.NODE_REFUSED, f"the engine does not let this user in: {said or code.name}")
    if code is StatusCode.CANCELLED:
        return BackendGone(Reason.NODE_LOST, said or "the call was broken off")
    if code in (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS):
        return CallFailed(code, Reason.NODE_FAULT, detail)
    return CallFailed(code, Reason.NODE_REFUSED, detail)


def _tls(address: EngineAddress) -> ssl.SSLContext:
    """Raises BackendRefused if a certificate or key cannot be read."""
    try:
        for path in (address.ca, address.cert, address.key):
            if path:
                open(path, "rb").close()  # to be able to say which one
        context = ssl.create_default_context(cafile=address.ca or None)
        if address.cert:
            context.load_cert_chain(address.cert, address.key, password=lambda: b"")
    except OSError as error:  # ssl's own are, too
        named = error.filename or " and ".join(path for path in (address.ca, address.cert, address.key) if path)
        raise BackendRefused(Reason.NODE_REFUSED, f"{named} cannot be read: {error.strerror or error}") from error
    context.set_alpn_protocols(["h2"])
    return context
