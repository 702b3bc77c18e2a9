"""Counts, sizes and durations as people read them."""

from __future__ import annotations


def amount(count: float, one: str, many: str = "") -> str:
    """``1 job``, ``2 jobs``."""
    return f"{count:g} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """Bytes for people: ``512 B``, ``4.2 kB``, ``1.3 GB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def span(seconds: float) -> str:
    """A duration for people: ``0.42 s``, ``8.1 s``, ``3 min 07 s``, ``2 h 05 min``, ``3 d 4 h``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def share(part: float, whole: float) -> str:
    """``96 %``; never rounded up to all, nor down to nothing."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1 %"
    return f"{int(percent) if percent > 99 else round(percent)} %"
