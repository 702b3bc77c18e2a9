"""Engines without grpc: it is an extra, and takes longer to import than a launcher lives."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from typing import Any

import pytest

from manycc.config import load
from manycc.engine.absent import make_engine
from manycc.errors import NotDistributable
from manycc.hostlist import parse_hosts
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Pool
from manycc.toolchain.canaries import Canaries


def test_an_engine_that_cannot_be_spoken_to_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_grpc(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "manycc.engine.backend":
            raise ImportError("No module named 'grpc'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_grpc)
    (spec,) = parse_hosts("reapi://h")

    async def compile_here(*_: object) -> bytes:
        return b""

    backend = make_engine(spec, load({}), Canaries("/nonexistent", compile_here))
    assert "pip install 'manycc[engine]'" in backend.why

    async def ask() -> None:
        pool = Pool([backend])
        toolchain = Toolchain("f", "/usr/bin/gcc", "gcc", "12", "", "", (), (), {})
        with pytest.raises(NotDistributable) as caught:
            await pool.acquire(toolchain)
        assert caught.value.reason is Reason.HOSTS_DOWN
        pool.close()
        await backend.close()

    asyncio.run(ask())


def test_grpc_is_only_imported_for_an_engine() -> None:
    program = "import sys, manycc.agent.server, manycc.cli.main, manycc.config; print('grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
