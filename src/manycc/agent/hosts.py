"""The hosts the agent knows: one backend an address, one pool a host list.

A job brings its own host list (MANYCC_HOSTS in its environment); lists that name the same node share
its connection.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from manycc import __version__
from manycc.backends.discover import DiscoveredBackend, Kinds
from manycc.backends.distcc import StockBackend
from manycc.backends.equivalent import Equivalence
from manycc.backends.exchange import Route, SshRoute, TcpRoute, ssh_command
from manycc.backends.line import Line
from manycc.backends.localcpp import LocalRuns
from manycc.backends.node import GREETING_S, NodeBackend
from manycc.backends.searched import Searched
from manycc.compat.hostfiles import DistccHosts
from manycc.config import REQUIRED, Config, same_bytes
from manycc.engine.absent import AbsentEngine, make_engine
from manycc.engine.remembered import Remembered
from manycc.errors import CompilerError, ConfigError, NotDistributable
from manycc.hostlist import HostList, HostSpec, parse_list
from manycc.inputs.fileview import FileView
from manycc.job import Input, Toolchain
from manycc.reasons import Reason
from manycc.schedule.here import Here
from manycc.schedule.learned import HERE, Learned
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Pool
from manycc.toolchain.canaries import Canaries
from manycc.toolchain.equivalence import Verdicts
from manycc.verify.quarantine import Quarantine
from manycc.wire import native
from manycc.wire.launcher import Request

UNUSED_S: Final = 300.0

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from manycc.engine.backend import EngineBackend

    AnyBackend = DiscoveredBackend | StockBackend | EngineBackend | AbsentEngine


class Hosts:
    """Backends and pools, made when first asked for."""

    def __init__(
        self,
        config: Config,
        view: FileView,
        local: LocalSlots,
        quarantine: Quarantine,
        learned: Learned | None = None,
    ) -> None:
        """``learned``: what jobs cost and how quick hosts are."""
        self._config = config
        self._learned = learned or Learned()
        self._quarantine = quarantine
        quarantine.on_change.append(self._trust_changed)
        self._local = local
        self._backends: dict[HostSpec, AnyBackend] = {}
        self._kinds = Kinds(config.kinds_path)
        self._remembered = Remembered(config.engines_path)
        self._runs = LocalRuns(config.job_timeout_s)
        self._searched = Searched(self._runs)
        self._canaries = Canaries(config.canaries_dir, self._compile)
        self._equivalence = Equivalence(config.equivalence_dir, Verdicts(config.equivalence_path), self._runs)
        self._pools: dict[str, Pool] = {}
        self._used: dict[str, float] = {}
        self._broken: dict[str, str] = {}
        self._distcc = DistccHosts()
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
        return self.pool(self.list_for(request.env))

    def list_for(self, env: Mapping[str, str]) -> str:
        """The host list that counts for a job with this environment; "" for none."""
        text = env.get("MANYCC_HOSTS")
        if text is not None:
            return text
        if self._config.origin("hosts") != "default":
            return self._config.hosts
        found = self._distcc.find(env)
        return "" if found is None else found[0]

    def pool(self, text: str) -> Pool:
        """The pool of a host list. Raises NotDistributable(NO_HOSTS) for an empty or broken one."""
        pool = self._pools.get(text)
        if pool is not None:
            self._used[text] = time.monotonic()
            return pool
        if text not in self._broken:
            try:
                hosts = parse_list(text)
            except ConfigError as error:
                log.warning("%s", error)
                self._broken[text] = str(error)
            else:
                for note in hosts.notes:
                    log.warning("%s", note)
                if hosts.hosts:
                    self._used[text] = time.monotonic()
                    self._pools[text] = self._make_pool(hosts)
                    return self._pools[text]
                self._broken[text] = "; ".join(hosts.notes)
        raise NotDistributable(Reason.NO_HOSTS, self._broken[text])

    def exact_for(self, request: Request) -> bool:
        """Whether a job is only for hosts that keep all bytes."""
        wanted = request.env.get("MANYCC_SAME_BYTES") or self._config.same_bytes
        try:
            return same_bytes(wanted) == REQUIRED
        except ValueError:
            return self._config.same_bytes == REQUIRED

    def _make_pool(self, hosts: HostList) -> Pool:
        if hosts.local_cpp_slots is not None:
            self._runs.slots.total = hosts.local_cpp_slots
        if hosts.own_slots is not None:
            self._local.total = hosts.own_slots
        remote = [spec for spec in hosts.hosts if not spec.local and not spec.down]
        if hosts.randomize:
            random.shuffle(remote)  # so that the agents of many users do not all begin with the same host
        pool = Pool(
            [self._backend(spec) for spec in remote],
            Here(self._local.free, self._learned.speed(HERE), self._local.state) if hosts.local is not None else None,
            self._quarantine.sentence,
            self._learned.speeds,
        )
        self._local.on_free.append(pool.wake)
        return pool

    def _backend(self, spec: HostSpec) -> AnyBackend:
        backend = self._backends.get(spec)
        if backend is None:
            backend = self._backends[spec] = self._make_backend(spec)
        return backend

    def _make_backend(self, spec: HostSpec) -> AnyBackend:
        config = self._config

        def make_node() -> NodeBackend:
            return NodeBackend(
                spec.name,
                spec.address,
                spec.port,
                spec.slots,
                self._greeting,
                config.connect_timeout_s,
                config.job_timeout_s,
                config.silence_s,
                self._equivalence,
                self._learned.predictions.peak,
            )

        def make_route() -> Route:
            if spec.ssh:
                return SshRoute(ssh_command(spec, os.environ))
            return TcpRoute(spec.address, spec.port, config.connect_timeout_s, config.silence_s)

        def make_stock() -> StockBackend:
            return StockBackend(
                spec.name,
                make_route,
                spec.slots,
                spec.lzo,
                self._runs,
                self._canaries,
                config.job_timeout_s,
                config.silence_s,
            )

        if spec.engine is not None:
            return make_engine(spec, config, self._canaries, self._remembered, self._searched)
        if spec.ssh:
            return make_stock()
        limit_s = config.connect_timeout_s + GREETING_S
        return DiscoveredBackend(spec.name, f"{spec.address}:{spec.port}", self._kinds, make_node, make_stock, limit_s)

    async def _compile(self, toolchain: Toolchain, arguments: Sequence[str], folder: str) -> bytes:
        """Compile a canary here; empty if it fails. Raises CompilerError if that cannot be tried."""
        try:
            ran = await self._runs.run(toolchain, arguments, folder, {"LC_ALL": "C"}, output_option="-o")
        except NotDistributable as error:
            raise CompilerError(error.detail) from error
        return b"" if ran.code else ran.output

    def all(self) -> list[Pool]:
        """Every pool there is."""
        return list(self._pools.values())

    def in_use(self, since: float) -> list[Pool]:
        """The pools that a job has asked for since then (monotonic time), or has a place in or waits for."""
        return [
            pool
            for text, pool in self._pools.items()
            if self._used[text] >= since or pool.waiting or any(host.busy for host in pool.hosts)
        ]

    def lines(self) -> list[tuple[str, Line]]:
        """The hosts that are connected for good, and how the lines to them are now."""
        nodes = [backend for backend in self._backends.values() if isinstance(backend, DiscoveredBackend)]
        return [(backend.name, line) for backend in nodes if (line := backend.line()) is not None]

    def lacking_memory(self) -> tuple[str, ...]:
        """The nodes that have slots which their memory does not let them use."""
        nodes = [backend for backend in self._backends.values() if isinstance(backend, DiscoveredBackend)]
        return tuple(backend.name for backend in nodes if backend.lacks_memory)

    def sending(self) -> bool:
        """Whether a toolchain is on its way to a host."""
        verdicts = [said for backend in self._backends.values() for said in backend.verdicts()]
        return any(said.sending is not None and said.sending[0] < said.sending[1] for said in verdicts)

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
        await self._canaries.close()
        await self._equivalence.close()
        await self._runs.close()
