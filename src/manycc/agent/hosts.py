"""The hosts the agent knows: one backend an address, one pool a host list.

A job brings its own host list (MANYCC_HOSTS in its environment); lists that name the same node share
its connection.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Final

from manycc import __version__
from manycc.backends.node import NodeBackend
from manycc.config import Config, HostSpec, parse_hosts
from manycc.errors import ConfigError, NotDistributable
from manycc.inputs.fileview import FileView
from manycc.job import Input
from manycc.reasons import Reason
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool
from manycc.verify.quarantine import Quarantine
from manycc.wire import native
from manycc.wire.launcher import Request

UNUSED_S: Final = 300.0

log = logging.getLogger(__name__)


class Hosts:
    """Backends and pools, made when first asked for."""

    def __init__(self, config: Config, view: FileView, local: LocalSlots, quarantine: Quarantine) -> None:
        self._config = config
        self._quarantine = quarantine
        quarantine.on_change.append(self._trust_changed)
        self._local = local
        self._backends: dict[tuple[str, int, int | None], NodeBackend] = {}
        self._pools: dict[str, Pool] = {}
        self._used: dict[str, float] = {}
        self._broken: dict[str, str] = {}
        self._greeting = {
            "version": native.VERSION,
            "release": __version__,
            "name": f"{socket.gethostname()}:{os.getuid()}",
        }
        view.on_retired.append(self._retired)

    def _trust_changed(self) -> None:
        for pool in self._pools.values():
            pool.hosts_changed()

    def _retired(self, item: Input) -> None:
        for backend in self._backends.values():
            backend.retire(item)

    def pool_for(self, request: Request) -> Pool:
        """The pool of a job's host list. Raises NotDistributable(NO_HOSTS) for none or a broken one."""
        return self.pool(request.env.get("MANYCC_HOSTS", self._config.hosts))

    def pool(self, text: str) -> Pool:
        """The pool of a host list. Raises NotDistributable(NO_HOSTS) for an empty or broken one."""
        pool = self._pools.get(text)
        if pool is not None:
            self._used[text] = time.monotonic()
            return pool
        if text not in self._broken:
            try:
                specs = parse_hosts(text)
            except ConfigError as error:
                log.warning("%s", error)
                self._broken[text] = str(error)
            else:
                if specs:
                    self._used[text] = time.monotonic()
                    self._pools[text] = self._make_pool(specs)
                    return self._pools[text]
                self._broken[text] = ""
        raise NotDistributable(Reason.NO_HOSTS, self._broken[text])

    def _make_pool(self, specs: tuple[HostSpec, ...]) -> Pool:
        local = next((spec for spec in specs if spec.local), None)
        if local is not None and local.slots is not None:
            self._local.total = local.slots
        pool = Pool(
            [self._backend(spec) for spec in specs if not spec.local],
            self._local.free if local is not None else None,
            self._quarantine.sentence,
        )
        self._local.on_free.append(pool.wake)
        return pool

    def _backend(self, spec: HostSpec) -> NodeBackend:
        key = (spec.address, spec.port, spec.slots)
        backend = self._backends.get(key)
        if backend is None:
            backend = self._backends[key] = NodeBackend(
                spec.name,
                spec.address,
                spec.port,
                spec.slots,
                self._greeting,
                self._config.connect_timeout_s,
                self._config.job_timeout_s,
                self._config.silence_s,
            )
        return backend

    def all(self) -> list[Pool]:
        """Every pool there is."""
        return list(self._pools.values())

    async def retire_unused(self) -> None:
        """Let go of host lists that nobody has named for a while (each run of an embedded node makes one)."""
        now = time.monotonic()
        for text, pool in list(self._pools.items()):
            if now - self._used[text] > UNUSED_S and not pool.waiting and not any(host.busy for host in pool.hosts):
                self._local.on_free.remove(pool.wake)
                pool.close()
                del self._pools[text], self._used[text]
        needed = {id(host.backend) for pool in self._pools.values() for host in pool.hosts}
        for key, backend in list(self._backends.items()):
            if id(backend) not in needed:
                del self._backends[key]
                await backend.close()

    async def close(self) -> None:
        """Close every connection."""
        for backend in self._backends.values():
            await backend.close()
