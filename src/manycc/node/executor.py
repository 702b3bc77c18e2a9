"""An admitted job, from its missing inputs to its result."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

from manycc.errors import BackendRefused, StoreError, StoreFull
from manycc.node import outputs
from manycc.node.admission import Plan
from manycc.node.outputs import Produced
from manycc.node.process import Finished
from manycc.node.runner import Ran, Runner
from manycc.node.slots import Slot, Slots
from manycc.node.toolchains import ToolchainService
from manycc.reasons import Reason
from manycc.store.actions import ActionCache, CachedOutput, CachedResult
from manycc.store.layout import digest_of
from manycc.store.store import BlobMissing, Store

ATTEMPTS: Final = 3
"""How often a job is staged anew when contents vanish from the store meanwhile."""
LOOK_AGAIN_S: Final = 60.0
"""A content that was hashed again is trusted for so long: compiles that go wrong cost their agents nothing."""
_MAYBE_DAMAGE: Final = (Reason.COMPILER_KILLED, Reason.NODE_FAULT, Reason.REMOTE_ERROR)
_log: Final = logging.getLogger("manycc.node")

Fetch = Callable[[Iterable[tuple[bytes, int]]], Awaitable[None]]


@dataclass(slots=True)
class Result:
    """What a job came to. ``info`` as the wire has it: times in seconds, rss in bytes."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    produced: list[Produced]
    info: dict[str, Any] = field(default_factory=dict)


class Executor:
    """Runs admitted jobs. For one event loop."""

    def __init__(self, store: Store, toolchains: ToolchainService, runner: Runner, slots: Slots) -> None:
        self._store = store
        self._toolchains = toolchains
        self._runner = runner
        self._slots = slots
        self._cache = ActionCache(store)
        self._running: dict[bytes, asyncio.Future[None]] = {}
        self._looking = asyncio.Lock()
        self._looked_at: dict[bytes, float] = {}  # contents that were hashed again, the longest ago first

    async def run(self, plan: Plan, owner: Hashable, fetch: Fetch) -> Result:
        """Do a job. ``fetch`` brings contents, given as (digest, size), into the store.

        Cancelling kills the compiler; the cancellation is over when no process of it is left.
        Raises BackendRefused, and whatever ``fetch`` raises.
        """
        self._store.look()
        return await self._answer(plan) or await self._compile(plan, owner, fetch)

    def close(self) -> None:
        """Remove what is kept for later jobs. No job may be under way."""
        self._runner.close()

    async def _answer(self, plan: Plan) -> Result | None:
        """The result of the same action done before, if the job may have it, and the disk has not damaged it."""
        cached = self._cache.get(plan.key) if plan.may_answer else None
        files = self._cache.open_outputs(cached) if cached is not None else None
        if cached is None or files is None:
            return None
        produced = [_cached_output(output, file) for output, file in zip(cached.outputs, files, strict=True)]
        try:
            sound = await self._are_sound(produced)
        except BaseException:
            outputs.close_all(produced)
            raise
        if not sound:
            outputs.close_all(produced)
            return None
        info = {"cached": True, "cpu": 0.0, "wall": 0.0, "wait": 0.0, "stage": 0.0, "rss": cached.rss, "signal": 0}
        return Result(0, cached.stdout, cached.stderr, produced, info)

    async def _are_sound(self, produced: list[Produced]) -> bool:
        """Whether files of the store still are what they were; those that are not are removed from it."""
        sound = True
        for one in produced:
            if one.data is not None and hashlib.sha256(one.data).digest() != one.digest:
                self._store.drop(one.digest)
                sound = False
        large = [one.digest for one in produced if one.data is None]
        return sound and not (large and await self._recheck(large))

    async def _compile(self, plan: Plan, owner: Hashable, fetch: Fetch) -> Result:
        fetched = 0.0
        for _ in range(ATTEMPTS):
            await self._toolchains.check(plan.served)
            contents = dict(plan.contents())
            missing = self._store.missing(contents)
            begun = asked = time.monotonic()
            if missing:
                await fetch([(digest, contents[digest]) for digest in missing])
                asked = time.monotonic()
                fetched += asked - begun
            slot = await self._slot(plan, owner)
            if isinstance(slot, Result):
                return slot
            try:
                with self._seen_running(plan):
                    result = await self._attempt(plan, time.monotonic() - asked)
                result.info["fetch"] = fetched
                return result
            except BlobMissing:
                # Evicted by this or another process, or found to be damaged: then others may be too.
                self._store.doubt((entry.digest, entry.executable) for entry in plan.tree.files())
                await self._fill(plan)
            finally:
                self._slots.release(slot)
        raise BackendRefused(Reason.NODE_DISK, "its inputs keep vanishing from the store")

    async def _slot(self, plan: Plan, owner: Hashable) -> Slot | Result:
        """A slot; or the result, if the same job was done for another meanwhile.

        Only a job that has a slot is waited for: it comes to an end, whatever its agent does.
        """
        patient = plan.may_answer
        while True:
            twin = self._running.get(plan.key)
            if patient and twin is not None:
                patient = False  # if that one fails, another is not waited for
                await asyncio.wait([twin])
            slot = await self._slots.acquire(owner, plan.expected_rss)
            try:
                result = await self._answer(plan)
            except BaseException:
                self._slots.release(slot)
                raise
            if result is None and not (patient and plan.key in self._running):
                return slot
            self._slots.release(slot)
            if result is not None:
                return result

    @contextlib.contextmanager
    def _seen_running(self, plan: Plan) -> Iterator[None]:
        """Let jobs of the same action know that this one runs."""
        if not plan.may_keep or plan.key in self._running:
            yield
            return
        done = self._running[plan.key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._running[plan.key]
            done.set_result(None)

    async def _fill(self, plan: Plan) -> None:
        try:
            await self._toolchains.fill(plan.served)
        except (StoreError, OSError) as error:
            raise BackendRefused(Reason.NODE_DISK, f"the toolchain is not in the store any more: {error}") from error

    async def _attempt(self, plan: Plan, waited: float) -> Result:
        """Run once, in a slot. Raises BlobMissing, BackendRefused."""
        self._store.look()
        self._store.relieve(0)
        damaged = self._store.corrupted
        try:
            ran = await self._runner.run(plan, self._keep)
            if ran.finished.exit_code:
                await self._look_again(plan, damaged, ran)
        except BackendRefused as error:
            if error.reason in _MAYBE_DAMAGE:
                await self._look_again(plan, damaged)
            raise
        except StoreFull as error:
            raise BackendRefused(Reason.NODE_DISK, str(error)) from error
        except OSError as error:
            # A job's paths become longer by those of this node's own folders.
            reason = Reason.NODE_REFUSED if error.errno == errno.ENAMETOOLONG else Reason.NODE_FAULT
            raise BackendRefused(reason, f"{error.strerror}: {error.filename or ''}") from error
        finished = ran.finished
        info = {
            "cached": False,
            "cpu": finished.cpu,
            "wall": finished.wall,
            "wait": waited,
            "stage": ran.staged,
            "rss": finished.rss,
            "signal": finished.signal,
        }
        return Result(finished.exit_code, finished.stdout, finished.stderr, ran.produced, info)

    async def _look_again(self, plan: Plan, damaged: int, ran: Ran | None = None) -> None:
        """A compile went wrong: was it for a file that the disk has damaged? Hash them. Raises BlobMissing.

        ``damaged``: how many the store had found before the compile. A compiler that has come to an end of its
        own (``ran``) is taken to be sound.
        """
        store = self._store
        try:
            bad = await self._recheck([entry.key for entry in plan.tree.files() if not (ran and entry.executable)])
            if bad or store.corrupted != damaged:  # another job may have found what this one fell over
                _log.warning("%r: a content was damaged on this node's disk", plan.source)
                raise BlobMissing(*map(digest_of, bad[:1]))
        except BaseException:
            if ran is not None:
                outputs.close_all(ran.produced)
            raise

    async def _recheck(self, keys: Iterable[bytes]) -> list[bytes]:
        """Hash contents again that were not hashed so lately; those that were damaged, or are not here."""
        looked_at = self._looked_at
        async with self._looking:  # who asks for what is being hashed waits for what comes of it
            now = time.monotonic()
            for key, when in list(looked_at.items()):
                if now - when < LOOK_AGAIN_S:
                    break
                del looked_at[key]
            due = [key for key in keys if key not in looked_at]
            looked_at.update(dict.fromkeys(due, now))
            bad = await asyncio.to_thread(self._store.recheck, due) if due else []
            for key in bad:
                looked_at.pop(key, None)
        return bad

    def _keep(self, plan: Plan, finished: Finished, produced: list[Produced]) -> None:
        """Put a success into the result cache. The outputs are moved: nothing is written again."""
        if finished.exit_code or not plan.may_keep or (plan.lasting and not plan.lasting(produced)):
            return
        try:
            for one in produced:
                self._store.adopt(one.place, one.digest)
            listed = [CachedOutput(one.path, one.mode, one.size, one.digest) for one in produced]
            self._cache.put(
                plan.key, CachedResult(listed, finished.stdout, finished.stderr, finished.cpu, finished.rss)
            )
        except (StoreError, OSError) as error:
            _log.warning("a result could not be kept: %s", error)


def _cached_output(output: CachedOutput, file: BinaryIO) -> Produced:
    """A file of a result done before."""
    if output.size > outputs.IN_MEMORY:
        return Produced(output.path, output.mode, output.size, output.digest, None, file)
    with file:
        data = file.read(output.size + 1)
    return Produced(output.path, output.mode, output.size, output.digest, data, None)
