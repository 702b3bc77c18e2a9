"""Driving crosstool-NG: configured, checked, run, failed, taken up again; with a program that behaves like it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import crosstool_probes as probes
import pytest
from fake_ct_ng import STEPS, FakeCtNg

from manycc.errors import ConfigError, ToolchainError
from manycc.toolchain.crosstool import build as module
from manycc.toolchain.crosstool.build import Plan, build, clean, find_ct_ng
from manycc.toolchain.crosstool.log import TAIL, Log, shown_from
from manycc.toolchain.crosstool.recipe import Wishes, write
from manycc.toolchain.crosstool.run import run
from manycc.toolchain.crosstool.versions import BUILT_IN

Build = Callable[..., str]


@pytest.fixture
def ct_ng(tmp_path: Path) -> FakeCtNg:
    return FakeCtNg(tmp_path / "ct-ng")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def built(tmp_path: Path, ct_ng: FakeCtNg, said: list[str]) -> Build:
    """Build Ubuntu's compiler, with changes to the plan."""
    (tmp_path / "tarballs").mkdir()
    (tmp_path / "tarballs/gcc-13.2.0.tar.xz").write_bytes(b"")

    def once(**changes: object) -> str:
        said.clear()
        plan = {
            "recipe": write(probes.UBUNTU, BUILT_IN).text, "name": "ubuntu", "program": str(ct_ng.path),
            "work": str(tmp_path / "work"), "prefix": str(tmp_path / "x-tools"), "tarballs": str(tmp_path / "tarballs"),
        }  # fmt: skip
        return build(Plan(**{**plan, **changes}), os.environ, said.append)  # type: ignore[arg-type]

    return once


def test_a_build(tmp_path: Path, ct_ng: FakeCtNg, built: Build, said: list[str]) -> None:
    assert built() == str(tmp_path / "x-tools")
    assert os.path.exists(tmp_path / "x-tools/bin/x86_64-linux-gnu-gcc")
    assert ct_ng.ran == list(STEPS)
    assert (ct_ng.folder / "target").read_text() == "build.1\n"
    assert said[0].startswith("crosstool-NG took all ") or "are free in" in said[0]
    # Each line has its time, each step its heading, and nothing is overwritten.
    headings = [line.split(" == step ")[1] for line in said if " == step " in line]
    assert headings == list(STEPS)
    assert "0:00:00  Performing some trivial sanity checks" in said
    assert not [line for line in said if "\r" in line or "====" in line or "[00:" in line]
    assert said[-1].endswith("in all")
    config = (tmp_path / "work/.config").read_text()
    assert f'CT_GCC_CUSTOM_LOCATION="{tmp_path}/tarballs/gcc-13.2.0.tar.xz"' in config
    assert f'CT_PREFIX_DIR="{tmp_path}/x-tools"' in config and "CT_SAVE_TARBALLS=y" in config
    # It is not done a second time.
    built()
    assert ct_ng.ran == [] and "was built already" in said[0]
    built(fresh=True)
    assert ct_ng.ran == list(STEPS)


@pytest.mark.parametrize("step", [STEPS[0], STEPS[2], STEPS[-1]])
def test_a_failed_step_is_taken_again(ct_ng: FakeCtNg, built: Build, said: list[str], step: str) -> None:
    ct_ng.told(f"fails-{step}")
    with pytest.raises(ToolchainError) as failure:
        built()
    assert failure.value.what == f"crosstool-NG failed in step {step} (Installing {step})"
    assert failure.value.why == "exit code 2"
    assert "build.log" in failure.value.hint and f"goes on at step {step}" in failure.value.hint
    assert "  | broken.c:1:1: error: it is broken" in said and "  | gcc -c broken.c" in said
    assert any("ERROR: broken.c:1:1" in line for line in said)
    assert not [line for line in said if "a person reads" in line and line.startswith("  |")]
    assert ct_ng.ran == list(STEPS[: STEPS.index(step) + 1])

    built(jobs=5)
    assert f"taken up again at step {step}" in said
    assert ct_ng.ran == list(STEPS[STEPS.index(step) :])
    assert ct_ng.env["RESTART"] == step


def test_a_step_whose_saving_failed_is_not_restarted(ct_ng: FakeCtNg, built: Build, said: list[str]) -> None:
    ct_ng.told(f"breaks-{STEPS[3]}")
    with pytest.raises(ToolchainError, match=f"failed in step {STEPS[2]}"):
        built()
    assert ct_ng.ran == list(STEPS[:3])
    built()
    assert ct_ng.ran == list(STEPS[2:])


@pytest.mark.parametrize(
    "changes", [{"fresh": True}, {"recipe": write(probes.UBUNTU, BUILT_IN, Wishes(gcc_source="stock")).text}]
)
def test_fresh_and_another_recipe_begin_anew(ct_ng: FakeCtNg, built: Build, changes: dict[str, object]) -> None:
    ct_ng.told(f"fails-{STEPS[2]}")
    with pytest.raises(ToolchainError):
        built()
    assert ct_ng.ran
    built(**changes)
    assert ct_ng.ran == list(STEPS) and "RESTART" not in ct_ng.env


def test_without_saved_steps_it_says_so(ct_ng: FakeCtNg, built: Build) -> None:
    ct_ng.told(f"fails-{STEPS[2]}")
    recipe = write(probes.UBUNTU, BUILT_IN, Wishes(save_steps=False)).text
    with pytest.raises(ToolchainError, match="the same command again begins anew") as failure:
        built(recipe=recipe)
    assert f"(Installing {STEPS[2]})" in failure.value.what
    assert ct_ng.ran
    built(recipe=recipe)
    assert ct_ng.ran == list(STEPS)


def test_states_that_were_deleted_are_not_relied_on(tmp_path: Path, ct_ng: FakeCtNg, built: Build) -> None:
    import shutil

    ct_ng.told(f"fails-{STEPS[2]}")
    with pytest.raises(ToolchainError):
        built()
    assert ct_ng.ran
    shutil.rmtree(tmp_path / "work/.build")
    built()
    assert ct_ng.ran == list(STEPS)


def test_a_dropped_line_ends_it_before_it_begins(ct_ng: FakeCtNg, built: Build, said: list[str]) -> None:
    ct_ng.told("drops", "s/^CT_GLIBC_V_2_39=y/CT_GLIBC_V_2_28=y/\n/PKGVERSION/d\n")
    with pytest.raises(ToolchainError, match=r"did not take 2 of \d+ lines of ubuntu.*--ct-ng"):
        built()
    assert "not taken: CT_GLIBC_V_2_39=y became CT_GLIBC_V_2_28=y" in said
    assert any("CT_TOOLCHAIN_PKGVERSION" in line and line.startswith("not taken: ") for line in said)
    assert ct_ng.ran == []


def test_a_configuration_that_fails(ct_ng: FakeCtNg, built: Build, said: list[str]) -> None:
    ct_ng.told("no-defconfig")
    with pytest.raises(ToolchainError, match="defconfig fails: exit code 2"):
        built()
    assert any("syntax error" in line for line in said)


def test_a_build_that_makes_no_compiler(tmp_path: Path, ct_ng: FakeCtNg, built: Build) -> None:
    (ct_ng.folder / "product/bin/x86_64-linux-gnu-gcc").unlink()
    with pytest.raises(ToolchainError, match="there is no compiler in"):
        built()


def test_sources_that_are_not_there(tmp_path: Path, ct_ng: FakeCtNg, built: Build) -> None:
    (tmp_path / "tarballs/gcc-13.2.0.tar.xz").unlink()
    with pytest.raises(
        ConfigError, match=r"needs gcc-13.2.0.tar.xz.*curl -fLo .*/gcc-13.2.0.tar.xz https://ftp.gnu.org/gnu/"
    ):
        built()
    with pytest.raises(ConfigError, match="no folder of tarballs is given"):
        built(tarballs="")
    with pytest.raises(ConfigError, match="/nowhere/gcc is not there"):
        built(recipe=write(probes.UBUNTU, BUILT_IN, Wishes(gcc_source="/nowhere/gcc")).text)
    assert ct_ng.ran == []


def test_offline_downloads_nothing(tmp_path: Path, built: Build) -> None:
    built(offline=True)
    config = (tmp_path / "work/.config").read_text()
    assert "CT_FORBID_DOWNLOAD=y" in config and "# CT_SAVE_TARBALLS is not set" in config


def test_the_compiler_for_another_host_must_be_there(
    tmp_path: Path, built: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recipe = write(probes.UBUNTU, BUILT_IN, Wishes(host="arm-linux-gnueabihf")).text
    with pytest.raises(
        ConfigError, match=r"no arm-linux-gnueabihf-g\+\+ here.*apt-get install g\+\+-arm-linux-gnueabihf"
    ):
        built(recipe=recipe)


def test_a_folder_with_something_in_it_is_not_emptied(tmp_path: Path, ct_ng: FakeCtNg, built: Build) -> None:
    (tmp_path / "x-tools").mkdir()
    (tmp_path / "x-tools/thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        built()
    assert (tmp_path / "x-tools/thesis.tex").read_text() == "mine" and ct_ng.ran == []


@pytest.mark.parametrize("name", ["work", "prefix", "tarballs"])
def test_paths_that_scripts_do_not_bear(tmp_path: Path, ct_ng: FakeCtNg, built: Build, name: str) -> None:
    for odd in ("a b", "a:b", "a,b", "$(id)", 'a"b'):
        with pytest.raises(ConfigError, match="cannot be used by crosstool-NG"):
            built(**{name: str(tmp_path / odd)})
    assert ct_ng.ran == []


def test_one_build_at_a_time(tmp_path: Path, built: Build) -> None:
    (tmp_path / "work").mkdir()
    with module._alone(str(tmp_path / "work")), pytest.raises(ToolchainError, match="another build is under way"):
        built()


def test_the_environment_is_fit_for_building() -> None:
    env = clean({"PATH": "bin:/usr/bin::/bin:.", "CC": "ccache gcc", "LD_LIBRARY_PATH": "/x", "MAKEFLAGS": "-j9",
                 "CT_PREFIX_DIR": "/", "HOME": "/h", "RESTART": "x"})  # fmt: skip
    assert env == {"PATH": "/usr/bin:/bin", "HOME": "/h"}


def test_which_ct_ng(tmp_path: Path, ct_ng: FakeCtNg) -> None:
    assert find_ct_ng(str(ct_ng.folder), {}) == str(ct_ng.path) == find_ct_ng(str(ct_ng.path), {})
    assert find_ct_ng("", {"PATH": str(ct_ng.folder)}) == str(ct_ng.path)
    for given, env in (("/nowhere", {}), ("", {"PATH": str(tmp_path)}), (str(tmp_path), {})):
        with pytest.raises(ConfigError, match="no crosstool-NG"):
            find_ct_ng(given, env)


# -- the log


def test_a_log_with_times() -> None:
    now = iter([0.0, 61.0, 62.0, 3725.0, 3726.0, 3727.0])
    said: list[str] = []
    reached: list[str] = []
    log = Log(said.append, reached.append, lambda: next(now))
    log.line("[INFO ]  Saving state to restart at step 'cc_core'...")
    assert reached == [] and said == []
    log.line("\r[00:12] | \r[INFO ]    Installing core C gcc compiler")
    assert reached == ["cc_core"]
    log.quiet()
    log.line("[EXTRA]    \x1b[1mx" + "y" * 1000)
    assert said[:2] == ["0:01:01  == step cc_core", "0:01:02  Installing core C gcc compiler"]
    assert said[2] == "1:02:05  … still in step cc_core for 1:01:04"
    assert said[3].startswith("1:02:06  ") and len(said[3]) < 450
    log.end()
    assert log.summary() == ["  1:01:06  cc_core", "  1:02:07  in all"]


def test_the_lines_around_an_error(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text(
        "".join(f"[ALL  ]    line {n}\n[DEBUG]    for makers\n" for n in range(50))
        + "[ERROR]    it is broken\n" + "[ALL  ]    after\n" * 100
    )  # fmt: skip
    shown = shown_from(str(log))
    assert len(shown) == TAIL and "it is broken" in shown and "line 49" in shown and "for makers" not in shown
    assert shown_from(str(tmp_path / "none")) == []


def test_a_silent_program_is_told_of_and_a_slow_one_ended(tmp_path: Path) -> None:
    said: list[str] = []
    fifo = tmp_path / "go"
    os.mkfifo(fifo)

    def say(line: str) -> None:
        said.append(line)
        if "… still at work" in line and len(said) == 1:
            fifo.write_text("x")  # it goes on only after it was found silent

    assert run(["cat", str(fifo)], os.environ, str(tmp_path), Log(say), quiet_s=0.05) == 0
    assert said[0].endswith("… still at work")
    with pytest.raises(ToolchainError, match=r"has not ended after 0\.05 s"):
        run(["sleep", "1000"], os.environ, str(tmp_path), Log(said.append), limit_s=0.05)
    with pytest.raises(ToolchainError, match="cannot be run"):
        run(["/nowhere"], os.environ, str(tmp_path), Log(said.append))
    assert run(["sh", "-c", "kill -9 $$"], os.environ, str(tmp_path), Log(said.append)) == 137
