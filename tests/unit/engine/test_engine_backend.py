"""The client against an engine that fails, lies, stops or is slow."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from engine_fake import OBJECT, FakeEngine, operation
from engine_jobs import TIMEOUT_S, a_job, a_toolchain, altered, fails, run

from manycc.backends.base import State
from manycc.engine.backend import EngineBackend
from manycc.errors import BackendError, InputsChanged
from manycc.job import Outcome
from manycc.reapi import bytestream_pb2
from manycc.reapi.remote_execution_pb2 import ActionResult, Digest, ExecuteResponse, ExecutionStage
from manycc.reasons import Reason


def test_a_job_and_its_tree(engine: FakeEngine, tmp_path: Path) -> None:
    outcome: Outcome = run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path)))
    assert (outcome.reason, outcome.exit_code) == (Reason.REMOTE, 0)
    assert [(output.path, output.data, output.mode) for output in outcome.outputs] == [
        (f"{tmp_path}/a.o", OBJECT, 0o644)
    ]
    action = engine.requests["Execute"][-1].action_digest.hash
    command = engine.command(action)
    assert command.arguments == ["/usr/bin/gcc", "-c", "a.c"]
    assert command.working_directory == str(tmp_path)[1:]
    from manycc.reapi.remote_execution_pb2 import Action

    root = Action.FromString(engine.blobs[action]).input_root_digest.hash
    assert engine.walk(root) == {f"{tmp_path}/a.c": b"int a;\n", f"{tmp_path}/cc1": b"compiler"}


def test_nothing_is_sent_twice(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        toolchain = a_toolchain(tmp_path)
        await backend.run(a_job(tmp_path, toolchain=toolchain))
        engine.requests.clear()
        await backend.run(a_job(tmp_path, b"int b;\n", toolchain=toolchain))

    run(engine, tmp_path, work)
    sent = [blob.digest.hash for batch in engine.requests["BatchUpdateBlobs"] for blob in batch.requests]
    assert len(sent) == len(set(sent)) <= 3 + str(tmp_path).count("/")  # source, action, command, folders above
    assert hashlib.sha256(b"compiler").hexdigest() not in sent


def test_a_result_that_the_engine_has(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.run(job)
        action = engine.requests["Execute"][-1].action_digest.hash
        engine.results[action] = engine.result(action).result
        return await backend.run(job)

    outcome = run(engine, tmp_path, work)
    assert outcome.reason is Reason.CACHED
    assert outcome.outputs[0].data == OBJECT
    assert engine.calls.count("Execute") == 3  # two trials, and the first


def test_a_result_whose_output_was_dropped_is_made_again(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.run(job)
        action = engine.requests["Execute"][-1].action_digest.hash
        engine.results[action] = engine.result(action).result
        del engine.blobs[hashlib.sha256(OBJECT).hexdigest()]
        return await backend.run(job)

    outcome = run(engine, tmp_path, work)
    assert (outcome.reason, outcome.outputs[0].data) == (Reason.REMOTE, OBJECT)
    assert engine.requests["Execute"][-1].skip_cache_lookup


def test_a_compile_error_is_an_outcome(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)

        def execute(request: Any, context: Any) -> Iterator[Any]:
            result = ActionResult(exit_code=1)
            result.execution_metadata.worker = "manycc:one"
            engine.put(b"a.c:1: error", result.stderr_digest)
            yield operation("op", ExecuteResponse(result=result))

        engine.on["Execute"] = execute
        return await backend.run(job)

    outcome = run(engine, tmp_path, work)
    assert (outcome.exit_code, outcome.stderr, outcome.outputs) == (1, b"a.c:1: error", [])


def test_a_missing_input_is_sent_again_once(engine: FakeEngine, tmp_path: Path) -> None:
    lost = []

    async def work(backend: EngineBackend) -> Outcome:
        toolchain = a_toolchain(tmp_path)
        await backend.run(a_job(tmp_path, toolchain=toolchain))

        def execute(request: Any, context: Any) -> Iterator[Any]:
            if not lost:
                lost.append(engine.blobs.pop(hashlib.sha256(b"compiler").hexdigest()))
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "MISSING")
            yield from engine.Execute(request, context)

        engine.on["Execute"] = execute
        return await backend.run(a_job(tmp_path, b"int b;\n", toolchain=toolchain))

    assert run(engine, tmp_path, work).reason is Reason.REMOTE
    assert lost == [b"compiler"]


def test_an_input_that_stays_missing(engine: FakeEngine, tmp_path: Path) -> None:
    def execute(request: Any, context: Any) -> Iterator[Any]:
        response = ExecuteResponse()
        response.status.code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
        response.status.message = "MISSING\nblob"
        yield operation("op", response)

    engine.on["Execute"] = execute
    error = fails(engine, tmp_path)
    assert (error.reason, error.detail) == (Reason.NODE_REFUSED, "the engine says FAILED_PRECONDITION: MISSING blob")
    assert engine.calls.count("Execute") == 3  # two trials, and the job: nothing was missing


def test_a_stream_that_breaks_off_is_taken_up_again(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        engine.requests.clear()

        def execute(request: Any, context: Any) -> Iterator[Any]:
            yield operation("the operation", stage=ExecutionStage.EXECUTING)
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

        engine.on["Execute"] = execute
        return await backend.run(job)

    assert run(engine, tmp_path, work).reason is Reason.REMOTE
    assert [request.name for request in engine.requests["WaitExecution"]] == ["the operation"]


def test_a_caller_who_leaves_cancels_the_operation(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def execute(request: Any, context: Any) -> Iterator[Any]:
            loop.call_soon_threadsafe(begun.set)
            yield from engine.silent_stream(request, context)

        engine.on["Execute"] = execute
        task = asyncio.create_task(backend.run(job))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(engine.cancelled.wait, TIMEOUT_S)

    run(engine, tmp_path, work)
    assert [request.name for request in engine.requests["CancelOperation"]] == ["op"]


def test_an_engine_that_falls_silent(engine: FakeEngine, tmp_path: Path) -> None:
    engine.on = {"Execute": engine.silent_stream, "GetCapabilities": engine.silent}
    error = fails(engine, tmp_path, silence_s=0.6)
    assert error.reason is Reason.NODE_LOST
    assert "silent" in error.detail


def test_a_channel_that_is_closed_under_a_job(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def result(request: Any, context: Any) -> Any:
            loop.call_soon_threadsafe(begun.set)
            return engine.silent(request, context)

        engine.on["GetActionResult"] = result
        task = asyncio.create_task(backend.run(job))
        await begun.wait()
        await backend._drop_channel()
        with pytest.raises(BackendError) as caught:
            await task
        assert caught.value.reason is Reason.NODE_LOST

    run(engine, tmp_path, work)


def test_a_job_that_takes_too_long(engine: FakeEngine, tmp_path: Path) -> None:
    engine.on = {"Execute": engine.silent_stream}
    assert fails(engine, tmp_path, job_s=1.0).reason is Reason.NODE_TIMEOUT
    assert engine.cancelled.wait(TIMEOUT_S)


def test_an_engine_without_a_worker_for_the_toolchain(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manycc.engine.backend.TRIAL_QUEUED_S", 0.3)

    def execute(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.QUEUED)
        engine.ended.wait(60)

    engine.on["Execute"] = execute
    sentence = run(engine, tmp_path, lambda backend: backend.proof(a_toolchain(tmp_path)))
    assert "no worker of the engine has this compiler" in sentence
    assert "sent along" in sentence and "left to workers" in sentence


def test_the_toolchain_as_a_property(engine: FakeEngine, tmp_path: Path) -> None:
    options = "?toolchain=property&property=OSFamily=linux"
    outcome = run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path)), options=options)
    assert outcome.way == "same"
    command = engine.command(engine.requests["Execute"][-1].action_digest.hash)
    properties = [(one.name, one.value) for one in command.platform.properties]
    assert properties == [("OSFamily", "linux"), ("toolchain", "f" * 64)]
    assert hashlib.sha256(b"compiler").hexdigest() not in engine.blobs


@pytest.mark.parametrize(("worker", "way"), [("manycc:one", "same"), ("one", "shipped"), ("", "shipped")])
def test_the_property_is_only_believed_of_workers_of_ours(
    engine: FakeEngine, tmp_path: Path, worker: str, way: str
) -> None:
    def said(result: ActionResult) -> None:
        result.execution_metadata.worker = worker

    engine.on["Execute"] = altered(engine, said)
    assert run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path))).way == way


def test_words_for_workers_of_ours(engine: FakeEngine, tmp_path: Path) -> None:
    stems = (f"{tmp_path}/a.c.",)

    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path, terminal=True, stems=stems)
        await backend.proof(job.toolchain)
        assert backend.objection(job) is None

        def dumped(result: ActionResult) -> None:
            engine.put(b"dump", result.output_files.add(path="a.c.005t.original").digest)

        engine.on["Execute"] = altered(engine, dumped)
        return await backend.run(job)

    outcome = run(engine, tmp_path, work, options="?toolchain=property")
    assert sorted(output.path for output in outcome.outputs) == [f"{tmp_path}/a.c.005t.original", f"{tmp_path}/a.o"]
    command = engine.command(engine.requests["Execute"][-1].action_digest.hash)
    assert command.arguments == ["gcc", "-c", "a.c"]
    env = {one.name: one.value for one in command.environment_variables}
    assert (env["MANYCC_DRIVER"], env["MANYCC_TERMINAL"], env["MANYCC_OUTPUTS"]) == ("/usr/bin/gcc", "1", "all")


def test_workers_that_make_another_object(engine: FakeEngine, tmp_path: Path) -> None:
    engine.made = b"another"
    sentence = run(engine, tmp_path, lambda backend: backend.proof(a_toolchain(tmp_path)))
    assert "another object" in sentence


@pytest.mark.parametrize("zstd", [False, True])
def test_large_contents_go_in_streams(engine: FakeEngine, tmp_path: Path, zstd: bool) -> None:
    engine.zstd = zstd
    large = bytes(range(256)) * 4096 * 6
    engine.made = OBJECT

    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path, large)
        await backend.proof(job.toolchain)
        engine.made = large
        return await backend.run(job)

    outcome = run(engine, tmp_path, work)
    assert outcome.outputs[0].data == large
    assert engine.blobs[hashlib.sha256(large).hexdigest()] == large
    assert (outcome.sent < len(large) // 10) is zstd


def test_a_broken_upload_goes_on_where_it_stopped(engine: FakeEngine, tmp_path: Path) -> None:
    large = bytes(5 << 20)
    offsets = []

    def write(requests: Any, context: Any) -> Any:
        name = ""
        for request in requests:
            name = request.resource_name or name
            data = engine.uploads.setdefault(name, bytearray())
            offsets.append(request.write_offset)
            assert request.write_offset == len(data)
            data += request.data
            if len(offsets) == 2:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        return engine.finish(name)

    engine.on["Write"] = write
    run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path, large)))
    assert offsets[:3] == [0, 1 << 20, 2 << 20]


def test_a_broken_download_goes_on_where_it_stopped(engine: FakeEngine, tmp_path: Path) -> None:
    large = bytes(5 << 20)

    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        engine.made = large

        def read(request: Any, context: Any) -> Iterator[Any]:
            for number, piece in enumerate(engine.Read(request, context)):
                if number == 2 and not request.read_offset:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
                yield piece

        engine.on["Read"] = read
        return await backend.run(job)

    assert run(engine, tmp_path, work).outputs[0].data == large
    assert [request.read_offset for request in engine.requests["Read"]] == [0, 2 << 20]


def test_an_input_that_changed_since(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        (tmp_path / "a.c").write_text("changed")
        with pytest.raises(InputsChanged):
            await backend.run(job)

    run(engine, tmp_path, work)


LIES: dict[str, tuple[Callable[[ActionResult], Any], Reason]] = {
    "a path out of the tree": (lambda result: setattr(result.output_files[0], "path", "../../etc/x"),
                               Reason.UNEXPECTED_OUTPUT),
    "an absolute path": (lambda result: setattr(result.output_files[0], "path", "/etc/x"), Reason.UNEXPECTED_OUTPUT),
    "a file twice": (lambda result: result.output_files.append(result.output_files[0]), Reason.UNEXPECTED_OUTPUT),
    "a link": (lambda result: result.output_symlinks.add(path="a.o", target="/etc/x"), Reason.UNEXPECTED_OUTPUT),
    "a folder": (lambda result: result.output_directories.add(path="d"), Reason.UNEXPECTED_OUTPUT),
    "too many files": (lambda result: [result.output_files.add(path=str(number)) for number in range(2000)],
                       Reason.PROTOCOL),
    "a file of a terabyte": (lambda result: setattr(result.output_files[0].digest, "size_bytes", 1 << 40),
                             Reason.PROTOCOL),
    "a file of less than nothing": (lambda result: setattr(result.output_files[0].digest, "size_bytes", -1),
                                    Reason.PROTOCOL),
    "no digest": (lambda result: result.output_files[0].ClearField("digest"), Reason.PROTOCOL),
    "a digest of something else": (lambda result: setattr(result.output_files[0], "contents", b"other"),
                                   Reason.PROTOCOL),
    "messages of a gigabyte": (lambda result: result.stderr_digest.CopyFrom(Digest(hash="a" * 64, size_bytes=1 << 30)),
                               Reason.NODE_FAULT),
    "an exit code that is none": (lambda result: setattr(result, "exit_code", -9), Reason.COMPILER_KILLED),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_results_that_are_lies(engine: FakeEngine, tmp_path: Path, lie: str) -> None:
    change, reason = LIES[lie]
    engine.on["Execute"] = altered(engine, change)
    assert fails(engine, tmp_path).reason is reason


def test_contents_that_are_lies(engine: FakeEngine, tmp_path: Path) -> None:
    def read(request: Any, context: Any) -> Any:
        answer = engine.BatchReadBlobs(request, context)
        answer.responses[0].data = b"0bject"
        return answer

    engine.on["BatchReadBlobs"] = read
    error = fails(engine, tmp_path)
    assert (error.reason, "digest" in error.detail) == (Reason.PROTOCOL, True)


def test_a_bomb(engine: FakeEngine, tmp_path: Path) -> None:
    import zstandard

    engine.zstd = True

    def read(request: Any, context: Any) -> Any:
        answer = engine.BatchReadBlobs(request, context)
        answer.responses[0].data = zstandard.compress(bytes(1 << 30))
        return answer

    engine.on["BatchReadBlobs"] = read
    assert fails(engine, tmp_path).reason is Reason.PROTOCOL


def test_a_stream_without_end(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        engine.made = bytes(5 << 20)

        def read(request: Any, context: Any) -> Iterator[Any]:
            while not engine.ended.is_set():
                yield bytestream_pb2.ReadResponse(data=bytes(1 << 20))

        engine.on["Read"] = read
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        assert caught.value.reason is Reason.PROTOCOL

    run(engine, tmp_path, work)


def test_an_engine_that_misses_what_nobody_offered(engine: FakeEngine, tmp_path: Path) -> None:
    from manycc.reapi.remote_execution_pb2 import FindMissingBlobsResponse

    def find(request: Any, context: Any) -> Any:
        return FindMissingBlobsResponse(missing_blob_digests=[Digest(hash="0" * 64, size_bytes=1)])

    engine.on["FindMissingBlobs"] = find

    async def work(backend: EngineBackend) -> None:
        with pytest.raises(BackendError) as caught:
            await backend.run(a_job(tmp_path, bytes(100_000)))
        assert caught.value.reason is Reason.PROTOCOL

    run(engine, tmp_path, work)


def test_a_store_that_is_full(engine: FakeEngine, tmp_path: Path) -> None:
    def update(request: Any, context: Any) -> Any:
        answer = engine.BatchUpdateBlobs(request, context)
        answer.responses[0].status.code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        return answer

    engine.on["BatchUpdateBlobs"] = update
    assert fails(engine, tmp_path).reason is Reason.NODE_DISK


def test_an_engine_that_only_caches(engine: FakeEngine, tmp_path: Path) -> None:
    def capabilities(request: Any, context: Any) -> Any:
        said = engine.GetCapabilities(request, context)
        said.execution_capabilities.exec_enabled = False
        return said

    engine.on["GetCapabilities"] = capabilities

    async def work(backend: EngineBackend) -> str:
        assert backend.state is State.DOWN
        return backend.why

    assert "only a cache" in run(engine, tmp_path, work)


def test_a_token_that_is_renewed(engine: FakeEngine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")

    def result(request: Any, context: Any) -> Any:
        if engine.metadata[-1].get("authorization") == "Bearer first":
            token.write_text("the second\n".replace("the ", ""))
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "it ran out")
        return engine.GetActionResult(request, context)

    engine.on["GetActionResult"] = result
    options = f"?token-file={token}&header=X-Team:blue"
    assert run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path)), options=options).exit_code == 0
    assert engine.metadata[-1]["authorization"] == "Bearer second"
    assert engine.metadata[-1]["x-team"] == "blue"


def test_a_token_from_a_command(engine: FakeEngine, tmp_path: Path) -> None:
    options = "?token-command=printf%20made%25s%20up"
    run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path)), options=options)
    assert engine.metadata[-1]["authorization"] == "Bearer madeup"


@pytest.mark.parametrize("command", ["false", "true", "/nonexistent", "printf%20a%5C%20b"])
def test_a_token_command_that_gives_none(engine: FakeEngine, tmp_path: Path, command: str) -> None:
    async def work(backend: EngineBackend) -> str:
        assert backend.state is State.DOWN
        return backend.why

    assert "token" in run(engine, tmp_path, work, options=f"?token-command={command}")
