"""Tokens: from a command to its end, and from a file that is replaced."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from manycc.engine import token
from manycc.engine.address import parse_engine
from manycc.engine.token import Credentials
from manycc.errors import BackendRefused


def credentials(options: str) -> Credentials:
    return Credentials(parse_engine(f"reapis://h{options}", 9))


def shown(metadata: token.Metadata) -> str:
    return str(dict(metadata)["authorization"])


def script(folder: Path, text: str) -> str:
    path = folder / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return f"?token-command={quote(str(path))}"


def test_a_command_that_prints_in_pieces(tmp_path: Path) -> None:
    options = script(tmp_path, "printf half; sleep 0.3; printf '%s' -and-half; exec >&-; sleep 0.1")
    assert shown(asyncio.run(credentials(options).metadata())) == "Bearer half-and-half"


def test_a_command_that_prints_without_end(tmp_path: Path) -> None:
    with pytest.raises(BackendRefused, match="longer than"):
        asyncio.run(credentials(script(tmp_path, "exec yes")).metadata())


def test_a_command_and_what_it_started_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "COMMAND_S", 1.0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    options = script(tmp_path, f"sleep 600 > {fifo} & wait")

    async def main() -> None:
        # The child has opened the pipe before it is ended with its parent; then there is no writer any more.
        asking = asyncio.create_task(credentials(options).metadata())
        reader = await asyncio.to_thread(os.open, fifo, os.O_RDONLY)
        with pytest.raises(BackendRefused, match="no token within"):
            await asking
        assert await asyncio.to_thread(os.read, reader, 1) == b""
        os.close(reader)

    asyncio.run(main())


def test_a_file_that_is_away_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "LOOK_S", -1.0)
    path = tmp_path / "token"
    path.write_text("first\n")
    held = credentials(f"?token-file={path}")

    async def main() -> None:
        assert shown(await held.metadata()) == "Bearer first"
        path.unlink()
        assert shown(await held.metadata()) == "Bearer first"
        path.write_text("")
        assert shown(await held.metadata()) == "Bearer first"
        held.refused()
        with pytest.raises(BackendRefused, match="no token"):
            await held.metadata()
        path.write_text("second")
        assert shown(await held.metadata()) == "Bearer second"

    asyncio.run(main())
