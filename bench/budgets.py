"""What is promised, what was measured, and whether that is met: rows, their table, and the exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MET: Final = "met"
MISSED: Final = "missed"
ABSENT: Final = "not measured"
FAILED: Final = "failed"
HEADINGS: Final = ("budget", "limit", "figure", "", "what was measured")


@dataclass(frozen=True)
class Row:
    """One promise. All limits are upper ones: the figure may reach them, and not be more.

    ``figure`` is None where there is none: nobody measured it (``failed`` is empty), or that went wrong (it says how).
    """

    budget: str
    limit: float
    unit: str
    figure: float | None
    note: str = ""
    failed: str = ""
    digits: int = 2

    @property
    def state(self) -> str:
        """Whether it is met. What was not measured never is."""
        if self.failed:
            return FAILED
        if self.figure is None:
            return ABSENT
        return MET if self.figure <= self.limit else MISSED

    def cells(self) -> tuple[str, ...]:
        """For a table."""
        figure = "-" if self.figure is None else f"{self.figure:,.{self.digits}f} {self.unit}".rstrip()
        limit = f"{self.limit:,g} {self.unit}".rstrip()
        return self.budget, limit, figure, self.state, self.failed or self.note

    def told(self) -> dict[str, Any]:
        """For a file."""
        return {"budget": self.budget, "limit": self.limit, "unit": self.unit, "figure": self.figure,
                "state": self.state, "note": self.failed or self.note}  # fmt: skip


def exit_status(rows: Sequence[Row]) -> int:
    """0 if something was measured and all of that is met, else 1. What was not measured decides nothing."""
    states = {row.state for row in rows}
    return 0 if MET in states and states <= {MET, ABSENT} else 1


def summary(rows: Sequence[Row]) -> str:
    """How many of each state, in a line."""
    states = [row.state for row in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in (MET, MISSED, FAILED, ABSENT) if state in states)


def text(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS) - 1)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip() + "\n"
        for line in lines
    )
