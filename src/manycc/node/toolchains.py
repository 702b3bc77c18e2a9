"""Which toolchains a node serves: those it has itself, to the byte.

An agent names its toolchain by fingerprint and says where its driver lies. The node looks for a
compiler of that place or name on its own disk, identifies it with the agent's own code, and serves
the toolchain if the fingerprints are equal; else it says what differs. Jobs then run the files out
of the store, at the paths of the agent's machine, never those on the disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

from manycc.command.drivers import compiler_kind
from manycc.errors import BackendRefused, CompilerError, NotDistributable, StoreError
from manycc.job import FILE, LINK, Toolchain
from manycc.node import tree
from manycc.node.messages import ToolchainMessage
from manycc.node.text import plain
from manycc.node.tree import Entry, Tree
from manycc.reasons import Reason
from manycc.store.store import Store
from manycc.toolchain.identity import Identifier, tool_path
from manycc.toolchain.matching import difference
from manycc.toolchain.paths import walk
from manycc.wire.native import MAX_PATH

MAX_SERVED: Final = 256


class Served:
    """A toolchain that jobs may use.

    ``own`` is the node's own identical one, ``driver`` where the agent's machine has it; ``tree``
    holds its files and links, ``links`` just those by path, ``real_driver`` is what ``driver`` leads
    to, ``search_path`` the PATH it needs, ``key`` what of it goes into an action's key; ``places``
    are the folders that its files are in, ``libraries`` the names of those that are loaded.
    """

    __slots__ = ("driver", "key", "libraries", "links", "own", "places", "real_driver", "search_path", "tree")

    def __init__(self, own: Toolchain, message: ToolchainMessage) -> None:
        """Raises BackendRefused if the agent's links do not lead to the driver or are no tree."""
        self.own = own
        self.driver = message.driver
        self.links = dict(message.links)
        entries = [Entry(FILE, file.path, file.digest, file.size, executable=True) for file in own.files]
        entries += [Entry(LINK, path, target=target) for path, target in message.links]
        self.tree: Tree = tree.build(tree.empty(), entries, ())
        self.places = frozenset(entry.parent for entry in self.tree.files())
        self.libraries = frozenset(name for name in map(os.path.basename, self.tree.leaves) if ".so" in name)
        self.real_driver = tree.resolve(message.driver, self.links)
        if self.real_driver not in self.tree.leaves or self.real_driver != walk(own.driver)[0]:
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
        self._filling: dict[str, asyncio.Task[None]] = {}

    async def prove(self, message: ToolchainMessage) -> Served:
        """The toolchain, ready to be used. Raises BackendRefused with the sentence why it will not be served."""
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
        if len(word) > MAX_PATH or ("/" in word and not word.startswith("/")) or not compiler_kind(name):
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
        """Bring the toolchain's files into the store, where they are not. Raises StoreError, OSError."""
        fingerprint = served.own.fingerprint
        task = self._filling.get(fingerprint)
        if task is None:
            task = self._filling[fingerprint] = asyncio.create_task(asyncio.to_thread(self._copy, served.own))
            task.add_done_callback(lambda _: self._filling.pop(fingerprint))
        await asyncio.shield(task)

    async def _serve(self, own: Toolchain, message: ToolchainMessage) -> Served:
        served = Served(own, message)
        known = self._served.get(served.key)
        if known is not None:
            # Jobs of all agents then share the very same entries, which makes trees quick to compare.
            known.own = own
            served = known
        try:
            await self.fill(served)
        except (StoreError, OSError) as error:
            raise BackendRefused(Reason.NO_TOOLCHAIN, f"it could not be brought into the store: {error}") from error
        if len(self._served) >= MAX_SERVED:
            self._served.clear()
        self._served[served.key] = served
        return served

    def _copy(self, own: Toolchain) -> None:
        for file in own.files:
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
    return ToolchainMessage(0, own.fingerprint, own.driver, own.label, own.links, dict(own.components))


def trusted(path: str) -> bool:
    """Whether only we or root could have put a program there: an agent names what is run to be identified."""
    mine = (0, os.geteuid())
    place = os.path.realpath(path)
    while True:
        try:
            status = os.stat(place)
        except OSError:
            return False
        if status.st_uid not in mine or (status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX):
            return False
        if place == "/":
            return True
        place = os.path.dirname(place)
