"""What a node is told at its start."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from manycc.errors import ConfigError
from manycc.node.access import LOOPBACK, Network
from manycc.node.machine import cpu_count, memory_total
from manycc.wire.native import MAX_FILE

DEFAULT_PORT: Final = 3632
GIB: Final = 1024**3
MIN_JOB_MEMORY: Final = 1 * GIB
"""gcc tunes its garbage collection to less address space than this, and says so in -fverbose-asm."""

SandboxChoice = Literal["auto", "required", "off"]
ToolchainChoice = Literal["any", "installed-only"]

_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Sizes in bytes, times in seconds.

    ``store_size`` None: the store's own default. ``job_memory`` bounds the address space of each
    process of a job, ``job_time`` its CPU time, ``job_output`` each file it writes, and
    ``job_processes`` how many processes one job may add. ``job_lifetime`` bounds how long a job runs, by the clock;
    0: there is no bound but the one that follows from ``job_time``. ``toolchains``: whether agents may send theirs.
    ``when_idle``: whether slots are given up to whom the machine belongs to. ``join``: the engine whose worker the node
    is, as in a host list (``engine/address.py``); it then listens to nobody. Empty: it is nobody's.
    """

    store: str
    listen: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allow: tuple[Network, ...] = LOOPBACK
    slots: int = field(default_factory=cpu_count)
    store_size: int | None = None
    job_memory: int = field(default_factory=lambda: max(MIN_JOB_MEMORY, memory_total()))
    job_time: int = 900
    job_lifetime: int = 0
    job_output: int = MAX_FILE
    job_processes: int = 64
    sandbox: SandboxChoice = "auto"
    toolchains: ToolchainChoice = "any"
    when_idle: bool = False
    join: str = ""
    name: str = field(default_factory=lambda: os.uname().nodename)
    drain_time: float = 60.0


def parse_size(text: str) -> int:
    """Bytes in ``5G``, ``512M``, ``1.5g``, ``1000``. Raises ConfigError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"'{text}' is not a size", "", "write bytes, or a number with K, M, G or T, like 5G")
    return int(float(match[1]) * _UNITS[match[2].upper()])
