"""What everything of a run is called on the machine, so that the next run can tell what a killed one has left."""

from __future__ import annotations

import os
import re
from typing import Final

PREFIX: Final = "manycc-lab-"
SCRATCH: Final = "/var/tmp"
"""Where runs keep hosts' files: not /tmp, which each host has of its own."""
_NAME: Final = re.compile(re.escape(PREFIX) + r"(\d+)-(\d+)-\w+")


class LabError(Exception):
    """The lab cannot be built or run here; the text says why, and what to do."""


def mine(role: str) -> str:
    """The name of something of this process's."""
    return f"{PREFIX}{os.getpid()}-{_started(os.getpid())}-{role}"


def abandoned(name: str) -> bool:
    """Whether something with this name was a run's that is over. Process numbers come again; start times do not."""
    found = _NAME.fullmatch(name)
    return found is not None and _started(int(found[1])) != int(found[2])


def _started(pid: int) -> int:
    """When a process began, in clock ticks since the machine did; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
