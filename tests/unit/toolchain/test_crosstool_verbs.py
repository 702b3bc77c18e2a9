"""``manycc toolchain recipe`` and ``build`` as they are typed; what is built is added, and compared."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fake_ct_ng import STEPS, FakeCtNg

import manycc
from manycc.cli import recipe as cli
from manycc.testing.requirements import lacking, need
from manycc.toolchain import proving

Typed = Callable[..., subprocess.CompletedProcess[str]]

SOURCE = os.path.dirname(os.path.dirname(manycc.__file__))


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "MANYCC_DIR": str(tmp_path / "manycc"), "HOME": str(tmp_path)}


@pytest.fixture
def typed(env: dict[str, str]) -> Typed:
    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "manycc.cli", "toolchain", *words],
            env=env, capture_output=True, text=True, timeout=110, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def target() -> str:
    need("gcc", "g++")
    return subprocess.run(["gcc", "-dumpmachine"], capture_output=True, text=True, check=True).stdout.strip()


def product(ct_ng: FakeCtNg) -> Path:
    """Have it "build" a toolchain that compiles C: this machine's own, laid out as crosstool-NG does."""
    triple = target()
    cc1, assembler = (
        subprocess.run(["gcc", f"-print-prog-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("cc1", "as")
    )
    tree = ct_ng.folder / "product"
    parts = tree / os.path.dirname(cc1).removeprefix("/usr/")
    if not cc1.startswith("/usr/lib/gcc/"):
        lacking("a gcc whose parts are in /usr/lib/gcc")
    parts.mkdir(parents=True)
    (tree / triple / "bin").mkdir(parents=True)
    driver = tree / f"bin/{triple}-gcc"
    for path, place in (
        (shutil.which("gcc"), driver),
        (cc1, parts),
        (shutil.which(assembler), tree / f"{triple}/bin/as"),
    ):
        shutil.copy(os.path.realpath(str(path)), place)
    return parts


def recipe(typed: Typed, tmp_path: Path, *words: str) -> Path:
    """A recipe for this machine's compiler that needs no sources."""
    path = tmp_path / "mine.defconfig"
    typed("recipe", "--for-client", "--gcc-source", "stock", "-o", str(path), *words)
    return path


def test_a_recipe_here_and_from_a_probe(typed: Typed, tmp_path: Path) -> None:
    triple = target()
    here = typed("recipe", "--for-client", "--host", "aarch64-linux-gnu")
    assert here.stdout.startswith("# manycc recipe 1\n") and 'CT_HOST="aarch64-linux-gnu"\n' in here.stdout
    assert f"# target: {triple}\n" in here.stdout and "Traceback" not in here.stderr
    assert here.stderr.startswith("for gcc ")
    for line in here.stdout.splitlines():
        if line.startswith("# differs: "):
            assert line.removeprefix("# differs: ") in here.stderr

    carried = tmp_path / "probe.json"
    carried.write_text(typed("probe", "--json", "gcc").stdout)
    there = typed("recipe", "--from-probe", str(carried), "--host", "aarch64-linux-gnu")
    assert there.stdout == here.stdout

    for service, sign in (("github", "workflow_dispatch"), ("azure", "trigger: none")):
        assert sign in typed("recipe", "--from-probe", str(carried), "--ci", service).stdout


def test_what_is_typed_wrong(typed: Typed, tmp_path: Path) -> None:
    assert "one of the arguments --for-client --from-probe is required" in typed("recipe", code=2).stderr
    assert "is not known how to build" in typed("recipe", "--for-client", "--host", "vax", code=2).stderr
    assert "there is no nonesuch along PATH" in typed("recipe", "--for-client", "--compiler", "nonesuch", code=1).stderr
    assert "cannot be read" in typed("recipe", "--from-probe", "/nowhere", code=2).stderr
    (tmp_path / "evil.json").write_text(json.dumps({"crosstool_probe": 1, "target": "x", "version": "$(id)"}))
    assert "is no probe of a compiler" in typed("recipe", "--from-probe", str(tmp_path / "evil.json"), code=2).stderr
    (tmp_path / "evil").write_text('CT_X="$(touch owned)"\n')
    assert "is no line of a recipe" in typed("build", str(tmp_path / "evil"), code=2).stderr
    (tmp_path / "empty").mkdir()
    assert "--ct-ng" in typed("build", str(recipe(typed, tmp_path)), "--ct-ng", str(tmp_path / "empty"), code=2).stderr
    assert "no folder config/versions" in typed("recipe", "--for-client", "--ct-ng", str(tmp_path), code=2).stderr


def test_what_is_built_is_added_and_proven(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ct_ng = FakeCtNg(tmp_path / "ct-ng", target())
    parts = product(ct_ng)
    path = recipe(typed, tmp_path)
    ct_ng.told(f"fails-{STEPS[4]}")
    words = ("build", str(path), "--ct-ng", str(ct_ng.path), "--into", str(tmp_path / "x-tools"), "-j", "1")
    failed = typed(*words, code=1)
    assert "it is broken" in failed.stdout and f"failed in step {STEPS[4]}" in failed.stderr

    done = typed(*words)
    assert f"taken up again at step {STEPS[4]}" in done.stdout
    assert "added: gcc-" in done.stdout
    same = next(line for line in done.stdout.splitlines() if "canaries: " in line).split()
    assert same[1] == same[3] and int(same[1]) >= 20
    (one,) = json.loads(typed("list", "--json").stdout)["added"]
    typed("remove", one["name"])

    # One that is configured otherwise is told by its objects.
    (parts / "specs").write_text("*cc1_options:\n+ -fno-omit-frame-pointer\n\n")
    monkeypatch.setenv("MANYCC_DIR", str(tmp_path / "manycc"))
    monkeypatch.setattr(proving, "compare", partial(proving.compare, flag_sets=[("-O2",)]))
    assert asyncio.run(cli._added(str(ct_ng.folder / "product"), True, path.read_text())) == 1
    assert "-O2 canary.c: differs: " in capsys.readouterr().out


def test_one_for_another_host_becomes_an_archive(typed: Typed, tmp_path: Path) -> None:
    need("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++")
    ct_ng = FakeCtNg(tmp_path / "ct-ng", target())
    path = recipe(typed, tmp_path, "--host", "aarch64-linux-gnu")
    done = typed("build", str(path), "--ct-ng", str(ct_ng.path), "--work", str(tmp_path / "w"))
    archive = next(line for line in done.stdout.splitlines() if line.startswith("built: ")).removeprefix("built: ")
    with tarfile.open(archive) as file:
        assert f"mine/bin/{target()}-gcc" in file.getnames()
    assert f"manycc toolchain add {os.path.basename(archive)}" in done.stdout


def test_who_ends_the_build_ends_its_children(env: dict[str, str], typed: Typed, tmp_path: Path) -> None:
    ct_ng = FakeCtNg(tmp_path / "ct-ng", target())
    ct_ng.told("hangs")
    path = recipe(typed, tmp_path)
    words = ["build", str(path), "--ct-ng", str(ct_ng.path), "--work", str(tmp_path / "w")]
    process = subprocess.Popen(
        [sys.executable, "-m", "manycc.cli", "toolchain", *words],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if f"Installing {STEPS[0]}" in line:
                break
        child_file = ct_ng.folder / "child"
        while not (child_file.exists() and child_file.read_text().strip()):
            assert process.poll() is None
        child = int(child_file.read_text())
        watched = os.pidfd_open(child)
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
            import select

            assert select.select([watched], [], [], 60)[0], "a child of the build is still there"
        finally:
            os.close(watched)
    finally:
        process.kill()
        process.communicate()
