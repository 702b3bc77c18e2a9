"""What a check of ``manycc doctor`` says."""

from __future__ import annotations

from typing import Final, NamedTuple

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"


class Finding(NamedTuple):
    """What one check found; ``todo`` is what the user can type or do."""

    level: str
    text: str
    todo: str = ""
