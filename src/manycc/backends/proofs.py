"""What a stock server was proven to do: for each toolchain, language and set of options.

A server says nothing about its compilers. So canaries (``toolchain/canaries.py``) go through the same two
steps as a job, preprocessing here and compiling there, and must come back as the compiler here makes them.
A proof is good for a while: the server's compiler may be upgraded, and nothing would tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from manycc.backends.exchange import HungUp
from manycc.backends.localcpp import LocalRuns
from manycc.command.stock import compiler_names
from manycc.errors import BackendError, BackendGone, CompilerError, NotDistributable
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.toolchain.canaries import Canaries, Canary
from manycc.verify.compare import Observed
from manycc.verify.explain import explained

PROOF_S: Final = 900.0
REFUSAL_S: Final = 60.0
MAX_PROOFS: Final = 1000
MISSING: Final = 110
"""The exit code with which distccd says that it has no such compiler."""
RAW: Final = "-fdirectives-only"

Ship = Callable[[Sequence[str], bytes], Awaitable[tuple[int, bytes, bytes]]]
"""Compiles there: the server's argv and the source. Exit code (negative: signal), object and messages."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it: the name under which the server has the compiler, or why it is not used."""

    name: str
    raw: bool
    """Whether macros may be left to it."""
    refusal: str
    at: float

    def stale(self) -> bool:
        """Whether it must be proven again."""
        return time.monotonic() - self.at > (REFUSAL_S if self.refusal else PROOF_S)


_Key = tuple[str, str, str, tuple[str, ...]]


class Proofs:
    """The proofs of one server."""

    def __init__(self, canaries: Canaries, runs: LocalRuns, ship: Ship) -> None:
        self._canaries = canaries
        self._runs = runs
        self._ship = ship
        self._known: dict[_Key, Proof] = {}
        self._running: dict[_Key, asyncio.Task[Proof]] = {}

    def clear(self) -> None:
        """Forget all: the server may be another one now."""
        self._known.clear()

    def known(self, toolchain: Toolchain, language: str, flags: tuple[str, ...] = ()) -> Proof | None:
        """What is known, even if it is old."""
        return self._known.get((toolchain.fingerprint, toolchain.driver, language, flags))

    def named(self, fingerprint: str, driver: str, language: str) -> Proof | None:
        """What is known of a toolchain of which nothing but the name is left."""
        return self._known.get((fingerprint, driver, language, ()))

    async def of(self, toolchain: Toolchain, language: str, flags: tuple[str, ...] = ()) -> Proof:
        """The proof; made now if there is none, or an old one. Callers that ask for the same share it.

        Raises BackendError if the server cannot be reached, or does not answer as a server does.
        """
        key = (toolchain.fingerprint, toolchain.driver, language, flags)
        proof = self._known.get(key)
        if proof is not None and not proof.stale():
            return proof
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._prove(key, toolchain, language, flags))
            task.add_done_callback(lambda done: self._finished(key, done))
        return await asyncio.shield(task)

    def _finished(self, key: _Key, task: asyncio.Task[Proof]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # every caller may have gone

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prove(self, key: _Key, toolchain: Toolchain, language: str, flags: tuple[str, ...]) -> Proof:
        names = compiler_names(toolchain.driver, toolchain.kind, toolchain.version, toolchain.target, language)
        if flags:
            base = await self.of(toolchain, language)
            if base.refusal:
                return self._note(key, base.name, base.raw, base.refusal)
            names = (base.name,)
        try:
            proof = await self._first_equal(key, toolchain, language, flags, names)
        except (CompilerError, NotDistributable) as error:
            return self._note(key, "", False, f"the canaries could not be compiled here: {error}")
        return proof

    async def _first_equal(
        self, key: _Key, toolchain: Toolchain, language: str, flags: tuple[str, ...], names: Sequence[str]
    ) -> Proof:
        canaries: list[tuple[Canary, bytes]] = []
        for canary in self._canaries.of(language):
            here = await self._canaries.object_of(toolchain, flags, canary)
            if here:
                canaries.append((canary, here))
        if not canaries:
            return self._note(key, "", False, f"no canary compiles here with {' '.join(flags)}")
        unknown: list[str] = []
        refusals: list[str] = []
        for name in names:
            try:
                refusal = await self._difference(toolchain, name, flags, canaries, raw=False)
            except HungUp:
                unknown.append(name)
                continue
            if refusal is None:
                unknown.append(name)
            elif refusal:
                refusals.append(refusal)
            else:
                raw = toolchain.kind == "gcc" and not await self._raw_differs(toolchain, name, flags, canaries)
                return self._note(key, name, raw, "")
        if refusals:
            sentence = refusals[0]
        elif flags:
            sentence = f"distccd hangs up on {' '.join(flags)}"
        else:
            sentence = (
                f"distccd hangs up on the compiler's names {', '.join(unknown)}: they are not in its list"
                " (on that machine: update-distcc-symlinks), not installed, or it lets nobody in from here"
            )
        return self._note(key, "", False, sentence)

    async def _raw_differs(
        self, toolchain: Toolchain, name: str, flags: Sequence[str], canaries: Sequence[tuple[Canary, bytes]]
    ) -> bool:
        try:
            return await self._difference(toolchain, name, flags, canaries, raw=True) != ""
        except HungUp:
            return True

    async def _difference(
        self,
        toolchain: Toolchain,
        name: str,
        flags: Sequence[str],
        canaries: Sequence[tuple[Canary, bytes]],
        *,
        raw: bool,
    ) -> str | None:
        """How the server's objects differ, in a sentence; "" if they do not, None if it has no such compiler."""
        mode = [RAW] if raw else []
        target = target_flags(toolchain, flags)
        for canary, here in canaries:
            self._canaries.write()
            asked = [*flags, *mode, "-w", "-x", canary.language, "-E", canary.name]
            text = await self._runs.run(toolchain, asked, self._canaries.folder, {"LC_ALL": "C"})
            if text.code:
                return f"the canary {canary.name} cannot be preprocessed here"
            argv = [name, *target, *flags, *mode, "-w", "-c", canary.name, "-o", "output.o"]
            code, there, said = await self._ship(argv, text.output)
            if code == MISSING:
                return None
            words = f" {' '.join(flags)}" if flags else ""
            if code:
                line = next((line for line in said.decode(errors="replace").splitlines() if "rror" in line), "")
                return f"its {name}{words} fails on {canary.name} (exit code {code}){': ' if line else ''}{line[:200]}"
            if there != here:
                how = await asyncio.to_thread(_described, here, there)
                return f"its {name}{words} makes another object of {canary.name}: {how}"
        return ""

    def _note(self, key: _Key, name: str, raw: bool, refusal: str) -> Proof:
        if len(self._known) >= MAX_PROOFS:
            self._known.clear()
        proof = self._known[key] = Proof(name, raw, refusal, time.monotonic())
        return proof


def target_flags(toolchain: Toolchain, flags: Sequence[str]) -> tuple[str, ...]:
    """What tells a clang that compiles for many machines which one is meant; nothing if the command does."""
    if toolchain.kind != "clang" or any(flag.startswith(("--target", "-target", "-m32", "-m64")) for flag in flags):
        return ()
    return (f"--target={toolchain.target}",)


def _described(here: bytes, there: bytes) -> str:
    """The first difference of two objects, of which one may be made to be hard to read."""
    mine, theirs = (Observed(0, b"", b"", {"object": (0o644, data)}) for data in (here, there))
    lines = [line for difference in explained(mine, theirs, ["object"]) for line in difference.lines]
    said = [line for line in lines if line.startswith(".comment says")]
    if len(said) > 1:
        return "; ".join(said[:2])
    return lines[0] if lines else "it cannot be told how"


def lost(error: BackendError) -> bool:
    """Whether an error tells of the server, and not of what it was asked."""
    return isinstance(error, BackendGone) or error.reason is Reason.NODE_TIMEOUT
