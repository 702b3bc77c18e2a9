"""Which packages bring a compiler, and what is said where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manycc.errors import ToolchainError
from manycc.toolchain import packages
from manycc.toolchain.packages import Wanted, apt_packages, check_apt, wanted

NATIVE = "x86_64-linux-gnu"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An apt that knows a few packages: what apt-cache(8) prints of them."""
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho apt-get is not to be run >&2\nexit 1\n")
    (tmp_path / "apt-cache").write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        "'policy gcc-12-aarch64-linux-gnu') printf '%s:\\n  Candidate: 12.2.0-14cross1\\n' \"$2\";;\n"
        "'policy gcc-aarch64-linux-gnu') printf '%s:\\n  Candidate: 4:12.2.0-3\\n' \"$2\";;\n"
        "'policy gcc-9-aarch64-linux-gnu') printf '%s:\\n  Candidate: (none)\\n' \"$2\";;\n"
        "'pkgnames gcc') printf 'gcc-12-%s\\ngcc-%s\\ngcc-12-%s-base\\n' aarch64-linux-gnu aarch64-linux-gnu x;;\n"
        "esac\n"
    )
    for name in ("apt-get", "apt-cache"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("aarch64-linux-gnu", ["gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu"]),
        ("aarch64-unknown-linux-gnu@12.2.0", ["gcc-12-aarch64-linux-gnu", "g++-12-aarch64-linux-gnu"]),
        ("armv7l-unknown-linux-gnueabihf@12", ["gcc-12-arm-linux-gnueabihf", "g++-12-arm-linux-gnueabihf"]),
        ("x86_64-linux-gnu@12", ["gcc-12", "g++-12"]),
        ("x86_64-pc-linux-gnu", ["gcc", "g++"]),
        ("aarch64-linux-gnu@4.9.2", ["gcc-4.9-aarch64-linux-gnu", "g++-4.9-aarch64-linux-gnu"]),
        ("clang", ["clang"]),
        ("clang@14.0.6", ["clang-14"]),
    ],
)
def test_names_of_packages(text: str, names: list[str]) -> None:
    assert apt_packages(wanted(text), NATIVE) == names


def test_from_an_arm_machine_the_other_way_round() -> None:
    assert apt_packages(wanted("x86_64-linux-gnu@12"), "aarch64-linux-gnu") == [
        "gcc-12-x86-64-linux-gnu",
        "g++-12-x86-64-linux-gnu",
    ]


@pytest.mark.parametrize(
    "text", ["", "gcc", "-o", "../x-y", "aarch64-linux-gnu@", "aarch64-linux-gnu@twelve", "a-b@1;2", "ziglang@-r"]
)
def test_what_is_no_target_or_version(text: str) -> None:
    with pytest.raises(ToolchainError, match=r"is no (target|version)"):
        wanted(text)


@pytest.mark.usefixtures("apt")
def test_versions_that_apt_has_and_has_not() -> None:
    def asked(text: str) -> str:
        what = wanted(text)
        return check_apt(what, apt_packages(what, NATIVE))

    assert (
        asked("aarch64-linux-gnu@12")
        == asked("aarch64-linux-gnu@12.2")
        == asked("aarch64-linux-gnu@12.2.0")
        == "12.2.0-14cross1"
    )
    assert asked("aarch64-linux-gnu") == "12.2.0-3"
    with pytest.raises(
        ToolchainError, match=r"is of version 12\.2\.0-14cross1, not 12\.20.*aarch64-linux-gnu@12 takes"
    ):
        asked("aarch64-linux-gnu@12.20")
    with pytest.raises(
        ToolchainError, match=r"no package gcc-9-aarch64.*there are: gcc-12-aarch64-linux-gnu, gcc-aarch64"
    ):
        asked("aarch64-linux-gnu@9")
    with pytest.raises(ToolchainError, match=r"apt's lists have none for this target.*apt-get update"):
        asked("sh4-linux-gnu")


def test_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"there is no apt-get here.*aarch64-linux-gnu-gcc"):
        check_apt(Wanted("aarch64-linux-gnu", ""), ["gcc-aarch64-linux-gnu"])


@pytest.mark.usefixtures("apt")
def test_only_root_installs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolchainError, match=r"needs root \(sudo apt-get install .* gcc-12\)"):
        packages.apt_install(["gcc-12"])
    assert not capfd.readouterr().err
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ToolchainError, match="failed: exit code 1") as raised:
        packages.apt_install(["gcc-12"])
    assert " --no-remove " in raised.value.what  # gcc-multilib would go for Debian's cross compilers
    assert capfd.readouterr().err == "apt-get is not to be run\n"
