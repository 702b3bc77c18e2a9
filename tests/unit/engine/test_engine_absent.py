"""Engines without the extra, which takes longer to import than a launcher lives."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.runtime_version import VersionError

from manycc.cli import enginecheck
from manycc.config import load
from manycc.daemon import serve
from manycc.engine.absent import make_engine
from manycc.engine.address import parse_engine
from manycc.engine.extra import importing
from manycc.errors import ConfigError, NotDistributable
from manycc.hostlist import parse_hosts
from manycc.job import Toolchain
from manycc.reasons import Reason
from manycc.schedule.pool import Pool
from manycc.toolchain.canaries import Canaries


def test_an_engine_that_cannot_be_spoken_to_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_hpack(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "manycc.engine.backend":
            raise ModuleNotFoundError("No module named 'hpack'", name="hpack")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_hpack)
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


def test_the_extra_is_only_imported_for_an_engine() -> None:
    heavy = "{'hpack', 'google.protobuf', 'manycc.engine.backend'}"
    program = f"import sys, manycc.agent.server, manycc.cli.main, manycc.config; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("what", ["no hpack", "protobuf too old"])
def test_what_lacks_is_said_in_one_sentence(what: str) -> None:
    def fails() -> None:
        if what == "no hpack":
            raise ModuleNotFoundError("No module named 'hpack'", name="hpack")
        raise VersionError("Detected incompatible Protobuf Gencode/Runtime versions")

    with pytest.raises(ConfigError) as caught, importing():
        fails()
    assert "protobuf and hpack" in caught.value.what and "pip install 'manycc[engine]'" in caught.value.hint


def test_no_protobuf_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf.runtime_version", None)
    with pytest.raises(ConfigError) as caught, importing():
        pass
    assert "pip install 'manycc[engine]'" in caught.value.hint


@pytest.mark.parametrize("module", ["manycc.engine.worker", "manycc.engine.backend"])
def test_nodes_and_checks_say_it_too(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    real = builtins.__import__

    def too_old(name: str, *arguments: Any, **named: Any) -> Any:
        if name == module:
            raise VersionError("too old")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", too_old)
    with pytest.raises(ConfigError) as caught:
        if module.endswith("worker"):
            serve._join(None)  # type: ignore[arg-type]
        else:
            asyncio.run(enginecheck._Check(parse_engine("reapi://h", 9), "/nonexistent", print).run([]))
    assert "pip install 'manycc[engine]'" in caught.value.hint
