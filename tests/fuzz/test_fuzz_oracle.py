"""The judge is judged: the preloaded library sees what strace sees; a tree touches nothing outside of itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from fuzz_oracle import build_library, opened, preload
from fuzz_tree import SAME_TIME, Age, Change, Folder, HardLink, Link, Move, Remove, Write, apply

from manycc.testing.requirements import need

_OPENED = re.compile(r'\d+ +(?:open|openat)\((?:AT_FDCWD, )?"([^"]*)", (O_RDONLY|O_RDWR)[^)]*\) = \d+')

FILES = {
    "once/x.h": b"#pragma once\n",
    "twice/x.h": b"#pragma once\n",
    "d.bin": b"abc",
    "a.inc": b".byte 1\n",
    "here.h": b"",
    "link.h": b"",
    "u.c": b'#include "once/x.h"\n#include "twice/x.h"\n#if __has_include("here.h")\n#endif\n#include "to/x.h"\n'
    b'__asm__(".include \\"a.inc\\"\\n.incbin \\"d.bin\\"");\n',
}


@pytest.mark.parametrize("driver", ["gcc", "g++", "clang-14", "clang++-14"])
def test_the_library_sees_what_strace_sees(tmp_path: Path, driver: str) -> None:
    need("strace", driver)
    apply([*(Write(path, data) for path, data in FILES.items()), Link("to", "once")], str(tmp_path))
    argv = [driver, "-x", "c", "-c", "u.c", "-o", "u.o"]
    log, trace = str(tmp_path / "log"), str(tmp_path / "trace")
    env = {"PATH": os.environ["PATH"]}
    subprocess.run(argv, cwd=tmp_path, env={**env, **preload(build_library(str(tmp_path)), log)}, check=True)
    strace = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=open,openat", "-o", trace]
    subprocess.run([*strace, *argv], cwd=tmp_path, env=env, check=True)
    with open(trace, encoding="utf-8") as file:
        paths = {os.path.realpath(tmp_path / match[1]) for match in _OPENED.finditer(file.read())}
    ours = str(tmp_path) + "/"
    read = {path for path in opened(log) if path.startswith((ours, "/usr/include/"))}
    traced = {path for path in paths if path.startswith((ours, "/usr/include/")) and os.path.isfile(path)}
    assert {path.removeprefix(ours) for path in read} >= {"once/x.h", "twice/x.h", "d.bin", "a.inc", "here.h", "u.c"}
    assert read >= traced
    assert {path for path in read - traced if not path.endswith((".o", ".tmp"))} == set()


def test_a_tree_touches_nothing_outside(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()
    root.mkdir()
    (outside / "x.h").write_bytes(b"kept")
    changes: list[Change] = [
        Link("x.h", "@ROOT@/../outside/x.h"), Link("d", str(outside)), Write("x.h", b"bad"),
        Write("x.h", b"", SAME_TIME), Age("x.h", 0),
        Write("d/x.h", b"bad"), Write("d/new.h", b"bad"), Remove("d/x.h"), HardLink("h.h", "d/x.h"), Folder("d/f"),
        Move("d/x.h", "y.h"), Move("x.h", "d/y.h"), Link("d/l", "x.h"), Write("../y.h", b"bad"), Remove("../outside"),
    ]  # fmt: skip
    apply(changes, str(root))
    assert [path.name for path in outside.iterdir()] == ["x.h"]
    assert (outside / "x.h").read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "t"]
    assert sorted(path.name for path in root.iterdir()) == ["d", "x.h"]
