"""The folder of compiler names, and finding programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import Cli

from manycc.cli.launcher import find_compiler, find_launcher, is_program
from manycc.cli.masquerade import compiler_names, refresh
from manycc.errors import ManyccError


def test_the_folder_holds_every_compiler_of_path(cli: Cli, home: Path, tools: Path) -> None:
    for name in ("gcc-ar", "gccgo", "c99", "cpp", "notes-gcc.txt", "g++-12.bak"):
        shutil.copy("/bin/true", tools / name)
    (tools / "g++-99").write_text("not executable")
    (tools / "clang++").mkdir()
    done = cli("masquerade", env=os.environ | {"PATH": str(tools)})
    folder = home / "cache" / "masquerade"
    assert (done.stdout, done.stderr) == (f"{folder}\n", "")
    assert sorted(os.listdir(folder)) == ["aarch64-linux-gnu-g++-12", "clang", "gcc"]
    assert {os.readlink(folder / name) for name in os.listdir(folder)} == {str(tools / "manycc")}


def test_the_folder_does_not_feed_on_itself(home: Path, tools: Path) -> None:
    folder = str(home / "x" / "masquerade")
    launcher = str(tools / "manycc")
    (tools / "c++").symlink_to("manycc")
    refresh(folder, launcher, {"PATH": str(tools)})
    assert "c++" not in os.listdir(folder)
    assert compiler_names({"PATH": f"{folder}:{home}/none::{tools}"}, folder, launcher) >= {"gcc"}
    assert compiler_names({"PATH": folder}, "/elsewhere", launcher) == set()


def test_names_stay_and_follow_the_launcher(home: Path, tools: Path) -> None:
    folder = home / "masquerade"
    refresh(str(folder), str(tools / "manycc"), {"PATH": str(tools)})
    (tools / "gcc").unlink()
    moved = tools / "moved"
    shutil.copy("/bin/true", moved)
    (folder / "clang").unlink()
    (folder / "clang").write_text("in the way")
    refresh(str(folder), str(moved), {"PATH": str(tools)})
    assert sorted(os.listdir(folder)) == ["aarch64-linux-gnu-g++-12", "clang", "gcc"]
    assert {os.readlink(folder / name) for name in os.listdir(folder)} == {str(moved)}


def test_a_path_of_any_bytes_is_printed_as_it_is(tmp_path: Path, home: Path, tools: Path) -> None:
    strange = os.fsencode(tmp_path) + b"/\xff\xfc"
    os.mkdir(strange)
    done = subprocess.run(
        [sys.executable, "-m", "manycc.cli", "masquerade"],
        env=os.environ | {"MANYCC_DIR": os.fsdecode(strange)}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == strange + b"/cache/masquerade\n"


def test_the_launcher_is_a_program_not_a_script(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "manycc").write_text("#!/bin/sh\n")
    (scripts / "manycc").chmod(0o755)
    assert not is_program(str(scripts / "manycc"))
    assert find_launcher({"PATH": f"{scripts}:{tools}"}) == str(tools / "manycc")
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    with pytest.raises(ManyccError, match="the launcher is missing") as caught:
        find_launcher({"PATH": str(scripts)})
    assert "install manycc again" in caught.value.hint


def test_a_compilers_name_passes_over_the_launcher(tmp_path: Path, home: Path, tools: Path) -> None:
    launcher = str(tools / "manycc")
    folder = refresh(str(home / "masquerade"), launcher, {"PATH": str(tools)})
    env = {"PATH": f"{folder}:{tools}"}
    assert find_compiler("gcc", launcher, "/", env) == str(tools / "gcc")
    assert find_compiler(f"{folder}/gcc", launcher, "/", env) == str(tools / "gcc")
    assert find_compiler("./gcc", launcher, str(tools), env) == f"{tools}/./gcc"
    assert find_compiler("gcc", launcher, str(tools), {"PATH": ""}) == f"{tools}/./gcc"
    assert find_compiler("gcc-7", launcher, "/", env) == ""
    assert find_compiler("", launcher, "/", env) == ""
