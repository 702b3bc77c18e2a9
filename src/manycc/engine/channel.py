"""Calls to one engine: the channel, TLS, deadlines, and what errors mean.

Only the agent imports this, and only when a host list names an engine: importing grpc takes longer than a
launcher lives.
"""

from __future__ import annotations

import os

# The agent starts compilers between calls: grpc's own handlers around fork are not needed for that, and talk.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import grpc.aio
from google.longrunning import operations_pb2

from manycc import __version__
from manycc.engine.address import EngineAddress
from manycc.engine.token import Credentials, Metadata
from manycc.errors import BackendError, BackendGone, BackendRefused
from manycc.reapi import bytestream_pb2, remote_execution_pb2
from manycc.reapi.service import Stub
from manycc.reasons import Reason

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of a message that an engine may send."""
MAX_SAID: Final = 500
MAX_PEM: Final = 1024 * 1024
_CODE: Final = grpc.StatusCode


class CallFailed(BackendError):
    """A call that the engine answered with an error. ``code`` is grpc's."""

    def __init__(self, code: grpc.StatusCode, reason: Reason, detail: str) -> None:
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
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", -1),
            ("grpc.primary_user_agent", f"manycc/{__version__}"),
            ("grpc.enable_retries", 0),  # what is to be tried again is known here
            ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.initial_reconnect_backoff_ms", 500),
        ]
        if address.tls:
            self._channel = grpc.aio.secure_channel(address.target, _tls(address), options=options)
        else:
            self._channel = grpc.aio.insecure_channel(address.target, options=options)
        file = remote_execution_pb2.DESCRIPTOR
        self.capabilities = Stub(self._channel, file, "Capabilities")
        self.cas = Stub(self._channel, file, "ContentAddressableStorage")
        self.actions = Stub(self._channel, file, "ActionCache")
        self.execution = Stub(self._channel, file, "Execution")
        self.bytes = Stub(self._channel, bytestream_pb2.DESCRIPTOR, "ByteStream")
        operations = operations_pb2.Operation.DESCRIPTOR.file
        self.operations = Stub(self._channel, operations, "Operations")

    async def metadata(self) -> Metadata:
        """What goes with every call. Raises BackendRefused."""
        return await self._credentials.metadata()

    async def call(self, method: Any, request: Any, limit_s: float) -> Any:
        """The answer to one request. Raises BackendGone, BackendRefused, CallFailed."""
        for attempt in (1, 2):
            metadata = await self.metadata()
            try:
                return await method(request, timeout=limit_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is _CODE.UNAUTHENTICATED and attempt == 1:
                    self._credentials.refused()  # a token may just have run out
                    continue
                raise translated(error) from error
            except (grpc.aio.UsageError, asyncio.CancelledError) as error:
                raise _closed(error) from error
        raise AssertionError("not reached")

    async def stream(self, method: Any, request: Any, limit_s: float) -> AsyncIterator[Any]:
        """The answers to one request, as they come. Ending the iteration cancels the call. Raises as ``call``."""
        metadata = await self.metadata()
        call = method(request, timeout=limit_s, metadata=metadata)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            if error.code() is _CODE.UNAUTHENTICATED:
                self._credentials.refused()
            raise translated(error) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise _closed(error) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Break off whatever is under way."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._channel.close(None)


def _closed(error: BaseException) -> BaseException:
    """What to raise for a call that was broken off on this side: by whoever wanted it, or with its channel."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
        return error
    return BackendGone(Reason.NODE_LOST, "the connection to the engine was given up")


def translated(error: grpc.aio.AioRpcError | grpc.aio.UsageError) -> BackendError:
    """What an error of a call means for a job."""
    if isinstance(error, grpc.aio.UsageError):
        return BackendGone(Reason.NODE_LOST, "the connection to the engine was given up")
    code = error.code()
    said = " ".join((error.details() or "").split()).rpartition("last error: ")[2].removeprefix("UNKNOWN: ")[:MAX_SAID]
    detail = f"the engine says {code.name}" + (f": {said}" if said else "")
    if code is _CODE.UNAVAILABLE:
        return BackendGone(Reason.NODE_LOST, said or "the engine cannot be reached")
    if code is _CODE.DEADLINE_EXCEEDED:
        return CallFailed(code, Reason.NODE_TIMEOUT, "the engine did not answer in time")
    if code is _CODE.RESOURCE_EXHAUSTED:
        return CallFailed(code, Reason.NODE_BUSY, detail)
    if code in (_CODE.UNAUTHENTICATED, _CODE.PERMISSION_DENIED):
        return CallFailed(code, Reason.NODE_REFUSED, f"the engine does not let this user in: {said or code.name}")
    if code is _CODE.CANCELLED:
        return BackendGone(Reason.NODE_LOST, "the call was broken off")
    if code in (_CODE.INTERNAL, _CODE.UNKNOWN, _CODE.DATA_LOSS):
        return CallFailed(code, Reason.NODE_FAULT, detail)
    return CallFailed(code, Reason.NODE_REFUSED, detail)


def _tls(address: EngineAddress) -> grpc.ChannelCredentials:
    roots, key, chain = (_pem(path) for path in (address.ca, address.key, address.cert))
    return grpc.ssl_channel_credentials(roots, key, chain)


def _pem(path: str) -> bytes | None:
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read(MAX_PEM)
    except OSError as error:
        raise BackendRefused(Reason.NODE_REFUSED, f"{path} cannot be read: {error.strerror}") from error
