"""Toolchains that agents send: taken where that is allowed, tried once, kept, and served as if installed.

A node of the same processor needs no compiler of its own then, and no distribution in common with its agents: a
toolchain comes with its loader and libraries, and sees nothing else. It is known by its fingerprint,
which stands for every file of it; so what one agent sent can be served to all others that have the same.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Final, Protocol

from manycc.errors import BackendRefused, StoreError
from manycc.job import Toolchain, ToolFile, Way
from manycc.node import admission, tree
from manycc.node.arrivals import Arrivals
from manycc.node.delivery import Delivery
from manycc.node.executor import Fetch, Result
from manycc.node.manifests import Manifest, Manifests
from manycc.node.messages import ToolchainMessage
from manycc.node.outputs import close_all
from manycc.node.shipped import HEADER, KINDS, list_fault, part_fault, trial, trial_fault
from manycc.node.text import plain
from manycc.node.toolchains import MAX_SERVED, Served
from manycc.reasons import Reason
from manycc.store.store import BlobMissing, Store
from manycc.toolchain.installed import runs_here
from manycc.toolchain.machines import this_host

INSTALLED_ONLY: Final = "this node serves installed compilers only (toolchains = installed-only)"
UNSEALED: Final = "toolchains are only sent to nodes that can seal jobs, and this one cannot (install bubblewrap there)"
_log: Final = logging.getLogger("manycc.node")


class Runs(Protocol):
    """What runs a trial: the node's executor."""

    async def run(self, plan: admission.Plan, owner: object, fetch: Fetch) -> Result:
        """Do a job."""


class Shipping:
    """The toolchains sent to one node. For one event loop.

    ``forbidden`` is the sentence why none is taken or served; empty if they are.
    """

    def __init__(self, store: Store, runs: Runs, forbidden: str = "") -> None:
        self.forbidden = forbidden
        self._store = store
        self._runs = runs
        self._manifests = Manifests(store)
        self._arrivals = Arrivals(store)
        self._served: dict[tuple[str, ...], Served] = {}
        self._under_way: set[Delivery] = set()
        for manifest in self._manifests.retire():
            _log.info("%s, which was sent here, is given up: it was not used for long", plain(manifest.label))

    async def serve(self, message: ToolchainMessage, delivery: Delivery, why: str) -> Served:
        """The toolchain, ready to be used, if need be once the agent has sent it.

        ``why``: the node's own compilers do not serve. Raises BackendRefused(NO_TOOLCHAIN) with a sentence.
        """
        if refusal := self._refusal(message):
            raise _refused(f"{why}; {refusal}" if why else refusal)
        driver = tree.resolve(message.driver, dict(message.links))
        manifest = self._manifests.get(message.fingerprint)
        if manifest is None or manifest.driver != driver or await self._arrivals.missing(manifest.files):
            files = await delivery.files()
            if fault := list_fault(message, files, driver):
                raise _refused(fault)
            served = _served(files, message.about.kind, driver, message)
            _log.info("%s is to be sent here, or what is lacking of it", plain(message.label))
            await self._take(files, message, delivery)
            return await self._keep(served, driver, message)
        self._manifests.used(manifest.fingerprint)
        return self._shared(_served(manifest.files, manifest.kind, driver, message))

    def forbid(self, sentence: str) -> None:
        """Take and serve none from now on, for that reason, also not what is on its way; "": take them (again)."""
        self.forbidden = sentence
        for delivery in self._under_way if sentence else ():
            delivery.stop(sentence)

    def check(self, served: Served) -> None:
        """A job wants it. Raises BackendRefused(NO_TOOLCHAIN) if it is not served any more."""
        if self.forbidden:
            raise _refused(self.forbidden)
        self._manifests.used(served.own.fingerprint)

    def fill(self, served: Served) -> None:
        """Files of it are not in the store any more. Raises BackendRefused(NO_TOOLCHAIN): it must be sent again."""
        self._served.pop(served.key, None)
        raise _refused("it was sent here, but had to make room in the store")

    def close(self) -> None:
        """Nothing is taken any more."""
        self._arrivals.close()

    def _refusal(self, message: ToolchainMessage) -> str:
        """Why this toolchain cannot be sent here; "" if it can."""
        about = message.about
        if about.kind not in KINDS or not about.host:
            return "it cannot be sent: what it is, or runs on, is not known"
        if not runs_here(about.host):
            return f"it cannot be sent: it runs on {plain(about.host)}, and this node is {this_host()}"
        return self.forbidden

    async def _take(self, files: tuple[ToolFile, ...], message: ToolchainMessage, delivery: Delivery) -> None:
        """Bring its files into the store, and look at each. Raises BackendRefused."""
        began = time.monotonic()
        self._under_way.add(delivery)
        try:
            await self._arrivals.fetch(files, delivery)
        finally:
            self._under_way.discard(delivery)
        if delivery.received:
            mib, took = delivery.received / (1 << 20), time.monotonic() - began
            _log.info("%s was sent here: %.0f MiB in %.1f s", plain(message.label), mib, took)

        def look() -> str:
            for file in files:
                with self._store.open(file.digest, executable=True) as content:
                    if os.fstat(content.fileno()).st_size != file.size:  # what was here already was not measured
                        return f"{plain(file.path)} is not as large as was said"
                    if fault := part_fault(file.path, content.read(HEADER), message.about.host):
                        return fault
            return ""

        try:
            fault = await asyncio.to_thread(look)
        except BlobMissing:
            fault = "its files keep vanishing from the store"
        if fault:
            raise _refused(fault)

    async def _keep(self, served: Served, driver: str, message: ToolchainMessage) -> Served:
        """Try it, and note it down. Raises BackendRefused."""
        about, files = message.about, served.own.files
        await self._try(served, driver, message)
        defaults = message.components.get("defaults", b"")
        manifest = Manifest(message.fingerprint, about.kind, about.host, driver, message.label, defaults, files)
        try:
            await asyncio.to_thread(self._manifests.add, manifest)  # reads all the others
        except (StoreError, OSError) as error:
            _log.warning("a toolchain that was sent is not noted down: %s", error)
        return self._shared(served)

    def _shared(self, served: Served) -> Served:
        """Jobs of all agents have the very same entries, which makes trees quick to compare."""
        if len(self._served) >= MAX_SERVED:
            self._served.clear()
        return self._served.setdefault(served.key, served)

    async def _try(self, served: Served, driver: str, message: ToolchainMessage) -> None:
        """Run it once, sealed. Raises BackendRefused if it does not do here what it is said to be."""
        job, source, content = trial(message.driver)
        try:
            self._store.add_bytes(content, source.digest)
            plan = admission.admit(job, served, [source])
            result = await self._runs.run(plan, self, _nothing_comes)
        except (BackendRefused, StoreError, OSError) as error:
            said = error.detail if isinstance(error, BackendRefused) else str(error)
            raise _refused(f"it was sent here, but could not be tried: {said}") from error
        try:
            if result.exit_code:
                said = result.stderr.decode("utf-8", "replace").strip().partition("\n")[0][:300]
                raise _refused(f"it was sent here, but does not run: {plain(said)}")
            made = b"".join(one.data or b"" for one in result.produced)
        finally:
            close_all(result.produced)
        if fault := trial_fault(made, message):
            raise _refused(f"it was sent here, but {fault}")


def _served(files: tuple[ToolFile, ...], kind: str, driver: str, message: ToolchainMessage) -> Served:
    """Raises BackendRefused if the agent's links make no tree with the files."""
    about = message.about
    own = Toolchain(
        message.fingerprint, message.driver, kind, "", "", message.label, files, message.links, message.components,
        about.host, about.facts,
    )  # fmt: skip
    return Served(own, message, driver, Way.SHIPPED)


async def _nothing_comes(wanted: object) -> None:
    """A trial brings its input itself."""
    raise BackendRefused(Reason.NODE_DISK, "its input vanished from the store")


def _refused(sentence: str) -> BackendRefused:
    return BackendRefused(Reason.NO_TOOLCHAIN, sentence)
