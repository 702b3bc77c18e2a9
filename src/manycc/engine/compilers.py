"""The compilers that a worker offers to an engine, and those that jobs name.

An engine matches a job's platform properties with a worker's. BuildGrid stores each subset of a worker's properties,
so their number is kept small: a node with many compilers offers the commonest.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Final

from manycc.command.drivers import is_zig
from manycc.errors import BackendRefused, CompilerError, NotDistributable
from manycc.job import LINK, Toolchain
from manycc.node import tree
from manycc.node.toolchains import Served, ToolchainService
from manycc.node.tree import Entry
from manycc.reasons import Reason
from manycc.toolchain import installed
from manycc.toolchain.paths import trusted

MAX_OFFERED: Final = 6
"""With two more properties, 256 subsets."""
MAX_LOOKED_AT: Final = 64
MAX_SERVED: Final = 256
_FIRST: Final = ("g++", "gcc", "clang++", "clang", "c++", "cc")
_log: Final = logging.getLogger("manycc.node")


class Compilers:
    """Proven once for each place where a client has its driver."""

    def __init__(self, service: ToolchainService) -> None:
        self._service = service
        self._drivers: dict[str, str] = {}
        self._served: dict[tuple[str, str, tuple[tuple[str, str], ...]], Served] = {}

    async def offered(self, env: Mapping[str, str]) -> list[str]:
        """Fingerprints of this machine's compilers, the commonest first."""
        found = [one for one in installed.installed(env) if one.usable and not is_zig(os.path.basename(one.path))]
        found.sort(key=lambda one: _rank([one.path, *one.aliases]))
        drivers: dict[str, str] = {}
        left_out: list[str] = []
        for one in found[:MAX_LOOKED_AT]:
            if len(drivers) >= MAX_OFFERED:
                left_out.append(one.path)
                continue
            try:
                own = await self._service.identify(one.path)
            except (NotDistributable, CompilerError) as error:
                _log.info("%s is not offered: %s", one.path, error)
                continue
            if own.fingerprint not in drivers:
                drivers[own.fingerprint] = one.path
                if own.fingerprint not in self._drivers:
                    _log.info("offered: %s, toolchain=%s", own.label, own.fingerprint)
        if left_out and drivers != self._drivers:
            _log.info("not offered, as an engine takes few properties: %s", ", ".join(left_out))
        self._drivers = drivers
        return list(drivers)

    async def served(self, fingerprint: str, driver: str, entries: Sequence[Entry]) -> Served:
        """The compiler of a job, which its client calls at ``driver``; ``entries`` are what the job sees.

        Raises BackendRefused(NO_TOOLCHAIN) if it is not, or no more, one of this node's own.
        """
        own = await self._own(fingerprint, driver)
        links = {entry.path: entry.target for entry in entries if entry.kind == LINK}
        crossed: list[tuple[str, str]] = []
        tree.resolve(driver, dict(own.links) | links, crossed)
        chain = tuple(sorted(dict([*own.links, *crossed]).items()))
        key = (fingerprint, driver, chain)
        served = self._served.get(key)
        if served is None or served.own is not own:
            served = await self._service.serve(own, driver, chain)
            if len(self._served) >= MAX_SERVED:
                self._served.clear()
            self._served[key] = served
        return served

    async def _own(self, fingerprint: str, driver: str) -> Toolchain:
        for candidate in (driver, self._drivers.get(fingerprint, "")):
            if not candidate.startswith("/") or tree.path_fault(candidate) or not os.path.exists(candidate):
                continue
            if not trusted(candidate):
                continue
            try:
                own = await self._service.identify(candidate)
            except (NotDistributable, CompilerError):
                continue
            if own.fingerprint == fingerprint:
                return own
        raise BackendRefused(Reason.NO_TOOLCHAIN, f"no compiler here has the fingerprint {fingerprint[:64]!r}")


def _rank(paths: Sequence[str]) -> tuple[int, str]:
    names = [os.path.basename(path) for path in paths]
    return min((_FIRST.index(name) for name in names if name in _FIRST), default=len(_FIRST)), paths[0]
