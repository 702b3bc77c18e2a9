"""Whatever is struck in the middle of a build that goes through BuildGrid, the build ends as it would have here.

Real launchers, an agent, the server with its PostgreSQL, two workers; the compilers are held, so that faults strike in
mid-job on any machine. In every case the objects are the local compiler's, and nobody sees a word of it.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from manycc.testing.badline import BadLine
from manycc.testing.buildgrid import INSTANCE, Farm
from manycc.testing.cluster import Cluster
from manycc.testing.heldcompile import HeldCompile, hold_all, strangers_compiler, wait_for

LONG = pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it")
LONGEST_S = 300.0
SILENCE_S = 1
"""MANYCC_SILENCE of an agent whose engine is to fall silent."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(str(tmp_path_factory.mktemp("c")), nodes=0) as cluster:
        yield cluster


@pytest.fixture
def agent(farm: Farm, client: Cluster, tmp_path: Path) -> Cluster:
    """An agent whose engine is up, and serves the compiler."""
    client.env["MANYCC_HOSTS"] = f"{farm.engine.url}?slots=8&toolchain=property"
    until_remote(client, tmp_path)
    return client


def small(cluster: Cluster, folder: Path, number: int = 0, compiler: str = "g++") -> dict[str, Any]:
    """Compile a small source that no engine has seen, and compare; the record."""
    name = f"small{number}"
    (folder / f"{name}.cc").write_text(f"/* {folder} */ int s{number}(int x) {{ return x + {number}; }}\n")
    argv = [compiler, "-g", "-c", f"{name}.cc", "-o", f"{name}.o"]
    subprocess.run(argv, cwd=folder, check=True)
    expected = (folder / f"{name}.o").read_bytes()
    seen = len(cluster.records())
    done = cluster.compile(argv, str(folder), timeout=LONGEST_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / f"{name}.o").read_bytes() == expected
    return cluster.wait_records(seen + 1)[seen]


def until_remote(cluster: Cluster, folder: Path) -> dict[str, Any]:
    """Compile until the engine is found, has passed its trial, and does it; the record of what it did."""
    numbers = itertools.count(1000)
    return wait_for(lambda: there(small(cluster, folder, next(numbers))))


def there(record: dict[str, Any]) -> dict[str, Any]:
    """A record, if the engine did the job; else nothing."""
    return record if record["reason"] == "remote" else {}


Start = Callable[[Cluster, int], list[HeldCompile]]


@pytest.fixture
def start(farm: Farm, tmp_path: Path) -> Iterator[Start]:
    """Makes compiles that are held by their workers. None is left."""
    all_of_them: list[HeldCompile] = []

    def begin(agent: Cluster, count: int) -> list[HeldCompile]:
        held = [HeldCompile(agent, tmp_path) for _ in range(count)]
        all_of_them.extend(held)
        for one in held:
            one.start()
        hold_all(held)
        for one in held:
            farm.worker_of(one.pid)  # not here
        return held

    yield begin
    for one in all_of_them:
        one.abandon()


def test_agent_killed(farm: Farm, agent: Cluster, start: Start, tmp_path: Path) -> None:
    """kill -9 of the agent: its launchers compile here; what it had sent is compiled to its end, and not in vain."""
    (held,) = start(agent, 1)
    os.kill(agent.agent_pid(), signal.SIGKILL)
    record = held.end()
    assert (record["by"], record["reason"]) == ("launcher", "agent-lost"), record
    assert held.running() == [held.pid]  # nobody is left to cancel it
    held.go()
    wait_for(lambda: not held.running())
    until_remote(agent, tmp_path)
    held.start()
    assert held.end()["reason"] in ("cached", "remote")  # it may come before the worker's report
    logs = "".join(Path(worker.log).read_text() for worker in farm.workers)
    assert logs.count(f"{held.source} exit 0") == 1


def test_engine_killed(farm: Farm, agent: Cluster, start: Start, tmp_path: Path) -> None:
    """kill -9 of the engine, and its start: what was under way is taken up again, though others found it down."""
    held = start(agent, 3)
    pids = [one.pid for one in held]
    farm.engine.kill()
    during = small(agent, tmp_path)
    assert during["reason"] in ("node-lost", "hosts-down"), during
    farm.engine.start()
    assert sorted(pid for one in held for pid in one.running()) == sorted(pids)  # workers go on
    for one in held:
        one.go()
    records = [one.end() for one in held]
    assert [record["reason"] for record in records] == 3 * ["remote"], records
    until_remote(agent, tmp_path)


def test_worker_killed(farm: Farm, agent: Cluster, start: Start, tmp_path: Path) -> None:
    """kill -9 of a worker: another does its job, and nothing of the first is left."""
    (held,) = start(agent, 1)
    first = held.pid
    worker = farm.worker_of(first)
    worker.kill()
    wait_for(lambda: first not in held.running())
    assert farm.worker_of(held.hold(besides=first)) is not worker
    held.go()
    record = held.end()
    assert (record["reason"], record.get("tried")) == ("remote", None), record


@LONG
@pytest.mark.timeout(300)
def test_database_stopped(farm: Farm, agent: Cluster, start: Start, tmp_path: Path) -> None:
    """PostgreSQL is away for a while: what was under way is delivered after it, what comes meanwhile is done here.

    BuildGrid asks nothing of a database that has failed for 30 s, whether it is back or not.
    """
    held = start(agent, 2)
    farm.engine.database.stop()
    during = small(agent, tmp_path)
    assert during["reason"] != "remote", during
    held[0].go()  # its result comes while nobody can take it
    wait_for(lambda: not held[0].running())
    farm.engine.database.resume()
    held[1].go()
    records = [one.end() for one in held]
    assert [record["reason"] for record in records] == ["remote", "remote"], records
    until_remote(agent, tmp_path)


def test_cancelled(farm: Farm, agent: Cluster, start: Start, tmp_path: Path) -> None:
    """Ctrl-C: the worker is told, kills the compiler, and its slot is free."""
    (held,) = start(agent, 1)
    log = Path(farm.worker_of(held.pid).log)
    before = log.read_text().count("a job cancelled")
    assert held.process is not None
    held.process.send_signal(signal.SIGINT)
    assert held.process.wait(60) == -signal.SIGINT
    wait_for(lambda: not held.running())
    wait_for(lambda: log.read_text().count("a job cancelled") > before)
    assert held.record()["reason"] == "cancelled"
    more = start(agent, 4)  # all the slots there are
    for one in more:
        one.go()
    assert [one.end()["reason"] for one in more] == 4 * ["remote"]


def test_slow_then_silent(farm: Farm, start: Start, tmp_path: Path) -> None:
    """An engine that takes its time is waited for; one that says nothing any more is left; and found again."""
    with BadLine(farm.engine.port, delay_s=0.1) as line, Cluster(str(tmp_path / "c"), nodes=0) as other:
        other.env |= {
            "MANYCC_HOSTS": f"reapi://127.0.0.1:{line.port}/{INSTANCE}?toolchain=property",
            "MANYCC_SILENCE": str(SILENCE_S),
        }
        record = until_remote(other, tmp_path)
        assert float(record["phases"]["remote"]) > 4 * line.delay_s
        (held,) = start(other, 1)
        line.fall_silent()
        record = held.end()
        assert record["reason"] == "node-lost", record
        assert record["detail"] == f"the engine was silent for {SILENCE_S} s"
        line.speak_again()
        held.go()
        until_remote(other, tmp_path)


def test_two_agents(agent: Cluster, start: Start, tmp_path: Path) -> None:
    """Two agents have jobs there at the same time."""
    with Cluster(str(tmp_path / "c"), nodes=0) as other:
        other.env["MANYCC_HOSTS"] = agent.env["MANYCC_HOSTS"]
        until_remote(other, tmp_path)
        held = [*start(agent, 2), *start(other, 2)]
        for one in held:
            one.go()
        assert [one.end()["reason"] for one in held] == 4 * ["remote"]


@LONG
def test_no_worker(farm: Farm, agent: Cluster, tmp_path: Path) -> None:
    """A compiler that no worker has: the user is told so, the job is done here, and the next does not wait for it."""
    strange = strangers_compiler(tmp_path / "usr")
    sentence = (
        "no worker of the engine has this compiler, or all that do are busy: none took a trial compile within 15 s"
    )
    numbers = itertools.count()

    def refused() -> bool:
        record = small(agent, tmp_path, next(numbers), strange)
        assert record["reason"] == "no-toolchain", record
        assert record["phases"]["total"] < 15  # nobody waits for the trial
        return sentence in record["detail"]

    wait_for(refused)
    said = agent.cli("explain", "--", strange, "-c", "small0.cc", check=False, cwd=str(tmp_path))
    assert re.search(r"host reapi://\S+ .*" + re.escape(sentence), said.stdout), said.stdout
    assert said.returncode == 1


@LONG
@pytest.mark.timeout(600)
def test_workers_leave(farm: Farm, agent: Cluster, tmp_path: Path) -> None:
    """All workers go after the compiler was proven: one job waits for them in vain, the next ones do not."""
    for worker in farm.workers:
        worker.stop()
    record = small(agent, tmp_path, 1)
    assert record["reason"] == "node-busy", record
    assert "no worker of the engine took the job within" in record["detail"]
    record = small(agent, tmp_path)
    assert record["reason"] == "no-toolchain", record
    farm.revive()
