"""The line: long jobs first, nobody for ever."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from test_pool import GCC

from manycc.schedule.host import Demand
from manycc.schedule.line import MAX_OVERTAKEN, Line, Waiter
from manycc.schedule.predict import UNKNOWN


def come(line: Line, seconds: float, prefer: str = "", avoid: frozenset[str] = frozenset()) -> Waiter:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return line.add(Demand(GCC, avoid, prefer, None, False, UNKNOWN._replace(seconds=seconds)), future)


def serve(line: Line) -> float:
    head = line.head
    line.remove(head)
    return head.demand.expected.seconds


def test_long_ones_first() -> None:
    async def test() -> None:
        line = Line()
        for seconds in (1.0, 0.1, 8.0, 2.0):
            come(line, seconds)
        assert line.work == 11.1
        assert [serve(line) for _ in range(4)] == [8.0, 2.0, 1.0, 0.1]
        assert line.work == 0.0 and not line

    asyncio.run(test())


def test_equal_ones_in_order_and_the_late_first() -> None:
    async def test() -> None:
        line = Line()
        waiters = [come(line, 1.0) for _ in range(5)]
        late = come(line, 0.1, avoid=frozenset(("bad",)))
        assert list(line) == [late, *waiters]

    asyncio.run(test())


def test_nobody_is_overtaken_for_ever() -> None:
    async def test() -> None:
        line = Line()
        short = come(line, 0.01)
        served = 0
        for _ in range(5 * MAX_OVERTAKEN):
            come(line, 1000.0)
            if line.head is short:
                break
            serve(line)
            served += 1
        assert served <= MAX_OVERTAKEN

    asyncio.run(test())


def test_any_order_of_coming_and_leaving() -> None:
    async def test() -> None:
        chance = random.Random(3)
        line = Line()
        there: list[Waiter] = []
        for _ in range(3000):
            if there and chance.random() < 0.45:
                waiter = there.pop(chance.randrange(len(there)))
                line.remove(waiter)
            else:
                there.append(come(line, chance.choice((0.1, 0.5, 3.0)), chance.choice(("", "a", "b"))))
            assert len(line) == len(there)
            wanting = {waiter for name in ("a", "b") for waiter in line.wanting(name)}
            assert wanting == {waiter for waiter in there if waiter.demand.prefer}
        assert set(line) == set(there)
        orders = [waiter.order for waiter in line]
        assert orders == sorted(orders, reverse=True)
        assert abs(line.work - sum(waiter.demand.expected.seconds for waiter in there)) < 1e-6

    asyncio.run(test())
