"""An agent's sending of toolchains, as the node's session sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from manycc.errors import BackendRefused, DigestMismatch, StoreError, WireError
from manycc.job import ToolFile
from manycc.node.arrivals import Part
from manycc.node.messages import Blob
from manycc.reasons import Reason
from manycc.store.files import translated
from manycc.wire import native

MAX_LISTED: Final = 50_000
"""Files of toolchains that one agent may list."""
LIST_S: Final = 60.0
"""How long an agent may take to list a toolchain's files."""
BRING_S: Final = 900.0
"""How long it may send: others may wait for the same files. What has come is kept, and it may ask again at once."""
_log: Final = logging.getLogger("manycc.node")


class Delivery:
    """That of one toolchain. Satisfies ``arrivals.Carrier``.

    ``number`` is the toolchain's, ``send(message)`` sends to its agent.
    """

    def __init__(self, number: int, send: Callable[[list[Any]], None]) -> None:
        self.number = number
        self.received = 0
        """Bytes of contents that have come."""
        self._send = send
        self._listed: asyncio.Future[tuple[ToolFile, ...]] | None = None
        self._parts: dict[bytes, Part] = {}
        self._finishing: set[asyncio.Task[None]] = set()
        self._heard = 0.0
        self._stopped = ""

    async def files(self) -> tuple[ToolFile, ...]:
        """Ask for the list of files. Raises BackendRefused."""
        self._listed = asyncio.get_running_loop().create_future()
        self._send([native.WANTED, self.number])
        try:
            async with asyncio.timeout(LIST_S):
                return await self._listed
        except TimeoutError:
            raise _refused("its files were not listed in time") from None
        finally:
            self._listed = None

    def list_came(self, files: tuple[ToolFile, ...]) -> None:
        """A FILES has come. Raises WireError if none was asked for."""
        if self._listed is None or self._listed.done():
            raise WireError("a toolchain's files were listed without being asked for")
        self._listed.set_result(files)

    async def bring(self, parts: Sequence[Part]) -> None:
        if self._stopped:
            raise _refused(self._stopped)
        self._parts = {part.digest: part for part in parts}
        wanted = [part for part in parts if not 0 < part.size == part.offset]
        self._heard = asyncio.get_running_loop().time()
        try:
            for part in parts:
                if part not in wanted:  # it had come whole when the node was stopped
                    self._finish(part)
            if wanted:
                offsets = [part.offset for part in wanted]
                self._send([native.MISSING, native.SHIPPED | self.number, [part.digest for part in wanted], offsets])
            arriving = [part.arrived for part in parts]
            _, late = await asyncio.wait(arriving, timeout=BRING_S)
            if late:
                raise _refused(f"it did not come within {BRING_S / 60:.0f} minutes; what has come of it is kept")
            for one in arriving:
                one.result()
        finally:
            self._parts = {}
            if self._finishing:  # threads have the files open still
                await asyncio.wait(self._finishing)
            for part in parts:
                if part.arrived.done() and not part.arrived.cancelled():
                    part.arrived.exception()

    def takes(self, blob: Blob) -> bool:
        """Whether a piece is one of this toolchain's: another job may have asked for the same content."""
        part = self._parts.get(blob.digest)
        return part is not None and not part.arrived.done() and blob.offset == part.offset

    def receive(self, blob: Blob) -> None:
        """A piece has come. Raises WireError if it is not what was asked for."""
        part = self._parts[blob.digest]
        self._heard = asyncio.get_running_loop().time()
        self.received += len(blob.data)
        try:
            if part.write(blob):
                self._finish(part)
        except OSError as error:
            part.drop()
            self._fail(translated(error))

    def gone(self) -> None:
        """The agent lacks a file of the toolchain: it was changed."""
        self._fail(_refused("a file of it was changed before it could be sent"))

    def stop(self, sentence: str) -> None:
        """Take nothing more: it is refused, with that sentence."""
        self._stopped = sentence
        self._fail(_refused(sentence))

    def silence(self) -> float:
        """Seconds for which nothing of what was asked for has come; 0 if nothing is due."""
        due = any(part.offset < part.size or not part.size for part in self._parts.values() if not part.arrived.done())
        return asyncio.get_running_loop().time() - self._heard if due else 0.0

    def _finish(self, part: Part) -> None:
        task = asyncio.create_task(self._enter(part))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _enter(self, part: Part) -> None:
        try:
            await asyncio.to_thread(part.enter)
        except DigestMismatch as error:
            _log.warning("a file of a toolchain came damaged: %s", error)
            if not part.arrived.done():
                part.arrived.set_exception(error)
        except (StoreError, OSError) as error:
            self._fail(error)
        else:
            if not part.arrived.done():
                part.arrived.set_result(None)

    def _fail(self, error: Exception) -> None:
        for part in self._parts.values():
            if not part.arrived.done():
                part.arrived.set_exception(error)


class Deliveries:
    """Those of one agent, by the toolchain's number. ``send(message)`` sends to it."""

    def __init__(self, send: Callable[[list[Any]], None]) -> None:
        self._send = send
        self._under_way: dict[int, Delivery] = {}
        self._listed: set[bytes] = set()  # pieces of these files may come when they are not wanted any more

    def begin(self, number: int) -> Delivery:
        """A toolchain is looked for, and may be sent."""
        delivery = self._under_way[number] = Delivery(number, self._send)
        return delivery

    def end(self, number: int) -> None:
        """It is served or refused."""
        del self._under_way[number]

    def list_came(self, number: int, files: tuple[ToolFile, ...]) -> None:
        """A FILES has come. Raises WireError if none was asked for, or too much is listed altogether."""
        delivery = self._under_way.get(number)
        if delivery is None:
            raise WireError("a toolchain's files were listed without being asked for")
        delivery.list_came(files)
        self._listed.update(file.digest for file in files)
        if len(self._listed) > MAX_LISTED:
            raise WireError("too many files of toolchains")

    def take(self, blob: Blob, wanted: bool) -> bool:
        """Take a piece, or pass over one that comes too late; false if it is none of a toolchain's.

        ``wanted``: a job has asked for the same content, too. Raises WireError.
        """
        for delivery in self._under_way.values():
            if delivery.takes(blob):
                delivery.receive(blob)
                return True
        return blob.digest in self._listed and not wanted

    def gone(self, number: int) -> bool:
        """The agent lacks what was asked for under a number; false if that is a job's."""
        if not number & native.SHIPPED:
            return False
        if (delivery := self._under_way.get(number ^ native.SHIPPED)) is not None:
            delivery.gone()
        return True

    def silence(self) -> float:
        """Seconds for which nothing of what was asked for has come; 0 if nothing is due."""
        return max((delivery.silence() for delivery in self._under_way.values()), default=0.0)


def _refused(sentence: str) -> BackendRefused:
    return BackendRefused(Reason.NO_TOOLCHAIN, sentence)
