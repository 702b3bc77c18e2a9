"""A worker that does not keep paths, for tests: buildbox-casd runs it in place of buildbox-run.

It stages an action's input root in a folder of its own, runs the command there with nothing but the action's variables,
and leaves the machine's root what it is, as the workers of many engines do.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from urllib.parse import urlsplit

from google.protobuf.message import Message

from manycc.engine.address import parse_engine
from manycc.engine.cas import Cas, Content
from manycc.engine.channel import Channel
from manycc.reapi.remote_execution_pb2 import Action, ActionResult, Command, Digest, Directory

LIMIT_S = 300.0
MAX_FILE = 1 << 30


class Stage:
    """Brings contents, keeps those of files in ``cache``, and lays folders out."""

    def __init__(self, cas: Cas, cache: str) -> None:
        self._cas = cas
        self._cache = cache

    async def message(self, digest: Digest, into: Message) -> None:
        """Read a message. Raises BackendError."""
        into.ParseFromString((await self._cas.fetch([digest], MAX_FILE))[0][0])

    async def lay_out(self, digest: Digest, place: str) -> None:
        """A folder with all that is in it."""
        directory = Directory()
        await self.message(digest, directory)
        os.makedirs(place, exist_ok=True)
        lacking = [file.digest for file in directory.files if not os.path.exists(self._kept(file.digest))]
        for start in range(0, len(lacking), 100):
            some = lacking[start : start + 100]
            for named, data in zip(some, (await self._cas.fetch(some, MAX_FILE))[0], strict=True):
                handle, new = tempfile.mkstemp(dir=self._cache)
                with open(handle, "wb") as file:
                    file.write(data)
                os.chmod(new, 0o555)  # noqa: S103 - programs are among them
                os.rename(new, self._kept(named))
        for node in directory.files:
            os.link(self._kept(node.digest), os.path.join(place, node.name))
        for link in directory.symlinks:
            os.symlink(link.target, os.path.join(place, link.name))
        for inner in directory.directories:
            await self.lay_out(inner.digest, os.path.join(place, inner.name))

    def _kept(self, digest: Digest) -> str:
        return os.path.join(self._cache, digest.hash)


async def run(url: str, cache: str, rooms: str, action_path: str) -> ActionResult:
    """Do an action."""
    action, command, result = Action(), Command(), ActionResult()
    with open(action_path, "rb") as file:
        action.ParseFromString(file.read())
    channel = Channel(parse_engine(url, 1))
    room = tempfile.mkdtemp(prefix="worker-build-", dir=rooms)
    try:
        cas = Cas(channel, "")
        stage = Stage(cas, cache)
        await stage.message(action.command_digest, command)
        await stage.lay_out(action.input_root_digest, room)
        place = os.path.join(room, command.working_directory)
        outputs = list(command.output_paths) or list(command.output_files)
        for name in outputs:
            os.makedirs(os.path.dirname(os.path.join(place, name)), exist_ok=True)
        env = {variable.name: variable.value for variable in command.environment_variables}
        words = list(command.arguments)
        try:
            ran = subprocess.run(words, cwd=place, env=env, capture_output=True, timeout=LIMIT_S, check=False)
            result.exit_code, result.stdout_raw, result.stderr_raw = ran.returncode & 255, ran.stdout, ran.stderr
        except OSError as error:
            result.exit_code, result.stderr_raw = 127, str(error).encode()
        made = []
        for name in outputs:
            path = os.path.join(place, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    data = file.read()
                digest = hashlib.sha256(data)
                made.append(Content(digest.digest(), len(data), data))
                named = Digest(hash=digest.hexdigest(), size_bytes=len(data))
                result.output_files.add(path=name, digest=named)
        await cas.ensure(made)
    finally:
        shutil.rmtree(room, ignore_errors=True)
        await channel.close()
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """What casd calls."""
    parser = argparse.ArgumentParser()
    for name in ("--remote", "--action", "--action-result", "--cache", "--rooms"):
        parser.add_argument(name, required=True)
    known, _ = parser.parse_known_args(argv)
    result = asyncio.run(run(f"reapi://{urlsplit(known.remote).netloc}", known.cache, known.rooms, known.action))
    with open(known.action_result, "wb") as file:
        file.write(result.SerializeToString())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
