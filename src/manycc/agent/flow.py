"""One job from the launcher's request to its answer and its record.

Every way out of ``JobRunner.run`` writes exactly one record. A job that cannot be done by a node is
handed back ("run it yourself") while holding a local slot; nothing here ever fails a build.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from manycc.agent import outputs
from manycc.agent.copies import Copies
from manycc.agent.doubts import Doubts
from manycc.agent.handed import Handed
from manycc.agent.jobserver import Jobservers, Loan
from manycc.agent.live import LiveJob
from manycc.agent.prepare import Prepared, Preparer
from manycc.agent.replaced import removed_by_error
from manycc.agent.settle import settle
from manycc.agent.unfinished import Unfinished
from manycc.command.trial import is_trial
from manycc.compat.client import Conventions, conventions
from manycc.errors import BackendError, CompilerError, NotDistributable
from manycc.job import Job, Outcome, Toolchain
from manycc.monitor.records import RecordLog
from manycc.reasons import Kind, Reason
from manycc.schedule.dispatch import Dispatcher, Done, Failed
from manycc.schedule.learned import HERE
from manycc.schedule.local import LocalSlots
from manycc.schedule.pool import Host, Pool
from manycc.schedule.trials import Trials
from manycc.toolchain.objectcheck import Expected
from manycc.verify.field import Verifier
from manycc.wire.launcher import LOCAL, Request, build_result

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 3
MAX_WORDS: Final = 64
MAX_WORD: Final = 200
"""How much of a command that stayed here its record holds."""

_ELSEWHERE: Final = frozenset(
    (Reason.NODE_LOST, Reason.NODE_TIMEOUT, Reason.NODE_REFUSED, Reason.NODE_BUSY, Reason.NODE_MEMORY,
     Reason.NODE_DISK, Reason.NODE_FAULT, Reason.PROTOCOL, Reason.NO_TOOLCHAIN, Reason.QUARANTINED,
     Reason.STOCK_CANNOT, Reason.NOT_EQUIVALENT)
)  # fmt: skip
"""Faults of one host: another may do the job. Any other fault ends in a local compile."""
_NO_HOST_LEFT: Final = (
    Reason.HOSTS_DOWN, Reason.NO_TOOLCHAIN, Reason.QUARANTINED, Reason.STOCK_CANNOT, Reason.NOT_EQUIVALENT,
    Reason.SAME_BYTES,
)  # fmt: skip


_MISSING: Final = (b"No such file or directory", b"file not found", b"can't open")
"""What compilers and assemblers say of a file that is not there: is it really not, here?"""
_LOCALE: Final = ("LC_ALL", "LC_MESSAGES", "LANG")
"""What chooses the language of messages, the strongest first."""
_NO_COMPILERS_OWN: Final = 126
"""By an old custom, exit codes from here on say that a program could not be run, or by which signal it died."""


class Caller(Protocol):
    """The launcher's connection, as the flow sees it."""

    pid: int
    gave_up: bool
    """Whether the launcher has waited for too long, and recorded the job itself."""

    def answer(self, data: bytes) -> None:
        """Send a reply."""

    def gone(self) -> bool:
        """Whether the launcher has closed its socket (looked up now, not remembered)."""

    async def wait_closed(self) -> None:
        """Return when the launcher, or the compiler it became, has closed its socket."""


class JobRunner:
    """Runs jobs; shared by all launcher connections."""

    def __init__(
        self,
        preparer: Preparer,
        local_slots: LocalSlots,
        pool_for: Callable[[Request], Pool],
        records: RecordLog,
        now: Callable[[], int],
        unfinished: Unfinished,
        handed: Handed,
        verifier: Verifier | None = None,
        barred: Callable[[str, Toolchain], str] | None = None,
        exact_for: Callable[[Request], bool] | None = None,
        dispatcher: Dispatcher | None = None,
        copies: Copies | None = None,
    ) -> None:
        """``barred`` as for ``Pool``: what comes from a host that was barred meanwhile is not accepted.

        ``exact_for`` tells whether a job is only for hosts that keep all bytes. ``copies`` does late jobs here, too;
        None: that is not done.
        """
        self._dispatcher = dispatcher or Dispatcher()
        self._copies = copies
        self._exact_for = exact_for or (lambda request: False)
        self._verifier = verifier
        self._barred = barred
        self._preparer = preparer
        self._local = local_slots
        self._pool_for = pool_for
        self._records = records
        self._now = now
        self._unfinished = unfinished
        self._handed = handed
        self._holders: set[str] = set()
        self._trials = Trials()
        self._jobservers = Jobservers()
        self._doubts = Doubts()
        self.live: dict[int, LiveJob] = {}
        """The jobs under way, by number."""
        self.started = 0
        self.running = 0
        self.remote = 0

    async def run(self, request: Request, caller: Caller, since: int) -> None:
        """Do one job to its end. ``since``: the file view's stamp of the request's arrival."""
        self.started += 1
        record: dict[str, Any] = {"job": self.started, "phases": {}}
        live = self.live[self.started] = LiveJob(caller.pid, request.argv[0])
        self.running += 1
        self._free_slots_around(request)
        try:
            await self._run(request, caller, since, record, live, time.monotonic())
        finally:
            self._doubts.drop(record["job"])
            del self.live[record["job"]]
            self.running -= 1

    async def _run(
        self, request: Request, caller: Caller, since: int, record: dict[str, Any], live: LiveJob, started: float
    ) -> None:
        style = conventions(request, caller.pid)
        note = b""
        try:
            try:
                reply, reason, detail = await self._remote(request, caller, since, record, live, style)
                if style is not None:
                    reply = style.compiled(record) + reply
            except (NotDistributable, BackendError) as error:
                reply, reason, detail = None, error.reason, error.detail
            except CompilerError as error:
                reply, reason, detail = None, Reason.NOT_A_COMPILER, str(error)
            except Exception as error:
                # The boundary of one job: a fault of ours must not fail the build, nor be silent.
                log.exception("job failed inside the agent")
                reply, reason, detail = None, Reason.AGENT_FAULT, f"{type(error).__name__}: {error}"
            if reply is None and style is not None:
                note, refusal = style.kept(reason, detail, record)
                reply = note + refusal if refusal else None
            if reply is not None:
                self._record(request, caller, reason, detail, record, started)
                caller.answer(reply)
                return
            live.enter("queue")
            if reason is not Reason.NOT_A_COMPILER:
                await self._local.acquire()
                self._holders.add(str(caller.pid))
        except asyncio.CancelledError:
            self._record(request, caller, Reason.CANCELLED, "", record, started)
            raise
        live.enter("local", "localhost")
        begun = time.monotonic()
        self._complete(request, caller, reason, detail, record, started)
        self._handed.begin(record)
        try:
            caller.answer(note + LOCAL)
            await caller.wait_closed()
            detail = "; ".join(filter(None, (detail, self._doubts.settle(record["job"]))))
        finally:
            self._free_slot(str(caller.pid))
            record["phases"]["local"] = time.monotonic() - begun
            if reason is Reason.TRIAL_COMPILE:
                self._trials.took(True, record["phases"]["local"])
            elif live.job is not None and not caller.gave_up:
                self._dispatcher.learn_here(live.job, record["phases"]["local"])
            self._record(request, caller, reason, detail, record, started)
            self._handed.end(record["job"])

    def _free_slots_around(self, request: Request) -> None:
        """Take the local slots of what runs around this job: whoever asks for a job of its own only waits for that.

        Were they kept, a compiler cache would let no more jobs go to nodes than there are slots here, and all
        slots could wait for each other. MANYCC_GUARD, which the launcher writes, has the process numbers.
        """
        for mark in request.env.get("MANYCC_GUARD", "").split():
            self._free_slot(mark.partition(":")[0])

    def _free_slot(self, pid: str) -> None:
        if pid in self._holders:
            self._holders.discard(pid)
            self._local.release()

    async def _remote(
        self,
        request: Request,
        caller: Caller,
        since: int,
        record: dict[str, Any],
        live: LiveJob,
        style: Conventions | None,
    ) -> tuple[bytes, Reason, str]:
        """The reply of a job done by a node. Raises what makes it a local one."""
        preparer = self._preparer
        phases = record["phases"]
        mark = time.monotonic()
        key = preparer.key(request)
        prepared = preparer.warm(key, request, since)
        if prepared is not None:
            record["how"] = "manifest"
        else:
            prepared = await preparer.prepare(key, request, since)
            record["how"] = prepared.manifest.inputs.how
        record["src"] = live.source = prepared.command.source
        record["out"] = prepared.command.output
        record["inputs"] = len(prepared.job.inputs.items)
        live.job = prepared.job
        now = time.monotonic()
        phases["prepare"] = now - mark
        ready = now
        trial = is_trial(prepared.job.source, next(iter(prepared.job.outputs), ""))

        avoid: frozenset[str] = frozenset()
        failure: BackendError | None = None
        asked = False
        for _ in range(MAX_ATTEMPTS):
            live.enter("queue")
            pool = self._pool_for(request)  # asked for anew: one that is not in use may have been let go
            if trial and failure is None and pool.hosts and self._trials.here():
                raise NotDistributable(Reason.TRIAL_COMPILE)
            try:
                done = await self._dispatch(pool, prepared, request, caller, record, live, avoid, style)
                now = time.monotonic()
                if trial:
                    self._trials.took(False, now - ready)
                host = done.host
                return self._accept(request, prepared, done, caller, record, now)
            except Failed as error:
                host, failure = error.failures[0]
            except BackendError as error:
                failure = error
            except NotDistributable as error:
                if failure is not None and error.reason in _NO_HOST_LEFT:
                    raise failure from error
                if error.reason is Reason.HOSTS_DOWN and style is not None and not style.fallback and not asked:
                    asked = True  # the job must not be done here: see whether they are back
                    await settle(pool, prepared.toolchain)
                    continue
                raise
            name = host.name if host is not None else HERE
            record.setdefault("tried", []).append([name, failure.reason.code, failure.detail[:500]])
            log.info("%s: %s: %s", name, failure.reason.code, failure.detail)
            if failure.reason is Reason.INPUTS_CHANGED:
                prepared = await preparer.prepare(key, request, self._now())
            elif failure.reason in _ELSEWHERE:
                avoid |= {name}
            else:
                break
            now = time.monotonic()
        raise failure or NotDistributable(Reason.HOSTS_DOWN)

    async def _dispatch(
        self,
        pool: Pool,
        prepared: Prepared,
        request: Request,
        caller: Caller,
        record: dict[str, Any],
        live: LiveJob,
        avoid: frozenset[str],
        style: Conventions | None,
    ) -> Done:
        """Have the job done by a host. Raises NotDistributable and Failed."""
        phases = record["phases"]
        asked = time.monotonic()
        begun = 0.0
        loan: Loan | None = None

        def began(host: Host) -> None:
            nonlocal begun, loan
            begun = time.monotonic()
            phases["queue"] = phases.get("queue", 0.0) + begun - asked
            live.enter("remote", host.name)
            self.remote += 1
            loan = self._jobservers.loan(request.env.get("MAKEFLAGS", ""), caller.pid)

        copies, number = self._copies, record["job"]
        here = None
        if copies is not None and (style is None or style.fallback):
            here = lambda: copies.run(number, request, prepared)  # noqa: E731 - made for every job, and rarely called
        try:
            done = await self._dispatcher.run(
                pool, prepared.job, avoid=avoid, exact=self._exact_for(request), began=began, here=here
            )
        finally:
            if begun:
                self.remote -= 1
                phases["remote"] = phases.get("remote", 0.0) + time.monotonic() - begun
                if loan is not None:
                    loan.end()
        if done.lost:
            record["raced"] = done.lost
        return done

    def expected(self, prepared: Prepared) -> Expected | None:
        """The kind of object that a job must come to, as far as is known."""
        return self._doubts.expected(prepared.job, prepared.expected)

    def _accept(
        self,
        request: Request,
        prepared: Prepared,
        done: Done,
        caller: Caller,
        record: dict[str, Any],
        now: float,
    ) -> tuple[bytes, Reason, str]:
        """Check and place the outputs. Raises BackendError if they cannot be accepted."""
        job, host, outcome = prepared.job, done.host, done.outcome
        record["host"] = outcome.host
        if outcome.way:
            record["way"] = outcome.way
        record["sent"] = record.get("sent", 0) + outcome.sent
        record["received"] = record.get("received", 0) + outcome.received
        record["node"] = {"cpu": outcome.cpu_s, "rss": outcome.peak_rss, **outcome.phases}
        record["exit"] = outcome.exit_code
        if must_repeat(prepared, outcome):
            raise BackendError(Reason.REMOTE_ERROR, f"exit code {outcome.exit_code}")
        if outcome.exit_code >= _NO_COMPILERS_OWN:
            raise BackendError(Reason.COMPILER_KILLED, f"exit code {outcome.exit_code}")
        if host is not None and self._barred is not None and (sentence := self._barred(host.name, job.toolchain)):
            raise BackendError(Reason.QUARANTINED, sentence)
        try:
            outputs.verify(job, outcome.outputs, self.expected(prepared), outcome.exit_code)
        except BackendError as error:
            if error.reason is Reason.WRONG_OBJECT and host is not None:
                sent = outputs.main_of(job, outcome.outputs)
                self._doubts.refused(record["job"], host, job, prepared.expected, sent, error.detail)
            raise
        stale = removed_by_error(job, outcome.outputs, outcome.stderr) if outcome.exit_code else ""
        if caller.gone():
            raise asyncio.CancelledError
        sample = None
        if self._verifier is not None and host is not None:
            sample = self._verifier.take(host.name, record["job"], request, prepared, outcome)
        outputs.place(job, outcome.outputs, self._unfinished)
        if stale:
            with contextlib.suppress(OSError):
                os.unlink(stale)
        if self._verifier is not None and sample is not None:
            self._verifier.add(sample)
        if job.outputs and outcome.outputs:
            main = job.outputs[0]
            record["digest"] = next((output.digest.hex() for output in outcome.outputs if output.path == main), "")
        if host is not None:
            host.done += 1
        record["phases"]["write"] = time.monotonic() - now
        record["cached"] = outcome.reason is Reason.CACHED
        detail = "" if host is not None else f"done here sooner than on {done.lost}"
        return build_result(outcome.exit_code, outcome.stdout, outcome.stderr), outcome.reason, detail

    def _record(
        self, request: Request, caller: Caller, reason: Reason, detail: str, record: dict[str, Any], started: float
    ) -> None:
        if not caller.gave_up:
            self._complete(request, caller, reason, detail, record, started)
            self._records.write(record)

    def _complete(
        self, request: Request, caller: Caller, reason: Reason, detail: str, record: dict[str, Any], started: float
    ) -> None:
        phases = record["phases"]
        phases["total"] = time.monotonic() - started
        for name, seconds in phases.items():
            phases[name] = round(seconds, 6)
        if reason.kind is not Kind.REMOTE:  # whose answer was not taken is among the tried
            for name in ("host", "way", "exit"):
                record.pop(name, None)
            record["argv"] = [word[:MAX_WORD] for word in request.argv[:MAX_WORDS]]
        record |= {
            "t": round(time.time(), 3),
            "run": request.env.get("MANYCC_RUN", ""),
            "by": "agent",
            "pid": caller.pid,
            "cwd": request.cwd,
            "compiler": os.path.basename(request.argv[0]),
            "reason": reason.code,
            "detail": detail[:2000],
        }


def must_repeat(prepared: Prepared, outcome: Outcome) -> bool:
    """Whether a compile error is shown only once the compiler here has said it, too."""
    return outcome.exit_code != 0 and (
        not prepared.manifest.inputs.complete
        or not outcome.stderr  # a compiler says why it fails
        or any(words in outcome.stderr for words in _MISSING)
        or not _speaks_english(prepared.job)
    )


def _speaks_english(job: Job) -> bool:
    """Whether messages are in the language of ``_MISSING``."""
    env = dict(job.env)
    locale = next((env[name] for name in _LOCALE if env.get(name)), "C")
    languages = [locale] if locale in ("C", "POSIX") else (env.get("LANGUAGE") or locale).split(":")
    return all(language.startswith(("C", "POSIX", "en")) for language in languages)


async def cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    waiting: list[Awaitable[None]] = list(tasks)
    await asyncio.gather(*waiting, return_exceptions=True)
