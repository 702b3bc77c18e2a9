"""Which versions crosstool-NG offers, and which comes nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from manycc.errors import ConfigError
from manycc.toolchain.crosstool.versions import BUILT_IN, FEATURES, nearest, read


@pytest.mark.parametrize(
    ("package", "wanted", "symbol", "version", "exact"),
    [
        ("gcc", "12.5.0", "GCC_V_12", "12.5.0", True),
        ("gcc", "12.2.0", "GCC_V_12", "12.5.0", False),
        ("gcc", "4.9.2", "GCC_V_4_9", "4.9.4", False),
        ("gcc", "4.8.5", "GCC_V_4_9", "4.9.4", False),
        ("gcc", "99.1.0", "GCC_V_16", "16.2.0", False),
        ("binutils", "2.40", "BINUTILS_V_2_40", "2.40", True),
        ("binutils", "2.35.2", "BINUTILS_V_2_35", "2.35.2", True),
        ("binutils", "2.35", "BINUTILS_V_2_35", "2.35.2", False),
        ("glibc", "2.36", "GLIBC_V_2_36", "2.36", True),
        ("glibc", "2.20", "GLIBC_V_2_19", "2.19", False),
        ("glibc", "2.12", "GLIBC_V_2_17", "2.17", False),
        ("musl", "1.2.5", "MUSL_V_1_2_5", "1.2.5", True),
        ("linux", "6.1", "LINUX_V_6_1", "6.1", True),
        ("linux", "6.8", "LINUX_V_6_6", "6.6", False),
        ("linux", "2.6.18", "LINUX_V_2_6_32", "2.6.32", False),
    ],
)
def test_nearest(package: str, wanted: str, symbol: str, version: str, exact: bool) -> None:
    assert nearest(BUILT_IN, package, wanted) == (symbol, version, exact)


def test_a_package_that_is_not_offered() -> None:
    assert nearest(BUILT_IN, "gold", "1.0") is None


def lists(folder: Path) -> None:
    """The files that an installed crosstool-NG has, in its words."""
    versions = folder / "config/versions"
    versions.mkdir(parents=True)
    (folder / "config/cc").mkdir()
    entry = 'config {}\n    bool "{}"\n    select X_{}_or_later\n\n'
    texts = {
        "gcc": entry.format("GCC_V_13", "13.2.0", 13) + entry.format("GCC_V_4_9", "4.9.4 (OBSOLETE)", 4),
        "binutils": entry.format("BINUTILS_V_2_41", "2.41", 2),
        "linux": entry.format("LINUX_V_6_1", "6.1.57", 6),
    }
    for name, text in texts.items():
        (versions / f"{name}.in").write_text(f'choice\n    bool "Version of {name}"\n\n{text}endchoice\n')
    (folder / "config/cc/gcc.in").write_text("config CC_GCC_LTO_ZSTD\n    tristate\n")


def program(path: Path, folder: str) -> None:
    path.write_text(f"#!/usr/bin/make -rf\nexport CT_LIB_DIR:={folder}\nexport CT_VERSION:=1.26.0\n")
    path.chmod(0o755)


@pytest.mark.parametrize("given", ["bin/ct-ng", "bin"])
def test_an_installed_one_is_read(tmp_path: Path, given: str) -> None:
    (tmp_path / "bin").mkdir()
    lists(tmp_path / "share/ct")
    program(tmp_path / "bin/ct-ng", str(tmp_path / "share/ct"))
    offer = read(str(tmp_path / given))
    assert (offer.version, offer.revision, offer.where) == ("1.26.0", "crosstool-ng-1.26.0", f"{tmp_path}/share/ct")
    assert offer.packages["gcc"] == {"GCC_V_13": "13.2.0", "GCC_V_4_9": "4.9.4"}
    assert offer.features == {"CC_GCC_LTO_ZSTD"} < set(FEATURES)
    assert nearest(offer, "linux", "6.1") == ("LINUX_V_6_1", "6.1.57", True)
    assert nearest(offer, "glibc", "2.36") is None


def test_one_in_its_own_folder_is_read(tmp_path: Path) -> None:
    lists(tmp_path)
    assert read(str(tmp_path)).version == "unknown"
    program(tmp_path / "ct-ng", "/nowhere")
    assert read(str(tmp_path)).version == "1.26.0"


def test_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder config/versions.*bootstrap"):
        read(str(tmp_path))
    (tmp_path / "config/versions").mkdir(parents=True)
    with pytest.raises(ConfigError, match="names no version of gcc"):
        read(str(tmp_path))
