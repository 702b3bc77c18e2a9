"""From a probe to a configuration: the mapping, and that whatever differs is named."""

from __future__ import annotations

import dataclasses

import crosstool_probes as probes
import pytest

from manycc.errors import ConfigError
from manycc.toolchain.crosstool import check, target
from manycc.toolchain.crosstool.probe import Probe
from manycc.toolchain.crosstool.recipe import CODE, LABEL, LINKING, MAGIC, Recipe, Wishes, write
from manycc.toolchain.crosstool.versions import BUILT_IN, Offer

MAPPED = {
    "debian": """\
        CT_ARCH_ARM=y CT_ARCH_64=y CT_OMIT_TARGET_VENDOR=y CT_LIBC_GLIBC=y CT_BINUTILS_V_2_40=y CT_GLIBC_V_2_36=y
        CT_LINUX_V_6_1=y CT_GCC_SRC_CUSTOM=y CT_GCC_V_12=y CT_CC_GCC_ENABLE_DEFAULT_PIE=y CT_CC_GCC_BUILD_ID=y
        CT_CC_LANG_CXX=y CT_CC_GCC_LTO_ZSTD=y CT_BINUTILS_PLUGINS=y CT_GCC_CUSTOM_LOCATION="gcc-12.2.0.tar.xz" """,
    "ubuntu": """\
        CT_ARCH_X86=y CT_ARCH_64=y CT_OMIT_TARGET_VENDOR=y CT_BINUTILS_V_2_42=y CT_GLIBC_V_2_39=y CT_LINUX_V_6_6=y
        CT_GCC_V_13=y CT_ARCH_TUNE="generic" CT_GCC_CUSTOM_LOCATION="gcc-13.2.0.tar.xz" """,
    "arch": """\
        CT_ARCH_X86=y CT_ARCH_64=y CT_TARGET_VENDOR="pc" CT_BINUTILS_V_2_43=y CT_GLIBC_V_2_40=y CT_GCC_V_14=y
        CT_TOOLCHAIN_PKGVERSION="GCC" CT_CC_GCC_LNK_HASH_STYLE_GNU=y CT_GCC_CUSTOM_LOCATION="gcc-14.2.0.tar.xz" """,
    "arch arm": """\
        CT_ARCH_ARM=y CT_ARCH_32=y CT_TARGET_VENDOR="unknown" CT_ARCH_SUFFIX="v7l" CT_ARCH_FLOAT_HW=y
        CT_ARCH_ARCH="armv7-a" CT_ARCH_FPU="vfpv3-d16" CT_ARCH_ARM_MODE_ARM=y CT_BINUTILS_V_2_44=y""",
    "fedora": """\
        CT_ARCH_X86=y CT_TARGET_VENDOR="redhat" CT_LIBC_GLIBC=y CT_GLIBC_V_2_38=y CT_GCC_V_13=y
        CT_TOOLCHAIN_PKGVERSION="GCC" """,
    "alpine": """\
        CT_ARCH_X86=y CT_TARGET_VENDOR="alpine" CT_LIBC_MUSL=y CT_MUSL_V_1_2_5=y CT_CC_GCC_LNK_HASH_STYLE_GNU=y
        CT_TOOLCHAIN_PKGVERSION="Alpine" """.replace('"Alpine"', '"Alpine~13.2.1_git20240309"'),
}
ARRAYS = {
    "debian": "--with-gcc-major-version-only --with-default-libstdcxx-abi=new --enable-gnu-unique-object"
    " --enable-fix-cortex-a53-843419",
    "ubuntu": "--enable-cet --with-arch-32=i686 --with-abi=m64 --enable-default-ssp",
    "arch": "--enable-cet=auto --enable-default-ssp --enable-gnu-indirect-function --enable-gnu-unique-object",
    "arch arm": "--enable-default-ssp --enable-gnu-unique-object",
    "fedora": "--enable-initfini-array --enable-gnu-indirect-function --enable-cet --with-gcc-major-version-only",
    "alpine": "--disable-cet --disable-fixed-point --enable-default-ssp",
}
BINUTILS = {
    "debian": "--enable-compressed-debug-sections=none",
    "ubuntu": "--disable-x86-used-note --enable-x86-relax-relocations --enable-compressed-debug-sections=none",
    "arch": "--enable-x86-used-note --enable-x86-relax-relocations --enable-compressed-debug-sections=none",
    "fedora": "--disable-x86-used-note --enable-x86-relax-relocations --enable-generate-build-notes=yes"
    " --enable-compressed-debug-sections=none",
}
DIFFERS = {
    "debian": ["without the patches in 'Debian 12.2.0-14+deb12u1'", "-fasynchronous-unwind-tables"],
    "ubuntu": ["without the patches in 'Ubuntu", "adds -fcf-protection by itself", "adds -fstack-clash-protection",
               "kernel headers 6.6 instead of 6.8"],
    "arch": ["gcc 14.2.0, the release before the snapshot 14.2.1 20240910", "binutils 2.43 instead of 2.43.1"],
    "arch arm": ["gcc 14.2.0, the release before the snapshot 14.2.1 20250207"],
    "fedora": ["is called x86_64-redhat-linux-gnu, not x86_64-redhat-linux", "snapshot 13.2.1 20231205",
               "without the patches in 'GCC: (GNU) 13.2.1 20231205 (Red Hat 13.2.1-6)'"],
    "alpine": ["gcc 13.2.0, the release before the snapshot 13.2.1 20240309"],
}  # fmt: skip


def lines_of(recipe: Recipe) -> set[str]:
    return set(recipe.lines)


def array(recipe: Recipe, package: str = "CC_GCC") -> list[str]:
    symbol = f"CT_{package}_EXTRA_CONFIG_ARRAY="
    return next((line[len(symbol) + 1 : -1].split() for line in recipe.lines if line.startswith(symbol)), [])


@pytest.mark.parametrize("name", probes.ALL)
def test_each_distribution(name: str) -> None:
    recipe = write(probes.ALL[name], BUILT_IN)
    assert {line.replace("~", " ") for line in MAPPED[name].split()} <= lines_of(recipe)
    assert set(ARRAYS[name].split()) <= set(array(recipe))
    if name in BINUTILS:
        assert array(recipe, "BINUTILS") == BINUTILS[name].split()
    told = [str(deviation) for deviation in recipe.deviations]
    for part in DIFFERS[name]:
        assert [sentence for sentence in told if part in sentence], (part, told)


@pytest.mark.parametrize("name", probes.ALL)
@pytest.mark.parametrize("host", ["", "arm-linux-gnueabihf", "aarch64-linux-gnu"])
def test_what_all_have(name: str, host: str) -> None:
    recipe = write(probes.ALL[name], BUILT_IN, Wishes(host=host))
    fixed = """\
        CT_CONFIG_VERSION="4"
        CT_EXPERIMENTAL=y
        # CT_LOG_PROGRESS_BAR is not set
        CT_LOG_EXTRA=y
        # CT_PREFIX_DIR_RO is not set
        CT_DEBUG_CT=y
        CT_DEBUG_CT_SAVE_STEPS=y
        # CT_SHOW_CT_VERSION is not set
        # CT_KERNEL_LINUX_INSTALL_CHECK is not set"""
    assert {line.strip() for line in fixed.splitlines()} <= lines_of(recipe)
    assert "--disable-multilib" in array(recipe)
    assert (f'CT_HOST="{host}"' in recipe.lines, "CT_CANADIAN=y" in recipe.lines) == (bool(host), bool(host))
    symbols = [line.removeprefix("# ").split("=")[0].split(" ")[0] for line in recipe.lines]
    assert sorted(set(symbols)) == sorted(symbols), "a line that comes twice"
    # What is written is fit to be read again, and says for a person what it is.
    assert len(check.recipe_values(recipe.text, "recipe")) == len(recipe.lines)
    assert recipe.text.startswith(f"{MAGIC}\n# for: {probes.ALL[name].label}\n")
    for deviation in recipe.deviations:
        assert f"# differs: {deviation}\n" in recipe.text


def test_the_runner_that_cannot_run_it_is_named() -> None:
    armhf = write(probes.UBUNTU, BUILT_IN, Wishes(host="arm-linux-gnueabihf"))
    assert any("ARMv6" in deviation.effect for deviation in armhf.deviations)
    assert armhf.name == "gcc-13.2.0-x86_64-linux-gnu-on-arm-linux-gnueabihf"
    with pytest.raises(ConfigError, match="not known how to build"):
        write(probes.UBUNTU, BUILT_IN, Wishes(host="vax-dec-ultrix"))


def test_a_version_that_is_offered_needs_no_tarball() -> None:
    recipe = write(dataclasses.replace(probes.UBUNTU, version="13.4.0"), BUILT_IN)
    assert not recipe.sources and "CT_GCC_V_13=y" in recipe.lines
    assert not [line for line in recipe.lines if "CUSTOM" in line]


def test_stock_is_the_nearest_and_says_so() -> None:
    recipe = write(probes.UBUNTU, BUILT_IN, Wishes(gcc_source="stock"))
    assert not recipe.sources and not [line for line in recipe.lines if "CUSTOM" in line]
    assert f"gcc 13.4.0 instead of 13.2.0 ({CODE})" in map(str, recipe.deviations)


def test_sources_by_path_and_by_commit() -> None:
    recipe = write(probes.ARCH, BUILT_IN, Wishes(gcc_source="/src/gcc-14"))
    assert 'CT_GCC_CUSTOM_LOCATION="/src/gcc-14"' in recipe.lines and not recipe.sources
    recipe = write(probes.ARCH, BUILT_IN, Wishes(gcc_revision="0123abcd" * 5))
    some = {
        f'CT_GCC_DEVEL_REVISION="{"0123abcd" * 5}"',
        "CT_GCC_SRC_DEVEL=y",
        'CT_GCC_DEVEL_BRANCH=""',
        "CT_GCC_V_14=y",
    }
    assert some <= lines_of(recipe)
    for wishes in (Wishes(gcc_source="/a b"), Wishes(gcc_source="/$(id)"), Wishes(gcc_revision="HEAD")):
        with pytest.raises(ConfigError):
            write(probes.ARCH, BUILT_IN, wishes)


def test_a_plain_release_differs_in_nothing() -> None:
    plain = Probe(
        "x86_64-pc-linux-gnu", "12.5.0", ident="GCC: (GNU) 12.5.0", libc="glibc", libc_version="2.36", kernel="6.1",
        binutils="2.40", pie="no", ssp="no",
    )  # fmt: skip
    recipe = write(plain, BUILT_IN)
    assert recipe.deviations == () and "CT_CC_LANG_CXX=y" not in recipe.lines
    assert "CT_CC_GCC_ENABLE_DEFAULT_PIE=y" not in recipe.lines


def test_what_only_linking_needs_is_told_from_what_changes_code() -> None:
    old = dataclasses.replace(probes.UBUNTU, libc_version="2.18", binutils="2.39.5")
    told = {str(deviation) for deviation in write(old, BUILT_IN).deviations}
    assert f"glibc 2.17 instead of 2.18 ({LINKING})" in told
    assert f"binutils 2.39 instead of 2.39.5 ({CODE})" in told
    assert any(deviation.effect == LABEL for deviation in write(probes.FEDORA, BUILT_IN).deviations)


def test_an_older_crosstool_ng_is_told_in_its_own_words() -> None:
    old = Offer("1.25.0", "crosstool-ng-1.25.0", {"gcc": {"GCC_V_11": "11.2.0"}}, frozenset())
    recipe = write(probes.UBUNTU, old)
    assert "--enable-default-pie" in array(recipe)
    assert not [line for line in recipe.lines if ("DEFAULT_PIE" in line and "ARRAY" not in line) or "LTO_ZSTD" in line]
    told = [str(deviation) for deviation in recipe.deviations]
    assert any("knows no gcc 13: it is treated like 11.2.0" in sentence for sentence in told)
    assert any("binutils of an unknown version" in sentence for sentence in told)


def test_soft_and_armv6() -> None:
    raspbian = dataclasses.replace(
        probes.ARCH_ARM,
        target="arm-linux-gnueabihf",
        options=("--with-arch=armv6", "--with-fpu=vfp", "--with-float=hard"),
    )
    assert {'CT_ARCH_ARCH="armv6"', 'CT_ARCH_FPU="vfp"', "CT_ARCH_FLOAT_HW=y"} <= lines_of(write(raspbian, BUILT_IN))
    soft = dataclasses.replace(
        raspbian, target="arm-linux-gnueabi", options=("--with-float=soft", "--with-arch=armv5te")
    )
    assert {"CT_ARCH_FLOAT_SW=y", 'CT_ARCH_ARCH="armv5te"'} <= lines_of(write(soft, BUILT_IN))
    fedora = dataclasses.replace(raspbian, target="armv7hl-redhat-linux-gnueabi")
    assert {"# CT_ARCH_ARM_TUPLE_USE_EABIHF is not set", 'CT_ARCH_SUFFIX="v7hl"'} <= lines_of(write(fedora, BUILT_IN))
    debian = dataclasses.replace(raspbian, options=("--with-arch=armv7-a+fp", "--with-float=hard", "--with-mode=thumb"))
    assert {'CT_ARCH_ARCH="armv7-a+fp"', "CT_ARCH_ARM_MODE_THUMB=y"} <= lines_of(write(debian, BUILT_IN))


@pytest.mark.parametrize(
    ("triple", "expected"),
    [
        ("x86_64-linux-gnu", ("x86_64", "", "gnu")),
        ("x86_64-redhat-linux", ("x86_64", "redhat", "gnu")),
        ("aarch64-unknown-linux-gnu", ("aarch64", "unknown", "gnu")),
        ("armv7l-unknown-linux-gnueabihf", ("armv7l", "unknown", "gnueabihf")),
        ("armv6-alpine-linux-musleabihf", ("armv6", "alpine", "musleabihf")),
    ],
)
def test_triples(triple: str, expected: tuple[str, ...]) -> None:
    assert tuple(target.split(triple)) == expected


@pytest.mark.parametrize(
    "triple", ["x86_64-w64-mingw32", "arm-none-eabi", "x86_64-linux-gnux32", "linux-gnu", "vax-linux-gnu"]
)
def test_targets_without_a_recipe(triple: str) -> None:
    with pytest.raises(ConfigError, match="no recipe is known"):
        write(dataclasses.replace(probes.UBUNTU, target=triple), BUILT_IN)


def test_other_processors() -> None:
    for triple, some in {
        "riscv64-linux-gnu": {"CT_ARCH_RISCV=y", "CT_ARCH_64=y"},
        "powerpc64le-linux-gnu": {"CT_ARCH_POWERPC=y", "CT_ARCH_LE=y"},
        "s390x-linux-gnu": {"CT_ARCH_S390=y"},
        "i686-linux-gnu": {"CT_ARCH_X86=y", "CT_ARCH_32=y", 'CT_ARCH_ARCH="i686"'},
    }.items():
        assert some <= set(target.lines(triple, {}))


def test_a_package_that_a_shell_would_read() -> None:
    odd = dataclasses.replace(probes.UBUNTU, package="Vendor (a) 1")
    recipe = write(odd, BUILT_IN)
    assert 'CT_TOOLCHAIN_PKGVERSION="GCC"' in recipe.lines
    assert any("cannot be written into a configuration" in deviation.what for deviation in recipe.deviations)
