"""Trial compiles: what configure steps ask a compiler, in sources that they write and throw away."""

from __future__ import annotations

import os
import re
from typing import Final

_SOURCE: Final = re.compile(
    r"conftest\w*\.\w+"  # autoconf
    r"|CMakeC(?:XX)?Compiler(?:Id|ABI)\.\w+"
    r"|sanitycheckc(?:pp)?\.\w+"  # Meson
)
_PLACE: Final = re.compile(
    r"/cmTC_[0-9a-f]+\.dir/"  # CMake's try_compile
    r"|/meson-private/tmp\w+/"
)


def is_trial(source: str, output: str) -> bool:
    """Whether a compile is a configure step's question. Both are absolute paths."""
    return bool(_SOURCE.fullmatch(os.path.basename(source)) or _PLACE.search(source) or _PLACE.search(output))
