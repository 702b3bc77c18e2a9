"""A host of which it is not known yet what it runs: a manycc node, or a stock distccd.

It is greeted as a node first. A node greets back; a distccd hangs up on what it does not understand, and
answers a request of its own. What was found out is remembered, over restarts too, and looked at again
when the host stops answering, and from time to time: the same address may become the other kind. A host
that does not answer at all is neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any, Final

from manycc.backends.base import State, Verdict
from manycc.backends.distcc import StockBackend
from manycc.backends.line import Line
from manycc.backends.node import NodeBackend
from manycc.errors import BackendError
from manycc.job import Input, Job, Outcome, Toolchain
from manycc.reasons import Reason

log = logging.getLogger(__name__)

NODE: Final = "node"
STOCK: Final = "stock"
RECHECK_S: Final = 120.0
"""How often a distccd is greeted as a node again, while it is used."""
MAX_REMEMBERED: Final = 1000
MAX_FILE: Final = 1 << 20


class Kinds:
    """What kind each address was last, kept in a file. A file that cannot be read or written is done without."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kinds: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            with open(path, "rb") as file:
                found = json.loads(file.read(MAX_FILE))
            self._kinds = {
                str(address): kind
                for address, entry in list(found.items())[-MAX_REMEMBERED:]
                if (kind := entry.get("kind")) in (NODE, STOCK)
            }

    def of(self, address: str) -> str:
        """NODE, STOCK or "" if it is not known."""
        return self._kinds.get(address, "")

    def set(self, address: str, kind: str) -> None:
        """It has turned out to be this."""
        if self._kinds.get(address) == kind:
            return
        self._kinds.pop(address, None)
        self._kinds[address] = kind
        while len(self._kinds) > MAX_REMEMBERED:
            del self._kinds[next(iter(self._kinds))]
        log.info("%s runs %s", address, "manycc" if kind == NODE else "a stock distccd")
        data = json.dumps({address: {"kind": kind} for address, kind in self._kinds.items()}, indent=1)
        name = f"{self._path}.new"
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(name, "w", encoding="utf-8") as file:
                file.write(data)
            os.replace(name, self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


class DiscoveredBackend:
    """A host of either kind. Satisfies ``schedule.pool.PoolBackend`` by handing on to what it turned out to be."""

    def __init__(
        self,
        name: str,
        address: str,
        kinds: Kinds,
        make_node: Callable[[], NodeBackend],
        make_stock: Callable[[], StockBackend],
        limit_s: float = 5.0,
    ) -> None:
        """``limit_s``: how long it may take to answer as a distccd."""
        self._limit_s = limit_s
        self.name = name
        self._address = address
        self._kinds = kinds
        self._make_node = make_node
        self._node = make_node()
        self._stock = make_stock()
        self._current: NodeBackend | StockBackend = self._node
        self._callbacks: list[Callable[[], None]] = []
        self._node.on_change(self._node_changed)
        self._stock.on_change(self._stock_changed)
        self._stock.rested = self._greet
        self._asking: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._checked = 0.0
        self._closed = False
        self._once_more = False  # it was greeted again, and has not been ready since
        self._trouble = ""  # why it was down last; empty once it was ready again

    # -- what the scheduler reads

    @property
    def kind(self) -> str:
        """What it runs, for people; empty while that is not known."""
        if self._current is self._stock or self._node.state is State.READY:
            return self._current.kind
        return {NODE: self._node.kind, STOCK: self._stock.kind}.get(self._kinds.of(self._address), "")

    @property
    def exact(self) -> bool:
        return self._current.exact

    @property
    def state(self) -> State:
        return State.CONNECTING if self._asking is not None else self._current.state

    @property
    def slots(self) -> int:
        return self._current.slots

    @property
    def why(self) -> str:
        return self._trouble if self.state is State.CONNECTING else self._current.why

    @property
    def others(self) -> int:
        return self._current.others

    @property
    def lacks_memory(self) -> bool:
        """Whether it has slots that its memory does not let it use, as far as it says."""
        return self._current is self._node and self._node.lacks_memory

    def line(self) -> Line | None:
        """How the line to it is now; None if none stays open."""
        return self._node.line()

    @property
    def memory_free(self) -> int | None:
        return self._current.memory_free

    @property
    def told(self) -> float:
        return self._current.told

    @property
    def release(self) -> str:
        """The version of manycc there, if it is a node."""
        return self._current.release

    def refusal(self, toolchain: Toolchain) -> str:
        return self._current.refusal(toolchain)

    def proven(self, toolchain: Toolchain) -> bool:
        return self._current.proven(toolchain)

    def verdicts(self) -> list[Verdict]:
        return self._current.verdicts()

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return self._current.verdict(toolchain)

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return self._current.objection(job)

    def unproven(self, job: Job) -> bool:
        return self._current.unproven(job)

    def keeps_bytes(self, job: Job) -> bool:
        return self._current.keeps_bytes(job)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _changed(self) -> None:
        self._trouble = self.why if self.state is State.DOWN else ""
        for callback in tuple(self._callbacks):
            callback()

    # -- finding out

    def connect(self) -> None:
        self._closed = False
        if self._asking is None:
            self._current.connect()
        if self.state is State.READY:
            self._look_again()  # whoever asks for a connection that is there wants to know how it is now

    def retry(self) -> None:
        if self._asking is None:
            self._current.retry()

    def _node_changed(self) -> None:
        if self._current is not self._node or self._asking is not None:
            return
        if self._node.state is State.READY:
            self._once_more = False
            self._kinds.set(self._address, NODE)
        elif self._node.state is State.DOWN and not self._closed:
            known_stock = self._kinds.of(self._address) == STOCK
            if self._node.hung_up or (self._node.silent and known_stock):
                # One that is known to be a distccd says nothing, either, while all its places are taken.
                self._asking = asyncio.get_running_loop().create_task(self._ask(known_stock))
                return
        self._changed()

    async def _ask(self, known: bool) -> None:
        """It is there, and no node: is it a distccd?"""
        greets = answers = False
        try:
            if not known:
                # A node answers a distccd's clients, too: one greeting that was lost must not make it one.
                greets = await self._greets()
            answers = known or (not greets and await self._stock.answers(self._limit_s))
        except BackendError:
            pass
        finally:
            self._asking = None
        if self._closed:
            return
        if greets and not self._once_more:
            self._once_more = True  # if that is lost, too, it is left alone for a while, or jobs would wait for ever
            self._node.connect()
        elif answers:
            self._current = self._stock
            await self._node.close()
            self._checked = time.monotonic()
            self._kinds.set(self._address, STOCK)
            self._stock.take_for_ready()  # calls back
        else:
            self._changed()

    def _stock_changed(self) -> None:
        if self._current is self._stock:
            self._changed()

    def _greet(self) -> None:
        """A distccd that was down is to be tried again: whatever is there now, it is greeted as a node first."""
        self._current = self._node
        self._node.connect()

    def _look_again(self) -> None:
        if self._current is self._stock and self._checking is None:
            self._checked = time.monotonic()
            self._checking = asyncio.get_running_loop().create_task(self._check())

    async def _greets(self) -> bool:
        """Whether it is greeted as a node and greets back."""
        node = self._make_node()
        done = asyncio.Event()
        node.on_change(done.set)
        try:
            node.connect()
            await done.wait()
            return node.state is State.READY
        finally:
            await node.close()

    async def _check(self) -> None:
        """Look whether a distccd that is in use has become a node."""
        try:
            became = await self._greets()
        finally:
            self._checking = None
        if became and self._current is self._stock and not self._closed:
            self._greet()

    # -- jobs

    async def prove(self, toolchain: Toolchain) -> str:
        return await self._current.prove(toolchain)

    async def prove_job(self, job: Job) -> None:
        await self._current.prove_job(job)

    async def run(self, job: Job) -> Outcome:
        if time.monotonic() - self._checked > RECHECK_S:
            self._look_again()
        return await self._current.run(job)

    def retire(self, item: Input) -> None:
        self._node.retire(item)

    def distrust(self, why: str) -> None:
        self._current.distrust(why)

    async def close(self) -> None:
        self._closed = True
        tasks: list[asyncio.Task[Any]] = [task for task in (self._asking, self._checking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._node.close()
        await self._stock.close()
