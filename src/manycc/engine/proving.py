"""Which toolchains an engine serves, and on which terms: what its trials have shown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from manycc.backends.base import Verdict
from manycc.engine.address import INPUT, PROPERTY, EngineAddress
from manycc.engine.execute import Untaken
from manycc.engine.remembered import Remembered
from manycc.engine.trial import GENERATION, Trial
from manycc.errors import BackendError, BackendGone, CompilerError, NotDistributable
from manycc.job import Job, Outcome, Toolchain, Way

log = logging.getLogger(__name__)

REFUSAL_S: Final = 60.0
"""After this time a toolchain that was refused is tried again."""
PATIENCE_S: Final = 2.0
"""Jobs wait so long for a trial; then they go elsewhere until it is over."""
TRIAL_S: Final = 900.0
"""How long a toolchain may take to be sent and tried."""


class Terms(NamedTuple):
    """How a toolchain's jobs are put to an engine, and whose results count.

    ``by_property``: the compiler is left to workers that have it; else it goes along with the job. ``ours``: only
    workers of manycc's may do them, which heed that property. ``mapped``: workers run them in some folder of theirs.
    """

    by_property: bool
    ours: bool
    mapped: bool = False

    @property
    def way(self) -> Way:
        """What a job's record says of it."""
        return Way.SAME if self.by_property else Way.SHIPPED

    @property
    def how(self) -> str:
        """What becomes of the compiler, in words."""
        if self.mapped:
            return "sent along with the job, and paths mapped"
        return "left to workers that have it" if self.by_property else "sent along with the job"

    @property
    def nobody(self) -> str:
        """What may be the cause if no worker takes a job."""
        if self.by_property:
            return "no worker of the engine has this compiler, or all that do are busy"
        return "the engine has no worker, or all are busy"

    @property
    def name(self) -> str:
        """What they are remembered by."""
        return ",".join(f"{field}={value}" for field, value in self._asdict().items())


Key = tuple[str, str]
"""A toolchain's fingerprint and its driver."""
Run = Callable[[Job, Terms], Awaitable[Outcome]]
"""Does a trial. Raises BackendError."""


def key_of(toolchain: Toolchain) -> Key:
    """What is known of a toolchain is known by this."""
    return toolchain.fingerprint, toolchain.driver


def candidates(chosen: str) -> tuple[Terms, ...]:
    """The terms to be tried, the best first. ``chosen``: what the engine's address says of toolchains."""
    by_property, as_input = Terms(True, chosen != PROPERTY), (Terms(False, False), Terms(False, False, mapped=True))
    if chosen == PROPERTY:
        return (by_property,)
    return as_input if chosen == INPUT else (by_property, *as_input)


class Proofs:
    """The toolchains of one engine. For one event loop."""

    def __init__(
        self,
        address: EngineAddress,
        trial: Trial,
        run: Run,
        held: Callable[[Toolchain], int],
        changed: Callable[[], None],
        remembered: Remembered,
    ) -> None:
        """``held`` tells how many bytes of a toolchain the engine has, as far as that is known."""
        self._name = address.name
        self._chosen = address.toolchain
        self._asked_by = (GENERATION, address.name, address.toolchain, repr(address.properties))
        self._trial = trial
        self._run = run
        self._held = held
        self._changed = changed
        self._remembered = remembered
        self._labels: dict[Key, str] = {}
        self._terms: dict[Key, Terms] = {}
        self._refusals: dict[Key, tuple[str, float]] = {}
        self._doubted: dict[Key, float] = {}
        self._running: dict[Key, asyncio.Task[str]] = {}
        self._trying: dict[Key, tuple[Toolchain, Terms]] = {}
        self._late: set[Key] = set()

    def terms(self, toolchain: Toolchain) -> Terms | None:
        """On which terms a toolchain is served; None if that is not known, or it is not."""
        return self._terms.get(key_of(toolchain))

    def refusal(self, toolchain: Toolchain) -> str:
        """The sentence why it is not served (yet); "" if it is, or that must be found out."""
        key = key_of(toolchain)
        if key in self._late:
            return self._under_way(key)[0]
        sentence, at = self._refusals.get(key, ("", 0.0))
        return sentence if time.monotonic() - at < REFUSAL_S else ""

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        """What was found out about a toolchain; None if nothing."""
        return self._verdict(key_of(toolchain))

    def verdicts(self) -> list[Verdict]:
        """What was found out about all."""
        return [verdict for key in self._labels if (verdict := self._verdict(key)) is not None]

    def _verdict(self, key: Key) -> Verdict | None:
        if key in self._terms:
            return Verdict(self._labels[key], "", self._terms[key].way)
        if key in self._trying:
            sentence, sending = self._under_way(key)
            return Verdict(self._labels[key], sentence, "", sending)
        return Verdict(self._labels[key], self._refusals[key][0]) if key in self._refusals else None

    def _under_way(self, key: Key) -> tuple[str, tuple[int, int]]:
        """How far a trial is, in words and in bytes of the toolchain."""
        toolchain, terms = self._trying[key]
        total = 0 if terms.by_property else sum(file.size for file in toolchain.files)
        held = 0 if terms.by_property else self._held(toolchain)
        if held < total:
            return f"its compiler is being sent there: {held >> 20} of {total >> 20} MiB", (held, total)
        return "a trial compile is under way there", (total, total)

    def clear(self) -> None:
        """Forget all: what comes back may be another engine."""
        self._terms.clear()
        self._refusals.clear()

    def doubt(self, toolchain: Toolchain, terms: Terms, why: str) -> None:
        """A job showed that a toolchain is not served (any more) on these terms: it is tried anew.

        If that happens again soon, in spite of a trial that went well, jobs are kept from there for a while.
        """
        key = key_of(toolchain)
        if self._terms.get(key) is not terms:
            return  # others have said so
        del self._terms[key]
        self._remembered.put("", *self._asked_by, *key)
        now = time.monotonic()
        if now - self._doubted.get(key, float("-inf")) < REFUSAL_S:
            self._refuse(key, why)
        self._doubted[key] = now
        log.info("%s: %s: %s", self._name, self._labels[key], why)
        self._changed()

    async def prove(self, toolchain: Toolchain, patience_s: float | None = None) -> str:
        """Find out whether a toolchain is served: the sentence why it is not, or "". Raises BackendError.

        Callers that ask for the same share the trial. ``patience_s``: after this time "not yet" is an answer, too.
        """
        key = key_of(toolchain)
        self._labels.setdefault(key, f"{toolchain.label} ({toolchain.driver})")
        if key in self._terms:
            return ""
        task = self._running.get(key)
        if task is None:
            if sentence := self.refusal(toolchain):
                return sentence
            task = self._running[key] = asyncio.get_running_loop().create_task(self._prove(toolchain, key))
            task.add_done_callback(lambda done: self._proven(key, done))
        if patience_s is not None:
            if key not in self._late:
                await asyncio.wait([task], timeout=patience_s)
            if not task.done() and key in self._trying:
                self._late.add(key)
                self._changed()
                return self._under_way(key)[0]
        return await asyncio.shield(task)

    def _proven(self, key: Key, task: asyncio.Task[str]) -> None:
        self._running.pop(key, None)
        self._trying.pop(key, None)
        self._late.discard(key)
        if not task.cancelled():
            task.exception()  # every caller may have gone
            self._changed()

    async def _prove(self, toolchain: Toolchain, key: Key) -> str:
        sentences = []
        known = self._remembered.get(*self._asked_by, *key)
        for terms in sorted(candidates(self._chosen), key=lambda terms: terms.name != known):
            self._trying[key] = (toolchain, terms)
            sentence = await self._try(toolchain, terms)
            if not sentence:
                self._terms[key] = terms
                self._refusals.pop(key, None)
                self._remembered.put(terms.name, *self._asked_by, *key)
                log.info("%s: serves %s, with the compiler %s", self._name, toolchain.label, terms.how)
                return ""
            sentences.append(f"with the compiler {terms.how}: {sentence}")
            if not terms.by_property and sentence.startswith(terms.nobody):
                break  # nor would anybody take it on the other terms that go along with jobs
        self._remembered.put("", *self._asked_by, *key)
        self._refuse(key, "; ".join(sentences))
        log.info("%s: does not serve %s: %s", self._name, toolchain.label, self._refusals[key][0])
        return self._refusals[key][0]

    def _refuse(self, key: Key, sentence: str) -> None:
        self._refusals[key] = (sentence, time.monotonic())
        asyncio.get_running_loop().call_later(REFUSAL_S, self._changed)

    async def _try(self, toolchain: Toolchain, terms: Terms) -> str:
        """Why a toolchain is not served on these terms; "" if it is. Raises BackendGone."""
        try:
            async with asyncio.timeout(TRIAL_S):
                job = await self._trial.job(toolchain, alone=not (terms.by_property or terms.mapped))
                outcome = await self._run(job, terms)
                return await self._trial.verdict(toolchain, outcome)
        except TimeoutError:
            return "a trial compile did not come to an end in time"
        except (CompilerError, NotDistributable) as error:
            return str(error)
        except Untaken as error:
            return f"{terms.nobody}: none took a trial compile within {error.seconds:g} s"
        except BackendGone:
            raise
        except BackendError as error:
            return error.detail or error.what

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
