"""What an engine says that it can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from manycc.engine.cas import PER_BLOB, USUAL_BATCH, Offer
from manycc.errors import BackendRefused
from manycc.reapi.remote_execution_pb2 import Compressor, DigestFunction
from manycc.reasons import Reason


@dataclass(frozen=True, slots=True)
class Abilities:
    """As far as a client must know. ``offer``: its store's.

    ``paths``: it knows ``output_paths`` (API 2.1), and no older field is needed. What it says of absolute links is not
    heeded: BuildGrid says that it takes none, and takes them. An engine that really takes none fails the trial.
    """

    release: str = ""
    offer: Offer = field(default_factory=Offer)
    paths: bool = True


def abilities_of(said: Any, compress: bool) -> Abilities:
    """Read an engine's ServerCapabilities. ``compress``: whether it is wanted. Raises BackendRefused."""
    cache, execution = said.cache_capabilities, said.execution_capabilities
    functions = {execution.digest_function, *execution.digest_functions, *cache.digest_functions}
    if DigestFunction.SHA256 not in functions:
        raise BackendRefused(Reason.NODE_REFUSED, "it does not name contents by SHA-256")
    if not execution.exec_enabled:
        raise BackendRefused(Reason.NODE_REFUSED, "it executes nothing for this user: it is only a cache")
    most = int(cache.max_batch_total_size_bytes)
    offer = Offer(
        batch=min(USUAL_BATCH, max(most - max(most // 32, PER_BLOB), 1)) if most > 0 else USUAL_BATCH,
        batch_zstd=compress and Compressor.ZSTD in cache.supported_batch_update_compressors,
        stream_zstd=compress and Compressor.ZSTD in cache.supported_compressors,
    )
    high = said.high_api_version
    return Abilities(
        release=f"REAPI {high.major}.{high.minor}",
        offer=offer,
        paths=(high.major, high.minor) >= (2, 1),
    )
