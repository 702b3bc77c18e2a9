"""Make manycc's modules of the remote execution messages from their definitions.

    python scripts/reapi_protos.py

Needs grpcio-tools and googleapis-common-protos. The modules keep the names that the messages have in every
implementation, but lie flat in manycc.reapi: no package ``build`` or ``google.bytestream`` is made.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

import google.api
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src" / "manycc" / "reapi"
SOURCES = TARGET / "protos"
IMPORT = re.compile(r"^from ([\w.]+) import (\w+_pb2)\b", re.MULTILINE)


def main() -> int:
    """The exit code."""
    names = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.proto"))
    flat = {Path(name).stem + "_pb2" for name in names}
    common = Path(next(iter(google.api.__path__))).parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        # The package names this one file otherwise than the messages that import it do.
        operations = Path(scratch) / "include" / "google" / "longrunning" / "operations.proto"
        operations.parent.mkdir(parents=True)
        shutil.copy(common / "google" / "longrunning" / "operations_proto.proto", operations)
        made = Path(scratch) / "made"
        made.mkdir()
        builtin = Path(protoc.__file__).parent / "_proto"
        folders = [f"-I{folder}" for folder in (SOURCES, Path(scratch) / "include", common, builtin)]
        code = protoc.main(["protoc", *folders, f"--python_out={made}", f"--pyi_out={made}", *names])
        if code:
            return code

        def own(match: re.Match[str]) -> str:
            return f"from manycc.reapi import {match[2]}" if match[2] in flat else match[0]

        for path in [*made.rglob("*_pb2.py"), *made.rglob("*_pb2.pyi")]:
            (TARGET / path.name).write_text(IMPORT.sub(own, path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
