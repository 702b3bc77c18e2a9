"""A manycc node as a backend: connects, proves toolchains, runs jobs, comes back after a loss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from manycc.backends.answer import outcome_of, refusal_of
from manycc.backends.base import State, Verdict
from manycc.backends.capacity import Capacity
from manycc.backends.connection import Connection
from manycc.backends.equivalent import Equivalence, calls_itself_otherwise, read_offer
from manycc.backends.line import Line
from manycc.backends.sending import Transfer
from manycc.errors import BackendError, BackendGone, BackendRefused, WireError
from manycc.job import Input, Job, Outcome, Repair, Toolchain, Way
from manycc.reasons import Reason
from manycc.toolchain.equivalence import Offer, basic_difference
from manycc.wire import native

RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 30.0
GREETING_S: Final = 2.0
"""Beyond the time that a connection may take, for the node to greet."""
PROVE_TIMEOUT_S: Final = 60.0
REFUSAL_S: Final = 30.0
"""A refused toolchain is asked about again after this time: the node's compiler may have been upgraded."""
MAX_ASKED: Final = 200  # a node takes no more than 256 questions a connection
SILENCE_S: Final = 20.0
"""A node that says nothing at all for this long is taken for dead."""
IN_USE: Final = "it gives way to its own user"
"""A node without slots, --when-idle: for as long as that lasts."""
HEARTBEATS: Final = 4
"""How often within that time it is asked for a sign of life."""


class NodeBackend:
    """One node. Satisfies ``schedule.pool.PoolBackend``."""

    kind = "manycc node"
    exact = True

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        slots: int | None,
        greeting: dict[str, Any],
        connect_timeout_s: float,
        job_timeout_s: float = 1800.0,
        silence_s: float = SILENCE_S,
        equivalence: Equivalence | None = None,
        expected_rss: Callable[[Job], int] = lambda job: 0,
    ) -> None:
        """``equivalence`` proves compilers that the node offers in place of the very one; None: none is used.

        ``expected_rss`` gives the bytes of memory that a job is expected to take, 0 if that is not known.
        """
        self.name = name
        self._address = address
        self._port = port
        self._greeting = greeting
        self._connect_timeout_s = connect_timeout_s
        self._job_timeout_s = job_timeout_s
        self._silence_s = silence_s
        self._state = State.IDLE
        self._why = ""
        self._reason = Reason.NODE_LOST  # what being down means for a job that was on its way here
        self._callbacks: list[Callable[[], None]] = []
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_FIRST_S
        self._rests_until = 0.0
        self._heartbeat: asyncio.TimerHandle | None = None
        self._capacity = Capacity(slots)
        self._expected_rss = expected_rss
        # Toolchains on this connection: number by (fingerprint, driver), verdict by number.
        self._last_number = 0
        self._toolchains: dict[tuple[str, str], int] = {}
        self._labels: dict[int, str] = {}
        self._asked_for: dict[int, Toolchain] = {}
        self._equivalence = equivalence
        self._offers: dict[int, Offer] = {}
        self._ways: dict[int, str] = {}
        self._verdicts: dict[int, str] = {}
        self._doubted: set[int] = set()  # refusals that are no longer news
        self._proving: dict[int, asyncio.Future[str]] = {}
        self.release = ""
        self.hung_up = False
        """Whether it was there, and hung up instead of greeting; ``silent``: or said nothing."""
        self.silent = False

    # -- what the scheduler reads

    @property
    def state(self) -> State:
        return self._state

    @property
    def slots(self) -> int:
        return self._capacity.slots

    @property
    def why(self) -> str:
        return self._why

    @property
    def others(self) -> int:
        """Jobs the node runs or queues, ours included, as it said last."""
        return self._capacity.others

    @property
    def memory_free(self) -> int | None:
        """Bytes of memory it can give to further jobs, as it said last."""
        return self._capacity.memory_free

    @property
    def told(self) -> float:
        """When it said so."""
        return self._capacity.told

    @property
    def lacks_memory(self) -> bool:
        """Whether it has slots that its memory does not let it use, as it said last."""
        return self._capacity.lacks_memory

    def line(self) -> Line | None:
        """How the line to it is now; None if it is not connected."""
        return self._connection.line() if self._connection is not None else None

    def refusal(self, toolchain: Toolchain) -> str:
        number = self._toolchains.get((toolchain.fingerprint, toolchain.driver), 0)
        if (transfer := self._transfer(number)) is not None:
            return transfer.shown()
        return "" if number in self._doubted else self._verdicts.get(number, "")

    def verdicts(self) -> list[Verdict]:
        """What it has said about toolchains."""
        return [self._verdict(number) for number in self._verdicts if number in self._labels]

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        number = self._toolchains.get((toolchain.fingerprint, toolchain.driver), 0)
        return self._verdict(number) if number in self._verdicts else None

    def _verdict(self, number: int) -> Verdict:
        transfer = self._transfer(number)
        if transfer is None:
            offer = self._offers.get(number)
            by = f", by {offer.label}" if offer is not None and not self._verdicts[number] else ""
            return Verdict(self._labels[number] + by, self._verdicts[number], self._ways.get(number, ""))
        return Verdict(self._labels[number], transfer.shown(), "", (transfer.sent, transfer.total))

    def _transfer(self, number: int) -> Transfer | None:
        """How far a toolchain is that is being sent there."""
        return self._connection.sending.transfer(number) if self._connection is not None else None

    def proven(self, toolchain: Toolchain) -> bool:
        """Whether the node has said that it serves this toolchain."""
        number = self._toolchains.get((toolchain.fingerprint, toolchain.driver), 0)
        return self._verdicts.get(number) == ""

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """What a node cannot do it says itself; of a compiler that only stands in, canaries may have told."""
        if self._state is State.READY and not self._capacity.offered_now:
            return Reason.NODE_BUSY, IN_USE
        if not self._offers or self._equivalence is None:
            return None
        offer = self._offer(job.toolchain)
        sentence = self._equivalence.objection(job, offer, self.name) if offer is not None else ""
        return (Reason.NOT_EQUIVALENT, sentence) if sentence else None

    def unproven(self, job: Job) -> bool:
        offer = self._offer(job.toolchain) if self._offers else None
        return offer is not None and self._equivalence is not None and self._equivalence.unproven(job, offer)

    async def prove_job(self, job: Job) -> None:
        """Prove what a job needs, for whoever asks before there is the job: ``objection`` knows it then."""
        with contextlib.suppress(BackendError):
            if not await self.prove(job.toolchain):
                await self._repair(job)

    def keeps_bytes(self, job: Job) -> bool:
        return True

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _changed(self) -> None:
        for callback in tuple(self._callbacks):
            callback()

    # -- connecting

    def connect(self) -> None:
        if self._state in (State.CONNECTING, State.READY):
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._state = State.CONNECTING
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def retry(self) -> None:
        if self._state is State.DOWN and asyncio.get_running_loop().time() >= self._rests_until:
            self.connect()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.hung_up = self.silent = False
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await loop.create_connection(self._make_connection, self._address, self._port)
            self._connection = connection
            async with asyncio.timeout(self._connect_timeout_s + GREETING_S):
                welcome = await connection.welcome
            version = welcome.get("version")
            if version != native.VERSION:
                raise BackendGone(Reason.PROTOCOL, f"it speaks version {version}, this agent {native.VERSION}")
            if connection.closed:  # its goodbye came along with its welcome
                raise BackendGone(connection.reason, connection.closed)
            self._capacity.greeted(welcome)
            self.release = str(welcome.get("release", ""))[:100]
        except TimeoutError:
            self.silent = self._connection is not None
            self._down("it did not answer in time")
        except socket.gaierror as error:
            self._down(error.strerror or str(error))
        except OSError as error:
            self._down(os.strerror(error.errno) if error.errno else str(error))
        except (BackendError, WireError, ValueError) as error:
            self.hung_up = self._connection is not None and self._connection.hung_up
            self._down(str(error))
        else:
            self._state = State.READY
            self._why = ""
            self._retry_s = RETRY_FIRST_S
            self._beat()
            self._changed()

    def _make_connection(self) -> Connection:
        return Connection(
            self._greeting, self._silence_s, self._on_state, self._on_proven, self._on_lost, self._on_wanted, self.name
        )

    def _beat(self) -> None:
        if self._connection is not None and self._state is State.READY:
            self._connection.check_alive()
            self._heartbeat = asyncio.get_running_loop().call_later(self._silence_s / HEARTBEATS, self._beat)

    def _down(self, why: str, reason: Reason = Reason.NODE_LOST) -> None:
        self._state = State.DOWN
        self._why = why
        self._reason = reason
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort(why, reason)
        self._toolchains.clear()
        self._labels.clear()
        self._asked_for.clear()
        self._offers.clear()
        self._ways.clear()
        self._verdicts.clear()
        self._doubted.clear()
        self._last_number = 0
        self._capacity.lost()
        for waiting in self._proving.values():
            if not waiting.done():
                waiting.set_result(why)
        self._proving.clear()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._retry is not None:
            self._retry.cancel()
        loop = asyncio.get_running_loop()
        self._rests_until = loop.time() + RETRY_FIRST_S
        self._retry = loop.call_later(self._retry_s, self.connect)
        self._retry_s = min(self._retry_s * 2, RETRY_LAST_S)
        self._changed()

    def distrust(self, why: str) -> None:
        """The node did something a sound one does not do: leave it alone for a while."""
        self._retry_s = RETRY_LAST_S
        self._down(why)
        self._rests_until = asyncio.get_running_loop().time() + RETRY_LAST_S

    def _on_lost(self, connection: Connection, why: str) -> None:
        if connection is self._connection and self._state is State.READY:
            self._down(why, connection.reason)

    def _on_state(self, pushed: dict[str, Any]) -> None:
        if self._capacity.pushed(pushed, asyncio.get_running_loop().time()):
            self._changed()  # somebody may wait for that

    # -- toolchains

    def _on_proven(self, number: int, sentence: str, way: str, about: dict[str, Any]) -> None:
        toolchain = self._asked_for.get(number)
        if toolchain is None:
            return  # an answer that nobody asked for
        if way == Way.EQUIVALENT and not sentence:
            offer = self._offers[number] = read_offer(about)
            sentence = basic_difference(toolchain, offer)
            if self._equivalence is None:
                sentence = f"it only has {offer.label}, which nothing proves to be equivalent"
        if self._verdicts.get(number) == sentence:
            return  # known
        self._verdicts[number] = sentence
        self._ways[number] = "" if sentence else way[:20]
        if self._connection is not None:
            self._connection.sending.proven(number, sentence)
        if sentence and number < MAX_ASKED:
            asyncio.get_running_loop().call_later(REFUSAL_S, self._doubted.add, number)
        waiting = self._proving.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(sentence)
        self._changed()

    def _on_wanted(self, number: int) -> None:
        """It would serve a toolchain if that were sent. Jobs go elsewhere until it has come."""
        toolchain = self._asked_for.get(number)
        if toolchain is None or self._connection is None:
            return
        self._connection.sending.wanted(number, toolchain)
        self._doubted.discard(number)
        sentence = self._verdicts[number] = "its compiler is being sent there"
        waiting = self._proving.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(sentence)
        self._changed()

    async def prove(self, toolchain: Toolchain) -> str:
        key = (toolchain.fingerprint, toolchain.driver)
        number = self._toolchains.get(key)
        if number is not None and (transfer := self._transfer(number)) is not None:
            return transfer.shown()
        if number is not None and self._verdicts.get(number) and number in self._doubted:
            del self._labels[number], self._verdicts[number], self._asked_for[number]
            number = None
        if number is not None and number in self._verdicts:
            return self._verdicts[number]
        connection = self._connection
        if connection is None:
            raise BackendGone(self._reason, self._why)
        if number is None:
            self._last_number += 1
            number = self._last_number
            self._toolchains[key] = number
            self._labels[number] = f"{toolchain.label} ({toolchain.driver})"
            self._asked_for[number] = toolchain
            self._proving[number] = asyncio.get_running_loop().create_future()
            connection.send(
                [
                    native.TOOLCHAIN,
                    number,
                    toolchain.fingerprint,
                    toolchain.driver,
                    toolchain.label,
                    toolchain.links,
                    dict(toolchain.components),
                    {
                        "kind": toolchain.kind,
                        "host": toolchain.host,
                        "target": toolchain.target,
                        "facts": dict(toolchain.facts),
                        "bytes": sum(file.size for file in toolchain.files),
                    },
                ]
            )
        try:
            async with asyncio.timeout(min(PROVE_TIMEOUT_S, self._job_timeout_s)):
                return await asyncio.shield(self._proving[number])
        except TimeoutError:
            # Whoever waits for the verdict goes elsewhere; should it come after all, it counts.
            if number not in self._verdicts:
                self._on_proven(number, "it did not say in time whether it has the compiler", "", {})
            return self._verdicts.get(number, self._why)

    # -- jobs

    def retire(self, item: Input) -> None:
        """An input's content changed (the file view says so)."""
        if self._connection is not None:
            self._connection.retire(item)

    async def run(self, job: Job) -> Outcome:
        sentence = await self.prove(job.toolchain)
        if sentence:
            raise BackendRefused(Reason.NO_TOOLCHAIN, sentence)
        outcome = await self._run(job, await self._repair(job))
        offer = self._offer(job.toolchain)
        if offer is not None and calls_itself_otherwise(job.toolchain, offer, outcome.stderr):
            raise BackendRefused(Reason.NOT_EQUIVALENT, "the driver there has a message, and another name")
        return outcome

    def _offer(self, toolchain: Toolchain) -> Offer | None:
        """The compiler that stands in for a toolchain there, if one does."""
        return self._offers.get(self._toolchains.get((toolchain.fingerprint, toolchain.driver), 0))

    async def _repair(self, job: Job) -> Repair | None:
        """What must go with a job if it is not for the very compiler. Raises BackendError."""
        offer = self._offer(job.toolchain)
        if offer is None or self._equivalence is None:
            return None
        return await self._equivalence.prove(job, offer, self.name, self._run)

    async def _run(self, job: Job, repair: Repair | None) -> Outcome:
        connection = self._connection
        toolchain = self._toolchains.get((job.toolchain.fingerprint, job.toolchain.driver))
        if connection is None or toolchain is None:
            raise BackendGone(self._reason, self._why)
        number, pending = connection.start(job, toolchain, self._expected_rss(job), repair)
        try:
            async with asyncio.timeout(self._job_timeout_s):
                message = await pending.future
        except TimeoutError:
            raise BackendError(Reason.NODE_TIMEOUT, f"no answer for {self._job_timeout_s:.0f} s") from None
        finally:
            connection.finish(number)
        if message[0] == native.REFUSED:
            raise refusal_of(message)
        try:
            outcome = outcome_of(message, pending, self.name)
        except (WireError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
            connection.abort(f"the peer broke the protocol: {error}", Reason.PROTOCOL)
            raise BackendGone(Reason.PROTOCOL, str(error)) from error
        outcome.way = self._ways.get(toolchain, "")
        return outcome

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        self._down("closed")
        if self._retry is not None:
            self._retry.cancel()
        self._state = State.IDLE
