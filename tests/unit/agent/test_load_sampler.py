"""Samples of the agent: begun by a job, ended when there are none, cheap."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from manycc.agent import sampler as module
from manycc.agent.sampler import Sampler
from manycc.backends.base import State
from manycc.backends.line import Line, look
from manycc.monitor.records import RecordLog, read
from manycc.schedule.local import LocalSlots


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop."""

    @functools.wraps(test)
    def run(*fixtures: Any, **named: Any) -> None:
        asyncio.run(test(*fixtures, **named))

    return run


class Runner:
    started = 0
    running = 0


class Backend:
    def __init__(self, name: str, state: State = State.READY) -> None:
        self.name = name
        self.state = state
        self.slots = 4
        self.others = 0


class Host:
    def __init__(self, backend: Backend, busy: int = 0) -> None:
        self.backend = backend
        self.busy = busy


class Pool:
    def __init__(self, hosts: list[Host], waiting: int = 0) -> None:
        self.hosts = hosts
        self.waiting = waiting
        self.short: list[str] = []

    def short_of_memory(self) -> list[str]:
        return self.short


class Hosts:
    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.now: dict[str, Line] = {}
        self.lacking: tuple[str, ...] = ()

    def in_use(self, since: float) -> list[Any]:
        return self.pools

    def lines(self) -> list[tuple[str, Line]]:
        return list(self.now.items())

    def lacking_memory(self) -> tuple[str, ...]:
        return self.lacking


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "samples.jsonl")


@pytest.fixture
def made(runner: Runner, hosts: Hosts, path: str) -> Sampler:
    return Sampler(runner, LocalSlots(2), hosts, RecordLog(path))


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():
            await asyncio.sleep(0.005)


@in_loop
async def test_jobs_begin_it_and_their_end_ends_it(
    made: Sampler, runner: Runner, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    monkeypatch.setattr(module, "EVERY_S", 0.02)
    runner.started = runner.running = 1
    made.wake()
    made.wake()
    assert len(list(read(path))) == 1  # at once, and once
    await until(lambda: len(list(read(path))) >= 4)
    runner.running = 0
    await until(lambda: made._timer is None)
    assert [line["running"] for line in read(path)][-1] == 0
    count = len(list(read(path)))
    runner.started += 1
    made.wake()
    assert len(list(read(path))) == count + 1
    made.close()
    assert len(list(read(path))) == count + 2
    made.close()
    assert len(list(read(path))) == count + 2


@in_loop
async def test_a_job_that_came_and_went_between_two_looks_keeps_it_going(
    made: Sampler, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_S", 0.01)
    made.wake()
    runner.started += 1
    made._look()
    assert made._timer is not None
    made._look()
    assert made._timer is None


@in_loop
async def test_the_end_of_a_build_is_sampled_at_once(made: Sampler, path: str) -> None:
    made.look_now()
    assert list(read(path)) == []  # nothing was done
    made.wake()
    made.look_now()
    assert len(list(read(path))) == 2
    made.close()


@in_loop
async def test_slots_of_ready_hosts_and_how_many_are_taken(made: Sampler, hosts: Hosts) -> None:
    one, other, down = Backend("one"), Backend("other"), Backend("down", State.DOWN)
    other.others = 9  # another agent's jobs, some of them queued there
    first, again = Host(one, 2), Host(one, 1)
    hosts.pools = [Pool([first, Host(other), Host(down)], waiting=3), Pool([again], waiting=1)]
    sample = made.sample()
    assert (sample.slots, sample.taken, sample.waiting) == (8, 3 + 4, 4)
    assert sample.short == ()
    hosts.pools = []
    assert made.sample().slots == 8  # a moment ago they were in use
    assert made.sample().slots == 0


@in_loop
async def test_hosts_that_lack_memory(made: Sampler, hosts: Hosts) -> None:
    hosts.lacking = ("node",)
    hosts.pools = [Pool([Host(Backend("tight"))], waiting=1), Pool([Host(Backend("node"))], waiting=1)]
    hosts.pools[0].short, hosts.pools[1].short = ["tight"], ["node"]
    assert made.sample().short == ("node", "tight")
    hosts.pools[0].short = []
    assert made.sample().short == ("node",)


@in_loop
async def test_bytes_are_counted_over_new_connections(made: Sampler, hosts: Hosts) -> None:
    hosts.now = {"pi": Line(100, 50, 7, 0.02), "old": Line(1000, 0, 3, 0.01)}
    first = made.sample()
    assert (first.sent, first.received, first.backlog, first.round_trip) == (1100, 50, 10, 0.01)
    hosts.now = {"pi": Line(30, 10, 0, 0.0), "old": Line(1500, 5, 0, 0.0)}  # pi was connected anew
    second = made.sample()
    assert (second.sent, second.received, second.backlog, second.round_trip) == (1630, 65, 0, 0.0)
    hosts.now = {}
    assert made.sample().sent == 1630


@in_loop
async def test_a_kernel_that_says_nothing_stops_no_job(
    made: Sampler, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError("no such file")

    monkeypatch.setattr(made._meter, "read", fail)
    made.wake()
    made.close()
    assert list(read(path)) == []
    assert "cannot be measured" in caplog.text


@in_loop
async def test_what_a_sample_costs(made: Sampler, hosts: Hosts) -> None:
    """A budget of 100 µs, of which others on this machine take their part: CPU time, of the best of some."""
    hosts.pools = [Pool([Host(Backend(str(number)), 2) for number in range(16)], waiting=1)]
    costs = []
    for _ in range(10):
        begun = time.process_time()
        for _ in range(module.MEMORY_EVERY):
            made._write()
        costs.append((time.process_time() - begun) / module.MEMORY_EVERY)
    assert min(costs) < 300e-6


@in_loop
async def test_a_line_as_the_kernel_knows_it() -> None:
    got = asyncio.Event()
    total = 100_000

    class Taker(asyncio.Protocol):
        count = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.count += len(data)
            if self.count == total:
                assert isinstance(self.transport, asyncio.Transport)
                self.transport.write(b"x" * 5000)

    class Giver(asyncio.Protocol):
        count = 0

        def data_received(self, data: bytes) -> None:
            self.count += len(data)
            if self.count == 5000:
                got.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Taker, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(Giver, *server.sockets[0].getsockname())
    before = look(transport)
    assert before is not None
    transport.write(b"y" * total)
    await got.wait()
    line = look(transport)
    assert line is not None
    assert line.sent - before.sent == total
    assert line.received - before.received == 5000
    assert line.backlog == 0
    assert 0 < line.round_trip < 1
    transport.close()
    await asyncio.sleep(0)
    assert look(transport) is None
    server.close()
    await server.wait_closed()
