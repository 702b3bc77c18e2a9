"""Which toolchains a node serves: those it has itself, to the byte, and those that were sent to it (``shipping.py``);
for others an equivalent one may stand in (``equivalent.py``).

An agent names its toolchain by fingerprint and says where its driver lies. The node looks for a
compiler of that place or name on its own disk, identifies it with the agent's own code, and serves
the toolchain if the fingerprints are equal; else it says what differs. Jobs then run the files out
of the store, at the paths of the agent's machine, never those on the disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from manycc.command.drivers import compiler_kind, is_zig
from manycc.errors import BackendRefused, CompilerError, NotDistributable, StoreError
from manycc.job import FILE, LINK, Toolchain, ToolFile, Way
from manycc.node import tree
from manycc.node.messages import About, ToolchainMessage
from manycc.node.text import plain
from manycc.node.tree import Entry, Tree
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.toolchain.identity import Identifier, tool_path
from manycc.toolchain.matching import difference
from manycc.toolchain.paths import trusted, walk
from manycc.wire.native import MAX_PATH

if TYPE_CHECKING:
    from manycc.node.delivery import Delivery
    from manycc.node.equivalent import Equivalents
    from manycc.node.shipping import Shipping

MAX_SERVED: Final = 256


class Served:
    """A toolchain that jobs may use.

    ``own`` is the node's own identical one, ``driver`` where the agent's machine has it; ``tree``
    holds its files and links, ``links`` just those by path, ``real_driver`` is what ``driver`` leads
    to, ``search_path`` the PATH it needs, ``key`` what of it goes into an action's key; ``places``
    are the folders that its files are in, ``libraries`` the names of those that are loaded. ``way``: how the node
    came by it. ``more``: files of this machine that it needs besides; ``about``: what an agent is told of it.
    """

    __slots__ = (
        "about", "driver", "key", "libraries", "links", "more", "own", "places", "real_driver", "search_path", "tree",
        "way",
    )  # fmt: skip

    def __init__(self, own: Toolchain, message: ToolchainMessage, real_driver: str, way: Way = Way.SAME) -> None:
        """``real_driver`` is the driver's file among those of ``own``.

        Raises BackendRefused if the agent's links do not lead to it or are no tree.
        """
        self.own = own
        self.way = way
        self.more: tuple[ToolFile, ...] = ()
        self.about: dict[str, Any] = {}
        self.driver = message.driver
        self.links = dict(message.links)
        entries = [Entry(FILE, file.path, file.digest, file.size, executable=True) for file in own.files]
        entries += [Entry(LINK, path, target=target) for path, target in message.links]
        self.tree: Tree = tree.build(tree.empty(), entries, ())
        self.places = frozenset(entry.parent for entry in self.tree.files())
        self.libraries = frozenset(name for name in map(os.path.basename, self.tree.leaves) if ".so" in name)
        self.real_driver = tree.resolve(message.driver, self.links)
        if self.real_driver not in self.tree.leaves or self.real_driver != real_driver:
            raise tree.refused(f"{message.driver} does not lead to the compiler's driver")
        theirs = dataclasses.replace(own, driver=message.driver, links=message.links)
        self.search_path = tool_path(theirs)
        self.key: tuple[str, ...] = (own.fingerprint, message.driver, *(f"{a}\0{b}" for a, b in message.links))


class ToolchainService:
    """Finds, proves and keeps toolchains. For one event loop.

    ``digest_of`` as for ``Identifier``; ``path`` is the PATH on which this node's compilers lie.
    """

    def __init__(self, store: Store, digest_of: Callable[[str], bytes], path: str) -> None:
        self._store = store
        self._identifier = Identifier(digest_of)
        self._env = {"PATH": path}
        self._served: dict[tuple[str, ...], Served] = {}
        self._named: dict[str, Served] = {}
        self._filling: dict[tuple[str, Way], asyncio.Task[None]] = {}
        self.shipping: Shipping | None = None
        """What takes toolchains that agents send; None: nothing does."""
        self.equivalents: Equivalents | None = None
        """What finds compilers that stand in for those that are not here; None: none does."""

    async def prove(self, message: ToolchainMessage, delivery: Delivery | None = None) -> Served:
        """The toolchain, ready to be used; ``delivery`` is a way to have it sent.

        Raises BackendRefused with the sentence why it will not be served.
        """
        try:
            return await self._prove_same(message)
        except BackendRefused as error:
            refusal = error
        if self.shipping is not None and delivery is not None:
            try:
                return await self.shipping.serve(message, delivery, refusal.detail)
            except BackendRefused as error:
                refusal = error
        if self.equivalents is None:
            raise refusal
        try:
            return await self._kept(await self.equivalents.find(message))
        except BackendRefused as error:
            sentence = f"{refusal.detail}; {error.detail}"
            raise BackendRefused(Reason.NO_TOOLCHAIN, sentence) from error

    async def identify(self, driver: str) -> Toolchain:
        """A compiler of this machine, by its driver's path. Raises NotDistributable, CompilerError."""
        return await self._identifier.identify(driver, self._env)

    async def serve(self, own: Toolchain, driver: str, links: tuple[tuple[str, str], ...]) -> Served:
        """A compiler of this machine, for clients that have it at ``driver``, to which ``links`` lead.

        Raises BackendRefused.
        """
        asked = dataclasses.replace(own, driver=driver, links=links)
        return await self._serve(own, _as_asked_for(asked))

    async def _prove_same(self, message: ToolchainMessage) -> Served:
        sentence = ""
        for candidate in self._candidates(message):
            try:
                own = await self._identifier.identify(candidate, self._env)
            except (NotDistributable, CompilerError) as error:
                sentence = sentence or str(error)
                continue
            if own.fingerprint == message.fingerprint:
                return await self._serve(own, message)
            sentence = difference(own.label, own.components, message.label, message.components)
            break
        if not sentence:
            sentence = difference("", {}, message.label, message.components) or "the fingerprints differ"
        raise BackendRefused(Reason.NO_TOOLCHAIN, sentence)

    async def named(self, word: str) -> Served:
        """This node's own compiler, by the first word of a command: a name, or a path whose last part is one.

        Raises BackendRefused(NO_TOOLCHAIN).
        """
        name = os.path.basename(word)
        known = compiler_kind(name) and not is_zig(name)  # distcc's protocols have one word for the compiler
        if len(word) > MAX_PATH or ("/" in word and not word.startswith("/")) or not known:
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"{plain(word)} is not the name of a compiler")
        sentence = ""
        places = [os.path.join(folder, name) for folder in self._env["PATH"].split(":")]
        if word == os.path.normpath(word) and not tree.path_fault(word):  # or one compiler has names without end
            places.insert(0, word)
        for candidate in places:
            if not candidate.startswith("/") or not os.path.exists(candidate) or not trusted(candidate):
                continue
            try:
                own = await self._identifier.identify(candidate, self._env)
            except (NotDistributable, CompilerError) as error:  # a compiler cache's link, or a broken one
                sentence = sentence or str(error)
                continue
            served = self._named.get(candidate)
            if served is None or served.own is not own:
                served = await self._serve(own, _as_asked_for(own))
                if len(self._named) >= MAX_SERVED:
                    self._named.clear()
                self._named[candidate] = served
            return served
        raise BackendRefused(Reason.NO_TOOLCHAIN, sentence or f"no {plain(name)} is installed here")

    async def check(self, served: Served) -> None:
        """Make sure that the node's compiler is still the one that was proven.

        Raises BackendRefused(NO_TOOLCHAIN) if it was replaced.
        """
        if served.way is Way.SHIPPED:
            if self.shipping is not None:
                self.shipping.check(served)
            return
        own = self._identifier.current(served.own.driver, self._env)
        if own is served.own:
            return
        try:
            own = await self._identifier.identify(served.own.driver, self._env)
        except (NotDistributable, CompilerError) as error:
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"the compiler here was changed: {error}") from error
        if own.fingerprint != served.own.fingerprint:
            self._served.pop(served.key, None)
            sentence = difference(own.label, own.components, served.own.label, served.own.components)
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"the compiler here was changed: {sentence}")
        served.own = own

    async def fill(self, served: Served) -> None:
        """Bring the toolchain's files into the store, where they are not.

        Raises StoreError, OSError; BackendRefused(NO_TOOLCHAIN) if they must be sent again.
        """
        if served.way is Way.SHIPPED and self.shipping is not None:
            self.shipping.fill(served)
        name = (served.own.fingerprint, served.way)
        task = self._filling.get(name)
        if task is None:
            task = self._filling[name] = asyncio.create_task(asyncio.to_thread(self._copy, served))
            task.add_done_callback(lambda _: self._filling.pop(name))
        await asyncio.shield(task)

    async def _serve(self, own: Toolchain, message: ToolchainMessage) -> Served:
        return await self._kept(Served(own, message, walk(own.driver)[0]))

    async def _kept(self, served: Served) -> Served:
        """With its files in the store. Raises BackendRefused."""
        known = self._served.get(served.key)
        if known is not None:
            # Jobs of all agents then share the very same entries, which makes trees quick to compare.
            known.own = served.own
            served = known
        try:
            await self.fill(served)
        except (StoreError, OSError) as error:
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"it could not be brought into the store: {error}") from error
        if len(self._served) >= MAX_SERVED:
            self._served.clear()
        self._served[served.key] = served
        return served

    def _copy(self, served: Served) -> None:
        for file in (*served.own.files, *served.more):
            self._store.add_file(file.path, file.digest, executable=True)

    def _candidates(self, message: ToolchainMessage) -> Iterator[str]:
        """Where this machine may have the driver: the same place, else anything of its name along PATH."""
        seen: set[str] = set()
        real = tree.resolve(message.driver, dict(message.links))
        places = [message.driver, real]
        for folder in self._env["PATH"].split(":"):
            places += [os.path.join(folder, os.path.basename(path)) for path in (real, message.driver)]
        for place in places:
            if place not in seen and place.startswith("/") and os.path.exists(place):
                seen.add(place)
                if trusted(place):
                    yield place


def _as_asked_for(own: Toolchain) -> ToolchainMessage:
    """What an agent would say that wants this very compiler, where it is here."""
    about = About(own.kind, own.host, dict(own.facts), 0)
    return ToolchainMessage(0, own.fingerprint, own.driver, own.label, own.links, dict(own.components), about)
