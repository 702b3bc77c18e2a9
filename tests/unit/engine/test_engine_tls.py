"""Engines behind TLS: who is let in, and who is believed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from engine_fake import FakeEngine
from engine_jobs import a_job

from manycc.backends.base import State
from manycc.engine.address import parse_engine
from manycc.engine.backend import EngineBackend
from manycc.testing.requirements import need
from manycc.toolchain.canaries import Canaries


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, a certificate of the engine by each, and one of a client."""
    need("openssl")
    folder = tmp_path_factory.mktemp("keys")
    for authority in ("ours", "theirs"):
        certificate(folder, authority, [], "/CN=" + authority)
        signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"]
        certificate(folder, f"engine-{authority}", signed, "/CN=engine")
        certificate(folder, f"client-{authority}", signed, "/CN=client")
    return folder


def certificate(folder: Path, name: str, signed: list[str], subject: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
               "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject, *signed,
               "-addext", "subjectAltName=DNS:localhost"]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def outcome(tmp_path: Path, options: str, credentials: grpc.ServerCredentials) -> str:
    """Why an engine is down; "" if it does a job."""
    import asyncio

    engine = FakeEngine(credentials)

    async def compile_here(*_: object) -> bytes:
        return engine.made

    async def main() -> str:
        canaries = Canaries(str(tmp_path / "canaries"), compile_here)
        address = parse_engine(f"reapis://localhost:{engine.port}{options}", 9)
        backend = EngineBackend(address, 2, canaries, 5, 30, 30)
        changed = asyncio.Event()
        backend.on_change(changed.set)
        backend.connect()
        try:
            async with asyncio.timeout(30):
                await changed.wait()
                if backend.state is not State.READY:
                    return backend.why
                assert (await backend.run(a_job(tmp_path))).exit_code == 0
                return ""
        finally:
            await backend.close()
            await canaries.close()

    try:
        return asyncio.run(main())
    finally:
        engine.stop()


def server(keys: Path, name: str = "engine-ours", ask: bool = False) -> grpc.ServerCredentials:
    pair = ((keys / f"{name}.key").read_bytes(), (keys / f"{name}.pem").read_bytes())
    roots = (keys / "ours.pem").read_bytes() if ask else None
    return grpc.ssl_server_credentials([pair], roots, ask)


def test_an_engine_of_our_authority(keys: Path, tmp_path: Path) -> None:
    assert outcome(tmp_path, f"?ca={keys}/ours.pem", server(keys)) == ""


@pytest.mark.parametrize("options", ["", "?ca={}/theirs.pem"])
def test_an_engine_with_a_wrong_certificate(keys: Path, tmp_path: Path, options: str) -> None:
    why = outcome(tmp_path, options.format(keys), server(keys))
    assert "certificate" in why, why  # and not that nobody listens


def test_a_client_must_show_its_certificate(keys: Path, tmp_path: Path) -> None:
    ours = f"?ca={keys}/ours.pem"
    good = f"{ours}&cert={keys}/client-ours.pem&key={keys}/client-ours.key"
    assert outcome(tmp_path, good, server(keys, ask=True)) == ""
    assert "may want a certificate" in outcome(tmp_path, ours, server(keys, ask=True))
    wrong = f"{ours}&cert={keys}/client-theirs.pem&key={keys}/client-theirs.key"
    assert "or another one" in outcome(tmp_path, wrong, server(keys, ask=True))


def test_a_key_that_is_not_there(keys: Path, tmp_path: Path) -> None:
    why = outcome(tmp_path, f"?ca={keys}/nothing.pem", server(keys))
    assert why == f"{keys}/nothing.pem cannot be read: No such file or directory"
