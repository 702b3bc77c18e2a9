"""Making the backend of an engine, with or without what that needs: the extra is not everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manycc.backends.base import State, Verdict
from manycc.backends.searched import Searched
from manycc.config import Config
from manycc.engine.extra import importing
from manycc.engine.remembered import Remembered
from manycc.errors import BackendGone, ConfigError
from manycc.hostlist import HostSpec
from manycc.job import Input, Job, Outcome, Toolchain
from manycc.reasons import Reason
from manycc.toolchain.canaries import Canaries

if TYPE_CHECKING:
    from manycc.engine.backend import EngineBackend


class AbsentEngine:
    """An engine that cannot be spoken to: down, and it says why. Satisfies ``schedule.pool.PoolBackend``."""

    kind = "execution engine"
    exact = True
    others = 0
    memory_free: int | None = None
    told = 0.0
    release = ""
    state = State.DOWN

    def __init__(self, name: str, slots: int, why: str) -> None:
        self.name = name
        self.slots = slots
        self.why = why

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None

    def connect(self) -> None:
        pass

    def retry(self) -> None:
        pass

    def refusal(self, toolchain: Toolchain) -> str:
        return self.why

    def proven(self, toolchain: Toolchain) -> bool:
        return False

    def verdict(self, toolchain: Toolchain) -> Verdict | None:
        return None

    def verdicts(self) -> list[Verdict]:
        return []

    def objection(self, job: Job) -> tuple[Reason, str] | None:
        return None

    def unproven(self, job: Job) -> bool:
        return False

    async def prove_job(self, job: Job) -> None:
        pass

    def keeps_bytes(self, job: Job) -> bool:
        return True

    def distrust(self, why: str) -> None:
        pass

    def retire(self, item: Input) -> None:
        pass

    async def prove(self, toolchain: Toolchain) -> str:
        return self.why

    async def run(self, job: Job) -> Outcome:
        raise BackendGone(Reason.NODE_LOST, self.why)

    async def close(self) -> None:
        pass


def make_engine(
    spec: HostSpec,
    config: Config,
    canaries: Canaries,
    remembered: Remembered | None = None,
    searched: Searched | None = None,
) -> EngineBackend | AbsentEngine:
    """The backend of an engine. This is where what the extra brings comes to be imported."""
    assert spec.engine is not None  # noqa: S101 - who calls has looked
    slots = spec.slots or spec.engine.slots
    try:
        with importing():
            from manycc.engine.backend import EngineBackend
    except ConfigError as error:
        return AbsentEngine(spec.name, slots, f"{error.what}: {error.hint} where manycc is ({error.why})")
    limits = config.connect_timeout_s, config.job_timeout_s, config.silence_s
    return EngineBackend(spec.engine, slots, canaries, *limits, remembered, searched)
