"""A node that is down is tried again when a job comes: soon, but not at each job, and not if it is distrusted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from manycc.backends import node
from manycc.backends.base import State
from manycc.backends.node import NodeBackend
from manycc.job import Toolchain
from manycc.schedule.pool import Pool

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})


async def down(rest_s: float, monkeypatch: pytest.MonkeyPatch) -> NodeBackend:
    """A backend that has just been refused a connection, and rests for so long; by itself it tries again later."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    backend = NodeBackend("pi", "127.0.0.1", port, 1, {}, 5.0)
    monkeypatch.setattr(node, "RETRY_FIRST_S", rest_s)
    changed = asyncio.Event()
    backend.on_change(changed.set)
    backend.connect()
    await asyncio.wait_for(changed.wait(), 10)
    assert backend.state is State.DOWN
    return backend


@pytest.mark.parametrize(("rest_s", "distrusted", "state"), [(0.0, False, State.CONNECTING), (30.0, False, State.DOWN),
                                                             (0.0, True, State.DOWN)])  # fmt: skip
def test_a_job_has_a_node_that_is_down_tried_again(
    rest_s: float, distrusted: bool, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        backend = await down(rest_s, monkeypatch)
        if distrusted:
            backend.distrust("it sent another kind of object")
        pool = Pool([backend])
        with pytest.raises(Exception, match="no configured host answers"):
            await pool.acquire(GCC)  # the job does not wait for what comes of it
        found = backend.state
        pool.close()
        await backend.close()
        assert found is state

    asyncio.run(play())
