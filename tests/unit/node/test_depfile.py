"""Depfiles, as gcc writes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from manycc.node.depfile import names_in, without_prefix

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="NOT TESTED: needs gcc")


@needs_gcc
@pytest.mark.parametrize("more", [[], ["-MP"], ["-MT", "one.o two.o", "-MQ", "th$ree.o"]])
@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_prefix_is_taken_out_as_if_it_had_never_been(tmp_path: Path, language: str, more: list[str]) -> None:
    """The same headers by a short and by a long name: the second depfile, mapped, is the first."""
    texts = []
    long = "/" + "/".join(["long", "folder", "name"] * 4)
    for prefix in ("", long):
        base = Path(f"{tmp_path}{prefix}/p")
        os.makedirs(base / "inc")
        names = [f"header{'x' * (n % 23)}{n}.h" for n in range(60)] + ["sp ace.h", "h#ash.h", "do$llar.h"]
        for name in names:
            (base / "inc" / name).write_text("")
        (base / "a.c").write_text("".join(f'#include "inc/{name}"\n' for name in names))
        done = subprocess.run(
            ["gcc", "-M", *more, "-x", language, "-nostdinc", f"{base}/a.c"], capture_output=True, check=True
        )
        texts.append(done.stdout)
    short, prefixed = texts
    assert without_prefix(prefixed.replace(os.fsencode(tmp_path), b""), long.encode()) != prefixed
    assert without_prefix(short, b"/nothing") == short
    assert without_prefix(short, os.fsencode(tmp_path)) == without_prefix(prefixed, os.fsencode(f"{tmp_path}{long}"))
    named = names_in(short)
    assert f"{tmp_path}/p/inc/sp ace.h".encode() in named
    assert f"{tmp_path}/p/inc/h#ash.h".encode() in named
    assert f"{tmp_path}/p/inc/do$llar.h".encode() in named


def test_names() -> None:
    text = b"a.o b.o: x.c /usr/h.h \\\n sp\\ ace.h \\\n d$$.h\n\nx.c:\n\n/usr/h.h:\n"
    assert names_in(text) == [b"x.c", b"/usr/h.h", b"sp ace.h", b"d$.h"]
    assert names_in(b"") == []


def test_a_name_of_backslashes_is_read_in_linear_time() -> None:
    """A client gives targets and names headers; these hours were spent in the node's only thread."""
    run = b"\\" * 300_000
    began = time.process_time()
    assert names_in(run + b"x: a.c " + run + b"y " + run + b"\\ z\n") == [b"a.c", run + b"y", run[:150_000] + b" z"]
    assert time.process_time() - began < 5
