"""Proving a node's equivalent compiler: canaries compiled here and there, as the jobs are that are to follow.

A node may offer a compiler that is not the very one of this machine, of the same version and for the same target.
Before the first job with a new set of code options goes there, canaries are compiled with these very options, here
and as ordinary jobs on the node; everything that they come to must be the same to the byte: objects, further files,
exit code, messages. What is found out is kept (``toolchain/equivalence.py``), so it costs a second once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from manycc.backends.localcpp import LocalRuns
from manycc.backends.searched import Searched
from manycc.command.codegen import code_options, random_names
from manycc.command.drivers import CLANG, GCC
from manycc.command.parse import parse
from manycc.errors import BackendError, BackendGone, BackendRefused, NotDistributable, WireError
from manycc.job import FILE, Input, Inputs, Job, Outcome, Repair, Toolchain
from manycc.reasons import Reason
from manycc.toolchain import facts
from manycc.toolchain.canaries import CANARIES, MACROS, NOTICES, Canary
from manycc.toolchain.equivalence import Offer, Verdict, Verdicts, beyond_canaries, key_of, new_verdict
from manycc.verify.compare import Observed, differing
from manycc.verify.explain import explained

MAX_REMEMBERED: Final = 4096
MAX_HOST: Final = 40
CANARY_S: Final = 180.0
"""A canary is compiled in a moment, under emulation in seconds: with what it waits for on a busy node, a node that
takes longer is of no use, while jobs wait for the proof."""
DOUBT_S: Final = 30.0
"""For so long a node is not asked again that could not try canaries."""
LATE_DOUBT_S: Final = 900.0
"""And for so long one that took too long."""
_LOCALE: Final = ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LOCPATH")
_LOCALE_PLACES: Final = ("/usr/share/locale", "/usr/lib/locale", "/usr/share/locale-langpack")
_TALKATIVE: Final = ("-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-MD")
_SEED: Final = "-frandom-seed=manycc"
_NAMING_MACROS: Final = {GCC: ("-g3", "-gno-record-gcc-switches"), CLANG: ("-g3", "-fdebug-macro")}
"""What makes a compiler write all macros into the object, and no more of the command than that."""
_MODE: Final = 0o644

Run = Callable[[Job, Repair], Awaitable[Outcome]]
"""Does a job on the node. Raises BackendError."""


class _Question(NamedTuple):
    """What is to be found out: do these canaries come out the same? ``items`` are read besides the source."""

    key: str
    language: str
    options: tuple[str, ...]
    stated: tuple[str, ...]
    canaries: tuple[Canary, ...]
    env: tuple[tuple[str, str], ...]
    items: tuple[Input, ...]


class Equivalence:
    """The proofs of all nodes. For one event loop.

    ``folder`` is where canaries are compiled; it is emptied when first used.
    """

    def __init__(self, folder: str, verdicts: Verdicts, runs: LocalRuns) -> None:
        self._folder = folder
        self._verdicts = verdicts
        self._runs = runs
        self._searched = Searched(runs)
        self._sources: dict[str, Input] = {}
        self._here: dict[tuple[object, ...], asyncio.Task[Observed]] = {}
        self._asked: dict[tuple[object, ...], tuple[_Question, ...]] = {}
        self._proving: dict[tuple[str, str], asyncio.Task[Verdict]] = {}
        self._doubts: dict[tuple[str, str], tuple[str, float]] = {}

    def verdicts(self) -> list[Verdict]:
        """What was found out so far."""
        return self._verdicts.all()

    def objection(self, job: Job, offer: Offer, host: str) -> str:
        """What is known against doing a job with that compiler on a node; "" if nothing is."""
        try:
            language, options, why = code_options(job.argv, job.cwd, job.toolchain.kind)
        except NotDistributable as error:
            return str(error)
        if job.inputs.options:
            why = why or "a source sets options for its own code (#pragma GCC, or an attribute)"
        why = why or beyond_canaries(job.toolchain, offer, language, options)
        if why:
            return f"no canary can prove the compiler there for this: {why}"
        for question in self._questions(job, offer):
            verdict = self._verdicts.get(question.key)
            if verdict is not None and verdict.refusal:
                return verdict.refusal
            doubt, until = self._doubts.get((question.key, host), ("", 0.0))
            if doubt and verdict is None and time.monotonic() < until:
                return doubt
        return ""

    def unproven(self, job: Job, offer: Offer) -> bool:
        """Whether canaries must be compiled before it is known that the job can be done with that compiler."""
        return any(self._verdicts.get(question.key) is None for question in self._questions(job, offer))

    async def prove(self, job: Job, offer: Offer, host: str, run: Run) -> Repair:
        """What a job must be accompanied by, once it is certain that its bytes will be the same.

        ``host`` names the node that ``run`` asks. Raises BackendRefused(NOT_EQUIVALENT), and whatever ``run`` raises.
        """
        if objection := self.objection(job, offer, host):
            raise BackendRefused(Reason.NOT_EQUIVALENT, objection)
        questions = self._questions(job, offer)
        for question in questions:
            verdict = self._verdicts.get(question.key) or await self._verdict(question, job, offer, host, run)
            if verdict.refusal:
                raise BackendRefused(Reason.NOT_EQUIVALENT, verdict.refusal)
        search = await self._searched.of(job)
        return Repair(search, questions[0].stated, job.toolchain.facts.get("ident", ""))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks: list[asyncio.Task[Any]] = [*self._proving.values(), *self._here.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what has to be known

    def _questions(self, job: Job, offer: Offer) -> tuple[_Question, ...]:
        """What has to be known before a job can be done with that compiler."""
        toolchain = job.toolchain
        memo = (toolchain.fingerprint, toolchain.driver, offer.fingerprint, job.argv, job.cwd, job.env)
        found = self._asked.get(memo)
        if found is None:
            if len(self._asked) >= MAX_REMEMBERED:
                self._asked.clear()
            found = self._asked[memo] = self._find_questions(job, offer)
        return found

    def _find_questions(self, job: Job, offer: Offer) -> tuple[_Question, ...]:
        toolchain = job.toolchain
        language, options, _ = code_options(job.argv, job.cwd, toolchain.kind)
        stated = _stated(toolchain, offer, job.argv)
        seed = (_SEED,) if random_names(options, toolchain.kind) else ()
        quiet = (*options, *seed, "-w", "-nostdinc")
        canaries = tuple(canary for canary in CANARIES if canary.language == language)
        plain = (("LC_ALL", "C"),)
        # By these clang knows the gcc for another target than its own.
        marks = tuple(item for item in job.inputs.items if item.kind == FILE and item.path.endswith("/crtbegin.o"))
        beside = ("", *stated, "", *(item.path for item in marks))
        key = key_of(toolchain, offer, ("code", language, *quiet, *beside))
        code = _Question(key, language, quiet, stated, canaries, plain, marks)
        notices = tuple(canary for canary in NOTICES if canary.language == language)
        env = tuple((name, value) for name, value in job.env if name in _LOCALE)
        items = tuple(item for item in job.inputs.items if item.path.startswith(_LOCALE_PLACES))
        contents = sorted(f"{item.path} {item.digest.hex()} {item.target}" for item in items)
        messages = tuple(
            _Question(
                key_of(toolchain, offer, ("messages", language, *asked, *map("=".join, env), *contents, "", *stated)),
                language, asked, stated, notices, env or plain, items,
            )
            for asked in ((*_TALKATIVE, "-nostdinc"), ("-nostdinc",))
        )  # fmt: skip
        named = (*quiet, *_NAMING_MACROS[toolchain.kind])
        defined = tuple(one for one in MACROS if one.language == language.replace("assembler-with-cpp", "c"))
        key = key_of(toolchain, offer, ("macros", language, *named, *beside))
        macros = _Question(key, language, named, stated, defined, plain, marks)
        return (code, *messages, macros) if defined else (code, *messages)

    # -- finding it out

    async def _verdict(self, question: _Question, job: Job, offer: Offer, host: str, run: Run) -> Verdict:
        """A new verdict. Jobs that wait for the same share it."""
        name = (question.key, host)
        task = self._proving.get(name)
        if task is None:
            task = self._proving[name] = asyncio.create_task(self._find_out(question, job, offer, run))
            task.add_done_callback(lambda done: self._found_out(name, done))
        try:
            return await asyncio.shield(task)
        except BackendError as error:
            if not isinstance(error, BackendGone):
                if len(self._doubts) >= MAX_REMEMBERED:
                    self._doubts.clear()
                lasts = LATE_DOUBT_S if error.reason is Reason.NODE_TIMEOUT else DOUBT_S
                self._doubts[name] = (f"canaries could not be tried: {error}"[:1000], time.monotonic() + lasts)
            raise

    def _found_out(self, name: tuple[str, str], task: asyncio.Task[Verdict]) -> None:
        del self._proving[name]
        if not task.cancelled():
            task.exception()  # every caller may have gone

    async def _find_out(self, question: _Question, job: Job, offer: Offer, run: Run) -> Verdict:
        toolchain = job.toolchain
        repair = Repair((), question.stated, toolchain.facts.get("ident", ""))
        compared = await asyncio.gather(
            *(self._both(question, canary, toolchain, repair, run) for canary in question.canaries),
            return_exceptions=True,
        )
        evidence: dict[str, str] = {}
        refusal = ""
        for canary, result in zip(question.canaries, compared, strict=True):
            if isinstance(result, BaseException):
                raise result
            here, outcome = result
            if outcome is None:
                continue
            there = _observed(outcome)
            evidence[canary.name] = _digest(here)
            things = differing(here, there)
            if things:
                how = await asyncio.to_thread(explained, here, there, things[:1])
                refusal = _sentence(question, canary, toolchain, offer, outcome, things[0], how[0].lines)
                break
        if not evidence:
            refusal = f"no canary compiles here with {' '.join(question.options)}"
        shown = [*question.stated, *question.options]
        verdict = new_verdict(toolchain, offer, question.language, shown, refusal, evidence)
        self._verdicts.put(question.key, verdict)
        return verdict

    async def _both(
        self, question: _Question, canary: Canary, toolchain: Toolchain, repair: Repair, run: Run
    ) -> tuple[Observed, Outcome | None]:
        """What a canary comes to here, and there; None if the options forbid it, here as there."""
        trial = self._trial(question, canary, toolchain)
        here = await self._made_here(question, trial)
        if here.exit_code:
            return here, None
        try:
            async with asyncio.timeout(CANARY_S):
                return here, await run(trial, repair)
        except TimeoutError:
            why = f"{canary.name} was not compiled there within {CANARY_S:.0f} s"
            raise BackendError(Reason.NODE_TIMEOUT, why) from None
        except BackendRefused as error:
            if error.reason is not Reason.NODE_REFUSED:
                raise
            raise BackendRefused(Reason.NOT_EQUIVALENT, error.detail) from error

    def _trial(self, question: _Question, canary: Canary, toolchain: Toolchain) -> Job:
        """A canary as a job."""
        source = self._source(canary)
        name = hashlib.sha256(f"{question.key} {canary.name}".encode()).hexdigest()[:16]
        folder = os.path.join(os.path.dirname(source.path), name)
        assembly = "-S" in question.options
        output = "output.s" if assembly else "output.o"
        argv = (
            toolchain.driver, *question.options, "-x", canary.language, *(() if assembly else ("-c",)), source.path,
            "-o", output,
        )  # fmt: skip
        env = (*question.env, ("PWD", folder))
        command = parse(argv, folder, dict(env), None, kind=toolchain.kind)
        return Job(
            argv=argv,
            cwd=folder,
            env=tuple(sorted(env)),
            umask=0o022,
            toolchain=toolchain,
            inputs=Inputs([source, *question.items], "canary", True, False),
            folders=(folder,),
            outputs=tuple(os.path.join(folder, path) for path in command.outputs),
            stems=(),
            source=source.path,
        )

    def _source(self, canary: Canary) -> Input:
        """A canary's text, in a file. Raises BackendRefused if it cannot be written."""
        data = canary.text.encode("ascii")
        item = self._sources.get(canary.name)
        try:
            if not self._sources:
                shutil.rmtree(self._folder, ignore_errors=True)
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
            path = os.path.join(os.path.realpath(self._folder), canary.name)
            if item is None or not os.path.isfile(path):
                os.makedirs(self._folder, mode=0o700, exist_ok=True)
                with open(path, "wb") as file:
                    file.write(data)
        except OSError as error:
            raise _cannot(f"{self._folder}: {error.strerror}") from error
        if item is None:
            item = self._sources[canary.name] = Input(FILE, path, hashlib.sha256(data).digest(), len(data))
        return item

    async def _made_here(self, question: _Question, trial: Job) -> Observed:
        """What the compiler here makes of a canary. Raises BackendRefused if that cannot be found out."""
        toolchain = trial.toolchain
        key = (toolchain.fingerprint, trial.argv, question.env, trial.cwd)
        task = self._here.get(key)
        if task is None:
            if len(self._here) >= MAX_REMEMBERED // 8:
                self._here = {other: task for other, task in self._here.items() if not task.done()}
            task = self._here[key] = asyncio.create_task(self._make_here(trial))
        try:
            return await asyncio.shield(task)
        except (OSError, NotDistributable) as error:
            self._here.pop(key, None)
            raise _cannot(str(error)) from error

    async def _make_here(self, trial: Job) -> Observed:
        os.makedirs(trial.cwd, mode=0o700, exist_ok=True)
        try:
            ran = await self._runs.run(trial.toolchain, trial.argv[1:], trial.cwd, dict(trial.env))
            files: dict[str, tuple[int, bytes]] = {}
            for path in trial.outputs:
                with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                    files[path] = (_MODE, file.read())
            return Observed(ran.code, ran.output, ran.said, files)
        finally:
            shutil.rmtree(trial.cwd, ignore_errors=True)


def read_offer(about: dict[str, Any]) -> Offer:
    """What a node says of a compiler that could stand in. Raises WireError."""
    try:
        said = facts.from_peer(about.get("facts"))
    except ValueError as error:
        raise WireError(str(error)) from error
    texts = [about.get(name) for name in ("fingerprint", "label", "driver")]
    if not all(isinstance(text, str) and 0 < len(text) <= 4096 for text in texts):
        raise WireError("an offered compiler is not described")
    fingerprint, label, driver = map(str, texts)
    host = about.get("host", "")
    if not isinstance(host, str) or len(host) > MAX_HOST:
        raise WireError("what an offered compiler runs on is not told by a name")
    return Offer(fingerprint, facts.printable(label), driver, said, host)


def calls_itself_otherwise(toolchain: Toolchain, offer: Offer, stderr: bytes) -> bool:
    """Whether messages begin with a driver's name that is not the one here: clang calls itself by its file's name."""
    there = os.path.basename(offer.driver)
    if toolchain.kind != CLANG or there == os.path.basename(os.path.realpath(toolchain.driver)):
        return False
    return any(line.startswith(os.fsencode(there) + b": ") for line in stderr.splitlines())


def _stated(toolchain: Toolchain, offer: Offer, argv: Sequence[str]) -> tuple[str, ...]:
    """The options that state the defaults of the compiler here, where the other one has others."""
    stated = facts.explicit(toolchain.facts, offer.facts, argv)
    if toolchain.kind == CLANG and not any(word.startswith(("--target", "-target")) for word in argv):
        stated.insert(0, f"--target={toolchain.target}")
    return tuple(stated)


def _observed(outcome: Outcome) -> Observed:
    files = {output.path: (_MODE, output.data) for output in outcome.outputs}
    return Observed(outcome.exit_code, outcome.stdout, outcome.stderr, files)


def _digest(seen: Observed) -> str:
    whole = hashlib.sha256(repr((seen.exit_code, seen.stdout, seen.stderr)).encode())
    for path in sorted(seen.files):
        whole.update(hashlib.sha256(seen.files[path][1]).digest())
    return whole.hexdigest()


def _sentence(
    question: _Question,
    canary: Canary,
    toolchain: Toolchain,
    offer: Offer,
    outcome: Outcome,
    what: str,
    lines: Sequence[str],
) -> str:
    """How the first canary that came out otherwise differs, and what most likely is behind it."""
    hidden = ("-w", "-nostdinc", _SEED, *(_NAMING_MACROS[toolchain.kind] if canary in MACROS else ()))
    words = " ".join(word for word in question.options if word not in hidden)
    under = f" with {words}" if words else ""
    if canary in MACROS:
        result = f"what {offer.label} there predefines{under} differs"
    elif what in ("exit code", "stdout", "stderr"):
        said = outcome.stderr.decode("utf-8", "replace").splitlines()
        error = next((line for line in said if "rror" in line), "")
        how = f"{what}: {error or '; '.join(lines[:3])}"
        result = f"{offer.label} there says something else of {canary.name}{under}: {how}"
    else:
        told = [line for line in lines if line.startswith((".comment says", "-\t", "+\t"))][:2] or lines[:1]
        result = f"{offer.label} there makes another {_kind(what)} of {canary.name}{under}: {'; '.join(told)}"
    cause = facts.difference(toolchain.facts, offer.facts, cplusplus=question.language == "c++")
    sentence = f"{cause}: {result}" if cause else result
    return "".join(char if char.isprintable() else "?" for char in sentence)[:1500]


def _kind(path: str) -> str:
    suffix = os.path.splitext(path)[1]
    return "object" if suffix == ".o" else f"{suffix} file"


def _cannot(why: str) -> BackendRefused:
    return BackendRefused(Reason.NOT_EQUIVALENT, f"the canaries cannot be compiled here: {why}"[:500])
