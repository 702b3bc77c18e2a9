"""A sampled job without an agent: for tests of what becomes of samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from manycc.agent.prepare import Prepared
from manycc.command.parse import parse
from manycc.inputs.manifest import Manifest
from manycc.job import Input, Inputs, Job, Outcome, OutputFile, Toolchain
from manycc.reasons import Reason
from manycc.verify.compare import Observed
from manycc.verify.sample import Sample
from manycc.wire.launcher import Request

GCC = Toolchain("f" * 64, "/usr/bin/gcc", "gcc", "12", "x86_64-linux-gnu", "gcc 12", (), (), {})
OBJECT = Observed(0, b"", b"", {"/w/a.o": (0o644, b"object")})


def request(
    folder: str = "/w", argv: Sequence[str] = ("gcc", "-c", "a.c"), env: Mapping[str, str] | None = None, flags: int = 0
) -> Request:
    return Request("1", "/usr/bin/gcc", folder, list(argv), dict(env or {}), 0o22, flags, 80)


def prepared(
    folder: str = "/w",
    argv: Sequence[str] = ("gcc", "-c", "a.c"),
    items: Sequence[Input] = (),
    toolchain: Toolchain = GCC,
) -> Prepared:
    inputs = Inputs(items, "scan", True, False)
    command = parse(list(argv), folder, {}, None)
    written = tuple(os.path.join(folder, path) for path in command.outputs)
    job = Job(
        argv=tuple(argv), cwd=folder, env=(), umask=0o22, toolchain=toolchain, inputs=inputs,
        folders=tuple(dict.fromkeys((folder, *map(os.path.dirname, written)))), outputs=written,
        stems=tuple(os.path.join(folder, path) for path in command.stems), source=os.path.join(folder, command.source),
    )  # fmt: skip
    return Prepared(command, toolchain.driver, toolchain, Manifest(inputs, [], []), job, None, {}, {})


def outcome(seen: Observed = OBJECT) -> Outcome:
    files = [OutputFile(path, mode, data) for path, (mode, data) in seen.files.items()]
    return Outcome(Reason.REMOTE, "node", seen.exit_code, seen.stdout, seen.stderr, files)


def sample(host: str = "node", number: int = 1, seen: Observed = OBJECT, **changes: str) -> Sample:
    return Sample(host, number, request(env=changes), prepared(), seen)
