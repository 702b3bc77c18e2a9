"""One job done by a node for ``manycc verify -- …``: its results go into a folder, not into place."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

from manycc import __version__
from manycc.agent import outputs
from manycc.agent.flow import must_repeat
from manycc.agent.settle import settle, verdict
from manycc.backends.base import State
from manycc.errors import BackendError, CompilerError, NotDistributable
from manycc.job import OutputFile, Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Host, Pool
from manycc.verify.compare import observed
from manycc.verify.field import KNOWN_TO_DIFFER
from manycc.verify.sample import Sample
from manycc.wire.launcher import Request

if TYPE_CHECKING:
    from manycc.agent.server import Agent

MAX_REMEMBERED: Final = 8


class ByHand:
    """Runs single jobs; remembers the latest few, so that a difference can be looked into."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._samples: dict[int, Sample] = {}

    async def run(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer the control request "remote".

        It has ``compiler``, ``cwd``, ``argv``, ``env`` and ``umask`` of the job, ``host`` to do it ("" for any), and
        ``folder``, where each output is written under a number, and the texts under their names.
        """
        try:
            compiler, cwd, argv = asked["compiler"], asked["cwd"], list(asked["argv"])
            request = Request(__version__, compiler, cwd, argv, dict(asked["env"]), asked["umask"], 0, 0)
            folder, wanted = str(asked["folder"]), str(asked.get("host", ""))
        except (KeyError, TypeError, ValueError):
            return {"error": "the request is not understood"}
        try:
            return await self._run(request, folder, wanted)
        except (NotDistributable, BackendError) as error:
            return _not_done(error.reason, error.detail)
        except CompilerError as error:
            return _not_done(Reason.NOT_A_COMPILER, str(error))

    async def confirm(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer the control request "confirm": verify the ``job`` of that number as any sample is verified."""
        verifier = self._agent.verifier
        sample = self._samples.pop(asked.get("job", 0), None)
        if sample is not None:
            verifier.add(sample)
            await verifier.drain()
        return {"quarantine": self._agent.control.quarantine()}

    async def _run(self, request: Request, folder: str, wanted: str) -> dict[str, Any]:
        agent = self._agent
        prepared = await agent.preparer.prepare(agent.preparer.key(request), request, agent.view.now())
        job = prepared.job
        host, pool = await self._choose(request, prepared.toolchain, wanted)
        grant = pool.hold(host)
        try:
            outcome = await host.backend.run(job)
        finally:
            pool.release(grant)
        if must_repeat(prepared, outcome):
            raise BackendError(Reason.REMOTE_ERROR, f"exit code {outcome.exit_code}")
        outputs.verify(job, outcome.outputs, agent.runner.expected(prepared), outcome.exit_code)
        agent.runner.started += 1
        number = agent.runner.started
        if outcome.reason not in KNOWN_TO_DIFFER:  # else there is nothing to confirm: nobody is to blame
            self._samples[number] = Sample(host.backend.name, number, request, prepared, observed(outcome))
        while len(self._samples) > MAX_REMEMBERED:
            del self._samples[next(iter(self._samples))]
        await asyncio.to_thread(_write, folder, outcome.outputs, {"stdout": outcome.stdout, "stderr": outcome.stderr})
        return {
            "done": True,
            "job": number,
            "host": host.backend.name,
            "reason": outcome.reason.code,
            "sentence": outcome.reason.sentence,
            "exit": outcome.exit_code,
            "folders": job.folders,
            "outputs": job.outputs,
            "files": [[output.path, output.mode] for output in outcome.outputs],
            # The only thing that a node is told otherwise than the compiler here: what time it is.
            "env": {name: value for name, value in job.env if job.inputs.volatile and name == "SOURCE_DATE_EPOCH"},
        }

    async def _choose(self, request: Request, toolchain: Toolchain, wanted: str) -> tuple[Host, Pool]:
        """The named host, also if it is quarantined, or the one with most room. Raises NotDistributable."""
        agent = self._agent
        try:
            pool = agent.hosts.pool_for(request)
            if wanted and all(host.backend.name != wanted for host in pool.hosts):
                pool = agent.hosts.pool(wanted)
        except NotDistributable:
            if not wanted:
                raise
            pool = agent.hosts.pool(wanted)
        hosts = [host for host in pool.hosts if not wanted or host.backend.name == wanted]
        await settle(pool, toolchain)
        able = [host for host in hosts if host.backend.state is State.READY and host.backend.proven(toolchain)]
        trusted = [host for host in able if wanted or not agent.quarantine.sentence(host.backend.name, toolchain)]
        if trusted:
            return min(trusted, key=Host.load), pool
        said = "; ".join(f"{host.backend.name}: {verdict(host.backend, toolchain)}" for host in hosts)
        if able:
            said = "; ".join(agent.quarantine.sentence(host.backend.name, toolchain) for host in able)
            raise NotDistributable(Reason.QUARANTINED, said)
        ready = any(host.backend.state is State.READY for host in hosts)
        raise NotDistributable(Reason.NO_TOOLCHAIN if ready else Reason.HOSTS_DOWN if hosts else Reason.NO_HOSTS, said)


def _not_done(reason: Reason, detail: str) -> dict[str, Any]:
    return {
        "done": False, "reason": reason.code, "sentence": reason.sentence, "detail": detail, "hint": reason.hint,
    }  # fmt: skip


def _write(folder: str, produced: list[OutputFile], texts: dict[str, bytes]) -> None:
    named = {str(number): output.data for number, output in enumerate(produced)}
    for name, data in {**named, **texts}.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
