"""What the hosts are like in each experiment, and what is built on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from .hosts import GIB, Power, Setup
from .network import Line

NETWORKS: Final = {
    "unshaped": Line(),
    "1 Gbit/s": Line(1000),
    "100 Mbit/s": Line(100),
    "20 Mbit/s, 20 ms": Line(20, 20),
}

ALONE: Final = "none"
"""The network of systems that use no helpers."""


class Published(NamedTuple):
    """Figures of others for the same kind of build: seconds."""

    real: float
    user: float
    system: float


@dataclass(frozen=True)
class Preset:
    """An experiment: hosts, and what is built when nothing else is asked for."""

    name: str
    setup: Setup
    systems: Sequence[str]
    workloads: Sequence[str]
    networks: Sequence[str] = tuple(NETWORKS)
    published: tuple[tuple[str, Published], ...] = ()
    experiment: bool = True
    """Whether the table asks how near the ideal it came, rather than what each system costs."""

    def about(self) -> dict[str, Any]:
        """What the hosts are like, for the results' file."""
        setup = asdict(self.setup)
        return {**setup, "helpers": list(setup["helpers"])}


_ALL: Final = ("local", "distcc", "distcc, LZO", "icecream", "ccache", "manycc")
_HALF: Final = Power(0.5, GIB)
# The published times of a weak machine that builds FontForge, alone and with one helper.
_FONTFORGE: Final = (
    ("without help", Published(174, 277, 27)),
    ("distcc, -j8", Published(118, 60, 16)),
)

PRESETS: Final = {
    each.name: each
    for each in (
        Preset(
            "compare",
            Setup(_HALF, (Power(0.75, 2 * GIB), Power(0.75, 2 * GIB))),
            _ALL,
            ("lua", "re2", "redis", "fontforge"),
            experiment=False,
        ),
        Preset(
            "weak-client",
            Setup(_HALF, (Power(1.5, 4 * GIB),), slots=8, local_jobs=8),
            ("local", "distcc", "distcc, LZO", "manycc"),
            ("fontforge",),
            published=_FONTFORGE,
        ),
        Preset(
            "weak-helper",
            Setup(Power(1.5, 4 * GIB), (Power(0.5, GIB),), slots=2, own_slots=3, local_jobs=8),
            ("local", "distcc", "manycc"),
            ("fontforge",),
        ),
    )
}
