"""The recipe for this machine's compiler, given to a crosstool-NG that is installed here: does it take every line?

The first stage is built, too, where a folder of tarballs is given (``MANYCC_CT_NG_TARBALLS``): nothing is downloaded.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from manycc.testing.requirements import need
from manycc.toolchain.crosstool import build, check, versions
from manycc.toolchain.crosstool.ask import ask
from manycc.toolchain.crosstool.log import Log
from manycc.toolchain.crosstool.recipe import Wishes, write
from manycc.toolchain.crosstool.run import run

pytestmark = [
    pytest.mark.skipif(os.environ.get("MANYCC_TEST_LONG") != "1", reason="MANYCC_TEST_LONG=1 runs it"),
    pytest.mark.timeout(3600),
]

NONE = "crosstool-NG is not installed (no package brings it): recipes are not tried with a real one"
TARBALLS = os.environ.get("MANYCC_CT_NG_TARBALLS", "")


def ct_ng() -> str:
    return shutil.which("ct-ng") or pytest.skip(NONE)


@pytest.mark.parametrize("host", ["", "aarch64-linux-gnu", "arm-linux-gnueabihf"])
@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"])
def test_every_line_is_taken(tmp_path: Path, compiler: str, host: str) -> None:
    need(compiler)
    program = ct_ng()
    offer = versions.read(program)
    recipe = write(asyncio.run(ask(compiler, os.environ)), offer, Wishes(host=host, gcc_source="stock"))
    (tmp_path / "defconfig").write_text(recipe.text)
    said: list[str] = []
    env = build.clean(os.environ) | {"DEFCONFIG": str(tmp_path / "defconfig")}
    assert run([program, "defconfig"], env, str(tmp_path), Log(said.append), limit_s=300) == 0, said
    got = check.values_of((tmp_path / ".config").read_text())
    assert [str(one) for one in check.dropped(check.recipe_values(recipe.text, "recipe"), got)] == []


@pytest.mark.skipif(not TARBALLS, reason="MANYCC_CT_NG_TARBALLS names no folder")
def test_the_first_stage_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = ct_ng()
    recipe = write(asyncio.run(ask("gcc", os.environ)), versions.read(program), Wishes(gcc_source="stock"))
    said: list[str] = []
    plan = build.Plan(recipe.text, "recipe", program, str(tmp_path / "w"), str(tmp_path / "x"), TARBALLS, 2, True)
    monkeypatch.setattr(build, "clean", lambda env, clean=build.clean: clean(env) | {"STOP": "binutils_for_host"})
    # It stops there, as it is told to: without a compiler yet, which is what the error says.
    with pytest.raises(build.ToolchainError, match="there is no compiler"):
        build.build(plan, os.environ, said.append)
    assert any("== step binutils_for_host" in line for line in said), said
    assert list((tmp_path / "x/bin").glob("*-as"))
