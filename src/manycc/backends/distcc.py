"""A stock distccd as a backend: preprocess here, compile there, place what comes back.

Such a host is less than a node: it tells nothing about itself, takes preprocessed source only and sends one
object. It is used where that yields the same bytes as a compile here, as canaries have shown
(``proofs.py``), or where nothing better serves the job and what differs is known and said (``keeps_bytes``).
Of distcc's three protocols the third, pump, is not spoken: there the server would read headers of its own,
and nothing could prove that they are the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from manycc.backends import proofs
from manycc.backends.base import State, Verdict
from manycc.backends.exchange import Answer, HungUp, Route, exchange
from manycc.backends.localcpp import LocalRuns
from manycc.backends.proofs import MISSING, RAW, Proofs, target_flags
from manycc.backends.shipped import Shipment, prepare, working_folder
from manycc.command.drivers import is_cxx
from manycc.command.outputs import NULL
from manycc.command.stock import Split, split
from manycc.errors import BackendError, BackendGone, BackendRefused, NotDistributable, WireError
from manycc.job import Input, Job, Outcome, OutputFile, Toolchain
from manycc.reasons import Reason
from manycc.toolchain.canaries import Canaries
from manycc.wire import distcc

log = logging.getLogger(__name__)

USUAL_SLOTS: Final = 4
"""What distcc takes a host for that is listed without a number."""
REST_FIRST_S: Final = 1.0
REST_LAST_S: Final = 60.0
PROVE_S: Final = 30.0
"""For one canary: jobs wait for the proof, and a host that takes connections may never answer."""
SERVERS_OWN: Final = range(100, 128)
"""Exit codes by which distccd speaks of itself, not of the compiler."""
PROBE_S: Final = 30.0
MAX_HUNG_UP: Final = 3
"""Jobs in a row on which a host hangs up before it is left alone, though it answers when it is probed."""
MAX_COMMANDS: Final = 1000
HANGS_UP: Final = "distccd hangs up on this command's options without a word"
SILENT: Final = "it hangs up on what it is asked: it is no distccd, or does not let this machine in"
PROBED: Final = ("cc", "gcc", "clang")
"""Names of compilers that a distccd is asked for to see whether it is one."""
_LOG_LINES: Final = re.compile(rb"(?:distccd\[\d+\] [^\n]*\n)+")
CANNOT_KEEP: Final = (
    "a stock distccd compiles preprocessed source, in which columns change: debug information may differ, and"
    " without -O code"
)


class StockBackend:
    """One distccd. Satisfies ``schedule.pool.PoolBackend``."""

    kind = "stock distccd"
    others = 0
    memory_free: int | None = None
    told = 0.0
    exact = False

    def __init__(
        self,
        name: str,
        make_route: Callable[[], Route],
        slots: int | None,
        lzo: bool,
        runs: LocalRuns,
        canaries: Canaries,
        job_timeout_s: float,
        silence_s: float,
    ) -> None:
        self.name = name
        self.slots = slots or USUAL_SLOTS
        self._make_route = make_route
        self._version = distcc.LZO if lzo else distcc.PLAIN
        self._runs = runs
        self._job_timeout_s = job_timeout_s
        self._silence_s = silence_s
        self._proofs = Proofs(canaries, runs, self._ship)
        self._labels: dict[tuple[str, str], str] = {}
        self._state = State.IDLE
        self._why = ""
        self._said = ""
        self._callbacks: list[Callable[[], None]] = []
        self._connecting: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._rest_s = REST_FIRST_S
        self._hung_up_on: set[tuple[str, ...]] = set()
        self._hung_up = 0  # times in a row
        self.release = ""
        self.rested: Callable[[], None] = self.connect
        """What is done when a host that was left alone is to be tried again."""

    # -- what the scheduler reads

    @property
    def state(self) -> State:
        return self._state

    @property
    def why(self) -> str:
        return self._why

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def _changed(self) -> None:
        for callback in tuple(self._callbacks):
            callback()

    def refusal(self, toolchain: Toolchain) -> str:
        proof = self._proofs.known(toolchain, _main_language(toolchain))
        return "" if proof is None or proof.stale() else proof.refusal

    def proven(self, toolchain: Toolchain) -> bool:
        """Whether it makes of the canaries what the compiler here does. An old proof is renewed with the next job."""
        proof = self._proofs.known(toolchain, _main_language(toolchain))
        return proof is not None and not proof.refusal

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        proof = self._proofs.known(toolchain, _main_language(toolchain))
        return None if proof is None else Verdict(toolchain.label, proof.refusal)

    def verdicts(self) -> list[Verdict]:
        found = []
        for (fingerprint, driver), label in self._labels.items():
            language = "c++" if is_cxx(driver) else "c"
            proof = self._proofs.named(fingerprint, driver, language)
            if proof is not None:
                found.append(Verdict(label, proof.refusal))
        return found

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        """Why this host cannot do this job, although it serves the toolchain."""
        try:
            parted = split(job.argv, job.cwd, job.toolchain.kind)
        except NotDistributable as error:
            return error.reason, error.detail
        proof = self._proofs.known(job.toolchain, parted.language, parted.flags)
        if proof is not None and proof.refusal and not proof.stale():
            return Reason.NO_TOOLCHAIN, proof.refusal
        if parted.options in self._hung_up_on:
            return Reason.NODE_REFUSED, HANGS_UP
        return None

    def keeps_bytes(self, job: Job) -> bool:
        """Whether the object will be what the compiler here writes, as far as the command tells."""
        try:
            parted = split(job.argv, job.cwd, job.toolchain.kind)
        except NotDistributable:
            return False
        return not (parted.columns or (parted.unoptimized and not parted.raw))

    # -- connecting: there is nothing to stay connected to, so it is asked once whether it answers

    def connect(self) -> None:
        if self._state in (State.CONNECTING, State.READY):
            return
        self._stop_retry()
        self._state = State.CONNECTING
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            answers = await self.answers()
        except BackendError as error:
            self._down(error.detail)
            return
        if answers:
            self.take_for_ready()
        else:
            self._down(self._said or SILENT)

    async def answers(self, limit_s: float = PROBE_S) -> bool:
        """Whether it answers as only a distcc server does; False if it hangs up. Raises BackendError."""
        end = time.monotonic() + min(limit_s, self._job_timeout_s)
        for name in PROBED:
            argv = [name, "-c", "probe.i", "-o", "probe.o"]
            try:
                await self._exchange(argv, b"", max(end - time.monotonic(), 0.01), distcc.PLAIN)
            except HungUp as error:
                self._said = error.said
                continue  # its list of compilers need not have this one
            return True
        return False

    def take_for_ready(self) -> None:
        """It is known to be a distccd, and to be there."""
        self._stop_retry()
        self._state = State.READY
        self._why = ""
        self._changed()

    def retry(self) -> None:
        """It rests for as long as it is to: a distccd is only asked by giving it a job."""

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _down(self, why: str) -> None:
        self._state = State.DOWN
        self._why = why
        self._stop_retry()
        self._retry = asyncio.get_running_loop().call_later(self._rest_s, self.rested)
        self._rest_s = min(self._rest_s * 2, REST_LAST_S)
        self._proofs.clear()  # who knows what comes back
        self._hung_up_on.clear()
        self._changed()

    def distrust(self, why: str) -> None:
        """It did something a sound server does not do: leave it alone for a while."""
        self._rest_s = REST_LAST_S
        self._down(why)

    # -- toolchains

    async def prove(self, toolchain: Toolchain) -> str:
        self._labels.setdefault((toolchain.fingerprint, toolchain.driver), f"{toolchain.label} ({toolchain.driver})")
        try:
            proof = await self._proofs.of(toolchain, _main_language(toolchain))
        except BackendError as error:
            self._blame(error)
            raise
        self._changed()
        return proof.refusal

    def unproven(self, job: Job) -> bool:
        return False  # the first job with new options waits for the proof itself

    async def prove_job(self, job: Job) -> None:
        """Prove what a job needs, for whoever asks before there is the job: ``objection`` knows it then."""
        try:
            parted = split(job.argv, job.cwd, job.toolchain.kind)
            await self._proofs.of(job.toolchain, parted.language, parted.flags)
        except (NotDistributable, BackendError):
            pass  # as the objection, or the state, says

    async def _ship(self, argv: Sequence[str], source: bytes) -> tuple[int, bytes, bytes]:
        """Compile a canary there."""
        answer = await self._exchange(argv, source, min(self._job_timeout_s, PROVE_S), self._version)
        reply = answer.reply
        code = -(reply.status & 0x7F) or reply.status >> 8
        try:
            said = distcc.expand(self._version, reply.stderr, distcc.MAX_TEXT)
            made = distcc.expand(self._version, reply.output, distcc.MAX_BODY) if not code else b""
        except WireError as error:
            raise BackendGone(Reason.PROTOCOL, str(error)) from error
        return code, made, said

    # -- jobs

    def retire(self, item: Input) -> None:
        """An input's content changed: nothing of it is there."""

    async def run(self, job: Job) -> Outcome:
        try:
            parted = split(job.argv, job.cwd, job.toolchain.kind)
        except NotDistributable as error:
            raise BackendRefused(error.reason, error.detail) from error
        try:
            try:
                outcome = await self._run(job, parted)
            except HungUp as error:
                await self._look_into(error, parted)
                raise BackendRefused(Reason.NODE_REFUSED, HANGS_UP) from error
        except BackendError as error:
            self._blame(error)
            raise
        self._hung_up = 0
        self._rest_s = REST_FIRST_S
        return outcome

    async def _look_into(self, error: HungUp, parted: Split) -> None:
        """It hung up on a job. If it answers all the same, it was the command. Raises BackendGone if it was not."""
        self._hung_up += 1
        if self._hung_up >= MAX_HUNG_UP or not await self.answers():
            raise error
        if len(self._hung_up_on) < MAX_COMMANDS:
            self._hung_up_on.add(parted.options)

    def _blame(self, error: BackendError) -> None:
        """Leave the host alone for a while if it, and not what it was asked, is what failed."""
        if self._state is State.READY and (proofs.lost(error) or error.reason is Reason.PROTOCOL):
            log.info("%s: %s", self.name, error.detail)
            self._down(error.detail)

    async def _run(self, job: Job, parted: Split) -> Outcome:
        proof = await self._proofs.of(job.toolchain, parted.language, parted.flags)
        if proof.refusal:
            raise BackendRefused(Reason.NO_TOOLCHAIN, proof.refusal)
        raw = parted.raw and proof.raw and not job.inputs.volatile
        needed = parted.unoptimized or parted.strict
        raw = raw and (self._version == distcc.PLAIN or needed)  # LZO is asked for where bytes are dear
        begun = time.monotonic()
        try:
            shipment = await prepare(self._runs, job, parted, raw)
        except NotDistributable as error:
            raise BackendError(error.reason, error.detail) from error
        preprocessed = time.monotonic()
        target = target_flags(job.toolchain, parted.server)
        colour = ["-fdiagnostics-color=always"] if job.terminal and not _chooses_colour(parted.server) else []
        folder = []
        if parted.debug and job.toolchain.kind == "clang" and not _names_folder(parted.server):
            folder = ["-fdebug-compilation-dir", working_folder(job)]
        argv = [proof.name, *target, *([RAW] if shipment.raw else []), *colour, *folder, *parted.server]
        async with self._runs.holding(len(shipment.source)):
            answer = await self._exchange(argv, shipment.source, self._job_timeout_s, self._version)
        outcome = self._outcome(job, parted, shipment, answer)
        phases = {"preprocess": preprocessed - begun, **answer.phases}
        outcome.phases = {name: round(seconds, 6) for name, seconds in phases.items()}
        return outcome

    async def _exchange(self, argv: Sequence[str], source: bytes, job_timeout_s: float, version: int) -> Answer:
        begun = time.monotonic()
        if version != distcc.PLAIN:
            try:
                source = await self._runs.pressers.compress(source)
            except WireError as error:
                raise BackendError(Reason.NODE_REFUSED, str(error)) from error
        pressed = time.monotonic()
        answer = await exchange(
            self._make_route(), version, argv, source, silence_s=self._silence_s, job_timeout_s=job_timeout_s
        )
        answer.phases["compress"] = pressed - begun
        return answer

    def _outcome(self, job: Job, parted: Split, shipment: Shipment, answer: Answer) -> Outcome:
        reply = answer.reply
        self._check_status(reply.status)
        try:
            stderr = distcc.expand(self._version, reply.stderr, distcc.MAX_TEXT)
            stdout = distcc.expand(self._version, reply.stdout, distcc.MAX_TEXT)
            made = distcc.expand(self._version, reply.output, distcc.MAX_BODY)
        except WireError as error:
            raise BackendGone(Reason.PROTOCOL, str(error)) from error
        stderr = _LOG_LINES.sub(b"", stderr)
        outputs = []
        mode = 0o666 & ~job.umask
        main = parted.output and _absolute(job, parted.output)
        for path, data in ((main, made), (_absolute(job, parted.depfile), shipment.depfile)):
            if path:
                outputs.append(OutputFile(path, mode, data, hashlib.sha256(data).digest()))
        reason = Reason.STOCK
        if shipment.columns:
            reason = Reason.STOCK_COLUMNS
        elif stderr:
            reason = Reason.STOCK_MESSAGES
        return Outcome(
            reason=reason,
            host=self.name,
            exit_code=0,
            stdout=stdout,
            stderr=shipment.said + stderr,
            outputs=outputs,
            sent=answer.sent,
            received=answer.received,
        )

    @staticmethod
    def _check_status(status: int) -> None:
        """Raise for anything but success: what a compile that failed has to say is said by the compiler here."""
        code, number = status >> 8, status & 0x7F
        if number:
            raise BackendError(Reason.COMPILER_KILLED, f"signal {number}")
        if code == MISSING:
            raise BackendRefused(Reason.NO_TOOLCHAIN, "distccd says that the compiler is not installed there")
        if code in SERVERS_OWN:
            raise BackendError(Reason.NODE_FAULT, f"distccd gave the job up with its own exit code {code}")
        if code:
            raise BackendError(Reason.REMOTE_ERROR, f"exit code {code}")

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        self._stop_retry()
        await self._proofs.close()
        self._state = State.IDLE


def _main_language(toolchain: Toolchain) -> str:
    return "c++" if is_cxx(toolchain.driver) else "c"


def _absolute(job: Job, spelled: str) -> str:
    """Where an output goes, as ``Job.outputs`` has it."""
    if not spelled or spelled == NULL:
        return ""
    folder, name = os.path.split(spelled)
    return os.path.join(os.path.realpath(os.path.join(job.cwd, folder)), name)


def _names_folder(argv: Sequence[str]) -> bool:
    return any(word.startswith(("-fdebug-compilation-dir", "-ffile-compilation-dir")) for word in argv)


def _chooses_colour(argv: Sequence[str]) -> bool:
    return any("diagnostics-color" in word or "color-diagnostics" in word for word in argv)
