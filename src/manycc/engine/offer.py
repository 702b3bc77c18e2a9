"""What a worker offers to an engine: how many jobs at a time, and properties that say for which compilers.

BuildGrid reads both when a session is made and never again. So a session goes on with the offer it was made with, and
what is there by now is kept beside it: where the two differ, the session has been outgrown.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from manycc.engine.compilers import Compilers
from manycc.node.slots import Slots
from manycc.reapi import bots_pb2

LAST_S: Final = 60.0
"""How long what is known of the compilers is believed."""
_log: Final = logging.getLogger("manycc.node")

Properties = tuple[tuple[str, str], ...]


class Offer(NamedTuple):
    """Slots, and (name, value) of properties."""

    slots: int
    properties: Properties

    def describe(self, session: bots_pb2.BotSession) -> None:
        """Put it into a message."""
        session.worker.Clear()
        device = session.worker.devices.add(handle="cpu")
        for key, value in self.properties:
            device.properties.add(key=key, value=value)
        session.worker.configs.add(key="capacity", value=str(self.slots))


class Offers:
    """What a node has to offer at the moment. For one event loop."""

    def __init__(self, slots: Slots, compilers: Compilers, changed: Callable[[], None]) -> None:
        """``changed`` is called when other compilers were found."""
        self._slots = slots
        self._compilers = compilers
        self._changed = changed
        self._properties: Properties = ()
        self._looked = 0.0
        self._count = max(1, slots.count)
        self._look: asyncio.Task[None] | None = None

    async def current(self) -> Offer:
        """The offer. Only the first look at the compilers is waited for."""
        if self._look is not None and self._look.done():
            look, self._look = self._look, None
            look.result()
        if self._look is None and (not self._properties or time.monotonic() - self._looked > LAST_S):
            self._look = asyncio.get_running_loop().create_task(self._look_at_compilers())
        if not self._properties and self._look is not None:
            await asyncio.wait({self._look})
            self._look.result()
        return self.known()

    def known(self) -> Offer:
        """The offer, without another look at the compilers."""
        # A node that gives way to its user has no slots for a while: it takes no jobs, and that is said otherwise.
        self._count = self._slots.count or self._count
        return Offer(self._count, self._properties)

    async def close(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait({self._look})

    async def _look_at_compilers(self) -> None:
        """Compilers come and go."""
        self._looked = time.monotonic()
        try:
            fingerprints = await self._compilers.offered(os.environ)
        except OSError as error:
            _log.warning("the compilers of this machine cannot be looked at: %s", error)
            if self._properties:
                return
            fingerprints = []
        system = os.uname()
        found = (
            ("OSFamily", system.sysname.lower()),
            ("ISA", system.machine),
            *(("toolchain", fingerprint) for fingerprint in fingerprints),
        )
        if found != self._properties:
            if not fingerprints:
                _log.warning("no compiler is installed here that could be offered to an engine")
            self._properties = found
            self._changed()
