"""Pipelines: well-formed, and their shell commands do what they say."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import crosstool_probes as probes
import pytest
from fake_ct_ng import STEPS, FakeCtNg

from manycc.errors import ConfigError
from manycc.testing.requirements import need
from manycc.toolchain.crosstool import pipeline
from manycc.toolchain.crosstool.probe import Probe
from manycc.toolchain.crosstool.recipe import Wishes, write
from manycc.toolchain.crosstool.versions import BUILT_IN

NAME = "gcc-12.2.0-aarch64-linux-gnu"
CHECK = "Configure, and check that every line was taken"


def parsed(service: str, probe: Probe = probes.DEBIAN, host: str = "") -> Any:
    """What a YAML parser makes of the pipeline."""
    need("/usr/bin/python3", "/usr/lib/python3/dist-packages/yaml/__init__.py")
    text = pipeline.write(write(probe, BUILT_IN, Wishes(host=host, save_steps=False)), service)
    script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def commands(service: str, **options: Any) -> dict[str, str]:
    """The shell commands by their titles."""
    steps = parsed(service, **options)["jobs"]
    steps = steps["toolchain"]["steps"] if service == "github" else steps[0]["steps"]
    kind, title = ("run", "name") if service == "github" else ("script", "displayName")
    return {step[title]: step[kind] for step in steps if kind in step}


@pytest.mark.parametrize("name", probes.ALL)
@pytest.mark.parametrize("host", ["", "aarch64-linux-gnu"])
def test_github(name: str, host: str) -> None:
    whole = parsed("github", probes.ALL[name], host)
    job = whole["jobs"]["toolchain"]
    assert whole["on"] == {"workflow_dispatch": None} and whole["permissions"] == {"contents": "read"}
    assert job["runs-on"] == "ubuntu-latest" and job["timeout-minutes"] < 360
    last, failed = job["steps"][-2:]
    assert last["with"]["path"] == "out" and last["with"]["name"] == whole["name"]
    assert failed["if"] == "failure()" and "build.log" in failed["with"]["path"].split()
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@pytest.mark.parametrize("name", probes.ALL)
@pytest.mark.parametrize("host", ["", "arm-linux-gnueabihf"])
def test_azure(name: str, host: str) -> None:
    whole = parsed("azure", probes.ALL[name], host)
    (job,) = whole["jobs"]
    assert whole["trigger"] == "none" and job["timeoutInMinutes"] < 360 and job["pool"]["vmImage"] == "ubuntu-latest"
    assert job["displayName"] == probes.ALL[name].label
    published = {step["publish"]: step.get("condition", "") for step in job["steps"] if "publish" in step}
    assert published == {"out": "", "log": "failed()"}


def test_both_do_the_same() -> None:
    github, azure = commands("github"), commands("azure")
    azure.pop("Gather the log")
    assert github == azure


def test_a_host_brings_its_compiler() -> None:
    title = "Install what building takes"
    assert "g++-arm-linux-gnueabihf" in commands("github", host="arm-linux-gnueabihf")[title]
    assert "gnueabihf" not in commands("github")[title]


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def ct_ng(tmp_path: Path) -> FakeCtNg:
    return FakeCtNg(tmp_path / "ct-ng/bin", "aarch64-linux-gnu")


def test_the_commands_build_and_pack(tmp_path: Path, ct_ng: FakeCtNg) -> None:
    steps = commands("github")
    for title in ("Write the recipe", CHECK, "Build the toolchain", "Pack it"):
        done = run(tmp_path, steps[title])
        assert done.returncode == 0, title + done.stdout + done.stderr
    assert ct_ng.ran == list(STEPS)
    config = (tmp_path / "config").read_text()
    assert 'CT_GCC_CUSTOM_LOCATION="${CT_TOP_DIR}/tarballs/gcc-12.2.0.tar.xz"' in config and "SAVE_STEPS" not in config
    with tarfile.open(tmp_path / f"out/{NAME}.tar.xz") as archive:
        assert f"{NAME}/bin/aarch64-linux-gnu-gcc" in archive.getnames()
    done = run(tmp_path / "out", f"sha256sum -c {NAME}.tar.xz.sha256")
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("drops", "sentence"),
    [
        ("s/^CT_GLIBC_V_2_36=y/CT_GLIBC_V_2_28=y/", "not taken: CT_GLIBC_V_2_36=y"),
        ("/PKGVERSION/d", 'not taken: CT_TOOLCHAIN_PKGVERSION="Debian 12.2.0-14+deb12u1"'),
        ("s/^# CT_LOG_PROGRESS_BAR is not set/CT_LOG_PROGRESS_BAR=y/", "not taken: # CT_LOG_PROGRESS_BAR is not set"),
    ],
)
def test_a_dropped_line_ends_the_run(tmp_path: Path, ct_ng: FakeCtNg, drops: str, sentence: str) -> None:
    ct_ng.told("drops", drops + "\n")
    steps = commands("azure")
    assert run(tmp_path, steps["Write the recipe"]).returncode == 0
    done = run(tmp_path, steps[CHECK])
    assert done.returncode != 0 and sentence in done.stdout.splitlines()


def test_an_unset_line_may_be_left_out(tmp_path: Path, ct_ng: FakeCtNg) -> None:
    ct_ng.told("drops", "/PROGRESS_BAR/d\n")
    steps = commands("github")
    run(tmp_path, steps["Write the recipe"])
    assert run(tmp_path, steps[CHECK]).returncode == 0


def test_sources_that_a_runner_cannot_have() -> None:
    with pytest.raises(ConfigError, match="a hosted runner has no /src/gcc"):
        pipeline.write(write(probes.ARCH, BUILT_IN, Wishes(gcc_source="/src/gcc")), "github")
    text = pipeline.write(write(probes.ARCH, BUILT_IN, Wishes(gcc_source="third/gcc.tar.xz")), "github")
    assert 'CT_GCC_CUSTOM_LOCATION="${CT_TOP_DIR}/third/gcc.tar.xz"' in text
