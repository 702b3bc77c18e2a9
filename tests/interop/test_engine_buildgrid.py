"""A node as a worker of BuildGrid: jobs through a real server and its PostgreSQL, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from manycc.engine.execute import InputsLost
from manycc.errors import BackendError
from manycc.job import Job
from manycc.reasons import Reason
from manycc.testing.buildgrid import Farm
from manycc.testing.cluster import Cluster
from manycc.testing.engineclient import LIMIT_S, Client, compilers, job, slow_source, talk, until
from manycc.testing.heldcompile import until_served

SLOW = ["g++", "-ftemplate-depth=1000"]
_numbers = itertools.count(1)


def _local(argv: list[str], cwd: Path) -> tuple[bytes, bytes]:
    """The object and the messages of the compiler here."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    data = (cwd / "a.o").read_bytes()
    (cwd / "a.o").unlink()
    return data, done.stderr


def _small(folder: Path, name: str) -> tuple[Job, list[str]]:
    (folder / "inc").mkdir(parents=True)
    (folder / "inc" / "a.h").write_text("#define NUMBER 42\n")
    (folder / f"{name}.c").write_text(f'#include "a.h"\nint {name}(void) {{ int unused; return NUMBER; }}\n')
    argv = ["gcc", "-g", "-O1", "-Wall", "-Iinc", "-c", f"{name}.c", "-o", "a.o"]
    inputs = [str(folder / f"{name}.c"), str(folder / "inc" / "a.h")]
    return job(argv, str(folder), inputs, [str(folder / "a.o")]), argv


def test_job(farm: Farm, tmp_path: Path) -> None:
    wanted, argv = _small(tmp_path, "small")
    expected, messages = _local(argv, tmp_path)

    async def conversation(client: Client) -> Any:
        result = await client.run(wanted)
        again = await client.executor.known_result(client.prepared(wanted))
        return result, await client.outputs(result), await client.text(result.stderr_digest), again

    result, outputs, text, again = talk(farm.engine.url, conversation)
    assert result.exit_code == 0
    assert outputs == {"a.o": expected}
    assert text == messages == result.stderr_raw
    assert result.output_files[0].node_properties.unix_mode.value == 0o644
    assert again.output_files == result.output_files


def test_launcher(farm: Farm, tmp_path: Path, session_folder: str) -> None:
    """A build's own compiles: the same objects, and the second time none is done again."""
    names = [f"part{number}.cc" for number in range(3)]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"#include <string>\nstd::string s{number}() {{ return __FILE__; }}\n")
    with Cluster(os.path.join(session_folder, "engine"), nodes=0) as cluster:
        cluster.env["MANYCC_HOSTS"] = f"{farm.engine.url}?toolchain=property"
        until_served(cluster, tmp_path, "g++")
        for reason in ("remote", "cached"):
            for name in names:
                argv = ["g++", "-g", "-c", name, "-o", "a.o"]
                expected, _ = _local(argv, tmp_path)
                done = cluster.compile(argv, str(tmp_path))
                assert (done.returncode, done.stderr) == (0, b"")
                assert (tmp_path / "a.o").read_bytes() == expected
            assert [record["reason"] for record in cluster.records()[-3:]] == 3 * [reason]


def test_compile_error(farm: Farm, tmp_path: Path) -> None:
    """A compile that fails is a result, with what the compiler says, and is not kept."""
    (tmp_path / "wrong.c").write_text("int f(void) { return undeclared; }\n")
    wanted = job(["gcc", "-c", "wrong.c", "-o", "a.o"], str(tmp_path), [str(tmp_path / "wrong.c")],
                 [str(tmp_path / "a.o")])  # fmt: skip

    async def conversation(client: Client) -> Any:
        result = await client.run(wanted)
        return result, await client.executor.known_result(client.prepared(wanted))

    result, again = talk(farm.engine.url, conversation)
    assert result.exit_code == 1
    assert not result.output_files
    assert b"wrong.c:1:22: error: \xe2\x80\x98undeclared" in result.stderr_raw or b"undeclared" in result.stderr_raw
    assert again is None


def test_refused(farm: Farm, tmp_path: Path) -> None:
    """Nothing but a compile is run, and the engine's client is told why."""
    (tmp_path / "small.c").write_text("int x;\n")
    compiler = job(["gcc"], str(tmp_path), [str(tmp_path / "small.c")], []).toolchain
    wanted = job(["/bin/sh", "-c", "echo hello"], str(tmp_path), [str(tmp_path / "small.c")], [], toolchain=compiler)
    with pytest.raises(BackendError) as error:
        talk(farm.engine.url, lambda client: client.run(wanted))
    assert error.value.reason is Reason.NODE_REFUSED
    assert "INVALID_ARGUMENT" in error.value.detail


def test_no_worker_has_the_compiler(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "small.c").write_text("int x;\n")
    ours = job(["gcc"], str(tmp_path), [str(tmp_path / "small.c")], []).toolchain
    other = dataclasses.replace(ours, fingerprint="0" * 64)
    wanted = job(["gcc", "-c", "small.c", "-o", "a.o"], str(tmp_path), [str(tmp_path / "small.c")],
                 [str(tmp_path / "a.o")], toolchain=other)  # fmt: skip
    with pytest.raises(BackendError) as error:
        talk(farm.engine.url, lambda client: client.run(wanted, queue_s=1.0))
    assert error.value.reason is Reason.NODE_BUSY


def test_input_lost(farm: Farm, tmp_path: Path) -> None:
    """The engine has lost a content that the job names: said at once, and the content can be sent again."""
    wanted, argv = _small(tmp_path, "lost")
    expected, _ = _local(argv, tmp_path)
    lost = wanted.inputs.items[1].digest.hex()

    async def conversation(client: Client) -> Any:
        action = client.prepared(wanted)
        await client.upload(action)
        found = [path for path in Path(farm.engine.storage).rglob(f"*{lost[8:]}*") if path.is_file()]
        assert found
        for path in found:
            path.unlink()
        with pytest.raises(InputsLost) as error:
            await client.executor.execute(action, LIMIT_S, LIMIT_S, fresh=False)
        client.cas.forget()
        return error.value, await client.outputs(await client.run(wanted))

    error, outputs = talk(farm.engine.url, conversation)
    assert "1 contents are missing" in error.detail
    assert outputs == {"a.o": expected}


class Slow:
    """Compiles that take long, stopped as soon as they run, so that they last until they are told to go on."""

    def __init__(self, folder: Path) -> None:
        self.name = f"slow{os.getpid()}x{next(_numbers)}"
        (folder / f"{self.name}.cc").write_text(slow_source(100, next(_numbers)))
        argv = [*SLOW, "-c", f"{self.name}.cc", "-o", "a.o"]
        self.job = job(argv, str(folder), [str(folder / f"{self.name}.cc")], [str(folder / "a.o")])
        self.expected, _ = _local(argv, folder)

    async def running(self) -> int:
        """The compiler's process, stopped."""
        pid = (await until(lambda: compilers(self.name)))[0]
        os.kill(pid, signal.SIGSTOP)
        return pid

    async def over(self) -> None:
        """Wait until no compiler is left of it."""
        await until(lambda: not compilers(self.name))


def test_several_at_once(farm: Farm, tmp_path: Path) -> None:
    """Two workers with two slots each have four jobs at the same time."""
    jobs = []
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        jobs.append(Slow(tmp_path / str(number)))

    async def conversation(client: Client) -> list[dict[str, bytes]]:
        tasks = [asyncio.create_task(client.run(slow.job)) for slow in jobs]
        pids = await asyncio.gather(*(slow.running() for slow in jobs))
        assert len({id(farm.worker_of(pid)) for pid in pids}) == 2
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return [await client.outputs(await task) for task in tasks]

    assert talk(farm.engine.url, conversation) == [{"a.o": slow.expected} for slow in jobs]


def test_worker_drained(farm: Farm, tmp_path: Path) -> None:
    """SIGTERM: what is under way is finished and delivered, nothing new is taken, then the worker ends."""
    slow = Slow(tmp_path)
    (tmp_path / "more").mkdir()

    async def conversation(client: Client) -> Any:
        task = asyncio.create_task(client.run(slow.job))
        pid = await slow.running()
        worker = farm.worker_of(pid)
        assert worker.process is not None
        worker.process.terminate()
        for number in range(2):  # its other slot would have taken one
            wanted, _ = _small((tmp_path / "more" / str(number)), f"more{number}")
            result = await client.run(wanted)
            others = result.execution_metadata.worker
        os.kill(pid, signal.SIGCONT)
        result = await task
        code = await asyncio.to_thread(worker.process.wait, 60)
        worker.start()
        return code, others, result.execution_metadata.worker, await client.outputs(result)

    code, others, own, outputs = talk(farm.engine.url, conversation)
    assert code == 0
    assert others != own
    assert outputs == {"a.o": slow.expected}


@pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
def test_engine_silent(farm: Farm, tmp_path: Path) -> None:
    """An engine that says nothing for longer than a call may take: the worker keeps the job, and delivers it after."""
    slow = Slow(tmp_path)

    async def conversation(client: Client) -> dict[str, bytes]:
        task = asyncio.create_task(client.run(slow.job))
        pid = await slow.running()
        worker = farm.worker_of(pid)
        farm.engine.signal(signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGCONT)
            await until(lambda: "did not answer in time; trying again" in Path(worker.log).read_text())
            assert not task.done()
        finally:
            farm.engine.signal(signal.SIGCONT)
        return await client.outputs(await task)

    assert talk(farm.engine.url, conversation) == {"a.o": slow.expected}
