"""What becomes of a job when an engine is in trouble: done there in the end, or handed on with the true reason."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from engine_fake import OBJECT, FakeEngine, operation
from engine_jobs import TIMEOUT_S, a_job, a_toolchain, altered, connected, fails, run, until
from google.rpc.error_details_pb2 import PreconditionFailure

from manycc.backends.base import State
from manycc.engine.backend import EngineBackend
from manycc.errors import BackendError
from manycc.job import LINK, Input, Inputs, Job, Outcome, Toolchain
from manycc.reapi.remote_execution_pb2 import ActionResult, ExecuteResponse, ExecutionStage
from manycc.reasons import Reason
from manycc.schedule.learned import Learned

OURS = "manycc:one"


def failed(engine: FakeEngine, text: bytes, worker: str = "") -> Callable[[Any, Any], Iterator[Any]]:
    def execute(request: Any, context: Any) -> Iterator[Any]:
        result = ActionResult(exit_code=1)
        result.execution_metadata.worker = worker
        engine.put(text, result.stderr_digest)
        yield operation("op", ExecuteResponse(result=result))

    return execute


def says(code: grpc.StatusCode, *details: Any) -> Callable[[Any, Any], Iterator[Any]]:
    """The operation is over, and there is no result but a status."""

    def execute(request: Any, context: Any) -> Iterator[Any]:
        response = ExecuteResponse()
        response.status.code = code.value[0]
        response.status.message = "words"
        for detail in details:
            response.status.details.add().Pack(detail)
        yield operation("op", response)

    return execute


def queued(engine: FakeEngine) -> Callable[[Any, Any], Iterator[Any]]:
    """No worker ever takes the job."""

    def execute(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.QUEUED)
        engine.ended.wait(60)

    return execute


def of_ours(engine: FakeEngine) -> Callable[[Any, Any], Iterator[Any]]:
    return altered(engine, lambda result: setattr(result.execution_metadata, "worker", OURS))


def two_jobs(folder: Path, toolchain: Toolchain) -> list[Job]:
    """With a source each."""
    folders = [folder / "one", folder / "two"]
    for place in folders:
        place.mkdir()
    return [a_job(place, b"int a%d;\n" % number, toolchain=toolchain) for number, place in enumerate(folders)]


# -- whose word counts


def test_a_failure_on_a_worker_that_is_not_ours_is_repeated_here(engine: FakeEngine, tmp_path: Path) -> None:
    engine.on["Execute"] = failed(engine, b"g++: fatal error: Killed signal\nterminated program cc1plus")
    error = fails(engine, tmp_path, options="?toolchain=input")
    assert error.reason is Reason.REMOTE_ERROR
    assert error.detail == "exit code 1: g++: fatal error: Killed signal"


def test_so_is_one_that_the_engine_remembers(engine: FakeEngine, tmp_path: Path) -> None:
    def known(request: Any, context: Any) -> ActionResult:
        return ActionResult(exit_code=1, stderr_raw=b"cc1: out of memory")

    engine.on["GetActionResult"] = known
    assert fails(engine, tmp_path, options="?toolchain=input").reason is Reason.REMOTE_ERROR


def test_jobs_are_for_workers_of_ours_where_the_trial_was(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        engine.on["Execute"] = of_ours(engine)
        job = a_job(tmp_path)
        assert await backend.proof(job.toolchain) == ""
        assert (await backend.run(job)).way == "same"
        del engine.on["Execute"]  # others work for it, too, and it does not heed properties
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        assert caught.value.reason is Reason.NO_TOOLCHAIN
        assert not backend.proven(job.toolchain)

    run(engine, tmp_path, work)


def test_nor_does_a_result_count_that_others_left(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        engine.on["Execute"] = of_ours(engine)
        job = a_job(tmp_path)
        await backend.run(job)
        action = engine.requests["Execute"][-1].action_digest.hash
        engine.results[action] = engine.result(action).result
        assert (await backend.run(job)).reason is Reason.REMOTE
        assert engine.requests["Execute"][-1].skip_cache_lookup
        engine.results[action].execution_metadata.worker = OURS
        assert (await backend.run(job)).reason is Reason.CACHED

    run(engine, tmp_path, work)


def test_an_engine_that_does_not_let_others_look_into_its_results(engine: FakeEngine, tmp_path: Path) -> None:
    engine.on["GetActionResult"] = lambda _, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    assert run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path))).reason is Reason.REMOTE


# -- workers that left


def test_a_trial_is_really_done(engine: FakeEngine, tmp_path: Path) -> None:
    run(engine, tmp_path, lambda backend: backend.proof(a_toolchain(tmp_path)), options="?toolchain=input")
    assert "GetActionResult" not in engine.calls
    (request,) = engine.requests["Execute"]
    from manycc.reapi.remote_execution_pb2 import Action

    assert request.skip_cache_lookup
    assert Action.FromString(engine.blobs[request.action_digest.hash]).do_not_cache


def test_workers_that_left_after_the_trial(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manycc.engine.backend.TRIAL_QUEUED_S", 0.2)
    monkeypatch.setattr("manycc.engine.backend.MAX_QUEUED_S", 0.2)

    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.run(job)
        engine.on["Execute"] = queued(engine)
        with pytest.raises(BackendError) as caught:
            await asyncio.gather(backend.run(job), backend.run(job))
        assert caught.value.reason is Reason.NODE_BUSY
        assert "no worker of the engine has this compiler" in caught.value.detail
        assert not backend.proven(job.toolchain)
        assert "none took a trial compile within 0.2 s" in await backend.proof(job.toolchain)
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        assert caught.value.reason is Reason.NO_TOOLCHAIN

    run(engine, tmp_path, work, options="?toolchain=property")


def test_a_worker_that_is_lost_and_no_other_one(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manycc.engine.backend.MAX_QUEUED_S", 0.3)

    def execute(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.EXECUTING)
        yield operation("op", stage=ExecutionStage.QUEUED)
        engine.ended.wait(60)

    engine.on["Execute"] = execute
    assert fails(engine, tmp_path).reason is Reason.NODE_BUSY
    assert engine.cancelled.wait(TIMEOUT_S)


def test_an_engine_that_says_nothing_of_queues(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manycc.engine.backend.MAX_QUEUED_S", 0.2)

    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)

        def execute(request: Any, context: Any) -> Iterator[Any]:
            yield operation("op")
            engine.ended.wait(0.6)
            yield operation("op", engine.result(request.action_digest.hash))

        engine.on["Execute"] = execute
        return await backend.run(job)

    assert run(engine, tmp_path, work).reason is Reason.REMOTE


def test_a_worker_that_has_the_compiler_no_more(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        for expected in ("", "the engine says UNIMPLEMENTED: words"):  # a trial between them goes well
            await backend.proof(job.toolchain)
            engine.on["Execute"] = says(grpc.StatusCode.UNIMPLEMENTED)
            with pytest.raises(BackendError) as caught:
                await backend.run(job)
            assert caught.value.reason is Reason.NO_TOOLCHAIN
            assert (backend.proven(job.toolchain), backend.refusal(job.toolchain)) == (False, expected)
            del engine.on["Execute"]

    run(engine, tmp_path, work, options="?toolchain=property")


# -- engines that come back


def test_jobs_of_an_engine_that_is_killed_and_started_anew(engine: FakeEngine, tmp_path: Path) -> None:
    """In the meantime other calls fail, and the engine counts as lost: the jobs there go on all the same."""
    second: list[FakeEngine] = []

    async def work(backend: EngineBackend) -> list[Outcome]:
        toolchain = a_toolchain(tmp_path)
        await backend.proof(toolchain)
        loop = asyncio.get_running_loop()
        begun = asyncio.Semaphore(0)

        def execute(request: Any, context: Any) -> Iterator[Any]:
            yield operation(request.action_digest.hash, stage=ExecutionStage.EXECUTING)
            loop.call_soon_threadsafe(begun.release)
            engine.ended.wait(60)

        def wait(request: Any, context: Any) -> Iterator[Any]:
            yield operation(request.name, engine.result(request.name))

        engine.on["Execute"] = execute
        jobs = two_jobs(tmp_path, toolchain)
        tasks = []
        for job in jobs:
            tasks.append(asyncio.create_task(backend.run(job)))
            await begun.acquire()
        await asyncio.to_thread(engine.stop)
        with pytest.raises(BackendError):  # finds out that it is gone
            await backend.run(a_job(tmp_path, b"int c;\n", toolchain=toolchain))
        channel = backend._channel
        await until(backend, lambda: backend.state is State.DOWN and "reached" not in backend.why)
        assert backend._connecting is not None
        await backend._connecting  # this attempt fails, too, and must not close what the jobs wait on
        assert backend._channel is channel is not None
        assert not any(task.done() for task in tasks)
        second.append(FakeEngine(port=engine.port))
        second[0].blobs = engine.blobs
        second[0].on["WaitExecution"] = wait
        return list(await asyncio.gather(*tasks))

    try:
        outcomes = run(engine, tmp_path, work)
        assert [outcome.outputs[0].data for outcome in outcomes] == [OBJECT, OBJECT]
        assert len({request.name for request in second[0].requests["WaitExecution"]}) == 2
        assert "Execute" not in second[0].calls
    finally:
        for fake in second:
            fake.stop()


def test_an_engine_that_comes_back_without_its_jobs(engine: FakeEngine, tmp_path: Path) -> None:
    def execute(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.EXECUTING)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    def wait(request: Any, context: Any) -> Iterator[Any]:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such operation")
        yield

    engine.on = {"Execute": execute, "WaitExecution": wait}
    error = fails(engine, tmp_path)
    assert (error.reason, error.detail) == (Reason.NODE_LOST, "the engine does not know the job any more")
    assert engine.calls.count("WaitExecution") == 1


def test_an_engine_that_does_not_come_back(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manycc.engine.execute.RESUME_S", 0.7)

    def execute(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", stage=ExecutionStage.EXECUTING)
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    engine.on = {"Execute": execute, "WaitExecution": execute}
    assert fails(engine, tmp_path).reason is Reason.NODE_LOST
    assert 2 <= engine.calls.count("WaitExecution") <= 3


def test_an_engine_that_is_stopped_for_good(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manycc.engine.execute.ABSENT_S", 0.3)
    monkeypatch.setattr("manycc.engine.execute.CANCEL_S", 0.3)

    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def execute(request: Any, context: Any) -> Iterator[Any]:
            yield operation("op", stage=ExecutionStage.EXECUTING)
            loop.call_soon_threadsafe(begun.set)
            engine.ended.wait(60)

        engine.on["Execute"] = execute
        task = asyncio.create_task(backend.run(job))
        await begun.wait()
        await asyncio.to_thread(engine.stop)
        with pytest.raises(BackendError) as caught:
            await asyncio.wait_for(task, TIMEOUT_S)
        assert caught.value.reason is Reason.NODE_LOST

    run(engine, tmp_path, work)


# -- engines with too much to do


def refuses(engine: FakeEngine, name: str, code: grpc.StatusCode, times: int) -> Callable[[Any, Any], Any]:
    numbers = itertools.count(1)

    def answer(request: Any, context: Any) -> Any:
        if next(numbers) <= times:
            context.abort(code, "not now")
        return getattr(engine, name)(request, context)

    return answer


@pytest.mark.parametrize(("code", "times"), [("RESOURCE_EXHAUSTED", 3), ("UNAVAILABLE", 2)])
def test_a_job_waits_until_the_engine_has_room_for_it(
    engine: FakeEngine, tmp_path: Path, code: str, times: int
) -> None:
    async def work(backend: EngineBackend) -> Outcome:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        engine.on["Execute"] = refuses(engine, "Execute", grpc.StatusCode[code], times)
        outcome = await backend.run(job)
        assert backend.state is State.READY
        return outcome

    assert run(engine, tmp_path, work).reason is Reason.REMOTE


def test_but_not_longer_than_for_a_worker(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manycc.engine.backend.MAX_QUEUED_S", 0.5)
    engine.on["Execute"] = refuses(engine, "Execute", grpc.StatusCode.RESOURCE_EXHAUSTED, 1000)
    assert fails(engine, tmp_path).reason is Reason.NODE_BUSY


def test_an_answer_that_is_too_large_is_not_waited_for_again(engine: FakeEngine, tmp_path: Path) -> None:
    def large(request: Any, context: Any) -> Iterator[Any]:
        yield operation("op", engine.result(request.action_digest.hash, stdout_raw=bytes(17 << 20)))

    async def work(backend: EngineBackend) -> BackendError:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        engine.calls.clear()
        engine.on["Execute"] = large
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        return caught.value

    assert "are the most" in run(engine, tmp_path, work).detail
    assert engine.calls.count("Execute") == 1


def test_cancelling_is_repeated(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        job = a_job(tmp_path)
        await backend.proof(job.toolchain)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def execute(request: Any, context: Any) -> Iterator[Any]:
            loop.call_soon_threadsafe(begun.set)
            yield from engine.silent_stream(request, context)

        engine.on["Execute"] = execute
        refusing = refuses(engine, "CancelOperation", grpc.StatusCode.RESOURCE_EXHAUSTED, 4)
        engine.on["CancelOperation"] = refusing
        task = asyncio.create_task(backend.run(job))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(engine.cancelled.wait, TIMEOUT_S)

    run(engine, tmp_path, work)


def test_time_in_the_queue_is_part_of_what_a_job_takes_there(engine: FakeEngine, tmp_path: Path) -> None:
    def times(result: ActionResult) -> None:
        about = result.execution_metadata
        about.queued_timestamp.seconds = 1000
        about.worker_start_timestamp.seconds = 1020
        about.execution_start_timestamp.seconds = 1020
        about.execution_completed_timestamp.seconds = 1021

    engine.on["Execute"] = altered(engine, times)
    job = a_job(tmp_path)
    outcome = run(engine, tmp_path, lambda backend: backend.run(job))
    assert (outcome.phases["queued"], outcome.phases["wall"]) == (20, 1)
    learned = Learned()
    learned.done(outcome.host, job, learned.expect(job), outcome, 21.5, 0.0)
    assert learned.speed(outcome.host).overhead(0) == 20.5


# -- what is lacking, and what is not


def test_a_fault_that_is_none_of_the_inputs(engine: FakeEngine, tmp_path: Path) -> None:
    """An engine says the same of other things: nothing of what it has is to be sent, or asked about, for that."""

    async def work(backend: EngineBackend) -> None:
        toolchain = a_toolchain(tmp_path)
        await backend.run(a_job(tmp_path, toolchain=toolchain))
        assert backend._cas is not None
        known = backend._cas.state
        engine.calls.clear()
        engine.on["Execute"] = says(grpc.StatusCode.FAILED_PRECONDITION)
        with pytest.raises(BackendError):
            await backend.run(a_job(tmp_path, b"int b;\n", toolchain=toolchain))
        assert engine.calls.count("Execute") == 1
        assert backend._cas.state == known

    run(engine, tmp_path, work)


def test_an_engine_that_names_what_it_lacks_is_asked_once_more(engine: FakeEngine, tmp_path: Path) -> None:
    missing = PreconditionFailure()
    missing.violations.add(type="MISSING", subject=f"blobs/{'0' * 64}/1")
    engine.on["Execute"] = says(grpc.StatusCode.FAILED_PRECONDITION, missing)
    assert fails(engine, tmp_path, options="?toolchain=input").reason is Reason.NODE_REFUSED
    assert engine.calls.count("Execute") == 3  # the trial, and the job twice


def test_two_jobs_that_lack_the_same(engine: FakeEngine, tmp_path: Path) -> None:
    """What the one sends again, the other does not find missing any more: it is tried again all the same."""
    compiler = hashlib.sha256(b"compiler").hexdigest()

    async def work(backend: EngineBackend) -> list[Outcome]:
        toolchain = a_toolchain(tmp_path)
        jobs = two_jobs(tmp_path, toolchain)
        await backend.proof(toolchain)
        del engine.blobs[compiler]
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        first: list[str] = []

        def execute(request: Any, context: Any) -> Iterator[Any]:
            action = request.action_digest.hash
            if action not in first:
                first.append(action)
                if len(first) == 1:  # it is answered once the other has sent it
                    loop.call_soon_threadsafe(begun.set)
                    while compiler not in engine.blobs:
                        assert not engine.ended.wait(0.01)
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "missing")
            yield from engine.Execute(request, context)

        engine.on["Execute"] = execute
        slow = asyncio.create_task(backend.run(jobs[0]))
        await begun.wait()
        return [await backend.run(jobs[1]), await slow]

    assert [outcome.reason for outcome in run(engine, tmp_path, work)] == [Reason.REMOTE, Reason.REMOTE]


# -- what an engine is not asked for


@pytest.mark.parametrize("what", ["word", "input"])
def test_what_cannot_be_told_to_an_engine_may_be_told_to_a_node(engine: FakeEngine, tmp_path: Path, what: str) -> None:
    job = a_job(tmp_path, argv=("gcc", "-c", "a.c", "-DA=\udcff")) if what == "word" else a_job(tmp_path)
    if what == "input":
        strange = Input(LINK, "/sys/a", target="b")
        job = a_job(tmp_path, inputs=Inputs([*job.inputs.items, strange], "scan", True, False))

    async def work(backend: EngineBackend) -> None:
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        assert caught.value.reason is Reason.NODE_REFUSED

    run(engine, tmp_path, work)


def test_objections_wait_for_the_trial(engine: FakeEngine, tmp_path: Path) -> None:
    """Workers of ours do what others cannot: of an engine that is not known yet, nobody knows whether it has them."""
    job = a_job(tmp_path, stems=(f"{tmp_path}/a.c.",))

    async def work(backend: EngineBackend) -> None:
        assert backend.objection(job) is None
        with pytest.raises(BackendError) as caught:
            await backend.run(job)
        assert caught.value.reason is Reason.NODE_REFUSED
        assert "every output by name" in caught.value.detail
        assert backend.objection(job) is not None

    run(engine, tmp_path, work)


@pytest.mark.parametrize(("way", "objects"), [("input", True), ("property", False)])
def test_equal_files_that_may_be_one_there(engine: FakeEngine, tmp_path: Path, way: str, objects: bool) -> None:
    job = a_job(tmp_path)
    twins = a_job(tmp_path, inputs=Inputs(job.inputs.items, "scan", True, False, twins=True))

    async def work(backend: EngineBackend) -> None:
        for _ in ("before the trial", "and after it"):
            assert backend.objection(job) is None
            assert (backend.objection(twins) is not None) is objects
            await backend.proof(job.toolchain)

    run(engine, tmp_path, work, options=f"?toolchain={way}")


def test_batches_are_as_small_as_the_engine_wants_them(engine: FakeEngine, tmp_path: Path) -> None:
    def capabilities(request: Any, context: Any) -> Any:
        said = engine.GetCapabilities(request, context)
        said.cache_capabilities.max_batch_total_size_bytes = 1000
        return said

    engine.on["GetCapabilities"] = capabilities
    run(engine, tmp_path, lambda backend: backend.run(a_job(tmp_path)))
    assert all(request.ByteSize() <= 1000 for request in engine.requests["BatchUpdateBlobs"])


# -- trials


def test_an_engine_that_falls_silent_during_a_trial(engine: FakeEngine, tmp_path: Path) -> None:
    engine.on["Execute"] = engine.silent_stream

    async def work(backend: EngineBackend) -> None:
        engine.on["GetCapabilities"] = engine.silent
        with pytest.raises(BackendError) as caught:
            await backend.proof(a_toolchain(tmp_path))
        assert (caught.value.reason, backend.state) == (Reason.NODE_LOST, State.DOWN)
        assert "silent" in backend.why

    run(engine, tmp_path, work, silence_s=0.6)


def test_jobs_go_elsewhere_while_a_trial_takes_long(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manycc.engine.backend.PATIENCE_S", 0.1)

    async def work(backend: EngineBackend) -> None:
        toolchain = a_toolchain(tmp_path)
        asked, go = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def update(request: Any, context: Any) -> Any:
            loop.call_soon_threadsafe(asked.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(60)
            return engine.BatchUpdateBlobs(request, context)

        engine.on["BatchUpdateBlobs"] = update
        sentence = await backend.prove(toolchain)
        assert sentence == backend.refusal(toolchain) == "its compiler is being sent there: 0 of 0 MiB"
        verdict = backend.verdict(toolchain)
        assert verdict is not None
        assert (verdict.refused, verdict.sending) == (sentence, (0, len(b"compiler")))
        assert await backend.prove(toolchain) == sentence  # at once
        go.set()
        await until(backend, lambda: backend.proven(toolchain))
        assert backend.refusal(toolchain) == ""
        assert await backend.prove(toolchain) == ""

    run(engine, tmp_path, work, options="?toolchain=input")


def test_what_a_trial_showed_is_tried_first_by_the_next_agent(engine: FakeEngine, tmp_path: Path) -> None:
    async def once(backend: EngineBackend) -> tuple[str, int]:
        engine.calls.clear()
        await backend.proof(a_toolchain(tmp_path))
        verdict = backend.verdict(a_toolchain(tmp_path))
        assert verdict is not None
        return verdict.way, engine.calls.count("Execute")

    assert run(engine, tmp_path, once) == ("shipped", 2)  # nobody of ours took it
    assert run(engine, tmp_path, once) == ("shipped", 1)
    engine.made = b"another"  # it is another engine: what was remembered is not believed
    assert run(engine, tmp_path, once)[0] == ""
    engine.made = OBJECT
    engine.on["Execute"] = of_ours(engine)
    assert run(engine, tmp_path, once) == ("same", 1)  # and forgotten
    (tmp_path / "engines.json").write_text("[[[")
    assert run(engine, tmp_path, once) == ("same", 1)


def test_what_was_remembered_is_for_the_same_question_only(engine: FakeEngine, tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(engine, tmp_path) as backend:
            await backend.proof(a_toolchain(tmp_path))
        engine.calls.clear()
        async with connected(engine, tmp_path, "?property=a=b") as backend:
            await backend.proof(a_toolchain(tmp_path))
        assert engine.calls.count("Execute") == 2

    asyncio.run(main())


def test_a_channel_that_was_closed(engine: FakeEngine, tmp_path: Path) -> None:
    async def work(backend: EngineBackend) -> None:
        channel = backend._channel
        assert channel is not None
        await backend.proof(a_toolchain(tmp_path))
        await channel.close()
        with pytest.raises(BackendError) as caught:
            await backend.run(a_job(tmp_path, cacheable=False))
        assert caught.value.reason is Reason.NODE_LOST

    run(engine, tmp_path, work)
