"""An engine that is a table of blobs and does what a test tells it to, for what no real engine does when asked."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import zstandard
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from grpc_serving import handler

from manycc.reapi import bytestream_pb2, remote_execution_pb2
from manycc.reapi.remote_execution_pb2 import (
    Action,
    ActionResult,
    BatchReadBlobsResponse,
    BatchUpdateBlobsResponse,
    Command,
    Compressor,
    DigestFunction,
    ExecuteOperationMetadata,
    ExecuteResponse,
    ExecutionStage,
    FindMissingBlobsResponse,
    ServerCapabilities,
)

OBJECT = b"object"


class FakeEngine:
    """Every answer can be changed: ``on[METHOD]`` is called with the request and the context instead."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, port: int = 0) -> None:
        self.blobs: dict[str, bytes] = {}
        self.results: dict[str, ActionResult] = {}
        self.on: dict[str, Callable[[Any, Any], Any]] = {}
        self.calls: list[str] = []
        self.requests: dict[str, list[Any]] = {}
        self.metadata: list[dict[str, Any]] = []
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        """Set when the engine goes: whoever holds an answer back must let go then."""
        self.zstd = False
        self.made = OBJECT
        self.uploads: dict[str, bytearray] = {}
        self._server = grpc.server(futures.ThreadPoolExecutor(16))
        file = remote_execution_pb2.DESCRIPTOR
        for where, service, names in (
            (file, "Capabilities", ("GetCapabilities",)),
            (file, "ContentAddressableStorage", ("FindMissingBlobs", "BatchUpdateBlobs", "BatchReadBlobs")),
            (file, "ActionCache", ("GetActionResult",)),
            (file, "Execution", ("Execute", "WaitExecution")),
            (bytestream_pb2.DESCRIPTOR, "ByteStream", ("Read", "Write", "QueryWriteStatus")),
            (operations_pb2.Operation.DESCRIPTOR.file, "Operations", ("CancelOperation",)),
        ):
            methods = {name: self._method(name) for name in names}
            self._server.add_generic_rpc_handlers((handler(where, service, methods),))
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def stop(self) -> None:
        stopped = self._server.stop(None)  # first, so that whoever waits for an answer gets none
        self.ended.set()
        stopped.wait(10)

    def _method(self, name: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, context: Any) -> Any:
            self.calls.append(name)
            self.requests.setdefault(name, []).append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            return self.on.get(name, getattr(self, name))(request, context)

        def stream(request: Any, context: Any) -> Iterator[Any]:
            yield from answer(request, context)

        return stream if name in ("Execute", "WaitExecution", "Read") else answer

    # -- what a sound engine answers

    def GetCapabilities(self, request: Any, context: Any) -> ServerCapabilities:
        said = ServerCapabilities()
        said.cache_capabilities.digest_functions.append(DigestFunction.SHA256)
        said.execution_capabilities.digest_function = DigestFunction.SHA256
        said.execution_capabilities.exec_enabled = True
        said.high_api_version.major, said.high_api_version.minor = 2, 3
        if self.zstd:
            said.cache_capabilities.supported_compressors.append(Compressor.ZSTD)
            said.cache_capabilities.supported_batch_update_compressors.append(Compressor.ZSTD)
        return said

    def FindMissingBlobs(self, request: Any, context: Any) -> FindMissingBlobsResponse:
        missing = [digest for digest in request.blob_digests if digest.hash not in self.blobs]
        return FindMissingBlobsResponse(missing_blob_digests=missing)

    def BatchUpdateBlobs(self, request: Any, context: Any) -> BatchUpdateBlobsResponse:
        answer = BatchUpdateBlobsResponse()
        for blob in request.requests:
            data = zstandard.decompress(blob.data) if blob.compressor == Compressor.ZSTD else blob.data
            assert hashlib.sha256(data).hexdigest() == blob.digest.hash and len(data) == blob.digest.size_bytes
            self.blobs[blob.digest.hash] = data
            answer.responses.add(digest=blob.digest)
        return answer

    def BatchReadBlobs(self, request: Any, context: Any) -> BatchReadBlobsResponse:
        answer = BatchReadBlobsResponse()
        for digest in request.digests:
            data = self.blobs.get(digest.hash)
            blob = answer.responses.add(digest=digest, data=data or b"")
            if data is None:
                blob.status.code = grpc.StatusCode.NOT_FOUND.value[0]
            elif Compressor.ZSTD in request.acceptable_compressors:
                blob.data, blob.compressor = zstandard.compress(data), Compressor.ZSTD
        return answer

    def GetActionResult(self, request: Any, context: Any) -> ActionResult:
        found = self.results.get(request.action_digest.hash)
        if found is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such result")
        return found

    def Execute(self, request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.EXECUTING)
        yield operation("op", self.result(request.action_digest.hash))

    def WaitExecution(self, request: Any, context: Any) -> Iterator[Any]:
        action = next(request.action_digest.hash for request in self.requests["Execute"])
        yield operation(request.name, self.result(action))

    def CancelOperation(self, request: Any, context: Any) -> Any:
        self.cancelled.set()
        return empty_pb2.Empty()

    def Read(self, request: Any, context: Any) -> Iterator[Any]:
        kind, name = request.resource_name.split("/")[-3:-1]
        data = self.blobs[name]
        data = zstandard.compress(data) if kind == "zstd" else data[request.read_offset :]
        for start in range(0, len(data), 1 << 20):
            yield bytestream_pb2.ReadResponse(data=data[start : start + (1 << 20)])

    def Write(self, requests: Any, context: Any) -> Any:
        name = ""
        for request in requests:
            name = request.resource_name or name
            data = self.uploads.setdefault(name, bytearray())
            assert request.write_offset == len(data)
            data += request.data
        return self.finish(name)

    def finish(self, name: str) -> Any:
        """An upload is complete."""
        kind, digest, size = name.split("/")[-3:]
        data = bytes(self.uploads[name])
        taken = len(data)
        if kind == "zstd":
            data = zstandard.decompress(data, max_output_size=int(size))
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest, int(size))
        self.blobs[digest] = data
        return bytestream_pb2.WriteResponse(committed_size=taken)

    def QueryWriteStatus(self, request: Any, context: Any) -> Any:
        done = len(self.uploads.get(request.resource_name, b""))
        return bytestream_pb2.QueryWriteStatusResponse(committed_size=done)

    # -- pieces of answers

    def command(self, action: str) -> Command:
        """An action's command; every input of it must be here."""
        found = Action.FromString(self.blobs[action])
        self.walk(found.input_root_digest.hash)
        return Command.FromString(self.blobs[found.command_digest.hash])

    def walk(self, name: str, path: str = "") -> dict[str, bytes]:
        """The files below a folder. Raises KeyError if something is missing."""
        directory = remote_execution_pb2.Directory.FromString(self.blobs[name])
        files = {f"{path}/{file.name}": self.blobs[file.digest.hash] for file in directory.files}
        for inner in directory.directories:
            files |= self.walk(inner.digest.hash, f"{path}/{inner.name}")
        return files

    def result(self, action: str, **fields: Any) -> ExecuteResponse:
        """What a compile comes to that writes ``made`` into each of its outputs."""
        result = ActionResult(**fields)
        for path in self.command(action).output_paths:
            file = result.output_files.add(path=path)
            self.put(self.made, file.digest)
        return ExecuteResponse(result=result)

    def put(self, data: bytes, digest: Any) -> None:
        """Store a content, and name it."""
        digest.hash, digest.size_bytes = hashlib.sha256(data).hexdigest(), len(data)
        self.blobs[digest.hash] = data

    def silent(self, request: Any, context: Any) -> Any:
        """Answer nothing until the end."""
        self.ended.wait(60)
        time.sleep(0)
        context.abort(grpc.StatusCode.UNAVAILABLE, "the end")

    def silent_stream(self, request: Any, context: Any) -> Iterator[Any]:
        """Say that it is being done, and nothing more."""
        yield operation("op", stage=ExecutionStage.EXECUTING)
        self.ended.wait(60)


def operation(name: str, response: Any = None, stage: int = 0) -> Any:
    """What an engine says of an execution."""
    said = operations_pb2.Operation(name=name)
    if response is not None:
        said.done = True
        said.response.Pack(response)
    else:
        said.metadata.Pack(ExecuteOperationMetadata(stage=stage))
    return said
