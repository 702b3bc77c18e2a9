"""The numbers of inputs that a connection takes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from test_node_backend import PlayedNode, job, play, source

from manycc.backends import connection as connection_module
from manycc.backends.node import NodeBackend
from manycc.wire import native


def test_numbers_of_the_very_job_are_not_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One job after the other, each with more inputs than the bound: only the new source is announced."""
    monkeypatch.setattr(connection_module, "_MOST_NUMBERS", 3)

    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        headers = [source(tmp_path / f"h{number}.h", f"int h{number};") for number in range(6)]
        announced = []
        for number in range(4):
            unit = source(tmp_path / f"a{number}.c", f"int i{number};")
            done = asyncio.create_task(backend.run(job(*headers, unit)))
            announced.append(len((await node.next(native.ANNOUNCE))[1]))
            node.result((await node.next(native.JOB))[1])
            await done
        assert announced == [7, 1, 1, 1]

    play(test)


def test_numbers_are_taken_back_before_others_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node holds MAX_INPUTS at most, counted when an announcement comes: two jobs of 60,000 inputs break it."""
    monkeypatch.setattr(connection_module, "_MOST_NUMBERS", 3)

    async def test(node: PlayedNode, backend: NodeBackend) -> None:
        held: set[int] = set()
        most = 0
        for turn in range(3):
            items = [source(tmp_path / f"h{turn}_{number}.h", f"int h{turn}_{number};") for number in range(10)]
            done = asyncio.create_task(backend.run(job(*items)))
            while (message := await asyncio.wait_for(node.received.get(), 5))[0] != native.JOB:
                if message[0] == native.ANNOUNCE:
                    held.update(entry[0] for entry in message[1])
                    most = max(most, len(held))
                elif message[0] == native.RETRACT:
                    held.difference_update(message[1])
            node.result(message[1])
            await done
        assert most == 10

    play(test)
