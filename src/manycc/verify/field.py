"""Verification in the field: a sample of what nodes answered is compiled here again, and compared.

It happens in idle time only: no job under way, few programs running. A sample counts for nothing
if an input has changed since, so that is looked at before and after. A difference counts only
if this machine writes the same bytes twice; then the pair of host and toolchain is put into
quarantine, and all that is needed to look into it is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from manycc.agent.prepare import Prepared
from manycc.config import cpu_count
from manycc.job import Outcome
from manycc.monitor import records
from manycc.monitor.records import RecordLog
from manycc.monitor.units import amount
from manycc.monitor.verifications import DIFFERENT, EQUAL, SKIPPED, VERDICTS, VOID, last_equal, suspects
from manycc.reasons import Reason
from manycc.verify.compare import Judgement, Observed, differing, judge, proves_nothing
from manycc.verify.explain import explained
from manycc.verify.quarantine import Quarantine, entry_for
from manycc.verify.recompile import NotDone, ProvesNothing
from manycc.verify.report import Reports
from manycc.verify.sample import Sample, Sampler
from manycc.wire.launcher import Request

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often it is looked whether this machine is idle, while there is a sample."""


KNOWN_TO_DIFFER: Final = (Reason.STOCK_COLUMNS, Reason.STOCK_MESSAGES)
"""Answers that are accepted although they are not what the compiler here writes: no host is to blame."""


class Compiler(Protocol):
    """What compiles a sample again (``recompile.Recompiler``)."""

    async def run(self, sample: Sample, *, patient: bool) -> Observed:
        """Raises NotDone, ProvesNothing."""


class Verifier:
    """Takes samples, verifies them one at a time when it may."""

    def __init__(
        self,
        sampler: Sampler,
        compiler: Compiler,
        quarantine: Quarantine,
        reports: Reports,
        verifications: RecordLog,
        jobs_path: str,
        holds: Callable[[Sample], Awaitable[bool]],
        jobs: Callable[[], tuple[int, bool]],
        load: Callable[[], int] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``holds`` tells whether all that a sample's job rests on is as it was; ``jobs`` how many there have been
        and whether one is under way; ``load`` how many programs run now; ``pause`` passes LOOK_S.
        """
        self._sampler = sampler
        self._compiler = compiler
        self._quarantine = quarantine
        self._reports = reports
        self._log = verifications
        self._jobs_path = jobs_path
        self._holds = holds
        self._jobs = jobs
        self._load = load or running_now
        self._pause = pause or (lambda: asyncio.sleep(LOOK_S))
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._over = 0
        self._goal = 0  # up to there, what is sampled is verified at once
        self._watching: list[asyncio.Future[None]] = []
        self.counts = dict.fromkeys(VERDICTS, 0)
        self.busy = False

    @property
    def waiting(self) -> int:
        """How many samples wait."""
        return len(self._sampler)

    # -- what a job's way calls

    def take(self, host: str, number: int, request: Request, prepared: Prepared, outcome: Outcome) -> Sample | None:
        """A sample of an answer that is about to be placed, if it is the job's turn."""
        sample = self._sampler.take(host, number, request, prepared, outcome)
        if sample is not None and outcome.reason in KNOWN_TO_DIFFER:
            self._note(sample, SKIPPED, outcome.reason.sentence)
            return None
        return sample

    def add(self, sample: Sample) -> None:
        """The sample's answer was accepted: verify it when there is time."""
        for dropped in self._sampler.add(sample):
            self._note(dropped, SKIPPED, "more was sampled than there was idle time for")
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    # -- what the tools call

    async def drain(self) -> None:
        """Verify all that waits now, idle or not; what is sampled meanwhile waits as ever."""
        goal = self._over + len(self._sampler) + self.busy
        self._goal = max(self._goal, goal)
        self._hurry.set()
        while self._over < goal and (len(self._sampler) or self.busy):
            watching = asyncio.get_running_loop().create_future()
            self._watching.append(watching)
            await watching

    async def close(self) -> None:
        """Give up; nothing of it runs any more afterwards."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while len(self._sampler):
            self._note(self._sampler.next(), SKIPPED, "the agent ended before there was idle time")
        self._step()

    # -- the work

    async def _work(self) -> None:
        while len(self._sampler):
            await self._idle()
            sample = self._sampler.next()
            self.busy = True
            try:
                await self._verify(sample)
            except asyncio.CancelledError:
                self._note(sample, SKIPPED, "the agent ended meanwhile")
                raise
            except Exception as error:
                # The boundary of one verification: no fault in it may keep the others from being done.
                log.exception("a verification failed inside the agent")
                self._note(sample, SKIPPED, f"an internal error: {type(error).__name__}: {error}")
            finally:
                self.busy = False
                self._over += 1
                self._step()

    def _step(self) -> None:
        watching, self._watching = self._watching, []
        for future in watching:
            if not future.done():
                future.set_result(None)

    async def _idle(self) -> None:
        """Wait until no job was under way for one whole pause, and little else runs."""
        before: tuple[int, bool] | None = None
        self._hurry.clear()
        while self._over >= self._goal:
            now = self._jobs()
            if now == before and not now[1] and self._load() <= max(1, cpu_count() // 2):
                return
            before = now
            waiting = [asyncio.ensure_future(self._pause()), asyncio.ensure_future(self._hurry.wait())]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()

    async def _verify(self, sample: Sample) -> None:
        begun = time.monotonic()
        try:
            here = await self._compile(sample)
            judged = Judgement([], [], [])
            if differing(here, sample.remote):
                judged = judge(here, await self._compile(sample), sample.remote)
            if not judged.different and proves_nothing(judged, sample.prepared.job.outputs, sample.remote):
                raise ProvesNothing("the compiler here does not write the same twice", ", ".join(judged.unproven))
        except NotDone as error:
            self._note(sample, SKIPPED, str(error))
        except ProvesNothing as error:
            self._note(sample, VOID, str(error))
        else:
            seconds = round(time.monotonic() - begun, 3)
            if judged.different:
                await self._condemn(sample, here, judged.different, seconds)
            else:
                varies = f"but for what varies each time here, too: {', '.join(judged.varies)}" if judged.varies else ""
                self._note(sample, EQUAL, varies, seconds=seconds)

    async def _compile(self, sample: Sample) -> Observed:
        """Raises NotDone, ProvesNothing: also if the inputs are not those of the job."""
        if await self._holds(sample):
            seen = await self._compiler.run(sample, patient=self._over >= self._goal)
            if await self._holds(sample):
                return seen
        raise ProvesNothing("an input has changed since")

    async def _condemn(self, sample: Sample, here: Observed, different: list[str], seconds: float) -> None:
        """The node was wrong: bar it, keep the evidence, and say so."""
        toolchain = sample.prepared.toolchain
        good = last_equal(records.read(self._log.path), sample.host, toolchain.fingerprint)
        what = ", ".join(different)
        # Barred first: to look at what a wrong node sent takes its time, and may fail.
        self._quarantine.add(entry_for(sample.host, toolchain, good, what, ""))
        report = ""
        try:
            differences = await asyncio.to_thread(explained, here, sample.remote, different)
            inputs = sample.prepared.job.inputs.items
            report = await asyncio.to_thread(
                self._reports.write, self._command(sample), here, sample.remote, differences, inputs
            )
        except OSError as error:
            log.error("the report of a difference cannot be written: %s", error)
        self._quarantine.name_report(sample.host, toolchain, report)
        self._note(sample, DIFFERENT, what, seconds=seconds, report=report)
        count = len(suspects(records.read(self._jobs_path), sample.host, good, time.time()))
        command = sample.prepared.command
        log.error(
            "WRONG RESULT: %s of %s, as host %s compiled it, is not what the compiler here writes (%s; report: %s). The"
            " host is quarantined for %s. Since the last good sample it wrote %s that may be wrong too: see manycc"
            " verify --suspects %s",
            command.output, command.source, sample.host, what, report or "none", toolchain.label,
            amount(count, "output"), sample.host,
        )  # fmt: skip

    def _command(self, sample: Sample) -> dict[str, Any]:
        request, toolchain = sample.request, sample.prepared.toolchain
        return sample.record() | {
            "argv": request.argv,
            "compiler": request.compiler,
            "env": request.env,
            "umask": request.umask,
            "columns": request.columns,
            "flags": request.flags,
            "driver": toolchain.driver,
            "sent_argv": sample.prepared.job.argv,
            "sent_env": dict(sample.prepared.job.env),
        }

    def _note(self, sample: Sample, verdict: str, detail: str, **more: Any) -> None:
        self.counts[verdict] += 1
        if verdict != EQUAL:
            log.info("verification of %s on %s: %s: %s", sample.prepared.command.output, sample.host, verdict, detail)
        self._log.write(
            {"t": round(time.time(), 3), "verdict": verdict, "detail": detail[:500], **sample.record(), **more}
        )


def running_now() -> int:
    """How many programs run, or wait for a processor, besides this one (proc(5): loadavg)."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0
